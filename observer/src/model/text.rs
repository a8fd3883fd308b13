//! Text from foreign memory.

use std::borrow::Cow;
use std::sync::Arc;

/// Bytes as text; what is not UTF-8 becomes the replacement character. `None` for no bytes.
pub(super) fn text(bytes: &[u8]) -> Option<Arc<str>> {
    (!bytes.is_empty()).then(|| lossy(bytes).into())
}

/// Bytes as text; what is not UTF-8 becomes the replacement character.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    // Looks at words, not bytes, and hardly ever fails.
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// The first `len` of `bytes`, or all.
pub(super) fn head(bytes: &[u8], len: u64) -> &[u8] {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(..len).unwrap_or(&[])
}
