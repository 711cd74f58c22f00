//! Reloads the key file when it changes.

use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::state::AppState;
use crate::config::{Key, KeySource};

/// Interval between checks of the file. The content is compared, because Kubernetes changes the file through a symbolic link.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Checks the file every ten seconds and on SIGHUP, for as long as the process lives. If the file is invalid, the current
/// keys stay in force, and the error is logged once.
pub(super) async fn watch(source: KeySource, keys_at_start: Vec<Key>, state: AppState, mut hangups: Signal) {
    let gauge = &state.metrics.http.keys_file_valid;
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut in_force, mut last_error) = (keys_at_start, None);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            _ = hangups.recv() => {}
        }
        let looked_at = source.clone();
        match spawn_blocking(move || looked_at.keys().map_err(|error| error.to_string())).await {
            Ok(Ok(keys)) => {
                gauge.set(1);
                last_error = None;
                if keys != in_force {
                    tracing::info!(keys = keys.len(), "KEYS_FILE has changed: its keys are valid now");
                    state.api_keys.replace(keys.clone());
                    in_force = keys;
                }
            }
            Ok(Err(error)) => {
                gauge.set(0);
                if last_error.as_ref() != Some(&error) {
                    tracing::error!("{error}; the keys in force stay as they are");
                    last_error = Some(error);
                }
            }
            Err(error) => {
                gauge.set(0);
                tracing::error!(%error, "the check of KEYS_FILE panicked");
            }
        }
    }
}
