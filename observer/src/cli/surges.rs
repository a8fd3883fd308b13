//! When goroutines are too many, and where what they did is kept.

use std::time::Duration;

use crate::config::Settings;
use crate::error::Error;
use crate::sink::SnapshotOptions;

const DEFAULT: Surges = Surges {
    factor: 3,
    min: 500,
    times: 2,
    window: Duration::from_secs(60),
};
const SNAPSHOTS: u32 = 10;

/// When goroutines have become too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surges {
    /// More than so many times the average.
    pub factor: u32,
    /// More than so many.
    pub min: u64,
    /// In so many counts in a row.
    pub times: u32,
    /// Time that the average is taken over.
    pub window: Duration,
}

/// What the settings say of surges.
///
/// # Errors
/// [`Error::Usage`] where every count would be one, or none has an average.
pub(super) fn of(settings: &Settings) -> Result<Surges, Error> {
    let surges = Surges {
        factor: settings.surge_factor.unwrap_or(DEFAULT.factor),
        min: settings.surge_min.unwrap_or(DEFAULT.min),
        times: settings.surge_times.unwrap_or(DEFAULT.times),
        window: settings.surge_window.map_or(DEFAULT.window, |span| span.0),
    };
    let nothing = |flag: &str, usual: &str| {
        Err(Error::Usage {
            problem: format!("{flag} 0 makes no sense"),
            remedy: format!(
                "leave it out for {usual}, or name more than nothing: `{flag} {usual}`"
            ),
        })
    };
    if surges.factor == 0 {
        return nothing("--surge-factor", "3");
    }
    if surges.times == 0 {
        return nothing("--surge-times", "2");
    }
    if surges.window.is_zero() {
        return nothing("--surge-window", "60s");
    }
    Ok(surges)
}

/// Where snapshots go, if anywhere.
///
/// # Errors
/// [`Error::Usage`] where there may be none, or where there is no folder for them.
pub(super) fn snapshots(settings: &Settings) -> Result<Option<SnapshotOptions>, Error> {
    let max = settings.snapshot_max;
    if max == Some(0) {
        return Err(Error::Usage {
            problem: "with --snapshot-max 0 there is room for no snapshot".into(),
            remedy: "leave --snapshot-dir out for none, or name a number: `--snapshot-max 10`"
                .into(),
        });
    }
    let Some(dir) = settings.snapshot_dir.clone() else {
        return match max {
            None => Ok(None),
            Some(max) => Err(Error::Usage {
                problem: "--snapshot-max says how many, but nothing says where".into(),
                remedy: format!("name a folder: `--snapshot-dir DIR --snapshot-max {max}`"),
            }),
        };
    };
    let max = usize::try_from(max.unwrap_or(SNAPSHOTS)).unwrap_or(usize::MAX);
    Ok(Some(SnapshotOptions { dir, max }))
}
