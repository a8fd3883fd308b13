//! Metadata of gRPC in memory: a value of a stream's context, at either end. Read on suspicion, while the request, or the
//! call, lives.

use std::sync::Arc;

use crate::target::fields::pair_at;
use crate::target::{Memory, MemoryError};

use super::conn::is_value;
use super::request::look_up;
use super::strings::read_string;
use super::{
    ContextOffsets, Link, LocalOffsets, OutgoingOffsets, RequestDetails, TypeNames, walk_chain,
};

/// Bytes of an interface.
const INTERFACE: usize = 16;
/// The key that gRPC keeps incoming metadata under: package and name of its type.
const KEY: (&str, &str) = ("google.golang.org/grpc/metadata", "mdIncomingKey");
/// What it keeps there: a map, whose type names its package only in short.
const VALUE: (&str, &str) = ("metadata", "MD");
/// The key and the type of outgoing metadata.
const OUTGOING_KEY: (&str, &str) = ("google.golang.org/grpc/metadata", "mdOutgoingKey");
const OUTGOING: (&str, &str) = ("google.golang.org/grpc/metadata", "rawMD");
/// Longest value kept, in bytes.
const MAX_VALUE: usize = 4096;
/// Additions to metadata, and strings of each, that are looked through.
const MAX_ADDED: u64 = 64;
/// Bytes of a slice, of a string.
const SLICE: usize = 24;
const STRING: usize = 16;

