//! What the model learnt: the input of the rules.

use std::net::SocketAddr;

use super::ids::{CallId, ConnId, CtxId, GoId, ReqId};

/// Something became known. Details are in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// A handler is about to run.
    RequestStarted(ReqId),
    /// A request's own context was cancelled while its handler ran.
    RequestCancelled(ReqId),
    /// The handler returned or panicked.
    RequestEnded(ReqId),
    /// What its handler had left to be written when it returned could not be.
    AnswerFailed(ReqId),
    /// A context was made.
    ContextCreated(CtxId),
    /// A context that is not a request's own was cancelled for the first time.
    ContextCancelled(CtxId),
    /// Its CancelFunc was called.
    CancelCalled(CtxId),
    /// A call begins.
    CallStarted(CallId),
    /// A call that was, or seemed, over goes on: it was redirected.
    CallResumed(CallId),
    /// A call is over, or is taken for over.
    CallEnded(CallId),
    /// A call failed because its context died.
    CallFailed(CallId),
    /// Reading the body of a call failed because its context had died.
    BodyFailed(CallId),
    /// The peer of a connection closed it, or did more than that: reset what it had closed before.
    PeerClosed(ConnId),
    /// A connection is over that its peer has closed, and its owner too: in this network namespace, with this peer.
    ConnectionOver(u64, SocketAddr),
    /// A goroutine has begun for a request that has ended: one that outlives it has started it.
    GoroutineStarted(GoId),
    /// A goroutine that has outlived its request has ended.
    GoroutineEnded(GoId),
}
