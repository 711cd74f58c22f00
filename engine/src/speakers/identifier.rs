//! Ids of speakers and names of collections.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The maximum number of characters of an identifier.
const MAX_CHARACTERS: usize = 64;

/// The collection for requests that name none.
const DEFAULT_COLLECTION: &str = "default";

/// A speaker's id, or a collection's name: a letter or digit, then up to 63 letters, digits, `.`, `_` and `-`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier(Arc<str>);

/// The error for a text that is not an [`Identifier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("should be 1 to 64 letters, digits, '.', '_' and '-', the first of them a letter or digit")]
pub struct InvalidIdentifier;

/// The collection and the id of a speaker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The collection.
    pub collection: Identifier,
    /// The speaker's id in the collection.
    pub id: Identifier,
}

impl Identifier {
    /// Returns the collection for requests that name none.
    pub fn default_collection() -> Self {
        Self(DEFAULT_COLLECTION.into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Identifier {
    type Err = InvalidIdentifier;

    fn from_str(text: &str) -> Result<Self, InvalidIdentifier> {
        let is_valid = text.len() <= MAX_CHARACTERS
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if is_valid { Ok(Self(text.into())) } else { Err(InvalidIdentifier) }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_names_without_surprises() {
        let longest = "a".repeat(64);
        let too_long = "a".repeat(65);
        let cases = [
            ("anna", true),
            ("0", true),
            ("Anna_B.2-x", true),
            (&longest, true),
            (&too_long, false),
            ("", false),
            (".", false),
            ("..", false),
            ("-anna", false),
            ("a/b", false),
            ("a b", false),
            ("a\0", false),
            ("änna", false),
            ("a'; DROP TABLE speakers", false),
        ];
        for (text, is_valid) in cases {
            assert_eq!(text.parse::<Identifier>().is_ok(), is_valid, "{text:?}");
        }
    }
}
