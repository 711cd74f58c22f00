//! `POST /v1/embeddings`: many recordings to embeddings, in the shape of OpenAI's.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::VoiceErrors;
use super::vector::{EncodingFormat, Vector};
use crate::audio::{Channel, RawFormat};
use crate::embedder::{Embedded, EmbeddedVoice, Partial};
use crate::http::answer;
use crate::http::error::{ApiError, FieldError};
use crate::http::pages::document::example_recording;
use crate::http::request::bounded::bounded;
use crate::http::request::call::{Call, Parse};
use crate::http::request::channel::channel_schema;
use crate::http::request::json;
use crate::http::request::model::resolve;
use crate::http::request::parts::{Received, Takes};
use crate::http::request::raw_format;
use crate::http::request::voice::{ChannelName, Segments, Source, VoiceRecording, check_segments};
use crate::http::routes::extract_embedding::RawRecording;
use crate::http::state::AppState;
use crate::notation::milliseconds;
use crate::pace::Pace;
use crate::pipeline::{PipelineError, RecordingOptions, Wanted, WantedPartials};
use crate::report::AudioReport;

/// Recordings that are read of a list: more than `MAX_BATCH_RECORDINGS` can be.
const MAX_INPUTS: usize = 2_000;

/// Partials of a request at the most.
const MAX_PARTIALS: usize = 20_000;

/// Recordings to embed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"input": [example_recording()], "model": "resemblyzer"}))]
pub(in crate::http) struct EmbeddingsRequest {
    /// A recording, or a list of them, in base64; data URIs are fine.
    #[schema(value_type = Vec<String>, min_items = 1)]
    input: Option<Input>,
    /// The model, by id or fingerprint; the default one if missing.
    model: Option<String>,
    /// How embeddings are written.
    encoding_format: Option<EncodingFormat>,
    /// Whether to answer the embeddings of windows, with their times in the recording.
    partials: Option<bool>,
    /// Windows a second, for the partials alone; the model's own number if missing.
    rate: Option<f64>,
    /// Whether to answer where speech is, as `audio.speech_segments`.
    speech: Option<bool>,
    /// What becomes of a request with a bad recording.
    on_error: Option<OnError>,
    /// `mix` for the mean of all channels, or the number of one.
    #[schema(schema_with = channel_schema, required = false)]
    channel: Option<ChannelName>,
    /// Stretches of one recording, in seconds; the answer has a result for each.
    #[schema(value_type = Option<Vec<Vec<f64>>>)]
    segments: Option<Segments>,
    /// `pcm_s16le` and the like, for samples without a header.
    format: Option<String>,
    /// Sample rate of samples without a header, in Hz.
    sample_rate: Option<f64>,
    /// Interleaved channels of samples without a header.
    channels: Option<f64>,
    /// Only the model's own number is accepted.
    dimensions: Option<usize>,
    /// Ignored.
    #[schema(value_type = Option<String>)]
    #[allow(dead_code, reason = "SDKs send it")]
    user: Option<IgnoredAny>,
}

/// What becomes of a request with a bad recording.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum OnError {
    /// It fails.
    #[default]
    Fail,
    /// The good ones are answered, the bad ones listed in `errors`.
    Report,
}

/// One or many recordings in base64.
struct Input(Vec<String>);

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputVisitor;

        const EXPECTED: &str = "a recording in base64, or a list of them";

        impl<'de> Visitor<'de> for InputVisitor {
            type Value = Input;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Input, E> {
                self.visit_string(text.to_owned())
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Input, E> {
                check_recording(&text)?;
                Ok(Input(vec![text]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Input, A::Error> {
                let recordings: Vec<Item> = bounded(items, MAX_INPUTS)?;
                Ok(Input(recordings.into_iter().map(|Item(text)| text).collect()))
            }
        }

        deserializer.deserialize_any(InputVisitor)
    }
}

/// A recording in a list.
struct Item(String);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;

        const TOKENS: &str =
            "tokens are no recordings: send strings (LangChain: check_embedding_ctx_length=False)";

        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a recording in base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Item, E> {
                self.visit_string(text.to_owned())
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Item, E> {
                check_recording(&text)?;
                Ok(Item(text))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Item, E> {
                Err(E::custom(TOKENS))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Item, A::Error> {
                Err(A::Error::custom(TOKENS))
            }
        }

        deserializer.deserialize_any(ItemVisitor)
    }
}

fn check_recording<E: Error>(text: &str) -> Result<(), E> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(E::custom("recordings are not fetched from URLs: send the file in base64"));
    }
    Ok(())
}

