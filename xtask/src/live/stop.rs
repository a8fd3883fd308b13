//! Ctrl-C and SIGTERM as a flag that loops look at, so that what was started is ended in order.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use nix::sys::signal::{SigHandler, Signal, signal};

static WANTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: i32) {
    WANTED.store(true, Ordering::Relaxed);
}

/// From now on the two signals only set the flag. Children start with the usual behaviour again.
pub fn catch_signals() -> Result<()> {
    for caught in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler stores into an atomic, which is allowed in a signal handler, and does nothing else.
        unsafe { signal(caught, SigHandler::Handler(note)) }
            .with_context(|| format!("cannot catch {caught}"))?;
    }
    Ok(())
}

/// Whether somebody wants us to end.
pub fn stop_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}
