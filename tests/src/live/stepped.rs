//! The machine's wall clock, put forward for a moment.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_gettime, clock_settime},
};

/// The wall clock is ahead while this lives, and is then what it would have been: by `CLOCK_BOOTTIME`, which no step moves.
#[derive(Debug)]
pub struct Stepped {
    /// Wall clock minus `CLOCK_BOOTTIME`, as it has to be.
    right: Duration,
}

impl Stepped {
    /// Puts the clock forward.
    ///
    /// # Errors
    /// When this process must not set the clock.
    pub fn by(ahead: Duration) -> Result<Self> {
        let stepped = Self {
            right: since_boot(ClockId::CLOCK_REALTIME)?,
        };
        set(stepped.right + ahead)?;
        Ok(stepped)
    }

    /// Sets the clock back, and says by how much it is wrong now.
    ///
    /// # Errors
    /// When it cannot be set.
    pub fn back(self) -> Result<Duration> {
        set(self.right)?;
        Ok(since_boot(ClockId::CLOCK_REALTIME)?.abs_diff(self.right))
    }
}

impl Drop for Stepped {
    #[expect(
        clippy::print_stderr,
        reason = "a machine with a wrong clock is worth a word, and nothing else can be done here"
    )]
    fn drop(&mut self) {
        if let Err(error) = set(self.right) {
            eprintln!("the wall clock is wrong: {error:#}");
        }
    }
}

fn now(clock: ClockId) -> Result<Duration> {
    let now = clock_gettime(clock).with_context(|| format!("{clock} cannot be read"))?;
    Ok(Duration::from(now))
}

/// A clock minus `CLOCK_BOOTTIME`. Who is interrupted between the two readings reads again.
fn since_boot(clock: ClockId) -> Result<Duration> {
    let mut best: Option<(Duration, Duration)> = None;
    for _ in 0..16 {
        let before = now(ClockId::CLOCK_BOOTTIME)?;
        let read = now(clock)?;
        let took = now(ClockId::CLOCK_BOOTTIME)?.saturating_sub(before);
        if best.is_none_or(|(least, _)| took < least) {
            let boot = before + took / 2;
            let ahead = read.checked_sub(boot);
            best = Some((
                took,
                ahead.context("the clock is behind the machine's start")?,
            ));
        }
    }
    best.map(|(_, ahead)| ahead).context("no reading")
}

fn set(ahead_of_boot: Duration) -> Result<()> {
    let to = now(ClockId::CLOCK_BOOTTIME)? + ahead_of_boot;
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from(to))
        .context("the wall clock cannot be set: that takes CAP_SYS_TIME")
}
