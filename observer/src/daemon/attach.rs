//! From a process to attached probes, and back.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use observer_common::hook::HookId;
use observer_common::layout::{ENABLED, Layout as Block};
use observer_common::limits::MAX_SLOTS;

use crate::cli::run::Options;
use crate::config::{BenchPrograms, BenchSites, IdReading};
use crate::detect::{Thresholds, probed};
use crate::error::{Error, Notice, Subject};
use crate::probe::{
    Groups, Kernel, Place, Plan, PlannedSite, Programs, Rate, Scope, SiteChoice, block, plan,
};
use crate::sink::Start;
use crate::target::{CodeCheck, FileId, Lease};

use super::claim::Claim;
use super::clock;
use super::detach::{Detacher, Parting};
use super::errors;
use super::subject::{Target, not_covered, without_goroutines};

/// How long shared probes wait for the next process of their executable, ns.
const IDLE_NS: u64 = 10_000_000_000;
/// Executables whose probes wait at once.
const IDLE: usize = 16;

/// A process that is being observed.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) target: Arc<Target>,
    /// Of the probes that it passes.
    slot: u32,
    /// Says to other observers that this process is watched.
    pub(super) claim: Claim,
    /// That there is another one was said.
    pub(super) is_shared: bool,
}

/// The probes of one executable: of one process, or of all that execute it.
#[derive(Debug)]
struct Sites {
    exe: FileId,
    plan: Plan,
    block: Block,
    probes: Groups,
    /// All processes of the executable pass them, and those that are chosen make events.
    shared: bool,
    /// Keeps the executable as the probes know it, and as it is mapped here, once nobody executes it any more.
    lease: Option<Lease>,
    users: usize,
    /// Since when nobody passes them, monotonic ns.
    idle_ns: u64,
}

impl Sites {
    fn is_wanted_back(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::is_wanted_back)
    }
}

/// Attaches to processes, one after the other, and lets go of them.
pub(super) struct Attacher {
    options: Options,
    release: String,
    /// Canonical names of request ID headers, best first.
    id_headers: Vec<String>,
    /// Those in which callers say how long they wait.
    deadline_headers: Vec<Arc<str>>,
    /// Processes of an executable may follow one another.
    follows: bool,
    /// Processes per executable among those chosen at the start.
    chosen: HashMap<FileId, usize>,
    sites: BTreeMap<u32, Sites>,
    shared: HashMap<FileId, u32>,
    free_slots: Vec<u32>,
    next_slot: u32,
    detacher: Detacher,
}

/// What came of one process.
pub(super) struct Outcome {
    pub(super) observed: Observed,
    pub(super) start: Start,
    pub(super) notices: Vec<Notice>,
}

impl Attacher {
    pub(super) fn new(
        options: &Options,
        release: String,
        thresholds: &Thresholds,
        follows: bool,
        chosen: HashMap<FileId, usize>,
    ) -> Self {
        Self {
            options: options.clone(),
            release,
            id_headers: thresholds.id_headers.clone(),
            deadline_headers: thresholds
                .deadline_headers
                .iter()
                .map(|header| Arc::clone(&header.name))
                .collect(),
            follows,
            chosen,
            sites: BTreeMap::new(),
            shared: HashMap::new(),
            free_slots: Vec::new(),
            next_slot: 0,
            detacher: Detacher::start(),
        }
    }

    /// Whether probes of this executable are there already: then attaching takes no time.
    pub(super) fn knows(&self, exe: FileId) -> bool {
        self.shared.contains_key(&exe)
    }

    /// Plans, verifies and attaches.
    ///
    /// # Errors
    /// The process is gone or replaced, nothing can be observed in it, or the kernel refuses.
    pub(super) fn attach(&mut self, kernel: &mut Kernel, target: Target) -> Result<Outcome, Error> {
        let begun_ns = clock::now_ns();
        let pid = target.pid();
        let mut notices = Vec::new();
        let (claim, is_shared) = Claim::take(&target.unit.process);
        let (slot, is_foreign) = match self.joined(&target)? {
            Some(slot) => (slot, false),
            None => self.attach_sites(kernel, &target)?,
        };
        if is_shared {
            notices.push(Notice::SecondObserver { pid });
        } else if is_foreign {
            notices.push(Notice::OtherProbes { pid });
        }
        let started = self.let_through(kernel, slot, pid).and_then(|plan| {
            if target.process.identity.still_same() {
                Ok(plan)
            } else {
                Err(Error::ProcessExited { pid })
            }
        });
        let tells = |plan: &Plan| plan.has(HookId::GoroutineCreate);
        let target = target.begun(started.as_ref().is_ok_and(tells));
        let observed = Observed {
            target: Arc::new(target),
            slot,
            claim,
            is_shared,
        };
        let plan = match started {
            Ok(plan) => plan,
            Err(error) => {
                self.part(kernel, &observed)?;
                return Err(error);
            }
        };
        let start = Start {
            time_ns: clock::now_ns(),
            process: Arc::clone(&observed.target.unit.process),
            hooks: plan.states(),
            probes: u32::try_from(plan.sites().count()).unwrap_or(u32::MAX),
            attach_ns: clock::now_ns().saturating_sub(begun_ns),
            not_covered: not_covered(&plan, &observed.target.layout),
        };
        Ok(Outcome {
            observed,
            start,
            notices,
        })
    }

