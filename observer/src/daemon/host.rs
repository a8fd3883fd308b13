//! This host, as facts of several hosts name it.

use std::sync::Arc;

use crate::correlate::Host;
use crate::detect::Thresholds;
use crate::record::RecordingHeader;
use crate::sink::Clock;

/// Differs with each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Its name, and what tells this boot from others; empty where it cannot be read.
pub(super) fn this() -> Host {
    let boot_id = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    let name = nix::sys::utsname::uname()
        .map(|name| name.nodename().to_string_lossy().into_owned())
        .unwrap_or_default();
    Host {
        name: Arc::from(name),
        boot_id: Arc::from(boot_id.trim()),
    }
}

/// The header of a recording that begins here and now, of a run that tells facts or does not.
pub(super) fn recording(clock: Clock, thresholds: &Thresholds, facts: bool) -> RecordingHeader {
    let here = this();
    RecordingHeader {
        facts,
        ..RecordingHeader::new(clock, thresholds, here.name, here.boot_id)
    }
}
