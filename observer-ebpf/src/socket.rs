//! TCP sockets: what the kernel knows of the peers of observed processes.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use observer_common::event::SocketChanged;
use observer_common::hook::{Counter, HookId};
use observer_common::layout::ENABLED;
use observer_common::probe::Skip;
use observer_common::probe::socket::{self, Interest};

use crate::memory::KERNEL;
use crate::{maps, site};

/// `inet_sock_set_state(sk, from, to)`. What a peer does comes in as a packet, so the process on the
/// CPU is anybody: sockets are chosen by their local port.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn socket_state(ctx: RawTracePointContext) -> i32 {
    let (from, to) = (ctx.arg::<u32>(1), ctx.arg::<u32>(2));
    let interest = socket::interest(from, to);
    if interest == Interest::None {
        return 0;
    }
    let Some(layout) = maps::sockets() else {
        return 0;
    };
    if !layout.has(ENABLED) {
        return 0;
    }
    let sk = ctx.arg::<u64>(0);
    let pid = match interest {
        Interest::Listener => (bpf_get_current_pid_tgid() >> 32) as u32,
        _ => 0,
    };
    if pid != 0 && !maps::chosen(pid) {
        return 0;
    }
    let Some(port) = socket::local_port(&KERNEL, layout, sk) else {
        site::skip(HookId::SocketState, Skip::Object);
        return 0;
    };
    if pid == 0 && !maps::port_is_observed(port) {
        return 0;
    }
    maps::count(HookId::SocketState, Counter::Hits);
    site::send(HookId::SocketState, pid, |record: &mut SocketChanged| {
        socket::changed(&KERNEL, layout, (sk, port), (from, to), record).map(|()| false)
    });
    0
}
