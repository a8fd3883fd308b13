//! The lines of `observer goroutines`: one of all, then one for each group.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::picture::{self, Key, Picture, Searches, Status, Totals, Waited, What};
use crate::sink::output::Clock;

use super::parts::{Process, Site};
use super::{Body, Line, SCHEMA};

/// What a goroutine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On a run queue.
    Runnable,
    /// Executing: where, memory does not tell.
    Running,
    /// In a system call, or in C.
    Syscall,
    /// Blocked in the runtime: `wait_reason` says why.
    Waiting,
    /// Its stack is being moved.
    Copystack,
    /// Stopped itself for the scheduler.
    Preempted,
    /// Found unreachable by Go's own leak profile.
    Leaked,
    /// A state that no known version of Go has.
    Unknown,
}

impl From<Status> for State {
    fn from(status: Status) -> Self {
        match status {
            Status::Runnable => Self::Runnable,
            Status::Running => Self::Running,
            Status::Syscall => Self::Syscall,
            Status::Waiting => Self::Waiting,
            Status::CopyStack => Self::Copystack,
            Status::Preempted => Self::Preempted,
            Status::Leaked => Self::Leaked,
            Status::Idle | Status::Dead | Status::DeadExtra | Status::Other(_) => Self::Unknown,
        }
    }
}

/// All goroutines of a process. The `group` lines follow it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoroutinesLine {
    /// When the look began: RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// How long it took, ns.
    pub took_ns: u64,
    /// Which process.
    pub process: Process,
    /// Goroutines alive, the runtime's own included.
    pub alive: u64,
    /// One in so many was looked at, evenly chosen from `alive`; all other numbers of goroutines, those of groups
    /// included, are of these. Absent where all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<u64>,
    /// True where the list of goroutines could not be read to its end. Absent where it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Goroutines of the program that were looked at.
    pub seen: u64,
    /// Of them running.
    pub running: u64,
    /// Of them ready to run.
    pub runnable: u64,
    /// Of them in a system call.
    pub syscall: u64,
    /// The runtime's own: in no group.
    pub runtime: u64,
    /// Alive, but never still while they were looked at: nothing is told of them.
    pub unknown: u64,
    /// Ended while the others were looked at.
    pub ended: u64,
    /// Of `seen`, those in a group: all but what `--min-age` leaves out.
    pub grouped: u64,
    /// Left out by `--min-age` although they may have waited for so long: what the Go runtime notes of their waits does not
    /// tell. Absent without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_unknown: Option<u64>,
    /// What makes them groups.
    pub group_by: By,
    /// Groups, of which each has a line.
    pub groups: u64,
    /// Groups without a line: the smallest. Absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_other: Option<u64>,
    /// Goroutines in those. Absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goroutines_other: Option<u64>,
    /// What searching for references to what goroutines wait on has shown. Absent without `--references`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<References>,
}

/// What searching for references to what goroutines wait on has shown: from the program's variables and from the stacks of
/// those that may go on, over the whole heap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct References {
    /// Why nobody has searched; nothing else is told then. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_searched: Option<String>,
    /// How long the searches took together, ns. Absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ns: Option<u64>,
    /// Time between the two searches, ns. Absent without a second one, which is only made where the first has found no
    /// reference for some wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apart_ns: Option<u64>,
    /// Of `seen`, those to whose wait neither search has found a reference. Absent without a search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreferenced: Option<u64>,
    /// Waits that may be as lost, but were too many to be looked at as closely. Absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beyond: Option<u64>,
    /// Of `seen`, those that wait for others and do not name what they wait on, such as a `sync.Cond` before Go 1.26: nobody can
    /// search for that. Absent without a search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unnamed: Option<u64>,
}

impl References {
    fn of(searches: &Searches, totals: &Totals) -> Self {
        match searches {
            Searches::NotMade(why) => Self {
                not_searched: Some(why.clone()),
                took_ns: None,
                apart_ns: None,
                unreferenced: None,
                beyond: None,
                unnamed: None,
            },
            Searches::Made(searched) => Self {
                not_searched: None,
                took_ns: Some(searched.took_ns),
                apart_ns: searched.apart_ns,
                unreferenced: Some(totals.unreferenced),
                beyond: some(searched.beyond),
                unnamed: Some(totals.unnamed),
            },
        }
    }
}

/// What makes goroutines one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The same stack, from the same `go` statement, in the same state.
    Stack,
    /// The same `go` statement.
    Site,
    /// The same state, or reason to wait.
    Wait,
    /// The goroutine that serves a request and is one of them, or started them.
    Request,
}

