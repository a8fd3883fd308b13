//! Variables of the runtime, read off the code that loads them, so that a stripped executable serves too.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{Function, Image};

/// Where the runtime keeps the list of all goroutines, before relocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllgsVars {
    /// Address of `runtime.allglen`.
    pub len_vaddr: u64,
    /// Address of `runtime.allgptr`.
    pub ptr_vaddr: u64,
}

/// Where the runtime keeps who waits for a semaphore (`runtime.semtable`), before relocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SemTableVar {
    /// Address of the first root.
    pub vaddr: u64,
    /// How many roots there are.
    pub roots: u64,
    /// Bytes from one root to the next.
    pub root_len: u64,
}

/// Why the list of all goroutines was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoAllgs {
    /// Neither function that reads the list is in the executable.
    #[error("runtime.forEachGRace and runtime.atomicAllG are missing")]
    NoFunction,
    /// The function does not load two globals.
    #[error("{function} loads {loads} globals instead of 2")]
    Unexpected {
        /// The function looked at.
        function: &'static str,
        /// How many globals it loads.
        loads: usize,
    },
    /// A loaded address lies outside the image.
    #[error("{function} loads from outside the image")]
    Outside {
        /// The function looked at.
        function: &'static str,
    },
}

impl Image {
    /// Where the runtime keeps the list of all goroutines, read off the code that walks it.
    ///
    /// # Errors
    /// When the code is not exactly as expected.
    pub fn allgs(&self) -> Result<AllgsVars, NoAllgs> {
        /// Optimised builds inline the second into the first.
        const READERS: [&str; 2] = ["runtime.forEachGRace", "runtime.atomicAllG"];
        let mut failure = NoAllgs::NoFunction;
        for name in READERS {
            let [function] = self.functions(name) else {
                continue;
            };
            match self.allgs_loaded_by(name, function) {
                Ok(found) => return Ok(found),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn allgs_loaded_by(
        &self,
        name: &'static str,
        function: &Function,
    ) -> Result<AllgsVars, NoAllgs> {
        let loads = self.loads_of(function);
        let &[len_vaddr, ptr_vaddr] = loads.as_slice() else {
            return Err(NoAllgs::Unexpected {
                function: name,
                loads: loads.len(),
            });
        };
        if !self.holds(len_vaddr) || !self.holds(ptr_vaddr) || len_vaddr == ptr_vaddr {
            return Err(NoAllgs::Outside { function: name });
        }
        Ok(AllgsVars {
            len_vaddr,
            ptr_vaddr,
        })
    }

    /// Address of `runtime.mheap_.arenas`, read off the code that looks up whose memory an address is; `None` where that
    /// code is not as expected.
    #[must_use]
    pub fn arenas(&self) -> Option<u64> {
        /// Optimised builds inline the second into the first.
        const READERS: [&str; 2] = ["runtime.findObject", "runtime.spanOf"];
        READERS.iter().find_map(|name| {
            let [function] = self.functions(name) else {
                return None;
            };
            match self.loads_of(function).as_slice() {
                &[arenas] if self.holds(arenas) => Some(arenas),
                _ => None,
            }
        })
    }

    /// Where the runtime keeps who waits for a semaphore, read off the code that looks one up; `None` where that code is not
    /// as expected.
    #[must_use]
    pub fn semtable(&self) -> Option<SemTableVar> {
        /// Optimised builds inline the others into the first; the second is there up to Go 1.19, then the third.
        const READERS: [&str; 3] = [
            "runtime.semrelease1",
            "runtime.semroot",
            "runtime.(*semTable).rootFor",
        ];
        /// `runtime.semTabSize`, all versions.
        const ROOTS: u64 = 251;
        /// A cache line (`internal/cpu.CacheLinePadSize`).
        const ROOT_LEN: u64 = 64;
        let [_, empty] = self.variables()?;
        let (mut indexed, mut taken) = (false, BTreeSet::new());
        for name in READERS {
            let [function] = self.functions(name) else {
                continue;
            };
            let code = self.code_of(function);
            indexed |= self.elf.isa.indexes(code, function.entry, ROOTS, ROOT_LEN);
            taken.extend(self.elf.isa.taken(code, function.entry));
        }
        // It holds pointers and is zero at first. Whatever else is taken there is a constant.
        taken.retain(|addr| empty.contains(addr) && empty.end - addr >= ROOTS * ROOT_LEN);
        let only = (taken.len() == 1).then(|| taken.pop_first()).flatten();
        only.filter(|_| indexed).map(|vaddr| SemTableVar {
            vaddr,
            roots: ROOTS,
            root_len: ROOT_LEN,
        })
    }

    /// Where the program's variables that hold pointers lie, before relocation; `None` where they cannot be there.
    #[must_use]
    pub fn variables(&self) -> Option<[Range<u64>; 2]> {
        let all = &self.module.variables;
        let is_sound = |range: &Range<u64>| {
            range.start < range.end && self.holds(range.start) && self.holds(range.end - 1)
        };
        all.iter().all(is_sound).then(|| all.clone())
    }

    /// The pointer-sized globals that a function loads.
    fn loads_of(&self, function: &Function) -> Vec<u64> {
        self.elf
            .isa
            .global_loads(self.code_of(function), function.entry)
    }

    /// Nothing where the file does not hold it.
    fn code_of(&self, function: &Function) -> &[u8] {
        let length = function.end.saturating_sub(function.entry);
        usize::try_from(length)
            .ok()
            .and_then(|length| self.bytes(function.entry, length))
            .unwrap_or_default()
    }

    fn holds(&self, vaddr: u64) -> bool {
        (self.elf.range.low..self.elf.range.high).contains(&vaddr)
    }
}
