//! Which functions calls name, remembered by where they return to.
//!
//! To find a call, its whole function has to be decoded, some thousand instructions of which no more than one matters; and
//! the same stacks are looked at again and again.

use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashMap;

/// Calls remembered, each some tens of bytes; beyond it all are forgotten.
const KEPT: usize = 1 << 13;

/// By return address; `None` for a call through a pointer, and where no call returns to.
#[derive(Debug, Default)]
pub(super) struct Callees(Mutex<FxHashMap<u64, Option<u64>>>);

impl Callees {
    /// What the call that returns to an address names, which is decoded if it is not remembered.
    pub(super) fn get(
        &self,
        return_address: u64,
        decode: impl FnOnce() -> Option<u64>,
    ) -> Option<u64> {
        // Whoever panicked while holding it has not left half of an answer.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(callee) = known.get(&return_address) {
            return *callee;
        }
        if known.len() >= KEPT {
            known.clear();
        }
        let callee = decode();
        known.insert(return_address, callee);
        callee
    }
}

#[cfg(test)]
mod tests {
    use super::{Callees, KEPT};

    #[test]
    fn each_call_is_decoded_once() {
        let callees = Callees::default();
        for (place, callee) in [(0x10, Some(0x100)), (0x20, None)] {
            assert_eq!(callees.get(place, || callee), callee);
            let again = callees.get(place, || unreachable!("it is remembered"));
            assert_eq!(again, callee);
        }
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let callees = Callees::default();
        for place in 0..u64::try_from(3 * KEPT).unwrap() {
            assert_eq!(callees.get(place, || Some(place + 1)), Some(place + 1));
            assert!(callees.0.lock().unwrap().len() <= KEPT);
        }
        let last = u64::try_from(3 * KEPT).unwrap() - 1;
        assert_eq!(callees.get(last, || None), Some(last + 1));
    }
}
