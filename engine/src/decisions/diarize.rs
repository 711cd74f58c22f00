//! Who spoke when, with names and a transcript.

use serde::Serialize;
use serde_json::value::RawValue;

use super::naming::Names;
use crate::diarization::{Diarization, Speaker, Turn, label, rttm, spoken_seconds};
use crate::embedding::ModelId;
use crate::notation::milliseconds;
use crate::report::AudioReport;
use crate::speakers::Identifier;
use crate::transcript::{CueFormat, Transcript, cues_of_turns};

/// Who spoke when in a recording, or in one of its channels.
pub struct DiarizedChannel {
    /// The channel's number, where they were split.
    pub number: Option<u16>,
    /// Turns and speakers.
    pub found: Diarization,
    /// The names of the speakers.
    pub names: Names,
    /// What is known of the channel.
    pub audio: AudioReport,
}

/// Who spoke when in a recording: its channels, with their speakers numbered through.
pub struct Diarized {
    /// In the order of their starts.
    turns: Vec<Turn>,
    /// Of each speaker the channel, where they were split.
    channels: Vec<Option<u16>>,
    speakers: Vec<Speaker>,
    names: Names,
    overlap_seconds: f64,
    /// Of the first channel.
    audio: AudioReport,
    model: ModelId,
}

/// Who spoke when.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DiarizeAnswer {
    /// The file, on the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(ignore))]
    pub path: Option<String>,
    /// The turns, in the order of their starts. Those of different speakers may overlap.
    pub segments: Vec<TurnAnswer>,
    /// Seconds in which more than one speaks.
    #[cfg_attr(feature = "schema", schema(example = 1.84))]
    pub overlap_seconds: f64,
    /// The speakers, as they are heard. Each can be sent back as a voice, to be enrolled.
    pub speakers: Vec<HeardSpeaker>,
    /// What was sent, in its own format, with `speaker` on each part and word; a VTT or SRT file is a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<serde_json::Value>))]
    pub transcript: Option<Box<RawValue>>,
    /// Of the recording or, where its channels were split, of the first.
    pub audio: AudioReport,
    /// Names weights and preprocessing.
    #[cfg_attr(feature = "schema", schema(example = "resemblyzer-0.1.4/39373b86"))]
    pub model: String,
}

/// One speaker's turn.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TurnAnswer {
    /// When it begins, in seconds of the recording.
    #[cfg_attr(feature = "schema", schema(example = 1.08))]
    pub start: f64,
    /// When it ends.
    #[cfg_attr(feature = "schema", schema(example = 5.13))]
    pub end: f64,
    /// Whose it is.
    #[cfg_attr(feature = "schema", schema(example = "S1"))]
    pub label: String,
    /// How much more alike it is to this speaker than to the next, as a difference of cosines; null if there is no other, or nothing of it is
    /// heard without others.
    #[cfg_attr(feature = "schema", schema(example = 0.21))]
    pub margin: Option<f64>,
    /// The channel, where they were split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<u16>,
}

/// A speaker of a recording.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HeardSpeaker {
    /// The label of the turns.
    #[cfg_attr(feature = "schema", schema(example = "S1"))]
    pub label: String,
    /// Of all turns together.
    #[cfg_attr(feature = "schema", schema(example = 29.1))]
    pub seconds: f64,
    /// The speaker's voice, L2 norm 1, of what is heard without others; missing for keys without the right `embed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<f32>, required = false))]
    pub embedding: Option<Vec<f32>>,
    /// The embedding's model.
    #[cfg_attr(feature = "schema", schema(example = "resemblyzer-0.1.4/39373b86"))]
    pub model: String,
    /// Seconds of speech that the embedding is made of.
    #[cfg_attr(feature = "schema", schema(example = 29.1))]
    pub speech_seconds: f64,
    /// The enrolled speaker's id; null if there is none, or none was looked for.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "anna"))]
    pub speaker: Option<Identifier>,
    /// The enrolled speaker's name.
    #[cfg_attr(feature = "schema", schema(example = "Anna"))]
    pub name: Option<String>,
    /// Cosine similarity to the enrolled speaker's profile.
    #[cfg_attr(feature = "schema", schema(example = 0.87))]
    pub similarity: Option<f64>,
}

