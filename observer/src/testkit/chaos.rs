//! Events of any kind about few addresses and goroutines, so that they collide.

use proptest::collection::{SizeRange, vec};
use proptest::prelude::{Strategy, any};

use observer_common::tcp;

use super::MS;
use super::code::FakeCode;
use super::goroutines::{goroutine, goroutine_end};
use super::records::{
    Created, ReadError, Record, asked, body_failed, call, call_cancelled, call_done, cancel,
    cancelled_again, cascade, conn_cancelled, conn_error_of, created_short, deadline, request,
    request_end, socket,
};

/// One event to come; what its numbers mean depends on its kind.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    kind: u8,
    goid: u64,
    parent_goid: u64,
    ctx: usize,
    parent: usize,
    link: usize,
    stack: usize,
    number: u64,
    pub(crate) gap_ms: u64,
    /// Something is lost before it.
    pub(crate) loss: bool,
}

const CONTEXTS: [u64; 6] = [0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000];
const LINKS: [&str; 7] = [
    "context.cancelCtx",
    "context.timerCtx",
    "context.valueCtx",
    "context.withoutCancelCtx",
    "context.backgroundCtx",
    "main.custom",
    "",
];
const STACKS: [&[&str]; 8] = [
    &["context.WithCancel.func1", "example.com/shop/api.Get:42"],
    &[
        "context.WithTimeout",
        "example.com/shop/api.Get:43",
        "net/http.serverHandler.ServeHTTP",
    ],
    &["context.WithDeadlineCause.func2", "time.goFunc"],
    &[
        "context.WithCancel.func1",
        "net/http.(*connReader).handleReadErrorLocked",
    ],
    &[
        "context.WithCancel.func1",
        "net/http.checkConnErrorWriter.Write",
    ],
    &[
        "context.(*cancelCtx).propagateCancel",
        "context.WithTimeout",
        "main.work:7",
    ],
    &[
        "context.WithCancel.func1",
        "runtime.gopanic",
        "net/http.(*conn).serve",
    ],
    &["net/http.(*Transport).roundTrip", "main.work:9"],
];
const ERRORS: [ReadError; 4] = [
    ReadError::Text("EOF"),
    ReadError::Errno(104),
    ReadError::Op("internal/poll.DeadlineExceededError"),
    ReadError::Bare("main.odd"),
];

/// Peers of connections; the requests of a chaotic scene have the first two.
pub(crate) const PEERS: [&str; 3] = ["192.0.2.7:51322", "[2001:db8::7]:51322", "192.0.2.7:51323"];
const STATES: [(u32, u32); 6] = [
    (tcp::ESTABLISHED, tcp::CLOSE_WAIT),
    (tcp::ESTABLISHED, tcp::CLOSE),
    (tcp::CLOSE_WAIT, tcp::CLOSE),
    (tcp::CLOSE_WAIT, tcp::LAST_ACK),
    (tcp::CLOSE, tcp::LISTEN),
    (tcp::ESTABLISHED, 4),
];

/// Any sequence of steps of that length.
pub(crate) fn steps(len: impl Into<SizeRange>) -> impl Strategy<Value = Vec<Step>> {
    let numbers = (
        0..12u8,
        1..5u64,
        0..5u64,
        0..CONTEXTS.len(),
        0..CONTEXTS.len(),
    );
    let rest = (
        0..LINKS.len(),
        0..STACKS.len(),
        any::<u64>(),
        0..400u64,
        0..20u8,
    );
    let step = (numbers, rest).prop_map(|(numbers, rest)| {
        let (kind, goid, parent_goid, ctx, parent) = numbers;
        let (link, stack, number, gap_ms, loss) = rest;
        Step {
            kind,
            goid,
            parent_goid,
            ctx,
            parent,
            link,
            stack,
            number,
            gap_ms,
            loss: loss == 0,
        }
    });
    vec(step, len)
}

impl Step {
    /// The event, as it would be written at that time.
    pub(crate) fn record(&self, code: &FakeCode, now_ms: u64) -> Record {
        let (ctx, parent) = (CONTEXTS[self.ctx], CONTEXTS[self.parent]);
        let stack = STACKS[self.stack];
        let chain = [(LINKS[self.link], parent), (LINKS[0], CONTEXTS[0])];
        match self.kind {
            0 => request(code, self.goid, ctx, "GET /a"),
            1 => request_end(code, ctx),
            2 | 3 => self.created(code, now_ms, &chain),
            4 => created_short(code, self.goid, ctx, chain[0]),
            5 => cancel(code, self.goid, ctx, stack),
            6 => cascade(code, self.goid, ctx),
            7 => cancelled_again(code, self.goid, ctx, [stack[0], stack[1]]),
            8 => call(code, (self.goid, self.parent_goid), parent, &chain, stack),
            9 | 10 => socket(
                PEERS[self.link % PEERS.len()],
                STATES[self.stack % STATES.len()],
                [0, 32, 104, 110][self.parent % 4],
            ),
            _ => match self.number % 8 {
                0 => conn_error_of(
                    code,
                    self.goid,
                    ERRORS[self.stack % ERRORS.len()],
                    (ctx + 1, PEERS[self.link % PEERS.len()]),
                ),
                1 => conn_cancelled(self.goid, ctx),
                2 => call_done(code, self.goid, ctx),
                3 => body_failed(code, self.goid, ctx, stack),
                4 => asked(code, self.goid, chain[0], [self.number, self.number << 7]),
                5 => goroutine(code, self.goid + 4, self.parent_goid, stack),
                6 => goroutine_end(self.goid + 4),
                _ => call_cancelled(code, self.goid, parent, "errors.errorString"),
            },
        }
    }

    fn created(&self, code: &FakeCode, now_ms: u64, chain: &[(&str, u64)]) -> Record {
        let ctx = CONTEXTS[self.ctx];
        let timer = self.number & 1 == 0;
        let left_ns = i64::try_from(self.number % 2_000).unwrap() * 1_000_000;
        let made = Created {
            goid: self.goid,
            parent_goid: self.parent_goid,
            child: (LINKS[usize::from(timer)], ctx),
            indirect: if self.number & 6 == 0 { ctx + 0x40 } else { 0 },
            chain,
            stack: STACKS[1],
            deadline: match self.number & 24 {
                0 => [self.number, self.number.rotate_left(7)],
                _ => deadline(now_ms * MS, left_ns, self.number & 8 == 0),
            },
        };
        made.record(code)
    }
}
