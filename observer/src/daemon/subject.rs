//! One process or file understood: what `ps`, `check` and `run` have in common.

use std::fs::File;
use std::os::unix::fs::FileTypeExt as _;
use std::sync::Arc;

use observer_common::hook::HookId;

use crate::error::{Error, Subject};
use crate::finding::{HookState, ProcessInfo};
use crate::go::grpc::GRPC;
use crate::go::{Image, ImageCache, ImageError, Layout};
use crate::inspect::{
    AllGs, ConnOffsets, ContextOffsets, GOffsets, HeapOffsets, LocalOffsets, MapKind,
    OutgoingOffsets, ROUND_TRIP, RequestOffsets, ResponseOffsets, Roots, SemTable, SocketOffsets,
};
use crate::model::{Older, Unit};
use crate::probe::{Plan, Rate, SiteChoice, plan};
use crate::sink::{Start, StopReason};
use crate::target::{Process, Still, list_go, netns};

use super::clock;
use super::sockets;
use super::{errors, inspector};

/// What observer can read of a process, by its Go version.
#[derive(Debug)]
pub(super) struct Offsets {
    pub(super) goroutine: Option<GOffsets>,
    pub(super) request: Option<RequestOffsets>,
    pub(super) conn: Option<ConnOffsets>,
    pub(super) context: Option<ContextOffsets>,
    pub(super) local: Option<LocalOffsets>,
    pub(super) outgoing: Option<OutgoingOffsets>,
    pub(super) response: Option<ResponseOffsets>,
    /// `http.response.conn`.
    pub(super) response_conn: Option<u32>,
    /// `http.response.wroteHeader`.
    pub(super) response_begun: Option<u32>,
    /// The transport's connections.
    pub(super) socket: Option<SocketOffsets>,
    /// The heap; only where this Go version's is known for sure.
    pub(super) heap: Option<HeapOffsets>,
    /// Where its callers wait: the first instruction of [`ROUND_TRIP`], load bias taken off.
    pub(super) round_trip: Option<u64>,
}

impl Offsets {
    fn of(image: &Image, layout: &Layout) -> Self {
        let minor = image.go_version().minor;
        let map = MapKind::of(minor, image.build_setting("GOEXPERIMENT"));
        Self {
            goroutine: GOffsets::of(layout),
            request: RequestOffsets::of(layout, map),
            conn: ConnOffsets::of(layout),
            context: ContextOffsets::of(layout, minor, map),
            local: LocalOffsets::of(layout),
            outgoing: OutgoingOffsets::of(layout),
            response: ResponseOffsets::of(layout, map, serves_http2_of_its_own(image)),
            response_conn: layout.field("net/http.response", "conn"),
            response_begun: layout.field("net/http.response", "wroteHeader"),
            socket: SocketOffsets::of(layout),
            heap: HeapOffsets::of(layout).filter(|_| layout.is_proved()),
            round_trip: match image.functions(ROUND_TRIP) {
                [only] => Some(only.entry),
                _ => None,
            },
        }
    }
}

/// Whether `golang.org/x/net/http2` is linked as a server: its writers are laid out by its own version.
fn serves_http2_of_its_own(image: &Image) -> bool {
    let ends = "golang.org/x/net/http2.(*responseWriter).handlerDone";
    !image.functions(ends).is_empty()
}

/// The hook that is the kernel's own, and what stays unseen where it is off.
type InKernel = (HookState, Option<String>);

/// Goroutines that are told apart by number; of more, all up to the highest count as old.
const OLDER: usize = 1 << 16;

/// A process that is or could be observed.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) process: Process,
    pub(super) image: Arc<Image>,
    pub(super) layout: Layout,
    pub(super) offsets: Offsets,
    pub(super) allgs: Option<AllGs>,
    pub(super) semtable: Option<SemTable>,
    pub(super) roots: Option<Roots>,
    pub(super) unit: Arc<Unit>,
    /// When it was looked at, monotonic ns: an exec before then led to it.
    opened_ns: u64,
}

impl Target {
    /// Pid as the kernel's probes name it.
    pub(super) fn pid(&self) -> u32 {
        self.unit.process.pid
    }

