//! What an outgoing call tells its callee to know it by.

use std::sync::Arc;

use super::Model;
use super::call::Call;
use super::ids::CallId;
use super::trace::Trace;

/// IDs in the header of an outgoing request, or in the metadata of a gRPC call's context, as its memory had them while
/// the call was on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The first of the configured headers that it has: name and value.
    pub id: Option<(String, Arc<str>)>,
    /// What its `Traceparent` came to: the parent id is what its callee is called by.
    pub trace: Trace,
    /// When it was read, monotonic ns.
    pub read_ns: u64,
}

impl Call {
    /// The IDs that it carries; `None` where nobody has asked, or where the memory that was read may have been
    /// another call's by then.
    #[must_use]
    pub fn sent(&self) -> Option<&Sent> {
        let sent = self.sent.as_deref()?;
        let over = |(at_ns, _)| at_ns <= sent.read_ns;
        (!self.ended.is_some_and(over)).then_some(sent)
    }
}

impl Model {
    /// Keeps what a call's memory said, where that is still its own.
    pub fn set_sent(&mut self, id: CallId, sent: Sent) {
        let Some(call) = self.calls.get_mut(id).filter(|call| call.is_open()) else {
            return;
        };
        // Its context is kept while gRPC has not done with it, which is seen.
        if call.kind.is_grpc() && call.inner.is_some() {
            call.sent = Some(Arc::new(sent));
            return;
        }
        let process = self.processes.get(call.pid);
        if process.and_then(|process| process.call_requests.get(&call.handle)) == Some(&id) {
            call.sent = Some(Arc::new(sent));
        }
    }

    /// A new call has the `*http.Request` of this older one: what was read of it since the new one began was not its own.
    pub(super) fn resent(&mut self, older: CallId) {
        let now_ns = self.now_ns;
        if let Some(call) = self.calls.get_mut(older)
            && call
                .sent
                .as_ref()
                .is_some_and(|sent| sent.read_ns >= now_ns)
        {
            call.sent = None;
        }
    }
}
