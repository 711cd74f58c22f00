//! Ctrl-C: what is written is made whole first.

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// The exit status of an interrupted command, as shells have it.
pub(super) const INTERRUPTED: u8 = 130;

/// The longest that an interrupted command takes to make its output whole.
const PATIENCE: Duration = Duration::from_secs(5);

/// A flag that SIGINT or SIGTERM sets; a second one, or five seconds, end the process.
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
                // The command may wait for something that does not come, such as a line of standard input.
                std::thread::spawn(|| {
                    std::thread::sleep(PATIENCE);
                    exit(INTERRUPTED.into());
                });
            }
        });
    });
    Ok(is_stopped)
}
