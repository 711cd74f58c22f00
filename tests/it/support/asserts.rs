//! Comparisons of arrays and checks of responses.

use std::fmt::Debug;
use std::time::Duration;

use reqwest::blocking::Response;
use serde_json::Value;

/// Returns the cosine of the angle between two vectors.
pub(crate) fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Fails with the largest deviation if two arrays differ by more than the tolerance, which may depend on the index.
pub(crate) fn assert_close(name: &str, actual: &[f32], expected: &[f32], tolerance: impl Fn(usize) -> f32) {
    assert_eq!(actual.len(), expected.len(), "{name}: length");
    let excess = |i: usize| {
        if actual[i] == expected[i] { 0.0 } else { (actual[i] - expected[i]).abs() / tolerance(i) }
    };
    let worst = (0..actual.len()).max_by(|a, b| excess(*a).total_cmp(&excess(*b))).unwrap();
    assert!(
        excess(worst) <= 1.0,
        "{name}[{worst}]: {} instead of {}, {:.2} times the tolerance of {:e}",
        actual[worst],
        expected[worst],
        excess(worst),
        tolerance(worst)
    );
}

/// Repeats the check until it succeeds, for at least ten seconds.
pub(crate) fn eventually(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_500 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it does not become so");
}

/// Checks the status, the content type, `code` and part of `detail` of an error response.
pub(crate) fn assert_error(name: impl Debug, response: Response, status: u16, code: &str, detail: &str) {
    assert_eq!(response.headers()["content-type"], "application/json", "{name:?}");
    assert!(response.headers().contains_key("x-request-id"), "{name:?}: no request id");
    let actual_status = response.status().as_u16();
    let body: Value = response.json().unwrap();
    assert_eq!((actual_status, body["code"].as_str()), (status, Some(code)), "{name:?}: {body}");
    let text = body["detail"].as_str().map_or_else(|| body["detail"].to_string(), str::to_owned);
    assert!(text.contains(detail), "{name:?}: {text:?} does not contain {detail:?}");
    assert!(!text.contains("src/") && !text.contains("/home"), "{name:?}: {text:?} shows internals");
}
