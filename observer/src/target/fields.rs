//! Little-endian fields of a block of foreign bytes. Out of range is `None`, never a panic.

/// `N` bytes at `offset`.
fn array<const N: usize>(block: &[u8], offset: u32) -> Option<[u8; N]> {
    let from = usize::try_from(offset).ok()?;
    block.get(from..)?.first_chunk::<N>().copied()
}

/// The byte at `offset`.
pub(crate) fn u8_at(block: &[u8], offset: u32) -> Option<u8> {
    array::<1>(block, offset).map(|[byte]| byte)
}

/// The 32-bit word at `offset`.
pub(crate) fn u32_at(block: &[u8], offset: u32) -> Option<u32> {
    array(block, offset).map(u32::from_le_bytes)
}

/// The 64-bit word at `offset`.
pub(crate) fn u64_at(block: &[u8], offset: u32) -> Option<u64> {
    array(block, offset).map(u64::from_le_bytes)
}

/// Two words at `offset`: a string, or an interface.
pub(crate) fn pair_at(block: &[u8], offset: u32) -> Option<(u64, u64)> {
    Some((
        u64_at(block, offset)?,
        u64_at(block, offset.checked_add(8)?)?,
    ))
}
