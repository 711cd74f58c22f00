//! Compares embeddings, and decides on the results.

use numpy::{IntoPyArray, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use voice_embedding_engine::calibration::{Criterion, Evidence, Judge};
use voice_embedding_engine::compare::{clusters, similarity_matrix};
use voice_embedding_engine::decisions::{self, Side, SideAnswer};
use voice_embedding_engine::embedding::UnitEmbedding;

use crate::errors::{unpanicked, value_error};
use crate::model::Model;

/// A voice: its embedding, seconds of speech and level in dBFS, both if known, and warnings.
type PythonSide<'py> = (PyReadonlyArray1<'py, f64>, Option<f64>, Option<f64>, Vec<String>);

/// A matrix, `[n, n]`, and groups of rows.
type Similarities<'py> = (Bound<'py, PyArray2<f32>>, Vec<Vec<usize>>);

/// Decides whether two voices belong to one speaker, and reports error rates.
#[pyfunction]
pub(crate) fn verify<'py>(
    py: Python<'py>,
    model: PyRef<'_, Model>,
    sides: [PythonSide<'py>; 2],
    threshold: Option<f64>,
    max_false_accept_rate: Option<f64>,
) -> PyResult<Bound<'py, PyDict>> {
    let side = |(embedding, seconds, level_dbfs, warnings): &PythonSide<'py>| -> PyResult<Side> {
        Ok(Side {
            embedding: model.unit(embedding.as_slice()?)?,
            evidence: Evidence::new(*seconds, warnings.iter().map(String::as_str), 1),
            warnings: warnings.clone(),
            level_dbfs: *level_dbfs,
            about: SideAnswer::default(),
        })
    };
    let sides = [side(&sides[0])?, side(&sides[1])?];
    let judge = Judge { calibration: model.loaded.calibration(), threshold: model.loaded.spec.threshold };
    let criterion = criterion(threshold, max_false_accept_rate)?;
    let answer = decisions::verify(judge, criterion, sides).map_err(value_error)?;
    let fields = PyDict::new(py);
    fields.set_item("similarity", answer.similarity)?;
    fields.set_item("threshold", answer.threshold)?;
    fields.set_item("is_same_speaker", answer.is_same_speaker)?;
    fields.set_item("log_likelihood_ratio", answer.log_likelihood_ratio)?;
    fields.set_item("false_accept_rate", answer.false_accept_rate)?;
    fields.set_item("false_accept_rate_is_bound", answer.false_accept_rate_is_bound)?;
    fields.set_item("calibration", answer.calibration)?;
    fields.set_item("calibration_note", answer.calibration_note)?;
    fields.set_item("warnings", PyTuple::new(py, answer.warnings)?)?;
    Ok(fields)
}

fn criterion(threshold: Option<f64>, rate: Option<f64>) -> PyResult<Criterion> {
    match (threshold, rate) {
        (Some(_), Some(_)) => Err(value_error("threshold or max_false_accept_rate, not both")),
        (Some(threshold), _) if !Criterion::THRESHOLDS.contains(&threshold) => {
            Err(value_error(format!("threshold is a cosine, from -1 to 1, not {threshold}")))
        }
        (_, Some(rate)) if !Criterion::RATES.contains(&rate) => {
            Err(value_error(format!("max_false_accept_rate is from 0 to 1, not {rate}")))
        }
        (Some(threshold), None) => Ok(Criterion::Threshold(threshold)),
        (None, Some(rate)) => Ok(Criterion::Rate(rate)),
        (None, None) => Ok(Criterion::Default),
    }
}

/// Compares embeddings, `[n, dimension]`. Returns their similarities, and groups of similar embeddings.
#[pyfunction]
pub(crate) fn similarities<'py>(
    py: Python<'py>,
    model: PyRef<'_, Model>,
    embeddings: PyReadonlyArray2<'py, f64>,
    threshold: f64,
) -> PyResult<Similarities<'py>> {
    let rows = embeddings.as_array();
    let units: PyResult<Vec<UnitEmbedding>> =
        rows.rows().into_iter().map(|row| model.unit(&row.to_vec())).collect();
    let units = units?;
    let compared = unpanicked(py, || {
        similarity_matrix(&units).map(|matrix| {
            let groups = clusters(&matrix, threshold);
            (matrix, groups)
        })
    });
    let (matrix, groups) = compared?.map_err(value_error)?;
    Ok((matrix.into_pyarray(py), groups))
}
