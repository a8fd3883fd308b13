//! The probes' own logic on memory of live programs, and images of it for `observer-common`.

use std::fmt::Write as _;

use observer::inspect::MapKind;
use observer::probe::block::{self, Wishes};
use observer::target::{Memory, RecordingMemory};
use observer_common::event::{Link, REQUEST_BIG_MAP, RequestStarted};
use observer_common::layout::Layout;
use observer_common::limits::MAX_LINKS;
use observer_common::mem::MemRead;
use observer_common::probe::{request, walk};
use observer_common::regs::RegisterSet;
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::target::{Target, Variant, hex, variants};

/// Reads as a probe does.
struct Probing<'a, M>(&'a M);

impl<M: Memory> Probing<'_, M> {
    fn copy(&self, addr: u64, to: &mut [u8]) -> bool {
        to.is_empty() || self.0.read(addr, to).is_ok()
    }
}

impl<M: Memory> MemRead for Probing<'_, M> {
    fn read_prefix<const N: usize>(&self, addr: u64, buf: &mut [u8; N], len: u64) -> bool {
        let len = usize::try_from(len).unwrap_or(N).min(N);
        self.copy(addr, &mut buf[..len])
    }

    fn read_words<const N: usize>(&self, addr: u64, words: &mut [u64; N]) -> bool {
        self.copy(addr, words.as_mut_bytes())
    }
}

fn layout(target: &Target, name: &str) -> Layout {
    let wishes = Wishes {
        id_headers: vec![name.to_owned()],
        deadline_headers: Vec::new(),
        read_ids: true,
        follow_goroutines: false,
    };
    let bias = target.process.mapping.bias;
    block::build(&target.image, &target.layout, bias, &wishes)
}

/// Any goroutine: the site's own is not told.
fn goroutine(target: &Target) -> u64 {
    let (all, _) = target.snapshot(10).unwrap();
    all[0].g_addr
}

fn started<M: Memory>(memory: &M, target: &Target, at: u64, name: &str) -> RequestStarted {
    let mut record = RequestStarted::new_zeroed();
    let regs = RegisterSet {
        args: [0, 0, 0, at, 0, 0, 0, 0, 0],
        g: goroutine(target),
        ..RegisterSet::default()
    };
    let (memory, layout) = (Probing(memory), layout(target, name));
    let read = if target.map_kind() == MapKind::Swiss {
        request::started::<true, _, _>(&memory, &layout, &regs, &mut record)
    } else {
        request::started::<false, _, _>(&memory, &layout, &regs, &mut record)
    };
    read.unwrap();
    record
}

#[test]
fn probes_find_headers_or_leave_the_map_to_user_space() {
    for variant in variants() {
        let target = Target::start(variant);
        for fact in target.facts_of("REQUEST") {
            let (headers, at, ctx): (usize, _, _) =
                (fact[0].parse().unwrap(), hex(&fact[1]), hex(&fact[2]));
            for number in [0, 6, 8, 29, headers] {
                let name = format!("X-Number-{number}");
                let record = started(&target.process.memory, &target, at, &name);
                assert_eq!(record.ctx.data, ctx);
                assert_eq!(&record.line[..3], b"GET");
                let id = &record.id[..record.id_len as usize];
                let left = record.flags & REQUEST_BIG_MAP != 0;
                let value = format!("value {number}");
                let found = number < headers && id == value.as_bytes();
                // What is not found is not there, or in a map that is left to user space.
                let right = found || id.is_empty() && (left || number >= headers);
                assert!(right, "{variant:?} {fact:?} {number}: {id:?}");
                assert_eq!(
                    left,
                    headers == 500 || left && headers == 30,
                    "{variant:?} {fact:?}"
                );
            }
        }
    }
}

#[test]
fn probes_walk_chains_of_every_version() {
    for variant in variants() {
        let target = Target::start(variant);
        let facts = target.facts_of("CONTEXT");
        let of = |name: &str| {
            let fact = facts.iter().find(|fact| fact[0] == name).unwrap();
            (hex(&fact[1]), hex(&fact[2]))
        };
        let (itab, data) = of("leaf");
        let mut links = [Link::default(); MAX_LINKS];
        let memory = Probing(&target.process.memory);
        let leaf = Link { itab, data };
        let mut block = layout(&target, "X-Number-0");
        let count = walk::chain(&memory, &block, leaf, &mut links) as usize;
        let found: Vec<_> = links[..count]
            .iter()
            .map(|link| (link.itab, link.data))
            .collect();
        assert_eq!(found[..2], [of("leaf"), of("timed")], "{variant:?}");
        // Go 1.20's timer begins with a pointer, so nothing above it is a link.
        if !variant.go.starts_with("1.20.") {
            assert_eq!((count, found[3]), (5, of("root")), "{variant:?}");
        }
        // From there on nothing is asked.
        let (timed, _) = of("timed");
        assert!(block::note_node(&mut block, timed) && !block::note_node(&mut block, timed));
        assert_eq!(walk::chain(&memory, &block, leaf, &mut links), 2);
    }
}

/// `cargo test -p observer-tests --test live_inspect -- --ignored record_probe_images`
#[test]
#[ignore = "writes the images into the sources of observer-common"]
fn record_probe_images() {
    for go in ["1.21.13", "1.24.11", "1.27.3"] {
        let flags = &["-ldflags=-s -w"];
        let target = Target::start(Variant { go, flags });
        let memory = RecordingMemory::new(target.process.memory);
        let block = layout(&target, "X-Number-0");
        let swiss = target.map_kind() == MapKind::Swiss;
        let mut text = format!(
            "# cargo test -p observer-tests --test live_inspect -- --ignored record_probe_images\n\
             go {go}\ng {} {}\nrequest {} {} {}\nswiss {swiss}\n",
            goroutine(&target),
            block.g_goid,
            block.req_ctx,
            block.req_uri,
            block.req_header,
        );
        for fact in target.facts_of("REQUEST") {
            let headers: usize = fact[0].parse().unwrap();
            if headers <= 30 {
                let (at, ctx) = (hex(&fact[1]), hex(&fact[2]));
                writeln!(text, "headers {headers} {at} {ctx}").unwrap();
                for number in 0..=headers {
                    started(&memory, &target, at, &format!("X-Number-{number}"));
                }
            }
        }
        for line in memory.recorded().to_text().lines() {
            writeln!(text, "memory {line}").unwrap();
        }
        let path = format!(
            "{}/../observer-common/tests/probe/images/go{go}.txt",
            env!("CARGO_MANIFEST_DIR")
        );
        std::fs::write(path, text).unwrap();
    }
}
