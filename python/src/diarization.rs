//! Who spoke when.

use std::num::NonZeroUsize;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use voice_embedding_service::diarization::{
    Diarization, Heard, SpeakerCount, diarize as speakers_of, label, rttm,
};
use voice_embedding_service::encoder::{EncoderError, MAX_BATCH, Session, embed_units_on, normalized};
use voice_embedding_service::pace::Pace;
use voice_embedding_service::pipeline::{Analysis, AudioReport, Wanted, WantedTurns};

use crate::errors::{RecordingError, value_error};
use crate::model::{Model, cannot_run, n_threads};
use crate::source::{Source, options};
use crate::values;

/// A recording -> turns, speakers, the report on it, and its RTTM under a name.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "a call from Python names each")]
pub(crate) fn diarize<'py>(
    py: Python<'py>,
    model: PyRef<'_, Model>,
    source: Source<'py>,
    number: Option<u16>,
    threads: Option<NonZeroUsize>,
    least: Option<usize>,
    most: Option<usize>,
    name: &str,
) -> PyResult<Bound<'py, PyDict>> {
    let (readable, count, model) = (source.readable()?, speaker_count(least, most)?, &*model);
    let options = options(number, model.limits.max_turns_seconds);
    let threads = n_threads(threads).get();
    let wanted = Wanted { turns: Some(WantedTurns::default()), ..Wanted::default() };
    let heard = py.detach(|| {
        let recording = readable.decode(options)?;
        Ok::<_, RecordingError>(
            model.pipeline.analyse_wanted(recording, &wanted, Pace::UNBROKEN)?.swap_remove(0)?,
        )
    });
    let heard = heard.map_err(|error| error.exception(py, source.path()))?;
    let n_sessions = threads.min(heard.features.units().len().div_ceil(MAX_BATCH.get()));
    let mut sessions = model.sessions(n_sessions).map_err(cannot_run)?;
    let found = py.detach(|| turns(model, heard, count, &mut sessions));
    model.give_back(sessions);
    let (found, report) = found.map_err(cannot_run)?;
    let turns = found
        .turns
        .iter()
        .map(|turn| (turn.seconds.start, turn.seconds.end, label(turn.speaker), turn.margin));
    let speakers =
        found.speakers.iter().enumerate().map(|(number, speaker)| {
            (label(number), speaker.seconds, values::embedding(py, &speaker.embedding))
        });
    let answer = PyDict::new(py);
    answer.set_item("turns", turns.collect::<Vec<_>>())?;
    answer.set_item("speakers", speakers.collect::<Vec<_>>())?;
    answer.set_item("rttm", rttm(name, &found.turns, &label, &|_| 1))?;
    answer.set_item("audio", values::report(py, &report)?)?;
    Ok(answer)
}

fn speaker_count(least: Option<usize>, most: Option<usize>) -> PyResult<SpeakerCount> {
    match (least, most) {
        (Some(least), Some(most)) if least == most => Ok(SpeakerCount::Exactly(least)),
        _ => {
            SpeakerCount::within(least, most).ok_or_else(|| value_error("min_speakers is above max_speakers"))
        }
    }
}

fn turns(
    model: &Model,
    analysis: Analysis,
    count: SpeakerCount,
    sessions: &mut [Session],
) -> Result<(Diarization, AudioReport), EncoderError> {
    let units = embed_units_on(sessions, &analysis.features)?;
    let heard = Heard {
        speech: analysis.speech,
        windows: analysis.unit_seconds,
        units: units.into_iter().map(normalized).collect(),
    };
    Ok((speakers_of(heard, count, model.loaded.spec.turns.merged_from), analysis.report))
}
