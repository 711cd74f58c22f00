//! API keys: their sources, names and rights.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::error::ConfigError;
use crate::models::FileDigest;
use crate::notation::bytes_of_hex;

/// The key that works without configuration, on loopback only.
pub const DEFAULT_API_KEY: &str = "dev-key-change-me";

/// The recommended least length of a key in bytes: 64 bits as hexadecimal digits.
pub const MIN_KEY_BYTES: usize = 16;

/// The name of the key in `API_KEY`.
pub const API_KEY_NAME: &str = "default";

/// A mark that some editors write at the start of a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The maximum number of stars in a pattern, because matching takes longer with each of them.
const MAX_STARS: usize = 3;

/// The maximum number of characters in a name.
const MAX_NAME_CHARACTERS: usize = 64;

/// A right of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Compute embeddings of recordings.
    Embed,
    /// Compare two or more voices.
    Verify,
    /// Search for a voice among enrolled speakers.
    Identify,
    /// Create, change and enrol speakers.
    Enrol,
    /// List speakers.
    Read,
    /// All rights.
    Admin,
}

/// A key: the SHA-256 of the secret, and the rights of its holder.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The holder's name in logs.
    pub name: String,
    /// SHA-256 of the secret.
    pub digest: [u8; 32],
    /// The key's rights.
    pub rights: Vec<Right>,
    /// Patterns of the collections that the key may use; `*` matches any characters.
    pub collections: Vec<String>,
    /// The recordings and comparisons per minute, if they differ from `RATE_LIMIT_PER_MINUTE`; 0 for no limit.
    pub rate_limit_per_minute: Option<u32>,
}

/// Options for the sources of keys.
#[derive(Args, Clone, Debug)]
pub struct KeyArgs {
    /// Key that clients must send, taken verbatim. It has all rights [default: dev-key-change-me, unless KEYS or
    /// KEYS_FILE is set].
    #[arg(long, env, hide_env_values = true)]
    api_key: Option<String>,
    /// File that contains this key, instead of API_KEY.
    #[arg(long, env)]
    api_key_file: Option<PathBuf>,
    /// TOML file of further keys, each with SHA-256, name and rights. `key new` creates an entry. The service reloads
    /// the file when it changes.
    #[arg(long, env)]
    keys_file: Option<PathBuf>,
    /// The content of such a TOML file, instead of KEYS_FILE.
    #[arg(long, env, hide_env_values = true)]
    keys: Option<String>,
}

/// The configured keys, and the file of keys, which may change.
#[derive(Clone, Debug)]
pub struct KeySource {
    is_short: bool,
    /// The key from `API_KEY` or its file. Without any configured key, the well-known default key.
    api_key: Option<Key>,
    /// Warnings for the operator.
    warnings: Vec<&'static str>,
    inline: Option<String>,
    file: Option<PathBuf>,
}

/// The keys as TOML.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    #[serde(default)]
    keys: Vec<Spanned<KeyTable>>,
}

/// A key as TOML.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTable {
    name: Option<String>,
    sha256: Option<String>,
    rights: Option<Vec<String>>,
    collections: Option<Vec<String>>,
    rate_limit_per_minute: Option<u32>,
}

impl Right {
    /// Returns the name in files, responses and documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Verify => "verify",
            Self::Identify => "identify",
            Self::Enrol => "enrol",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Key {
    /// Returns whether the key has a right.
    pub fn may(&self, right: Right) -> bool {
        self.rights.iter().any(|own| *own == right || *own == Right::Admin)
    }

    /// Returns whether the key may use a collection.
    pub fn may_use(&self, collection: &str) -> bool {
        self.collections.iter().any(|pattern| matches(pattern, collection))
    }

    fn from_api_key(secret: &str) -> Self {
        Self {
            name: API_KEY_NAME.to_owned(),
            digest: Sha256::digest(secret).into(),
            rights: vec![Right::Admin],
            collections: vec!["*".to_owned()],
            rate_limit_per_minute: None,
        }
    }
}

/// Returns whether a text matches a pattern, in which `*` matches any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    text.char_indices().map(|(place, _)| place).chain([text.len()]).any(|place| matches(rest, &text[place..]))
}