    /// What an exec of its pid at `at_ns` made of it; `None` where that exec was its own beginning.
    pub(super) fn outlived_by(&self, at_ns: u64) -> Option<StopReason> {
        if at_ns < self.opened_ns {
            return None;
        }
        match self.process.identity.check() {
            Still::Same => None,
            Still::Replaced => Some(StopReason::Replaced),
            Still::Ended => Some(StopReason::Ended),
        }
    }

    /// Its hits are seen from now on: which goroutines may have been there before?
    /// Where nobody tells of its goroutines, they are looked through.
    pub(super) fn begun(self, is_told: bool) -> Self {
        let older = match inspector::goids(&self) {
            Some(all) if all.len() <= OLDER => Older::These(all.into()),
            Some(all) => Older::UpTo(all.last().copied().unwrap_or_default()),
            None => Older::UpTo(u64::MAX),
        };
        let says_who = |of: &GOffsets| of.parent_goid.is_some();
        let unit = Unit {
            older,
            is_looked_through: !is_told && self.offsets.goroutine.as_ref().is_some_and(says_who),
            ..(*self.unit).clone()
        };
        Self {
            unit: Arc::new(unit),
            ..self
        }
    }

    /// Load bias.
    pub(super) const fn bias(&self) -> u64 {
        self.process.mapping.bias
    }
}

/// Opens a process.
///
/// # Errors
/// Whatever keeps it from being observed.
pub(super) fn open(pid: u32, cache: &mut ImageCache, own: &[String]) -> Result<Target, Error> {
    let opened_ns = clock::now_ns();
    let signed = i32::try_from(pid).map_err(|_| Error::NoSuchProcess { pid })?;
    let process = Process::open(signed).map_err(|error| errors::of_target(pid, error))?;
    let subject = Subject::Pid(pid);
    let image = cache
        .get(&process.exe)
        .map_err(|error| errors::of_image(subject.clone(), error))?;
    let layout = Layout::for_version(image.go_version())
        .map_err(|error| errors::of_layout(subject, &image, &error))?;
    let layout = layout.with_grpc(image.dependency(GRPC));
    let bias = process.mapping.bias;
    let allgs = AllGs::of(&image, bias);
    let semtable = SemTable::of(&image, bias);
    let roots = Roots::of(&image, bias);
    let info = ProcessInfo {
        pid,
        start_ticks: process.identity.start_ticks,
        exe: process.exe_path.display().to_string(),
        ..describe(&image, &process.name)
    };
    let unit = Arc::new(Unit {
        netns: netns(pid).unwrap_or(0),
        ..unit(&image, info, own)
    });
    let offsets = Offsets::of(&image, &layout);
    Ok(Target {
        process,
        image,
        layout,
        offsets,
        allgs,
        semtable,
        roots,
        unit,
        opened_ns,
    })
}

fn unit(image: &Image, process: ProcessInfo, own: &[String]) -> Unit {
    Unit {
        process: Arc::new(process),
        go_minor: image.go_version().minor,
        own: image.own_modules().iter().chain(own).cloned().collect(),
        netns: 0,
        older: Older::UpTo(u64::MAX),
        is_looked_through: false,
    }
}

/// What a file alone says; its name is the last element of the main package's path.
fn describe(image: &Image, fallback: &str) -> ProcessInfo {
    let last = image.main_package().rsplit('/').next().unwrap_or_default();
    let name = if last.is_empty() || last == "command-line-arguments" {
        fallback
    } else {
        last
    };
    ProcessInfo {
        pid: 0,
        start_ticks: 0,
        name: name.to_owned(),
        exe: String::new(),
        build_id: image.build_id().to_owned(),
        go: image.go_version().raw.clone(),
        module: image.module().to_owned(),
        main_package: image.main_package().to_owned(),
    }
}

/// What stays unseen where a goroutine does not say who started it (Go ≤ 1.20).
const NO_PARENTS: &str = "work of goroutines that a handler starts, http.TimeoutHandler's included (before Go 1.21 nothing says whose they are)";

/// What stays unseen where goroutines are not followed.
pub(super) fn without_goroutines(layout: &Layout) -> &'static str {
    if says_who_started_it(layout) {
        "of some goroutines, which request they outlive (told with --goroutines)"
    } else {
        "goroutines that outlive their requests (followed with --goroutines)"
    }
}

/// The same, where the hooks cannot be had.
const LOOKS_INSTEAD: &str =
    "of some goroutines, which request they outlive (looks stand in for the hooks)";

