//! Go's `time.Time` on the monotonic clock.
//!
//! A time that came from `time.Now` carries the process's own monotonic reading, which a step of the
//! wall clock does not touch, and which Go's timers follow. It counts from `time.startNano`, which
//! nothing in a stripped executable names: it is learnt from a time that was just made.

/// `time.Time.wall`: the time has a monotonic reading.
const HAS_MONOTONIC: u64 = 1 << 63;
/// Bits of nanoseconds in `wall`.
const NANO_BITS: u32 = 30;
/// Seconds from 1885-01-01 to 1970-01-01, in which `wall` counts.
const WALL_TO_UNIX: i64 = 2_682_288_000;
/// Seconds from 0001-01-01 to 1970-01-01, in which `ext` counts without a monotonic reading.
const YEAR_ONE_TO_UNIX: i64 = 62_135_596_800;

/// The two words of a `time.Time` that say when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant {
    wall: u64,
    ext: u64,
}

impl Instant {
    /// From `wall` and `ext`.
    pub(super) const fn new([wall, ext]: [u64; 2]) -> Self {
        Self { wall, ext }
    }

    /// The zero time: no time at all.
    pub(super) const fn is_zero(self) -> bool {
        self.wall == 0 && self.ext == 0
    }

    const fn has_monotonic(self) -> bool {
        self.wall & HAS_MONOTONIC != 0
    }

    /// Nanoseconds since 1970 by the wall clock; `None` where that makes no sense.
    fn unix_ns(self) -> Option<i64> {
        let nanos = i64::try_from(self.wall & ((1 << NANO_BITS) - 1)).ok()?;
        let seconds = if self.has_monotonic() {
            i64::try_from((self.wall & !HAS_MONOTONIC) >> NANO_BITS)
                .ok()?
                .checked_sub(WALL_TO_UNIX)?
        } else {
            self.ext.cast_signed().checked_sub(YEAR_ONE_TO_UNIX)?
        };
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
    }

    /// `time.startNano` of the process, if this time was made by `time.Now` just now.
    pub(super) fn start_ns(self, realtime_minus_monotonic_ns: i64) -> Option<i64> {
        if !self.has_monotonic() {
            return None;
        }
        self.unix_ns()?
            .checked_sub(realtime_minus_monotonic_ns)?
            .checked_sub(self.ext.cast_signed())
    }

    /// Time left at the monotonic `now_ns`. `start_ns` is `time.startNano`, where it is known.
    pub(super) fn left_ns(
        self,
        now_ns: u64,
        start_ns: Option<i64>,
        realtime_minus_monotonic_ns: i64,
    ) -> Option<i64> {
        let at_ns = match start_ns.filter(|_| self.has_monotonic()) {
            Some(start_ns) => start_ns.checked_add(self.ext.cast_signed())?,
            None => self.unix_ns()?.checked_sub(realtime_minus_monotonic_ns)?,
        };
        at_ns.checked_sub(i64::try_from(now_ns).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::Instant;
    use crate::testkit::{MS, REAL_MINUS_MONOTONIC_NS as REAL, deadline};

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn both_forms_give_the_time_left() {
        for monotonic in [true, false] {
            let instant = Instant::new(deadline(7 * MS, 3 * SECOND, monotonic));
            assert_eq!(instant.left_ns(7 * MS, None, REAL), Some(3 * SECOND));
        }
    }

    #[test]
    fn a_step_of_the_wall_clock_moves_no_monotonic_deadline() {
        let hour = 3600 * SECOND;
        let fresh = Instant::new(deadline(7 * MS, 3 * SECOND, true));
        let start_ns = fresh.start_ns(REAL);
        assert!(start_ns.is_some());
        // The clock is set forward, and nobody has told observer yet.
        let [wall, ext] = deadline(9 * MS, 2 * SECOND, true);
        let stepped = Instant::new([wall + (3600 << 30), ext]);
        assert_eq!(
            stepped.left_ns(9 * MS, None, REAL),
            Some(2 * SECOND + hour),
            "by the wall it would be an hour more"
        );
        assert_eq!(stepped.left_ns(9 * MS, start_ns, REAL), Some(2 * SECOND));
        // A deadline by the wall clock alone means the wall clock as it stands.
        let [wall, ext] = deadline(9 * MS, 2 * SECOND, false);
        let by_wall = Instant::new([wall, ext + 3600]);
        assert_eq!(
            by_wall.left_ns(9 * MS, start_ns, REAL + hour),
            Some(2 * SECOND)
        );
        assert_eq!(by_wall.start_ns(REAL), None);
    }

    #[test]
    fn nonsense_is_no_time() {
        assert_eq!(Instant::new([0, u64::MAX / 2]).left_ns(0, None, 0), None);
        assert_eq!(Instant::new([0, 1 << 63]).left_ns(0, Some(1), 0), None);
    }
}
