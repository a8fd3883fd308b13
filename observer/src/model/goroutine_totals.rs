//! Figures about goroutines: how many there are, and how many live on after their requests.

use std::collections::BTreeMap;

/// What is known of goroutines now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GoroutineTotals {
    /// Goroutines of all observed processes, without the runtime's own, as last counted; `None` where none was.
    pub total: Option<u64>,
    /// Started for requests, since observing began.
    pub started: u64,
    /// Those of them that have ended.
    pub ended: u64,
    /// Some process is looked through, because nobody tells of its goroutines' beginnings.
    pub looks: bool,
    /// Those that live on after their requests: where looks tell of them, as last looked.
    pub outliving: u64,
    /// Of those, how many wait for what, in Go's words, as last looked at: only those that the service answers for are.
    pub waiting: BTreeMap<String, u64>,
}
