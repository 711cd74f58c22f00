//! JSON bodies of the routes under /v1, decoded by serde, with errors in FastAPI's format.

use std::collections::BTreeMap;

use axum::body::Bytes;
use serde::Deserializer;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use crate::http::error::{ApiError, FieldError};

/// The byte order mark that C#'s StreamWriter writes before UTF-8.
pub(in crate::http) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a body. An error gives the location of the first invalid value.
pub(in crate::http) fn from_json<T: DeserializeOwned>(body: Bytes) -> Result<T, ApiError> {
    let body = without_line_breaks(body);
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(FieldError::missing(&["body"], Value::Null).into());
    }
    // serde would read a list as the fields in their order.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(
            FieldError::malformed("model_attributes_type", "Input should be a JSON object".into()).into()
        );
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| field_error(&error))?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Options of a query or form, by name. Their values are text.
#[derive(Default)]
pub(in crate::http) struct Options(BTreeMap<String, String>);

/// Maximum number of options in a request. No route has as many.
const MAX_OPTIONS: usize = 64;

/// Maximum length of an option's name, in bytes.
const MAX_NAME_BYTES: usize = 256;

impl Options {
    /// Adds an option. `place` is where it was found: `query` or `body`.
    pub(in crate::http) fn add(&mut self, place: &str, name: &str, text: String) -> Result<(), FieldError> {
        let wrong = |msg: &str| {
            let shown: String = name.chars().take(MAX_NAME_BYTES).collect();
            FieldError::new(&[place, &shown], "value_error", msg)
        };
        if name.len() > MAX_NAME_BYTES {
            return Err(wrong("There is no option with so long a name"));
        }
        if self.0.len() == MAX_OPTIONS {
            return Err(wrong(&format!("There are more than {MAX_OPTIONS} options")));
        }
        if self.0.insert(name.to_owned(), text).is_some() {
            return Err(wrong("The option is given twice"));
        }
        Ok(())
    }

    /// Sets an option that the route knows.
    pub(in crate::http) fn put(&mut self, name: &str, text: String) {
        self.0.insert(name.to_owned(), text);
    }

    /// Returns the total length of all options, in bytes.
    pub(in crate::http) fn text_bytes(&self) -> usize {
        self.0.values().map(String::len).sum()
    }

    pub(in crate::http) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(in crate::http) fn remove(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Returns the names of all options.
    pub(in crate::http) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns the name of one option.
    pub(in crate::http) fn first(&self) -> Option<&str> {
        self.0.keys().next().map(String::as_str)
    }

    /// Removes and returns the options with these names.
    pub(in crate::http) fn take(&mut self, names: &[&str]) -> Self {
        Self(names.iter().filter_map(|name| self.0.remove_entry(*name)).collect())
    }
}

/// Reads options. The value `null` means that the option is missing, unless its type is text. An unknown name is an
/// error, even if its value is null.
pub(in crate::http) fn from_options<T: DeserializeOwned>(mut options: Options) -> Result<T, ApiError> {
    // Each pass removes a known option that is null. There are only a few.
    loop {
        let texts = options.0.iter().map(|(name, text)| (name.as_str(), OptionText(text)));
        let error = match serde_path_to_error::deserialize(MapDeserializer::new(texts)) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let field_error = field_error(&error);
        let name = error.path().to_string();
        let is_null = options.get(&name).is_some_and(|text| text == "null");
        if !is_null || field_error.kind == UNKNOWN_FIELD {
            return Err(field_error.into());
        }
        options.remove(&name);
    }
}

/// The type of error for an unknown name.
const UNKNOWN_FIELD: &str = "extra_forbidden";

/// The value of an option. If the field's type is text, the value is unchanged. Otherwise numbers, booleans, null and
/// lists are read as JSON.
#[derive(Clone, Copy)]
struct OptionText<'a>(&'a str);

impl OptionText<'_> {
    fn value(self) -> Value {
        match serde_json::from_str(self.0) {
            Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Null | Value::Array(_))) => value,
            _ => Value::from(self.0),
        }
    }
}

