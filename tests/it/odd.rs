//! Unusual files, with the expected result for each.

use serde::Deserialize;
use voice_embedding_service::audio::AudioError;
use voice_embedding_service::pipeline::PipelineError;

use super::support::{cosine, parity_data, pipeline, session};

/// A line of `odd.jsonl`.
#[derive(Deserialize)]
struct Odd {
    file: String,
    what: String,
    status: u16,
    code: Option<String>,
    detail_says: Option<String>,
    seconds: Option<[f64; 2]>,
    warnings: Option<Vec<String>>,
    min_cosine: Option<f64>,
    embedding: Option<Vec<f64>>,
}

/// ffmpeg's own Opus decoder decoded the reference of this file. libopus, which ropus reproduces, has this cosine to it.
const DECODED_BY_FFMPEG: (&str, f64) = ("opus-family255.opus", 0.997_8);

#[test]
fn unusual_files_get_the_embedding_of_their_plain_twin() {
    let Some(data) = parity_data("unusual_files_get_the_embedding_of_their_plain_twin") else { return };
    let folder = data.join("audio/odd");
    let (pipeline, mut session) = (pipeline(), session());
    let lines = std::fs::read_to_string(folder.join("odd.jsonl")).unwrap();
    let mut wrong = Vec::new();
    for odd in lines.lines().map(|line| serde_json::from_str::<Odd>(line).unwrap()) {
        let found = pipeline.embed(&mut session, &std::fs::read(folder.join(&odd.file)).unwrap());
        if let Err(reason) = check(&odd, found.map(|(e, r)| (e.components().to_vec(), r))) {
            wrong.push(format!("{} ({}): {reason}", odd.file, odd.what));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn check(
    odd: &Odd,
    found: Result<(Vec<f64>, voice_embedding_service::report::AudioReport), PipelineError>,
) -> Result<(), String> {
    let (embedding, report) = match found {
        Ok(found) if odd.status == 200 => found,
        Ok(_) => return Err("it is answered 200".into()),
        Err(error) => {
            let code = match &error {
                PipelineError::Audio(AudioError::Unsupported(_)) => "unsupported_audio",
                PipelineError::Audio(AudioError::Corrupt(_)) => "corrupt_audio",
                _ => "another",
            };
            let detail = error.to_string();
            let is_right = odd.code.as_deref() == Some(code)
                && odd.detail_says.as_ref().is_none_or(|says| detail.contains(says));
            return if is_right { Ok(()) } else { Err(format!("{code}: {detail}")) };
        }
    };
    let seconds = report.duration_seconds;
    if odd.seconds.is_some_and(|[least, most]| !(least..=most).contains(&seconds)) {
        return Err(format!("{seconds:.3} s instead of {:?}", odd.seconds));
    }
    let warnings: Vec<&str> = report.warnings.iter().map(|warning| warning.code()).collect();
    if odd.warnings.as_ref().is_some_and(|expected| *expected != warnings) {
        return Err(format!("warnings {warnings:?} instead of {:?}", odd.warnings));
    }
    if let (Some(expected), Some(least)) = (&odd.embedding, odd.min_cosine) {
        let least = if odd.file == DECODED_BY_FFMPEG.0 { DECODED_BY_FFMPEG.1 } else { least };
        let cosine = cosine(&embedding, expected);
        if cosine < least {
            return Err(format!("cosine {cosine:.5}, below {least}"));
        }
    }
    Ok(())
}
