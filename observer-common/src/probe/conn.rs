//! What happens to a server's connection: `connReader.handleReadError` when it ends, as Go sees it;
//! `response.SetReadDeadline` and `SetWriteDeadline` when a handler bounds it; `response.Hijack` when a handler takes it over;
//! `Server.Close` when it ends with all others.

use crate::event::{ConnHijacked, ConnReadError, IoDeadlineSet, Kind, Link, ServerClosing};
use crate::layout::Layout;
use crate::limits::MAX_PEER;
use crate::mem::MemRead;
use crate::regs::Registers;

use super::{Skip, walk};

/// Fills the record.
///
/// The error is followed blindly through the layouts of `net.OpError` and `os.SyscallError`; user
/// space knows from each itab whether the step was right. The hook is rare, so nothing is saved.
///
/// # Errors
/// [`Skip::Quiet`] when no request is in flight, [`Skip::Object`] when the reader cannot be read.
#[inline(always)]
pub fn read_error<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut ConnReadError,
) -> Result<(), Skip> {
    record.header.kind = Kind::ConnReadError as u8;
    let reader = regs.arg::<0>().wrapping_add(u64::from(layout.reader_conn));
    record.conn = mem.word(reader).ok_or(Skip::Object)?;
    if record.conn == 0 {
        // From Go 1.25 on the reader forgets its connection once the handler has returned.
        return Err(Skip::Quiet);
    }
    let response = record.conn.wrapping_add(u64::from(layout.conn_cur_req));
    record.response = mem.word(response).ok_or(Skip::Object)?;
    if record.response == 0 {
        return Err(Skip::Quiet);
    }
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.err = Link {
        itab: regs.arg::<1>(),
        data: regs.arg::<2>(),
    };
    record.op_err = link_at(mem, record.err.data, layout.op_error_err);
    record.syscall_err = link_at(mem, record.op_err.data, layout.syscall_error_err);
    record.errno = mem.word(record.syscall_err.data).unwrap_or(0);
    record.text = [0; 16];
    if let Some([text, len]) = mem.pair(record.err.data) {
        mem.read_prefix(text, &mut record.text, len);
    }
    record.peer_len = peer(mem, layout, record.conn, &mut record.peer);
    Ok(())
}

/// Fills the record of a deadline that a handler sets: the response, then the `time.Time`, in
/// registers. `Ok(true)` when the stack ended at a failed read.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn io_deadline_set<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    write: bool,
    record: &mut IoDeadlineSet,
) -> Result<bool, Skip> {
    record.header.kind = Kind::IoDeadlineSet as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.response = regs.arg::<0>();
    record.write = u64::from(write);
    record.deadline = [regs.arg::<1>(), regs.arg::<2>()];
    let (frames, partial) = walk::stack(mem, regs, &mut record.pcs);
    record.frames = u64::from(frames);
    Ok(partial)
}

/// Fills the record of a handler that takes its connection over: the response, in a register.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn hijacked<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut ConnHijacked,
) -> Result<(), Skip> {
    record.header.kind = Kind::ConnHijacked as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.response = regs.arg::<0>();
    let conn = record
        .response
        .wrapping_add(u64::from(layout.response_conn));
    let conn = mem.word(conn).unwrap_or(0);
    record.peer_len = peer(mem, layout, conn, &mut record.peer);
    Ok(())
}

/// Fills the record of a server that closes its connections.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn server_closing<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut ServerClosing,
) -> Result<(), Skip> {
    record.header.kind = Kind::ServerClosing as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)
}

/// The peer as Go names it, which joins the connection with its socket: gives its length, 0 where it cannot be read.
#[inline(always)]
fn peer<M: MemRead>(mem: &M, layout: &Layout, conn: u64, text: &mut [u8; MAX_PEER]) -> u64 {
    *text = [0; MAX_PEER];
    let at = conn.wrapping_add(u64::from(layout.conn_remote));
    match mem.pair(at) {
        Some([start, len])
            if conn != 0
                && layout.conn_remote != 0
                && len <= MAX_PEER as u64
                && mem.read_prefix(start, text, len) =>
        {
            len
        }
        _ => 0,
    }
}

#[inline(always)]
fn link_at<M: MemRead>(mem: &M, object: u64, offset: u32) -> Link {
    match mem.pair(object.wrapping_add(u64::from(offset))) {
        Some([itab, data]) if object != 0 => Link { itab, data },
        _ => Link { itab: 0, data: 0 },
    }
}
