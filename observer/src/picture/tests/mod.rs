//! Goroutines made by hand, and what they amount to.

mod replay;

use std::sync::Arc;

use super::{
    Channel, Coverage, GroupBy, Key, Names, Origin, Painter, Picture, Searched, Searches, Serving,
    Status, What,
};
use crate::finding::ProcessInfo;
use crate::go::Frame;
use crate::inspect::{Extent, Goroutine, Member, Served, ServedBy, StackState};

const MAIN: u64 = 0x1000;
const WORK: u64 = 0x2000;
const PARK: u64 = 0x3000;
const GC: u64 = 0x4000;
const SERVE: u64 = 0x5000;
const FINALIZE: u64 = 0x6000;
const PREEMPT: u64 = 0x7000;
const WRAPPER: u64 = 0x8000;
const CONN: u64 = 0x9000;
const FIRST: u64 = 0xa000;
const NEWPROC: u64 = 0xb000;

/// A page for each function; its line is the offset in the page.
struct Code;

impl Names for Code {
    fn frames(&self, pc: u64) -> Vec<Frame> {
        self.frames_at(pc - 1)
    }

    fn frames_at(&self, pc: u64) -> Vec<Frame> {
        let function = match pc & !0xfff {
            MAIN => "main.main",
            WORK => "main.work",
            PARK => "runtime.gopark",
            GC => "runtime.bgsweep",
            SERVE => "net/http.serverHandler.ServeHTTP",
            FINALIZE => "runtime.runfinq",
            PREEMPT => "runtime.asyncPreempt",
            WRAPPER => "main.main.gowrap1",
            CONN => "net/http.(*conn).serve",
            FIRST => "runtime.main",
            NEWPROC => "runtime.newproc",
            _ => return Vec::new(),
        };
        vec![Frame {
            function: function.into(),
            file: "main.go".into(),
            line: u32::try_from(pc & 0xfff).unwrap(),
        }]
    }

    fn is_wrapper(&self, pc: u64) -> bool {
        pc & !0xfff == WRAPPER
    }
}

fn member(goid: u64, parent: u64, start: u64, stack: &[u64]) -> Member {
    Member {
        goroutine: Goroutine {
            goid,
            g_addr: goid * 0x1000,
            status: Status::Waiting,
            wait_reason: Some("chan receive".into()),
            wait_since_ns: None,
            stack: stack.to_vec(),
            stack_state: StackState::Whole,
            outer: Vec::new(),
            gopc: MAIN + 7,
            startpc: start,
            parent_goid: Some(parent),
            waiting_channels: Vec::new(),
            waits_on_timer: false,
            waits_on_others: false,
            stops: 0,
            sleeps: None,
            stack_bytes: 0,
        },
        extents: Vec::new(),
        channels: Vec::new(),
        semaphore: None,
        thread: None,
        labels: None,
    }
}

/// So many alive, all of them looked at.
fn whole(alive: usize) -> Coverage {
    Coverage {
        alive,
        every: 1,
        ..Coverage::default()
    }
}

fn process() -> Arc<ProcessInfo> {
    crate::finding::samples::process()
}

fn paint(by: GroupBy, min_age_ns: Option<u64>, members: Vec<Member>) -> Picture {
    let mut painter = Painter::new(&Code, 1_000);
    let coverage = whole(members.len());
    for member in members {
        painter.add(member, |_, _| None);
    }
    painter.finish(process(), (by, min_age_ns), coverage, 5)
}

fn working(goid: u64) -> Member {
    member(goid, 1, WORK, &[PARK + 9, WORK + 4])
}

#[test]
fn the_same_stack_is_one_group_and_the_largest_comes_first() {
    let mut ready = working(9);
    ready.goroutine.status = Status::Runnable;
    ready.goroutine.wait_reason = None;
    let members = vec![ready, working(3), working(5), working(4)];
    let picture = paint(GroupBy::Stack, None, members);
    let counts: Vec<u64> = picture.groups.iter().map(|group| group.count).collect();
    assert_eq!(counts, [3, 1]);
    let stack = &picture.groups[0].stacks[0];
    let goids: Vec<u64> = stack.members.iter().map(|known| known.goid).collect();
    assert_eq!(goids, [3, 4, 5]);
    // The runtime's own frame is left out, as in Go's dumps.
    assert_eq!(stack.frames.len(), 1);
    assert_eq!(
        (&*stack.frames[0].function, stack.frames[0].line),
        ("main.work", 3)
    );
    assert_eq!(stack.started_at.as_ref().unwrap().line, 6);
    assert_eq!((picture.totals.seen, picture.totals.runnable), (4, 1));
}

