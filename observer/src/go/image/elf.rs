//! The ELF shell of an executable: where sections and segments are, and that they are in the file.
//!
//! Reads headers only, so a large foreign or fake file is refused in constant time. Knows
//! nothing of Go but the names of its sections.

use object::LittleEndian as Le;
use object::elf;
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};

use super::bytes;
use super::error::ImageError;
use crate::go::isa::{self, Isa};

type Header = elf::FileHeader64<Le>;

/// Name and extent of a section that has bytes in the file.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) name: Box<str>,
    pub(super) vaddr: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
    kind: u32,
}

/// A loadable segment.
#[derive(Debug, Clone, Copy)]
struct Segment {
    vaddr: u64,
    offset: u64,
    file_size: u64,
    executable: bool,
    writable: bool,
}

/// What the headers say, checked against the length of the file.
#[derive(Debug)]
pub(super) struct Elf {
    pub(super) isa: &'static dyn Isa,
    pub(super) pie: bool,
    pub(super) stripped: bool,
    pub(super) build_id: String,
    pub(super) range: LoadRange,
    has_go_note: bool,
    sections: Vec<Section>,
    segments: Vec<Segment>,
}

/// Where the image lies in memory before relocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadRange {
    /// Lowest virtual address of a loadable segment.
    pub low: u64,
    /// One past the highest virtual address, memory size included.
    pub high: u64,
    /// File offset of the lowest segment: a mapping of the file at this offset starts at
    /// `low` + bias.
    pub first_offset: u64,
}

/// The name in the note that holds Go's build id.
const GO_NOTE: &[u8] = b"Go";
const GO_NOTE_BUILD_ID: elf::NoteType = elf::NoteType(4);
const GNU_NOTE_BUILD_ID: elf::NoteType = elf::NT_GNU_BUILD_ID;

impl Elf {
    /// Reads and checks the headers.
    pub(super) fn read(data: &[u8]) -> Result<Self, ImageError> {
        let ident = bytes::array::<16>(data, 0).ok_or(ImageError::NotElf)?;
        if !ident.starts_with(&elf::ELFMAG) {
            return Err(ImageError::NotElf);
        }
        let [_, _, _, _, class, encoding, ..] = ident;
        if class != elf::ELFCLASS64.0 || encoding != elf::ELFDATA2LSB.0 {
            return Err(ImageError::WrongArch {
                found: format!("ELF class {class}, data encoding {encoding}"),
            });
        }
        let header = Header::parse(data).map_err(|_| truncated("ELF header"))?;
        let machine = header.e_machine.get(Le);
        let isa = isa::for_machine(machine).ok_or_else(|| ImageError::WrongArch {
            found: format!("ELF machine {machine}"),
        })?;
        let pie = match header.e_type.get(Le) {
            elf::ET_EXEC => false,
            elf::ET_DYN => true,
            _ => {
                return Err(ImageError::NotGo {
                    why: "not an executable",
                });
            }
        };
        let (segments, range) = segments(header, data)?;
        let (sections, stripped) = sections(header, data)?;
        let notes = notes(header, data);
        Ok(Self {
            isa,
            pie,
            stripped,
            has_go_note: notes.go.is_some(),
            build_id: notes.go.or(notes.gnu).unwrap_or_default(),
            range,
            sections,
            segments,
        })
    }

    /// Whether the Go linker left one of its marks: only then is a search worth its time.
    pub(super) fn has_go_mark(&self) -> bool {
        self.has_go_note
            || [
                ".go.buildinfo",
                ".note.go.buildid",
                ".gopclntab",
                ".data.rel.ro.gopclntab",
            ]
            .iter()
            .any(|name| self.section(name).is_some())
    }

