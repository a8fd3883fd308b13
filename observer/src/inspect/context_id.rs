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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{ContextId, id_in_contexts};
    use crate::go::layout::Layout;
    use crate::go::{GoVersion, TypeName};
    use crate::inspect::{ContextOffsets, LocalOffsets, MapKind, TypeNames};
    use crate::target::RecordedMemory;

    const ROOT: u64 = 0x1000;
    const VALUE: u64 = 0x2000;
    const OTHER: u64 = 0x3000;
    const TEXT: u64 = 0x4000;

    /// Types by number, as itab and as descriptor.
    struct Types;

    const CHI: &str = "github.com/go-chi/chi/v5/middleware";

    impl TypeNames for Types {
        fn of_itab(&self, itab: u64) -> Option<TypeName> {
            let (package, name, pointer) = match itab {
                1 => ("context", "cancelCtx", true),
                2 => ("context", "valueCtx", true),
                3 => (CHI, "ctxKeyRequestID", false),
                4 => ("", "string", false),
                5 => ("main", "ctxKeyRequestID", false),
                6 => ("", "int", false),
                _ => return None,
            };
            Some(TypeName {
                package: Arc::from(package),
                name: Arc::from(name),
                pointer,
            })
        }

        fn of_type(&self, descriptor: u64) -> Option<TypeName> {
            self.of_itab(descriptor)
        }
    }

    fn words(memory: &mut RecordedMemory, at: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.insert(at, &bytes);
    }

    /// `root ← value with this key and kind ← another value`, whose parent is `root`.
    fn find(key: u64, kind: u64, root: u64) -> Option<ContextId> {
        let mut memory = RecordedMemory::new();
        words(&mut memory, root, &[0, 0]);
        words(&mut memory, OTHER, &[1, root, 5, 0, 4, TEXT]);
        words(&mut memory, VALUE, &[2, OTHER, key, 0, kind, TEXT]);
        words(&mut memory, TEXT, &[TEXT + 16, 6]);
        memory.insert(TEXT + 16, b"kept-7");
        let layout = Layout::for_version(&GoVersion::parse("go1.27.3").unwrap()).unwrap();
        let contexts = ContextOffsets::of(&layout, 27, MapKind::Swiss).unwrap();
        let values = LocalOffsets::of(&layout).unwrap();
        id_in_contexts(&memory, (&contexts, &values), &Types, ROOT, &[OTHER, VALUE])
    }

    #[test]
    fn only_a_string_under_a_known_key_that_descends_from_the_request_counts() {
        let found = ContextId {
            package: Arc::from(CHI),
            value: Arc::from("kept-7"),
        };
        assert_eq!(find(3, 4, ROOT), Some(found));
        // The same name in another package, a type without a name, another kind of value.
        assert_eq!(find(5, 4, ROOT), None);
        assert_eq!(find(9, 4, ROOT), None);
        assert_eq!(find(3, 6, ROOT), None);
        // Another request's.
        assert_eq!(find(3, 4, ROOT + 0x800), None);
    }
}
