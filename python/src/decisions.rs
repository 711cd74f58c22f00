//! Embeddings compared, and what follows from it.

use numpy::{IntoPyArray, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use voice_embedding_service::claims::{Comparison, Criterion, Evidence, Judge};
use voice_embedding_service::compare::{clusters, cosine, is_same_speaker, similarity_matrix};
use voice_embedding_service::embedding::UnitEmbedding;

use crate::errors::value_error;
use crate::model::Model;

/// A voice, besides its embedding: seconds of speech, if they are known, and warnings.
type PythonEvidence = (Option<f64>, Vec<String>);

/// A matrix, `[n, n]`, and groups of rows.
type Similarities<'py> = (Bound<'py, PyArray2<f32>>, Vec<Vec<usize>>);

/// Whether two embeddings are of one speaker, and what may be claimed of that.
#[pyfunction]
pub(crate) fn verify<'py>(
    py: Python<'py>,
    model: PyRef<'_, Model>,
    embeddings: [PyReadonlyArray1<'py, f64>; 2],
    evidence: [PythonEvidence; 2],
    threshold: Option<f64>,
    max_false_accept_rate: Option<f64>,
) -> PyResult<Bound<'py, PyDict>> {
    let [a, b] = [model.unit(embeddings[0].as_slice()?)?, model.unit(embeddings[1].as_slice()?)?];
    let of_side = |(seconds, warnings): &PythonEvidence| {
        Evidence::new(*seconds, warnings.iter().map(String::as_str), 1)
    };
    let [of_a, of_b] = [of_side(&evidence[0]), of_side(&evidence[1])];
    let sides = [&of_a, &of_b];
    let spec = &model.loaded.spec;
    let judge = Judge { calibration: model.loaded.calibration(), threshold: spec.threshold };
    let criterion = criterion(threshold, max_false_accept_rate)?;
    let threshold = judge.threshold(criterion, Comparison::Pair, sides).map_err(value_error)?;
    let similarity = cosine(&a, &b).map_err(value_error)?;
    let claim = judge.claim(similarity, Comparison::Pair, sides);
    let answer = PyDict::new(py);
    answer.set_item("similarity", similarity)?;
    answer.set_item("threshold", threshold)?;
    answer.set_item("is_same_speaker", is_same_speaker(similarity, threshold))?;
    answer.set_item("log_likelihood_ratio", claim.log_likelihood_ratio)?;
    answer.set_item("false_accept_rate", claim.error_rate.map(|rate| rate.value))?;
    answer.set_item("false_accept_rate_is_bound", claim.error_rate.is_some_and(|rate| rate.is_bound))?;
    answer.set_item("calibration_note", claim.note)?;
    Ok(answer)
}

fn criterion(threshold: Option<f64>, rate: Option<f64>) -> PyResult<Criterion> {
    match (threshold, rate) {
        (Some(_), Some(_)) => Err(value_error("threshold or max_false_accept_rate, not both")),
        (Some(threshold), _) if !(-1.0..=1.0).contains(&threshold) => {
            Err(value_error(format!("threshold is a cosine, from -1 to 1, not {threshold}")))
        }
        (_, Some(rate)) if !(rate > 0.0 && rate < 1.0) => {
            Err(value_error(format!("max_false_accept_rate is between 0 and 1, not {rate}")))
        }
        (Some(threshold), None) => Ok(Criterion::Threshold(threshold)),
        (None, Some(rate)) => Ok(Criterion::Rate(rate)),
        (None, None) => Ok(Criterion::Default),
    }
}

/// Embeddings, `[n, dimension]` -> their similarities, and groups of those that are alike.
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
    let compared = py.detach(|| {
        similarity_matrix(&units).map(|matrix| {
            let groups = clusters(&matrix, threshold);
            (matrix, groups)
        })
    });
    let (matrix, groups) = compared.map_err(value_error)?;
    Ok((matrix.into_pyarray(py), groups))
}