/// Omits the digest.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).field("rights", &self.rights).finish_non_exhaustive()
    }
}

impl TryFrom<KeyArgs> for KeySource {
    type Error = ConfigError;

    fn try_from(args: KeyArgs) -> Result<Self, ConfigError> {
        let file = args.keys_file;
        if args.keys.is_some() && file.is_some() {
            return Err(ConfigError::TwoPlacesOfKeys("KEYS", "KEYS_FILE"));
        }
        let has_others = args.keys.is_some() || file.is_some();
        let mut warnings = Vec::new();
        let secret = match (args.api_key, args.api_key_file) {
            (Some(_), Some(_)) => return Err(ConfigError::TwoPlacesOfKeys("API_KEY", "API_KEY_FILE")),
            (None, Some(path)) => {
                let text = read("API_KEY_FILE", path)?;
                if text.starts_with(BYTE_ORDER_MARK) {
                    warnings.push("API_KEY_FILE begins with a byte order mark, which is not part of the key");
                }
                Some(one_key("API_KEY_FILE", text.trim_start_matches(BYTE_ORDER_MARK))?)
            }
            (Some(key), None) => Some(one_key("API_KEY", &key)?),
            (None, None) if has_others => None,
            (None, None) => Some(DEFAULT_API_KEY.to_owned()),
        };
        if secret.as_deref().is_some_and(looks_like_several) {
            warnings.push(
                "API_KEY is one key, its commas and colons included; several keys belong into KEYS_FILE or KEYS",
            );
        }
        let is_own = secret.as_deref().is_some_and(|secret| secret != DEFAULT_API_KEY);
        let is_short = is_own && secret.as_deref().is_some_and(|secret| secret.len() < MIN_KEY_BYTES);
        Ok(Self {
            is_short,
            warnings,
            api_key: secret.as_deref().map(Key::from_api_key),
            inline: args.keys,
            file,
        })
    }
}

