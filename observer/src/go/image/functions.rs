//! Functions by name.
//!
//! Built once per image from the function table. Compiler-made method wrappers share the
//! name of nothing a reader wrote and are left out.

use std::hash::{BuildHasher, BuildHasherDefault};

use rustc_hash::FxHasher;

use super::pclntab::Table;

/// Where a function's code lies, before relocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// Virtual address of its first instruction.
    pub entry: u64,
    /// One past its last byte, padding included.
    pub end: u64,
    hash: u32,
    name: i32,
}

impl Function {
    /// Offset of its name, which is one for all that share it.
    pub(super) const fn name_offset(&self) -> i32 {
        self.name
    }
}

#[cfg(test)]
impl Function {
    /// A function without a name, for tests on bare code.
    pub(crate) fn at(entry: u64, end: u64) -> Self {
        Self {
            entry,
            end,
            hash: 0,
            name: 0,
        }
    }
}

/// The function that holds an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionRef<'a> {
    /// Full symbol name.
    pub name: &'a str,
    /// Virtual address of its first instruction.
    pub entry: u64,
    /// One past its last byte, padding included.
    pub end: u64,
}

/// All functions, ordered by hash of the name so that equal names are neighbours.
#[derive(Debug)]
pub(super) struct Index {
    functions: Vec<Function>,
}

impl Index {
    pub(super) fn build(table: &Table<'_>, count: u32, text: u64) -> Self {
        let mut functions: Vec<Function> = (0..count)
            .filter_map(|index| table.record(index))
            .filter(|record| !table.is_wrapper(record))
            .filter_map(|record| {
                Some(Function {
                    entry: text.checked_add(u64::from(record.entry))?,
                    end: text.checked_add(u64::from(record.end))?,
                    hash: hash(table.name(record.name_offset())?),
                    name: record.name_offset(),
                })
            })
            .collect();
        functions.sort_unstable_by_key(|f| (f.hash, f.name, f.entry));
        Self { functions }
    }

    pub(super) fn named(&self, table: &Table<'_>, name: &str) -> &[Function] {
        let wanted = hash(name);
        let start = self.functions.partition_point(|f| f.hash < wanted);
        let candidates = self.functions.get(start..).unwrap_or_default();
        // The linker stores each name once, so one offset is one name.
        candidates
            .chunk_by(|a, b| a.name == b.name)
            .take_while(|group| group.first().is_some_and(|f| f.hash == wanted))
            .find(|group| group.first().and_then(|f| table.name(f.name)) == Some(name))
            .unwrap_or_default()
    }

    pub(super) fn under<'a>(
        &'a self,
        table: Table<'a>,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Function)> {
        self.functions.iter().filter_map(move |function| {
            let name = table.name(function.name)?;
            let rest = name.strip_prefix(prefix)?;
            (rest.is_empty() || rest.starts_with('.')).then_some((name, function))
        })
    }

    pub(super) fn len(&self) -> usize {
        self.functions.len()
    }
}

fn hash(name: &str) -> u32 {
    let hash = BuildHasherDefault::<FxHasher>::default().hash_one(name);
    (hash >> 32) as u32
}
