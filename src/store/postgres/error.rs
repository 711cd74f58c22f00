//! Classifies errors of PostgreSQL.

use std::error::Error as _;
use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::store::error::StoreError;

/// The reason why there is no connection.
pub(super) enum ConnectError {
    /// A later attempt may succeed.
    Unavailable(String),
    /// Attempts fail until an operator changes something.
    Refused(String),
    /// A newer version of this program created the tables.
    Newer(i64),
}

impl ConnectError {
    pub(super) fn from_postgres(error: &Error) -> Self {
        let reason = text(error);
        let may_come = match (error.code(), io_kind(error)) {
            (Some(code), _) => is_passing(code),
            // rustls reports an invalid certificate as invalid data.
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
    /// Errors of the server, the network or an operator are temporary or can be repaired. All others are bugs.
    fn from(error: Error) -> Self {
        let is_bug = match error.code() {
            Some(code) if [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::UNDEFINED_TABLE].contains(code) => {
                false
            }
            // Data exceptions, violated constraints, invalid statements, and limits of the program.
            Some(code) => ["22", "23", "42", "54"].iter().any(|class| code.code().starts_with(class)),
            // The response was not the expected one.
            None => !error.is_closed() && io_kind(&error).is_none(),
        };
        let reason = text(&error);
        if is_bug { Self::Internal(reason) } else { Self::Unavailable { reason } }
    }
}

/// Returns whether a server that rejects a connection may accept one later.
fn is_passing(code: &SqlState) -> bool {
    ["08", "53", "55", "57", "58"].iter().any(|class| code.code().starts_with(class))
}

fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    Some(error.source()?.downcast_ref::<io::Error>()?.kind())
}

/// Returns the error with its causes.
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
