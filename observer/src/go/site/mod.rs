//! Where in a function to probe, so that the kernel emulates the instruction and each call
//! hits once.
//!
//! Pure: works on bytes it is handed. Knows no hook; which function and what is wanted of it
//! is the caller's.

#[cfg(test)]
mod tests;

use crate::go::image::Function;
use crate::go::isa::Isa;

/// What an event needs to happen at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The function was called; its arguments are in their registers.
    AfterStackCheck,
    /// The function's one direct call of another, just before it is made.
    DirectCall {
        /// Virtual address of the callee's entry.
        callee: u64,
    },
}

/// The instruction to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Virtual address, before relocation.
    pub vaddr: u64,
    /// Offset in the file, as a uprobe wants it.
    pub file_offset: u64,
    /// What the instruction is, which decides its cost and how a hit is read.
    pub kind: SiteKind,
    /// The instruction's bytes: what must be there in the file when the probe is attached.
    pub bytes: Box<[u8]>,
}

/// The kinds of instruction that get probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SiteKind {
    /// The push of the frame pointer: emulated, once per call.
    Push,
    /// The conditional jump of the stack check: emulated; a hit with the jump taken is a
    /// retry after the stack has grown and does not count.
    StackCheckJump,
    /// A direct call: emulated, once per call.
    Call,
    /// The function's first instruction: single-stepped by the kernel, about ten times the
    /// cost of the others.
    Entry,
}

/// Why a function has no site of the wanted sort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoSite {
    /// The function's code is not in an executable segment of the file.
    #[error("its code is not in the file")]
    NoCode,
    /// The function begins with instructions that are none of the known prologues.
    #[error("unexpected prologue: {0}")]
    Prologue(&'static str),
    /// The first instruction is also the target of a jump, so hits would not be calls.
    #[error("its entry is the head of a loop")]
    LoopsToEntry,
    /// The function does not call the callee directly.
    #[error("no direct call of the callee")]
    NoCall,
    /// The function calls the callee from several places.
    #[error("{0} direct calls of the callee")]
    SeveralCalls(usize),
}

/// A site without its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Bytes from the function's entry.
    pub(crate) offset: usize,
    pub(crate) kind: SiteKind,
    /// Length of the instruction.
    pub(crate) length: usize,
}

/// Code to look at: an executable, or bytes in a test.
pub trait CodeSource {
    /// `len` bytes of code at a virtual address.
    fn code(&self, vaddr: u64, len: usize) -> Option<&[u8]>;
    /// File offset of a byte of code.
    fn code_offset(&self, vaddr: u64) -> Option<u64>;
    /// The machine whose code it is.
    #[doc(hidden)]
    #[expect(
        private_interfaces,
        reason = "machines are not for callers to implement"
    )]
    fn isa(&self) -> &'static dyn Isa;
}

/// Finds the site, or says why there is none that is certain.
///
/// # Errors
/// When the code is missing, is no known prologue, or leaves a choice.
pub fn find_site(
    source: &dyn CodeSource,
    function: &Function,
    wanted: Wanted,
) -> Result<Site, NoSite> {
    let length = function.end.saturating_sub(function.entry);
    let code = usize::try_from(length)
        .ok()
        .and_then(|length| source.code(function.entry, length))
        .ok_or(NoSite::NoCode)?;
    let isa = source.isa();
    let candidate = match wanted {
        Wanted::AfterStackCheck => isa.after_stack_check(code, function.entry)?,
        Wanted::DirectCall { callee } => one(isa.direct_calls(code, function.entry, callee))?,
    };
    let end = candidate.offset.saturating_add(candidate.length);
    let vaddr = u64::try_from(candidate.offset)
        .ok()
        .and_then(|offset| function.entry.checked_add(offset))
        .ok_or(NoSite::NoCode)?;
    Ok(Site {
        vaddr,
        file_offset: source.code_offset(vaddr).ok_or(NoSite::NoCode)?,
        kind: candidate.kind,
        bytes: code
            .get(candidate.offset..end)
            .ok_or(NoSite::NoCode)?
            .into(),
    })
}

fn one(mut calls: Vec<Candidate>) -> Result<Candidate, NoSite> {
    match calls.len() {
        0 | 1 => calls.pop().ok_or(NoSite::NoCall),
        several => Err(NoSite::SeveralCalls(several)),
    }
}
