//! Loads the programs and attaches them: the kernel's side as one object.
//!
//! Nothing is pinned, so nothing of ours outlives the process, however it ends.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::path::Path;

use aya::maps::{Array, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::raw_trace_point::RawTracePointLink;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};
use aya::programs::{ProgramError, RawTracePoint, UProbe};
use aya::{Ebpf, EbpfError, EbpfLoader};
use observer_common::hook::{COUNTER_ROWS, COUNTERS, Counter, HookId};
use observer_common::layout::{Cookie, ENABLED, FILTER_PIDS, Layout, SITE_IS_JUMP, SocketLayout};
use observer_common::limits::{LOST_EVENTS, LOST_STARTS, RING_BYTES};

use crate::go::site::SiteKind;

use super::object::{MissingObject, object};
use super::plan::PlannedSite;
use super::ring::Ring;
use super::said::Said;
use super::starts;
use super::tracepoint::SOCKET_STATE;

/// Which processes a site fires for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One process; others do not even trap.
    One(NonZeroU32),
    /// Every process of the executable traps; those chosen by [`Kernel::choose`] make events.
    Chosen,
}

/// Which programs to attach. Anything but [`Programs::Full`] is for the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Programs {
    /// Ours.
    #[default]
    Full,
    /// A program that does nothing at every site: the cost of the traps alone.
    Empty,
}

/// What went wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Built without a BPF toolchain.
    #[error(transparent)]
    NoObject(#[from] MissingObject),
    /// The object does not load.
    #[error("cannot load the eBPF object")]
    Load(#[from] EbpfError),
    /// A program is refused.
    #[error("the kernel refuses program `{program}`")]
    Program {
        /// Name in the object.
        program: &'static str,
        /// Reason.
        source: ProgramError,
    },
    /// A site cannot be attached.
    #[error("cannot attach `{hook}` at file offset {offset:#x}")]
    Attach {
        /// Which hook.
        hook: &'static str,
        /// Where.
        offset: u64,
        /// Reason.
        source: ProgramError,
    },
    /// A tracepoint cannot be attached.
    #[error("cannot attach to tracepoint `{name}`")]
    Tracepoint {
        /// The kernel's name for it.
        name: &'static str,
        /// Reason.
        source: ProgramError,
    },
    /// A map is missing or refuses.
    #[error("cannot use map `{map}`")]
    Map {
        /// Name in the object.
        map: &'static str,
        /// Reason.
        source: MapError,
    },
    /// The object lacks something it should have.
    #[error("the eBPF object has no `{0}`")]
    Lacks(&'static str),
}

/// An attached probe; dropping it detaches, which takes the kernel up to 0.1 s.
#[derive(Debug)]
pub struct Attached {
    /// Which hook.
    pub hook: HookId,
    symbol: &'static str,
    _link: UProbeLink,
}

impl Attached {
    /// Whether it is the probe of this site.
    pub(super) fn is_at(&self, site: &PlannedSite) -> bool {
        (self.hook, self.symbol) == (site.hook, site.symbol)
    }
}

/// A layout block as a map value.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Block(Layout);

// SAFETY: `Layout` is made of integers only, without padding: an even number of words of 4 bytes, then words of 8.
unsafe impl aya::Pod for Block {}

/// A socket layout as a map value.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Sockets(SocketLayout);

// SAFETY: `SocketLayout` is made of integers of one size only, so it has no padding.
unsafe impl aya::Pod for Sockets {}

/// Counters of all hooks, summed over CPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    rows: Vec<u64>,
}

impl Counters {
    /// One counter of one hook.
    #[must_use]
    pub fn get(&self, hook: HookId, counter: Counter) -> u64 {
        let row = hook as usize * COUNTERS as usize + counter as usize;
        self.rows.get(row).copied().unwrap_or(0)
    }

    /// One counter over all hooks.
    #[must_use]
    pub fn total(&self, counter: Counter) -> u64 {
        HookId::ALL
            .iter()
            .map(|hook| self.get(*hook, counter))
            .sum()
    }

    /// Hits of sites: each was a trap in a target.
    #[must_use]
    pub fn traps(&self) -> u64 {
        self.total(Counter::Hits)
            .saturating_sub(self.get(SOCKET_STATE.id, Counter::Hits))
    }
}

/// Run-time statistics of one program, from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramRuns {
    /// Name in the object, cut by the kernel at 15 bytes.
    pub program: String,
    /// Runs while statistics were on.
    pub runs: u64,
    /// Nanoseconds of those runs.
    pub run_ns: u64,
}

/// Our programs and maps in the kernel.
pub struct Kernel {
    ebpf: Ebpf,
    loaded: HashSet<&'static str>,
    layouts: Array<MapData, Block>,
    counts: PerCpuArray<MapData, u64>,
    pids: Array<MapData, u64>,
    lost: Array<MapData, u64>,
    sockets: Array<MapData, Sockets>,
    ports: Array<MapData, u64>,
    _socket_state: Option<RawTracePointLink>,
    said: Option<Said>,
}

