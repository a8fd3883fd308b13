//! What a goroutine comes from: a `go` statement of the program, or none.

use crate::go::Frame;

use super::Stack;

/// The function of the program's first goroutine, which calls `main.main`.
const FIRST: &str = "runtime.main";

/// What started goroutines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A `go` statement.
    Statement(&'a Frame),
    /// The beginning of the program: it is the first goroutine.
    Beginning,
    /// A thread that is not Go's: it has called a function of Go.
    Foreign,
    /// Not to be known.
    Unknown,
}

impl Stack {
    /// What started its goroutines.
    #[must_use]
    pub fn origin(&self) -> Origin<'_> {
        match (&self.started_at, &self.start) {
            (Some(at), _) => Origin::Statement(at),
            (None, Some(start)) if is_first(start) => Origin::Beginning,
            (None, Some(_)) => Origin::Unknown,
            (None, None) => Origin::Foreign,
        }
    }
}

/// Whether the program's first goroutine starts in this function. What the runtime notes as its `go` statement is
/// assembly that nobody wrote.
pub(super) fn is_first(start: &Frame) -> bool {
    &*start.function == FIRST
}
