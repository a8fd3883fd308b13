//! The little of ELF that is needed before an executable is opened for good: its entry point, and whether it
//! can be Go. A few small reads, whatever the file's size.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::fields::{u8_at, u32_at, u64_at};

/// Section headers, names or program headers beyond this are not read: no linker makes that many.
const MAX_TABLE: usize = 1 << 20;
/// First bytes of a data segment searched where a file has no sections (as `debug/buildinfo` does).
const DATA_SEARCHED: usize = 64 << 10;
/// Begins Go's build information, at a multiple of 16 (debug/buildinfo, Go 1.18 …).
const BUILD_INFO_MAGIC: &[u8] = b"\xff Go buildinf:";

/// The fixed part at the start of an ELF file.
struct Header {
    entry: u64,
    programs: (u64, usize),
    sections: (u64, usize),
    names_index: usize,
}

impl Header {
    fn read(file: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; 64];
        if read_at_most(file, 0, &mut bytes)? < bytes.len() {
            return Ok(None);
        }
        Ok(Self::decode(&bytes))
    }

    fn decode(bytes: &[u8; 64]) -> Option<Self> {
        // ELFCLASS64, ELFDATA2LSB.
        if !bytes.starts_with(b"\x7fELF\x02\x01") {
            return None;
        }
        let half = |at: u32| -> Option<usize> {
            let low = usize::from(u8_at(bytes, at)?);
            Some(low | usize::from(u8_at(bytes, at + 1)?) << 8)
        };
        Some(Self {
            entry: u64_at(bytes, 24)?,
            programs: (u64_at(bytes, 32)?, half(54)?.checked_mul(half(56)?)?),
            sections: (u64_at(bytes, 40)?, half(58)?.checked_mul(half(60)?)?),
            names_index: half(62)?,
        })
    }
}

/// Entry point of a 64-bit little-endian ELF file; `None` for any other file.
pub(super) fn entry(file: &File) -> io::Result<Option<u64>> {
    Ok(Header::read(file)?.map(|header| header.entry))
}

/// Whether a file carries Go's build information, as every executable of Go 1.13 and later does.
pub(super) fn is_go(file: &File) -> io::Result<bool> {
    let Some(header) = Header::read(file)? else {
        return Ok(false);
    };
    match has_go_section(file, &header)? {
        Some(answer) => Ok(answer),
        None => has_magic_in_data(file, &header),
    }
}

/// `None` where the file has no section names.
fn has_go_section(file: &File, header: &Header) -> io::Result<Option<bool>> {
    const SECTION_HEADER: usize = 64;
    let table = table(file, header.sections)?;
    let Some(names_header) = table
        .chunks_exact(SECTION_HEADER)
        .nth(header.names_index)
        .filter(|_| header.names_index != 0)
    else {
        return Ok(None);
    };
    let (Some(offset), Some(size)) = (u64_at(names_header, 24), u64_at(names_header, 32)) else {
        return Ok(None);
    };
    let names = self::table(file, (offset, usize::try_from(size).unwrap_or(usize::MAX)))?;
    if names.is_empty() {
        return Ok(None);
    }
    Ok(Some(
        names
            .split(|&byte| byte == 0)
            .any(|name| name == b".go.buildinfo"),
    ))
}

fn has_magic_in_data(file: &File, header: &Header) -> io::Result<bool> {
    const PROGRAM_HEADER: usize = 56;
    const LOAD: u32 = 1;
    const WRITABLE: u32 = 2;
    let table = table(file, header.programs)?;
    let data = table.chunks_exact(PROGRAM_HEADER).find(|program| {
        u32_at(program, 0) == Some(LOAD)
            && u32_at(program, 4).is_some_and(|flags| flags & WRITABLE != 0)
    });
    let Some(offset) = data.and_then(|program| u64_at(program, 8)) else {
        return Ok(false);
    };
    let mut start = vec![0; DATA_SEARCHED];
    let have = read_at_most(file, offset, &mut start)?;
    start.truncate(have);
    Ok(start
        .chunks(16)
        .any(|chunk| chunk.starts_with(BUILD_INFO_MAGIC)))
}

/// A table of the file; empty where its place or size is absurd.
fn table(file: &File, (offset, len): (u64, usize)) -> io::Result<Vec<u8>> {
    if len == 0 || len > MAX_TABLE {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; len];
    let have = read_at_most(file, offset, &mut bytes)?;
    bytes.truncate(have);
    Ok(bytes)
}

/// As many bytes as there are.
fn read_at_most(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    struct At<'a>(&'a File, u64);
    impl Read for At<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read_at(buf, self.1)?;
            self.1 = self.1.saturating_add(u64::try_from(read).unwrap_or(0));
            Ok(read)
        }
    }
    let wanted = u64::try_from(buf.len()).unwrap_or(u64::MAX);
    let mut rest = &mut buf[..];
    let copied = io::copy(&mut At(file, offset).take(wanted), &mut rest)?;
    Ok(usize::try_from(copied).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::{entry, is_go};

    #[test]
    fn own_executable_is_elf_and_not_go() {
        let own = File::open("/proc/self/exe").unwrap();
        assert!(entry(&own).unwrap().is_some());
        assert!(!is_go(&own).unwrap());
    }

    #[test]
    fn other_files_are_neither() {
        for content in [
            &b""[..],
            b"#!/bin/sh\n",
            &[0x7f, b'E', b'L', b'F'],
            &[0xff; 200],
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(content).unwrap();
            assert_eq!(entry(&file).unwrap(), None);
            assert!(!is_go(&file).unwrap());
        }
    }

    #[test]
    fn a_hostile_header_is_refused() {
        let mut header = [0xff; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&header).unwrap();
        assert!(!is_go(&file).unwrap());
    }

    #[test]
    fn without_sections_the_data_segment_decides() {
        let mut image = vec![0; 64 + 56 + 8];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[32] = 64;
        image[54] = 56;
        image[56] = 1;
        image[64] = 1;
        image[68] = 6;
        image[72] = 128;
        image.extend_from_slice(&[0; 32]);
        image.extend_from_slice(b"\xff Go buildinf:\x08\x02");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&image).unwrap();
        assert!(is_go(&file).unwrap());
    }
}