    /// The slot of shared probes that this process passes already.
    fn joined(&mut self, target: &Target) -> Result<Option<u32>, Error> {
        let Some(slot) = self.shared.get(&target.process.identity.exe).copied() else {
            return Ok(None);
        };
        let Some(sites) = self.sites.get(&slot) else {
            return Ok(None);
        };
        if sites.is_wanted_back() || target.bias() != 0 {
            return Ok(None);
        }
        let mut plan = sites.plan.clone();
        verify(&mut plan, target)?;
        if plan == sites.plan {
            Ok(Some(slot))
        } else {
            Err(Error::BadElf {
                subject: Subject::Pid(target.pid()),
                problem: "its code in memory is not what the file says".into(),
            })
        }
    }

    /// One process more passes the probes of a slot. Gives their plan.
    fn let_through(&mut self, kernel: &mut Kernel, slot: u32, pid: u32) -> Result<Plan, Error> {
        let sites = self.sites.get_mut(&slot).ok_or(Error::Internal {
            what: "attaching without probes".into(),
            source: None,
        })?;
        sites.users += 1;
        if sites.shared {
            kernel
                .choose(pid, true)
                .map_err(|error| errors::of_probe(&self.release, error))?;
        }
        Ok(sites.plan.clone())
    }

    /// Attaches the sites of an executable. Gives their slot, and whether somebody else has probes there.
    fn attach_sites(&mut self, kernel: &mut Kernel, target: &Target) -> Result<(u32, bool), Error> {
        let choice = match self.options.bench.sites {
            BenchSites::Cheap => SiteChoice::Cheap,
            BenchSites::Entry => SiteChoice::Entry,
        };
        let mut plan = plan(&target.image, &target.layout, choice);
        if !self.options.goroutines {
            plan.leave_out(Rate::Hot, without_goroutines(&target.layout));
        }
        let is_foreign = verify(&mut plan, target)?;
        let pid = target.pid();
        if let Some((hook, off)) = plan.blocked() {
            return Err(Error::Unobservable {
                subject: Subject::Pid(pid),
                hook: hook.name(),
                why: off.reason.clone(),
            });
        }
        let exe = target.process.identity.exe;
        let lease = Lease::take(&target.process.exe).ok();
        let shared = lease.is_some() && self.may_share(target);
        let slot = self.take_slot()?;
        let block = self.block(target);
        let mut probes = Groups::default();
        let place = Place {
            exe: &PathBuf::from(format!("/proc/{pid}/exe")),
            slot,
            scope: match NonZeroU32::new(pid) {
                Some(pid) if !shared => Scope::One(pid),
                _ => Scope::Chosen,
            },
        };
        let programs = match self.options.bench.programs {
            BenchPrograms::Full => Programs::Full,
            BenchPrograms::Empty => Programs::Empty,
        };
        let program = |site: &PlannedSite| match programs {
            Programs::Full => block::program(site.hook, &target.image),
            Programs::Empty => "empty",
        };
        let attached = kernel
            .set_layout(slot, &block)
            .and_then(|()| probes.attach(kernel, &plan, &Rate::ALL, place, program));
        if let Err(error) = attached {
            self.detacher.detach(Parting {
                slot,
                probes,
                lease,
            });
            return Err(if target.process.identity.still_same() {
                errors::of_probe(&self.release, error)
            } else {
                Error::ProcessExited { pid }
            });
        }
        if shared {
            self.shared.insert(exe, slot);
        }
        let sites = Sites {
            exe,
            plan,
            block,
            probes,
            shared,
            lease,
            users: 0,
            idle_ns: 0,
        };
        self.sites.insert(slot, sites);
        Ok((slot, is_foreign))
    }

    /// Probes can be shared by all processes of an executable where its addresses are the same in each.
    fn may_share(&self, target: &Target) -> bool {
        let exe = target.process.identity.exe;
        let several = self.follows || self.chosen.get(&exe).is_some_and(|several| *several > 1);
        several && target.bias() == 0 && !self.shared.contains_key(&exe)
    }