impl Kernel {
    /// Creates the maps and opens the ring. Programs are loaded when first attached.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub fn load() -> Result<(Self, Ring), ProbeError> {
        Self::load_with_ring(RING_BYTES)
    }

    /// The same with a ring of another size, bytes: a power of two of pages.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub fn load_with_ring(bytes: u32) -> Result<(Self, Ring), ProbeError> {
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("EVENTS", bytes)
            .load(object()?)?;
        let lost = array(&mut ebpf, "LOST")?;
        let sockets = array(&mut ebpf, "SOCKETS")?;
        let ports = array(&mut ebpf, "PORT_BITS")?;
        let said = Said::open(&mut ebpf);
        let ring =
            RingBuf::try_from(take(&mut ebpf, "EVENTS")?).map_err(|source| ProbeError::Map {
                map: "EVENTS",
                source,
            })?;
        let layouts = array(&mut ebpf, "LAYOUTS")?;
        let counts = PerCpuArray::try_from(take(&mut ebpf, "COUNTS")?).map_err(|source| {
            ProbeError::Map {
                map: "COUNTS",
                source,
            }
        })?;
        let pids = array(&mut ebpf, "PIDS")?;
        let kernel = Self {
            ebpf,
            loaded: HashSet::new(),
            layouts,
            counts,
            pids,
            lost,
            sockets,
            ports,
            _socket_state: None,
            said,
        };
        Ok((kernel, Ring::new(ring)))
    }

    /// Puts a layout block into its slot.
    ///
    /// # Errors
    /// [`ProbeError::Map`] for a slot out of range.
    pub fn set_layout(&mut self, slot: u32, layout: &Layout) -> Result<(), ProbeError> {
        self.layouts
            .set(slot, Block(*layout), 0)
            .map_err(|source| ProbeError::Map {
                map: "LAYOUTS",
                source,
            })
    }

    /// Switches a slot's events off at once, before its sites are detached one by one.
    ///
    /// # Errors
    /// [`ProbeError::Map`] for a slot out of range.
    pub fn silence(&mut self, slot: u32, layout: &Layout) -> Result<(), ProbeError> {
        let mut quiet = *layout;
        quiet.flags &= !ENABLED;
        self.set_layout(slot, &quiet)
    }

    /// Attaches to the tracepoint of socket states, once.
    ///
    /// # Errors
    /// [`ProbeError::Program`] when the kernel refuses the program, [`ProbeError::Tracepoint`] the
    /// place.
    pub fn watch_sockets(&mut self, layout: &SocketLayout) -> Result<(), ProbeError> {
        let of_map = |source| ProbeError::Map {
            map: "SOCKETS",
            source,
        };
        self.sockets.set(0, Sockets(*layout), 0).map_err(of_map)?;
        let name = SOCKET_STATE.program;
        let refused = |source| ProbeError::Program {
            program: name,
            source,
        };
        let program = self.ebpf.program_mut(name).ok_or(ProbeError::Lacks(name))?;
        let program: &mut RawTracePoint = program.try_into().map_err(refused)?;
        if self.loaded.insert(name) {
            program.load().map_err(refused)?;
        }
        let attached = program
            .attach(SOCKET_STATE.name)
            .and_then(|id| program.take_link(id));
        self._socket_state = Some(attached.map_err(|source| ProbeError::Tracepoint {
            name: SOCKET_STATE.name,
            source,
        })?);
        Ok(())
    }

    /// Lets sockets of that local port make events, or stops them.
    ///
    /// # Errors
    /// [`ProbeError::Map`] when the kernel refuses.
    pub fn watch_port(&mut self, port: u16, watched: bool) -> Result<(), ProbeError> {
        let refused = |source| ProbeError::Map {
            map: "PORT_BITS",
            source,
        };
        let (row, bit) = (u32::from(port / 64), 1u64 << (port % 64));
        let word = self.ports.get(&row, 0).map_err(refused)?;
        let word = if watched { word | bit } else { word & !bit };
        self.ports.set(row, word, 0).map_err(refused)
    }

    /// No socket makes events any more; the tracepoint itself is left with everything else.
    ///
    /// # Errors
    /// [`ProbeError::Map`] when the kernel refuses.
    pub fn silence_sockets(&mut self) -> Result<(), ProbeError> {
        let off = Sockets(SocketLayout::default());
        self.sockets
            .set(0, off, 0)
            .map_err(|source| ProbeError::Map {
                map: "SOCKETS",
                source,
            })
    }

    /// Lets a process' hits through at sites with [`Scope::Chosen`], or stops them; those of the
    /// chosen that begin to listen are told.
    ///
    /// # Errors
    /// [`ProbeError::Map`] for a pid that cannot be.
    pub fn choose(&mut self, pid: u32, chosen: bool) -> Result<(), ProbeError> {
        let refused = |source| ProbeError::Map {
            map: "PIDS",
            source,
        };
        let word = self.pids.get(&(pid / 64), 0).map_err(refused)?;
        let bit = 1u64 << (pid % 64);
        let word = if chosen { word | bit } else { word & !bit };
        self.pids.set(pid / 64, word, 0).map_err(refused)
    }

    /// Attaches one site of the executable at `exe`, loading `program` if it is not yet.
    ///
    /// # Errors
    /// [`ProbeError::Program`] when the kernel refuses the program, [`ProbeError::Attach`] the site.
    pub fn attach(
        &mut self,
        planned: &PlannedSite,
        program: &'static str,
        exe: &Path,
        slot: u32,
        scope: Scope,
    ) -> Result<Attached, ProbeError> {
        let mut cookie = u64::from(slot);
        if planned.site.kind == SiteKind::StackCheckJump {
            cookie |= SITE_IS_JUMP;
        }
        if scope == Scope::Chosen {
            cookie |= FILTER_PIDS;
        }
        let point = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(planned.site.file_offset),
            cookie: Some(Cookie(cookie).0),
        };
        let scope = match scope {
            Scope::One(pid) => UProbeScope::OneProcess(pid),
            Scope::Chosen => UProbeScope::AllProcesses,
        };
        let uprobe = self.program(program)?;
        let attached = uprobe
            .attach(point, exe, scope)
            .and_then(|id| uprobe.take_link(id));
        let link = attached.map_err(|source| ProbeError::Attach {
            hook: planned.hook.name(),
            offset: planned.site.file_offset,
            source,
        })?;
        Ok(Attached {
            hook: planned.hook,
            symbol: planned.symbol,
            _link: link,
        })
    }

    fn program(&mut self, name: &'static str) -> Result<&mut UProbe, ProbeError> {
        let program = self.ebpf.program_mut(name).ok_or(ProbeError::Lacks(name))?;
        let uprobe: &mut UProbe = program.try_into().map_err(|source| ProbeError::Program {
            program: name,
            source,
        })?;
        if self.loaded.insert(name) {
            uprobe.load().map_err(|source| ProbeError::Program {
                program: name,
                source,
            })?;
        }
        Ok(uprobe)
    }

    /// From now on every exec on this host is told in the ring.
    ///
    /// # Errors
    /// [`ProbeError::Program`] where the kernel refuses: then processes have to be looked for.
    pub fn watch_starts(&mut self) -> Result<(), ProbeError> {
        starts::watch(&mut self.ebpf)
    }

    /// The loss mark as it stands: it tells of a loss that no record followed yet.
    ///
    /// # Errors
    /// [`ProbeError::Map`] when the kernel refuses.
    pub fn loss_mark(&self) -> Result<u64, ProbeError> {
        self.mark(LOST_EVENTS)
    }

    /// Changes when the start of a process could not be told.
    ///
    /// # Errors
    /// [`ProbeError::Map`] when the kernel refuses.
    pub fn starts_mark(&self) -> Result<u64, ProbeError> {
        self.mark(LOST_STARTS)
    }

    fn mark(&self, row: u32) -> Result<u64, ProbeError> {
        self.lost.get(&row, 0).map_err(|source| ProbeError::Map {
            map: "LOST",
            source,
        })
    }

    /// What programs complained of since the last time.
    pub fn complaints(&mut self) -> Vec<String> {
        self.said.as_mut().map_or_else(Vec::new, Said::take)
    }

    /// Reads all counters.
    ///
    /// # Errors
    /// [`ProbeError::Map`] when the kernel refuses.
    pub fn counters(&self) -> Result<Counters, ProbeError> {
        let rows = (0..COUNTER_ROWS)
            .map(|row| self.counts.get(&row, 0).map(|cpus| cpus.iter().sum()))
            .collect::<Result<Vec<u64>, _>>()
            .map_err(|source| ProbeError::Map {
                map: "COUNTS",
                source,
            })?;
        Ok(Counters { rows })
    }

    /// Lets the kernel measure programs while the result is kept open; `None` where it refuses.
    #[must_use]
    pub fn enable_statistics() -> Option<OwnedFd> {
        aya::sys::enable_stats(aya::sys::Stats::RunTime).ok()
    }

    /// What the kernel measured of each loaded program while statistics were on.
    #[must_use]
    pub fn program_runs(&self) -> Vec<ProgramRuns> {
        self.ebpf
            .programs()
            .filter(|(name, _)| self.loaded.contains(name))
            .filter_map(|(name, program)| {
                let info = program.info().ok()?;
                Some(ProgramRuns {
                    program: name.to_owned(),
                    runs: info.run_count(),
                    run_ns: u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX),
                })
            })
            .collect()
    }
}

fn array<V: aya::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<Array<MapData, V>, ProbeError> {
    Array::try_from(take(ebpf, name)?).map_err(|source| ProbeError::Map { map: name, source })
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, ProbeError> {
    ebpf.take_map(name).ok_or(ProbeError::Lacks(name))
}
