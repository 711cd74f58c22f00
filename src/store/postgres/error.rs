//! What errors of PostgreSQL mean.

use std::error::Error as _;
use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::store::error::StoreError;

/// Why there is no connection.
pub(super) enum ConnectError {
    /// It may come.
    Unavailable(String),
    /// It will not, unless somebody changes something.
    Refused(String),
    /// A newer version of this program has made the tables.
    Newer(i64),
}

impl ConnectError {
    pub(super) fn of(error: &Error) -> Self {
        let reason = text(error);
        let may_come = match (error.code(), io_kind(error)) {
            (Some(code), _) => is_passing(code),
            // What rustls says of a certificate is that the data are invalid.
            (None, Some(kind)) => kind != io::ErrorKind::InvalidData,
            (None, None) => error.is_closed(),
        };
        if may_come { Self::Unavailable(reason) } else { Self::Refused(reason) }
    }
}

impl From<ConnectError> for StoreError {
    fn from(error: ConnectError) -> Self {
        let reason = match error {
            ConnectError::Unavailable(reason) | ConnectError::Refused(reason) => reason,
            ConnectError::Newer(version) => {
                format!("it has version {version} by now, which this program does not know")
            }
        };
        Self::Unavailable { reason }
    }
}

impl From<Error> for StoreError {
    /// What the server, the network or an operator is to blame for passes, or is repaired; all else is a bug.
    fn from(error: Error) -> Self {
        let is_bug = match error.code() {
            Some(code) if [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::UNDEFINED_TABLE].contains(code) => {
                false
            }
            // Data exceptions, violated constraints, statements that are wrong, and limits of the program.
            Some(code) => ["22", "23", "42", "54"].iter().any(|class| code.code().starts_with(class)),
            // What came is not what was expected.
            None => !error.is_closed() && io_kind(&error).is_none(),
        };
        let reason = text(&error);
        if is_bug { Self::Internal(reason) } else { Self::Unavailable { reason } }
    }
}

/// Whether a server that refuses a connection may take one later.
fn is_passing(code: &SqlState) -> bool {
    ["08", "53", "55", "57", "58"].iter().any(|class| code.code().starts_with(class))
}

fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    Some(error.source()?.downcast_ref::<io::Error>()?.kind())
}

/// The error with what caused it.
pub(super) fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
