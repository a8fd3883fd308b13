//! Metadata of a gRPC stream in memory: a value of the stream's context. Read on suspicion, while the request lives.

use crate::target::Memory;
use crate::target::fields::pair_at;

use super::conn::is_value;
use super::request::look_up;
use super::{ContextOffsets, Link, LocalOffsets, RequestDetails, TypeNames, walk_chain};

/// Bytes of an interface.
const INTERFACE: usize = 16;
/// The key that gRPC keeps incoming metadata under: package and name of its type.
const KEY: (&str, &str) = ("google.golang.org/grpc/metadata", "mdIncomingKey");
/// What it keeps there: a map, whose type names its package only in short.
const VALUE: (&str, &str) = ("metadata", "MD");

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
        .find_map(|link| map_in(memory, values, types, link))?;
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

/// The map of a value of this context, if that is incoming metadata.
fn map_in(
    memory: &impl Memory,
    offsets: &LocalOffsets,
    types: &dyn TypeNames,
    link: &Link,
) -> Option<u64> {
    let len = offsets.value.checked_add(INTERFACE)?;
    let words = memory.read_bytes(link.data, len).ok()?;
    let is = |descriptor: u64, (package, name): (&str, &str)| {
        types
            .of_type(descriptor)
            .is_some_and(|found| &*found.package == package && &*found.name == name)
    };
    let (key, _) = pair_at(&words, offsets.key)?;
    let (kind, map) = pair_at(&words, u32::try_from(offsets.value).ok()?)?;
    // A map is its own data word.
    (is(key, KEY) && is(kind, VALUE)).then_some(map)
}
