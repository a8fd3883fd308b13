//! Where fields are in the kernel's structs, from the kernel's own type information (BTF).
//!
//! Reads as much of the format as it takes to find a struct by name and a member in it
//! (`Documentation/bpf/btf.rst` of the kernel). Foreign bytes: everything is checked.

/// First two bytes, in the byte order of the machine that runs the kernel.
const MAGIC: u16 = 0xeb9f;
/// Bytes of `struct btf_type`, and of `struct btf_member`.
const TYPE: usize = 12;
const MEMBER: usize = 12;
/// `BTF_KIND_…`.
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;
/// Structs without a name in structs without a name: the kernel nests them a few deep.
const MAX_DEPTH: u32 = 8;

/// The type information of a kernel.
#[derive(Debug)]
pub struct Btf<'a> {
    strings: &'a [u8],
    /// Types as they lie in the file, by number; number 0 is `void`.
    types: Vec<&'a [u8]>,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

fn usize_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

const fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

/// Members, parameters or values that follow a type.
const fn count(info: u32) -> usize {
    (info & 0xffff) as usize
}

/// Bytes that follow a `btf_type`; `None` for a kind that is not known, and so cannot be passed over.
const fn tail(info: u32) -> Option<usize> {
    Some(match kind(info) {
        1 | 14 | 17 => 4,
        2 | 7..=12 | 16 | 18 => 0,
        3 => 12,
        STRUCT | UNION | 15 | 19 => count(info) * MEMBER,
        6 | 13 => count(info) * 8,
        _ => return None,
    })
}

impl<'a> Btf<'a> {
    /// Takes the file apart. `None` where it is no BTF that is understood.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let magic = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let body = bytes.get(usize_at(bytes, 4)?..)?;
        let section = |at: usize| {
            let (start, len) = (usize_at(bytes, at)?, usize_at(bytes, at + 4)?);
            body.get(start..start.checked_add(len)?)
        };
        let (mut rest, strings) = (section(8)?, section(16)?);
        let mut types = vec![&[][..]];
        while !rest.is_empty() {
            let len = TYPE.checked_add(tail(u32_at(rest, 4)?)?)?;
            let (one, others) = rest.split_at_checked(len)?;
            types.push(one);
            rest = others;
        }
        Some(Self { strings, types })
    }

    fn name(&self, at: usize) -> Option<&'a [u8]> {
        self.strings.get(at..)?.split(|byte| *byte == 0).next()
    }

    fn find(&self, wanted: u32, name: &str) -> Option<&'a [u8]> {
        self.types.iter().copied().find(|one| {
            u32_at(one, 4).map(kind) == Some(wanted)
                && usize_at(one, 0).and_then(|at| self.name(at)) == Some(name.as_bytes())
        })
    }

    /// Whether there is a typedef of that name: each tracepoint has one, `btf_trace_NAME`.
    #[must_use]
    pub fn has_typedef(&self, name: &str) -> bool {
        self.find(TYPEDEF, name).is_some()
    }

    /// Bytes from the start of `struct of` to its member `field`, also through members without name.
    #[must_use]
    pub fn offset(&self, of: &str, field: &str) -> Option<u32> {
        self.member(self.find(STRUCT, of)?, field, 0)
    }

    fn member(&self, of: &'a [u8], field: &str, depth: u32) -> Option<u32> {
        let info = u32_at(of, 4)?;
        let bit_fields = info >> 31 != 0;
        (0..count(info)).find_map(|number| {
            let at = TYPE + number * MEMBER;
            let bits = u32_at(of, at + 8)?;
            // Where the struct has bit fields, the high byte is the width: 0 for a whole member.
            let (bits, whole) = match bit_fields {
                true => (bits & 0x00ff_ffff, bits >> 24 == 0),
                false => (bits, true),
            };
            match self.name(usize_at(of, at)?)? {
                name if name == field.as_bytes() && whole => Some(bits / 8),
                [] if depth < MAX_DEPTH => {
                    let inner = *self.types.get(usize_at(of, at + 4)?)?;
                    let holds_members = matches!(kind(u32_at(inner, 4)?), STRUCT | UNION);
                    let found = self.member(inner, field, depth + 1);
                    found.filter(|_| holds_members)?.checked_add(bits / 8)
                }
                _ => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Btf, MAGIC, STRUCT, TYPEDEF, UNION};
    use proptest::prelude::{any, prop, prop_assert, proptest};

    /// A file with these types; a name is given by its place in `\0a\0b\0c\0`.
    fn file(types: &[u32]) -> Vec<u8> {
        let strings = b"\0sock\0num\0net\0btf_trace_x\0";
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let lens = [types.len(), strings.len()].map(|len| u32::try_from(len).unwrap());
        for word in [24, 0, lens[0], lens[0], lens[1]] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    const SOCK: u32 = 1;
    const NUM: u32 = 6;
    const NET: u32 = 10;
    const TRACE: u32 = 14;

    fn sock() -> Vec<u8> {
        file(&[
            // 1: an int.
            0,
            1 << 24,
            4,
            32,
            // 2: a union without name, `num` in it.
            0,
            UNION << 24 | 1,
            4,
            NUM,
            1,
            0,
            // 3: `struct sock`, that union at byte 12, a bit field, `net` at byte 40.
            SOCK,
            1 << 31 | STRUCT << 24 | 3,
            48,
            0,
            2,
            96,
            NET,
            1,
            3 << 24 | 130,
            NET,
            1,
            320,
            // 4: a typedef.
            TRACE,
            TYPEDEF << 24,
            1,
        ])
    }

    #[test]
    fn members_are_found_also_through_those_without_name() {
        let bytes = sock();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.offset("sock", "num"), Some(12));
        assert_eq!(btf.offset("sock", "net"), Some(40));
        assert_eq!(btf.offset("sock", "other"), None);
        assert_eq!(btf.offset("stock", "net"), None);
        assert!(btf.has_typedef("btf_trace_x"));
        assert!(!btf.has_typedef("sock"));
    }

    #[test]
    fn a_struct_within_itself_ends() {
        let bytes = file(&[SOCK, STRUCT << 24 | 1, 8, 0, 1, 0]);
        assert_eq!(Btf::parse(&bytes).unwrap().offset("sock", "num"), None);
    }

    #[test]
    fn a_kind_of_the_future_is_refused() {
        assert!(Btf::parse(&file(&[0, 31 << 24, 0])).is_none());
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(
            cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut bytes = sock();
            let len = bytes.len();
            *bytes.get_mut(at.index(len)).unwrap() = byte;
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Some(btf) = Btf::parse(&bytes) {
                let num = btf.offset("sock", "num");
                prop_assert!(num.is_none() || btf.offset("sock", "other").is_none());
                prop_assert!(!btf.has_typedef("btf_trace_y"));
            }
        }
    }
}
