//! The hooks of goroutines. Once per goroutine is often: they are a group of their own, attached where asked for.

use observer_common::hook::HookId;

use crate::finding::RuleName;

use super::hook::{GOID, Hook, Rate, always};

/// A goroutine is made. Not `newproc1`, which others call too: this is what a `go` statement comes to.
pub(super) const CREATE: Hook = Hook {
    id: HookId::GoroutineCreate,
    symbols: &[always("runtime.newproc.func1")],
    fields: &[
        GOID,
        ("runtime.g", "gopc"),
        ("runtime.g", "startpc"),
        ("runtime.g", "m"),
        ("runtime.m", "curg"),
    ],
    rate: Rate::Hot,
    rules: &[RuleName::GoroutineLeak],
    absent: None,
    required: false,
};

/// A goroutine ends.
pub(super) const END: Hook = Hook {
    id: HookId::GoroutineEnd,
    symbols: &[always("runtime.goexit0")],
    fields: &[GOID],
    rate: Rate::Hot,
    rules: &[RuleName::GoroutineLeak],
    absent: None,
    required: false,
};

/// Each is of no use without the other: an end that was never begun, or a goroutine that seems to live for ever.
pub(super) const PAIR: [HookId; 2] = [HookId::GoroutineCreate, HookId::GoroutineEnd];
