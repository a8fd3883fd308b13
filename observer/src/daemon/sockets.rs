//! The kernel's view of the observed processes' connections: which ports are watched, and for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use observer_common::event::SocketChanged;
use observer_common::tcp::LISTEN;

use crate::finding::HookState;
use crate::probe::{Kernel, Off, ProbeError, sockets, tracepoint_state};
use crate::target::listening;

use super::errors;

/// The kernel's types.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// What is not seen of a process that serves Unix sockets.
const UNIX: &str = "clients on Unix sockets (the kernel does not tell when they close)";

/// Ports that are watched.
#[derive(Debug)]
pub(super) struct Sockets {
    attached: Result<(), Off>,
    /// Processes by the port that they listen on.
    ports: BTreeMap<u16, BTreeSet<u32>>,
    /// Network namespaces of the processes.
    netns: BTreeMap<u32, u64>,
    /// Listeners reported by the kernel and not yet watched.
    fresh: Vec<(u32, u16)>,
}

/// What could be seen, without attaching anything.
pub(super) fn examine() -> (HookState, Option<String>) {
    let planned = sockets(std::fs::read(Path::new(BTF)).as_deref().map_err(again)).map(|_| ());
    told(&planned)
}

fn again(error: &std::io::Error) -> std::io::Error {
    std::io::Error::from(error.kind())
}

fn told(planned: &Result<(), Off>) -> (HookState, Option<String>) {
    let state = tracepoint_state(planned.as_ref().copied());
    let lacks = state.reason.as_ref();
    let lacks = lacks.map(|reason| format!("{} ({reason})", state.hook));
    (state, lacks)
}

impl Sockets {
    /// Attaches to the kernel's tracepoint; where that is not possible, says why.
    pub(super) fn watch(kernel: &mut Kernel) -> Self {
        let bytes = std::fs::read(Path::new(BTF));
        let attached = sockets(bytes.as_deref().map_err(again)).and_then(|layout| {
            kernel.watch_sockets(&layout).map_err(|error| Off {
                reason: errors::chain(&error),
                harmless: false,
            })
        });
        Self {
            attached,
            ports: BTreeMap::new(),
            netns: BTreeMap::new(),
            fresh: Vec::new(),
        }
    }

    /// Nothing is watched: the benchmark measures traps alone.
    pub(super) fn off() -> Self {
        Self {
            attached: Err(Off {
                reason: "empty programs".to_owned(),
                harmless: true,
            }),
            ports: BTreeMap::new(),
            netns: BTreeMap::new(),
            fresh: Vec::new(),
        }
    }

    /// Watches where a process listens. Gives the hook as users see it, and what stays unseen.
    pub(super) fn add(
        &mut self,
        (pid, netns): (u32, u64),
        kernel: &mut Kernel,
    ) -> Result<(HookState, Vec<String>), ProbeError> {
        let (state, lacks) = told(&self.attached);
        let mut unseen = Vec::from_iter(lacks);
        if self.attached.is_err() {
            return Ok((state, unseen));
        }
        self.netns.insert(pid, netns);
        // First, so that no listener comes between the two.
        kernel.choose(pid, true)?;
        // A process that is gone by now will be missed elsewhere.
        let found = listening(pid).unwrap_or_default();
        for port in found.ports {
            self.listens(pid, port, kernel)?;
        }
        if found.unix {
            unseen.push(UNIX.to_owned());
        }
        Ok((state, unseen))
    }

    /// Takes note where a record says that an observed process begins to listen. False for a record
    /// about a connection in a network namespace of nobody: the ports are the same there.
    pub(super) fn note(&mut self, record: &SocketChanged) -> bool {
        let concerns = self.netns.values().any(|netns| *netns == record.netns);
        if record.to == LISTEN
            && let Ok(port) = u16::try_from(record.local_port)
        {
            self.fresh.push((record.header.pid, port));
        }
        concerns
    }

    /// Watches what was noted.
    pub(super) fn watch_noted(&mut self, kernel: &mut Kernel) -> Result<(), ProbeError> {
        for (pid, port) in std::mem::take(&mut self.fresh) {
            self.listens(pid, port, kernel)?;
        }
        Ok(())
    }

    fn listens(&mut self, pid: u32, port: u16, kernel: &mut Kernel) -> Result<(), ProbeError> {
        let holders = self.ports.entry(port).or_default();
        if holders.is_empty() {
            kernel.watch_port(port, true)?;
        }
        holders.insert(pid);
        Ok(())
    }

    /// A process has ended: its ports are nobody's, unless another listens on them too.
    pub(super) fn forget(&mut self, pid: u32, kernel: &mut Kernel) -> Result<(), ProbeError> {
        if self.netns.remove(&pid).is_some() {
            kernel.choose(pid, false)?;
        }
        for (port, holders) in &mut self.ports {
            if holders.remove(&pid) && holders.is_empty() {
                kernel.watch_port(*port, false)?;
            }
        }
        self.ports.retain(|_, holders| !holders.is_empty());
        Ok(())
    }
}
