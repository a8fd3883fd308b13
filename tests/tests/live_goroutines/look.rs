//! The library's own look at a target, for what the command does not print of every goroutine.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use observer::finding::ProcessInfo;
use observer::go::Frame;
use observer::go::image::Image;
use observer::inspect::{CensusOffsets, Coverage, Goroutine, Member, StackTable};
use observer::picture::{GroupBy, Names, Painter, Picture, Stack};

use super::target::Target;

/// Every goroutine.
pub struct Look {
    pub members: Vec<Member>,
    pub coverage: Coverage,
}

/// The executable's names, each looked up once.
pub struct ImageNames<'a> {
    image: &'a Image,
    kept: RefCell<HashMap<(u64, bool), Vec<Frame>>>,
}

impl<'a> ImageNames<'a> {
    pub fn of(target: &'a Target) -> Self {
        Self {
            image: &target.image,
            kept: RefCell::default(),
        }
    }
}

impl Names for ImageNames<'_> {
    fn frames(&self, pc: u64) -> Vec<Frame> {
        let mut kept = self.kept.borrow_mut();
        let look = || self.image.frames(pc);
        kept.entry((pc, false)).or_insert_with(look).clone()
    }

    fn frames_at(&self, pc: u64) -> Vec<Frame> {
        let mut kept = self.kept.borrow_mut();
        let look = || self.image.frames_at(pc);
        kept.entry((pc, true)).or_insert_with(look).clone()
    }

    fn is_wrapper(&self, pc: u64) -> bool {
        self.image.is_wrapper(pc)
    }
}

pub fn look(target: &Target) -> Look {
    let minor = target.image.go_version().minor;
    let offsets = CensusOffsets::of(&target.layout, minor).unwrap();
    let mut members = Vec::new();
    let coverage = target
        .inspector()
        .census(&offsets, usize::MAX, |member| members.push(member))
        .unwrap()
        .unwrap();
    Look { members, coverage }
}

fn paint<'a>(
    names: &ImageNames<'_>,
    members: impl Iterator<Item = &'a Member>,
    coverage: Coverage,
) -> Picture {
    let mut painter = Painter::new(names, monotonic_ns());
    members.for_each(|member| painter.add(member.clone(), |_, _| None));
    let process = Arc::new(ProcessInfo {
        pid: 0,
        start_ticks: 0,
        name: String::new(),
        exe: String::new(),
        build_id: String::new(),
        go: String::new(),
        module: String::new(),
        main_package: String::new(),
    });
    painter.finish(process, (GroupBy::Stack, None), coverage, 0)
}

/// What one goroutine amounts to; `None` for one of the runtime's.
pub fn one(names: &ImageNames<'_>, member: &Member) -> Option<Stack> {
    let picture = paint(names, std::iter::once(member), Coverage::default());
    let group = picture.groups.into_iter().next()?;
    group.stacks.into_iter().next()
}

impl Look {
    /// What all amount to.
    pub fn paint(&self, target: &Target) -> Picture {
        paint(&ImageNames::of(target), self.members.iter(), self.coverage)
    }
}

fn monotonic_ns() -> u64 {
    let now = nix::time::ClockId::CLOCK_MONOTONIC.now().unwrap();
    let seconds = u64::try_from(now.tv_sec()).unwrap();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap()
}

/// Functions that come between any two instructions of another.
const INTERRUPTING: [&str; 3] = [
    "runtime.asyncPreempt",
    "runtime.sigpanic",
    "runtime.morestack",
];

/// Whether a stack can be: each frame is at a call, of the function inside of it where the call names one, and the
/// outermost is of the function that the goroutine was started with.
/// `known` holds pairs of frames that were found to be right.
pub fn is_sound(
    target: &Target,
    goroutine: &Goroutine,
    known: &mut BTreeSet<(u64, u64)>,
) -> Result<(), String> {
    let image = &target.image;
    let name = |pc: u64| image.function_at(pc).map_or("", |function| function.name);
    let stack = &goroutine.stack;
    let mut interrupted = false;
    for pair in stack.windows(2) {
        let (inner, outer) = (pair[0], pair[1]);
        // What was interrupted is not at a call.
        let exact = interrupted || inner == goroutine.startpc;
        interrupted = INTERRUPTING.contains(&name(inner - 1));
        if known.contains(&(inner, outer)) {
            continue;
        }
        let callee = image.function_at(if exact { inner } else { inner - 1 });
        let callee = callee.ok_or_else(|| format!("{inner:#x} is in no function"))?;
        if INTERRUPTING.contains(&callee.name) {
            continue;
        }
        let call = image.call_before(outer);
        let call =
            call.ok_or_else(|| format!("no call returns to {outer:#x} in {}", name(outer)))?;
        // Assembly is called by way of a wrapper of the same name.
        if let Some(entry) = call.callee
            && name(entry) != callee.name
            && !is_between(name(entry))
        {
            return Err(format!(
                "{} calls {}, not {}",
                name(outer - 1),
                name(entry),
                callee.name
            ));
        }
        known.insert((inner, outer));
    }
    let outermost = *stack.last().ok_or("no frame at all")?;
    let at = name(if outermost == goroutine.startpc {
        outermost
    } else {
        outermost - 1
    });
    // One on its way out has left its own function.
    if at != "runtime.goexit1" && at != name(goroutine.startpc) {
        return Err(format!(
            "it ends in {at}, not in {}",
            name(goroutine.startpc)
        ));
    }
    Ok(())
}

/// Functions that jump to another one instead of calling it.
fn is_between(callee: &str) -> bool {
    [
        "runtime.systemstack",
        "runtime.mcall",
        "runtime.reflectcall",
    ]
    .contains(&callee)
}