impl From<picture::GroupBy> for By {
    fn from(by: picture::GroupBy) -> Self {
        match by {
            picture::GroupBy::Stack => Self::Stack,
            picture::GroupBy::Site => Self::Site,
            picture::GroupBy::Wait => Self::Wait,
            picture::GroupBy::Request => Self::Request,
        }
    }
}

/// Goroutines that have something in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GroupLine {
    /// What makes them a group.
    pub by: By,
    /// How many.
    pub count: u64,
    /// By `site`: the `go` statement; null where there is none, as `go` of the one stack. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go: Option<Option<Site>>,
    /// By `wait`: what they do. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// By `wait`: why they wait, in Go's own words. Absent where they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_reason: Option<String>,
    /// By `request`: the goroutine that serves a request now and is one of them, or started them; null for those of no
    /// request that is known, those too whose line to it leads over one that has ended or was not chosen to be
    /// looked at. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving_goid: Option<Option<u64>>,
    /// By `request`: the request that it serves now; null where it could not be read. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Option<ServedRequest>>,
    /// How long they have been waiting.
    pub wait: Wait,
    /// Where they are: the most frequent first, at most 20.
    pub stacks: Vec<Stack>,
    /// Further stacks. Absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stacks_other: Option<u64>,
}

/// A request that is served now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServedRequest {
    /// Method.
    pub method: String,
    /// Without query.
    pub path: String,
}

/// How long goroutines have been waiting. The runtime notes only between which collections a wait began; where the
/// notes of the process's goroutines do not tell, a bound is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wait {
    /// All of them at least so long, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least_ns: Option<u64>,
    /// None of them longer, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most_ns: Option<u64>,
}

impl From<Waited> for Wait {
    fn from(waited: Waited) -> Self {
        Self {
            at_least_ns: waited.at_least_ns,
            at_most_ns: waited.at_most_ns,
        }
    }
}

/// Goroutines that stand at the same place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stack {
    /// How many.
    pub count: u64,
    /// What they do.
    pub state: State,
    /// Why they wait, in Go's own words. Absent where they do not; null where this Go's are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_reason: Option<Option<String>>,
    /// How long they have been waiting.
    pub wait: Wait,
    /// Their `go` statement; null where there is none: for the program's first goroutine, whose `start` is `runtime.main`,
    /// and where C has called a function of Go, without `start`.
    pub go: Option<Site>,
    /// The function that they were started with; null where unknown.
    pub start: Option<Site>,
    /// Innermost first, without frames of the runtime; empty where they run.
    pub stack: Vec<Site>,
    /// True where there are more frames than were read. Absent where there are not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stack_cut: bool,
    /// What they wait for, the most awaited first, at most 4. Absent where Go does not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_on: Vec<Awaited>,
    /// Further channels and locks. Absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_on_other: Option<u64>,
    /// Those to whose wait no reference was found. Absent where there is none, and without `--references`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreferenced: Option<u64>,
    /// At most 10: those to whose wait no reference was found, then those that wait longest.
    pub goroutines: Vec<Goroutine>,
}

/// Something that goroutines wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Awaited {
    /// Address of a channel, hex. Absent where it is a lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Address of a lock's semaphore, of a wait group's, or of the list of a `sync.Cond`, hex; the last is known from Go 1.26.
    /// Absent where it is a channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Values in the channel's buffer. Absent for a lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub len: Option<u64>,
    /// Values that its buffer can hold. Absent for a lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<u64>,
    /// Whether it was closed. Absent for a lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<bool>,
    /// Goroutines of the whole process that wait for it, these included; null where not all were looked at.
    pub waiters: Option<u64>,
}

/// One goroutine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Goroutine {
    /// Its number.
    pub goid: u64,
    /// The goroutine that started it. Absent before Go 1.21, and for what the runtime started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// How long it has been waiting.
    pub wait: Wait,
    /// Thread it is on, as the target's own pid namespace numbers it. Absent where it is on none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<u64>,
    /// Labels of the profiler. Absent where it has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// True where no reference was found to what it waits on. Absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreferenced: bool,
}

