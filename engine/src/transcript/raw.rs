//! JSON as text: splits objects and lists into the texts of their values.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The maximum number of fields of an object.
pub(super) const MAX_FIELDS: usize = 200;

/// The fields of an object in order, each with the text of its value.
pub(super) struct JsonFields<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> JsonFields<'a> {
    /// Returns the value of a field. If several fields have the name, the last counts.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(field, _)| field == name).map(|(_, value)| *value)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }
}

/// Splits an object. Returns `None` if the text is not an object, or if it has more than [`MAX_FIELDS`] fields.
pub(super) fn fields(object: &str) -> Option<JsonFields<'_>> {
    serde_json::from_str(object).ok()
}

/// The reason why a list cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListError {
    /// The text is not a list.
    NoList,
    /// The list has more items than allowed.
    TooLong,
}

/// Splits a list of up to `max` items. The rest of a longer list is not read.
pub(super) fn items(list: &str, max: usize) -> Result<Vec<&str>, ListError> {
    let is_too_long = Cell::new(false);
    let seed = ItemsSeed { max, is_too_long: &is_too_long };
    let items = seed.deserialize(&mut serde_json::Deserializer::from_str(list));
    items.map_err(|_| if is_too_long.get() { ListError::TooLong } else { ListError::NoList })
}

/// Returns the text of a JSON string. Returns `None` if the value is not a string.
pub(super) fn text(value: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    serde_json::from_str(value).ok().map(|Text(text)| text)
}

/// Returns a string as JSON.
pub(super) fn string(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

/// Returns a number as JSON.
pub(super) fn number(value: f64) -> String {
    serde_json::to_string(&value).expect("a number is JSON")
}

/// Writes an object again, with some of its fields changed.
pub(super) struct ObjectWriter<'o, 'a> {
    out: &'o mut String,
    fields: JsonFields<'a>,
    changes: Vec<(&'static str, Option<String>)>,
}

impl<'o, 'a> ObjectWriter<'o, 'a> {
    /// Prepares to write an object that [`fields`] can split.
    pub(super) fn new(out: &'o mut String, object: &'a str) -> Self {
        Self { out, fields: fields(object).unwrap_or(JsonFields(Vec::new())), changes: Vec::new() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.get(name)
    }

    /// Sets the value of a field.
    pub(super) fn put(&mut self, name: &'static str, value: &str) {
        self.changes.push((name, Some(value.to_owned())));
    }

    pub(super) fn remove(&mut self, name: &'static str) {
        self.changes.push((name, None));
    }

    /// Sets the value of a field to the text that `write` writes.
    pub(super) fn replace(&mut self, name: &'static str, write: impl FnOnce(&mut String)) {
        let mut value = String::new();
        write(&mut value);
        self.changes.push((name, Some(value)));
    }

    /// Writes the existing fields, then the new ones.
    pub(super) fn end(mut self) {
        self.out.push('{');
        let mut is_first = true;
        let mut write = |name: &str, value: &str| {
            self.out.push_str(if is_first { "" } else { "," });
            is_first = false;
            self.out.push_str(&string(name));
            self.out.push(':');
            self.out.push_str(value);
        };
        for (name, value) in &self.fields.0 {
            match self.changes.iter_mut().find(|(changed, _)| name == changed) {
                Some((_, change)) => {
                    if let Some(value) = change.take() {
                        write(name, &value);
                    }
                }
                None => write(name, value),
            }
        }
        for (name, value) in &self.changes {
            if let Some(value) = value {
                write(name, value);
            }
        }
        self.out.push('}');
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = JsonFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonFields<'de>, A::Error> {
                #[derive(Deserialize)]
                struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

                let mut fields = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'_>, &RawValue>()? {
                    if fields.len() == MAX_FIELDS {
                        return Err(A::Error::custom("the object has too many fields"));
                    }
                    fields.push((name, value.get()));
                }
                Ok(JsonFields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// Reads up to `max` items, and records whether there are more.
struct ItemsSeed<'n> {
    max: usize,
    is_too_long: &'n Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for ItemsSeed<'_> {
    type Value = Vec<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ItemsSeed<'_> {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<&RawValue>()? {
            if items.len() == self.max {
                self.is_too_long.set(true);
                return Err(A::Error::custom("the list is too long"));
            }
            items.push(item.get());
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_written_again_with_other_fields() {
        let object = r#"{"id": 7, "text":"a\"b", "x": [1.50, {"y": null}], "tokens": [1]}"#;
        let mut out = String::new();
        let mut writer = ObjectWriter::new(&mut out, object);
        assert_eq!(writer.get("x"), Some(r#"[1.50, {"y": null}]"#));
        writer.put("id", "0");
        writer.remove("tokens");
        writer.put("speaker", &string("A \"B\""));
        writer.end();
        assert_eq!(out, r#"{"id":0,"text":"a\"b","x":[1.50, {"y": null}],"speaker":"A \"B\""}"#);
    }

    #[test]
    fn what_is_too_long_is_not_read() {
        assert_eq!(items("[1, 2, 3]", 3), Ok(vec!["1", "2", "3"]));
        assert_eq!(items("[1, 2, 3", 2), Err(ListError::TooLong));
        assert_eq!(items("7", 3), Err(ListError::NoList));
        let object = |n: usize| {
            let fields: Vec<String> = (0..n).map(|i| format!("\"{i}\": 0")).collect();
            format!("{{{}}}", fields.join(","))
        };
        assert!(fields(&object(MAX_FIELDS)).is_some() && fields(&object(MAX_FIELDS + 1)).is_none());
    }
}
