//! Contexts in memory: what they descend from, whether they are cancelled, who is registered below them.

use crate::go::TypeName;
use crate::target::{Memory, MemoryError};

use super::gomap::{MapShape, Seen, for_each};
use super::{ContextOffsets, ErrorKind, ErrorOffsets, TypeNames, error_kind, error_kind_of_type};
use crate::target::fields::pair_at;

/// Links followed in one chain.
const MAX_LINKS: usize = 32;
/// Children listed of one context.
const MAX_CHILDREN: usize = 4096;

/// Where a type of context keeps its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParentAt {
    /// The parent interface lies at this offset of the struct.
    Offset(u32),
    /// The struct begins with a pointer to another, which begins with the parent interface.
    BehindPointer,
    /// It has none.
    Root,
}

impl ParentAt {
    /// The types of package `context`; `None` for every other.
    #[must_use]
    pub fn standard(name: &TypeName, offsets: &ContextOffsets) -> Option<Self> {
        if &*name.package != "context" {
            return None;
        }
        match &*name.name {
            "emptyCtx" | "backgroundCtx" | "todoCtx" => Some(Self::Root),
            "timerCtx" if offsets.timer_holds_pointer => Some(Self::BehindPointer),
            "cancelCtx" | "timerCtx" | "afterFuncCtx" | "valueCtx" | "stopCtx"
            | "withoutCancelCtx" => Some(Self::Offset(0)),
            _ => None,
        }
    }
}

/// One context of a chain.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Link {
    /// Its itab, as read.
    pub itab: u64,
    /// Its data word: the identity of a context.
    pub data: u64,
    /// Its type, where it has a name.
    pub type_name: Option<TypeName>,
}

/// Why a chain ends where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainEnd {
    /// At a context that has no parent: `Background`, `TODO`.
    Root,
    /// At a type whose layout nobody vouches for: what lies above is unknown.
    OpaqueType,
    /// At a parent that is nil.
    Nil,
    /// At the bound on links.
    TooDeep,
    /// At memory that cannot be read.
    Unreadable,
}

/// A context and what it descends from, leaf first.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Chain {
    /// The links, the last one included at which the walk ended.
    pub links: Vec<Link>,
    /// Why it ended.
    pub end: ChainEnd,
}

/// Walks up from the context whose two words are given, through types that [`ParentAt::standard`] or `known`
/// vouch for. A chain says what a context holds, not what cancels it: a type may cut cancellation.
pub fn walk_chain(
    memory: &impl Memory,
    offsets: &ContextOffsets,
    types: &dyn TypeNames,
    known: &dyn Fn(&TypeName) -> Option<ParentAt>,
    (itab, data): (u64, u64),
) -> Chain {
    let mut links = Vec::new();
    let (mut itab, mut data) = (itab, data);
    let end = loop {
        if itab == 0 {
            break ChainEnd::Nil;
        }
        if links.len() >= MAX_LINKS {
            break ChainEnd::TooDeep;
        }
        let type_name = types.of_itab(itab);
        let parent_at = type_name
            .as_ref()
            .and_then(|name| ParentAt::standard(name, offsets).or_else(|| known(name)));
        links.push(Link {
            itab,
            data,
            type_name,
        });
        let parent = match parent_at {
            None => break ChainEnd::OpaqueType,
            Some(ParentAt::Root) => break ChainEnd::Root,
            Some(ParentAt::Offset(offset)) => Ok(data.saturating_add(u64::from(offset))),
            Some(ParentAt::BehindPointer) => memory.read_u64(data),
        };
        match parent.and_then(|addr| memory.read_bytes(addr, 16)) {
            Ok(words) => (itab, data) = pair_at(&words, 0).unwrap_or((0, 0)),
            Err(_) => break ChainEnd::Unreadable,
        }
    };
    Chain { links, end }
}

/// What a cancelable context says of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CancelState {
    /// Its done channel, an address of `runtime.hchan`; `None` while nobody asked for it.
    pub done: Option<u64>,
    /// Why it is cancelled; `None` while it is not.
    pub err: Option<ErrorKind>,
}

/// Address of the `cancelCtx` inside a context of this type; `None` for types that have none.
fn cancel_part(
    memory: &impl Memory,
    offsets: &ContextOffsets,
    name: &TypeName,
    data: u64,
) -> Result<Option<u64>, MemoryError> {
    if &*name.package != "context" {
        return Ok(None);
    }
    match &*name.name {
        "timerCtx" if offsets.timer_holds_pointer => memory.read_u64(data).map(Some),
        "cancelCtx" | "timerCtx" | "afterFuncCtx" => Ok(Some(data)),
        _ => Ok(None),
    }
}

/// Done channel and error of the context at `data`, whose type is `name`; `None` where such contexts cannot be
/// cancelled themselves.
///
/// # Errors
/// It cannot be read.
pub fn inspect_cancel(
    memory: &impl Memory,
    offsets: &ContextOffsets,
    errors: &ErrorOffsets,
    types: &dyn TypeNames,
    name: &TypeName,
    data: u64,
) -> Result<Option<CancelState>, MemoryError> {
    let Some(cancel_ctx) = cancel_part(memory, offsets, name, data)? else {
        return Ok(None);
    };
    let last = offsets.done.max(offsets.err);
    let len = usize::try_from(last).unwrap_or(0).saturating_add(16);
    let block = memory.read_bytes(cancel_ctx, len)?;
    let unmapped = MemoryError::Unmapped { addr: cancel_ctx };
    // The channel itself is the data word of the atomic.Value.
    let (_, done) = pair_at(&block, offsets.done).ok_or(unmapped)?;
    let words = pair_at(&block, offsets.err).ok_or(unmapped)?;
    let err = if offsets.err_is_atomic {
        error_kind_of_type(memory, types, words)?
    } else {
        error_kind(memory, errors, types, words)?
    };
    Ok(Some(CancelState {
        done: (done != 0).then_some(done),
        err,
    }))
}

/// Contexts registered below another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Children {
    /// Data words of the children: whoever stands here is cancelled with the parent.
    pub data: Vec<u64>,
    /// All of them. Even so a child missing proves little: the map changes while it is read.
    pub whole: bool,
}

/// The contexts registered in the context at `data`, whose type is `name`; `None` where such contexts keep none.
///
/// # Errors
/// They cannot be read.
pub fn children(
    memory: &impl Memory,
    offsets: &ContextOffsets,
    name: &TypeName,
    data: u64,
) -> Result<Option<Children>, MemoryError> {
    let Some(cancel_ctx) = cancel_part(memory, offsets, name, data)? else {
        return Ok(None);
    };
    let map = memory.read_u64(cancel_ctx.saturating_add(u64::from(offsets.children)))?;
    let shape = MapShape {
        kind: offsets.map,
        key: 16,
        value: 0,
        slot: offsets.children_slot,
    };
    let mut found = Vec::new();
    let seen = for_each(memory, shape, map, |key, _| {
        found.extend(pair_at(key, 0).map(|(_, data)| data));
        Ok(found.len() < MAX_CHILDREN)
    })?;
    Ok(Some(Children {
        whole: seen == Seen::All && found.len() < MAX_CHILDREN,
        data: found,
    }))
}