/// Embeddings, in the order of the recordings.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EmbeddingsAnswer {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    /// Names weights and preprocessing.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    model: String,
    data: Vec<EmbeddingAnswer>,
    /// Recordings without an embedding, with `on_error` `report`; segments without speech.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<EmbeddingError>,
    usage: Usage,
}

/// An embedding.
#[derive(Serialize, ToSchema)]
struct EmbeddingAnswer {
    /// Always `embedding`.
    #[schema(example = "embedding")]
    object: &'static str,
    /// Place of the recording in the request, or of the segment.
    index: usize,
    /// L2 norm 1: numbers, or base64 of little-endian `f32`.
    #[schema(value_type = Vec<f32>, example = json!([0.085, 0.0, 0.0694]))]
    embedding: Vector,
    /// Names weights and preprocessing: embeddings can be compared if this is equal.
    model: String,
    /// Seconds of speech that it was made of.
    speech_seconds: f64,
    audio: AudioReport,
    /// The windows, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    partials: Option<Vec<PartialAnswer>>,
}

/// A window's embedding.
#[derive(Serialize, ToSchema)]
struct PartialAnswer {
    /// When its first sample is, in seconds of the recording.
    start: f64,
    /// When its last sample ends; the window may span pauses that were cut out.
    end: f64,
    #[schema(value_type = Vec<f32>, example = json!([0.085, 0.0, 0.0694]))]
    embedding: Vector,
}

/// A recording or segment without an embedding.
#[derive(Serialize, ToSchema)]
struct EmbeddingError {
    index: usize,
    #[schema(example = "no_speech")]
    code: &'static str,
    detail: String,
}

/// What was used.
#[derive(Serialize, ToSchema)]
struct Usage {
    /// Windows of the encoder.
    prompt_tokens: usize,
    /// The same.
    total_tokens: usize,
    /// Seconds of audio.
    audio_seconds: f64,
}

/// Options of a request, checked.
pub(in crate::http) struct Options {
    model: Option<String>,
    format: EncodingFormat,
    wanted: Wanted,
    on_error: OnError,
    has_segments: bool,
    dimensions: Option<usize>,
}

