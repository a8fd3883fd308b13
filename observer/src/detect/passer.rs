//! Which frame of a stack handed a context on that cuts cancellation off.
//!
//! A helper that many handlers share is not to blame for the context that one of them passes. In
//! machine code, the type of a context is the address of an itab; the function that takes it for a
//! call is the one that wrote the word.

use crate::go::Frame;
use crate::model::{Code, Unit};

use super::site;

/// Functions of libraries that put `Background`, or the context that they are given, into what they return.
const CARRIERS: &[&str] = &[
    "net/http.NewRequest",
    "google.golang.org/grpc/metadata.AppendToOutgoingContext",
    "google.golang.org/grpc/metadata.NewOutgoingContext",
];

/// The innermost user frame of a stack in whose code the context with this itab is handed to a
/// call. `None` where no frame does, or the first that does is nobody's to change.
pub(super) fn passer(unit: &Unit, code: &dyn Code, pcs: &[u64], itab: u64) -> Option<Frame> {
    handing(unit, code, pcs, itab).map(|(passer, _)| passer)
}

/// The same function, at the line where it makes the context; where it makes several, at the line
/// of the call.
pub(super) fn maker(unit: &Unit, code: &dyn Code, pcs: &[u64], itab: u64) -> Option<Frame> {
    let (passer, mut lines) = handing(unit, code, pcs, itab)?;
    lines.retain(|line| line.function == passer.function);
    lines.dedup();
    match &mut lines[..] {
        [line] => Some(line.clone()),
        _ => Some(passer),
    }
}

/// The line that made a context with this itab which one frame of a stack made for the call that it is in. `None` where
/// no frame did, or several: then it may be another's.
pub(super) fn made(unit: &Unit, code: &dyn Code, pcs: &[u64], itab: u64) -> Option<Frame> {
    let made = pcs
        .iter()
        .map(|pc| code.made_for(unit.process.pid, *pc, itab));
    let mut made = made.filter(|frames| !frames.is_empty());
    let (only, other) = (made.next()?, made.next());
    if other.is_some() {
        return None;
    }
    site::direct(unit, &only).cloned()
}

/// The innermost frame that hands the context on, and the lines at which its code takes it.
fn handing(unit: &Unit, code: &dyn Code, pcs: &[u64], itab: u64) -> Option<(Frame, Vec<Frame>)> {
    let pid = unit.process.pid;
    let (frame, lines) = pcs.iter().find_map(|&pc| {
        let frames = code.frames(pid, pc);
        let handed = code.handed(pid, pc, itab);
        let places: Vec<_> = handed
            .iter()
            .filter(|place| !is_fallback(unit, place, &frames))
            .filter_map(|place| Some((common(&frames, place)?, place)))
            .collect();
        let (index, _) = *places.iter().min_by_key(|(index, _)| *index)?;
        let from_outside = frames.len().checked_sub(index)?;
        let lines = places
            .iter()
            .filter_map(|(_, place)| place.get(place.len().checked_sub(from_outside)?).cloned())
            .collect();
        Some((frames.get(index)?.clone(), lines))
    })?;
    site::is_user(unit, &frame.function).then_some((frame, lines))
}

/// A function of a library that was inlined, is over, and used the context for itself, as a
/// logger does that was given none.
fn is_fallback(unit: &Unit, place: &[Frame], frames: &[Frame]) -> bool {
    let writer = place.iter().find(|frame| frame.package() != "context");
    writer.is_some_and(|writer| {
        !site::is_user(unit, &writer.function)
            && !CARRIERS.contains(&&*writer.function)
            && !frames.iter().any(|frame| frame.function == writer.function)
    })
}

/// Index of the innermost frame that two places in one function have in common: the same inlined
/// call, though perhaps at another line.
fn common(frames: &[Frame], place: &[Frame]) -> Option<usize> {
    let mut common = None;
    let outward = frames.iter().enumerate().rev().zip(place.iter().rev());
    for ((index, frame), other) in outward {
        if frame.function != other.function {
            break;
        }
        common = Some(index);
        if frame != other {
            break;
        }
    }
    common
}
