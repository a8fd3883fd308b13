//! Processes that begin to execute a file.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use core::mem::MaybeUninit;
use observer_common::event::{Header, Kind, ProcessExecuted};

use crate::maps;

/// `sched_process_exec`: the new executable is mapped and has not run yet; the current process is the one.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_executed(_ctx: RawTracePointContext) -> i32 {
    let Some(mut entry) = maps::EVENTS.reserve::<ProcessExecuted>(0) else {
        maps::start_lost();
        return 0;
    };
    let slot: &mut MaybeUninit<ProcessExecuted> = &mut entry;
    slot.write(ProcessExecuted {
        header: Header {
            kind: Kind::ProcessExecuted as u8,
            pid: (bpf_get_current_pid_tgid() >> 32) as u32,
            // SAFETY: no preconditions.
            time_ns: unsafe { bpf_ktime_get_ns() },
            lost: maps::lost(),
            ..Header::default()
        },
    });
    entry.submit(maps::wake());
    0
}
