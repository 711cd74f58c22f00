//! The configured thresholds of models.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::Args;

use super::values::cosine;
use crate::calibration::Threshold;
use crate::models::{self, ModelSpec, resemblyzer};

/// The option for thresholds.
#[derive(Args, Clone, Debug)]
pub struct ThresholdArgs {
    /// Similarity above which two embeddings count as the same speaker, unless a request sets another. A number applies
    /// to Resemblyzer, and `campplus=0.45` to CAM++; separate both by a comma [default: 0.75,campplus=0.4].
    #[arg(long, env, allow_negative_numbers = true)]
    same_speaker_threshold: Option<Thresholds>,
}

impl ThresholdArgs {
    /// Returns the configured threshold of a model, or its default.
    pub fn threshold_for(&self, spec: &ModelSpec) -> Threshold {
        let configured = self.same_speaker_threshold.as_ref().and_then(|all| all.0.get(spec.id));
        configured.map_or(spec.threshold, |similarity| Threshold::set(*similarity))
    }
}

/// Thresholds by model id.
#[derive(Clone, Debug, PartialEq)]
struct Thresholds(BTreeMap<String, f64>);

impl FromStr for Thresholds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = models::all().map(|spec| spec.id);
        let mut thresholds = BTreeMap::new();
        for part in text.split(',') {
            let (id, number) = part.split_once('=').unwrap_or((resemblyzer::ID, part));
            let (id, number) = (id.trim(), number.trim());
            if !known.contains(&id) {
                return Err(format!("there is no model {id:?}; there are {}", known.join(", ")));
            }
            let threshold = cosine(number).map_err(|reason| format!("{number:?} {reason}"))?;
            if thresholds.insert(id.to_owned(), threshold).is_some() {
                return Err(format!("there are two of {id}"));
            }
        }
        Ok(Self(thresholds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_has_its_threshold() {
        let cases = [
            (None, Ok((0.75, 0.4))),
            (Some("0.8"), Ok((0.8, 0.4))),
            (Some("campplus=0.5"), Ok((0.75, 0.5))),
            (Some("0.8, campplus=0.5"), Ok((0.8, 0.5))),
            (Some("campplus=0.5,resemblyzer=0.7"), Ok((0.7, 0.5))),
            (Some("0.8,0.7"), Err("there are two of resemblyzer")),
            (Some("campplus=0.4,campplus=0.5"), Err("there are two of campplus")),
            (Some("whisper=0.5"), Err("there is no model \"whisper\"; there are resemblyzer, campplus")),
            (Some("campplus=75"), Err("\"75\" must be from -1 to 1")),
            (Some("0.8,"), Err("\"\" is not a number")),
        ];
        let [resemblyzer, campplus] = models::all();
        for (text, expected) in cases {
            let both = text.map(str::parse).transpose().map(|same_speaker_threshold| {
                let args = ThresholdArgs { same_speaker_threshold };
                (args.threshold_for(&resemblyzer).similarity, args.threshold_for(&campplus).similarity)
            });
            assert_eq!(both, expected.map_err(str::to_owned), "{text:?}");
        }
    }
}