/// Embed recordings.
///
/// As JSON in the shape of OpenAI's, as a form with many parts `file`, or as the body itself with the options in the query.
#[utoipa::path(post, path = "/v1/embeddings", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    request_body(content((EmbeddingsRequest = "application/json"), (EmbeddingsForm = "multipart/form-data"), (RawRecording = "application/octet-stream"))),
    responses(
        (status = 200, body = EmbeddingsAnswer, description = "The embeddings, in the order of the recordings",
            headers(("Server-Timing" = String, description = "The time of each stage: `queue`, `decode`, `preprocess`, `encode`."))),
        VoiceErrors,
    ),
)]
pub(in crate::http) async fn embeddings(
    State(state): State<AppState>,
    Call { caller, admission, request: (options, recordings) }: Call<(Options, Vec<VoiceRecording>)>,
) -> Result<Response, ApiError> {
    let model = resolve(state.embedder_in_hand()?, options.model.as_deref().into_iter())?.clone();
    if options.dimensions.is_some_and(|dimensions| dimensions != model.spec().dimension) {
        return Err(ApiError::Dimensions { dimension: model.spec().dimension });
    }
    let batch = admission.embed(&caller, &model, &options.wanted, recordings)?;
    let (outcomes, errors) = match options.on_error {
        OnError::Fail => {
            let all = batch.all(|i| format!("input[{i}]")).await?;
            (all.into_iter().enumerate().collect(), Vec::new())
        }
        OnError::Report => split(batch.outcomes().await)?,
    };
    let fingerprint = model.id().fingerprint().to_owned();
    let (timings, seconds) =
        answer::totals(outcomes.iter().map(|(_, embedded): &(usize, Embedded)| embedded));
    let has_partials = options.wanted.partials.is_some();
    let answer = move |pace: Pace<'_>| {
        let answer = EmbeddingsAnswer::new(fingerprint, outcomes, errors, &options)?;
        answer::to_json_in_slices(&answer, pace)
    };
    let body = if has_partials {
        admission.run_in_slices(answer).await??
    } else {
        admission.run(|| answer(Pace::UNBROKEN)).await??
    };
    Ok(answer::json_text(body, &timings, seconds))
}

impl Parse for (Options, Vec<VoiceRecording>) {
    const TAKES: Takes = Takes::voices(&["file"]);

    fn parse(received: Received) -> Result<Self, ApiError> {
        EmbeddingsRequest::read(received)
    }
}

/// The recordings that were embedded, by their places, and the errors of the others.
#[allow(clippy::type_complexity, reason = "it is taken apart where it is made")]
fn split(
    outcomes: Vec<Result<Embedded, ApiError>>,
) -> Result<(Vec<(usize, Embedded)>, Vec<EmbeddingError>), ApiError> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (index, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(embedded) => good.push((index, embedded)),
            Err(error) if is_of_the_request(&error) => return Err(error),
            Err(error) => bad.push(EmbeddingError { index, code: error.code(), detail: error.to_string() }),
        }
    }
    Ok((good, bad))
}

/// Whether an error is no property of one recording.
fn is_of_the_request(error: &ApiError) -> bool {
    error.is_internal() || matches!(error, ApiError::Pipeline(PipelineError::TooManyPartials))
}

/// Recordings to embed, as files.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a multipart form to OpenAPI")]
pub(in crate::http) struct EmbeddingsForm {
    /// The audio files, as many parts as wanted.
    #[schema(value_type = Vec<String>, format = Binary)]
    file: Vec<u8>,
    /// As in JSON.
    #[schema(example = "resemblyzer")]
    model: Option<String>,
    /// As in JSON.
    #[schema(value_type = Option<String>, example = "float")]
    encoding_format: Option<EncodingFormat>,
    /// As in JSON.
    #[schema(example = false)]
    partials: Option<bool>,
    /// As in JSON.
    #[schema(example = false)]
    speech: Option<bool>,
    /// As in JSON.
    #[schema(value_type = Option<String>, example = "fail")]
    on_error: Option<OnError>,
}

impl EmbeddingsRequest {
    fn read(received: Received) -> Result<(Options, Vec<VoiceRecording>), ApiError> {
        match received {
            Received::Json(body) => {
                let mut request: Self = json::from_json(body)?;
                let Some(Input(input)) = request.input.take() else {
                    return Err(FieldError::missing(&["body", "input"], serde_json::Value::Null).into());
                };
                request.check(input.into_iter().map(|text| (Source::Base64(text), None)).collect())
            }
            Received::Parts { files, options } => {
                let request: Self = json::from_options(options)?;
                request.check(files.into_iter().map(|part| (Source::File(part.bytes), part.raw)).collect())
            }
        }
    }

