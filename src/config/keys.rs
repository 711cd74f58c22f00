//! API keys: where they come from, what they are called, and what each may do.

use std::collections::HashSet;
use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::error::ConfigError;

/// The key that works without configuration, on loopback only.
pub const DEFAULT_API_KEY: &str = "dev-key-change-me";

/// The name of the key in `API_KEY`.
const API_KEY_NAME: &str = "default";

/// Characters of a name at the most.
const MAX_NAME_CHARACTERS: usize = 64;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Recordings to embeddings.
    Embed,
    /// Two voices compared, or many.
    Verify,
    /// A voice searched among enrolled speakers.
    Identify,
    /// Speakers created, changed and enrolled.
    Enrol,
    /// Speakers listed.
    Read,
    /// Everything.
    Admin,
}

/// A key: the SHA-256 of the secret, and what its holder may do.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// What logs call its holder.
    pub name: String,
    /// SHA-256 of the secret.
    pub digest: [u8; 32],
    /// What it may do.
    pub rights: Vec<Right>,
    /// Patterns of the collections that it may use; `*` stands for any characters.
    pub collections: Vec<String>,
    /// What it may send in a minute, if it differs from `RATE_LIMIT_PER_MINUTE`; 0 for any number.
    pub rate_limit_per_minute: Option<u32>,
}

/// Where keys come from.
#[derive(Args, Clone, Debug)]
pub struct KeyArgs {
    /// Key that clients must send, exactly as it is; it may do everything [default: dev-key-change-me, unless KEYS or KEYS_FILE is
    /// set].
    #[arg(long, env, hide_env_values = true)]
    api_key: Option<String>,
    /// File that holds that key instead.
    #[arg(long, env)]
    api_key_file: Option<PathBuf>,
    /// File of further keys as TOML, each with its SHA-256, name and rights; `key new` makes one. It is read again when it changes.
    #[arg(long, env)]
    keys_file: Option<PathBuf>,
    /// The same TOML itself.
    #[arg(long, env, hide_env_values = true)]
    keys: Option<String>,
}

/// The keys of the configuration, and the file that may change.
#[derive(Clone, Debug)]
pub struct KeySource {
    /// The key in `API_KEY` or its file; the well-known one if nothing is configured.
    api_key: Option<Key>,
    /// Whether `API_KEY` looks like several keys, or one with a name.
    looks_like_several: bool,
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
    name: String,
    sha256: String,
    rights: Vec<String>,
    collections: Option<Vec<String>>,
    rate_limit_per_minute: Option<u32>,
}

impl Right {
    /// The name that files, answers and docs use.
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
    /// Whether it may do that.
    pub fn may(&self, right: Right) -> bool {
        self.rights.iter().any(|own| *own == right || *own == Right::Admin)
    }

    fn of_api_key(secret: &str) -> Self {
        Self {
            name: API_KEY_NAME.to_owned(),
            digest: Sha256::digest(secret).into(),
            rights: vec![Right::Admin],
            collections: vec!["*".to_owned()],
            rate_limit_per_minute: None,
        }
    }
}

/// Shows no digest.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).field("rights", &self.rights).finish_non_exhaustive()
    }
}

impl TryFrom<KeyArgs> for KeySource {
    type Error = ConfigError;

    fn try_from(args: KeyArgs) -> Result<Self, ConfigError> {
        // Compose passes variables on that are not set.
        let set = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        let (key_file, file) = (set(args.api_key_file), set(args.keys_file));
        let inline = args.keys.filter(|text| !text.trim().is_empty());
        if inline.is_some() && file.is_some() {
            return Err(ConfigError::TwoPlacesOfKeys("KEYS", "KEYS_FILE"));
        }
        let has_others = inline.is_some() || file.is_some();
        let secret = match (args.api_key, key_file) {
            (Some(key), Some(_)) if !key.is_empty() => {
                return Err(ConfigError::TwoPlacesOfKeys("API_KEY", "API_KEY_FILE"));
            }
            (_, Some(path)) => Some(("API_KEY_FILE", read("API_KEY_FILE", path)?)),
            (Some(key), None) if !(key.is_empty() && has_others) => Some(("API_KEY", key)),
            (_, None) if has_others => None,
            (_, None) => Some(("API_KEY", DEFAULT_API_KEY.to_owned())),
        };
        let secret = secret.map(|(variable, text)| {
            let secret = text.strip_suffix('\n').unwrap_or(&text);
            let secret = secret.strip_suffix('\r').unwrap_or(secret).to_owned();
            if secret.is_empty() { Err(ConfigError::EmptyApiKey(variable)) } else { Ok(secret) }
        });
        let secret = secret.transpose()?;
        Ok(Self {
            looks_like_several: secret.as_deref().is_some_and(looks_like_several),
            api_key: secret.as_deref().map(Key::of_api_key),
            inline,
            file,
        })
    }
}