#[test]
fn one_that_has_not_begun_is_at_its_functions_first_line() {
    let picture = paint(GroupBy::Stack, None, vec![member(3, 1, WORK, &[WORK])]);
    let frame = &picture.groups[0].stacks[0].frames[0];
    assert_eq!((&*frame.function, frame.line), ("main.work", 0));
}

#[test]
fn what_the_compiler_puts_between_is_left_out() {
    let stack = [PARK + 9, WORK + 4, WRAPPER + 2];
    let picture = paint(GroupBy::Stack, None, vec![member(3, 1, WRAPPER, &stack)]);
    let names: Vec<&str> = picture.groups[0].stacks[0]
        .frames
        .iter()
        .map(|frame| &*frame.function)
        .collect();
    assert_eq!(names, ["main.work"]);
}

#[test]
fn one_that_was_interrupted_is_where_it_was_interrupted() {
    let stack = [PREEMPT + 5, WORK + 8];
    let picture = paint(GroupBy::Stack, None, vec![member(3, 1, WORK, &stack)]);
    assert_eq!(picture.groups[0].stacks[0].frames[0].line, 8);
}

#[test]
fn the_runtimes_own_are_left_out_unless_they_run_the_programs_code() {
    let members = vec![
        member(2, 0, GC, &[PARK + 9, GC + 3]),
        member(3, 0, FINALIZE, &[PARK + 9, FINALIZE + 3]),
        member(4, 0, FINALIZE, &[PARK + 9, WORK + 2, FINALIZE + 3]),
    ];
    let picture = paint(GroupBy::Stack, None, members);
    assert_eq!((picture.totals.runtime, picture.totals.seen), (2, 1));
    assert_eq!(picture.groups[0].stacks[0].members[0].goid, 4);
}

#[test]
fn by_age_only_those_are_left_that_are_known_to_be_old() {
    let aged = |goid, since| {
        let mut member = working(goid);
        member.goroutine.wait_since_ns = since;
        member
    };
    let mut running = working(7);
    running.goroutine.status = Status::Running;
    let members = vec![
        aged(3, Some(100)),
        aged(4, Some(400)),
        aged(5, None),
        aged(6, Some(100)),
        running,
    ];
    // Two of them bear the end of the collection at 100, and that at 400 has found them.
    let picture = paint(GroupBy::Stack, Some(500), members.clone());
    assert_eq!((picture.totals.seen, picture.totals.grouped), (5, 2));
    // Of the two others, nothing tells. One that runs does not wait.
    assert_eq!(picture.totals.ageless, 2);
    let group = &picture.groups[0];
    assert_eq!(group.waited.at_least_ns, Some(600));
    assert_eq!(group.waited.at_most_ns, None);
    let goids: Vec<u64> = group.stacks[0].members.iter().map(|it| it.goid).collect();
    assert_eq!(goids, [3, 6]);
    // Those two may have waited for longer than what is proved; the others began after the end at 100.
    let totals = paint(GroupBy::Stack, Some(901), members).totals;
    assert_eq!((totals.grouped, totals.ageless), (0, 2));
}

