//! The table from program counters to functions, lines and frame sizes.
//!
//! Finds it, checks its header, and reads it in place; owns no bytes. Inlined calls are
//! in `frames`, names in `functions`.

use gobin::structures::PclntabVersion;
use gobin::structures::pclntab::{FuncData, ParsedPclntab, PclntabMeta};

use super::bytes::{self, u32_at, u64_at, uvarint};
use super::elf::{Elf, Section};
use super::error::ImageError;
use crate::go::frame::GENERATED;

/// Size of one entry of the function table.
const ENTRY_SIZE: u64 = 8;

/// How far a table without a section of its own is searched for.
const MAX_SEARCH: u64 = 256 << 20;

/// The checked header, in terms of the file and of the address space.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    meta: PclntabMeta,
    /// One past the table in the file.
    end: u64,
    pub(super) vaddr: u64,
    /// Offset of the name table, from the header.
    pub(super) names: u64,
    /// Offset of the function table, from the header.
    pub(super) functab: u64,
    pub(super) function_count: u32,
    /// Offset of the first function from the start of the text.
    pub(super) first_entry: u64,
    /// Text address recorded in the header; 0 since Go 1.26.
    pub(super) text_start: u64,
}

impl Header {
    /// Finds the table by its section, or by its magic where the linker gave it none.
    pub(super) fn find(elf: &Elf, data: &[u8]) -> Result<Self, ImageError> {
        let named = [".gopclntab", ".data.rel.ro.gopclntab"]
            .iter()
            .filter_map(|name| elf.section(name))
            .find_map(|section| Self::read(data, section, 0));
        named
            .or_else(|| Self::search(data, elf.section(".data.rel.ro")?))
            .ok_or(ImageError::NotGo {
                why: "no function table (.gopclntab)",
            })
    }

    fn search(data: &[u8], section: &Section) -> Option<Self> {
        /// The table is aligned to 32 bytes by every linker seen, and to 8 by any.
        const STEP: usize = 8;
        let image = bytes::slice(data, section.offset, section.size.min(MAX_SEARCH))?;
        image
            .chunks_exact(STEP)
            .zip((0u64..).step_by(STEP))
            .filter(|(word, _)| matches!(word, [0xf0 | 0xf1, 0xff, 0xff, 0xff, 0, 0, _, 8]))
            .find_map(|(_, at)| Self::read(data, section, at))
    }

    fn read(data: &[u8], section: &Section, skip: u64) -> Option<Self> {
        let offset = section.offset.checked_add(skip)?;
        let size = section.size.checked_sub(skip)?;
        let table = bytes::slice(data, offset, size)?;
        let version = match u32_at(table, 0)? {
            0xffff_fff1 => PclntabVersion::Go120,
            0xffff_fff0 => PclntabVersion::Go118,
            _ => return None,
        };
        let [_, _, _, _, 0, 0, min_lc @ (1 | 2 | 4), 8] = bytes::array::<8>(table, 0)? else {
            return None;
        };
        let word = |index: u64| u64_at(table, index.checked_mul(8)?);
        let length = |index| usize::try_from(word(index)?).ok();
        let (names, functab) = (word(4)?, word(8)?);
        let ordered = [names, word(5)?, word(6)?, word(7)?, functab, size];
        if !ordered.is_sorted() {
            return None;
        }
        let function_count = u32::try_from(word(1)?).ok()?;
        let functab_size = u64::from(function_count)
            .checked_add(1)?
            .checked_mul(ENTRY_SIZE)?;
        bytes::slice(table, functab, functab_size)?;
        let text_start = word(3)?;
        Some(Self {
            meta: PclntabMeta {
                offset: usize::try_from(offset).ok()?,
                version,
                min_lc,
                ptr_size: 8,
                nfunc: length(1)?,
                nfiles: length(2)?,
                funcname_offset: length(4)?,
                cu_offset: length(5)?,
                filetab_offset: length(6)?,
                pctab_offset: length(7)?,
                functab_offset: length(8)?,
                text_start: 0,
                header_text_start: (text_start != 0).then_some(text_start),
            },
            end: offset.checked_add(size)?,
            vaddr: section.vaddr.checked_add(skip)?,
            names,
            functab,
            function_count,
            first_entry: u64::from(u32_at(table, functab)?),
            text_start,
        })
    }

    /// The table itself, for reading.
    pub(super) fn table<'a>(&self, data: &'a [u8]) -> Option<Table<'a>> {
        let parsed = self
            .meta
            .attach(data.get(..usize::try_from(self.end).ok()?)?)?;
        Some(Table {
            parsed,
            functab: bytes::tail(parsed.data, self.functab)?,
            count: self.function_count,
            quantum: u32::from(self.meta.min_lc),
        })
    }

    /// Whether functions record the line they start at (Go 1.20 and newer), which also
    /// tells the two shapes of an inlined call apart.
    pub(super) fn has_start_lines(&self) -> bool {
        self.meta.version == PclntabVersion::Go120
    }
}

/// `PCDATA_InlTreeIndex`.
const INLINE_INDEX: u32 = 2;

/// A readable view of the table.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    parsed: ParsedPclntab<'a>,
    functab: &'a [u8],
    count: u32,
    quantum: u32,
}

/// A function's record, with its extent as offsets from the start of the text.
pub(super) struct Record {
    pub(super) entry: u32,
    pub(super) end: u32,
    func: FuncData,
}

