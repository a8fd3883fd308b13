//! A program counter as the source's author sees it: the function and every call inlined there.
//!
//! Reads tables only; which program counters belong to a stack is for `inspect` to know.

use std::sync::Arc;

use super::bytes::{i32_at, tail};
use super::pclntab::{Record, Table};
use crate::go::Frame;

/// A longer chain of inlined calls is taken as damage: the compiler's deepest are below 30.
const MAX_DEPTH: usize = 128;

/// Shape of one record of an inline tree.
pub(super) struct InlineShape {
    size: u32,
    name: u64,
    parent_pc: u64,
}

/// Go 1.18 and 1.19.
const OLD: InlineShape = InlineShape {
    size: 20,
    name: 12,
    parent_pc: 16,
};
/// Go 1.20 and newer.
const NEW: InlineShape = InlineShape {
    size: 16,
    name: 4,
    parent_pc: 8,
};

impl InlineShape {
    /// The shape that goes with the pclntab's header.
    pub(super) fn of(has_start_lines: bool) -> &'static Self {
        if has_start_lines { &NEW } else { &OLD }
    }
}

/// The logical frames at `pc` bytes into the function, innermost first. `funcdata` is the
/// image from the module's funcdata base on.
pub(super) fn expand(
    table: &Table<'_>,
    record: &Record,
    pc: u32,
    funcdata: &[u8],
    shape: &InlineShape,
) -> Vec<Frame> {
    let tree = table
        .inline_tree(record)
        .and_then(|offset| tail(funcdata, u64::from(offset)));
    let mut frames = Vec::new();
    let mut pc = pc;
    while let Some(tree) = tree
        && frames.len() < MAX_DEPTH
        && let Some((name, parent_pc)) = inlined_call(table, record, pc, tree, shape)
    {
        frames.push(frame(table, record, pc, name));
        pc = parent_pc;
    }
    frames.push(frame(table, record, pc, record.name_offset()));
    frames
}

fn inlined_call(
    table: &Table<'_>,
    record: &Record,
    pc: u32,
    tree: &[u8],
    shape: &InlineShape,
) -> Option<(i32, u32)> {
    let call = u64::from(table.inline_index(record, pc)?.checked_mul(shape.size)?);
    let name = i32_at(tree, call.checked_add(shape.name)?)?;
    let parent = i32_at(tree, call.checked_add(shape.parent_pc)?)?;
    Some((name, u32::try_from(parent).ok()?))
}

fn frame(table: &Table<'_>, record: &Record, pc: u32, name: i32) -> Frame {
    let (file, line) = table.file_line(record, pc);
    Frame {
        function: Arc::from(table.name(name).unwrap_or_default()),
        file: Arc::from(file),
        line,
    }
}
