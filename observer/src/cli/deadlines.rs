//! What deadlines are measured by.

use std::time::Duration;

use crate::config::Settings;

const DEFAULT: Deadlines = Deadlines {
    tolerance_percent: 10,
    tolerance: Duration::from_millis(20),
    short: Duration::from_millis(100),
    short_depth: 5,
};

/// Which deadlines are equal, and which are short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Deadlines that differ by no more than this part of the shorter are equal.
    pub tolerance_percent: u32,
    /// Nor those that differ by no more than this.
    pub tolerance: Duration,
    /// Shorter is short.
    pub short: Duration,
    /// More frames than this under the handler are deep.
    pub short_depth: u32,
}

/// What the settings say of deadlines.
pub(super) fn of(settings: &Settings) -> Deadlines {
    Deadlines {
        tolerance_percent: settings
            .deadline_tolerance
            .map_or(DEFAULT.tolerance_percent, |percent| percent.0),
        tolerance: settings
            .deadline_tolerance_min
            .map_or(DEFAULT.tolerance, |span| span.0),
        short: settings.short_deadline.map_or(DEFAULT.short, |span| span.0),
        short_depth: settings.short_deadline_depth.unwrap_or(DEFAULT.short_depth),
    }
}