/// What the stream with this context says of itself. Believed while the chain of the context leads to the stream's own,
/// whose data word is `own`. `headers` are canonical names (`X-Request-Id`).
pub fn inspect_metadata(
    memory: &impl Memory,
    (contexts, values): (&ContextOffsets, &LocalOffsets),
    types: &dyn TypeNames,
    (ctx, own): ((u64, u64), u64),
    headers: &[&str],
) -> Option<RequestDetails> {
    let chain = || walk_chain(memory, contexts, types, &|_| None, ctx).links;
    let is_own = |links: &[Link]| links.iter().position(|link| link.data == own);
    let links = chain();
    let values_only = links.get(..is_own(&links)?)?;
    let map = values_only
        .iter()
        .filter(|link| is_value(link))
        .find_map(|link| value_of(memory, values, types, link, (KEY, VALUE)))?;
    // HTTP/2 has names in lower case.
    let names: Vec<String> = headers.iter().map(|name| name.to_lowercase()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (headers, headers_whole) = look_up(memory, contexts.map, map, &names).ok()?;
    is_own(&chain())?;
    Some(RequestDetails {
        peer: None,
        proto: None,
        host: None,
        pattern: None,
        headers,
        headers_whole,
        response: Vec::new(),
    })
}

/// First value of each of these headers in the metadata that a call on this context sends; `None` where there is none, or
/// memory does not tell. What a stats handler or a transport adds to it is not there.
pub fn inspect_outgoing(
    memory: &impl Memory,
    (contexts, values, raw): (&ContextOffsets, &LocalOffsets, &OutgoingOffsets),
    types: &dyn TypeNames,
    ctx: (u64, u64),
    headers: &[&str],
) -> Option<Vec<Option<Arc<str>>>> {
    let chain = walk_chain(memory, contexts, types, &|_| None, ctx);
    let metadata = chain
        .links
        .iter()
        .filter(|link| is_value(link))
        .find_map(|link| value_of(memory, values, types, link, (OUTGOING_KEY, OUTGOING)))?;
    let names: Vec<String> = headers.iter().map(|name| name.to_lowercase()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let map = memory
        .read_u64(metadata.checked_add(u64::from(raw.map))?)
        .ok()?;
    let (mut found, _) = look_up(memory, contexts.map, map, &names).ok()?;
    let added = metadata.checked_add(u64::from(raw.added))?;
    look_through(memory, added, &names, &mut found).ok()?;
    Some(found)
}

/// Fills what is missing from names and values by turns, the first of each name.
fn look_through(
    memory: &impl Memory,
    added: u64,
    names: &[&str],
    found: &mut [Option<Arc<str>>],
) -> Result<(), MemoryError> {
    for pairs in slices(memory, added, SLICE)?.chunks_exact(SLICE) {
        let Some((texts, len)) = pair_at(pairs, 0) else {
            continue;
        };
        let len = usize::try_from(len.min(MAX_ADDED)).unwrap_or(0);
        let texts = memory.read_bytes(texts, len * STRING)?;
        for pair in texts.chunks_exact(2 * STRING) {
            let (Some(name), Some(value)) = (pair_at(pair, 0), pair_at(pair, 16)) else {
                continue;
            };
            let Some(name) = read_string(memory, name, MAX_VALUE)? else {
                continue;
            };
            let name = name.to_lowercase();
            for (wanted, slot) in names.iter().zip(&mut *found) {
                if **wanted == *name && slot.is_none() {
                    *slot = read_string(memory, value, MAX_VALUE)?;
                }
            }
        }
    }
    Ok(())
}

/// The elements of a slice at `at`, each of `size` bytes.
fn slices(memory: &impl Memory, at: u64, size: usize) -> Result<Vec<u8>, MemoryError> {
    let words = memory.read_bytes(at, STRING)?;
    let (elements, len) = pair_at(&words, 0).unwrap_or_default();
    let len = usize::try_from(len.min(MAX_ADDED)).unwrap_or(0);
    if len == 0 {
        return Ok(Vec::new());
    }
    memory.read_bytes(elements, len * size)
}

/// The data word of a value of this context, if its key and the value itself are of these types.
fn value_of(
    memory: &impl Memory,
    offsets: &LocalOffsets,
    types: &dyn TypeNames,
    link: &Link,
    (wanted_key, wanted): ((&str, &str), (&str, &str)),
) -> Option<u64> {
    let len = offsets.value.checked_add(INTERFACE)?;
    let words = memory.read_bytes(link.data, len).ok()?;
    let is = |descriptor: u64, (package, name): (&str, &str)| {
        types
            .of_type(descriptor)
            .is_some_and(|found| &*found.package == package && &*found.name == name)
    };
    let (key, _) = pair_at(&words, offsets.key)?;
    let (kind, data) = pair_at(&words, u32::try_from(offsets.value).ok()?)?;
    // A map is its own data word; a struct lies behind it.
    (is(key, wanted_key) && is(kind, wanted)).then_some(data)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::look_through;
    use crate::target::RecordedMemory;

    const ADDED: u64 = 0x1000;
    const PAIRS: u64 = 0x2000;
    const WORDS: u64 = 0x3000;
    const TEXT: u64 = 0x8000;

    fn words(memory: &mut RecordedMemory, at: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.insert(at, &bytes);
    }

    /// Additions of these names and values by turns.
    fn memory(added: &[&[&str]]) -> RecordedMemory {
        let mut memory = RecordedMemory::new();
        let len = |of: usize| u64::try_from(of).unwrap();
        words(&mut memory, ADDED, &[PAIRS, len(added.len())]);
        let mut slices = Vec::new();
        let mut text = TEXT;
        for (row, strings) in added.iter().enumerate() {
            let at = WORDS + len(row) * 0x100;
            slices.extend([at, len(strings.len()), len(strings.len())]);
            let mut headers = Vec::new();
            for string in *strings {
                memory.insert(text, string.as_bytes());
                headers.extend([text, len(string.len())]);
                text += 0x40;
            }
            words(&mut memory, at, &headers);
        }
        words(&mut memory, PAIRS, &slices);
        memory
    }

    #[test]
    fn of_what_was_added_the_first_counts_and_the_map_before_it() {
        let memory = memory(&[
            &["X-Request-ID", "a-7", "tenant", "north"],
            &["x-request-id", "b-8", "traceparent", "00-1", "odd"],
        ]);
        let names = ["x-request-id", "traceparent", "x-other"];
        let mut found = vec![None; 3];
        look_through(&memory, ADDED, &names, &mut found).unwrap();
        let text = |of: &Option<Arc<str>>| of.as_deref().map(str::to_owned);
        let said: Vec<_> = found.iter().map(text).collect();
        assert_eq!(
            said,
            [Some("a-7".to_owned()), Some("00-1".to_owned()), None]
        );
        let mut found = vec![Some(Arc::from("of the map")), None, None];
        look_through(&memory, ADDED, &names, &mut found).unwrap();
        assert_eq!(found[0].as_deref(), Some("of the map"));
    }

    #[test]
    fn nothing_added_or_nothing_to_read_is_nothing_found() {
        let mut found = vec![None];
        look_through(&memory(&[]), ADDED, &["x-request-id"], &mut found).unwrap();
        assert_eq!(found, [None]);
        let mut broken = RecordedMemory::new();
        words(&mut broken, ADDED, &[0x10, 1 << 60]);
        assert!(look_through(&broken, ADDED, &["x-request-id"], &mut found).is_err());
    }
}
