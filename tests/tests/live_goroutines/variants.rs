//! Every build of a program, some side by side: most of a case is waiting for its program.

use std::sync::Mutex;
use std::thread;

use super::target::{Variant, variants};

/// Cases at a time.
const WORKERS: usize = 3;

/// Runs a case with every variant.
pub fn variant(case: impl Fn(Variant) + Sync) {
    let left = Mutex::new(variants());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(variant) = next(&left) {
                    case(variant);
                }
            });
        }
    });
}

fn next(left: &Mutex<Vec<Variant>>) -> Option<Variant> {
    left.lock().unwrap().pop()
}
