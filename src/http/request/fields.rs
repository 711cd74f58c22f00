//! Checks JSON bodies field by field, with errors in FastAPI's format.
//!
//! The body is first split into fields that are not decoded. Each field is then decoded as the expected type. So a long
//! base64 string is not copied unless it has escapes, and an error can give the position of an invalid number.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::json::BYTE_ORDER_MARK;
use crate::http::error::{ApiError, FieldError};

/// Maximum number of errors listed for one request, and of entries shown of a list.
const MAX_ERRORS: usize = 16;

/// Maximum number of fields in an object. Unknown fields are ignored, as in Python.
const MAX_FIELDS: usize = 1_000;

/// The fields of an object; `None` if there are more than [`MAX_FIELDS`].
struct Object<'a>(Option<BTreeMap<Cow<'a, str>, &'a RawValue>>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                #[derive(Deserialize)]
                struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

                let mut fields = BTreeMap::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'_>, &RawValue>()? {
                    fields.insert(name, value);
                    if fields.len() > MAX_FIELDS {
                        // The other fields are read but not kept.
                        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                        return Ok(Object(None));
                    }
                }
                Ok(Object(Some(fields)))
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// The fields of a JSON object, and the errors found in them so far.
pub(in crate::http) struct Fields<'a> {
    fields: BTreeMap<Cow<'a, str>, &'a RawValue>,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// Splits a JSON object. If a name occurs several times, the last field counts, as in Python.
    pub(in crate::http) fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        let malformed =
            |e: serde_json::Error| FieldError::malformed("json_invalid", format!("JSON decode error: {e}"));
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(FieldError::missing(&["body"], Value::Null).into());
        }
        let value: &RawValue = serde_json::from_slice(body).map_err(malformed)?;
        if !value.get().starts_with('{') {
            let msg = "Input should be a valid dictionary or object to extract fields from";
            return Err(FieldError::malformed("model_attributes_type", msg.into()).into());
        }
        let Object(fields) = serde_json::from_str(value.get()).map_err(malformed)?;
        let Some(fields) = fields else {
            let msg = format!("Input should have at most {MAX_FIELDS} fields");
            return Err(FieldError::malformed("too_many_fields", msg).into());
        };
        Ok(Self { fields, errors: Vec::new() })
    }

    /// Returns a required string. It is borrowed unless it has escapes.
    pub(in crate::http) fn string(&mut self, name: &'static str) -> Cow<'a, str> {
        self.required(name).and_then(|raw| self.decode_string(name, raw)).unwrap_or_default()
    }

    /// Returns a string that may be missing or null.
    pub(in crate::http) fn optional_string(&mut self, name: &'static str) -> Option<Cow<'a, str>> {
        self.optional(name).and_then(|raw| self.decode_string(name, raw))
    }

    /// Returns a string or number that may be missing or null, as text.
    pub(in crate::http) fn optional_scalar(&mut self, name: &'static str) -> Option<Cow<'a, str>> {
        let raw = self.optional(name)?;
        if raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            return Some(raw.get().into());
        }
        self.decode_string(name, raw)
    }

    /// Returns a finite number that may be missing or null.
    pub(in crate::http) fn optional_number(&mut self, name: &'static str) -> Option<f64> {
        self.optional(name).and_then(|raw| self.decode_number(vec!["body".into(), name.into()], raw))
    }

    /// Returns a required list of finite numbers.
    pub(in crate::http) fn numbers(&mut self, name: &'static str) -> Vec<f64> {
        let Some(raw) = self.required(name) else {
            return Vec::new();
        };
        if let Ok(numbers) = serde_json::from_str(raw.get()) {
            return numbers;
        }
        let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
            self.wrong(vec!["body".into(), name.into()], "list_type", "Input should be a valid list", raw);
            return Vec::new();
        };
        let decode = |(i, raw)| self.decode_number(vec!["body".into(), name.into(), Value::from(i)], raw);
        items.into_iter().enumerate().filter_map(decode).collect()
    }

    /// Returns the errors of all fields that were read, if there are any.
    pub(in crate::http) fn finish(self) -> Result<(), ApiError> {
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::Validation(self.errors)) }
    }

    fn required(&mut self, name: &'static str) -> Option<&'a RawValue> {
        let field = self.fields.get(name).copied();
        if field.is_none() {
            let shown = self.fields.iter().take(MAX_ERRORS);
            let found = shown.map(|(name, raw)| (shorten(name), decoded(raw))).collect();
            self.errors.push(FieldError::missing(&["body", name], Value::Object(found)));
        }
        field
    }

    fn optional(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.get(name).copied().filter(|raw| raw.get() != "null")
    }

    fn decode_string(&mut self, name: &'static str, raw: &'a RawValue) -> Option<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

        if let Ok(Text(text)) = serde_json::from_str(raw.get()) {
            return Some(text);
        }
        self.wrong(vec!["body".into(), name.into()], "string_type", "Input should be a valid string", raw);
        None
    }

    /// Decodes a number. Strings and booleans also count as numbers, as in pydantic.
    fn decode_number(&mut self, loc: Vec<Value>, raw: &RawValue) -> Option<f64> {
        if let Ok(number) = serde_json::from_str(raw.get()) {
            return Some(number);
        }
        match raw.get() {
            "true" => return Some(1.0),
            "false" => return Some(0.0),
            text if text.starts_with('"') => {
                let text = serde_json::from_str::<Cow<str>>(text).unwrap_or_default();
                match text.trim().parse::<f64>() {
                    Ok(number) if number.is_finite() => return Some(number),
                    Ok(_) => self.wrong(loc, "finite_number", "Input should be a finite number", raw),
                    Err(_) => {
                        let msg = "Input should be a valid number, unable to parse string as a number";
                        self.wrong(loc, "float_parsing", msg, raw);
                    }
                }
                return None;
            }
            _ => {}
        }
        if raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            self.wrong(loc, "finite_number", "Input should be a finite number", raw);
        } else {
            self.wrong(loc, "float_type", "Input should be a valid number", raw);
        }
        None
    }

    fn wrong(&mut self, loc: Vec<Value>, kind: &'static str, msg: &str, raw: &RawValue) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(FieldError { kind, loc, msg: msg.into(), input: decoded(raw) });
        }
    }
}

/// Returns a value to show in an error: the value as it was sent, or the start of its text. The text is shown if the
/// value is long or cannot be decoded (a number out of range, brackets nested too deeply). Long values are never decoded.
fn decoded(raw: &RawValue) -> Value {
    const MAX_DECODED_BYTES: usize = 1_000;
    match raw.get() {
        text if text.len() > MAX_DECODED_BYTES => Value::from(shorten(text)),
        text => serde_json::from_str(text).map_or_else(|_| Value::from(shorten(text)), shortened),
    }
}

/// Truncates strings and lists, so that an error is no longer than a person would read.
fn shortened(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(shorten(&text)),
        Value::Array(values) => Value::Array(values.into_iter().take(MAX_ERRORS).map(shortened).collect()),
        value => value,
    }
}

/// Returns the start of a long text.
fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 100;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
