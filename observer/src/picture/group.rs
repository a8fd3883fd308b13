//! Cells put together by what a reader asks for, the largest first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::finding::ProcessInfo;
use crate::go::Frame;
use crate::inspect::{Coverage, Status};

use super::cell::Cell;
use super::origin::is_first;
use super::{
    Awaited, Brief, Group, GroupBy, Key, Known, MAX_CHANNELS, MAX_GROUPS, MAX_MEMBERS, MAX_STACKS,
    Painter, Picture, Serving, Stack, Waited,
};

/// Steps from a goroutine to those that started it: what has more ancestors is nobody's.
const MAX_ANCESTORS: usize = 64;

/// Nothing tells for how long they wait.
const UNKNOWN: Waited = Waited {
    at_least_ns: None,
    at_most_ns: None,
};

/// What a group is found by; ordered, so that equal sizes come in the same order every time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Handle {
    Cell(u32),
    Site(u64),
    Wait(u8, Option<Arc<str>>),
    Request(Option<u64>),
}

impl Painter<'_> {
    /// Everything that was added, in groups. With `min_age_ns`, only goroutines that are known to have waited for so
    /// long.
    #[must_use]
    pub fn finish(
        mut self,
        process: Arc<ProcessInfo>,
        (group_by, min_age_ns): (GroupBy, Option<u64>),
        coverage: Coverage,
        took_ns: u64,
    ) -> Picture {
        let whole = coverage.every == 1 && !coverage.cut && !self.waits_cut;
        let mut groups: BTreeMap<Handle, BTreeMap<u32, Vec<u32>>> = BTreeMap::new();
        for (index, brief) in (0u32..).zip(&self.briefs) {
            if let Some(least) = min_age_ns {
                let waited = self.waited(brief);
                if waited.at_least_ns.is_none_or(|ns| ns < least) {
                    let may = waited.at_most_ns.is_none_or(|ns| ns >= least);
                    self.totals.ageless += u64::from(may && self.stands_still(brief));
                    continue;
                }
            }
            self.totals.grouped += 1;
            let handle = self.handle(group_by, brief);
            let cells = groups.entry(handle).or_default();
            cells.entry(brief.cell).or_default().push(index);
        }
        let mut sizes: Vec<(usize, Handle)> = groups
            .iter()
            .map(|(handle, cells)| (cells.values().map(Vec::len).sum(), handle.clone()))
            .collect();
        sizes.sort_by(|(a, first), (b, second)| b.cmp(a).then_with(|| first.cmp(second)));
        let (told, other) = sizes.split_at(sizes.len().min(MAX_GROUPS));
        let groups_other = (
            count(other.len()),
            count(other.iter().map(|(n, _)| n).sum()),
        );
        let groups = told
            .iter()
            .filter_map(|(size, handle)| {
                let cells = groups.remove(handle)?;
                Some(self.group(handle, *size, cells, whole))
            })
            .collect();
        Picture {
            process,
            time_ns: self.now_ns,
            took_ns,
            coverage,
            totals: self.totals,
            group_by,
            groups,
            groups_other,
            searches: self.searches,
        }
    }

    fn cell(&self, number: u32) -> Option<&Cell> {
        self.cells.all.get(usize::try_from(number).ok()?)
    }

    fn handle(&self, group_by: GroupBy, brief: &Brief) -> Handle {
        let Some(cell) = self.cell(brief.cell) else {
            return Handle::Cell(brief.cell);
        };
        match group_by {
            GroupBy::Stack => Handle::Cell(brief.cell),
            GroupBy::Site => Handle::Site(cell.gopc),
            GroupBy::Wait => Handle::Wait(rank(cell.status), cell.wait_reason.clone()),
            GroupBy::Request => Handle::Request(self.serving(brief.goid)),
        }
    }

    /// The nearest of a goroutine and its ancestors that serves a request now.
    fn serving(&self, goid: u64) -> Option<u64> {
        let mut next = goid;
        for _ in 0..MAX_ANCESTORS {
            let &(parent, serves) = self.parents.get(&next)?;
            if serves {
                return Some(next);
            }
            next = parent;
        }
        None
    }

    fn group(
        &self,
        handle: &Handle,
        size: usize,
        cells: BTreeMap<u32, Vec<u32>>,
        whole: bool,
    ) -> Group {
        let mut cells: Vec<(u32, Vec<u32>)> = cells.into_iter().collect();
        cells.sort_by_key(|(_, briefs)| Reverse(briefs.len()));
        let mut waited: Option<Waited> = None;
        let mut stacks = Vec::new();
        let all = cells.len();
        for (number, briefs) in cells {
            let of_each = briefs.iter().filter_map(|&index| self.brief(index));
            let of_cell = of_each.map(|brief| self.waited(brief)).reduce(Waited::or);
            let of_cell = of_cell.unwrap_or(UNKNOWN);
            waited = Some(waited.map_or(of_cell, |waited| waited.or(of_cell)));
            if stacks.len() < MAX_STACKS
                && let Some(cell) = self.cell(number)
            {
                stacks.push(self.stack(cell, of_cell, &briefs, whole));
            }
        }
        let first = stacks.first();
        let key = match handle {
            Handle::Cell(_) => Key::Stack,
            Handle::Site(_) => Key::Site(first.and_then(|stack| stack.started_at.clone())),
            Handle::Wait(_, reason) => Key::Wait(
                first.map_or(Status::Idle, |stack| stack.status),
                reason.clone(),
            ),
            Handle::Request(goid) => Key::Request(goid.map(|goid| Serving {
                goid,
                request: self.requests.get(&goid).cloned(),
            })),
        };
        Group {
            key,
            count: count(size),
            waited: waited.unwrap_or(UNKNOWN),
            stacks_other: count(all.saturating_sub(stacks.len())),
            stacks,
        }
    }

    fn waited(&self, brief: &Brief) -> Waited {
        self.collections.waited(brief.noted, self.now_ns)
    }

    /// Whether it waits at all, or is in a system call.
    fn stands_still(&self, brief: &Brief) -> bool {
        let status = self.cell(brief.cell).map(|cell| cell.status);
        matches!(
            status,
            Some(Status::Waiting | Status::Leaked | Status::Syscall)
        )
    }

    fn brief(&self, index: u32) -> Option<&Brief> {
        self.briefs.get(usize::try_from(index).ok()?)
    }

    /// Addresses of what a goroutine waits for; they were added in order.
    fn waits_of(&self, brief: u32) -> impl Iterator<Item = u64> {
        let first = self.waits.partition_point(|(of, _)| *of < brief);
        let rest = self.waits.get(first..).unwrap_or_default();
        rest.iter()
            .take_while(move |(of, _)| *of == brief)
            .map(|(_, addr)| *addr)
    }

    fn stack(&self, cell: &Cell, waited: Waited, briefs: &[u32], whole: bool) -> Stack {
        let mut members: Vec<&Brief> = briefs.iter().filter_map(|&at| self.brief(at)).collect();
        members.sort_by_key(|brief| {
            let at_least = self.waited(brief).at_least_ns;
            let lost = self.has_lost(brief.goid, cell.status);
            (Reverse(lost), Reverse(at_least), brief.noted, brief.goid)
        });
        let lost = |brief: &&&Brief| self.has_lost(brief.goid, cell.status);
        let unreferenced = count(members.iter().filter(lost).count());
        let mut addrs: Vec<u64> = briefs.iter().flat_map(|&at| self.waits_of(at)).collect();
        addrs.sort_unstable();
        addrs.dedup();
        let mut found: Vec<Awaited> = addrs
            .iter()
            .filter_map(|addr| self.waited_for.get(addr))
            .map(|&(waiters, what)| Awaited {
                what,
                waiters: whole.then_some(waiters),
            })
            .collect();
        found.sort_by_key(|one| (Reverse(one.waiters), one.what.addr()));
        found.truncate(MAX_CHANNELS);
        let start = self.names.start(cell.startpc);
        let is_first = start.as_ref().is_some_and(is_first);
        let started_at = (!is_first).then(|| self.go_statement(cell.gopc)).flatten();
        Stack {
            count: count(briefs.len()),
            status: cell.status,
            wait_reason: cell.wait_reason.clone(),
            waited,
            started_at,
            start,
            frames: self.stacks.frames(cell.stack, self.names),
            cut: cell.cut,
            awaits_other: count(addrs.len().saturating_sub(found.len())),
            awaits: found,
            unreferenced,
            members: members
                .into_iter()
                .take(MAX_MEMBERS)
                .map(|brief| Known {
                    goid: brief.goid,
                    parent: brief.parent,
                    waited: self.waited(brief),
                    thread: brief.thread,
                    labels: brief.labels.clone(),
                    unreferenced: self.has_lost(brief.goid, cell.status),
                })
                .collect(),
        }
    }

    /// The innermost frame at a `go` statement: where a function with one was inlined, that function.
    fn go_statement(&self, gopc: u64) -> Option<Frame> {
        if gopc == 0 {
            return None;
        }
        self.names.frames(gopc).into_iter().next()
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

const fn rank(status: Status) -> u8 {
    match status {
        Status::Waiting | Status::Leaked => 0,
        Status::Running => 1,
        Status::Runnable => 2,
        Status::Syscall => 3,
        Status::Preempted => 4,
        Status::CopyStack => 5,
        Status::Idle | Status::Dead | Status::DeadExtra | Status::Other(_) => 6,
    }
}