#[test]
fn not_every_goroutine_comes_from_a_go_statement() {
    let mut first = member(1, 0, FIRST, &[PARK + 9, MAIN + 4, FIRST + 2]);
    first.goroutine.gopc = NEWPROC + 5;
    let mut running = first.clone();
    running.goroutine.status = Status::Running;
    running.goroutine.stack.clear();
    let mut called = member(2, 0, 0, &[PARK + 9, WORK + 4]);
    called.goroutine.gopc = 0;
    for (member, origin) in [
        (first, Origin::Beginning),
        (running, Origin::Beginning),
        (called, Origin::Foreign),
    ] {
        let picture = paint(GroupBy::Site, None, vec![member]);
        assert_eq!(picture.totals.seen, 1);
        let group = &picture.groups[0];
        assert_eq!(group.key, Key::Site(None));
        assert_eq!(group.stacks[0].origin(), origin);
    }
    let picture = paint(GroupBy::Site, None, vec![working(3)]);
    let stack = &picture.groups[0].stacks[0];
    assert!(matches!(stack.origin(), Origin::Statement(at) if at.line == 6));
}

#[test]
fn whose_wait_nothing_refers_to_comes_first_while_it_waits() {
    let mut woken = working(6);
    woken.goroutine.status = Status::Runnable;
    let searches = Searches::Made(Searched {
        lost: [5, 6].into_iter().collect(),
        ..Searched::default()
    });
    let mut painter = Painter::new(&Code, 1_000).with(Some(searches.clone()));
    for member in [working(3), working(4), working(5), woken] {
        painter.add(member, |_, _| None);
    }
    let picture = painter.finish(process(), (GroupBy::Stack, None), whole(4), 5);
    assert_eq!(picture.searches, Some(searches));
    assert_eq!(picture.totals.unreferenced, 1);
    let stack = &picture.groups[0].stacks[0];
    assert_eq!((stack.count, stack.unreferenced), (3, 1));
    let members = stack.members.iter().map(|it| (it.goid, it.unreferenced));
    let expected = [(5, true), (3, false), (4, false)];
    assert_eq!(members.collect::<Vec<_>>(), expected);
    let woken = &picture.groups[1].stacks[0];
    assert_eq!(
        (woken.unreferenced, woken.members[0].unreferenced),
        (0, false)
    );
}

#[test]
fn who_waits_for_others_and_does_not_say_for_what_is_counted() {
    let waiting = |goid, reason: &str| {
        let mut member = working(goid);
        member.goroutine.wait_reason = Some(reason.into());
        member
    };
    let named = |mut member: Member, channels: u64| {
        member.goroutine.waiting_channels = (0..channels).collect();
        member
    };
    let unnamed = [
        waiting(3, "sync.Mutex.Lock"),
        waiting(4, "semacquire"),
        waiting(5, "coroutine"),
        // One more case may follow.
        named(waiting(6, "select"), 64),
    ];
    let others = [
        waiting(7, "sleep"),
        waiting(8, "IO wait"),
        waiting(9, "chan receive (nil chan)"),
        waiting(10, "select (no cases)"),
        named(waiting(11, "select"), 63),
        named(waiting(12, "chan send"), 1),
    ];
    let members = unnamed.into_iter().chain(others).collect();
    assert_eq!(paint(GroupBy::Stack, None, members).totals.unnamed, 4);
}

#[test]
fn waiters_of_a_channel_are_counted_in_the_whole_process() {
    let on = |mut member: Member, addr| {
        member.channels = vec![Channel {
            addr,
            len: 0,
            cap: 0,
            closed: false,
        }];
        member
    };
    let other = member(7, 1, MAIN, &[PARK + 9, MAIN + 2]);
    let members = vec![
        on(working(3), 0xa0),
        on(working(4), 0xa0),
        on(working(5), 0xb0),
        on(other, 0xa0),
    ];
    let picture = paint(GroupBy::Stack, None, members.clone());
    let stack = &picture.groups[0].stacks[0];
    let awaited: Vec<_> = stack
        .awaits
        .iter()
        .map(|it| (it.what.addr(), it.waiters))
        .collect();
    assert_eq!(awaited, [(0xa0, Some(3)), (0xb0, Some(1))]);
    assert!(matches!(stack.awaits[0].what, What::Channel(_)));
    // Where only some were looked at, nobody knows.
    let mut painter = Painter::new(&Code, 1_000);
    members
        .into_iter()
        .for_each(|member| painter.add(member, |_, _| None));
    let some = Coverage {
        every: 2,
        ..whole(8)
    };
    let picture = painter.finish(process(), (GroupBy::Stack, None), some, 5);
    assert_eq!(picture.groups[0].stacks[0].awaits[0].waiters, None);
}

