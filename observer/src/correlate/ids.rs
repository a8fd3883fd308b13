//! IDs by which a call and a request are known to belong together.

use std::sync::Arc;

use observer_common::limits::MAX_VALUE;

/// A W3C `traceparent`, version 00 and later ones that begin like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceParent {
    /// The trace: never 0.
    pub trace: u128,
    /// Who called, within the trace: never 0.
    pub parent: u64,
}

impl TraceParent {
    /// `None` for one that is broken.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, parent, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, len| {
            part.len() == len
                && part
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let sound = hex(version, 2)
            && version != "ff"
            && hex(trace, 32)
            && hex(parent, 16)
            && hex(flags, 2);
        let read = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            parent: u64::from_str_radix(parent, 16).ok()?,
        };
        (sound && read.trace != 0 && read.parent != 0).then_some(read)
    }

    /// The trace id as the header has it.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

/// What one side knows. An ID that is not known says nothing; one that differs says no.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    /// The trace.
    pub trace: Option<u128>,
    /// The span: of a call what it sent as its own, of a request the `parent-id` that came.
    pub span: Option<u64>,
    /// Request ID, and the header that it came in: the same value in another header may mean
    /// something else.
    pub request: Option<(Arc<str>, Arc<str>)>,
}

impl Ids {
    /// A request ID as the probe keeps it. One that fills the room it has may be cut, and two that are
    /// cut are not equal because their beginnings are.
    #[must_use]
    pub fn request_id(header: &str, value: &str) -> Option<(Arc<str>, Arc<str>)> {
        (!value.is_empty() && value.len() < MAX_VALUE)
            .then(|| (Arc::from(header), Arc::from(value)))
    }

    /// Nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.trace.is_none() && self.request.is_none()
    }

    /// Both know an ID of the same kind, and it is not the same.
    #[must_use]
    pub fn differ(&self, other: &Self) -> bool {
        let traces = matches!((self.trace, other.trace), (Some(a), Some(b)) if a != b);
        let requests = match (&self.request, &other.request) {
            (Some((header, value)), Some((name, other))) => header == name && value != other,
            _ => false,
        };
        traces || requests
    }
}

#[cfg(test)]
mod tests {
    use super::{Ids, TraceParent};

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn broken_traceparents_are_not_trusted() {
        let good = TraceParent::parse(GOOD).unwrap();
        assert_eq!(good.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(good.parent, 0x00f0_67aa_0ba9_02b7);
        for bad in [
            "",
            "00-4bf92f35-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_id_that_may_be_cut_is_none() {
        assert!(Ids::request_id("X-Request-Id", &"a".repeat(63)).is_some());
        assert!(Ids::request_id("X-Request-Id", &"a".repeat(64)).is_none());
        assert!(Ids::request_id("X-Request-Id", "").is_none());
    }

    #[test]
    fn only_ids_of_one_kind_can_differ() {
        let of = |trace, header: &str, value: &str| Ids {
            trace,
            span: None,
            request: Ids::request_id(header, value),
        };
        let one = of(Some(1), "X-Request-Id", "a");
        assert!(!one.differ(&of(Some(1), "X-Request-Id", "a")));
        assert!(one.differ(&of(Some(2), "X-Request-Id", "a")));
        assert!(one.differ(&of(Some(1), "X-Request-Id", "b")));
        assert!(!one.differ(&of(None, "X-Correlation-Id", "b")));
        assert!(!one.differ(&Ids::default()));
    }
}
