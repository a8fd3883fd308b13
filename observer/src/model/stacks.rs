//! Stacks, each kept once: programs call from few places.

use std::sync::Arc;

use rustc_hash::FxHashSet;

/// Stacks kept; beyond it all are forgotten and kept anew.
const KEPT: usize = 8_192;

/// Return addresses seen before.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    known: FxHashSet<Arc<[u64]>>,
}

impl Stacks {
    /// Those of a record's `count` first addresses; a count that lies is cut.
    pub(super) fn keep<const N: usize>(&mut self, all: &[u64; N], count: u64) -> Arc<[u64]> {
        let count = usize::try_from(count).unwrap_or(0).min(N);
        let stack = all.get(..count).unwrap_or(&[]);
        if let Some(known) = self.known.get(stack) {
            return Arc::clone(known);
        }
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        let stack: Arc<[u64]> = stack.into();
        self.known.insert(Arc::clone(&stack));
        stack
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{KEPT, Stacks};

    #[test]
    fn equal_stacks_are_one() {
        let mut stacks = Stacks::default();
        let first = stacks.keep(&[7, 8, 9, 0], 3);
        assert_eq!(&*first, [7, 8, 9]);
        assert!(Arc::ptr_eq(&first, &stacks.keep(&[7, 8, 9, 5], 3)));
        assert_eq!(&*stacks.keep(&[7, 8, 9, 5], u64::MAX), [7, 8, 9, 5]);
    }

    #[test]
    fn stacks_do_not_pile_up() {
        let mut stacks = Stacks::default();
        for pc in 0..3 * KEPT as u64 {
            stacks.keep(&[pc], 1);
            assert!(stacks.known.len() <= KEPT);
        }
    }
}
