//! A live session in this process.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::LiveArgs;
use super::print::Printer;
use super::source::AudioSource;
use crate::audio::Channel;
use crate::cli::embedder::Live;
use crate::cli::naming::Naming;
use crate::decisions::{Diarized, DiarizedChannel};
use crate::diarization::{Diarization, SpeakerCount, TurnOptions};
use crate::embedder::EmbedderModel;
use crate::live::{LiveEvent, LiveOptions, LiveWarning, Purpose, latency_seconds};
use crate::pace::Pace;

/// Listens until the audio ends or the command is stopped, and then writes the result.
pub(super) fn run(
    args: &LiveArgs,
    count: SpeakerCount,
    source: &mut AudioSource,
    is_stopped: &AtomicBool,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let (embedding, naming) = args.naming.start(false)?;
    let model = embedding.model();
    let turns = TurnOptions { count, overlap: true };
    let channel = if source.is_recording() { Channel::Mix } else { args.naming.embedding.options().channel };
    let options =
        LiveOptions { raw: source.raw(), channel, turns: turns.clone(), max_seconds: f64::from(u32::MAX) };
    let mut live = embedding.live(options)?;
    let ready = json!({
        "type": "ready", "model": model.id().fingerprint(), "sample_rate": source.raw().sample_rate_hz,
        "latency_seconds": latency_seconds(args.partial_seconds),
    });
    printer.event(ready, 0.0)?;
    let (mut waiting, mut next_step) = (Vec::new(), args.partial_seconds);
    while !is_stopped.load(Ordering::Relaxed)
        && let Some(bytes) = source.next()?
    {
        waiting.extend(bytes);
        if source.seconds() + 1e-6 >= next_step {
            next_step += args.partial_seconds;
            let events = live.step(std::mem::take(&mut waiting), Purpose::Update)?;
            tell(events, &mut live, &naming, model, source.seconds(), printer)?;
        }
    }
    let events = live.step(waiting, Purpose::End)?;
    tell(events, &mut live, &naming, model, source.seconds(), printer)?;
    let (heard, transcript) = live.conclude();
    let (found, audio) = match heard {
        Ok(heard) => heard.diarize_any(&turns, Pace::UNBROKEN)?,
        Err(audio) => (Diarization::default(), audio),
    };
    let names = naming.name(&found, model)?;
    let channel = DiarizedChannel { number: None, found, names, audio };
    let answer = Diarized::new(vec![channel], model.id().clone()).answer(transcript.as_ref(), true);
    let mut event = json!({"type": "final"});
    let serde_json::Value::Object(fields) = serde_json::to_value(answer)? else { return Ok(()) };
    event.as_object_mut().expect("it was just made").extend(fields);
    printer.event(event, source.seconds())
}

/// Writes the events of a step, and searches for names if a search is due.
fn tell(
    mut events: Vec<LiveEvent>,
    live: &mut Live,
    naming: &Naming,
    model: &EmbedderModel,
    received: f64,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    if naming.is_wanted()
        && let Some(voices) = live.session().due_search()
    {
        events.extend(match naming.name(&voices, model) {
            Ok(names) => live.session().name(&names),
            Err(_) => vec![LiveWarning::NamesUnavailable.event()],
        });
    }
    for event in events {
        printer.event(serde_json::to_value(event)?, received)?;
    }
    Ok(())
}