    fn block(&self, target: &Target) -> Block {
        let wishes = block::Wishes {
            id_headers: probed(&self.id_headers).map(str::to_owned).collect(),
            deadline_headers: self.deadline_headers.clone(),
            read_ids: self.options.request_ids.reading == IdReading::Always,
            follow_goroutines: self.options.goroutines,
        };
        block::build(&target.image, &target.layout, target.bias(), &wishes)
    }

    fn take_slot(&mut self) -> Result<u32, Error> {
        while let Some(slot) = self.detacher.freed() {
            self.free_slots.push(slot);
        }
        if let Some(slot) = self.free_slots.pop() {
            return Ok(slot);
        }
        if self.next_slot >= MAX_SLOTS {
            return Err(Error::TooManyExecutables { limit: MAX_SLOTS });
        }
        self.next_slot += 1;
        Ok(self.next_slot - 1)
    }

    /// Lets go of a process that has ended or executes something else.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn part(&mut self, kernel: &mut Kernel, observed: &Observed) -> Result<(), Error> {
        kernel
            .choose(observed.target.pid(), false)
            .map_err(|error| errors::of_probe(&self.release, error))?;
        let Some(sites) = self.sites.get_mut(&observed.slot) else {
            return Ok(());
        };
        sites.users = sites.users.saturating_sub(1);
        sites.idle_ns = clock::now_ns();
        if sites.users == 0 && !(sites.shared && self.follows) {
            self.detach(kernel, observed.slot)?;
        }
        Ok(())
    }

    /// Somebody waits to overwrite an executable: whoever executed it has ended.
    pub(super) fn is_hindering(&self) -> bool {
        self.sites.values().any(Sites::is_wanted_back)
    }

    /// Detaches what nobody passes any more, and at once what somebody wants to overwrite. True when anything was.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn tick(&mut self, kernel: &mut Kernel, now_ns: u64) -> Result<bool, Error> {
        let mut idle: Vec<(u64, u32)> = Vec::new();
        let mut due: Vec<u32> = Vec::new();
        for (slot, sites) in &self.sites {
            if sites.is_wanted_back() {
                due.push(*slot);
            } else if sites.users == 0 {
                idle.push((sites.idle_ns, *slot));
            }
        }
        idle.sort_unstable();
        let excess = idle.len().saturating_sub(IDLE);
        let old = |(index, (since_ns, _)): &(usize, (u64, u32))| {
            *index < excess || now_ns.saturating_sub(*since_ns) > IDLE_NS
        };
        due.extend(
            idle.into_iter()
                .enumerate()
                .filter(old)
                .map(|(_, (_, slot))| slot),
        );
        let any = !due.is_empty();
        for slot in due {
            self.detach(kernel, slot)?;
        }
        Ok(any)
    }

    fn detach(&mut self, kernel: &mut Kernel, slot: u32) -> Result<(), Error> {
        let Some(sites) = self.sites.remove(&slot) else {
            return Ok(());
        };
        if self.shared.get(&sites.exe) == Some(&slot) {
            self.shared.remove(&sites.exe);
        }
        kernel
            .silence(slot, &sites.block)
            .map_err(|error| errors::of_probe(&self.release, error))?;
        self.detacher.detach(Parting {
            slot,
            probes: sites.probes,
            lease: sites.lease,
        });
        Ok(())
    }

    /// Tells the probes, by process and itab, which links of chains nothing is asked beyond.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn note_nodes(
        &mut self,
        kernel: &mut Kernel,
        observed: &[Observed],
        nodes: Vec<(u32, u64)>,
    ) -> Result<(), Error> {
        for (pid, itab) in nodes {
            let of = observed.iter().find(|of| of.target.pid() == pid);
            let Some((slot, sites)) =
                of.and_then(|of| Some((of.slot, self.sites.get_mut(&of.slot)?)))
            else {
                continue;
            };
            if block::note_node(&mut sites.block, itab) {
                kernel
                    .set_layout(slot, &sites.block)
                    .map_err(|error| errors::of_probe(&self.release, error))?;
            }
        }
        Ok(())
    }

    /// Switches all events off at once, before the sites are detached one by one.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn silence(&mut self, kernel: &mut Kernel) -> Result<(), Error> {
        for (slot, sites) in &mut self.sites {
            sites.block.flags &= !ENABLED;
            kernel
                .set_layout(*slot, &sites.block)
                .map_err(|error| errors::of_probe(&self.release, error))?;
        }
        Ok(())
    }

    /// Detaches everything; the end of the attacher waits for that.
    pub(super) fn detach_all(mut self) {
        for (slot, sites) in std::mem::take(&mut self.sites) {
            self.detacher.detach(Parting {
                slot,
                probes: sites.probes,
                lease: sites.lease,
            });
        }
    }
}

/// Compares each site's code in memory with the file; a site that differs is switched off. Says
/// whether there are probes already.
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
    plan.keep_together();
    Ok(foreign)
}
