//! A program counter as the source's author sees it: the function and every call inlined there.
//!
//! Reads tables only; which program counters belong to a stack is for `inspect` to know.

use std::sync::Arc;

use rustc_hash::FxHashSet;

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
    start_line: Option<u64>,
}

/// Go 1.18 and 1.19.
const OLD: InlineShape = InlineShape {
    size: 20,
    name: 12,
    parent_pc: 16,
    start_line: None,
};
/// Go 1.20 and newer.
const NEW: InlineShape = InlineShape {
    size: 16,
    name: 4,
    parent_pc: 8,
    start_line: Some(12),
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
        && let Some(call) = inlined_call(table, record, pc, tree, shape)
    {
        frames.push(frame(table, record, pc, call.name));
        pc = call.parent_pc;
    }
    frames.push(frame(table, record, pc, record.name_offset()));
    frames
}

/// The outermost function that was inlined at `pc`, at the line that declares it. `None` where nothing was inlined,
/// or where tables do not tell such lines (before Go 1.20).
pub(super) fn outermost_inlined(
    table: &Table<'_>,
    record: &Record,
    pc: u32,
    funcdata: &[u8],
    shape: &InlineShape,
) -> Option<Frame> {
    let tree = tail(funcdata, u64::from(table.inline_tree(record)?))?;
    let mut pc = pc;
    let mut outermost = None;
    for _ in 0..MAX_DEPTH {
        let Some(call) = inlined_call(table, record, pc, tree, shape) else {
            break;
        };
        outermost = Some((pc, call.name, call.line));
        pc = call.parent_pc;
    }
    let (pc, name, line) = outermost?;
    let line = line?;
    Some(Frame {
        line,
        ..frame(table, record, pc, name)
    })
}

/// One record of an inline tree.
struct InlinedCall {
    name: i32,
    parent_pc: u32,
    line: Option<u32>,
}

/// Names, by their offset, of what was inlined into one of these functions.
pub(super) fn inlined_into(
    table: &Table<'_>,
    records: impl Iterator<Item = Record>,
    funcdata: &[u8],
    shape: &InlineShape,
) -> FxHashSet<i32> {
    let mut names = FxHashSet::default();
    for record in records {
        let tree = table
            .inline_tree(&record)
            .and_then(|offset| tail(funcdata, u64::from(offset)));
        let Some(tree) = tree else { continue };
        let calls = (0..table.inline_count(&record)).map_while(|at| call_at(tree, at, shape));
        names.extend(calls.map(|call| call.name));
    }
    names
}

fn inlined_call(
    table: &Table<'_>,
    record: &Record,
    pc: u32,
    tree: &[u8],
    shape: &InlineShape,
) -> Option<InlinedCall> {
    call_at(tree, table.inline_index(record, pc)?, shape)
}

fn call_at(tree: &[u8], index: u32, shape: &InlineShape) -> Option<InlinedCall> {
    let call = u64::from(index.checked_mul(shape.size)?);
    let word = |at: u64| i32_at(tree, call.checked_add(at)?);
    Some(InlinedCall {
        name: word(shape.name)?,
        parent_pc: u32::try_from(word(shape.parent_pc)?).ok()?,
        line: shape
            .start_line
            .and_then(|at| u32::try_from(word(at)?).ok()),
    })
}

fn frame(table: &Table<'_>, record: &Record, pc: u32, name: i32) -> Frame {
    let (file, line) = table.file_line(record, pc);
    Frame {
        function: Arc::from(table.name(name).unwrap_or_default()),
        file: Arc::from(file),
        line,
    }
}
