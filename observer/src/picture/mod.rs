//! What the goroutines of a process amount to: the same stacks counted, by whatever a reader asks for.
//!
//! Owns the grouping, and which goroutines are the runtime's own. Takes goroutines one by one and keeps a few words
//! of each; reads no memory, no executable (frames come from [`Names`]) and no clock.

mod age;
mod cell;
mod frames;
mod group;
mod origin;
mod references;
#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::finding::ProcessInfo;
use crate::go::Frame;
use crate::inspect::Member;

use cell::{Cells, Stacks};
use references::is_unnamed;

pub use crate::inspect::{Channel, Coverage, Extent, Labels, Served, ServedBy, Status};
pub use age::{Collections, Noted, Waited};
pub use frames::{Names, is_runtime};
pub use origin::Origin;
pub use references::{Searched, Searches};

/// Groups that are told of; the smallest are left out.
const MAX_GROUPS: usize = 2000;
/// Different stacks told of in one group.
const MAX_STACKS: usize = 20;
/// Goroutines told of one by one for each stack.
const MAX_MEMBERS: usize = 10;
/// Channels told of for each stack.
const MAX_CHANNELS: usize = 4;
/// Channels and locks whose waiters are counted, and waits on them.
const MAX_WAITED: usize = 1 << 19;

/// Requests told of; those of further goroutines are unknown.
const MAX_REQUESTS: usize = 1 << 16;

/// What makes goroutines one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupBy {
    /// The same stack, from the same `go` statement, in the same state
    #[default]
    Stack,
    /// The same `go` statement
    Site,
    /// The same state, or reason to wait
    Wait,
    /// The goroutine that served a request when it started them
    Request,
}

/// One goroutine of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub goid: u64,
    /// The goroutine that started it; `None` before Go 1.21, and for what the runtime started.
    pub parent: Option<u64>,
    /// How long it has been waiting.
    pub waited: Waited,
    /// The thread it is on, in the target's own pid namespace.
    pub thread: Option<u64>,
    /// Its labels.
    pub labels: Option<Labels>,
    /// No reference was found to what it waits on.
    pub unreferenced: bool,
}

/// What some goroutines wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    /// The channel, or the address of the lock.
    pub what: What,
    /// Goroutines of the whole process that wait for it, too, these included; `None` where not all were looked at.
    pub waiters: Option<u64>,
}

/// A thing to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A channel.
    Channel(Channel),
    /// A semaphore of a mutex or a wait group, or the list of a `sync.Cond`, by its address.
    Lock(u64),
}

/// Goroutines that stand at the same place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// How many.
    pub count: u64,
    /// What they do.
    pub status: Status,
    /// Why they wait, in the runtime's words.
    pub wait_reason: Option<Arc<str>>,
    /// How long they have been waiting.
    pub waited: Waited,
    /// The `go` statement that started them; `None` for the first goroutine, and for those of threads that are not Go's:
    /// [`Stack::origin`] tells which.
    pub started_at: Option<Frame>,
    /// The function that they were started with; `None` where a thread that is not Go's has called a function of Go.
    pub start: Option<Frame>,
    /// Logical frames, innermost first, without the runtime's own. Empty where they run.
    pub frames: Vec<Frame>,
    /// There are more frames than are read.
    pub cut: bool,
    /// What they wait for: the most awaited first.
    pub awaits: Vec<Awaited>,
    /// Channels and locks beyond those.
    pub awaits_other: u64,
    /// Those to whose wait no reference was found.
    pub unreferenced: u64,
    /// Some of them: those to whose wait no reference was found, then those that wait longest, then the oldest.
    pub members: Vec<Known>,
}

/// What the goroutines of a group have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// Everything: see the one stack.
    Stack,
    /// Their `go` statement; `None` where there is none: see [`Stack::origin`] of the one stack.
    Site(Option<Frame>),
    /// What they do, and why they wait.
    Wait(Status, Option<Arc<str>>),
    /// What serves a request and is one of them or started them; `None` for all others.
    Request(Option<Serving>),
}

/// A goroutine that serves a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// Its number.
    pub goid: u64,
    /// The request; `None` where it could not be read.
    pub request: Option<Served>,
}

/// Goroutines that have something in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What.
    pub key: Key,
    /// How many.
    pub count: u64,
    /// How long they have been waiting.
    pub waited: Waited,
    /// Where they are: the most frequent stacks first.
    pub stacks: Vec<Stack>,
    /// Further stacks.
    pub stacks_other: u64,
}

/// How many do what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Goroutines of the program that were looked at.
    pub seen: u64,
    /// Of them in a group: all but those that `--min-age` left out.
    pub grouped: u64,
    /// Left out although they may have waited for so long: what the runtime notes of their waits does not tell.
    pub ageless: u64,
    /// Running.
    pub running: u64,
    /// Ready to run.
    pub runnable: u64,
    /// In a system call.
    pub syscall: u64,
    /// The runtime's own: they are in no group.
    pub runtime: u64,
    /// Of those that were looked at, the ones to whose wait no reference was found.
    pub unreferenced: u64,
    /// Waiting for others, without naming what they wait on: nobody can search for references to that.
    pub unnamed: u64,
}

