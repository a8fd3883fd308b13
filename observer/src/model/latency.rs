//! A histogram of lengths of time, of fixed size.

/// Bits of a step.
const STEP_BITS: u32 = 2;
/// Steps per doubling: a value is known to within a quarter of itself.
const STEPS: u64 = 1 << STEP_BITS;
/// Places for all values of 64 bits.
const PLACES: usize = (64 - STEP_BITS as usize + 1) << STEP_BITS;

/// How often which length was seen, ns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    counts: Box<[u64; PLACES]>,
    count: u64,
    max_ns: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            counts: Box::new([0; PLACES]),
            count: 0,
            max_ns: 0,
        }
    }
}

/// Values below `STEPS` have a place each; above, each doubling has `STEPS`.
fn place(ns: u64) -> usize {
    if ns < STEPS {
        return usize::try_from(ns).unwrap_or(0);
    }
    let shift = 63 - ns.leading_zeros() - STEP_BITS;
    let within = (ns >> shift) & (STEPS - 1);
    let step = u64::from(shift + 1) * STEPS + within;
    usize::try_from(step).unwrap_or(PLACES - 1).min(PLACES - 1)
}

/// Largest value with that place.
fn top(place: usize) -> u64 {
    let place = place as u64;
    if place < STEPS {
        return place;
    }
    let shift = place / STEPS - 1;
    let start = (STEPS + place % STEPS) << shift;
    start + ((1 << shift) - 1)
}

impl Latency {
    /// Counts one.
    pub fn add(&mut self, ns: u64) {
        if let Some(count) = self.counts.get_mut(place(ns)) {
            *count += 1;
        }
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// How many were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest, ns.
    #[must_use]
    pub const fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Ends and counts of the steps that hold any, ns, the shortest first: each length was counted at
    /// the first end that it does not exceed, and steps are a quarter of a doubling wide.
    pub fn steps(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.counts.iter().enumerate();
        let filled = counts.filter(|(_, count)| **count > 0);
        filled.map(|(place, count)| (top(place), *count))
    }

    /// What `percent` of all did not exceed, ns, up to a quarter too long; 0 where there is none.
    #[must_use]
    pub fn quantile_ns(&self, percent: u64) -> u64 {
        let wanted = (u128::from(self.count) * u128::from(percent)).div_ceil(100);
        let mut seen = 0u128;
        for (place, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= wanted && *count > 0 {
                return top(place).min(self.max_ns);
            }
        }
        self.max_ns
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::{Latency, PLACES, place, top};

    #[test]
    fn quantiles_of_a_thousand() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile_ns(50), 0);
        for ms in 1..=1000 {
            latency.add(ms * 1_000_000);
        }
        let near = |percent, ms: u64| {
            let ns = latency.quantile_ns(percent);
            assert!((ms * 1_000_000..=ms * 1_250_000).contains(&ns), "{ns}");
        };
        near(50, 500);
        near(99, 990);
        assert_eq!(latency.quantile_ns(100), 1_000_000_000);
        assert_eq!((latency.count(), latency.max_ns()), (1000, 1_000_000_000));
        let steps: Vec<(u64, u64)> = latency.steps().collect();
        assert!(steps.is_sorted() && steps.len() < 42, "{steps:?}");
        assert_eq!(steps.iter().map(|(_, count)| count).sum::<u64>(), 1000);
        assert!(steps.last().is_some_and(|(end, _)| *end >= 1_000_000_000));
    }

    proptest! {
        #[test]
        fn every_value_has_a_place_that_holds_it(ns in any::<u64>(), cut in 0..64u32) {
            let ns = ns >> cut;
            let at = place(ns);
            prop_assert!(at < PLACES);
            prop_assert!(top(at) >= ns);
            prop_assert!(at == 0 || top(at - 1) < ns);
        }
    }
}
