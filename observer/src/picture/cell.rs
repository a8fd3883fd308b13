//! The same things counted once: stacks, and goroutines that differ in nothing that is told of them.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::go::Frame;
use crate::inspect::{Goroutine, ServedBy, StackState, Status};

use super::frames::{self, Names};

/// Return addresses kept of all stacks together: 16 MiB. What comes then is counted without its stack.
const MAX_ADDRESSES: usize = 2 << 20;

/// Different stacks.
#[derive(Default)]
pub(super) struct Stacks {
    known: FxHashMap<Place, u32>,
    all: Vec<Interned>,
    addresses: usize,
    traits: FxHashMap<u64, Traits>,
}

/// A stack, and the first instruction of the goroutine's function where it has not begun; else 0.
type Place = (u64, Arc<[u64]>);

struct Interned {
    place: Place,
    traits: Traits,
}

/// What matters of a stack as a whole.
#[derive(Clone, Copy, Default)]
struct Traits {
    serves: bool,
    users: bool,
    /// The innermost frame that tells which request is served, by its place in the stack.
    tells: Option<(usize, ServedBy)>,
}

/// The stack of goroutines that have none: they run, or there were too many stacks.
const NO_STACK: u32 = u32::MAX;

impl Stacks {
    /// The number of a stack. `start` tells a goroutine that has not begun from one that is at a call.
    pub(super) fn intern(&mut self, pcs: &[u64], start: u64, names: &dyn Names) -> u32 {
        if pcs.is_empty() {
            return NO_STACK;
        }
        // Only the innermost address can be the function's first.
        let start = if pcs.first() == Some(&start) {
            start
        } else {
            0
        };
        let place: Place = (start, Arc::from(pcs));
        if let Some(&known) = self.known.get(&place) {
            return known;
        }
        let Ok(number) = u32::try_from(self.all.len()) else {
            return NO_STACK;
        };
        if self.addresses.saturating_add(pcs.len()) > MAX_ADDRESSES {
            return NO_STACK;
        }
        self.addresses += pcs.len();
        let mut traits = Traits::default();
        for (index, &pc) in pcs.iter().enumerate() {
            let of_frame = self.traits.entry(pc).or_insert_with(|| {
                let frames = names.frames(pc);
                Traits {
                    serves: frames::serves(&frames),
                    users: frames::is_users(&frames),
                    tells: frames::tells(&frames).map(|by| (0, by)),
                }
            });
            traits.serves |= of_frame.serves;
            traits.users |= of_frame.users;
            traits.tells = traits.tells.or(of_frame.tells.map(|(_, by)| (index, by)));
        }
        self.all.push(Interned {
            place: place.clone(),
            traits,
        });
        self.known.insert(place, number);
        number
    }

    fn get(&self, stack: u32) -> Option<&Interned> {
        self.all.get(usize::try_from(stack).ok()?)
    }

    /// What Go's own dump would show of a stack; nothing for one that is not known.
    pub(super) fn frames(&self, stack: u32, names: &dyn Names) -> Vec<Frame> {
        self.get(stack).map_or_else(Vec::new, |one| {
            let (start, pcs) = &one.place;
            frames::shown(frames::expand(names, pcs, *start))
        })
    }

    /// Whether a request is served on it.
    pub(super) fn serves(&self, stack: u32) -> bool {
        self.get(stack).is_some_and(|one| one.traits.serves)
    }

    /// The frame of it that tells which request is served.
    pub(super) fn tells(&self, stack: u32) -> Option<(usize, ServedBy)> {
        self.get(stack)?.traits.tells
    }

    /// Whether code outside of the runtime is on it.
    pub(super) fn is_users(&self, stack: u32) -> bool {
        self.get(stack).is_some_and(|one| one.traits.users)
    }
}

/// What goroutines of one cell have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Cell {
    pub(super) stack: u32,
    pub(super) status: Status,
    pub(super) wait_reason: Option<Arc<str>>,
    pub(super) gopc: u64,
    pub(super) startpc: u64,
    pub(super) cut: bool,
}

/// Different cells.
#[derive(Default)]
pub(super) struct Cells {
    known: FxHashMap<Cell, u32>,
    pub(super) all: Vec<Cell>,
}

impl Cells {
    pub(super) fn of(&mut self, seen: &Goroutine, stack: u32) -> u32 {
        let cell = Cell {
            stack,
            status: seen.status,
            wait_reason: seen.wait_reason.clone(),
            gopc: seen.gopc,
            startpc: seen.startpc,
            cut: seen.stack_state == StackState::Cut,
        };
        if let Some(&known) = self.known.get(&cell) {
            return known;
        }
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(cell.clone());
        self.known.insert(cell, number);
        number
    }
}
