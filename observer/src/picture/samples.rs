//! A picture for the tests of those that show one.

use std::sync::Arc;

use super::{
    Awaited, Channel, Coverage, Group, GroupBy, Key, Known, Picture, Searched, Searches, Stack,
    Status, Totals, Waited, What,
};
use crate::finding::samples::{frame, process};
use crate::inspect::Labels;

const WAITED: Waited = Waited {
    at_least_ns: Some(252_000_000_000),
    at_most_ns: Some(541_000_000_000),
};

const UNKNOWN: Waited = Waited {
    at_least_ns: None,
    at_most_ns: None,
};

fn known(goid: u64, parent: Option<u64>) -> Known {
    Known {
        goid,
        parent,
        waited: WAITED,
        thread: None,
        labels: None,
        unreferenced: false,
    }
}

/// Workers that nobody feeds any more, a deep recursion, one that runs and the first goroutine.
pub fn picture() -> Picture {
    let file = "/home/ci/src/shop/report/build.go";
    let wait = frame("example.com/shop/report.(*Builder).wait", file, 132);
    let start = frame("example.com/shop/report.(*Builder).work", file, 98);
    let go = frame(
        "example.com/shop/api.GetReport",
        "/home/ci/src/shop/api/report.go",
        71,
    );
    let labels: Labels = [(Arc::from("region"), Arc::from("eu"))].into();
    let channel = Channel {
        addr: 0xc0_0012_3450,
        len: 0,
        cap: 8,
        closed: false,
    };
    let workers = Stack {
        count: 10_000,
        status: Status::Waiting,
        wait_reason: Some("chan receive".into()),
        waited: WAITED,
        started_at: Some(go),
        start: Some(start.clone()),
        frames: vec![wait, start],
        cut: false,
        awaits: vec![Awaited {
            what: What::Channel(channel),
            waiters: Some(10_001),
        }],
        awaits_other: 0,
        unreferenced: 0,
        members: vec![
            Known {
                labels: Some(labels),
                ..known(34, Some(7))
            },
            known(35, Some(7)),
            known(36, Some(8)),
        ],
    };
    let recursion = frame(
        "example.com/shop/tree.(*Node).walk",
        "/home/ci/src/shop/tree/node.go",
        40,
    );
    let deep = Stack {
        count: 2,
        wait_reason: Some("sync.Mutex.Lock".into()),
        waited: UNKNOWN,
        frames: [
            vec![frame("sync.(*Mutex).Lock", "/go/src/sync/mutex.go", 46)],
            vec![recursion; 300],
        ]
        .concat(),
        cut: true,
        awaits: vec![Awaited {
            what: What::Lock(0xc0_0045_670c),
            waiters: Some(2),
        }],
        members: vec![known(40, Some(1)), known(41, Some(1))],
        ..workers.clone()
    };
    let running = Stack {
        count: 1,
        status: Status::Running,
        wait_reason: None,
        waited: UNKNOWN,
        frames: Vec::new(),
        awaits: Vec::new(),
        members: vec![Known {
            thread: Some(4130),
            ..known(50, None)
        }],
        ..workers.clone()
    };
    let first = Stack {
        count: 1,
        wait_reason: Some("IO wait".into()),
        started_at: None,
        start: Some(frame("runtime.main", "/go/src/runtime/proc.go", 153)),
        frames: vec![
            frame(
                "internal/poll.(*FD).Accept",
                "/go/src/internal/poll/fd_unix.go",
                620,
            ),
            frame("net.(*TCPListener).Accept", "/go/src/net/tcpsock.go", 380),
            frame(
                "net/http.(*Server).Serve",
                "/go/src/net/http/server.go",
                3424,
            ),
            frame("main.main", "/home/ci/src/shop/cmd/api/main.go", 31),
        ],
        awaits: Vec::new(),
        members: vec![known(1, None)],
        ..workers
    };
    let group = |stack: Stack| Group {
        key: Key::Stack,
        count: stack.count,
        waited: stack.waited,
        stacks: vec![stack],
        stacks_other: 0,
    };
    Picture {
        process: process(),
        time_ns: 1_000,
        took_ns: 81_000_000,
        coverage: Coverage {
            alive: 10_009,
            every: 1,
            ..Coverage::default()
        },
        totals: Totals {
            seen: 10_004,
            grouped: 10_004,
            running: 1,
            runtime: 5,
            ..Totals::default()
        },
        group_by: GroupBy::Stack,
        groups: [workers, deep, running, first].map(group).into(),
        groups_other: (0, 0),
        searches: None,
    }
}

/// The same, with two searches: nobody can get at what two of the workers and those of the recursion wait on.
pub fn searched() -> Picture {
    let mut picture = picture();
    picture.searches = Some(Searches::Made(Searched {
        took_ns: 24_000_000,
        apart_ns: Some(1_000_000_000),
        lost: [34, 36, 40, 41].into_iter().collect(),
        beyond: 0,
    }));
    picture.totals.unreferenced = 4;
    picture.totals.unnamed = 3;
    for group in picture.groups.iter_mut().take(2) {
        for stack in &mut group.stacks {
            stack.unreferenced = 2;
            for known in &mut stack.members {
                known.unreferenced = known.goid != 35;
            }
            stack.members.sort_by_key(|known| !known.unreferenced);
        }
    }
    picture
}
