//! Where code takes an address for a call: its own, or through a function that would be inlined were it optimised.

use std::collections::BTreeSet;

use super::Image;
use crate::go::Frame;
use crate::go::isa::StandIns;

/// Functions of the standard library that return what they take.
const GIVERS: [&str; 3] = [
    "context.Background",
    "context.TODO",
    "context.WithoutCancel",
];
/// Those that hand on what they take.
const CARRIERS: [&str; 1] = ["net/http.NewRequest"];

impl Image {
    /// Where the function around the call that returns to `return_address` takes the address
    /// `wanted` for a call, up to that one: the logical frames of each place, innermost first. Where
    /// it is an itab, and the function itself makes the value that goes with it, it is the places
    /// where it makes one: where its type is handed to the allocator.
    #[must_use]
    pub fn handed(&self, return_address: u64, wanted: u64) -> Vec<Vec<Frame>> {
        let places = |wanted| -> Option<Vec<u64>> {
            let function = self.function_at(return_address.checked_sub(1)?)?;
            let code = self.code(function.entry, function.end)?;
            let mut others = self.stand_ins(wanted);
            let wrappers = self.wrappers(code, function.entry, &others.give);
            others.give.extend(wrappers);
            let places = self.elf.isa.handed(code, function.entry, wanted, &others);
            let places = places.iter().map(|handing| handing.at);
            let places: Vec<u64> = places.filter(|&place| place < return_address).collect();
            Some(places).filter(|places| !places.is_empty())
        };
        let handed = places(wanted);
        let made = handed
            .as_ref()
            .and_then(|_| places(self.itab_type_vaddr(wanted)?));
        let mut frames: Vec<Vec<Frame>> = made
            .or(handed)
            .unwrap_or_default()
            .into_iter()
            .map(|place| self.frames_at(place))
            .collect();
        frames.dedup();
        frames
    }

    /// Where the function around the call that returns to `return_address` makes what it hands to that very call as an
    /// interface with this itab: the logical frames, innermost first. Empty where it hands it no such thing, and where
    /// it makes any in several places.
    #[must_use]
    pub fn made_for(&self, return_address: u64, itab: u64) -> Vec<Frame> {
        self.making(return_address, itab)
            .map(|place| self.frames_at(place))
            .unwrap_or_default()
    }

    fn making(&self, return_address: u64, itab: u64) -> Option<u64> {
        let function = self.function_at(return_address.checked_sub(1)?)?;
        let code = self.code(function.entry, function.end)?;
        let isa = self.elf.isa;
        let handed = isa.handed(code, function.entry, itab, &self.stand_ins(itab));
        let mut for_call = handed
            .iter()
            .filter(|handing| handing.back == return_address);
        for_call.next()?;
        let made = if isa.takes(code, function.entry, itab) {
            // It makes the value, which is where its type goes to the allocator.
            let kind = self.itab_type_vaddr(itab)?;
            isa.handed(code, function.entry, kind, &StandIns::default())
        } else {
            handed
        };
        match made.as_slice() {
            [only] => Some(only.at),
            _ => None,
        }
    }

    /// Which functions stand for `wanted` in the code of those that call them.
    fn stand_ins(&self, wanted: u64) -> StandIns {
        let isa = self.elf.isa;
        let mut found = StandIns::default();
        for function in GIVERS.iter().flat_map(|name| self.functions(name)) {
            let code = self.code(function.entry, function.end);
            if code.is_some_and(|code| isa.takes(code, function.entry, wanted)) {
                found.give.push(function.entry);
            }
        }
        for function in CARRIERS.iter().flat_map(|name| self.functions(name)) {
            let code = self.code(function.entry, function.end);
            let hands = |code| !isa.handed(code, function.entry, wanted, &found).is_empty();
            if code.is_some_and(hands) {
                found.carry.push(function.entry);
            }
        }
        found
    }

    /// Which functions that this one calls return what one of `givers` gives them.
    fn wrappers(&self, code: &[u8], entry: u64, givers: &[u64]) -> Vec<u64> {
        if givers.is_empty() {
            return Vec::new();
        }
        let isa = self.elf.isa;
        let calls = isa.calls(code, entry);
        let callees: BTreeSet<u64> = calls.into_iter().filter_map(|(_, callee)| callee).collect();
        let wraps = |callee: &u64| {
            let function = self.function_at(*callee)?;
            let code = self.code(function.entry, function.end)?;
            Some(isa.returns_of(code, function.entry, givers))
        };
        callees
            .into_iter()
            .filter(|callee| wraps(callee) == Some(true))
            .collect()
    }

    /// The code of a function, by its first address and the one behind its last.
    pub(super) fn code(&self, entry: u64, end: u64) -> Option<&[u8]> {
        self.bytes(entry, usize::try_from(end.checked_sub(entry)?).ok()?)
    }
}
