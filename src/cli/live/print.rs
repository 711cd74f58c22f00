//! Prints events as lines.

use std::collections::HashMap;
use std::io::Write;

use serde_json::{Value, json};

use super::EventFormat;
use crate::cli::outcome::{ended_by_reader, say};

/// Writes events in the chosen format.
pub(super) struct Printer {
    format: EventFormat,
    /// The name of each label.
    names: HashMap<String, String>,
    has_ended: bool,
}

impl Printer {
    pub(super) fn new(format: EventFormat) -> Self {
        Self { format, names: HashMap::new(), has_ended: false }
    }

    /// Returns whether the result has been written.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Writes an event. `received` is the number of seconds of audio sent before it.
    pub(super) fn event(&mut self, mut event: Value, received: f64) -> anyhow::Result<()> {
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let kind = text(&event, "type");
        self.has_ended |= kind == "final";
        if self.format == EventFormat::Jsonl {
            event["received"] = json!(crate::notation::milliseconds(received));
            return ended_by_reader(writeln!(anstream::stdout(), "{event}"));
        }
        let label = text(&event, "label");
        let name = self.names.get(&label).cloned().unwrap_or_else(|| label.clone());
        let number = |event: &Value, name: &str| event[name].as_f64().unwrap_or_default();
        let line = match kind.as_str() {
            "turn" if event["settled"] == true && event["start"] != event["end"] => {
                format!("{:8.2} {:8.2}  {name}", number(&event, "start"), number(&event, "end"))
            }
            "speaker" => {
                let called = ["name", "speaker"].map(|field| text(&event, field));
                if let Some(name) = called.into_iter().find(|text| !text.trim().is_empty()) {
                    let line = format!("{label} is {name}, similarity {:.2}", number(&event, "similarity"));
                    self.names.insert(label, name);
                    line
                } else {
                    self.names.remove(&label);
                    format!("{label} is not {name} after all")
                }
            }
            "merged" => format!("{} is {}", text(&event, "from"), text(&event, "into")),
            "warning" | "error" => {
                say(&format!("{kind}: {}", text(&event, "message")));
                return Ok(());
            }
            "final" => {
                let speakers = event["speakers"].as_array().map_or(0, Vec::len);
                say(&format!(
                    "{received:.1} s; {speakers} {}",
                    if speakers == 1 { "speaker" } else { "speakers" }
                ));
                return Ok(());
            }
            _ => return Ok(()),
        };
        ended_by_reader(writeln!(anstream::stdout(), "{line}"))
    }
}