fn says_who_started_it(layout: &Layout) -> bool {
    layout.field("runtime.g", "parentGoid").is_some()
}

/// What the hooks that are off, and what this Go does not keep, leave unseen.
pub(super) fn not_covered(plan: &Plan, layout: &Layout) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    for hook in plan.told() {
        if let Err(off) = &hook.outcome {
            let reason = if off.harmless {
                off.reason.clone()
            } else {
                format!("{} ({})", hook.hook.name(), off.reason)
            };
            // A hook that this Go version does not need leaves nothing unseen.
            if !reasons.contains(&reason) && !reason.starts_with("not needed") {
                reasons.push(reason);
            }
        }
    }
    if !says_who_started_it(layout) {
        reasons.push(NO_PARENTS.to_owned());
    } else if plan.lacks(HookId::GoroutineCreate) {
        reasons.push(LOOKS_INSTEAD.to_owned());
    }
    reasons
}

fn start(plan: &Plan, layout: &Layout, process: Arc<ProcessInfo>, kernel: &InKernel) -> Start {
    let (state, lacks) = kernel;
    let mut hooks = plan.states();
    let only_asked_for = |hook: &&mut HookState| hook.on && hook.rate == Rate::Hot.as_str();
    for hook in hooks.iter_mut().filter(only_asked_for) {
        let with = "with --goroutines";
        hook.reason = Some(match says_who_started_it(layout) {
            true => format!("{with}; without, by looks at all goroutines"),
            false => with.to_owned(),
        });
    }
    hooks.push(state.clone());
    let mut not_covered = not_covered(plan, layout);
    not_covered.extend(lacks.clone());
    Start {
        time_ns: clock::now_ns(),
        process,
        hooks,
        probes: 0,
        attach_ns: 0,
        not_covered,
    }
}

/// All Go processes that can be seen.
///
/// # Errors
/// `/proc` cannot be read.
pub(super) fn processes() -> Result<Vec<Start>, Error> {
    let listed = list_go().map_err(|error| errors::of_target(0, error))?;
    let mut cache = ImageCache::default();
    let kernel = sockets::examine();
    let mut starts: Vec<Start> = listed
        .iter()
        .filter_map(|found| u32::try_from(found.pid).ok())
        // One that ends meanwhile, or is too old, is not there to be observed.
        .filter_map(|pid| open(pid, &mut cache, &[]).ok())
        .map(|target| {
            let plan = plan(&target.image, &target.layout, SiteChoice::Cheap);
            start(
                &plan,
                &target.layout,
                Arc::clone(&target.unit.process),
                &kernel,
            )
        })
        .collect();
    starts.sort_by_key(|start| start.process.pid);
    Ok(starts)
}

/// What could be observed of a process or a file.
///
/// # Errors
/// It is not there, not Go, too old or unreadable.
pub(super) fn examine(subject: &Subject) -> Result<Start, Error> {
    let kernel = sockets::examine();
    match subject {
        Subject::Pid(pid) => {
            let target = open(*pid, &mut ImageCache::default(), &[])?;
            let plan = plan(&target.image, &target.layout, SiteChoice::Cheap);
            Ok(start(
                &plan,
                &target.layout,
                Arc::clone(&target.unit.process),
                &kernel,
            ))
        }
        Subject::Path(path) => {
            let unreadable = |source| Error::Unreadable {
                what: "executable",
                path: path.clone(),
                source,
            };
            // Opening a pipe waits for its writer.
            if path.metadata().map_err(unreadable)?.file_type().is_fifo() {
                return Err(errors::of_image(subject.clone(), ImageError::NotElf));
            }
            let file = File::open(path).map_err(unreadable)?;
            let image =
                Image::open(&file).map_err(|error| errors::of_image(subject.clone(), error))?;
            let layout = Layout::for_version(image.go_version())
                .map_err(|error| errors::of_layout(subject.clone(), &image, &error))?;
            let layout = layout.with_grpc(image.dependency(GRPC));
            let fallback = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            let mut info = describe(&image, fallback.as_deref().unwrap_or_default());
            info.exe = path.display().to_string();
            Ok(start(
                &plan(&image, &layout, SiteChoice::Cheap),
                &layout,
                Arc::new(info),
                &kernel,
            ))
        }
    }
}
