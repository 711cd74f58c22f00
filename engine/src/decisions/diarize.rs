//! The results of diarization: turns with names, and a transcript.

use serde::Serialize;
use serde_json::value::RawValue;

use super::naming::Names;
use crate::diarization::{Diarization, DiarizedSpeaker, Turn, label, rttm, spoken_seconds};
use crate::embedding::ModelId;
use crate::notation::milliseconds;
use crate::report::AudioReport;
use crate::speakers::Identifier;
use crate::transcript::{CueFormat, Said, Transcript, cues_of_turns, said_of_turns};

/// The turns and speakers of a recording, or of one of its channels.
pub struct DiarizedChannel {
    /// The number of the channel, if channels were split.
    pub number: Option<u16>,
    /// Turns and speakers.
    pub found: Diarization,
    /// The names of the speakers.
    pub names: Names,
    /// The report on the channel.
    pub audio: AudioReport,
}

/// The turns and speakers of a recording. The speakers of all channels are numbered consecutively.
pub struct Diarized {
    /// The turns, in the order of their starts.
    turns: Vec<Turn>,
    /// The channel of each speaker, if channels were split.
    channels: Vec<Option<u16>>,
    speakers: Vec<DiarizedSpeaker>,
    names: Names,
    overlap_seconds: f64,
    /// The report on the first channel.
    audio: AudioReport,
    model: ModelId,
}

/// The turns and speakers of a recording.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DiarizeAnswer {
    /// The file, on the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(ignore))]
    pub path: Option<String>,
    /// The turns, in the order of their starts. Turns of different speakers may overlap.
    pub segments: Vec<TurnAnswer>,
    /// The total seconds in which several people speak at once.
    #[cfg_attr(feature = "schema", schema(example = 1.84))]
    pub overlap_seconds: f64,
    /// The speakers, in the order in which they are first heard. To enrol one, send it back as a voice.
    pub speakers: Vec<HeardSpeaker>,
    /// The transcript of the request in its own format, with `speaker` on each part and word. A VTT or SRT file is a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<serde_json::Value>))]
    pub transcript: Option<Box<RawValue>>,
    /// The properties of the recording or, if channels were split, of the first channel.
    pub audio: AudioReport,
    /// The fingerprint of the model, which identifies its weights and preprocessing.
    #[cfg_attr(feature = "schema", schema(example = "resemblyzer-0.1.4/39373b86"))]
    pub model: String,
}

/// A turn of one speaker.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TurnAnswer {
    /// The start of the turn, in seconds of the recording.
    #[cfg_attr(feature = "schema", schema(example = 1.08))]
    pub start: f64,
    /// The end of the turn, in seconds of the recording.
    #[cfg_attr(feature = "schema", schema(example = 5.13))]
    pub end: f64,
    /// The label of the speaker.
    #[cfg_attr(feature = "schema", schema(example = "S1"))]
    pub label: String,
    /// The turn's cosine similarity to this speaker, minus its similarity to the next most similar speaker. Null if there
    /// is no other speaker, or if no part of the turn is free of overlapping speech.
    #[cfg_attr(feature = "schema", schema(example = 0.21))]
    pub margin: Option<f64>,
    /// The channel, if channels were split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<u16>,
}

/// A speaker of a recording.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HeardSpeaker {
    /// The label of the speaker's turns.
    #[cfg_attr(feature = "schema", schema(example = "S1"))]
    pub label: String,
    /// The total seconds of the speaker's turns.
    #[cfg_attr(feature = "schema", schema(example = 29.1))]
    pub seconds: f64,
    /// The embedding of the speaker's speech that does not overlap with others, with an L2 norm of 1. Missing for keys
    /// without the right `embed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<f32>, required = false))]
    pub embedding: Option<Vec<f32>>,
    /// The model of the embedding.
    #[cfg_attr(feature = "schema", schema(example = "resemblyzer-0.1.4/39373b86"))]
    pub model: String,
    /// The seconds of speech that the embedding is computed from.
    #[cfg_attr(feature = "schema", schema(example = 29.1))]
    pub speech_seconds: f64,
    /// The id of the enrolled speaker. Null if no enrolled speaker matches, or if none was searched for.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "anna"))]
    pub speaker: Option<Identifier>,
    /// The name of the enrolled speaker, or the known speaker's name in the request.
    #[cfg_attr(feature = "schema", schema(example = "Anna"))]
    pub name: Option<String>,
    /// The cosine similarity to the enrolled speaker's profile, or to the reference.
    #[cfg_attr(feature = "schema", schema(example = 0.87))]
    pub similarity: Option<f64>,
}

/// A transcript with speakers, in the format of OpenAI's `gpt-4o-transcribe-diarize`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DiarizedTranscript {
    /// Always `transcribe`.
    pub task: &'static str,
    /// The length of the recording, in seconds.
    pub duration: f64,
    /// One line for each segment: the speaker, a colon and the text.
    #[cfg_attr(feature = "schema", schema(example = "Anna: Shall we begin?\nA: Yes."))]
    pub text: String,
    /// The segments, in the order of the transcript.
    pub segments: Vec<SegmentAnswer>,
    /// The quantity by which OpenAI bills such a request.
    pub usage: UsageAnswer,
}

