//! What rules want to know of a process's memory, and what comes back.

use std::sync::Arc;

use crate::finding::Crowd;
use crate::inspect::{
    Child, ConnState, ContextId, Ends, Goroutine, Inspection, Listing, RequestDetails, Started,
    Unreferenced, ValueKey, ValueLink,
};

/// A question to the inspector; the number comes back with the answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ask {
    /// Number, rising from 1.
    pub id: u64,
    /// Of which process.
    pub pid: u32,
    /// What.
    pub question: Question,
}

/// What a rule wants to know.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Question {
    /// What a goroutine does, and what its request says of itself.
    Work {
        /// Goroutine.
        goid: u64,
        /// Its descriptor, if known: a hint.
        g: u64,
        /// Addresses of contexts: on whose `Done` does it wait?
        contexts: Vec<u64>,
        /// The request, to be described while it lives.
        request: Option<Reading>,
    },
    /// What a request says of itself.
    Request(Reading),
    /// The living goroutines that a goroutine has started.
    Children {
        /// That goroutine.
        parent_goid: u64,
    },
    /// What ID a middleware keeps for a request in a context.
    ContextId {
        /// Which.
        request: Reading,
        /// Addresses of the values that were seen in chains of its contexts.
        values: Vec<u64>,
    },
    /// Under which keys contexts hold values.
    Keys {
        /// Which.
        values: Vec<ValueLink>,
    },
    /// What IDs an outgoing call carries.
    Sent {
        /// The `*http.Request`; 0 of gRPC.
        request: u64,
        /// Data word of its context: it is believed while it has this one.
        ctx: u64,
        /// Of gRPC: the other word of the context, whose metadata is looked through in place of the request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream: Option<u64>,
        /// Canonical names of headers to look for.
        headers: Vec<String>,
    },
    /// Who is at the other end of the connections of requests.
    Peers {
        /// Which; without headers.
        requests: Vec<Reading>,
    },
    /// Over which connection a goroutine waits for the answer to a call of HTTP/1.
    CallEnds {
        /// Goroutine.
        goid: u64,
        /// Its descriptor.
        g: u64,
    },
    /// Over which connection a request of HTTP/1 came, of whose answer nothing is out; without headers.
    RequestEnds(Reading),
    /// How many goroutines there are.
    Count,
    /// Which goroutines there are that were not there before, and who started them.
    Listing,
    /// What the goroutines of some `go` statements do; the answer may take its time.
    Crowds {
        /// The statements' return addresses.
        gopcs: Vec<u64>,
    },
    /// Which of some goroutines wait on what nothing refers to; the answer may take its time.
    Unreferenced {
        /// Their numbers.
        goids: Vec<u64>,
    },
}

impl Question {
    /// Asks what a goroutine does: on which of these contexts it waits, and what its request says.
    pub(super) const fn work(
        goid: u64,
        g: u64,
        contexts: Vec<u64>,
        request: Option<Reading>,
    ) -> Self {
        Self::Work {
            goid,
            g,
            contexts,
            request,
        }
    }
}

/// A request in memory.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reading {
    /// The `*http.Request`.
    pub request: u64,
    /// Data word of its context: it is believed while it has this one.
    pub ctx: u64,
    /// Its `*http.response`.
    pub writer: u64,
    /// Canonical names of headers to look for, best first.
    pub headers: Vec<String>,
    /// Of gRPC: the two words of the stream's context, whose metadata is looked through in place of the rest.
    #[serde(default)]
    pub stream: Option<(u64, u64)>,
}

/// What a goroutine does.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Work {
    /// The goroutine.
    pub goroutine: Inspection,
    /// Those of the contexts asked about on whose `Done` it waits.
    pub waits_on: Vec<u64>,
    /// The request, if asked about and still there.
    pub request: Option<Arc<RequestDetails>>,
    /// Its connection, likewise.
    pub conn: Option<ConnState>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Answer {
    /// To [`Question::Work`].
    Work(Box<Work>),
    /// To [`Question::Request`].
    Request {
        /// The request, if still there.
        request: Option<Arc<RequestDetails>>,
        /// Its connection, likewise.
        conn: Option<ConnState>,
    },
    /// To [`Question::Children`]; `None` where Go keeps no parents (≤ 1.20) or memory refused.
    Children(Option<Vec<Child>>),
    /// To [`Question::ContextId`]; `None` where there is none.
    ContextId(Option<ContextId>),
    /// To [`Question::Keys`]: those that memory tells.
    Keys(Vec<(ValueLink, Arc<ValueKey>)>),
    /// To [`Question::Sent`]: the first value of each header; `None` where memory does not tell.
    Sent(Option<Vec<Option<Arc<str>>>>),
    /// To [`Question::Peers`], in the order asked; `None` where memory does not tell.
    Peers(Vec<Option<PeerAddress>>),
    /// To [`Question::CallEnds`] and [`Question::RequestEnds`]; `None` where that is not so, or memory does not tell.
    Ends(Option<Ends>),
    /// To [`Question::Count`]; `None` where not all could be read, or counting had cost too much lately.
    Count(Option<Count>),
    /// To [`Question::Listing`]; `None` where not all could be read, or looking had cost too much lately.
    Listing(Option<Listing>),
    /// To [`Question::Crowds`].
    Crowds(Crowds),
    /// The process is gone, or cannot be read.
    Unknown,
    /// To [`Question::Unreferenced`]; `None` where there is too much to look through, or memory does not tell.
    Unreferenced(Option<Searched>),
}

impl Answer {
    /// The goroutine that was looked at, if it could be seen.
    pub(super) fn goroutine(&self) -> Option<&Goroutine> {
        match self {
            Self::Work(work) => match &work.goroutine {
                Inspection::Alive(goroutine) => Some(goroutine),
                Inspection::Gone | Inspection::Torn | Inspection::Unknown => None,
            },
            _ => None,
        }
    }
}

/// Goroutines of a process, without the runtime's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Count {
    /// How many.
    pub alive: u64,
    /// Those `go` statements that have started most of them, most first.
    pub lines: Vec<Started>,
    /// There are more statements than those.
    pub is_cut: bool,
}

/// What goroutines do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Crowds {
    /// Most of each statement asked about, in that order; `None` where none was found.
    pub crowds: Vec<Option<Crowd>>,
    /// File that all goroutines were written to.
    pub snapshot: Option<Arc<str>>,
}

/// What a search for references has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Searched {
    /// Waits on what nothing refers to.
    pub lost: Vec<Unreferenced>,
    /// Goroutines whose wait somebody may still end: something leads to what they wait on.
    #[serde(default)]
    pub reached: Vec<u64>,
    /// How long it took, ns.
    pub took_ns: u64,
}

/// The two ends of a request's connection, as Go names them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PeerAddress {
    /// `192.0.2.7:51322`; anything else for what is no TCP connection.
    pub remote: Arc<str>,
    /// Port of the server's end, where its context tells.
    pub local_port: Option<u16>,
}
