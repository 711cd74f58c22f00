//! Configuration of the speaker store.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::{Access, access};

use super::error::ConfigError;
use super::places::{data_directory, is_mount};
use super::values::{MAX_MAX_SPEAKERS, count};
use crate::store::{PostgresServer, ServerError, StoreConfig, StorePlace, folder_of};

/// The file name of the database in its folder.
const FILE: &str = "speakers.db";

/// The default for the largest number of speakers.
const MAX_SPEAKERS: NonZeroUsize = NonZeroUsize::new(200_000).expect("it is not 0");

/// Options for the location of the speaker store.
#[derive(Args, Clone, Debug)]
pub struct StorePlaceArgs {
    /// Database of enrolled speakers: `sqlite:PATH`; `postgres://USER:PASSWORD@HOST/DATABASE`, which replicas can share;
    /// `memory:`, lost when the process ends; or `none` [default: speakers.db in the platform's data folder].
    #[arg(long, env, value_name = "URL")]
    database_url: Option<String>,
    /// Folder for speakers if a volume is mounted there, instead of the platform's data folder; without a volume,
    /// speakers are not stored. Container images set it, because their own folders are lost with the container.
    #[arg(long, env, value_name = "DIR")]
    data_mount: Option<PathBuf>,
}

/// Options for the speaker store.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    #[command(flatten, next_help_heading = "Enrolled speakers")]
    place: StorePlaceArgs,
    /// Maximum number of speakers.
    #[arg(long, env, default_value_t = MAX_SPEAKERS, value_parser = count::<MAX_MAX_SPEAKERS>)]
    max_speakers: NonZeroUsize,
}

/// For commands that only read.
impl From<StorePlaceArgs> for StoreArgs {
    fn from(place: StorePlaceArgs) -> Self {
        Self { place, max_speakers: MAX_SPEAKERS }
    }
}

impl TryFrom<StoreArgs> for StoreConfig {
    type Error = ConfigError;

    fn try_from(args: StoreArgs) -> Result<Self, ConfigError> {
        let max_speakers = args.max_speakers.get();
        let at = |place: Option<StorePlace>| Self { place, note: None, max_speakers };
        let path = match (args.place.database_url.as_deref(), args.place.data_mount) {
            (Some("none"), _) => return Ok(at(None)),
            (Some("memory:"), _) => return Ok(at(Some(StorePlace::Memory))),
            (Some(url), _) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                let wrong = |error: ServerError| ConfigError::DatabaseUrl {
                    url: mask_secrets(url),
                    reason: error.to_string(),
                };
                return Ok(at(Some(StorePlace::Server(PostgresServer::from_url(url).map_err(wrong)?))));
            }
            (Some(url), _) => {
                let wrong = |reason: &str| ConfigError::DatabaseUrl {
                    url: mask_secrets(url),
                    reason: reason.to_owned(),
                };
                let path = url.strip_prefix("sqlite:").ok_or_else(|| wrong(KINDS))?;
                if path.is_empty()
                    || path.starts_with(":memory:")
                    || path.starts_with("//")
                    || path.contains('?')
                {
                    return Err(wrong(KINDS));
                }
                let path = PathBuf::from(path);
                check_writable(&path).map_err(|reason| wrong(&reason))?;
                return Ok(at(Some(StorePlace::File(path))));
            }
            (None, Some(mount)) if !is_mount(&mount) => {
                let note = format!("nothing is mounted at {}, which would keep them", mount.display());
                return Ok(Self { note: Some(note), ..at(None) });
            }
            (None, Some(mount)) => {
                let path = mount.join(FILE);
                check_writable(&path).map_err(|reason| ConfigError::DataMount { reason })?;
                return Ok(at(Some(StorePlace::File(path))));
            }
            (None, None) => data_directory().map(|folder| folder.join(FILE)),
        };
        let Some(path) = path else {
            return Ok(Self { note: Some("the platform has no folder for data".into()), ..at(None) });
        };
        Ok(match check_writable(nearest(&path)) {
            Err(reason) if path.exists() => {
                return Err(ConfigError::DatabaseUrl { url: format!("sqlite:{}", path.display()), reason });
            }
            Ok(()) => at(Some(StorePlace::File(path))),
            Err(reason) => Self { note: Some(format!("{}: {reason}", path.display())), ..at(None) },
        })
    }
}

const KINDS: &str = "should be sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE, memory: or none";

/// Masks the part of a URL that may contain a password.
fn mask_secrets(url: &str) -> String {
    match url.split_once(':') {
        Some(("sqlite", _)) => url.to_owned(),
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_lowercase()) => format!("{scheme}:..."),
        _ => "...".to_owned(),
    }
}

/// Returns the path or, if it is missing, the nearest existing folder above it.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(path)
}

/// Checks that the file can be written or, if it is missing, its folder.
fn check_writable(path: &Path) -> Result<(), String> {
    let folder = folder_of(path);
    let (target, rights) = match path {
        path if path.is_dir() => (path, Access::WRITE_OK | Access::EXEC_OK),
        path if path.exists() => (path, Access::READ_OK | Access::WRITE_OK),
        _ if !folder.is_dir() => return Err(format!("the folder {} does not exist", folder.display())),
        _ => (folder, Access::WRITE_OK | Access::EXEC_OK),
    };
    access(target, rights).map_err(|error| format!("{} cannot be written: {error}", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(database_url: Option<&str>, data_mount: Option<&str>) -> Result<StoreConfig, String> {
        let place = StorePlaceArgs {
            database_url: database_url.map(str::to_owned),
            data_mount: data_mount.map(PathBuf::from),
        };
        let args = StoreArgs { place, max_speakers: NonZeroUsize::MIN };
        StoreConfig::try_from(args).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_names_the_place() {
        let file = |path: &str| Ok(Some(StorePlace::File(path.into())));
        for (url, expected) in [
            ("none", Ok(None)),
            ("memory:", Ok(Some(StorePlace::Memory))),
            ("sqlite:speakers.db", file("speakers.db")),
            ("sqlite:/tmp/a b.db", file("/tmp/a b.db")),
            ("sqlite:", Err("should be sqlite:PATH")),
            ("sqlite::memory:", Err("should be sqlite:PATH")),
            ("sqlite:///tmp/a.db", Err("should be sqlite:PATH")),
            ("sqlite:a.db?mode=rwc", Err("should be sqlite:PATH")),
            ("/tmp/a.db", Err("should be sqlite:PATH")),
            ("sqlite:/no/such/folder/a.db", Err("/no/such/folder does not exist")),
            ("postgres://user:secret@host/db?sslmode=verify", Err("postgres:...")),
            ("mysql://user:secret@host/db", Err("mysql:...")),
            ("host=db user=ann password=secret dbname=v", Err("should be sqlite:PATH")),
        ] {
            match (parse(Some(url), None), expected) {
                (Ok(config), Ok(place)) => assert_eq!(config.place, place, "{url}"),
                (Err(error), Err(part)) => {
                    assert!(error.contains(part) && error.contains("DATABASE_URL"), "{url}: {error}");
                    assert!(!error.contains("secret"), "{error}");
                }
                (actual, expected) => panic!("{url}: {actual:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn a_container_keeps_speakers_on_a_mount_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = parse(None, folder.path().to_str()).unwrap();
        assert_eq!(config.place, None);
        assert!(config.note.unwrap().contains("nothing is mounted"));
        #[cfg(target_os = "linux")]
        assert_eq!(
            parse(None, Some("/dev/shm")).unwrap().place,
            Some(StorePlace::File("/dev/shm/speakers.db".into()))
        );
    }
}
