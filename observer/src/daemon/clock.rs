//! The clocks: `CLOCK_MONOTONIC`, as the kernel stamps events, and the wall.

use nix::time::{ClockId, clock_gettime};

use crate::sink::Clock;

fn read(clock: ClockId) -> u64 {
    let Ok(time) = clock_gettime(clock) else {
        return 0;
    };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Now, monotonic ns.
pub(super) fn now_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// CPU time of this process, ns.
pub(super) fn cpu_ns() -> u64 {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

/// What turns monotonic times into wall-clock ones, from now on.
pub(super) fn wall() -> Clock {
    let realtime = i64::try_from(read(ClockId::CLOCK_REALTIME)).unwrap_or(i64::MAX);
    let monotonic = i64::try_from(now_ns()).unwrap_or(i64::MAX);
    Clock {
        realtime_minus_monotonic_ns: realtime.saturating_sub(monotonic),
    }
}
