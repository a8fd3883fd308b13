//! What addresses of one process mean to the model, each looked up once: it is asked at nearly every event, and the
//! answer is a comparison of names.

use rustc_hash::FxHashMap;

use super::code::{Code, ContextKind};

/// Functions whose contexts, or whose cancels, are not what any function's are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    /// The reader of a gRPC connection: for a stream.
    GrpcReader,
    /// `database/sql`: for a transaction.
    SqlBegin,
    /// `http.TimeoutHandler`: for what it calls.
    TimeoutHandler,
    /// The server of HTTP/1: at the end of a request, and of a connection.
    Conn,
}

/// By name. From the sources of Go 1.18 … 1.27 and of gRPC-go.
const MAKERS: [(&str, Maker); 4] = [
    (
        "google.golang.org/grpc/internal/transport.(*http2Server).operateHeaders",
        Maker::GrpcReader,
    ),
    ("database/sql.(*DB).beginDC", Maker::SqlBegin),
    (
        "net/http.(*timeoutHandler).ServeHTTP",
        Maker::TimeoutHandler,
    ),
    ("net/http.(*conn).serve", Maker::Conn),
];

/// Answers remembered of each kind; beyond it all are forgotten and asked anew.
const KNOWN: usize = 8_192;

/// Answers for one process.
#[derive(Debug, Default)]
pub(super) struct Seen {
    makers: FxHashMap<u64, Option<Maker>>,
    kinds: FxHashMap<u64, ContextKind>,
}

impl Seen {
    /// Which of the makers a return address is in.
    pub(super) fn maker(&mut self, code: &dyn Code, pid: u32, pc: u64) -> Option<Maker> {
        if let Some(known) = self.makers.get(&pc) {
            return *known;
        }
        let frames = code.frames(pid, pc);
        let is_in = |(name, _): &&(&str, Maker)| frames.iter().any(|at| &*at.function == *name);
        let maker = MAKERS.iter().find(is_in).map(|(_, maker)| *maker);
        remember(&mut self.makers, pc, maker);
        maker
    }

    /// What the type that an itab names means for a chain.
    pub(super) fn kind(&mut self, code: &dyn Code, pid: u32, itab: u64) -> ContextKind {
        if let Some(known) = self.kinds.get(&itab) {
            return *known;
        }
        let kind = ContextKind::of(code.type_of(pid, itab).as_deref());
        remember(&mut self.kinds, itab, kind);
        kind
    }
}

fn remember<V>(known: &mut FxHashMap<u64, V>, key: u64, value: V) {
    if known.len() >= KNOWN {
        known.clear();
    }
    known.insert(key, value);
}

#[cfg(test)]
mod tests {
    use super::{KNOWN, Maker, Seen};
    use crate::testkit::{FakeCode, PID};

    #[test]
    fn an_address_means_the_same_again() {
        let code = FakeCode::default();
        let mut seen = Seen::default();
        let pcs = code.pcs(&[
            "database/sql.(*DB).beginDC",
            "net/http.(*timeoutHandler).ServeHTTP",
            "example.com/shop/api.Get:42",
        ]);
        for _ in 0..2 {
            let makers: Vec<_> = pcs.iter().map(|pc| seen.maker(&code, PID, *pc)).collect();
            assert_eq!(
                makers,
                [Some(Maker::SqlBegin), Some(Maker::TimeoutHandler), None]
            );
        }
        assert_eq!(seen.makers.len(), 3);
    }

    #[test]
    fn answers_do_not_pile_up() {
        let code = FakeCode::default();
        let mut seen = Seen::default();
        for address in 1..3 * KNOWN as u64 {
            seen.maker(&code, PID, address);
            seen.kind(&code, PID, address);
            assert!(seen.makers.len() <= KNOWN && seen.kinds.len() <= KNOWN);
        }
    }
}
