//! The runtime's record of the executable: where code, types and inline trees begin.
//!
//! Found by its pointer to the pclntab and believed only when it agrees with the pclntab in
//! several places, since a wrong address here would be a wrong address everywhere.

use std::ops::Range;

use super::bytes::{tail, u64_at};
use super::elf::{Elf, Section};
use super::error::ImageError;
use super::pclntab::Header;

/// The addresses needed, before relocation.
#[derive(Debug, Clone)]
pub(super) struct Module {
    /// Start of the code that function offsets count from.
    pub(super) text: u64,
    /// Base of type and name offsets.
    pub(super) types: u64,
    /// Base of funcdata offsets.
    pub(super) gofunc: u64,
    /// Variables that hold pointers: those that begin with a value, and those that begin empty.
    pub(super) variables: [Range<u64>; 2],
}

/// Where the fields that moved are, by the first minor version that has them there.
struct Fields {
    since_minor: u32,
    types: u64,
    gofunc: u64,
}

const FIELDS: [Fields; 3] = [
    Fields {
        since_minor: 18,
        types: 280,
        gofunc: 304,
    },
    Fields {
        since_minor: 20,
        types: 296,
        gofunc: 320,
    },
    Fields {
        since_minor: 27,
        types: 296,
        gofunc: 344,
    },
];

/// Fields that never moved in the supported versions.
const PC_HEADER: u64 = 0;
const FUNCTION_NAMES: u64 = 8;
const PCLN_TABLE: u64 = 104;
const MIN_PC: u64 = 160;
const TEXT: u64 = 176;
const END_OF_TEXT: u64 = 184;
const DATA: u64 = 208;
const EMPTY: u64 = 224;

/// Data sections of real executables are far smaller; bounds the search in a fake one.
const MAX_SEARCH: u64 = 256 << 20;

impl Module {
    /// Finds and checks the module data.
    pub(super) fn find(
        elf: &Elf,
        data: &[u8],
        header: &Header,
        minor: u32,
    ) -> Result<Self, ImageError> {
        let fail = |why| ImageError::Module { minor, why };
        let fields = FIELDS
            .iter()
            .rev()
            .find(|fields| fields.since_minor <= minor)
            .ok_or_else(|| fail("no layout for this version"))?;
        let at = [".go.module", ".noptrdata", ".data", ".data.rel.ro"]
            .iter()
            .filter_map(|name| elf.section(name))
            .find_map(|section| search(elf, data, section, header))
            .ok_or_else(|| fail("nothing points to the function table and agrees with it"))?;
        let field = |offset| elf.word(data, at.saturating_add(offset));
        let module = Self {
            text: field(TEXT).ok_or_else(|| fail("no text address"))?,
            types: field(fields.types).ok_or_else(|| fail("no types address"))?,
            gofunc: field(fields.gofunc).ok_or_else(|| fail("no funcdata address"))?,
            variables: [DATA, EMPTY].map(|at| {
                let bound = |at| field(at).unwrap_or_default();
                bound(at)..bound(at + 8)
            }),
        };
        if elf.code_offset_of(module.text).is_none() {
            return Err(fail("text is not in an executable segment"));
        }
        for address in [module.types, module.gofunc] {
            if elf.offset_of(address).is_none() {
                return Err(fail("types or funcdata lie outside the file"));
            }
        }
        Ok(module)
    }
}

fn search(elf: &Elf, data: &[u8], section: &Section, header: &Header) -> Option<u64> {
    let size = section.size.min(MAX_SEARCH);
    let image = tail(data, section.offset)?;
    let image = image.get(..usize::try_from(size).ok()?)?;
    let by_file = image
        .chunks_exact(8)
        .zip((section.vaddr..).step_by(8))
        .filter(|(word, _)| *word == header.vaddr.to_le_bytes())
        .map(|(_, vaddr)| vaddr)
        .find(|&at| agrees(elf, data, at, header));
    // A linker may leave the words of a position-independent file empty and keep the values in
    // its relocations.
    by_file.or_else(|| {
        elf.relocated_to(data, header.vaddr)
            .filter(|at| (section.vaddr..section.vaddr.saturating_add(size)).contains(at))
            .find(|&at| agrees(elf, data, at, header))
    })
}

fn agrees(elf: &Elf, data: &[u8], at: u64, header: &Header) -> bool {
    let field = |offset| elf.word(data, at.saturating_add(offset));
    let check = || {
        let text = field(TEXT)?;
        Some(
            field(PC_HEADER)? == header.vaddr
                && field(FUNCTION_NAMES)? == header.vaddr.checked_add(header.names)?
                && field(PCLN_TABLE)? == header.vaddr.checked_add(header.functab)?
                && field(MIN_PC)? == text.checked_add(header.first_entry)?
                && field(END_OF_TEXT)? > text
                && (header.text_start == 0 || header.text_start == text),
        )
    };
    check().unwrap_or(false)
}

impl Elf {
    /// A pointer-sized word of the image as the program sees it before the load bias is added.
    pub(super) fn word(&self, data: &[u8], vaddr: u64) -> Option<u64> {
        match u64_at(data, self.offset_of(vaddr)?)? {
            0 if self.pie => Some(self.addend_at(data, vaddr).unwrap_or(0)),
            word => Some(word),
        }
    }

    fn addend_at(&self, data: &[u8], vaddr: u64) -> Option<u64> {
        self.relative_relocations(data)
            .find(|(place, _)| *place == vaddr)
            .map(|(_, addend)| addend)
    }

    /// Places that hold the address `target` once the load bias is added.
    pub(super) fn relocated_to(&self, data: &[u8], target: u64) -> impl Iterator<Item = u64> {
        self.relative_relocations(data)
            .filter(move |(_, addend)| *addend == target)
            .map(|(place, _)| place)
    }

    /// (place, addend) of each relocation that only adds the load bias.
    fn relative_relocations(&self, data: &[u8]) -> impl Iterator<Item = (u64, u64)> {
        /// `Elf64_Rela`: place, kind (low half of the second word), addend.
        const ENTRY: usize = 24;
        let kind = u64::from(self.isa.relative_relocation());
        self.relocations()
            .filter_map(|section| super::bytes::slice(data, section.offset, section.size))
            .flat_map(|table| table.chunks_exact(ENTRY))
            .filter(move |entry| u64_at(entry, 8) == Some(kind))
            .filter_map(|entry| Some((u64_at(entry, 0)?, u64_at(entry, 16)?)))
    }
}
