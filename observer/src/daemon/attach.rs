//! From a process to attached probes.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::sync::Arc;

use observer_common::layout::Layout as Block;

use crate::cli::run::Options;
use crate::config::{BenchPrograms, BenchSites, IdReading};
use crate::error::{Error, Notice};
use crate::probe::{
    Groups, Kernel, Place, Plan, PlannedSite, Programs, Rate, Scope, SiteChoice, block, plan,
};
use crate::sink::Start;
use crate::target::{CodeCheck, FileId};

use super::clock;
use super::errors;
use super::sockets::Sockets;
use super::subject::{Target, not_covered};

/// A process that is being observed.
pub(super) struct Observed {
    pub(super) target: Arc<Target>,
    pub(super) slot: u32,
    pub(super) block: Block,
    /// Attached probes.
    pub(super) probes: Groups,
    /// Says to other observers that this process is watched.
    _claim: Option<UnixListener>,
}

/// Attaches to processes, one after the other.
pub(super) struct Attacher<'a> {
    pub(super) kernel: &'a mut Kernel,
    pub(super) sockets: &'a mut Sockets,
    pub(super) options: &'a Options,
    pub(super) release: &'a str,
    /// Canonical names of request ID headers, best first.
    pub(super) id_headers: Vec<String>,
    /// Processes per executable among the chosen.
    pub(super) shared: HashMap<FileId, usize>,
    next_slot: u32,
    slots: HashMap<(FileId, u64), u32>,
}

/// What came of one process.
pub(super) struct Outcome {
    pub(super) observed: Observed,
    pub(super) start: Start,
    pub(super) notices: Vec<Notice>,
}

impl<'a> Attacher<'a> {
    pub(super) fn new(
        (kernel, sockets): (&'a mut Kernel, &'a mut Sockets),
        options: &'a Options,
        release: &'a str,
        id_headers: Vec<String>,
        shared: HashMap<FileId, usize>,
    ) -> Self {
        Self {
            kernel,
            sockets,
            options,
            release,
            id_headers,
            shared,
            next_slot: 0,
            slots: HashMap::new(),
        }
    }

    /// Plans, verifies and attaches.
    ///
    /// # Errors
    /// The process is gone or replaced, nothing can be observed in it, or the kernel refuses.
    pub(super) fn attach(&mut self, target: Target) -> Result<Outcome, Error> {
        let begun_ns = clock::now_ns();
        let pid = target.pid();
        let choice = match self.options.bench.sites {
            BenchSites::Cheap => SiteChoice::Cheap,
            BenchSites::Entry => SiteChoice::Entry,
        };
        let mut plan = plan(&target.image, &target.layout, choice);
        let foreign = verify(&mut plan, &target)?;
        let mut notices = Vec::new();
        if let Some((hook, off)) = plan.blocked() {
            return Err(Error::NotGo {
                subject: crate::error::Subject::Pid(pid),
                why: format!("{} cannot be probed: {}", hook.name(), off.reason),
            });
        }
        let (in_kernel, unseen) = self
            .sockets
            .add((pid, target.unit.netns), self.kernel)
            .map_err(|e| errors::of_probe(self.release, e))?;
        let claim = claim(&target);
        if claim.is_none() {
            notices.push(Notice::SecondObserver { pid });
        } else if foreign {
            notices.push(Notice::OtherProbes { pid });
        }
        let exe_id = target.process.identity.exe;
        let sharers = self.shared.get(&exe_id).copied().unwrap_or(1);
        let key = (exe_id, target.bias());
        let known = self.slots.get(&key).copied().filter(|_| sharers > 1);
        let (slot, probes, block) = match known {
            // The executable's sites are attached for all its processes: let this one through.
            Some(slot) => (slot, Groups::default(), self.block(&target)),
            None => self.attach_sites(&plan, &target, sharers > 1)?,
        };
        self.slots.insert(key, slot);
        if sharers > 1 {
            self.kernel
                .choose(pid, true)
                .map_err(|e| errors::of_probe(self.release, e))?;
        }
        if !target.process.identity.still_same() {
            return Err(Error::ProcessExited { pid });
        }
        let mut hooks = plan.states();
        hooks.push(in_kernel);
        let mut not_covered = not_covered(&plan);
        not_covered.extend(unseen);
        let start = Start {
            time_ns: clock::now_ns(),
            process: Arc::clone(&target.unit.process),
            hooks,
            probes: u32::try_from(plan.sites().count()).unwrap_or(u32::MAX),
            attach_ns: clock::now_ns().saturating_sub(begun_ns),
            not_covered,
        };
        let target = Arc::new(target);
        let observed = Observed {
            target,
            slot,
            block,
            probes,
            _claim: claim,
        };
        Ok(Outcome {
            observed,
            start,
            notices,
        })
    }