impl Diarized {
    /// Of at least one channel, found with a model's embeddings.
    ///
    /// # Panics
    /// If there is none.
    pub fn new(channels: Vec<DiarizedChannel>, model: ModelId) -> Self {
        let audio = channels[0].audio.clone();
        let mut diarized = Self {
            turns: Vec::new(),
            channels: Vec::new(),
            speakers: Vec::new(),
            names: Names::default(),
            overlap_seconds: 0.0,
            audio,
            model,
        };
        for DiarizedChannel { number, found, names, .. } in channels {
            let before = diarized.speakers.len();
            diarized.channels.resize(before + found.speakers.len(), number);
            let turns = found.turns.into_iter().map(|turn| Turn { speaker: turn.speaker + before, ..turn });
            diarized.turns.extend(turns);
            diarized.speakers.extend(found.speakers);
            diarized.names.extend(names);
        }
        diarized.turns.sort_by(|a, b| a.seconds.start.total_cmp(&b.seconds.start));
        diarized.overlap_seconds = spoken_seconds(&diarized.turns).1;
        diarized
    }

    /// RTTM, under a name for the recording.
    pub fn rttm(&self, recording: &str) -> String {
        let channel = |speaker: usize| self.channels[speaker].map_or(1, |channel| channel + 1);
        rttm(recording, &self.turns, &|speaker| self.names.id(speaker), &channel)
    }

    /// Subtitles: of the transcript or, without one, a cue for each turn.
    pub fn cues(&self, format: CueFormat, transcript: Option<&Transcript>) -> String {
        let name = |speaker: usize| self.names.display_name(speaker);
        match transcript {
            Some(transcript) => transcript.cues(format, &self.turns, &name),
            None => cues_of_turns(format, &self.turns, &name),
        }
    }

    /// The transcript, in its own format, with speakers.
    pub fn attributed(&self, transcript: &Transcript) -> Box<RawValue> {
        transcript.with_speakers(&self.turns, &|speaker| self.names.display_name(speaker))
    }

    /// Everything.
    pub fn answer(self, transcript: Option<&Transcript>, with_embeddings: bool) -> DiarizeAnswer {
        let model = self.model.fingerprint();
        let turn = |turn: &Turn| TurnAnswer {
            start: milliseconds(turn.seconds.start),
            end: milliseconds(turn.seconds.end),
            label: label(turn.speaker),
            margin: turn.margin,
            channel: self.channels[turn.speaker],
        };
        let speaker = |(number, speaker): (usize, &Speaker)| {
            let enrolled = self.names.enrolled(number);
            let seconds = milliseconds(speaker.seconds);
            HeardSpeaker {
                label: label(number),
                seconds,
                embedding: (with_embeddings && !speaker.embedding.is_empty())
                    .then(|| speaker.embedding.iter().map(|c| *c as f32).collect()),
                model: model.to_owned(),
                speech_seconds: milliseconds(speaker.clean_seconds),
                speaker: enrolled.map(|enrolled| enrolled.speaker.clone()),
                name: enrolled.map(|enrolled| enrolled.name.clone()),
                similarity: enrolled.map(|enrolled| enrolled.similarity),
            }
        };
        DiarizeAnswer {
            path: None,
            overlap_seconds: milliseconds(self.overlap_seconds),
            segments: self.turns.iter().map(turn).collect(),
            speakers: self.speakers.iter().enumerate().map(speaker).collect(),
            transcript: transcript.map(|transcript| self.attributed(transcript)),
            model: model.to_owned(),
            audio: self.audio,
        }
    }
}
