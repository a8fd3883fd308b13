//! The lines of `--facts`: requests and calls, small, and the same in both directions.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::correlate::{self, CallFact, Host, RequestFact, SeenOn, Told};
use crate::finding::{self, CallEvidence, CancelledBy};
use crate::go::{Frame, Stack};
use crate::model::{self, CallKind};
use crate::sink::output::Clock;

use super::Body;
use super::parts::{Call, Process, Request, Site};

/// Where a line comes from: what tells hosts, boots and processes of the same pid apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// Name of the host.
    pub host: String,
    /// `/proc/sys/kernel/random/boot_id`: lines that share it share a clock.
    pub boot_id: String,
    /// Start of the process, clock ticks since boot.
    pub start_ticks: u64,
}

/// See [`Body::Request`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestLine {
    /// When this was so: RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// Which host and process.
    pub origin: Origin,
    /// Which process.
    pub process: Process,
    /// Number of the request, unique in its output.
    pub number: u64,
    /// The request; `duration_ns` is null where it still ran.
    pub request: Request,
    /// Who cancelled it while its handler ran. Absent where nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<CancelledBy>,
    /// When: RFC 3339, UTC, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<String>,
    /// Time that it was given, ns. Absent where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ns: Option<i64>,
    /// What its caller said of how long it waits. Absent where nobody has looked (`--deadline-header`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_deadline: Option<SentDeadline>,
    /// The connection that it came over, read before the answer to it began. HTTP/1 only; absent where that was not read,
    /// as where an ID came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// False where events were lost: nothing may be concluded from what is not here.
    pub whole: bool,
}

/// How long a caller waits, as it says in a header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SentDeadline {
    /// The header; null where the caller has said nothing, or nothing that can be believed.
    pub header: Option<String>,
    /// From the request's start on, ns; null where `header` is.
    pub ns: Option<i64>,
    /// It has said something that cannot be believed.
    #[serde(default)]
    pub broken: bool,
}

impl SentDeadline {
    fn of(sent: &model::SentDeadline) -> Option<Self> {
        let (header, ns, broken) = match sent {
            model::SentDeadline::Unknown => return None,
            model::SentDeadline::None => (None, None, false),
            model::SentDeadline::Broken => (None, None, true),
            model::SentDeadline::Is(ns, header) => (Some(header.to_string()), Some(*ns), false),
        };
        Some(Self { header, ns, broken })
    }

    fn sent(&self) -> model::SentDeadline {
        match (&self.header, self.ns) {
            (Some(header), Some(ns)) => model::SentDeadline::Is(ns, Arc::from(&**header)),
            _ if self.broken => model::SentDeadline::Broken,
            _ => model::SentDeadline::None,
        }
    }
}

/// See [`Body::Call`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallLine {
    /// When this was so: RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// Which host and process.
    pub origin: Origin,
    /// Which process.
    pub process: Process,
    /// Number of the call, unique in its output.
    pub number: u64,
    /// Number of the request that it was made for; null where that is not known.
    pub request_number: Option<u64>,
    /// That request, as it stood then.
    pub request: Option<Request>,
    /// Target, start, length, outcome.
    pub call: Call,
    /// Who gave it up. Absent where nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up_by: Option<CancelledBy>,
    /// The line that cancelled. Absent where no code did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up_site: Option<Site>,
    /// What bounded it. Absent where nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<CallDeadline>,
    /// The line of the call; null where it is not known.
    pub site: Option<Site>,
    /// First frame of the main module. Absent where it is the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Site>,
    /// The connection on which it waited for its answer. HTTP/1 only; absent where that was not read, as where an ID is
    /// known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// False where events were lost: nothing may be concluded from what is not here.
    pub whole: bool,
}

