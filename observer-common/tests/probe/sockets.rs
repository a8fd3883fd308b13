//! A socket of the kernel: who closed, and which connection it was.

use observer_common::event::{Kind, SocketChanged};
use observer_common::layout::{ENABLED, HAS_V6, SocketLayout};
use observer_common::probe::Skip;
use observer_common::probe::socket::{Interest, changed, interest, local_port};
use observer_common::tcp::{CLOSE, CLOSE_WAIT, ECONNRESET, ESTABLISHED, LAST_ACK, LISTEN};

use super::memory::{Memory, record};

const SOCK: u64 = 0xffff_8880_0123_0000;
const NET: u64 = 0xffff_8880_0456_0000;

/// Offsets of one Linux 6.18.
const LAYOUT: SocketLayout = SocketLayout {
    flags: ENABLED | HAS_V6,
    sport: 798,
    dport: 12,
    family: 16,
    local4: 4,
    remote4: 0,
    local6: 72,
    remote6: 56,
    net: 48,
    net_inum: 136,
    error: 640,
    reserved: 0,
};

fn sock(family: u16) -> Memory {
    let mut memory = Memory::default();
    memory.bytes(SOCK, &[192, 0, 2, 7, 127, 0, 0, 1]);
    memory.bytes(SOCK + 12, &51_322u16.to_be_bytes());
    memory.bytes(SOCK + 16, &family.to_ne_bytes());
    memory.words(SOCK + 48, &[NET]);
    let mut v6 = [0u8; 32];
    v6[0] = 0x20;
    v6[31] = 1;
    memory.bytes(SOCK + 56, &v6);
    memory.bytes(SOCK + 640, &104u32.to_ne_bytes());
    memory.bytes(SOCK + 798, &8080u16.to_be_bytes());
    memory.bytes(NET + 136, &4_026_531_840u32.to_ne_bytes());
    memory
}

fn read(memory: &Memory, layout: &SocketLayout) -> Result<SocketChanged, Skip> {
    let mut event: SocketChanged = record();
    let states = (ESTABLISHED, CLOSE);
    changed(memory, layout, (SOCK, 8080), states, &mut event).map(|()| event)
}

#[test]
fn what_a_peer_does_is_told_from_what_is_nobodys_business() {
    assert_eq!(interest(ESTABLISHED, CLOSE_WAIT), Interest::Peer);
    assert_eq!(interest(ESTABLISHED, CLOSE), Interest::Peer);
    assert_eq!(interest(CLOSE_WAIT, CLOSE), Interest::Peer);
    assert_eq!(interest(CLOSE_WAIT, LAST_ACK), Interest::Peer);
    assert_eq!(interest(CLOSE, LISTEN), Interest::Listener);
    // Opening, closing first, and the kernel's own tidying up.
    for (from, to) in [
        (CLOSE, 2),
        (2, ESTABLISHED),
        (3, ESTABLISHED),
        (ESTABLISHED, 4),
        (4, 5),
    ] {
        assert_eq!(interest(from, to), Interest::None);
    }
    for from in [LAST_ACK, LISTEN, 2, 3, 4, 5, 6, 11] {
        assert_eq!(interest(from, CLOSE), Interest::None);
    }
}

#[test]
fn ipv4_is_told_as_ipv6_writes_it() {
    let memory = sock(2);
    assert_eq!(local_port(&memory, &LAYOUT, SOCK), Some(8080));
    let event = read(&memory, &LAYOUT).unwrap();
    assert_eq!(event.header.kind, Kind::SocketChanged as u8);
    assert_eq!((event.header.goid, event.header.g), (0, 0));
    assert_eq!((event.from, event.to), (ESTABLISHED, CLOSE));
    assert_eq!((event.local_port, event.remote_port), (8080, 51_322));
    assert_eq!(&event.remote[8..], [0, 0, 0xff, 0xff, 192, 0, 2, 7]);
    assert_eq!(&event.local[8..], [0, 0, 0xff, 0xff, 127, 0, 0, 1]);
    assert_eq!((event.netns, event.error), (4_026_531_840, ECONNRESET));
}

#[test]
fn ipv6_is_told_where_the_kernel_has_it() {
    let memory = sock(10);
    let event = read(&memory, &LAYOUT).unwrap();
    assert_eq!((event.remote[0], event.local[15]), (0x20, 1));
    let without = SocketLayout {
        flags: ENABLED,
        ..LAYOUT
    };
    assert_eq!(read(&memory, &without).unwrap_err(), Skip::Quiet);
    assert_eq!(read(&sock(1), &LAYOUT).unwrap_err(), Skip::Quiet);
}

#[test]
fn what_cannot_be_read_is_a_loss() {
    for gone in [SOCK, SOCK + 12, SOCK + 640, NET + 136] {
        let mut memory = sock(2);
        memory.cut(gone & !4095);
        assert_eq!(read(&memory, &LAYOUT).unwrap_err(), Skip::Object);
    }
    assert_eq!(local_port(&Memory::default(), &LAYOUT, SOCK), None);
}