/// Returns the single key in a text, without the trailing line break.
fn one_key(variable: &'static str, text: &str) -> Result<String, ConfigError> {
    let secret = text.strip_suffix('\n').unwrap_or(text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    let reason = if secret.is_empty() {
        "holds an empty key"
    } else if secret.contains('\n') {
        "holds several lines, but one key; several keys belong into KEYS_FILE or KEYS"
    } else if secret.chars().any(char::is_control) {
        "holds control characters, which no header can carry"
    } else if secret.trim_matches([' ', '\t']) != secret {
        "begins or ends with a blank, which headers do not carry"
    } else {
        return Ok(secret.to_owned());
    };
    Err(ConfigError::ApiKey { variable, reason })
}

impl KeySource {
    /// Returns all current keys. Reads the file of keys, if there is one.
    pub fn keys(&self) -> Result<Vec<Key>, ConfigError> {
        let others = match (&self.inline, &self.file) {
            (Some(text), _) => parse("KEYS", text)?,
            (None, Some(path)) => parse("KEYS_FILE", &read("KEYS_FILE", path.clone())?)?,
            (None, None) => Vec::new(),
        };
        let mut keys: Vec<Key> = self.api_key.iter().cloned().collect();
        for (line, key) in others {
            let what = if keys.iter().any(|other| other.name == key.name) {
                "another key has its name (that of API_KEY is \"default\")"
            } else if keys.iter().any(|other| other.digest == key.digest) {
                "another key has its sha256"
            } else {
                keys.push(key);
                continue;
            };
            let variable = if self.file.is_some() { "KEYS_FILE" } else { "KEYS" };
            return Err(wrong_key(variable, line, &key.name, what));
        }
        Ok(keys)
    }

    /// Returns the file of keys, which may change.
    pub fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// Returns whether the default key is valid.
    pub fn has_default_key(&self) -> bool {
        self.api_key == Some(Key::from_api_key(DEFAULT_API_KEY))
    }

    /// Returns whether `API_KEY` is short enough to be guessed.
    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// Returns warnings for the operator.
    pub fn warnings(&self) -> &[&'static str] {
        &self.warnings
    }
}

fn read(variable: &'static str, path: PathBuf) -> Result<String, ConfigError> {
    std::fs::read_to_string(&path).map_err(|reason| ConfigError::KeyFile { variable, path, reason })
}

/// Returns whether a key contains a comma, or starts with a name and a colon.
fn looks_like_several(key: &str) -> bool {
    key.contains(',') || key.split_once(':').is_some_and(|(name, _)| is_name(name))
}

/// Parses the keys of a TOML text, each with its line. Rejects a text without keys, so that a file that is still being
/// written does not revoke all keys.
fn parse(variable: &'static str, text: &str) -> Result<Vec<(usize, Key)>, ConfigError> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let line_at = |offset: usize| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
    let file: KeysFile = toml::from_str(text).map_err(|error| {
        // The library's own message may contain a secret.
        let line = error.span().map_or(1, |span| line_at(span.start));
        let reason = format!(
            "line {line} cannot be read; there are tables [[keys]] with name, sha256, rights, collections and \
             rate_limit_per_minute"
        );
        ConfigError::Keys { variable, reason }
    })?;
    if file.keys.is_empty() {
        return Err(ConfigError::Keys { variable, reason: "there is no key in it".into() });
    }
    let key = |table: Spanned<KeyTable>| {
        let line = line_at(table.span().start);
        let table = table.into_inner();
        let name = table.name.clone().unwrap_or_default();
        let key = table.check().map_err(|what| wrong_key(variable, line, &name, &what))?;
        Ok((line, key))
    };
    file.keys.into_iter().map(key).collect()
}

fn wrong_key(variable: &'static str, line: usize, name: &str, what: &str) -> ConfigError {
    ConfigError::Keys { variable, reason: format!("line {line}, key {name:?}: {what}") }
}

impl KeyTable {
    fn check(self) -> Result<Key, String> {
        let name = self.name.ok_or("name is missing")?;
        if !is_name(&name) || name.len() > MAX_NAME_CHARACTERS {
            return Err(format!("a name has up to {MAX_NAME_CHARACTERS} letters, digits, '-', '_' and '.'"));
        }
        let digest: [u8; 32] = bytes_of_hex(&self.sha256.ok_or("sha256 is missing")?)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or("sha256 should be 64 hexadecimal digits, the SHA-256 of the key, never the key itself")?;
        for (secret, what) in [("", "of nothing"), (DEFAULT_API_KEY, "of the well-known key")] {
            if digest == <[u8; 32]>::from(Sha256::digest(secret)) {
                return Err(format!("sha256 is that {what}"));
            }
        }
        let right = |name: &String| {
            Right::from_str(name, false).map_err(|_| {
                let names: Vec<&str> = Right::value_variants().iter().map(|right| right.name()).collect();
                format!("{name:?} is no right; there are {}", names.join(", "))
            })
        };
        let rights =
            self.rights.ok_or("rights are missing")?.iter().map(right).collect::<Result<Vec<_>, _>>()?;
        if rights.is_empty() {
            return Err("a key without rights is of no use".into());
        }
        let collections = self.collections.unwrap_or_else(|| vec!["*".into()]);
        let is_pattern = |pattern: &&String| {
            is_name(&pattern.replace('*', "x")) && pattern.matches('*').count() <= MAX_STARS
        };
        if let Some(pattern) = collections.iter().find(|pattern| !is_pattern(pattern)) {
            return Err(format!("{pattern:?} is no pattern of collections"));
        }
        Ok(Key { name, digest, rights, collections, rate_limit_per_minute: self.rate_limit_per_minute })
    }
}

/// Returns whether a name consists of letters, digits, `-`, `_` and `.`, and has at least one of them.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Formats a key's entry for the file.
pub fn toml_lines(
    name: &str,
    secret: &str,
    rights: &[Right],
    collections: &[String],
    rate_limit_per_minute: Option<u32>,
) -> Result<String, ConfigError> {
    let list = |values: &mut dyn Iterator<Item = String>| {
        values.map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ")
    };
    let rights = list(&mut rights.iter().map(ToString::to_string));
    let patterns = list(&mut collections.iter().cloned());
    let lines = [
        Some("[[keys]]".to_owned()),
        Some(format!("name = {name:?}")),
        Some(format!("sha256 = \"{}\"", FileDigest::compute(secret.as_bytes()).sha256)),
        Some(format!("rights = [{rights}]")),
        (!collections.is_empty()).then(|| format!("collections = [{patterns}]")),
        rate_limit_per_minute.map(|limit| format!("rate_limit_per_minute = {limit}")),
    ];
    let lines: String = lines.into_iter().flatten().map(|line| line + "\n").collect();
    parse("the new key", &lines)?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn digest_of(secret: &str) -> String {
        FileDigest::compute(secret.as_bytes()).sha256
    }

    fn source(api_key: Option<&str>, keys: Option<&str>) -> Result<KeySource, ConfigError> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        KeySource::try_from(KeyArgs {
            api_key: own(api_key),
            api_key_file: None,
            keys_file: None,
            keys: own(keys),
        })
    }

    #[test]
    fn api_key_is_one_key_as_it_is() {
        for (sent, secret) in
            [("a,b", "a,b"), ("ios:abc", "ios:abc"), ("a b", "a b"), ("k\n", "k"), ("k\r\n", "k")]
        {
            let keys = source(Some(sent), None).unwrap().keys().unwrap();
            assert_eq!(keys, [Key::from_api_key(secret)], "{sent:?}");
            assert!(keys[0].may(Right::Embed) && keys[0].may(Right::Admin));
        }
        for (key, expected) in [("a,b", true), ("ios:abc", true), ("a b:c", false), ("abc", false)] {
            assert_eq!(!source(Some(key), None).unwrap().warnings().is_empty(), expected, "{key}");
        }
        for (key, expected) in [
            ("", "API_KEY holds an empty key"),
            ("a\nb", "API_KEY holds several lines"),
            ("k\n\n", "API_KEY holds several lines"),
            (" k", "begins or ends with a blank"),
            ("k\0", "control characters"),
        ] {
            let error = source(Some(key), None).unwrap_err().to_string();
            assert!(error.contains(expected), "{key:?}: {error}");
        }
    }

    #[test]
    fn a_file_of_one_key_may_begin_with_a_byte_order_mark() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            let api_key_file = Some(file.path().to_owned());
            KeySource::try_from(KeyArgs { api_key: None, api_key_file, keys_file: None, keys: None })
        };
        let with_mark = source("\u{feff}abc\n").unwrap();
        assert_eq!(with_mark.keys().unwrap(), [Key::from_api_key("abc")]);
        assert!(with_mark.warnings()[0].contains("byte order mark"));
        for text in ["# the key\nabc\n", "\nabc\n", "abc\n\n"] {
            let error = source(text).unwrap_err().to_string();
            assert!(error.contains("API_KEY_FILE holds several lines, but one key"), "{text:?}: {error}");
        }
    }

    #[test]
    fn any_other_key_disables_the_default_one() {
        assert!(source(None, None).unwrap().has_default_key());
        let keys = format!("[[keys]]\nname = \"ios\"\nsha256 = \"{DIGEST}\"\nrights = [\"embed\"]\n");
        let named = source(None, Some(&keys)).unwrap();
        assert!(!named.has_default_key());
        let [key] = &named.keys().unwrap()[..] else { panic!("one key") };
        assert_eq!((key.name.as_str(), &key.rights[..]), ("ios", &[Right::Embed][..]));
        assert!(key.may(Right::Embed) && !key.may(Right::Verify));
        assert_eq!(key.digest, <[u8; 32]>::from(Sha256::digest("secret")));
        assert_eq!(source(Some("abc"), Some(&keys)).unwrap().keys().unwrap().len(), 2);
    }

    #[test]
    fn bad_keys_are_named_by_line_and_never_shown() {
        let key = |line: &str| format!("[[keys]]\nname = \"ios\"\n{line}\n");
        let good = format!("sha256 = \"{DIGEST}\"\nrights = [\"embed\"]");
        let cases = [
            (key("sha256 = \"my-secret\"\nrights = [\"embed\"]"), "line 1, key \"ios\": sha256 should be 64"),
            (key("key = \"my-secret\"\nrights = [\"embed\"]"), "line 3 cannot be read"),
            ("keys = [\"my-secret\"]".into(), "line 1 cannot be read"),
            ("\"my-secret\" = 1".into(), "line 1 cannot be read"),
            ("# no keys\n".into(), "there is no key in it"),
            (key("rights = [\"embed\"]"), "line 1, key \"ios\": sha256 is missing"),
            (key(&good).replace(DIGEST, &digest_of("")), "sha256 is that of nothing"),
            (key(&good).replace(DIGEST, &digest_of(DEFAULT_API_KEY)), "sha256 is that of the well-known key"),
            (format!("\u{feff}# \u{e9}\n{}", key("sha256 = 1")), "line 4 cannot be read"),
            (
                key(&format!("sha256 = \"{DIGEST}\"\nrights = [\"fly\"]")),
                "\"fly\" is no right; there are embed,",
            ),
            (key(&format!("sha256 = \"{DIGEST}\"\nrights = []")), "without rights"),
            (key(&format!("{good}\ncollections = [\"a/b\"]")), "\"a/b\" is no pattern"),
            (key(&format!("{good}\nrate_limit_per_minute = -1")), "line 5 "),
            (key("sha256 = my-secret"), "line 3 "),
            (key(&good).replace("ios", "i o s"), "a name has up to 64"),
            (key(&good).repeat(2), "line 5, key \"ios\": another key has its name"),
            (key(&good) + &key(&good).replace("ios", "web"), "another key has its sha256"),
            (key(&good).replace("ios", "default"), "another key has its name"),
        ];
        for (text, expected) in cases {
            let error = source(Some("abc"), Some(&text)).unwrap().keys().unwrap_err().to_string();
            assert!(error.starts_with("KEYS: ") && error.contains(expected), "{text}: {error}");
            assert!(!error.contains("my-secret") && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn collections_are_named_by_patterns() {
        for (pattern, text, expected) in [
            ("*", "family", true),
            ("family", "family", true),
            ("family", "family2", false),
            ("family-*", "family-smith", true),
            ("family-*", "family", false),
            ("*-smith", "family-smith", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_new_key_can_be_read() {
        let lines =
            toml_lines("ios", "secret", &[Right::Embed, Right::Read], &["a-*".into()], Some(60)).unwrap();
        let [(_, key)] = &parse("KEYS", &lines).unwrap()[..] else { panic!("one key") };
        assert_eq!(key.digest, <[u8; 32]>::from(Sha256::digest("secret")));
        assert_eq!(key.rights, [Right::Embed, Right::Read]);
        assert_eq!(
            (key.collections.as_slice(), key.rate_limit_per_minute),
            (&["a-*".to_owned()][..], Some(60))
        );
        assert!(toml_lines("a b", "secret", &[Right::Embed], &[], None).is_err());
    }
}
