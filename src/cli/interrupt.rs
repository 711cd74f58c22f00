//! Handles Ctrl-C: the command completes its output before it ends.

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// The exit status of an interrupted command, following the convention of shells.
pub(super) const INTERRUPTED: u8 = 130;

/// The time that an interrupted command has to complete its output.
const PATIENCE: Duration = Duration::from_secs(5);

/// Returns a flag that SIGINT or SIGTERM sets. A second signal, or five seconds, ends the process.
pub(super) fn on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let is_stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_stopped);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _runtime = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if flag.swap(true, Ordering::Relaxed) {
                    exit(INTERRUPTED.into());
                }
                // The command may be waiting for input that never arrives, such as a line of standard input.
                std::thread::spawn(|| {
                    std::thread::sleep(PATIENCE);
                    exit(INTERRUPTED.into());
                });
            }
        });
    });
    Ok(is_stopped)
}
