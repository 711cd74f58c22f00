//! API keys: where they come from, and what they are called.

use std::fmt;
use std::path::PathBuf;

use super::error::ConfigError;

/// The key that works without configuration, on loopback only.
pub const DEFAULT_API_KEY: &str = "dev-key-change-me";

/// A key, and what logs call its holder.
#[derive(Clone, PartialEq, Eq)]
pub struct NamedKey {
    /// `default` unless it was given.
    pub name: String,
    /// The secret.
    pub key: String,
}

/// Shows the name alone.
impl fmt::Debug for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The keys from the variable or the file; the well-known one if there is neither.
pub(super) fn api_keys(
    variable: Option<String>,
    file: Option<PathBuf>,
) -> Result<Vec<NamedKey>, ConfigError> {
    // Compose passes variables on that are not set.
    let file = file.filter(|path| !path.as_os_str().is_empty());
    let (name, text) = match (variable, file) {
        (Some(variable), Some(_)) if !variable.is_empty() => return Err(ConfigError::TwoApiKeys),
        (variable, None) => ("API_KEY", variable.unwrap_or_else(|| DEFAULT_API_KEY.to_owned())),
        (_, Some(path)) => match std::fs::read_to_string(&path) {
            Ok(text) => ("API_KEY_FILE", text.trim().to_owned()),
            Err(reason) => return Err(ConfigError::ApiKeyFile { path, reason }),
        },
    };
    let keys: Vec<NamedKey> = text.split([',', '\n']).map(named_key).collect();
    if keys.iter().any(|key| key.key.is_empty()) {
        return Err(ConfigError::EmptyApiKey(name));
    }
    Ok(keys)
}

/// `NAME:KEY` or `KEY`; a name is made of letters, digits, `-`, `_` and `.`.
fn named_key(text: &str) -> NamedKey {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let text = text.trim();
    let (name, key) = match text.split_once(':') {
        Some((name, key)) if is_name(name) => (name, key),
        _ => ("default", text),
    };
    NamedKey { name: name.to_owned(), key: key.to_owned() }
}

pub(super) fn has_default_key(keys: &[NamedKey]) -> bool {
    keys.iter().any(|key| key.key == DEFAULT_API_KEY)
}