/// `None` where there is nothing to tell of.
fn some(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

fn len(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl From<&picture::Awaited> for Awaited {
    fn from(awaited: &picture::Awaited) -> Self {
        let (channel, lock) = match awaited.what {
            What::Channel(channel) => (Some(channel), None),
            What::Lock(addr) => (None, Some(addr)),
        };
        Self {
            channel: channel.map(|channel| format!("{:#x}", channel.addr)),
            lock: lock.map(|addr| format!("{addr:#x}")),
            len: channel.map(|channel| channel.len),
            cap: channel.map(|channel| channel.cap),
            closed: channel.map(|channel| channel.closed),
            waiters: awaited.waiters,
        }
    }
}

impl From<&picture::Known> for Goroutine {
    fn from(known: &picture::Known) -> Self {
        let labels = known.labels.iter().flat_map(|labels| labels.iter());
        Self {
            goid: known.goid,
            parent: known.parent,
            wait: known.waited.into(),
            thread: known.thread,
            labels: labels
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            unreferenced: known.unreferenced,
        }
    }
}

impl From<&picture::Stack> for Stack {
    fn from(stack: &picture::Stack) -> Self {
        let waits = matches!(stack.status, Status::Waiting | Status::Leaked);
        let reason = || stack.wait_reason.as_ref().map(ToString::to_string);
        Self {
            count: stack.count,
            state: stack.status.into(),
            wait_reason: waits.then(reason),
            wait: stack.waited.into(),
            go: stack.started_at.as_ref().map(Site::from),
            start: stack.start.as_ref().map(Site::from),
            stack: stack.frames.iter().map(Site::from).collect(),
            stack_cut: stack.cut,
            waits_on: stack.awaits.iter().map(Awaited::from).collect(),
            waits_on_other: some(stack.awaits_other),
            unreferenced: some(stack.unreferenced),
            goroutines: stack.members.iter().map(Goroutine::from).collect(),
        }
    }
}

fn group_line(by: By, group: &picture::Group) -> GroupLine {
    let mut line = GroupLine {
        by,
        count: group.count,
        go: None,
        state: None,
        wait_reason: None,
        serving_goid: None,
        request: None,
        wait: group.waited.into(),
        stacks: group.stacks.iter().map(Stack::from).collect(),
        stacks_other: some(group.stacks_other),
    };
    match &group.key {
        Key::Stack => {}
        Key::Site(at) => line.go = Some(at.as_ref().map(Site::from)),
        Key::Wait(status, reason) => {
            line.state = Some((*status).into());
            line.wait_reason = reason.as_ref().map(ToString::to_string);
        }
        Key::Request(serving) => {
            line.serving_goid = Some(serving.as_ref().map(|serving| serving.goid));
            line.request = serving.as_ref().map(|serving| {
                let request = serving.request.as_ref();
                request.map(|request| ServedRequest {
                    method: request.method.to_string(),
                    path: request.path.to_string(),
                })
            });
        }
    }
    line
}

/// The lines of a picture: one of all, then one for each group.
pub fn lines(picture: &Picture, clock: Clock, by_age: bool) -> impl Iterator<Item = Line> {
    let by = By::from(picture.group_by);
    let (totals, coverage) = (&picture.totals, &picture.coverage);
    let all = GoroutinesLine {
        time: clock.rfc3339(picture.time_ns),
        took_ns: picture.took_ns,
        process: Process::from(&*picture.process),
        alive: len(coverage.alive),
        sampled: some(len(coverage.every)).filter(|&every| every != 1),
        cut: coverage.cut,
        seen: totals.seen,
        running: totals.running,
        runnable: totals.runnable,
        syscall: totals.syscall,
        runtime: totals.runtime,
        unknown: len(coverage.torn),
        ended: len(coverage.ended),
        grouped: totals.grouped,
        age_unknown: by_age.then_some(totals.ageless),
        group_by: by,
        groups: len(picture.groups.len()),
        groups_other: some(picture.groups_other.0),
        goroutines_other: some(picture.groups_other.1),
        references: (picture.searches.as_ref()).map(|searches| References::of(searches, totals)),
    };
    let groups = picture
        .groups
        .iter()
        .map(move |group| Body::Group(Box::new(group_line(by, group))));
    std::iter::once(Body::Goroutines(Box::new(all)))
        .chain(groups)
        .map(|body| Line {
            schema: SCHEMA,
            body,
        })
}

#[cfg(test)]
mod tests {
    use super::lines;
    use crate::picture::samples;
    use crate::sink::Clock;
    use crate::sink::wire::schema;

    #[test]
    fn lines_are_as_their_schema_has_them() {
        let schema = serde_json::from_str(&schema().unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let clock = Clock {
            realtime_minus_monotonic_ns: 1_800_000_000_000_000_000,
        };
        let mut picture = samples::searched();
        picture.groups[1].stacks[0].frames.truncate(3);
        let lines: Vec<serde_json::Value> = lines(&picture, clock, true)
            .map(|line| serde_json::from_str(&line.to_json().unwrap()).unwrap())
            .collect();
        for line in &lines {
            let faults: Vec<String> = validator
                .iter_errors(line)
                .map(|it| it.to_string())
                .collect();
            assert!(faults.is_empty(), "{faults:?} {line}");
        }
        insta::assert_snapshot!("goroutines", serde_json::to_string_pretty(&lines).unwrap());
    }
}
