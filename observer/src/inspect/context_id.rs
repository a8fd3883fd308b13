//! Request IDs that a middleware keeps in a value of a context.

use std::sync::Arc;

use crate::go::TypeName;
use crate::target::{Memory, fields::pair_at};

use super::context::walk_chain;
use super::strings::read_string;
use super::{ContextOffsets, LocalOffsets, TypeNames};

/// Longest ID kept, in bytes.
const MAX_VALUE: usize = 4096;
/// Bytes of an interface.
const INTERFACE: usize = 16;

/// A type of keys under which contexts hold request IDs, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestIdKey {
    /// Path of its package.
    pub package: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Why it is certain.
    pub reason: &'static str,
}

/// All that are certain. Whoever adds one adds a route with the real middleware to `tests/targets/modules/routers`.
pub const REQUEST_ID_KEYS: &[RequestIdKey] = &[
    RequestIdKey {
        package: "github.com/go-chi/chi/v5/middleware",
        name: "ctxKeyRequestID",
        reason: "chi's RequestID is the only user of this type, with a string; it sets no header of the answer",
    },
    RequestIdKey {
        package: "github.com/go-chi/chi/middleware",
        name: "ctxKeyRequestID",
        reason: "the same up to chi 4",
    },
];

impl RequestIdKey {
    fn is(&self, name: &TypeName) -> bool {
        !name.pointer && &*name.package == self.package && &*name.name == self.name
    }
}

/// An ID found in a context.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ContextId {
    /// The package whose key it has.
    pub package: Arc<str>,
    /// The ID.
    pub value: Arc<str>,
}

/// The first request ID among the `context.valueCtx` at these addresses, each of which was seen in a chain of the
/// request whose own context has the data word `root`. One is believed while it leads up to that context: this
/// cannot be true of memory that serves another request by now.
pub fn id_in_contexts(
    memory: &impl Memory,
    (contexts, values): (&ContextOffsets, &LocalOffsets),
    types: &dyn TypeNames,
    root: u64,
    at: &[u64],
) -> Option<ContextId> {
    at.iter().find_map(|at| {
        let block = |at| {
            memory
                .read_bytes(at, values.value.checked_add(INTERFACE)?)
                .ok()
        };
        let words = block(*at)?;
        let (key, _) = pair_at(&words, values.key)?;
        let (kind, data) = pair_at(&words, u32::try_from(values.value).ok()?)?;
        let name = types.of_type(key)?;
        let known = REQUEST_ID_KEYS.iter().find(|known| known.is(&name))?;
        if types.of_type(kind)? != string() {
            return None;
        }
        let text = memory.read_bytes(data, INTERFACE).ok()?;
        let value = read_string(memory, pair_at(&text, 0)?, MAX_VALUE).ok()??;
        let parent = pair_at(&words, 0)?;
        let chain = walk_chain(memory, contexts, types, &|_| None, parent);
        let ours = chain.links.iter().any(|link| link.data == root);
        (ours && !value.is_empty() && block(*at)? == words).then(|| ContextId {
            package: Arc::from(known.package),
            value,
        })
    })
}

fn string() -> TypeName {
    TypeName {
        package: Arc::from(""),
        name: Arc::from("string"),
        pointer: false,
    }
}
