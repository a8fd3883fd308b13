//! `database/sql`: a connection is asked for, queries are handed to drivers, connections come back.

use crate::event::{Kind, Link, SqlCalled, SqlReturned};
use crate::hook::HookId;
use crate::layout::Layout;
use crate::limits::MAX_QUERY;
use crate::mem::MemRead;
use crate::regs::Registers;

use super::{Skip, bounded, walk};

/// What the registers say: where the context is differs between methods and functions.
#[derive(Clone, Copy)]
struct Args {
    ctx: Link,
    conn: u64,
    /// Address and length of the query's text.
    query: [u64; 2],
}

/// `(*DB).conn(ctx, strategy)`. `Ok(true)` when something was cut by a failed read; so for all below.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read; so for all below.
#[inline(always)]
pub fn conn_asked<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut SqlCalled,
) -> Result<bool, Skip> {
    let args = Args {
        ctx: method_ctx(regs),
        conn: 0,
        query: [0; 2],
    };
    fill(mem, layout, regs, HookId::SqlConn, args, record)
}

/// `(*DB).queryDC(ctx, txctx, dc, release, query, args)`.
///
/// # Errors
/// See [`conn_asked`].
#[inline(always)]
pub fn queried<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut SqlCalled,
) -> Result<bool, Skip> {
    let args = Args {
        ctx: method_ctx(regs),
        conn: regs.arg::<5>(),
        query: [regs.arg::<7>(), regs.arg::<8>()],
    };
    fill(mem, layout, regs, HookId::SqlQuery, args, record)
}

/// `(*DB).execDC(ctx, dc, release, query, args)`.
///
/// # Errors
/// See [`conn_asked`].
#[inline(always)]
pub fn executed<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut SqlCalled,
) -> Result<bool, Skip> {
    let args = Args {
        ctx: method_ctx(regs),
        conn: regs.arg::<3>(),
        query: [regs.arg::<5>(), regs.arg::<6>()],
    };
    fill(mem, layout, regs, HookId::SqlExec, args, record)
}

/// `rowsiFromStatement(ctx, ci, ds, args)`, and `resultFromStatement` with the same arguments; `hook` says which.
/// Neither has the text.
///
/// # Errors
/// See [`conn_asked`].
#[inline(always)]
pub fn by_statement<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    hook: HookId,
    record: &mut SqlCalled,
) -> Result<bool, Skip> {
    let args = Args {
        ctx: Link {
            itab: regs.arg::<0>(),
            data: regs.arg::<1>(),
        },
        conn: 0,
        query: [0; 2],
    };
    fill(mem, layout, regs, hook, args, record)
}

/// `(*DB).putConn(dc, err, resetSession)`.
///
/// # Errors
/// See [`conn_asked`].
#[inline(always)]
pub fn returned<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut SqlReturned,
) -> Result<(), Skip> {
    record.header.kind = Kind::SqlReturned as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.conn = regs.arg::<1>();
    record.err = Link {
        itab: regs.arg::<2>(),
        data: regs.arg::<3>(),
    };
    Ok(())
}

/// The context of a method: the receiver comes first.
#[inline(always)]
fn method_ctx<R: Registers>(regs: &R) -> Link {
    Link {
        itab: regs.arg::<1>(),
        data: regs.arg::<2>(),
    }
}

#[inline(always)]
fn fill<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    hook: HookId,
    args: Args,
    record: &mut SqlCalled,
) -> Result<bool, Skip> {
    record.header.kind = Kind::SqlCalled as u8;
    walk::goroutine(mem, layout, regs.g(), &mut record.header, &mut record.chain)?;
    record.hook = hook as u64;
    record.conn = args.conn;
    record.links = walk::chain(mem, layout, args.ctx, &mut record.chain);
    let (frames, partial) = walk::stack(mem, regs, &mut record.pcs);
    record.frames = frames;
    let [text, len] = args.query;
    let len = bounded(len, MAX_QUERY as u64);
    let read = len == 0 || mem.read_prefix(text, &mut record.query, len);
    record.query_len = len;
    record.query_at = if read { 0 } else { text };
    Ok(partial | !read)
}