    fn block(&self, target: &Target) -> Block {
        let wishes = block::Wishes {
            id_headers: self.id_headers.clone(),
            read_ids: self.options.request_ids.reading == IdReading::Always,
        };
        block::build(&target.image, &target.layout, target.bias(), &wishes)
    }

    fn attach_sites(
        &mut self,
        plan: &Plan,
        target: &Target,
        shared: bool,
    ) -> Result<(u32, Groups, Block), Error> {
        let pid = target.pid();
        let slot = self.next_slot;
        self.next_slot += 1;
        let block = self.block(target);
        let of_probe = |error| errors::of_probe(self.release, error);
        self.kernel.set_layout(slot, &block).map_err(of_probe)?;
        let scope = match NonZeroU32::new(pid) {
            Some(pid) if !shared => Scope::One(pid),
            _ => Scope::Chosen,
        };
        let exe = PathBuf::from(format!("/proc/{pid}/exe"));
        let programs = match self.options.bench.programs {
            BenchPrograms::Full => Programs::Full,
            BenchPrograms::Empty => Programs::Empty,
        };
        let program = |site: &PlannedSite| match programs {
            Programs::Full => block::program(site.hook, &target.image),
            Programs::Empty => "empty",
        };
        let place = Place {
            exe: &exe,
            slot,
            scope,
        };
        let mut probes = Groups::default();
        probes
            .attach(self.kernel, plan, &Rate::ALL, place, program)
            .map_err(|error| {
                if target.process.identity.still_same() {
                    errors::of_probe(self.release, error)
                } else {
                    Error::ProcessExited { pid }
                }
            })?;
        Ok((slot, probes, block))
    }
}

/// Compares each site's code in memory with the file; a site that differs is switched off. Says
/// whether somebody else has probes there.
fn verify(plan: &mut Plan, target: &Target) -> Result<bool, Error> {
    let mut foreign = false;
    for hook in &mut plan.hooks {
        let Ok(site) = &hook.outcome else { continue };
        let check = target.process.check_code(site.site.vaddr, &site.site.bytes);
        let reason = match check {
            Ok(CodeCheck::Same) => continue,
            Ok(CodeCheck::Probed) => {
                foreign = true;
                continue;
            }
            Ok(CodeCheck::Different) => "its code in memory is not what the file says".to_owned(),
            Err(_) if !target.process.identity.still_same() => {
                return Err(Error::ProcessExited { pid: target.pid() });
            }
            Err(error) => format!("its code cannot be read: {error}"),
        };
        hook.outcome = Err(crate::probe::Off {
            reason,
            harmless: false,
        });
    }
    Ok(foreign)
}

/// Takes a name in the abstract socket namespace for the process: held until we end, however.
fn claim(target: &Target) -> Option<UnixListener> {
    let process = &target.unit.process;
    let name = format!("observer/{}/{}", process.pid, process.start_ticks);
    let address = SocketAddr::from_abstract_name(name.as_bytes()).ok()?;
    UnixListener::bind_addr(&address).ok()
}
