//! Who spoke when.

use std::num::NonZeroUsize;

use numpy::IntoPyArray;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use voice_embedding_engine::decisions::{Diarized, DiarizedChannel, Names};
use voice_embedding_engine::diarization::{Heard, SpeakerCount, diarize as speakers_of};
use voice_embedding_engine::encoder::{MAX_BATCH, Session, embed_units_on, normalized};
use voice_embedding_engine::pace::Pace;
use voice_embedding_engine::pipeline::{Analysis, PipelineError, Wanted, WantedTurns};

use crate::errors::{RecordingError, cannot_run, unpanicked, value_error};
use crate::model::Model;
use crate::source::{Source, options};
use crate::values::{self, n_threads};

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
    let heard = unpanicked(py, || {
        let recording = readable.decode(options)?;
        Ok::<_, RecordingError>(
            model.pipeline.analyse_wanted(recording, &wanted, Pace::UNBROKEN)?.swap_remove(0)?,
        )
    });
    let heard = heard?.map_err(|error| error.exception(py, source.path()))?;
    let n_sessions = threads.min(heard.features.units().len().div_ceil(MAX_BATCH.get()));
    let mut sessions = model.sessions(n_sessions).map_err(cannot_run)?;
    let diarized = unpanicked(py, || diarized(model, heard, count, &mut sessions))?;
    model.give_back(sessions);
    let diarized = diarized.map_err(|error| error.exception(py, source.path()))?;
    let rttm = diarized.rttm(name);
    let found = diarized.answer(None, true);
    let turns = found.segments.into_iter().map(|turn| (turn.start, turn.end, turn.label, turn.margin));
    let speakers = found.speakers.into_iter().map(|speaker| {
        let embedding = speaker.embedding.unwrap_or_default().into_pyarray(py);
        (speaker.label, speaker.seconds, embedding)
    });
    let answer = PyDict::new(py);
    answer.set_item("turns", turns.collect::<Vec<_>>())?;
    answer.set_item("speakers", speakers.collect::<Vec<_>>())?;
    answer.set_item("rttm", rttm)?;
    answer.set_item("audio", values::report(py, &found.audio)?)?;
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

fn diarized(
    model: &Model,
    analysis: Analysis,
    count: SpeakerCount,
    sessions: &mut [Session],
) -> Result<Diarized, RecordingError> {
    let units = embed_units_on(sessions, &analysis.features)?;
    let heard = Heard {
        speech: analysis.speech,
        windows: analysis.unit_seconds,
        units: units.into_iter().map(normalized).collect(),
    };
    let merged_from = model.loaded.spec.turns.merged_from;
    let found = speakers_of(heard, count, merged_from, Pace::UNBROKEN).map_err(PipelineError::from)?;
    let names = Names::none(found.speakers.len());
    let channel = DiarizedChannel { number: None, found, names, audio: analysis.report };
    Ok(Diarized::new(vec![channel], model.loaded.id.clone()))
}
