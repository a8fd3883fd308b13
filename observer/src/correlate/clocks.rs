//! How far the clocks of hosts are apart, from calls and requests that can only belong together.
//!
//! A request begins after its call and ends before it: each pair says between what the difference of
//! two clocks must lie. As in NTP, the difference is where most pairs agree (Marzullo's algorithm), which a
//! few pairs that do not belong together after all cannot move.

use std::collections::BTreeMap;

/// A host, by its place in a list.
pub type HostIndex = usize;

/// Between these the difference lies, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// At least.
    pub low_ns: i64,
    /// At most.
    pub high_ns: i64,
}

/// What is added to a host's times to get those of a common clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offset {
    /// ns.
    pub ns: i64,
    /// By how much that may be wrong, ns.
    pub error_ns: u64,
    /// Pairs of calls and requests that agree with it.
    pub pairs: usize,
    /// The clock that is common: hosts with another have nothing in common with this one.
    pub common: HostIndex,
}

impl Offset {
    /// A time of the host by the common clock, ns.
    pub(super) fn at(self, ns: u64) -> i128 {
        i128::from(ns) + i128::from(self.ns)
    }
}

/// The part that most of the bounds share, with how many do; `None` where no more than half do.
#[must_use]
pub fn agree(all: &[Bounds]) -> Option<(Bounds, usize)> {
    let sound = all.iter().filter(|bounds| bounds.low_ns <= bounds.high_ns);
    // At one moment what begins comes before what ends.
    let mut edges: Vec<(i64, bool)> = sound
        .flat_map(|bounds| [(bounds.low_ns, false), (bounds.high_ns, true)])
        .collect();
    edges.sort_unstable();
    let (mut inside, mut best) = (0usize, None::<(Bounds, usize)>);
    for (at, (ns, ends)) in edges.iter().enumerate() {
        if *ends {
            inside = inside.saturating_sub(1);
            continue;
        }
        inside += 1;
        if best.is_none_or(|(_, most)| inside > most) {
            let high_ns = edges.get(at + 1).map_or(*ns, |(next, _)| *next);
            let low_ns = *ns;
            best = Some((Bounds { low_ns, high_ns }, inside));
        }
    }
    best.filter(|(_, most)| most * 2 > all.len())
}

/// Clocks of `hosts` hosts. `pairs` holds, for (a, b) with a < b, what must be added to the times of b to get
/// those of a.
#[must_use]
pub fn offsets(hosts: usize, pairs: &BTreeMap<(HostIndex, HostIndex), Vec<Bounds>>) -> Vec<Offset> {
    let mut found: Vec<Option<Offset>> = vec![None; hosts];
    let mut links: Vec<(u64, HostIndex, HostIndex, i64, usize)> = pairs
        .iter()
        .filter_map(|((a, b), all)| {
            let (bounds, agreeing) = agree(all)?;
            let width = bounds.high_ns.checked_sub(bounds.low_ns)?;
            let middle = bounds.low_ns.checked_add(width / 2)?;
            let error_ns = u64::try_from(width).ok()?.div_ceil(2);
            Some((error_ns, *a, *b, middle, agreeing))
        })
        .collect();
    // The surest first.
    links.sort_unstable();
    for first in 0..hosts {
        if found.get(first).is_some_and(Option::is_none) {
            set(&mut found, first, first, (0, 0, 0));
        }
        while let Some((host, offset)) = links.iter().find_map(|link| reach(link, &found)) {
            set(&mut found, host, first, offset);
        }
    }
    found.into_iter().map(Option::unwrap_or_default).collect()
}

type Step = (i64, u64, usize);

fn set(found: &mut [Option<Offset>], host: HostIndex, common: HostIndex, step: Step) {
    let (ns, error_ns, pairs) = step;
    if let Some(slot) = found.get_mut(host) {
        *slot = Some(Offset {
            ns,
            error_ns,
            pairs,
            common,
        });
    }
}

/// A host that this link leads to from one whose clock is known.
fn reach(
    link: &(u64, HostIndex, HostIndex, i64, usize),
    found: &[Option<Offset>],
) -> Option<(HostIndex, Step)> {
    let (error_ns, a, b, ns, pairs) = *link;
    let of = |host: HostIndex| found.get(host).copied().flatten();
    match (of(a), of(b)) {
        (Some(known), None) => {
            let step = (
                known.ns.checked_add(ns)?,
                known.error_ns.saturating_add(error_ns),
                pairs,
            );
            Some((b, step))
        }
        (None, Some(known)) => {
            let step = (
                known.ns.checked_sub(ns)?,
                known.error_ns.saturating_add(error_ns),
                pairs,
            );
            Some((a, step))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Bounds, agree, offsets};

    const fn between(low_ns: i64, high_ns: i64) -> Bounds {
        Bounds { low_ns, high_ns }
    }

    #[test]
    fn most_decide_and_liars_do_not() {
        let honest = [between(90, 110), between(95, 120), between(80, 101)];
        assert_eq!(agree(&honest), Some((between(95, 101), 3)));
        let liar = [&honest[..], &[between(500, 501), between(7, 3)]].concat();
        assert_eq!(agree(&liar), Some((between(95, 101), 3)));
        assert_eq!(agree(&[between(1, 2), between(5, 6)]), None);
        assert_eq!(agree(&[]), None);
        assert_eq!(agree(&[between(4, 4)]), Some((between(4, 4), 1)));
    }

    #[test]
    fn clocks_are_known_through_others_and_errors_add_up() {
        let pairs = BTreeMap::from([
            ((0, 1), vec![between(90, 110)]),
            ((1, 2), vec![between(-1_010, -990)]),
            ((0, 2), vec![between(-2_000, 2_000)]),
        ]);
        let all = offsets(4, &pairs);
        assert_eq!((all[0].ns, all[0].error_ns), (0, 0));
        assert_eq!((all[1].ns, all[1].error_ns), (100, 10));
        assert_eq!((all[2].ns, all[2].error_ns), (-900, 20));
        assert_eq!([all[2].common, all[3].common], [0, 3]);
    }
}