/// Everything that is told of a process's goroutines.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Of which process.
    pub process: Arc<ProcessInfo>,
    /// When the look began, `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// How long it took, ns.
    pub took_ns: u64,
    /// What was looked at.
    pub coverage: Coverage,
    /// How many do what.
    pub totals: Totals,
    /// What makes them groups.
    pub group_by: GroupBy,
    /// The largest first.
    pub groups: Vec<Group>,
    /// Groups beyond the bound, and the goroutines in them.
    pub groups_other: (u64, u64),
    /// What came of searching for references; `None` where nobody asked.
    pub searches: Option<Searches>,
}

/// What a goroutine amounts to, once its stack is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Brief {
    goid: u64,
    parent: Option<u64>,
    thread: Option<u64>,
    labels: Option<Labels>,
    noted: Noted,
    cell: u32,
}

/// Takes goroutines and makes a [`Picture`] of them.
pub struct Painter<'a> {
    names: &'a dyn Names,
    now_ns: u64,
    collections: Collections,
    stacks: Stacks,
    cells: Cells,
    briefs: Vec<Brief>,
    /// Parent of every goroutine, the left-out ones too, and whether it serves.
    parents: FxHashMap<u64, (u64, bool)>,
    /// By the goroutine that serves them.
    requests: FxHashMap<u64, Served>,
    runtime_starts: FxHashMap<u64, bool>,
    waited_for: FxHashMap<u64, (u64, What)>,
    /// Brief and address of what it waits for.
    waits: Vec<(u32, u64)>,
    /// There were more waits than are kept: how many wait for something is not known.
    waits_cut: bool,
    totals: Totals,
    searches: Option<Searches>,
}

impl<'a> Painter<'a> {
    /// `now_ns` is the moment that waits are measured to, `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn new(names: &'a dyn Names, now_ns: u64) -> Self {
        Self {
            names,
            now_ns,
            collections: Collections::default(),
            stacks: Stacks::default(),
            cells: Cells::default(),
            briefs: Vec::new(),
            parents: FxHashMap::default(),
            requests: FxHashMap::default(),
            runtime_starts: FxHashMap::default(),
            waited_for: FxHashMap::default(),
            waits: Vec::new(),
            waits_cut: false,
            totals: Totals::default(),
            searches: None,
        }
    }

    /// Tells, before any is added, what came of searching for references.
    #[must_use]
    pub fn with(self, searches: Option<Searches>) -> Self {
        Self { searches, ..self }
    }

    /// One more goroutine. Where it serves a request, `served` is asked which, with the frame that tells.
    pub fn add(&mut self, member: Member, served: impl FnOnce(ServedBy, Extent) -> Option<Served>) {
        let seen = &member.goroutine;
        self.collections.learn(seen);
        let stack = self.stacks.intern(&seen.stack, seen.startpc, self.names);
        if self.starts_in_runtime(seen.startpc) && !self.stacks.is_users(stack) {
            self.totals.runtime += 1;
            return;
        }
        self.totals.seen += 1;
        match seen.status {
            Status::Running => self.totals.running += 1,
            Status::Runnable => self.totals.runnable += 1,
            Status::Syscall => self.totals.syscall += 1,
            _ => {}
        }
        self.totals.unreferenced += u64::from(self.has_lost(seen.goid, seen.status));
        self.totals.unnamed += u64::from(is_unnamed(&member));
        let parent = seen.parent_goid.filter(|&goid| goid != 0);
        let serves = self.stacks.serves(stack);
        if serves
            && self.requests.len() < MAX_REQUESTS
            && let Some((frame, by)) = self.stacks.tells(stack)
            && let Some(&extent) = member.extents.get(frame)
            && let Some(request) = served(by, extent)
        {
            self.requests.insert(seen.goid, request);
        }
        self.parents
            .insert(seen.goid, (parent.unwrap_or(0), serves));
        let mut awaited: Vec<What> = member
            .channels
            .iter()
            .map(|channel| What::Channel(*channel))
            .chain(member.semaphore.map(What::Lock))
            .collect();
        if self.waits.len().max(self.waited_for.len()) >= MAX_WAITED {
            self.waits_cut = true;
            awaited.clear();
        }
        for what in &awaited {
            let waiters = self.waited_for.entry(what.addr()).or_insert((0, *what));
            waiters.0 += 1;
        }
        let index = u32::try_from(self.briefs.len()).unwrap_or(u32::MAX);
        self.waits
            .extend(awaited.iter().map(|what| (index, what.addr())));
        let cell = self.cells.of(seen, stack);
        self.briefs.push(Brief {
            goid: seen.goid,
            parent,
            thread: member.thread,
            labels: member.labels,
            noted: Noted::of(seen),
            cell,
        });
    }

    /// Whether searches have found no reference to what a goroutine waits on.
    fn has_lost(&self, goid: u64, status: Status) -> bool {
        let searches = self.searches.as_ref();
        searches.is_some_and(|searches| searches.has_lost(goid, status))
    }

    fn starts_in_runtime(&mut self, startpc: u64) -> bool {
        let names = self.names;
        *self.runtime_starts.entry(startpc).or_insert_with(|| {
            names
                .start(startpc)
                .is_some_and(|at| is_runtime(&at.function))
        })
    }
}

impl What {
    const fn addr(&self) -> u64 {
        match self {
            Self::Channel(channel) => channel.addr,
            Self::Lock(addr) => *addr,
        }
    }
}
