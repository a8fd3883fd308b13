//! A caller that waits, on memory laid out as three versions of Go do.

use std::sync::Arc;

use super::{Ends, Inspector, SocketOffsets};
use crate::go::image::StackStep;
use crate::go::layout::Layout;
use crate::go::{GoVersion, TypeName};
use crate::inspect::{GOffsets, Runtime, TypeNames};
use crate::target::RecordedMemory;
use crate::testkit::PartTable;

const G: u64 = 0x1000;
const GOID: u64 = 7;
const SUDOG: u64 = 0x2000;
const CLOSED: u64 = 0x3000;
const STACK: u64 = 0x10_000;
const SP: u64 = 0x10_100;
/// `gopark`, `selectgo`, `(*persistConn).roundTrip`, who called it.
const PCS: [u64; 4] = [0x40_0010, 0x41_0010, 0x42_0010, 0x43_0010];
const ROUND_TRIP: u64 = 0x42_0000;
const CONN: u64 = 0x20_000;

struct Table;

impl PartTable for Table {
    fn step(&self, pc: u64) -> Option<StackStep> {
        PCS.contains(&pc).then_some(StackStep {
            sp_delta: 0x40,
            top: pc == PCS[3],
            writes_sp: false,
        })
    }

    fn begins(&self, pc: u64) -> Option<u64> {
        Some(pc & !0xffff)
    }
}

struct Types;

impl TypeNames for Types {
    fn of_itab(&self, itab: u64) -> Option<TypeName> {
        let (package, name) = match itab {
            1 => ("net", "TCPConn"),
            2 => ("crypto/tls", "Conn"),
            3 => ("net", "TCPAddr"),
            4 => ("net", "UnixConn"),
            _ => return None,
        };
        Some(TypeName {
            package: Arc::from(package),
            name: Arc::from(name),
            pointer: true,
        })
    }

    fn of_type(&self, _: u64) -> Option<TypeName> {
        None
    }
}

/// What differs from a caller that waits.
#[derive(Clone, Copy)]
struct Case {
    /// Where the connection is kept: a word of the frame, or the spill area behind it.
    slot: u64,
    /// Type of the connection.
    itab: u64,
    /// What the connection is closed by.
    closed: u64,
    /// `_Gwaiting`, `_Grunning`.
    status: u32,
    goid: u64,
}

const SPILLED: u64 = 0x48;
const WAITS: Case = Case {
    slot: SPILLED,
    itab: 1,
    closed: CLOSED,
    status: 4,
    goid: GOID,
};

fn ends(go: &str, case: Case) -> Option<Ends> {
    let version = GoVersion::parse(go).unwrap();
    let layout = Layout::for_version(&version).unwrap();
    let (g, at) = (
        GOffsets::of(&layout).unwrap(),
        SocketOffsets::of(&layout).unwrap(),
    );
    let mut memory = RecordedMemory::new();
    let mut block = vec![0; g.block_len()];
    let words = [
        (g.stack_lo, STACK),
        (g.stack_hi, STACK + 0x1000),
        (g.sched_pc, PCS[0]),
        (g.sched_sp, SP),
        (g.status, u64::from(case.status)),
        (g.goid, case.goid),
        (g.waiting, SUDOG),
    ];
    for (offset, word) in words {
        let at = offset as usize;
        block[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    memory.insert(G, &block);
    let mut put = |base: u64, words: &[(u64, u64)]| {
        let mut block = vec![0; 0x200];
        for (offset, word) in words {
            let at = usize::try_from(*offset).unwrap();
            block[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        memory.insert(base, &block);
    };
    let sudog = &g.sudog;
    put(
        SUDOG,
        &[(sudog.g.into(), G), (sudog.channel.into(), CLOSED)],
    );
    // Frames of 0x40 bytes, each with its return address behind it.
    let frame = 0x48;
    put(
        SP,
        &[
            (0x40, PCS[1]),
            (frame + 0x40, PCS[2]),
            // A connection that is another goroutine's, and the stack's own words.
            (2 * frame + 0x08, CONN + 0x8000),
            (2 * frame + 0x10, SP),
            (2 * frame + 0x40, PCS[3]),
            (2 * frame + case.slot, CONN),
        ],
    );
    put(CONN + 0x8000, &[(at.closed.into(), CLOSED + 8)]);
    let (conn, tls) = (u64::from(at.conn), CONN + 0x1000);
    let first = if case.itab == 2 { tls } else { CONN + 0x2000 };
    put(
        CONN,
        &[
            (conn, case.itab),
            (conn + 8, first),
            (at.closed.into(), case.closed),
        ],
    );
    put(
        tls,
        &[(at.tls.into(), 1), (u64::from(at.tls) + 8, CONN + 0x2000)],
    );
    put(CONN + 0x2000, &[(at.fd.into(), CONN + 0x3000)]);
    let (local, remote) = (u64::from(at.local), u64::from(at.remote));
    put(
        CONN + 0x3000,
        &[
            (local, 3),
            (local + 8, CONN + 0x4000),
            (remote, 3),
            (remote + 8, CONN + 0x5000),
        ],
    );
    let (ip, port) = (u64::from(at.address.ip), u64::from(at.address.port));
    put(
        CONN + 0x4000,
        &[(ip, CONN + 0x6000), (ip + 8, 16), (port, 51_322)],
    );
    put(
        CONN + 0x5000,
        &[(ip, CONN + 0x600c), (ip + 8, 4), (port, 8080)],
    );
    let mapped = u64::from_be_bytes([0, 0, 0xff, 0xff, 127, 0, 0, 1]).swap_bytes();
    put(CONN + 0x6000, &[(8, mapped)]);
    let table = Table;
    let runtime = Runtime {
        table: &table,
        offsets: &g,
        bias: 0,
        allgs: None,
        semtable: None,
    };
    let inspector = Inspector::new(&memory, runtime);
    inspector.call_ends(&at, &Types, ROUND_TRIP, (GOID, G))
}

#[test]
fn a_caller_that_waits_tells_its_connection() {
    let known = Ends {
        client: "127.0.0.1:51322".parse().unwrap(),
        server: "127.0.0.1:8080".parse().unwrap(),
    };
    for go in ["go1.18.10", "go1.24.11", "go1.27.3"] {
        assert_eq!(ends(go, WAITS), Some(known), "{go}");
        let on_its_frame = Case {
            slot: 0x18,
            ..WAITS
        };
        assert_eq!(ends(go, on_its_frame), Some(known), "{go}");
        assert_eq!(
            ends(go, Case { itab: 2, ..WAITS }),
            Some(known),
            "{go}: TLS"
        );
    }
}

#[test]
fn what_is_not_certain_is_not_told() {
    let others = [
        // The channel is not among those that it waits on: any words look like a connection.
        Case {
            closed: CLOSED + 8,
            ..WAITS
        },
        Case { status: 2, ..WAITS },
        Case { goid: 8, ..WAITS },
        // No socket of TCP, a type of the service's own.
        Case { itab: 4, ..WAITS },
        Case { itab: 9, ..WAITS },
        // On somebody else's frame.
        Case {
            slot: SPILLED + 8,
            ..WAITS
        },
    ];
    for (number, case) in others.into_iter().enumerate() {
        assert_eq!(ends("go1.27.3", case), None, "{number}");
    }
}