/// A segment of a transcript and its speaker.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SegmentAnswer {
    /// Always `transcript.text.segment`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The id of the segment.
    #[cfg_attr(feature = "schema", schema(example = "seg_001"))]
    pub id: String,
    /// The start of the segment, in seconds of the recording.
    pub start: f64,
    /// The end of the segment, in seconds of the recording.
    pub end: f64,
    /// The text of the segment.
    pub text: String,
    /// The name of a known speaker, or a letter.
    pub speaker: Option<String>,
}

/// The length of the recording.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UsageAnswer {
    /// Always `duration`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The seconds of the recording, rounded up.
    pub seconds: u64,
}

impl Diarized {
    /// Joins the channels of a recording. `model` is the model of their embeddings.
    ///
    /// # Panics
    /// If there is no channel.
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

    /// Returns RTTM, with this name of the recording.
    pub fn rttm(&self, recording: &str) -> String {
        let channel = |speaker: usize| self.channels[speaker].map_or(1, |channel| channel + 1);
        let names = self.names.distinct_names();
        rttm(recording, &self.turns, &|speaker| names[speaker].clone(), &channel)
    }

    /// Returns subtitles of the transcript. If there is none or it is empty, each turn becomes a cue.
    pub fn cues(&self, format: CueFormat, transcript: Option<&Transcript>) -> String {
        let name = |speaker: usize| self.names.display_name(speaker);
        match transcript.filter(|transcript| !transcript.is_empty()) {
            Some(transcript) => transcript.cues(format, &self.turns, &name),
            None => cues_of_turns(format, &self.turns, &name),
        }
    }

    /// Returns the transcript in its own format, with speakers.
    pub fn attributed(&self, transcript: &Transcript) -> Box<RawValue> {
        transcript.with_speakers(&self.turns, &|speaker| self.names.display_name(speaker))
    }

    /// Returns the transcript in the format of OpenAI's `gpt-4o-transcribe-diarize`. Its segments are the parts of the
    /// transcript or, if the transcript is empty, the turns without text. Unknown speakers are A, B and so on.
    pub fn diarized_transcript(&self, transcript: &Transcript) -> DiarizedTranscript {
        let known: Vec<Option<String>> =
            (0..self.speakers.len()).map(|speaker| self.names.known_name(speaker)).collect();
        let mut letters =
            (0..).map(letters).filter(|letters| !known.iter().flatten().any(|name| name == letters));
        let names: Vec<String> =
            known.iter().map(|name| name.clone().or_else(|| letters.next()).unwrap_or_default()).collect();
        let segment = |(i, said): (usize, Said)| SegmentAnswer {
            kind: "transcript.text.segment",
            id: format!("seg_{:03}", i + 1),
            start: milliseconds(said.seconds.start),
            end: milliseconds(said.seconds.end),
            text: said.text.trim().to_owned(),
            speaker: said.speaker.map(|speaker| names[speaker].clone()),
        };
        let said = if transcript.is_empty() {
            said_of_turns(&self.turns)
        } else {
            transcript.assign_speakers(&self.turns)
        };
        let segments: Vec<SegmentAnswer> = said.into_iter().enumerate().map(segment).collect();
        let line = |segment: &SegmentAnswer| match &segment.speaker {
            Some(speaker) => format!("{speaker}: {}", segment.text),
            None => segment.text.clone(),
        };
        let with_text = segments.iter().filter(|segment| !segment.text.is_empty());
        DiarizedTranscript {
            task: "transcribe",
            duration: milliseconds(self.audio.duration_seconds),
            text: with_text.map(line).collect::<Vec<_>>().join("\n"),
            segments,
            usage: UsageAnswer { kind: "duration", seconds: self.audio.duration_seconds.ceil() as u64 },
        }
    }

    /// Returns the complete response.
    pub fn answer(self, transcript: Option<&Transcript>, with_embeddings: bool) -> DiarizeAnswer {
        let model = self.model.fingerprint();
        let turn = |turn: &Turn| TurnAnswer {
            start: milliseconds(turn.seconds.start),
            end: milliseconds(turn.seconds.end),
            label: label(turn.speaker),
            margin: turn.margin,
            channel: self.channels[turn.speaker],
        };
        let speaker = |(number, speaker): (usize, &DiarizedSpeaker)| {
            let named = self.names.name_of(number);
            let seconds = milliseconds(speaker.seconds);
            HeardSpeaker {
                label: label(number),
                seconds,
                embedding: (with_embeddings && !speaker.embedding.is_empty())
                    .then(|| speaker.embedding.iter().map(|c| *c as f32).collect()),
                model: model.to_owned(),
                speech_seconds: milliseconds(speaker.clean_seconds),
                speaker: named.and_then(|named| named.speaker.clone()),
                name: named.map(|named| named.name.clone()),
                similarity: named.map(|named| named.similarity),
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

/// Returns A, B to Z, AA and so on.
fn letters(mut number: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push((b'A' + (number % 26) as u8) as char);
        if number < 26 {
            return letters.iter().rev().collect();
        }
        number = number / 26 - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_on_behind_z() {
        let cases = [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA"), (701, "ZZ"), (702, "AAA")];
        for (number, expected) in cases {
            assert_eq!(letters(number), expected, "{number}");
        }
    }
}