#[test]
fn groups_are_what_was_asked_for() {
    let mut elsewhere = working(8);
    elsewhere.goroutine.gopc = WORK + 9;
    let serving = member(5, 1, MAIN, &[PARK + 9, WORK + 4, SERVE + 2, MAIN + 1]);
    let child = member(6, 5, WORK, &[PARK + 9, WORK + 4]);
    let grandchild = member(7, 6, WORK, &[PARK + 9, WORK + 4]);
    let members = vec![serving, child, grandchild, elsewhere];
    let keys = |by| {
        let picture = paint(by, None, members.clone());
        let keys = picture.groups.into_iter();
        keys.map(|group| (group.key, group.count))
            .collect::<Vec<_>>()
    };
    let serving = Serving {
        goid: 5,
        request: None,
    };
    assert_eq!(
        keys(GroupBy::Request),
        [(Key::Request(Some(serving)), 3), (Key::Request(None), 1)]
    );
    assert_eq!(
        keys(GroupBy::Wait),
        [(Key::Wait(Status::Waiting, Some("chan receive".into())), 4)]
    );
    let sites = keys(GroupBy::Site);
    let lines = sites.iter().map(|(key, count)| match key {
        Key::Site(at) => (at.as_ref().unwrap().line, *count),
        other => panic!("{other:?}"),
    });
    assert_eq!(lines.collect::<Vec<_>>(), [(6, 3), (8, 1)]);
}

/// Of too many, evenly chosen ones are looked at: who started one may not be among them.
#[test]
fn whose_line_to_its_request_is_broken_is_of_none_that_is_known() {
    let serving = member(5, 1, MAIN, &[PARK + 9, WORK + 4, SERVE + 2, MAIN + 1]);
    let child = member(6, 5, WORK, &[PARK + 9, WORK + 4]);
    let grandchild = member(7, 6, WORK, &[PARK + 9, WORK + 4]);
    let of_requests = |members: Vec<Member>| {
        let picture = paint(GroupBy::Request, None, members);
        let known = |group: &super::Group| matches!(group.key, Key::Request(Some(_)));
        let groups = picture.groups.into_iter();
        groups.filter(known).map(|group| group.count).sum::<u64>()
    };
    assert_eq!(
        of_requests(vec![serving.clone(), child.clone(), grandchild.clone()]),
        3
    );
    assert_eq!(of_requests(vec![serving, grandchild.clone()]), 1);
    assert_eq!(of_requests(vec![child, grandchild]), 0);
}

#[test]
fn the_frame_that_tells_the_request_is_asked() {
    let extents: Vec<Extent> = (1..=4)
        .map(|nth| Extent {
            from: nth * 100,
            to: nth * 100 + 92,
        })
        .collect();
    let mut serving = member(5, 1, CONN, &[PARK + 9, WORK + 4, SERVE + 2, CONN + 1]);
    serving.extents = extents.clone();
    // One whose stack is cut below that frame, and one that serves none.
    let mut cut = member(6, 1, CONN, &[PARK + 9, SERVE + 2]);
    cut.extents = extents.clone();
    let mut idle = member(7, 1, CONN, &[PARK + 9, CONN + 1]);
    idle.extents = extents.clone();
    let request = Served {
        method: "GET".into(),
        path: "/report".into(),
    };
    let mut asked = Vec::new();
    let mut painter = Painter::new(&Code, 1_000);
    for member in [serving, cut, idle] {
        painter.add(member, |by, frame| {
            asked.push((by, frame));
            Some(request.clone())
        });
    }
    let asks = (GroupBy::Request, None);
    let picture = painter.finish(process(), asks, whole(3), 5);
    assert_eq!(asked, [(ServedBy::Http1, extents[3])]);
    let keys: Vec<Key> = picture.groups.into_iter().map(|group| group.key).collect();
    let of = |goid, request| Key::Request(Some(Serving { goid, request }));
    assert_eq!(
        keys,
        [Key::Request(None), of(5, Some(request)), of(6, None)]
    );
}
