//! Searches of a process's memory for references to what its goroutines wait on, as `observer goroutines` makes them: two,
//! some time apart, since one alone proves nothing.

use std::thread;
use std::time::Duration;

use crate::inspect::{Reach, Unsearched, confirmed};
use crate::picture::{Searched, Searches};
use crate::target::MemoryError;

use super::subject::Target;
use super::{clock, inspector};

/// Between two searches.
const APART: Duration = Duration::from_secs(1);
/// Attempts at one search: what was freed meanwhile cannot be read.
const ATTEMPTS: usize = 3;

/// Makes them. Takes a second and what two searches take; where the first finds a reference for every wait, only what that
/// one takes.
///
/// # Errors
/// The process has ended, or may not be read.
pub(super) fn made(target: &Target) -> Result<Searches, MemoryError> {
    if let Some(why) = inspector::heap_gap(target) {
        return Ok(Searches::NotMade(why));
    }
    let begun_ns = clock::now_ns();
    let first = match search(target)? {
        Ok(first) => first,
        Err(why) => return Ok(Searches::NotMade(why.to_string())),
    };
    let ended_ns = clock::now_ns();
    let took_ns = ended_ns.saturating_sub(begun_ns);
    if first.lost.is_empty() {
        return Ok(Searches::Made(Searched {
            took_ns,
            beyond: count(first.beyond),
            ..Searched::default()
        }));
    }
    thread::sleep(APART);
    let again_ns = clock::now_ns();
    let second = match search(target)? {
        Ok(second) => second,
        Err(why) => return Ok(Searches::NotMade(why.to_string())),
    };
    Ok(Searches::Made(Searched {
        took_ns: took_ns.saturating_add(clock::now_ns().saturating_sub(again_ns)),
        apart_ns: Some(again_ns.saturating_sub(ended_ns)),
        lost: confirmed(&second.lost, &first.lost).collect(),
        beyond: count(second.beyond),
    }))
}

fn search(target: &Target) -> Result<Result<Reach, Unsearched>, MemoryError> {
    for _ in 0..ATTEMPTS {
        match inspector::search(target, |_| true) {
            Some(Ok(Err(Unsearched::Unclear))) | None => {}
            Some(Err(cause)) if !cause.is_final() => {}
            Some(ended) => return ended,
        }
    }
    Ok(Err(Unsearched::Unclear))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
