//! What depends on the instruction set: shapes of prologues, calls and global loads.
//!
//! One implementation a machine, found by the ELF header's number. The rest of `go` asks here
//! and has no machine of its own.

mod amd64;

use object::elf;

use crate::go::site::{Candidate, NoSite};

/// Everything observer needs to know of a machine's code as Go's compiler writes it.
pub(crate) trait Isa: Send + Sync + std::fmt::Debug {
    /// The relocation that adds the load bias to an addend, by its ELF number.
    fn relative_relocation(&self) -> u32;

    /// The cheapest instruction that runs once per call with the arguments still in their
    /// registers. `code` is the whole function, `entry` its address.
    fn after_stack_check(&self, code: &[u8], entry: u64) -> Result<Candidate, NoSite>;

    /// Every direct call of `callee` in the function.
    fn direct_calls(&self, code: &[u8], entry: u64, callee: u64) -> Vec<Candidate>;

    /// Addresses of the pointer-sized globals that the function loads, in order.
    fn global_loads(&self, code: &[u8], entry: u64) -> Vec<u64>;

    /// The address behind each call, and the callee's where it is called directly.
    fn calls(&self, code: &[u8], entry: u64) -> Vec<(u64, Option<u64>)>;

    /// The instructions that take `wanted`, an address in the image, for a call: one follows
    /// before the code branches or other code joins. Without that, the address is a choice
    /// among several, as in `if ctx == nil`, which `(*http.Request).Context` brings into every
    /// handler. A direct call of one of `others` counts as what that function does with it.
    fn handed(&self, code: &[u8], entry: u64, wanted: u64, others: &StandIns) -> Vec<Handing>;

    /// Whether the function ends with what a direct call of one of `callees` gives it, whichever way it goes: nothing
    /// that could keep that elsewhere comes between, since a pointer that is stored passes a branch for the collector.
    fn returns_of(&self, code: &[u8], entry: u64, callees: &[u64]) -> bool;

    /// Whether the function takes `wanted`, an address in the image, at all.
    fn takes(&self, code: &[u8], entry: u64, wanted: u64) -> bool;

    /// Addresses in the image that the function takes, in order.
    fn taken(&self, code: &[u8], entry: u64) -> Vec<u64>;

    /// Whether the function finds an element by what a number leaves when divided by `count`, and each takes `size` bytes.
    fn indexes(&self, code: &[u8], entry: u64, count: u64, size: u64) -> bool;

    /// Where in `code`, which begins at `start`, bytes lie that name `address` relative to themselves: inside every
    /// instruction that calls it, jumps there or takes it, and perhaps in between. None in code of more than
    /// 4 GiB. Much cheaper than to decode it all.
    fn mentions(&self, code: &[u8], start: u64, address: u64) -> Vec<u64>;

    /// Everything that the function does with `callee`.
    fn uses(&self, code: &[u8], entry: u64, callee: u64) -> Vec<Use>;
}

/// An address that is taken for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handing {
    /// The instruction that takes it.
    pub(crate) at: u64,
    /// Where the call returns to.
    pub(crate) back: u64,
}

/// Words of arguments that are followed.
pub(crate) const ARGUMENTS: usize = 4;

/// What code does with a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It calls it directly.
    Call {
        /// Address of the instruction.
        at: u64,
        /// The first words of the arguments: addresses in the image that they are bound to be; `None` for what the
        /// code does not tell.
        arguments: [Option<u64>; ARGUMENTS],
    },
    /// It jumps there, or takes its address; or its code cannot be read to its end.
    Other,
}

/// Functions that stand for an address in the code of those that call them, by their first instruction.
#[derive(Debug, Default)]
pub(crate) struct StandIns {
    /// They return it.
    pub(crate) give: Vec<u64>,
    /// They hand it on.
    pub(crate) carry: Vec<u64>,
}

/// The machine of an ELF header, if observer knows it.
pub(crate) fn for_machine(machine: elf::Machine) -> Option<&'static dyn Isa> {
    match machine {
        elf::EM_X86_64 => Some(&amd64::Amd64),
        _ => None,
    }
}
