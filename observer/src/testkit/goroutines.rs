//! Records of goroutines that requests start.

use observer_common::event::{GoroutineCreated, GoroutineEnded, Kind};
use zerocopy::FromZeros;

use super::code::FakeCode;
use super::records::{Record, fill, header};
use crate::inspect::{Kin, Listing};

/// `goid` is started by `creator`, by the `go` statement at the first place of `stack`.
pub(crate) fn goroutine(code: &FakeCode, goid: u64, creator: u64, stack: &[&str]) -> Record {
    let mut record = GoroutineCreated::new_zeroed();
    record.header = header(Kind::GoroutineCreated, goid, creator);
    record.gopc = code.pc(stack.first().copied().unwrap_or_default());
    let inner = ["runtime.systemstack", "runtime.newproc"];
    let frames = fill(&mut record.pcs, &code.pcs(&[&inner, stack].concat()));
    record.frames = u64::from(frames);
    Record::Goroutine(Box::new(record))
}

/// A look finds these new, with who started them, and these gone.
pub(crate) fn listing(came: &[(u64, u64)], gone: &[u64]) -> Listing {
    let kin = |(goid, parent_goid): &(u64, u64)| Kin {
        goid: *goid,
        g_addr: 0xc000_0000 + goid * 0x100,
        parent_goid: *parent_goid,
        gopc: 0,
    };
    Listing {
        begun_ns: 0,
        came: came.iter().map(kin).collect(),
        late: Vec::new(),
        gone: gone.to_vec(),
    }
}

/// It ends.
pub(crate) fn goroutine_end(goid: u64) -> Record {
    Record::GoroutineEnd(GoroutineEnded {
        header: header(Kind::GoroutineEnded, goid, 0),
    })
}
