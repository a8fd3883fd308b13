//! Loads the programs and attaches them: the kernel's side as one object.
//!
//! Nothing is pinned, so nothing of ours outlives the process, however it ends.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::path::Path;

use aya::maps::{Array, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};
use aya::programs::{ProgramError, UProbe};
use aya::{Ebpf, EbpfError, EbpfLoader};
use observer_common::hook::{COUNTER_ROWS, COUNTERS, Counter, HookId};
use observer_common::layout::{Cookie, ENABLED, FILTER_PIDS, Layout, SITE_IS_JUMP};
use observer_common::limits::RING_BYTES;

use crate::go::site::SiteKind;

use super::object::{MissingObject, object};
use super::plan::PlannedSite;
use super::ring::Ring;
use super::said::Said;

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
    _link: UProbeLink,
}

/// A layout block as a map value.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Block(Layout);

// SAFETY: `Layout` is made of integers only, without padding: 16 words of 4 bytes, then words of 8.
unsafe impl aya::Pod for Block {}

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
        let lost = Array::try_from(take(&mut ebpf, "LOST")?).map_err(|source| ProbeError::Map {
            map: "LOST",
            source,
        })?;
        let said = Said::open(&mut ebpf);
        let ring =
            RingBuf::try_from(take(&mut ebpf, "EVENTS")?).map_err(|source| ProbeError::Map {
                map: "EVENTS",
                source,
            })?;
        let layouts =
            Array::try_from(take(&mut ebpf, "LAYOUTS")?).map_err(|source| ProbeError::Map {
                map: "LAYOUTS",
                source,
            })?;
        let counts = PerCpuArray::try_from(take(&mut ebpf, "COUNTS")?).map_err(|source| {
            ProbeError::Map {
                map: "COUNTS",
                source,
            }
        })?;
        let pids = Array::try_from(take(&mut ebpf, "PIDS")?).map_err(|source| ProbeError::Map {
            map: "PIDS",
            source,
        })?;
        let kernel = Self {
            ebpf,
            loaded: HashSet::new(),
            layouts,
            counts,
            pids,
            lost,
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

    /// Lets a process' hits through at sites with [`Scope::Chosen`], or stops them.
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

    /// The loss mark as it stands: it tells of a loss that no record followed yet.
    ///
    /// # Errors
    /// [`ProbeError::Map`] when the kernel refuses.
    pub fn loss_mark(&self) -> Result<u64, ProbeError> {
        self.lost.get(&0, 0).map_err(|source| ProbeError::Map {
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

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, ProbeError> {
    ebpf.take_map(name).ok_or(ProbeError::Lacks(name))
}