impl<'a> IntoDeserializer<'a, serde_json::Error> for OptionText<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for OptionText<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.value().deserialize_any(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        // serde_json reads raw values through this method. The text is the JSON.
        let mut json = serde_json::Deserializer::from_str(self.0);
        let value = json.deserialize_newtype_struct(name, visitor)?;
        json.end()?;
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        Value::from(self.0).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct
        map struct identifier ignored_any
    }
}

/// Replaces line breaks by blanks. Outside of strings, both mean the same. Inside a string, a line break is invalid JSON,
/// but `"$(base64 FILE)"` in a shell inserts it if that command wraps its output.
pub(in crate::http) fn without_line_breaks(body: Bytes) -> Vec<u8> {
    // This makes no copy, because these bytes have no other owner.
    let mut body = Vec::from(body);
    for byte in &mut body {
        *byte = if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    }
    body
}

fn malformed(error: &serde_json::Error) -> FieldError {
    FieldError::malformed("json_invalid", format!("JSON decode error: {error}"))
}

fn field_error(error: &serde_path_to_error::Error<serde_json::Error>) -> FieldError {
    use serde_path_to_error::Segment;

    let inner = error.inner();
    if inner.is_syntax() || inner.is_eof() {
        return malformed(inner);
    }
    let mut loc = vec![Value::from("body")];
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => loc.push((*index).into()),
            Segment::Map { key } => loc.push(key.as_str().into()),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    // For a text body, serde_json appends the position in it.
    let msg = inner.to_string();
    let msg = msg.split(" at line ").next().unwrap_or_default().to_owned();
    let quoted = || msg.split('`').nth(1).unwrap_or_default().to_owned();
    if msg.starts_with("missing field") {
        loc.push(quoted().into());
        return FieldError { kind: "missing", loc, msg: "Field required".into(), input: Value::Null };
    }
    let kind = if msg.starts_with("unknown field") { UNKNOWN_FIELD } else { "value_error" };
    FieldError { kind, loc, msg: in_plain_words(&msg), input: Value::Null }
}

/// Rewrites a message of serde without the names of Rust's types: the expected value and the actual one.
fn in_plain_words(msg: &str) -> String {
    if let Some(variants) =
        msg.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", expected "))
    {
        return format!("Input should be {}, not {}", variants.1, variants.0);
    }
    let rest = ["invalid type: ", "invalid value: "].iter().find_map(|prefix| msg.strip_prefix(prefix));
    let Some((found, expected)) = rest.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return msg.to_owned();
    };
    let expected = match expected {
        "f32" | "f64" => "a number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i32" | "i64" => "a whole number",
        "a string" | "a borrowed string" | "string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        struct_of if struct_of.starts_with("struct ") => "an object",
        other => other,
    };
    let found = match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer" | "boolean", value)) => value.replace('`', ""),
        Some(("floating", value)) => value.trim_start_matches("point ").replace('`', ""),
        _ => match found {
            "sequence" => "a list".to_owned(),
            "map" => "an object".to_owned(),
            "unit value" => "null".to_owned(),
            other => other.to_owned(),
        },
    };
    format!("Input should be {expected}, not {found}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_no_types_of_rust() {
        let cases = [
            ("invalid type: string \"x\", expected f64", "Input should be a number, not the text \"x\""),
            (
                "invalid value: integer `-1`, expected u16",
                "Input should be a whole number from 0 to 65535, not -1",
            ),
            (
                "invalid type: floating point `1.5`, expected usize",
                "Input should be a whole number, 0 or more, not 1.5",
            ),
            ("invalid type: null, expected a sequence", "Input should be a list, not null"),
            ("invalid type: map, expected a string", "Input should be a text, not an object"),
            (
                "unknown variant `xml`, expected `json` or `rttm`",
                "Input should be `json` or `rttm`, not `xml`",
            ),
            ("unknown field `thing`, there are no fields", "unknown field `thing`, there are no fields"),
        ];
        for (serde, plain) in cases {
            assert_eq!(in_plain_words(serde), plain);
        }
    }
}
