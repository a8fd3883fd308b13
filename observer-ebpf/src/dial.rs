//! Plain dials of package `net`.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_common::event::{DialDone, DialStarted};
use observer_common::hook::HookId;
use observer_common::probe::dial;

use crate::memory::USER;
use crate::site::Hit;

/// `net.(*Dialer).DialContext`.
#[uprobe]
pub fn dial_start(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::DialStart) {
        hit.send(|record: &mut DialStarted| dial::started(&USER, hit.layout, &hit.regs, record));
    }
    0
}

/// Where `net.(*sysDialer).doDialTCPProto` wraps its connection.
#[uprobe]
pub fn dial_done(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::DialDone) {
        hit.send(|record: &mut DialDone| {
            dial::done(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
    0
}
