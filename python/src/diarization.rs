//! Diarization: who spoke when.

use std::num::NonZeroUsize;

use numpy::IntoPyArray;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use voice_embedding_engine::audio::CompactWaveform;
use voice_embedding_engine::decisions::{Diarized, DiarizedChannel, Names};
use voice_embedding_engine::diarization::{SpeakerCount, TurnOptions};
use voice_embedding_engine::encoder::{MAX_BATCH, embed_units_on};
use voice_embedding_engine::front_end::Units;
use voice_embedding_engine::listening::Listening;
use voice_embedding_engine::pace::Pace;
use voice_embedding_engine::pipeline::PipelineError;

use crate::errors::{RecordingFailure, cannot_run, unpanicked, value_error};
use crate::model::Model;
use crate::source::{Source, options};
use crate::values::{self, n_threads};

/// Diarizes a recording. Returns turns, speakers, the audio report, and RTTM with the given name.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "a call from Python names each")]
pub(crate) fn diarize<'py>(
    py: Python<'py>,
    model: PyRef<'_, Model>,
    source: Source<'py>,
    number: Option<u16>,
    threads: Option<NonZeroUsize>,
    bounds: (Option<usize>, Option<usize>),
    overlap: bool,
    name: &str,
) -> PyResult<Bound<'py, PyDict>> {
    let (readable, count, model) = (source.readable()?, speaker_count(bounds)?, &*model);
    let options = options(number, model.limits.max_turns_seconds);
    let turns = TurnOptions { count, overlap };
    let threads = n_threads(threads).get();
    let n_sessions = |n_units: usize| threads.min(n_units.div_ceil(MAX_BATCH.get()));
    let failed = |error: RecordingFailure| error.exception(py, source.path());
    let listening = unpanicked(py, || {
        let recording = readable.decode::<CompactWaveform>(options)?;
        let spec = &model.loaded.spec;
        Ok(Listening::new(&model.pipeline, spec, recording, Pace::UNBROKEN).map_err(PipelineError::from)?)
    });
    let listening = listening?.map_err(failed)?;
    let windows = listening.windows();
    let mut sessions = model.segmentation_sessions(threads.min(windows.lengths().len()))?;
    let listened = unpanicked(py, || {
        let outputs = embed_units_on(&mut sessions, &windows).map_err(PipelineError::from)?;
        Ok(listening.segmented(&outputs)?)
    })?;
    model.give_back_segmentation(sessions);
    let listened = listened.map_err(failed)?;
    let pieces = listened.pieces();
    let mut sessions = model.sessions(n_sessions(pieces.lengths().len()).max(1)).map_err(cannot_run)?;
    let diarized = unpanicked(py, || {
        let units = embed_units_on(&mut sessions, &pieces).map_err(PipelineError::from)?;
        let (found, audio) = listened.conclude(units).diarize(&turns, Pace::UNBROKEN)?;
        let names = Names::none(found.speakers.len());
        let channel = DiarizedChannel { number: None, found, names, audio };
        Ok(Diarized::new(vec![channel], model.loaded.id.clone()))
    })?;
    model.give_back(sessions);
    let diarized = diarized.map_err(failed)?;
    let rttm = diarized.rttm(name);
    let found = diarized.answer(None, true);
    let turns = found.segments.into_iter().map(|turn| (turn.start, turn.end, turn.label, turn.margin));
    let speakers = found.speakers.into_iter().map(|speaker| {
        let embedding = speaker.embedding.map(|embedding| embedding.into_pyarray(py));
        (speaker.label, speaker.seconds, embedding)
    });
    let answer = PyDict::new(py);
    answer.set_item("turns", turns.collect::<Vec<_>>())?;
    answer.set_item("speakers", speakers.collect::<Vec<_>>())?;
    answer.set_item("overlap_seconds", found.overlap_seconds)?;
    answer.set_item("rttm", rttm)?;
    answer.set_item("audio", values::report(py, &found.audio)?)?;
    Ok(answer)
}

fn speaker_count((least, most): (Option<usize>, Option<usize>)) -> PyResult<SpeakerCount> {
    match (least, most) {
        (Some(least), Some(most)) if least == most => Ok(SpeakerCount::Exactly(least)),
        _ => SpeakerCount::from_bounds(least, most)
            .ok_or_else(|| value_error("min_speakers is above max_speakers")),
    }
}
