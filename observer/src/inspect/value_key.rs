//! Under which key a `context.valueCtx` holds its value.

use crate::go::{Frame, TypeName};
use crate::target::{Memory, fields::pair_at};

use super::LocalOffsets;

/// A `context.valueCtx`, as it was seen in a chain of contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ValueLink {
    /// What names its type as a context.
    pub itab: u64,
    /// Where it lies.
    pub data: u64,
    /// Data word of the context that it was made from.
    pub parent: u64,
}

/// The key of a value in a context.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ValueKey {
    /// Its type.
    pub type_name: TypeName,
    /// The only line of the program that can have put it there: its logical frames, innermost first, as far as all
    /// copies of it have them in common. Empty where several lines can have.
    pub made: Vec<Frame>,
}

/// The two words of a value's key. It is believed while the value still has the parent that it was seen with, which
/// never changes: `None` for memory that holds something else by now.
pub fn value_key(
    memory: &impl Memory,
    offsets: &LocalOffsets,
    link: ValueLink,
) -> Option<(u64, u64)> {
    let block = || memory.read_bytes(link.data, offsets.value).ok();
    let words = block()?;
    let (_, parent) = pair_at(&words, 0)?;
    let key = pair_at(&words, offsets.key)?;
    (parent == link.parent && block()? == words).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::{ValueLink, value_key};
    use crate::go::GoVersion;
    use crate::go::layout::Layout;
    use crate::inspect::LocalOffsets;
    use crate::target::RecordedMemory;

    #[test]
    fn a_key_is_believed_while_its_value_has_the_same_parent() {
        let layout = Layout::for_version(&GoVersion::parse("go1.27.3").unwrap()).unwrap();
        let offsets = LocalOffsets::of(&layout).unwrap();
        let mut memory = RecordedMemory::new();
        let words = [2u64, 0x1000, 3, 0x5000, 4, 0x6000];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.insert(0x2000, &bytes);
        let read = |data, parent| {
            let link = ValueLink {
                itab: 1,
                data,
                parent,
            };
            value_key(&memory, &offsets, link)
        };
        assert_eq!(read(0x2000, 0x1000), Some((3, 0x5000)));
        assert_eq!(read(0x2000, 0x1008), None);
        assert_eq!(read(0x9000, 0x1000), None);
    }
}
