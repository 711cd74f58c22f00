//! The server that a URL names.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::tls::{ServerVerification, client_config};

/// The time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the system waits for a server to confirm sent data.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);

/// The address of a server, and how to connect to it. It is cheap to clone. Neither `Debug` nor [`PostgresServer::name`]
/// shows the password.
#[derive(Clone)]
pub struct PostgresServer(Arc<Settings>);

/// The settings read from a URL.
pub(super) struct Settings {
    url: String,
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    name: String,
}

/// The reason why a URL names no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The URL is malformed.
    #[error("{}", super::error::text(.0))]
    Url(#[from] tokio_postgres::Error),
    /// `sslmode` has an unknown value.
    #[error("sslmode should be disable, prefer, require or verify-full")]
    SslMode,
    /// `sslrootcert` has no effect without verification.
    #[error("sslrootcert needs sslmode=verify-full")]
    UnusedRoots,
    /// The certificates cannot be used.
    #[error("sslrootcert: {0}")]
    Roots(String),
    /// A part of the password could be mistaken for another part of the URL.
    #[error("'@' and '?' in a user's name or password should be written as %40 and %3F")]
    Ambiguous,
    /// The host or the database is missing.
    #[error("it should name a host and a database: postgres://USER:PASSWORD@HOST/DATABASE")]
    Incomplete,
}

impl PostgresServer {
    /// Parses a URL, `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`, as libpq does.
    pub fn from_url(url: &str) -> Result<Self, ServerError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut roots, mut others) = (None, None, Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let value = || url::form_urlencoded::parse(parameter.as_bytes()).next().map(|(_, value)| value);
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", _)) => roots = value().map(std::borrow::Cow::into_owned),
                _ => others.push(parameter),
            }
        }
        let mut config: Config = format!("{base}?{}", others.join("&")).parse()?;
        let verification = match (mode, roots.as_deref()) {
            (Some("verify-full"), None | Some("system")) => ServerVerification::System,
            (Some("verify-full"), Some(path)) => ServerVerification::Roots(PathBuf::from(path)),
            (_, Some(_)) => return Err(ServerError::UnusedRoots),
            (None | Some("disable" | "prefer" | "require"), None) => ServerVerification::None,
            (Some(_), None) => return Err(ServerError::SslMode),
        };
        config.ssl_mode(match mode {
            Some("disable") => SslMode::Disable,
            None | Some("prefer") => SslMode::Prefer,
            Some(_) => SslMode::Require,
        });
        let is_odd = |host: &Host| matches!(host, Host::Tcp(host) if host.contains('@'));
        if query.contains('@') || config.get_hosts().iter().any(is_odd) {
            return Err(ServerError::Ambiguous);
        }
        if config.get_hosts().is_empty() || config.get_dbname().is_none() {
            return Err(ServerError::Incomplete);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(TCP_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name(env!("CARGO_PKG_NAME"));
        }
        // Of several hosts, the one that accepts changes is used.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let tls = MakeRustlsConnect::new(client_config(&verification).map_err(ServerError::Roots)?);
        let name = name(&config);
        Ok(Self(Arc::new(Settings { url: url.to_owned(), config, tls, name })))
    }

    /// Returns how long trying all hosts may take.
    pub(super) fn connect_timeout(&self) -> Duration {
        let config = &self.0.config;
        let hosts = config.get_hosts().len() as u32;
        config.get_connect_timeout().map_or(CONNECT_TIMEOUT, |timeout| *timeout) * hosts
    }

    /// Returns the host and the database, for people.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0
    }
}

fn name(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(host) => host.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    format!("postgres://{}/{}", hosts.collect::<Vec<_>>().join(","), config.get_dbname().unwrap_or_default())
}

impl fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for PostgresServer {
    fn eq(&self, other: &Self) -> bool {
        self.0.url == other.0.url
    }
}

impl Eq for PostgresServer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_as_libpq_does() {
        for (url, expected) in [
            ("postgres://ann:secret@db.example.org/voices", Ok("postgres://db.example.org/voices")),
            ("postgresql://ann@a:5432,b:5433/voices?connect_timeout=2", Ok("postgres://a,b/voices")),
            ("postgres://ann@/voices?host=/run/postgresql", Ok("postgres:///run/postgresql/voices")),
            ("postgres://ann:secret@db/voices?sslmode=verify-full", Ok("postgres://db/voices")),
            (
                "postgres://ann:secret@db/voices?sslmode=verify-full&sslrootcert=system",
                Ok("postgres://db/voices"),
            ),
            ("postgres://ann:secret@db/voices?sslmode=verify-ca", Err("sslmode should be")),
            ("postgres://ann:secret@db/voices?sslrootcert=ca.pem", Err("needs sslmode=verify-full")),
            (
                "postgres://ann:secret@db/voices?sslmode=verify-full&sslrootcert=/no/such.pem",
                Err("sslrootcert: /no/such.pem"),
            ),
            ("postgres://ann:secret@db", Err("should name a host and a database")),
            ("postgres://ann:secret@db/voices?colour=red", Err("colour")),
            ("postgres://ann:p@secret@db/voices", Err("%40")),
            ("postgres://ann:p?secret@db/voices?sslmode=require", Err("%3F")),
        ] {
            match (PostgresServer::from_url(url).map_err(|error| error.to_string()), expected) {
                (Ok(server), Ok(name)) => {
                    assert_eq!(server.name(), name);
                    assert!(!format!("{server:?}").contains("secret"), "{server:?}");
                }
                (Err(error), Err(part)) => {
                    assert!(error.contains(part), "{url}: {error}");
                    assert!(!error.contains("secret"), "{error}");
                }
                (actual, expected) => panic!("{url}: {actual:?}, expected {expected:?}"),
            }
        }
    }
}