impl KeySource {
    /// All keys as they are now; reads the file, if there is one.
    pub fn keys(&self) -> Result<Vec<Key>, ConfigError> {
        let others = match (&self.inline, &self.file) {
            (Some(text), _) => parse("KEYS", text)?,
            (None, Some(path)) => parse("KEYS_FILE", &read("KEYS_FILE", path.clone())?)?,
            (None, None) => Vec::new(),
        };
        let keys: Vec<Key> = self.api_key.iter().cloned().chain(others).collect();
        let (mut names, mut digests) = (HashSet::new(), HashSet::new());
        for key in &keys {
            let wrong = |what| ConfigError::Keys {
                variable: if self.file.is_some() { "KEYS_FILE" } else { "KEYS" },
                reason: format!("key {:?}: {what}", key.name),
            };
            if !names.insert(&key.name) {
                return Err(wrong("another key has its name"));
            }
            if !digests.insert(key.digest) {
                return Err(wrong("another key has its sha256"));
            }
        }
        Ok(keys)
    }

    /// The file that holds keys and may change.
    pub fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// Whether the well-known key is valid.
    pub fn has_default_key(&self) -> bool {
        self.api_key == Some(Key::of_api_key(DEFAULT_API_KEY))
    }

    /// Whether `API_KEY` looks like several keys, or one with a name.
    pub fn looks_like_several(&self) -> bool {
        self.looks_like_several
    }
}

fn read(variable: &'static str, path: PathBuf) -> Result<String, ConfigError> {
    std::fs::read_to_string(&path).map_err(|reason| ConfigError::KeyFile { variable, path, reason })
}

/// Whether a key has a comma, or a name and a colon at its start.
fn looks_like_several(key: &str) -> bool {
    key.contains(',') || key.split_once(':').is_some_and(|(name, _)| is_name(name))
}

/// The keys of a TOML text.
fn parse(variable: &'static str, text: &str) -> Result<Vec<Key>, ConfigError> {
    let line_at = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file: KeysFile = toml::from_str(text).map_err(|error| {
        // The library's own message shows the line, which may hold a secret.
        let line = error.span().map_or(1, |span| line_at(span.start));
        let reason = format!("line {line}: {}", error.message().lines().next().unwrap_or_default());
        ConfigError::Keys { variable, reason }
    })?;
    let key = |table: Spanned<KeyTable>| {
        let line = line_at(table.span().start);
        let table = table.into_inner();
        let name = table.name.clone();
        table.check().map_err(|what| ConfigError::Keys {
            variable,
            reason: format!("line {line}, key {name:?}: {what}"),
        })
    };
    file.keys.into_iter().map(key).collect()
}

impl KeyTable {
    fn check(self) -> Result<Key, String> {
        if !is_name(&self.name) || self.name.len() > MAX_NAME_CHARACTERS {
            return Err(format!("a name has up to {MAX_NAME_CHARACTERS} letters, digits, '-', '_' and '.'"));
        }
        let digest = digest_of_hex(&self.sha256)
            .ok_or("sha256 should be 64 hexadecimal digits, the SHA-256 of the key, never the key itself")?;
        let right = |name: &String| {
            Right::from_str(name, false).map_err(|_| {
                let names: Vec<&str> = Right::value_variants().iter().map(|right| right.name()).collect();
                format!("{name:?} is no right; there are {}", names.join(", "))
            })
        };
        let rights = self.rights.iter().map(right).collect::<Result<Vec<_>, _>>()?;
        if rights.is_empty() {
            return Err("a key without rights is of no use".into());
        }
        let collections = self.collections.unwrap_or_else(|| vec!["*".into()]);
        if let Some(pattern) = collections.iter().find(|pattern| !is_name(&pattern.replace('*', "x"))) {
            return Err(format!("{pattern:?} is no pattern of collections"));
        }
        Ok(Key {
            name: self.name,
            digest,
            rights,
            collections,
            rate_limit_per_minute: self.rate_limit_per_minute,
        })
    }
}

/// Letters, digits, `-`, `_` and `.`, at least one.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn digest_of_hex(text: &str) -> Option<[u8; 32]> {
    let (digits, rest) = text.as_bytes().as_chunks::<2>();
    let mut digest = [0; 32];
    if digits.len() != digest.len() || !rest.is_empty() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(digits) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(value(*high)? * 16 + value(*low)?).ok()?;
    }
    Some(digest)
}

