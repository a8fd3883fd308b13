//! Bounds-checked little-endian reads from a file image.
//!
//! Nothing here panics, whatever the offset.

/// `len` bytes at `offset`.
pub(super) fn slice(data: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    data.get(start..end)
}

/// The bytes from `offset` to the end.
pub(super) fn tail(data: &[u8], offset: u64) -> Option<&[u8]> {
    data.get(usize::try_from(offset).ok()?..)
}

/// `N` bytes at `offset`.
pub(super) fn array<const N: usize>(data: &[u8], offset: u64) -> Option<[u8; N]> {
    tail(data, offset)?.first_chunk::<N>().copied()
}

/// A byte at `offset`.
pub(super) fn u8_at(data: &[u8], offset: u64) -> Option<u8> {
    array::<1>(data, offset).map(|[byte]| byte)
}

/// A 32-bit word at `offset`.
pub(super) fn u32_at(data: &[u8], offset: u64) -> Option<u32> {
    array(data, offset).map(u32::from_le_bytes)
}

/// A signed 32-bit word at `offset`.
pub(super) fn i32_at(data: &[u8], offset: u64) -> Option<i32> {
    array(data, offset).map(i32::from_le_bytes)
}

/// A 64-bit word at `offset`.
pub(super) fn u64_at(data: &[u8], offset: u64) -> Option<u64> {
    array(data, offset).map(u64::from_le_bytes)
}

/// A base-128 number at the start of `data`, and how many bytes it took.
pub(super) fn uvarint(data: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0u32;
    for (index, &byte) in data.iter().take(5).enumerate() {
        let shift = u32::try_from(index * 7).ok()?;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{tail, u64_at, uvarint};

    #[test]
    fn reads_stop_at_the_end() {
        assert_eq!(u64_at(&[1, 0, 0, 0, 0, 0, 0, 0, 9], 1), Some(9 << 56));
        assert_eq!(u64_at(&[1; 8], 1), None);
        assert_eq!(u64_at(&[1; 8], u64::MAX), None);
        assert_eq!(tail(&[1; 8], 8), Some(&[][..]));
    }

    #[test]
    fn varints() {
        assert_eq!(uvarint(&[0x05]), Some((5, 1)));
        assert_eq!(uvarint(&[0xac, 0x02, 0xff]), Some((300, 2)));
        assert_eq!(
            uvarint(&[0xff, 0xff, 0xff, 0xff, 0x0f]),
            Some((u32::MAX, 5))
        );
        assert_eq!(uvarint(&[0x80; 9]), None);
        assert_eq!(uvarint(&[]), None);
    }
}