    /// The recordings with their options. What a part's own content type says of its samples comes first.
    fn check(
        self,
        sources: Vec<(Source, Option<RawFormat>)>,
    ) -> Result<(Options, Vec<VoiceRecording>), ApiError> {
        let wrong =
            |field: &str, msg: &str| ApiError::from(FieldError::at(&["body", field], "value_error", msg));
        if self.input.is_some() {
            return Err(wrong("input", "Only JSON has this field; a form has parts named file"));
        }
        if sources.is_empty() {
            return Err(wrong("input", "There should be at least one recording"));
        }
        if self.rate.is_some() && self.partials != Some(true) {
            return Err(wrong("rate", "Only partials have a rate"));
        }
        let rates = WantedPartials::RATES;
        if self.rate.is_some_and(|rate| !rates.contains(&rate)) {
            return Err(wrong("rate", &format!("Input should be from {} to {}", rates.start(), rates.end())));
        }
        let raw = raw_format::of_fields(self.format.as_deref(), self.sample_rate, self.channels)?;
        let segments = self.segments.map(|segments| check_segments(&[], &segments.0)).transpose()?;
        if segments.is_some() && sources.len() > 1 {
            return Err(wrong("segments", "Only one recording can have segments"));
        }
        let channel = self.channel.map_or(Channel::Mix, |ChannelName(channel)| channel);
        let partials = (self.partials == Some(true))
            .then(|| WantedPartials { rate: self.rate, left: Arc::new(MAX_PARTIALS.into()) });
        let options = Options {
            model: self.model,
            format: self.encoding_format.unwrap_or_default(),
            wanted: Wanted { partials, speech: self.speech == Some(true), ..Wanted::default() },
            on_error: self.on_error.unwrap_or_default(),
            has_segments: segments.is_some(),
            dimensions: self.dimensions,
        };
        let recording = |(source, own_raw): (Source, Option<RawFormat>)| VoiceRecording {
            source,
            options: RecordingOptions { channel, raw: own_raw.or(raw) },
            segments: segments.clone(),
        };
        Ok((options, sources.into_iter().map(recording).collect()))
    }
}

impl EmbeddingsAnswer {
    fn new(
        model: String,
        embedded: Vec<(usize, Embedded)>,
        mut errors: Vec<EmbeddingError>,
        options: &Options,
    ) -> Result<Self, ApiError> {
        let mut usage = Usage { prompt_tokens: 0, total_tokens: 0, audio_seconds: 0.0 };
        let mut data = Vec::new();
        for (place, embedded) in embedded {
            for (segment, voice) in embedded.voices.into_iter().enumerate() {
                let index = if options.has_segments { segment } else { place };
                match voice {
                    Ok(voice) => {
                        usage.prompt_tokens += voice.audio.windows;
                        usage.audio_seconds += voice.audio.duration_seconds;
                        data.push(EmbeddingAnswer::new(index, &model, voice, options));
                    }
                    Err(error) => {
                        let error = ApiError::from(error);
                        errors.push(EmbeddingError { index, code: error.code(), detail: error.to_string() });
                    }
                }
            }
        }
        if let Some(first) = errors.first()
            && data.is_empty()
        {
            return Err(ApiError::NothingEmbedded { n: errors.len(), first: first.detail.clone() });
        }
        usage.total_tokens = usage.prompt_tokens;
        Ok(Self { object: "list", model, data, errors, usage })
    }
}

impl EmbeddingAnswer {
    fn new(index: usize, model: &str, voice: EmbeddedVoice, options: &Options) -> Self {
        let format = options.format;
        let partial = |Partial { seconds, embedding }| PartialAnswer {
            start: milliseconds(seconds.start),
            end: milliseconds(seconds.end),
            embedding: Vector { components: embedding, format },
        };
        Self {
            object: "embedding",
            index,
            embedding: Vector::new(voice.embedding.components(), format),
            model: model.to_owned(),
            speech_seconds: voice.audio.speech_seconds,
            audio: voice.audio,
            partials: options
                .wanted
                .partials
                .as_ref()
                .map(|_| voice.partials.into_iter().map(partial).collect()),
        }
    }
}