/// A connection, as it was read from a process's memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// Who has connected, with the port.
    pub client: String,
    /// To whom, with the port.
    pub server: String,
    /// Network namespace of the process, by its inode: addresses mean something within it.
    pub netns: u64,
    /// Not before this it was read: RFC 3339, UTC, nanoseconds.
    pub read_from: String,
    /// Nor after this, likewise.
    pub read_until: String,
}

impl Connection {
    fn of(on: &SeenOn, clock: Clock) -> Self {
        Self {
            client: on.client.to_string(),
            server: on.server.to_string(),
            netns: on.netns,
            read_from: clock.rfc3339(on.from_ns),
            read_until: clock.rfc3339(on.until_ns),
        }
    }

    /// `None` where that is no connection.
    fn seen_on(&self) -> Option<SeenOn> {
        Some(SeenOn {
            client: self.client.parse().ok()?,
            server: self.server.parse().ok()?,
            netns: self.netns,
            from_ns: wall_ns(&self.read_from)?,
            until_ns: wall_ns(&self.read_until)?,
        })
    }
}

/// A deadline that held for a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallDeadline {
    /// Time that it allowed when it was set, ns.
    pub set_ns: i64,
    /// Time left when the call began, ns.
    pub left_ns: i64,
    /// The line that set it; null where it is not known.
    pub site: Option<Site>,
}

fn origin(process: &finding::ProcessInfo, host: &Host) -> Origin {
    Origin {
        host: host.name.to_string(),
        boot_id: host.boot_id.to_string(),
        start_ticks: process.start_ticks,
    }
}

/// The line for one.
pub(super) fn of(told: &Told, host: &Host, clock: Clock) -> Body {
    match told {
        Told::Request(fact) => Body::Request(Box::new(RequestLine {
            time: clock.rfc3339(fact.until_ns),
            origin: origin(&fact.process, host),
            process: Process::from(&*fact.process),
            number: fact.request.number,
            request: Request::of(&fact.request, clock),
            cancelled_by: fact.cancelled.map(|(by, _)| by),
            cancelled_at: fact.cancelled.map(|(_, at_ns)| clock.rfc3339(at_ns)),
            deadline_ns: fact.deadline_ns,
            sent_deadline: SentDeadline::of(&fact.sent_deadline),
            connection: fact.seen_on.map(|on| Connection::of(&on, clock)),
            whole: fact.whole,
        })),
        Told::Call(fact) => Body::Call(Box::new(CallLine {
            time: clock.rfc3339(fact.until_ns),
            origin: origin(&fact.process, host),
            process: Process::from(&*fact.process),
            number: fact.number,
            request_number: fact.request.as_ref().map(|request| request.number),
            request: fact.request.as_ref().map(|it| Request::of(it, clock)),
            call: Call::of(&fact.call, clock),
            given_up_by: fact.given_up_by,
            given_up_site: fact.given_up_site.as_ref().map(Site::from),
            deadline: fact.deadline.as_ref().map(|deadline| CallDeadline {
                set_ns: deadline.set_ns,
                left_ns: deadline.left_ns,
                site: deadline.site.as_ref().map(Site::from),
            }),
            site: fact.site.as_ref().map(Site::from),
            caller: fact.caller.as_ref().map(Site::from),
            connection: fact.seen_on.map(|on| Connection::of(&on, clock)),
            whole: fact.whole,
        })),
    }
}

