//! The hooks of goroutines. Once per goroutine is often: they are a group of their own, attached where asked for.

use observer_common::hook::HookId;

use crate::finding::RuleName;

use super::catalogue::{ALWAYS, GOID, Hook, Rate, Since};

/// A goroutine is made. Not `newproc1`, which others call too: this is what a `go` statement comes to.
pub(super) const CREATE: Hook = Hook {
    id: HookId::GoroutineCreate,
    symbols: &[Since {
        symbol: "runtime.newproc.func1",
        from: 18,
        to: ALWAYS,
    }],
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
    symbols: &[Since {
        symbol: "runtime.goexit0",
        from: 18,
        to: ALWAYS,
    }],
    fields: &[GOID],
    rate: Rate::Hot,
    rules: &[RuleName::GoroutineLeak],
    absent: None,
    required: false,
};

/// The function whose direct call is the site of a hook, where it is one, by hook and first minor version.
///
/// A call that the compiler has inlined is no call: then there is no site, and the hook is off. From Go 1.22 on
/// `goexit0` leaves the goroutine's end to `gdestroy`, which coroutines call too; a profile makes it disappear here.
const CALLEES: &[(HookId, u32, &str)] = &[
    (HookId::GoroutineCreate, 18, "runtime.runqput"),
    (HookId::GoroutineEnd, 22, "runtime.gdestroy"),
];

/// Each is of no use without the other: an end that was never begun, or a goroutine that seems to live for ever.
pub(super) const PAIR: [HookId; 2] = [HookId::GoroutineCreate, HookId::GoroutineEnd];

/// See [`CALLEES`].
pub(super) fn callee(hook: HookId, minor: u32) -> Option<&'static str> {
    CALLEES
        .iter()
        .find(|(of, from, _)| *of == hook && *from <= minor)
        .map(|(_, _, callee)| *callee)
}
