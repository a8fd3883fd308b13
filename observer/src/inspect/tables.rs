//! What reading a process needs of its executable's tables, in the form this module asks for.

use crate::go::image::{Image, StackStep};
use crate::go::{TypeName, wait_reason};
use crate::target::Memory;

use super::{AllGs, CallSite, Roots, SemTable, StackTable, TypeNames};

/// Offset of the concrete type in an itab (`internal/abi.ITab.Type`, all versions).
const ITAB_TYPE: u64 = 8;

/// How names of functions begin that are the runtime's own business.
const INNER: [&str; 2] = ["runtime.", "internal/"];
/// Functions that go on as another one, without a frame of their own between.
const JUMPING: [&str; 3] = [
    "runtime.systemstack",
    "runtime.mcall",
    "runtime.reflectcall",
];
/// How names of functions begin that come between any two instructions of another: nobody has called them.
const UNCALLED: [&str; 3] = [
    "runtime.asyncPreempt",
    "runtime.sigpanic",
    "runtime.morestack",
];

impl StackTable for Image {
    fn stack_step(&self, pc: u64) -> Option<StackStep> {
        self.stack_step(pc)
    }

    fn entry(&self, pc: u64) -> Option<u64> {
        self.function_at(pc).map(|function| function.entry)
    }

    fn call_before(&self, pc: u64) -> Option<CallSite> {
        let calls = self.calls_around(pc.checked_sub(1)?);
        let (_, callee) = calls.iter().find(|(back, _)| *back == pc)?;
        Some(CallSite {
            callee: *callee,
            direct: calls.iter().filter_map(|(_, callee)| *callee).collect(),
        })
    }

    fn may_lead(&self, outer: u64, inner: u64) -> bool {
        let called = self
            .callee_before(outer)
            .and_then(|callee| self.function_at(callee));
        let Some(called) = called else {
            return true;
        };
        // At its first instruction, or behind one of them.
        let functions = [inner, inner.saturating_sub(1)].map(|pc| self.function_at(pc));
        let mut names = functions.iter().flatten().map(|function| function.name);
        let fits = |name: &str| {
            name == called.name || UNCALLED.iter().any(|uncalled| name.starts_with(uncalled))
        };
        JUMPING.contains(&called.name) || names.any(fits)
    }

    fn is_inner(&self, pc: u64) -> bool {
        self.function_at(pc).is_some_and(|function| {
            INNER
                .iter()
                .any(|package| function.name.starts_with(package))
        })
    }

    fn wait_reason(&self, id: u8) -> Option<&str> {
        wait_reason(self.go_version(), id)
    }
}

impl AllGs {
    /// Where a process that was loaded `bias` bytes off has its executable's list of goroutines; `None` where the
    /// executable does not tell.
    #[must_use]
    pub fn of(image: &Image, bias: u64) -> Option<Self> {
        let vars = image.allgs().ok()?;
        Some(Self {
            len_addr: vars.len_vaddr.wrapping_add(bias),
            ptr_addr: vars.ptr_vaddr.wrapping_add(bias),
        })
    }
}

impl SemTable {
    /// Where a process that was loaded `bias` bytes off has its executable's table of semaphores; `None` where the executable
    /// does not tell.
    #[must_use]
    pub fn of(image: &Image, bias: u64) -> Option<Self> {
        image.semtable().map(|found| Self {
            addr: found.vaddr.wrapping_add(bias),
            roots: found.roots,
            root_len: found.root_len,
        })
    }
}

impl Roots {
    /// Where a process that was loaded `bias` bytes off has its executable's heap and variables; `None` where the executable
    /// does not tell.
    #[must_use]
    pub fn of(image: &Image, bias: u64) -> Option<Self> {
        let variables = image.variables()?;
        Some(Self {
            arenas: image.arenas()?.wrapping_add(bias),
            variables: variables
                .map(|range| range.start.wrapping_add(bias)..range.end.wrapping_add(bias)),
        })
    }
}

/// Names of types of one process: from its executable where they lie there, as nearly all do.
#[derive(Debug, Clone, Copy)]
pub struct TargetTypes<'a, M> {
    /// Its executable.
    pub image: &'a Image,
    /// Its memory, for itabs made at run time.
    pub memory: &'a M,
    /// What to take off an address at run time to get the executable's.
    pub bias: u64,
}

impl<M: Memory> TypeNames for TargetTypes<'_, M> {
    fn of_itab(&self, itab: u64) -> Option<TypeName> {
        let in_file = itab
            .checked_sub(self.bias)
            .and_then(|vaddr| self.image.itab_type_vaddr(vaddr));
        if let Some(vaddr) = in_file {
            return self.image.type_of(vaddr);
        }
        let descriptor = self.memory.read_u64(itab.checked_add(ITAB_TYPE)?).ok()?;
        self.of_type(descriptor)
    }

    fn of_type(&self, descriptor: u64) -> Option<TypeName> {
        self.image.type_of(descriptor.checked_sub(self.bias)?)
    }
}
