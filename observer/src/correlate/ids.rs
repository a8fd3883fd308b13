//! IDs by which a call and a request are known to belong together.

use std::sync::Arc;

use crate::finding::{IdSource, JoinedBy, RequestInfo};
use crate::model::{SpanId, TraceId};

/// What one side knows. An ID that is not known says nothing; one that differs says no.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    /// The trace.
    pub trace: Option<TraceId>,
    /// The span that the sender calls itself by. On a call only where its own header was read.
    pub parent: Option<SpanId>,
    /// Request ID, and the header that it came in: the same value in another header may mean
    /// something else.
    pub request: Option<(Arc<str>, Arc<str>)>,
}

/// One ID, by which calls and requests that have it are found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Trace(TraceId),
    Request(Arc<str>, Arc<str>),
    /// Method and path, for calls of which nothing else is known at first.
    Line(Arc<str>, Arc<str>),
}

impl Ids {
    /// Each ID as a key, the strongest first.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Key, JoinedBy)> {
        let trace = self.trace.map(|trace| (Key::Trace(trace), JoinedBy::Trace));
        let request = self.request.as_ref().map(|(header, value)| {
            let key = Key::Request(Arc::clone(header), Arc::clone(value));
            (key, JoinedBy::RequestId)
        });
        trace.into_iter().chain(request)
    }

    /// Those of a request. An ID that was cut is none: two are not equal because their beginnings are.
    #[must_use]
    pub fn of(request: &RequestInfo) -> Self {
        let header = request.id_source.as_ref().and_then(IdSource::header);
        let value = request.id.as_deref().filter(|_| !request.id_truncated);
        let trace = request.trace_id.as_deref();
        let parent = request.parent_id.as_deref();
        Self {
            parent: parent.and_then(|hex| u64::from_str_radix(hex, 16).ok().map(SpanId)),
            trace: trace.and_then(|hex| u128::from_str_radix(hex, 16).ok().map(TraceId)),
            request: header
                .zip(value)
                .map(|(header, value)| (Arc::from(header), Arc::from(value))),
        }
    }

    /// Nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.trace.is_none() && self.request.is_none()
    }

    /// Both know an ID of the same kind, and it is the same.
    #[must_use]
    pub fn share(&self, other: &Self) -> bool {
        self.keys()
            .any(|(key, _)| other.keys().any(|(other, _)| other == key))
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
    use super::{Ids, TraceId};
    use crate::finding::{IdSource, samples};

    #[test]
    fn what_was_cut_or_is_no_headers_is_no_id() {
        let mut request = samples::cancel_ignored().request.unwrap();
        request.trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736".into());
        request.id_source = Some(IdSource::Header("X-Request-Id".into()));
        let ids = Ids::of(&request);
        assert_eq!(
            ids.trace,
            Some(TraceId(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736))
        );
        let (header, value) = ids.request.unwrap();
        assert_eq!((&*header, &*value), ("X-Request-Id", "3f1c9a"));
        request.id_truncated = true;
        assert_eq!(Ids::of(&request).request, None);
    }

    #[test]
    fn only_ids_of_one_kind_can_differ() {
        let of = |trace: Option<u128>, header: &str, value: &str| Ids {
            trace: trace.map(TraceId),
            parent: None,
            request: Some((header.into(), value.into())),
        };
        let one = of(Some(1), "X-Request-Id", "a");
        assert!(!one.differ(&of(Some(1), "X-Request-Id", "a")));
        assert!(one.differ(&of(Some(2), "X-Request-Id", "a")));
        assert!(one.differ(&of(Some(1), "X-Request-Id", "b")));
        assert!(!one.differ(&of(None, "X-Correlation-Id", "b")));
        assert!(!one.differ(&Ids::default()));
    }
}