/// ns since 1970.
fn wall_ns(time: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(time).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

impl Origin {
    /// Its host.
    #[must_use]
    pub fn host(&self) -> Host {
        Host {
            name: Arc::from(&*self.host),
            boot_id: Arc::from(&*self.boot_id),
        }
    }
}

impl Process {
    fn info(&self, origin: &Origin) -> Arc<finding::ProcessInfo> {
        Arc::new(finding::ProcessInfo {
            pid: self.pid.unwrap_or(0),
            start_ticks: origin.start_ticks,
            name: self.name.clone(),
            exe: self.exe.clone(),
            build_id: self.build_id.clone().unwrap_or_default(),
            go: self.go.clone(),
            module: self.module.clone().unwrap_or_default(),
            main_package: self.package.clone().unwrap_or_default(),
        })
    }
}

impl Request {
    fn info(&self, number: u64) -> Option<finding::RequestInfo> {
        let header = self.id_header.clone();
        Some(finding::RequestInfo {
            number,
            method: self.method.clone(),
            path: self.path.clone(),
            route: self.route.clone(),
            proto: self.proto.clone(),
            id: self.id.clone(),
            id_truncated: self.id_truncated,
            id_source: header.map(finding::IdSource::Header),
            trace_id: self.trace_id.clone(),
            parent_id: self.parent_id.clone(),
            trace_flags: self
                .trace_flags
                .as_deref()
                .and_then(|flags| u8::from_str_radix(flags, 16).ok()),
            peer: self.peer.clone(),
            goid: self.goid,
            start_ns: wall_ns(&self.start)?,
            duration_ns: self.duration_ns,
        })
    }
}

impl Site {
    /// As a frame.
    #[must_use]
    pub fn frame(&self) -> Frame {
        Frame {
            function: Arc::from(&*self.function),
            file: Arc::from(self.file.as_deref().unwrap_or_default()),
            line: self.line.unwrap_or(0),
        }
    }
}

impl RequestLine {
    /// What it tells, by its host's wall clock; `None` where its times are none.
    #[must_use]
    pub fn told(&self) -> Option<Told> {
        let cancelled_ns = self.cancelled_at.as_deref().and_then(wall_ns);
        Some(Told::Request(Box::new(RequestFact {
            process: self.process.info(&self.origin),
            request: self.request.info(self.number)?,
            cancelled: self.cancelled_by.zip(cancelled_ns),
            deadline_ns: self.deadline_ns,
            sent_deadline: self
                .sent_deadline
                .as_ref()
                .map_or(model::SentDeadline::Unknown, SentDeadline::sent),
            seen_on: self.connection.as_ref().and_then(Connection::seen_on),
            whole: self.whole,
            until_ns: wall_ns(&self.time)?,
        })))
    }
}

impl CallLine {
    /// What it tells, by its host's wall clock; `None` where its times are none.
    #[must_use]
    pub fn told(&self) -> Option<Told> {
        let number = self.request_number.unwrap_or(0);
        let request = self.request.as_ref();
        let mut kinds = CallKind::ALL.into_iter();
        let kind = kinds.find(|kind| kind.as_str() == self.call.kind)?;
        Some(Told::Call(Box::new(CallFact {
            number: self.number,
            process: self.process.info(&self.origin),
            request: request.and_then(|request| request.info(number)),
            call: CallEvidence {
                kind: kind.as_str(),
                target: self.call.target.clone(),
                attempts: self.call.attempts,
                start_ns: wall_ns(&self.call.start)?,
                duration_ns: self.call.duration_ns,
                waited_ns: self.call.waited_ns,
                outcome: self.call.outcome,
                sent: self.call.sent.as_ref().map(|sent| finding::SentIds {
                    id: sent.id_header.clone().zip(sent.id.clone()),
                    trace_id: sent.trace_id.clone(),
                    parent_id: sent.parent_id.clone(),
                }),
            },
            given_up_by: self.given_up_by,
            given_up_site: self.given_up_site.as_ref().map(Site::frame),
            deadline: self.deadline.as_ref().map(|it| correlate::CallDeadline {
                set_ns: it.set_ns,
                left_ns: it.left_ns,
                site: it.site.as_ref().map(Site::frame),
            }),
            site: self.site.as_ref().map(Site::frame),
            caller: self.caller.as_ref().map(Site::frame),
            stack: Stack::default(),
            context: Vec::new(),
            seen_on: self.connection.as_ref().and_then(Connection::seen_on),
            whole: self.whole,
            until_ns: wall_ns(&self.time)?,
        })))
    }
}
