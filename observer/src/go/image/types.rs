//! Names of Go types, from the type descriptors in the file.
//!
//! Resolves what an itab points to. Types that a program makes at run time (`reflect`) are not
//! in the file and have no name here.

use std::sync::Arc;

use super::bytes::{array, tail, u8_at, uvarint};
use super::elf::Elf;
use super::moduledata::Module;
use crate::go::TypeName;

/// `abi.Type`, unchanged since Go 1.18.
mod descriptor {
    pub(super) const FLAGS: u64 = 20;
    pub(super) const KIND: u64 = 23;
    pub(super) const NAME: u64 = 40;
    /// What follows for a pointer: the type pointed to.
    pub(super) const ELEMENT: u64 = 48;

    pub(super) const FLAG_UNCOMMON: u8 = 1;
    pub(super) const FLAG_EXTRA_STAR: u8 = 2;
    pub(super) const FLAG_NAMED: u8 = 4;
}

/// `itab._type`.
pub(super) const ITAB_TYPE: u64 = 8;

const KIND_MASK: u8 = 31;
const KIND_POINTER: u8 = 22;

/// Size of a descriptor by kind, up to the part that has the package path. Maps are left out:
/// their descriptor changes between versions.
const UNCOMMON_AT: [(std::ops::RangeInclusive<u8>, u64); 9] = [
    (1..=16, 48),  // bool, numbers
    (17..=17, 72), // array
    (18..=18, 64), // chan
    (19..=19, 56), // func
    (20..=20, 80), // interface
    (22..=22, 56), // pointer
    (23..=23, 56), // slice
    (24..=24, 48), // string
    (25..=25, 80), // struct
];

/// Longest type name believed; the compiler's own limit on symbols is far above real code.
const MAX_NAME: usize = 4096;

/// The reader of one image's types.
pub(super) struct Types<'a> {
    pub(super) elf: &'a Elf,
    pub(super) data: &'a [u8],
    pub(super) module: &'a Module,
}

impl Types<'_> {
    /// The name of the type described at `vaddr`.
    pub(super) fn name(&self, vaddr: u64) -> Option<TypeName> {
        let kind = self.kind(vaddr)?;
        let pointer = kind == KIND_POINTER;
        let element = if pointer {
            self.elf
                .word(self.data, vaddr.checked_add(descriptor::ELEMENT)?)
        } else {
            None
        };
        let display = self.display(vaddr)?;
        let display = if pointer {
            display.strip_prefix('*').unwrap_or(&display)
        } else {
            &display
        };
        let named = self.flags(element.unwrap_or(vaddr))? & descriptor::FLAG_NAMED != 0;
        let Some((short, name)) = split_display(display).filter(|_| named) else {
            return Some(TypeName {
                package: Arc::from(""),
                name: Arc::from(display),
                pointer,
            });
        };
        let package = self
            .package(vaddr)
            .or_else(|| self.package(element?))
            .unwrap_or_else(|| short.to_owned());
        Some(TypeName {
            package: Arc::from(package),
            name: Arc::from(name),
            pointer,
        })
    }

    fn flags(&self, vaddr: u64) -> Option<u8> {
        self.byte(vaddr.checked_add(descriptor::FLAGS)?)
    }

    fn kind(&self, vaddr: u64) -> Option<u8> {
        let kind = self.byte(vaddr.checked_add(descriptor::KIND)?)? & KIND_MASK;
        (1..=26).contains(&kind).then_some(kind)
    }

    fn byte(&self, vaddr: u64) -> Option<u8> {
        u8_at(self.elf.bytes_from(self.data, vaddr)?, 0)
    }

    fn offset(&self, vaddr: u64) -> Option<i32> {
        array(self.elf.bytes_from(self.data, vaddr)?, 0).map(i32::from_le_bytes)
    }

    fn display(&self, vaddr: u64) -> Option<String> {
        let name = self.text(self.offset(vaddr.checked_add(descriptor::NAME)?)?)?;
        if self.flags(vaddr)? & descriptor::FLAG_EXTRA_STAR != 0 {
            return name.strip_prefix('*').map(str::to_owned);
        }
        Some(name.to_owned())
    }

    fn package(&self, vaddr: u64) -> Option<String> {
        if self.flags(vaddr)? & descriptor::FLAG_UNCOMMON == 0 {
            return None;
        }
        let kind = self.kind(vaddr)?;
        let (_, skip) = UNCOMMON_AT
            .iter()
            .find(|(kinds, _)| kinds.contains(&kind))?;
        let path = self.text(self.offset(vaddr.checked_add(*skip)?)?)?;
        (!path.is_empty()).then(|| path.to_owned())
    }

    /// A Go name: flags, length, text.
    fn text(&self, offset: i32) -> Option<&str> {
        let at = self.module.types.checked_add(u64::try_from(offset).ok()?)?;
        let bytes = tail(self.elf.bytes_from(self.data, at)?, 1)?;
        let (length, used) = uvarint(bytes)?;
        let length = usize::try_from(length).ok().filter(|&l| l <= MAX_NAME)?;
        std::str::from_utf8(bytes.get(used..used.checked_add(length)?)?).ok()
    }
}

/// Splits `context.cancelCtx` at the dot that ends the package's name; the dots of type
/// arguments do not count.
fn split_display(display: &str) -> Option<(&str, &str)> {
    let plain = display.split('[').next()?;
    let dot = plain.find('.')?;
    Some((display.get(..dot)?, display.get(dot + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::split_display;

    #[test]
    fn display_names() {
        assert_eq!(
            split_display("context.cancelCtx"),
            Some(("context", "cancelCtx"))
        );
        assert_eq!(
            split_display("main.Box[example.com/x.T]"),
            Some(("main", "Box[example.com/x.T]"))
        );
        assert_eq!(split_display("int"), None);
    }
}