impl Record {
    pub(super) fn name_offset(&self) -> i32 {
        self.func.name_off
    }

    /// What the runtime knows it as (`internal/abi.FuncID`).
    pub(super) fn func_id(&self) -> u8 {
        self.func.func_id
    }

    /// Stack unwinding ends in this function.
    pub(super) fn is_top(&self) -> bool {
        self.func.flag & 1 != 0
    }

    /// The function moves the stack pointer in ways its table does not say.
    pub(super) fn writes_sp(&self) -> bool {
        self.func.flag & 2 != 0
    }
}

impl<'a> Table<'a> {
    /// The function at position `index` of the table.
    pub(super) fn record(&self, index: u32) -> Option<Record> {
        let at = u64::from(index).checked_mul(ENTRY_SIZE)?;
        let record = Record {
            entry: u32_at(self.functab, at)?,
            end: u32_at(self.functab, at.checked_add(ENTRY_SIZE)?)?,
            func: self
                .parsed
                .parse_func(u32_at(self.functab, at.checked_add(4)?)?)?,
        };
        (record.entry < record.end).then_some(record)
    }

    /// The function that holds the code at `offset` from the start of the text.
    pub(super) fn record_at(&self, offset: u32) -> Option<Record> {
        let (mut low, mut high) = (0u32, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if u32_at(self.functab, u64::from(middle).checked_mul(ENTRY_SIZE)?)? <= offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.record(low.checked_sub(1)?)
            .filter(|record| offset < record.end)
    }

    /// The symbol name at an offset into the name table.
    pub(super) fn name(&self, offset: i32) -> Option<&'a str> {
        self.parsed.func_name(u32::try_from(offset).ok()?)
    }

    /// Source file and line of the code `pc` bytes into the function.
    pub(super) fn file_line(&self, record: &Record, pc: u32) -> (&'a str, u32) {
        let file = self
            .value(record.func.pcfile, pc)
            .and_then(|index| self.file(record, index))
            .unwrap_or_default();
        let line = self
            .value(record.func.pcln, pc)
            .and_then(|line| u32::try_from(line).ok())
            .unwrap_or(0);
        (file, line)
    }

    fn file(&self, record: &Record, index: i32) -> Option<&'a str> {
        self.parsed
            .resolve_file_via_cu(record.func.cu_offset, u32::try_from(index).ok()?)
    }

    /// Bytes between the stack pointer at `pc` and the return address.
    pub(super) fn frame_size(&self, record: &Record, pc: u32) -> Option<i32> {
        self.value(record.func.pcsp, pc)
    }

    /// Position in the inline tree of the call that the code at `pc` was inlined from.
    pub(super) fn inline_index(&self, record: &Record, pc: u32) -> Option<u32> {
        let table = self.parsed.pcdata_at(&record.func, INLINE_INDEX)?;
        u32::try_from(self.value(table, pc)?).ok()
    }

    /// Offset of the function's inline tree from the module's funcdata base.
    pub(super) fn inline_tree(&self, record: &Record) -> Option<u32> {
        /// `FUNCDATA_InlTree`.
        const INLINE_TREE: u8 = 3;
        self.parsed
            .funcdata_at(&record.func, INLINE_TREE)
            .filter(|&offset| offset != u32::MAX)
    }

    /// How many calls the function's inline tree holds.
    pub(super) fn inline_count(&self, record: &Record) -> u32 {
        let values = self
            .parsed
            .pcdata_at(&record.func, INLINE_INDEX)
            .and_then(|table| self.values(table));
        let highest = values.and_then(|values| values.map(|(_, value)| value).max());
        highest
            .and_then(|index| u32::try_from(index).ok()?.checked_add(1))
            .unwrap_or(0)
    }

    /// The value that holds at `pc` bytes into a function. `None` past the table's end, or
    /// where the function has no such table.
    fn value(&self, table: u32, pc: u32) -> Option<i32> {
        let (_, value) = self.values(table)?.find(|(end, _)| pc < *end)?;
        Some(value)
    }

    /// The values of a table, each with the end of the code that it holds for, in bytes into the function. `None` where
    /// the function has no such table.
    fn values(&self, table: u32) -> Option<impl Iterator<Item = (u32, i32)>> {
        let start = self
            .parsed
            .pctab_offset
            .checked_add(usize::try_from(table).ok().filter(|at| *at != 0)?)?;
        let mut rest = self.parsed.data.get(start..)?;
        let (mut value, mut end, mut first) = (-1i32, 0u32, true);
        let quantum = self.quantum;
        Some(std::iter::from_fn(move || {
            let (step, used) = uvarint(rest)?;
            if step == 0 && !first {
                return None;
            }
            rest = rest.get(used..)?;
            let (advance, used) = uvarint(rest)?;
            rest = rest.get(used..)?;
            value = value.wrapping_add(unzigzag(step));
            end = end.checked_add(advance.checked_mul(quantum)?)?;
            first = false;
            Some((end, value))
        }))
    }

    /// Whether the compiler wrote this function and no source has it: a method wrapper.
    pub(super) fn is_wrapper(&self, record: &Record) -> bool {
        self.file_line(record, 0).0 == GENERATED
    }
}

fn unzigzag(step: u32) -> i32 {
    let magnitude = (step >> 1).cast_signed();
    if step & 1 == 0 { magnitude } else { !magnitude }
}
