//! What observing costs: our own CPU, and what the probes take from the targets.

use std::os::fd::OwnedFd;

use crate::probe::{Counters, Kernel, SOCKET_STATE};

use super::clock;

/// What a trap costs the target beside the program that it runs, ns: an emulated instruction,
/// measured by `cargo xtask bench` between 1 100 and 1 400 ns in virtual machines.
const TRAP_NS: u64 = 1_200;
/// How long the kernel's statistics are on in each period, ns. They cost every program a little.
const SAMPLE_NS: u64 = 100_000_000;
/// Length of a period, ns.
const PERIOD_NS: u64 = 1_000_000_000;

/// Measures both.
pub(super) struct Cost {
    begun_ns: u64,
    begun_cpu_ns: u64,
    /// Statistics are on while this is open.
    sampling: Option<OwnedFd>,
}

impl Cost {
    pub(super) fn begin() -> Self {
        Self {
            begun_ns: clock::now_ns(),
            begun_cpu_ns: clock::cpu_ns(),
            sampling: None,
        }
    }

    /// When it began, monotonic ns: attaching counts too.
    pub(super) const fn begun_ns(&self) -> u64 {
        self.begun_ns
    }

    /// Switches the kernel's statistics on and off.
    pub(super) fn tick(&mut self, now_ns: u64) {
        let phase = now_ns.saturating_sub(self.begun_ns) % PERIOD_NS;
        let wanted = phase < SAMPLE_NS;
        if wanted && self.sampling.is_none() {
            self.sampling = Kernel::enable_statistics();
        } else if !wanted {
            self.sampling = None;
        }
    }

    /// Own CPU since the beginning, ns.
    pub(super) fn own_cpu_ns(&self) -> u64 {
        clock::cpu_ns().saturating_sub(self.begun_cpu_ns)
    }

    /// What the probes cost the targets so far, ns: hits × (trap + measured length of a program);
    /// `None` before anything was measured.
    pub(super) fn target_cpu_ns(&self, kernel: &Kernel, counters: &Counters) -> Option<u64> {
        let runs = kernel.program_runs();
        // What the kernel's own tracepoint costs is nobody's in particular.
        let runs = runs
            .iter()
            .filter(|run| run.program != SOCKET_STATE.program);
        let (count, ns) = runs.fold((0u64, 0u64), |(count, ns), run| {
            (count + run.runs, ns + run.run_ns)
        });
        let hits = counters.traps();
        if hits == 0 {
            return Some(0);
        }
        let program_ns = ns.checked_div(count)?;
        Some(hits.saturating_mul(TRAP_NS.saturating_add(program_ns)))
    }
}
