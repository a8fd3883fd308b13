//! Text from foreign memory.

use std::borrow::Cow;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use rustc_hash::FxHasher;

/// Texts remembered at once: a power of two.
const REMEMBERED: usize = 256;

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

/// Texts that come again and again, such as methods and paths: each is held once while others do not take its
/// place.
#[derive(Debug)]
pub(super) struct Texts {
    places: Box<[Option<Arc<str>>; REMEMBERED]>,
    /// Where parts are put together.
    joined: Vec<u8>,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            places: Box::new([const { None }; REMEMBERED]),
            joined: Vec::new(),
        }
    }
}

impl Texts {
    /// What [`text`] gives, mostly without making it anew.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Option<Arc<str>> {
        if bytes.is_empty() {
            return None;
        }
        let mut hasher = FxHasher::default();
        bytes.hash(&mut hasher);
        // What is left of the division is below the number of places.
        let place = usize::try_from(hasher.finish() % REMEMBERED as u64).unwrap_or(0);
        let place = self.places.get_mut(place)?;
        if let Some(known) = place.as_ref().filter(|known| known.as_bytes() == bytes) {
            return Some(Arc::clone(known));
        }
        let made: Arc<str> = lossy(bytes).into();
        *place = Some(Arc::clone(&made));
        Some(made)
    }

    /// The same of what parts are together.
    pub(super) fn keep_joined(&mut self, parts: &[&[u8]]) -> Option<Arc<str>> {
        let mut joined = std::mem::take(&mut self.joined);
        joined.clear();
        for part in parts {
            joined.extend_from_slice(part);
        }
        let kept = self.keep(&joined);
        self.joined = joined;
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{Texts, text};

    #[test]
    fn equal_texts_are_one() {
        let mut texts = Texts::default();
        let first = texts.keep(b"/item/7").unwrap();
        let again = texts.keep(b"/item/7").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(texts.keep(b""), None);
        let joined = texts.keep_joined(&[b"/item", b"/", b"7"]).unwrap();
        assert!(Arc::ptr_eq(&first, &joined));
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_would_be_made(all in proptest::collection::vec(any::<[u8; 2]>(), 0..2_000)) {
            let mut texts = Texts::default();
            for bytes in &all {
                prop_assert_eq!(texts.keep(bytes), text(bytes));
            }
        }
    }
}
