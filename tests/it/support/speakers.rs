//! Made-up embeddings for tests of enrolled speakers, and the responses about them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::blocking::Response;
use serde_json::{Value, json};

/// The model of the embeddings.
pub(crate) const FINGERPRINT: &str = "resemblyzer-0.1.4/39373b86";

const DIMENSION: usize = 256;

/// Returns a pseudo-random embedding for a seed. Any two are nearly orthogonal.
pub(crate) fn components(seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
    };
    (0..DIMENSION).map(|_| next()).collect()
}

/// Returns the sum of two such embeddings, the second one weighted by `share`.
pub(crate) fn mixed(seed: u64, other: u64, share: f32) -> Vec<f32> {
    let (one, other) = (unit(&components(seed)), unit(&components(other)));
    one.iter().zip(&other).map(|(a, b)| a + share * b).collect()
}

/// Scales a vector to L2 norm 1, as the profile of a single enrolment is stored.
pub(crate) fn unit(components: &[f32]) -> Vec<f32> {
    let norm = components.iter().map(|c| f64::from(*c).powi(2)).sum::<f64>().sqrt();
    components.iter().map(|c| (f64::from(*c) / norm) as f32).collect()
}

/// Returns an embedding as a voice with these seconds of speech.
pub(crate) fn embedding(components: &[f32], speech_seconds: Option<f64>) -> Value {
    let bytes: Vec<u8> = components.iter().flat_map(|c| c.to_le_bytes()).collect();
    json!({"embedding": BASE64_STANDARD.encode(bytes), "model": FINGERPRINT, "speech_seconds": speech_seconds})
}

/// Checks the status of a response and returns its JSON.
pub(crate) fn answered(status: u16, response: Response) -> Value {
    let actual = response.status().as_u16();
    let text = response.text().unwrap();
    assert_eq!(actual, status, "{text}");
    if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
}