    /// The first section of this name.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| &*section.name == name)
    }

    /// All relocation sections with addends.
    pub(super) fn relocations(&self) -> impl Iterator<Item = &Section> {
        self.sections
            .iter()
            .filter(|section| section.kind == elf::SHT_RELA.0)
    }

    /// File offset of an initialised byte of the loaded image.
    pub(super) fn offset_of(&self, vaddr: u64) -> Option<u64> {
        self.locate(vaddr, |_| true).map(|(offset, _)| offset)
    }

    /// File offset of a byte of code, as uprobes want it.
    pub(super) fn code_offset_of(&self, vaddr: u64) -> Option<u64> {
        self.locate(vaddr, |segment| segment.executable)
            .map(|(offset, _)| offset)
    }

    /// The file's bytes from `vaddr` to the end of its segment.
    pub(super) fn bytes_from<'a>(&self, data: &'a [u8], vaddr: u64) -> Option<&'a [u8]> {
        let (offset, left) = self.locate(vaddr, |_| true)?;
        bytes::slice(data, offset, left)
    }

    /// The same, where nobody can write while the program runs.
    pub(super) fn constants_from<'a>(&self, data: &'a [u8], vaddr: u64) -> Option<&'a [u8]> {
        let (offset, left) = self.locate(vaddr, |segment| !segment.writable)?;
        bytes::slice(data, offset, left)
    }

    /// Whether a word of data that lies as pointers do has this value before relocation.
    pub(super) fn holds_word(&self, data: &[u8], word: u64) -> bool {
        let segments = self.segments.iter().filter(|segment| !segment.executable);
        let mut bytes = segments
            .filter_map(|segment| bytes::slice(data, segment.offset, segment.file_size))
            .flat_map(|bytes| bytes.as_chunks::<8>().0);
        bytes.any(|bytes| u64::from_le_bytes(*bytes) == word)
            || self.relocated_to(data, word).next().is_some()
    }

    fn locate(&self, vaddr: u64, fits: impl Fn(&Segment) -> bool) -> Option<(u64, u64)> {
        self.segments.iter().find_map(|segment| {
            let inside = vaddr.checked_sub(segment.vaddr)?;
            let left = segment.file_size.checked_sub(inside)?;
            (left > 0 && fits(segment)).then(|| (segment.offset.saturating_add(inside), left))
        })
    }
}

fn truncated(what: &'static str) -> ImageError {
    ImageError::Truncated { what }
}

fn segments(header: &Header, data: &[u8]) -> Result<(Vec<Segment>, LoadRange), ImageError> {
    let headers = header
        .program_headers(Le, data)
        .map_err(|_| truncated("program headers"))?;
    let mut found = Vec::new();
    let mut range: Option<LoadRange> = None;
    for program in headers {
        if program.p_type(Le) != elf::PT_LOAD {
            continue;
        }
        let (vaddr, offset) = (program.p_vaddr(Le), program.p_offset(Le));
        let file_size = program.p_filesz(Le);
        bytes::slice(data, offset, file_size).ok_or_else(|| truncated("loadable segment"))?;
        let high = vaddr
            .checked_add(program.p_memsz(Le).max(file_size))
            .ok_or_else(|| truncated("address of a loadable segment"))?;
        found.push(Segment {
            vaddr,
            offset,
            file_size,
            executable: program.p_flags(Le).contains(elf::PF_X),
            writable: program.p_flags(Le).contains(elf::PF_W),
        });
        range = Some(match range {
            Some(range) if range.low <= vaddr => LoadRange {
                high: range.high.max(high),
                ..range
            },
            other => LoadRange {
                low: vaddr,
                high: other.map_or(high, |range| range.high.max(high)),
                first_offset: offset,
            },
        });
    }
    let range = range.ok_or(ImageError::NotGo {
        why: "nothing to load",
    })?;
    Ok((found, range))
}

fn sections(header: &Header, data: &[u8]) -> Result<(Vec<Section>, bool), ImageError> {
    let table = header
        .sections(Le, data)
        .map_err(|_| truncated("section headers"))?;
    let mut found = Vec::new();
    let mut stripped = true;
    for section in table.iter() {
        let kind = section.sh_type(Le);
        stripped &= kind != elf::SHT_SYMTAB;
        if kind == elf::SHT_NOBITS || kind == elf::SHT_NULL {
            continue;
        }
        let (offset, size) = (section.sh_offset(Le), section.sh_size(Le));
        bytes::slice(data, offset, size).ok_or_else(|| truncated("section"))?;
        let Some(name) = table
            .section_name(Le, section)
            .ok()
            .and_then(|name| std::str::from_utf8(name).ok())
        else {
            continue;
        };
        found.push(Section {
            name: name.into(),
            vaddr: section.sh_addr(Le),
            offset,
            size,
            kind: kind.0,
        });
    }
    Ok((found, stripped))
}

#[derive(Default)]
struct Notes {
    go: Option<String>,
    gnu: Option<String>,
}

fn notes(header: &Header, data: &[u8]) -> Notes {
    let mut found = Notes::default();
    let Ok(headers) = header.program_headers(Le, data) else {
        return found;
    };
    for program in headers {
        let Ok(Some(mut notes)) = program.notes(Le, data) else {
            continue;
        };
        while let Ok(Some(note)) = notes.next() {
            let kind = note.n_type(Le);
            let name = note.name();
            if name == GO_NOTE && kind == GO_NOTE_BUILD_ID {
                found.go = std::str::from_utf8(note.desc()).ok().map(str::to_owned);
            } else if name == elf::ELF_NOTE_GNU && kind == GNU_NOTE_BUILD_ID {
                found.gnu = Some(note.desc().iter().fold(
                    String::from("gnu:"),
                    |mut text, byte| {
                        use std::fmt::Write as _;
                        // Writing to a String cannot fail.
                        let _ = write!(text, "{byte:02x}");
                        text
                    },
                ));
            }
        }
    }
    found
}