/// The lines of a key for the file.
pub fn toml_lines(
    name: &str,
    secret: &str,
    rights: &[Right],
    collections: &[String],
    rate_limit_per_minute: Option<NonZeroU32>,
) -> Result<String, ConfigError> {
    let list = |values: &mut dyn Iterator<Item = String>| {
        values.map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ")
    };
    let digest: Vec<String> = Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect();
    let rights = list(&mut rights.iter().map(ToString::to_string));
    let patterns = list(&mut collections.iter().cloned());
    let lines = [
        Some("[[keys]]".to_owned()),
        Some(format!("name = {name:?}")),
        Some(format!("sha256 = \"{}\"", digest.concat())),
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
        for (sent, secret) in [
            ("a,b", "a,b"),
            ("ios:abc", "ios:abc"),
            (" a ", " a "),
            ("k\n", "k"),
            ("k\r\n", "k"),
            ("k\n\n", "k\n"),
        ] {
            let keys = source(Some(sent), None).unwrap().keys().unwrap();
            assert_eq!(keys, [Key::of_api_key(secret)], "{sent:?}");
            assert!(keys[0].may(Right::Embed) && keys[0].may(Right::Admin));
        }
        for (key, expected) in [("a,b", true), ("ios:abc", true), ("a b:c", false), ("abc", false)] {
            assert_eq!(source(Some(key), None).unwrap().looks_like_several(), expected, "{key}");
        }
        assert!(source(Some(""), None).unwrap_err().to_string().contains("API_KEY holds an empty key"));
    }

    #[test]
    fn any_other_key_disables_the_default_one() {
        assert!(source(None, None).unwrap().has_default_key());
        let keys = format!("[[keys]]\nname = \"ios\"\nsha256 = \"{DIGEST}\"\nrights = [\"embed\"]\n");
        for api_key in [None, Some("")] {
            let source = source(api_key, Some(&keys)).unwrap();
            assert!(!source.has_default_key());
            let [key] = &source.keys().unwrap()[..] else { panic!("one key") };
            assert_eq!((key.name.as_str(), &key.rights[..]), ("ios", &[Right::Embed][..]));
            assert!(key.may(Right::Embed) && !key.may(Right::Verify));
            assert_eq!(key.digest, <[u8; 32]>::from(Sha256::digest("secret")));
        }
        assert_eq!(source(Some("abc"), Some(&keys)).unwrap().keys().unwrap().len(), 2);
    }

    #[test]
    fn bad_keys_are_named_by_line_and_never_shown() {
        let key = |line: &str| format!("[[keys]]\nname = \"ios\"\n{line}\n");
        let good = format!("sha256 = \"{DIGEST}\"\nrights = [\"embed\"]");
        let cases = [
            (key("sha256 = \"my-secret\"\nrights = [\"embed\"]"), "line 1, key \"ios\": sha256 should be 64"),
            (key("key = \"my-secret\"\nrights = [\"embed\"]"), "line 3: unknown field `key`"),
            (
                key(&format!("sha256 = \"{DIGEST}\"\nrights = [\"fly\"]")),
                "\"fly\" is no right; there are embed,",
            ),
            (key(&format!("sha256 = \"{DIGEST}\"\nrights = []")), "without rights"),
            (key(&format!("{good}\ncollections = [\"a/b\"]")), "\"a/b\" is no pattern"),
            (key(&format!("{good}\nrate_limit_per_minute = -1")), "line 5: "),
            (key("sha256 = my-secret"), "line 3: "),
            (key(&good).replace("ios", "i o s"), "a name has up to 64"),
            (key(&good).repeat(2), "another key has its name"),
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
    fn a_new_key_can_be_read() {
        let limit = NonZeroU32::new(60);
        let lines =
            toml_lines("ios", "secret", &[Right::Embed, Right::Read], &["a-*".into()], limit).unwrap();
        let [key] = &parse("KEYS", &lines).unwrap()[..] else { panic!("one key") };
        assert_eq!(key.digest, <[u8; 32]>::from(Sha256::digest("secret")));
        assert_eq!(key.rights, [Right::Embed, Right::Read]);
        assert_eq!(
            (key.collections.as_slice(), key.rate_limit_per_minute),
            (&["a-*".to_owned()][..], Some(60))
        );
        assert!(toml_lines("a b", "secret", &[Right::Embed], &[], None).is_err());
    }
}
