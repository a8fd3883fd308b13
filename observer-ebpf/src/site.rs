//! A hit of a site: registers, its layout block.

use aya_ebpf::{
    EbpfContext,
    bindings::pt_regs,
    helpers::{bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    programs::ProbeContext,
};
use core::mem::MaybeUninit;
use core::ptr::addr_of;
use observer_common::event::Header;
use observer_common::hook::{Counter, HookId};
use observer_common::layout::{Cookie, ENABLED, FILTER_PIDS, Layout, SITE_IS_JUMP};
use observer_common::probe::Skip;
use observer_common::regs::{JBE_FLAGS, Registers};

use crate::maps;

/// Registers of the hit, read from the context when asked for.
#[derive(Clone, Copy)]
pub struct Regs(*const pt_regs);

macro_rules! field {
    ($regs:expr, $name:ident) => {
        // SAFETY: the kernel hands a valid context to the program; the copy is volatile because a
        // reference into the context may not be passed on.
        unsafe { addr_of!((*$regs.0).$name).read_volatile() as u64 }
    };
}

impl Registers for Regs {
    #[inline(always)]
    fn arg<const N: usize>(&self) -> u64 {
        match N {
            0 => field!(self, rax),
            1 => field!(self, rbx),
            2 => field!(self, rcx),
            3 => field!(self, rdi),
            4 => field!(self, rsi),
            5 => field!(self, r8),
            6 => field!(self, r9),
            7 => field!(self, r10),
            _ => field!(self, r11),
        }
    }
    #[inline(always)]
    fn g(&self) -> u64 {
        field!(self, r14)
    }
    #[inline(always)]
    fn sp(&self) -> u64 {
        field!(self, rsp)
    }
    #[inline(always)]
    fn bp(&self) -> u64 {
        field!(self, rbp)
    }
    #[inline(always)]
    fn jump_taken(&self) -> bool {
        field!(self, eflags) & JBE_FLAGS != 0
    }
}

/// A hit that passed the filters.
pub struct Hit {
    /// Which hook.
    pub hook: HookId,
    /// Registers at the site.
    pub regs: Regs,
    /// The executable's block.
    pub layout: &'static Layout,
    /// Process, in the initial namespace.
    pub pid: u32,
}

impl Hit {
    /// Applies the filters: site, switch, process.
    #[inline(always)]
    pub fn new(ctx: &ProbeContext, hook: HookId) -> Option<Self> {
        // SAFETY: the context is the one the kernel gave us.
        let cookie = Cookie(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
        let regs = Regs(ctx.regs);
        if cookie.has(SITE_IS_JUMP) && regs.jump_taken() {
            return None;
        }
        let Some(layout) = maps::layout(cookie.slot()) else {
            maps::count(hook, Counter::NoLayout);
            aya_log_ebpf::warn!(ctx, "no layout block in slot {}", cookie.slot());
            return None;
        };
        if !layout.has(ENABLED) {
            return None;
        }
        let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
        if cookie.has(FILTER_PIDS) && !maps::chosen(pid) {
            return None;
        }
        maps::count(hook, Counter::Hits);
        Some(Self {
            hook,
            regs,
            layout,
            pid,
        })
    }

    /// Sends a record about this process, see [`send`].
    #[inline(always)]
    pub fn send<T: Record>(&self, fill: impl FnOnce(&mut T) -> Result<bool, Skip>) {
        // What waits is asked for now and then: so many records hardly matter to what waits at a wake-up. Looked up
        // when the record is full: known before, it would make the verifier follow all of `fill` once for each answer.
        let ask = || maps::hits(self.hook) % ASK_EVERY == 0;
        send_with(self.hook, self.pid, ask, fill);
    }

    /// Counts why nothing was sent.
    #[inline(always)]
    pub fn skip(&self, why: Skip) {
        skip(self.hook, why);
    }
}

/// Hits of a hook on one CPU between two looks at how much waits in the ring: a call of the kernel each.
const ASK_EVERY: u64 = 16;

/// Reserves a record, lets `fill` write it, and sends it. Every way to fail is counted.
#[inline(always)]
pub fn send<T: Record>(hook: HookId, pid: u32, fill: impl FnOnce(&mut T) -> Result<bool, Skip>) {
    send_with(hook, pid, || true, fill);
}

#[inline(always)]
fn send_with<T: Record>(
    hook: HookId,
    pid: u32,
    ask: impl FnOnce() -> bool,
    fill: impl FnOnce(&mut T) -> Result<bool, Skip>,
) {
    let Some(mut entry) = maps::EVENTS.reserve::<T>(0) else {
        maps::count(hook, Counter::RingFull);
        return;
    };
    let slot: &mut MaybeUninit<T> = &mut entry;
    // SAFETY: every record is plain words, for which any bytes are a value; `fill` and the
    // header below write what is meant to be read.
    let record = unsafe { slot.assume_init_mut() };
    match fill(record) {
        Ok(partial) => {
            let header = record.header();
            header.reserved = [0; 3];
            header.pid = pid;
            // SAFETY: no preconditions.
            header.time_ns = unsafe { bpf_ktime_get_ns() };
            header.lost = maps::lost();
            entry.submit(if ask() { maps::wake() } else { maps::QUIETLY });
            if partial {
                maps::count(hook, Counter::ReadPartial);
            }
        }
        Err(why) => {
            entry.discard(maps::QUIETLY);
            skip(hook, why);
        }
    }
}

/// Counts why nothing was sent.
#[inline(always)]
pub fn skip(hook: HookId, why: Skip) {
    maps::count(
        hook,
        match why {
            Skip::Quiet => Counter::Quiet,
            Skip::Goroutine => Counter::ReadGoroutine,
            Skip::Object => Counter::ReadObject,
        },
    );
}

/// A record that begins with the common header.
pub trait Record: 'static {
    /// The header.
    fn header(&mut self) -> &mut Header;
}

macro_rules! records {
    ($($name:ident),* $(,)?) => {
        $(impl Record for observer_common::event::$name {
            #[inline(always)]
            fn header(&mut self) -> &mut Header {
                &mut self.header
            }
        })*
    };
}

records!(
    BodyFailed,
    CallAttempt,
    CallCancelled,
    CallRedirected,
    CallStarted,
    CallStreamEnded,
    ConnCancelled,
    ConnHijacked,
    ConnReadError,
    ContextCancelled,
    ContextCancelledShort,
    ContextCreated,
    ContextCreatedShort,
    DeadlineAsked,
    DialDone,
    DialStarted,
    GoroutineCreated,
    GoroutineEnded,
    GrpcCalled,
    GrpcEnded,
    GrpcStarted,
    IoDeadlineSet,
    RequestStarted,
    ServerClosing,
    SocketChanged,
    SqlCalled,
    SqlReturned,
);
