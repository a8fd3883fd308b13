//! `observer goroutines`: one look at all goroutines of a process, and what they amount to.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use crate::cli::goroutines::Options;
use crate::error::Error;
use crate::go::image::Image;
use crate::go::{Frame, ImageCache};
use crate::inspect::{CensusOffsets, Inspector, Runtime, ServedOffsets, served};
use crate::picture::{GroupBy, Names, Painter, Picture, Searches};
use crate::sink::Clock;
use crate::target::{MemoryError, Still};

use super::subject::{self, Target};
use super::{clock, errors, searches};

/// Goroutines looked at: above, evenly chosen ones. Each takes some hundred bytes of ours.
const LIMIT: usize = 200_000;

/// Looks once.
///
/// # Errors
/// See [`Engine::goroutines`](crate::cli::Engine::goroutines).
pub(super) fn look(options: &Options) -> Result<(Picture, Clock), Error> {
    let target = subject::open(options.pid, &mut ImageCache::default(), &[]).map_err(of_end)?;
    let min_age_ns = options
        .min_age
        .map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
    let searches = if options.references {
        let searches = searches::made(&target);
        Some(searches.map_err(|cause| of_memory(&target, cause))?)
    } else {
        None
    };
    let picture = paint(&target, (options.group_by, min_age_ns), searches)?;
    Ok((picture, clock::wall()))
}

/// Looks at all goroutines of a process that is open: by what they are grouped and for how long, ns, they have waited at
/// least; and what came of searching for references.
///
/// # Errors
/// What they look like is not known, or the process has ended meanwhile.
pub(super) fn paint(
    target: &Target,
    wanted: (GroupBy, Option<u64>),
    searches: Option<Searches>,
) -> Result<Picture, Error> {
    let pid = target.pid();
    let none = |why: String| Error::NoGoroutines { pid, why };
    let version = target.image.go_version();
    if !target.layout.is_proved() {
        let measured = target.layout.measured_on();
        return Err(none(format!(
            "what they look like in {} is not known to this observer, which knows go{measured}",
            version.raw
        )));
    }
    let offsets = target.offsets.goroutine.as_ref();
    let more = CensusOffsets::of(&target.layout, version.minor);
    let (Some(offsets), Some(more)) = (offsets, more) else {
        return Err(none(format!("the layout of {} has a gap", version.raw)));
    };
    let runtime = Runtime {
        table: &*target.image,
        offsets,
        bias: target.bias(),
        allgs: target.allgs,
        semtable: target.semtable,
    };
    let inspector = Inspector::new(&target.process.memory, runtime);
    let names = KeptNames {
        image: &target.image,
        kept: RefCell::default(),
    };
    let begun_ns = clock::now_ns();
    let requests = ServedOffsets::of(&target.layout, version.minor);
    let mut painter = Painter::new(&names, begun_ns).with(searches);
    let coverage = inspector
        .census(&more, LIMIT, |member| {
            painter.add(member, |by, frame| {
                served(&target.process.memory, &requests, by, frame).ok()?
            });
        })
        .map_err(|cause| of_memory(target, cause))?;
    let took_ns = clock::now_ns().saturating_sub(begun_ns);
    let Some(coverage) = coverage else {
        let why = target.image.allgs().err();
        return Err(none(why.map_or_else(String::new, |why| why.to_string())));
    };
    // What was read is another process's where the pid has come to mean one.
    same(target)?;
    let process = std::sync::Arc::clone(&target.unit.process);
    Ok(painter.finish(process, wanted, coverage, took_ns))
}

fn same(target: &Target) -> Result<(), Error> {
    let pid = target.pid();
    match target.process.identity.check() {
        Still::Same => Ok(()),
        Still::Ended => Err(Error::ExitedWhileRead { pid }),
        Still::Replaced => Err(Error::ProcessReplaced {
            pid,
            exe: std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default(),
        }),
    }
}

/// Nothing is attached here.
fn of_end(error: Error) -> Error {
    match error {
        Error::ProcessExited { pid } => Error::ExitedWhileRead { pid },
        other => other,
    }
}

fn of_memory(target: &Target, cause: MemoryError) -> Error {
    let pid = target.pid();
    if let Err(error) = same(target) {
        return error;
    }
    match cause {
        MemoryError::Gone => Error::ExitedWhileRead { pid },
        MemoryError::NotPermitted => errors::not_permitted(pid),
        MemoryError::Unmapped { .. } | MemoryError::Other(_) => Error::NoGoroutines {
            pid,
            why: cause.to_string(),
        },
    }
}

/// Names from the executable, each place looked up once.
struct KeptNames<'a> {
    image: &'a Image,
    kept: RefCell<FxHashMap<(u64, bool), Vec<Frame>>>,
}

impl KeptNames<'_> {
    fn get(&self, key: (u64, bool), look: impl FnOnce() -> Vec<Frame>) -> Vec<Frame> {
        let mut kept = self.kept.borrow_mut();
        kept.entry(key).or_insert_with(look).clone()
    }
}

impl Names for KeptNames<'_> {
    fn frames(&self, pc: u64) -> Vec<Frame> {
        self.get((pc, false), || self.image.frames(pc))
    }

    fn frames_at(&self, pc: u64) -> Vec<Frame> {
        self.get((pc, true), || self.image.frames_at(pc))
    }

    fn is_wrapper(&self, pc: u64) -> bool {
        self.image.is_wrapper(pc)
    }
}
