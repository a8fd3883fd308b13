//! Bytes of a record ↔ an event. Nothing is copied.

use observer_common::event::{
    BodyFailed, CallAttempt, CallCancelled, CallRedirected, CallStarted, CallStreamEnded,
    ConnCancelled, ConnHijacked, ConnReadError, ContextCancelled, ContextCancelledShort,
    ContextCreated, ContextCreatedShort, DeadlineAsked, DialDone, DialStarted, GoroutineCreated,
    GoroutineEnded, GrpcCalled, GrpcEnded, GrpcStarted, Header, IoDeadlineSet, Kind,
    ProcessExecuted, RequestStarted, ServerClosing, SocketChanged, SqlCalled, SqlReturned,
};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::query::query_name;

/// One event, borrowed from the ring or from a recording.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A context was created.
    ContextCreated(&'a ContextCreated),
    /// A context was created by a known caller.
    ContextCreatedShort(&'a ContextCreatedShort),
    /// A context is cancelled by something other than its parent.
    ContextCancelled(&'a ContextCancelled),
    /// A cascade, a repetition or a request's end.
    ContextCancelledShort(&'a ContextCancelledShort),
    /// A deadline is asked for.
    DeadlineAsked(&'a DeadlineAsked),
    /// A handler is about to run.
    RequestStarted(&'a RequestStarted),
    /// A gRPC handler is about to run.
    GrpcStarted(&'a GrpcStarted),
    /// A gRPC handler has returned.
    GrpcEnded(&'a GrpcEnded),
    /// A handler sets a deadline on its connection.
    IoDeadlineSet(&'a IoDeadlineSet),
    /// A server closes its connections.
    ServerClosing(&'a ServerClosing),
    /// A handler takes its connection over.
    ConnHijacked(&'a ConnHijacked),
    /// The connection ended under a request.
    ConnReadError(&'a ConnReadError),
    /// An outgoing call starts.
    CallStarted(&'a CallStarted),
    /// The call that starts next follows a redirect.
    CallRedirected(&'a CallRedirected),
    /// A round trip takes a connection, has done with it, or is tried again.
    CallAttempt(&'a CallAttempt),
    /// A stream of an HTTP/2 client is over.
    CallStreamEnded(&'a CallStreamEnded),
    /// The transport gives a call up.
    CallCancelled(&'a CallCancelled),
    /// The transport closes a connection for a dead context.
    ConnCancelled(&'a ConnCancelled),
    /// A response body died with its context.
    BodyFailed(&'a BodyFailed),
    /// gRPC's client makes a stream.
    GrpcCalled(&'a GrpcCalled),
    /// `database/sql` asks for a connection or hands a query to a driver.
    SqlCalled(&'a SqlCalled),
    /// A connection goes back to its pool.
    SqlReturned(&'a SqlReturned),
    /// `net.Dialer` is asked for a connection.
    DialStarted(&'a DialStarted),
    /// A TCP connection that was dialled is there.
    DialDone(&'a DialDone),
    /// A socket changes its state.
    SocketChanged(&'a SocketChanged),
    /// A goroutine of a request has started another.
    GoroutineCreated(&'a GoroutineCreated),
    /// Such a goroutine has ended.
    GoroutineEnded(&'a GoroutineEnded),
}

impl Event<'_> {
    /// The common part.
    #[must_use]
    pub const fn header(&self) -> &Header {
        match self {
            Self::ContextCreated(record) => &record.header,
            Self::ContextCreatedShort(record) => &record.header,
            Self::ContextCancelled(record) => &record.header,
            Self::ContextCancelledShort(record) => &record.header,
            Self::DeadlineAsked(record) => &record.header,
            Self::RequestStarted(record) => &record.header,
            Self::GrpcStarted(record) => &record.header,
            Self::GrpcEnded(record) => &record.header,
            Self::IoDeadlineSet(record) => &record.header,
            Self::ServerClosing(record) => &record.header,
            Self::ConnHijacked(record) => &record.header,
            Self::ConnReadError(record) => &record.header,
            Self::CallStarted(record) => &record.header,
            Self::CallRedirected(record) => &record.header,
            Self::CallAttempt(record) => &record.header,
            Self::CallStreamEnded(record) => &record.header,
            Self::CallCancelled(record) => &record.header,
            Self::ConnCancelled(record) => &record.header,
            Self::BodyFailed(record) => &record.header,
            Self::GrpcCalled(record) => &record.header,
            Self::SqlCalled(record) => &record.header,
            Self::SqlReturned(record) => &record.header,
            Self::DialStarted(record) => &record.header,
            Self::DialDone(record) => &record.header,
            Self::SocketChanged(record) => &record.header,
            Self::GoroutineCreated(record) => &record.header,
            Self::GoroutineEnded(record) => &record.header,
        }
    }
}

fn exact<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Option<&T> {
    // The ring pads records to 8 bytes, so there may be more, never less.
    T::ref_from_prefix(bytes).ok().map(|(record, _)| record)
}

/// Pid and time (monotonic ns) of a process that has begun to execute a file; `None` for any other record. No event
/// of the model's: it is about every process of the host.
#[must_use]
pub fn executed(bytes: &[u8]) -> Option<(u32, u64)> {
    if bytes.first() != Some(&(Kind::ProcessExecuted as u8)) {
        return None;
    }
    let record: &ProcessExecuted = exact(bytes)?;
    Some((record.header.pid, record.header.time_ns))
}

/// Reads one record. `None` for bytes that are none: unknown kind, too short, misaligned.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Event<'_>> {
    let kind = *bytes.first()?;
    Some(match kind {
        k if k == Kind::ContextCreated as u8 => Event::ContextCreated(exact(bytes)?),
        k if k == Kind::ContextCreatedShort as u8 => Event::ContextCreatedShort(exact(bytes)?),
        k if k == Kind::ContextCancelled as u8 => Event::ContextCancelled(exact(bytes)?),
        k if k == Kind::ContextCancelledShort as u8 => Event::ContextCancelledShort(exact(bytes)?),
        k if k == Kind::DeadlineAsked as u8 => Event::DeadlineAsked(exact(bytes)?),
        k if k == Kind::RequestStarted as u8 => Event::RequestStarted(exact(bytes)?),
        k if k == Kind::GrpcStarted as u8 => Event::GrpcStarted(exact(bytes)?),
        k if k == Kind::GrpcEnded as u8 => Event::GrpcEnded(exact(bytes)?),
        k if k == Kind::IoDeadlineSet as u8 => Event::IoDeadlineSet(exact(bytes)?),
        k if k == Kind::ServerClosing as u8 => Event::ServerClosing(exact(bytes)?),
        k if k == Kind::ConnHijacked as u8 => Event::ConnHijacked(exact(bytes)?),
        k if k == Kind::ConnReadError as u8 => Event::ConnReadError(exact(bytes)?),
        k if k == Kind::CallStarted as u8 => Event::CallStarted(exact(bytes)?),
        k if k == Kind::CallRedirected as u8 => Event::CallRedirected(exact(bytes)?),
        k if k == Kind::CallAttempt as u8 => Event::CallAttempt(exact(bytes)?),
        k if k == Kind::CallStreamEnded as u8 => Event::CallStreamEnded(exact(bytes)?),
        k if k == Kind::CallCancelled as u8 => Event::CallCancelled(exact(bytes)?),
        k if k == Kind::ConnCancelled as u8 => Event::ConnCancelled(exact(bytes)?),
        k if k == Kind::BodyFailed as u8 => Event::BodyFailed(exact(bytes)?),
        k if k == Kind::GrpcCalled as u8 => Event::GrpcCalled(exact(bytes)?),
        k if k == Kind::SqlCalled as u8 => Event::SqlCalled(exact(bytes)?),
        k if k == Kind::SqlReturned as u8 => Event::SqlReturned(exact(bytes)?),
        k if k == Kind::DialStarted as u8 => Event::DialStarted(exact(bytes)?),
        k if k == Kind::DialDone as u8 => Event::DialDone(exact(bytes)?),
        k if k == Kind::SocketChanged as u8 => Event::SocketChanged(exact(bytes)?),
        k if k == Kind::GoroutineCreated as u8 => Event::GoroutineCreated(exact(bytes)?),
        k if k == Kind::GoroutineEnded as u8 => Event::GoroutineEnded(exact(bytes)?),
        _ => return None,
    })
}

/// Removes from a record what must not be kept: the query of a request and the values in one of `database/sql`,
/// which may be secrets, and the probe's working space, which holds stray memory.
pub fn scrub(bytes: &mut [u8]) {
    match bytes.first() {
        Some(kind) if *kind == Kind::RequestStarted as u8 => {
            if let Ok((record, _)) = RequestStarted::mut_from_prefix(bytes) {
                scrub_request(record);
            }
        }
        Some(kind) if *kind == Kind::SqlCalled as u8 => {
            if let Ok((record, _)) = SqlCalled::mut_from_prefix(bytes) {
                scrub_query(record);
            }
        }
        _ => {}
    }
}

/// What a query may be called, in place of its text: read again, it says the same.
fn scrub_query(record: &mut SqlCalled) {
    if record.query_at != 0 {
        record.query.fill(0);
        return;
    }
    let named = query_name(text_of(&record.query, record.query_len));
    record.query.fill(0);
    for (to, from) in record.query.iter_mut().zip(named.bytes()) {
        *to = from;
    }
    record.query_len = named.len().min(record.query.len()) as u64;
}

fn text_of(bytes: &[u8], len: u64) -> &[u8] {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(..len).unwrap_or_default()
}

fn scrub_request(record: &mut RequestStarted) {
    let path_at = usize::try_from(record.path_at).unwrap_or(usize::MAX);
    let path_len = usize::try_from(record.path_len).unwrap_or(0);
    let method_len = usize::try_from(record.method_len).unwrap_or(0);
    let mut shown = 0;
    if let Some(path) = record
        .line
        .get_mut(path_at..)
        .and_then(|rest| rest.get_mut(..path_len))
    {
        shown = path
            .iter()
            .position(|byte| *byte == b'?')
            .unwrap_or(path.len());
    }
    for (index, byte) in record.line.iter_mut().enumerate() {
        let method = index < method_len;
        let path = index >= path_at && index < path_at.saturating_add(shown);
        if !method && !path {
            *byte = 0;
        }
    }
    record.path_len = u32::try_from(shown).unwrap_or(0);
    clear_after(&mut record.id, record.id_len as usize);
    clear_after(
        &mut record.trace,
        usize::try_from(record.trace_len).unwrap_or(0),
    );
    let sent = usize::try_from(record.deadline_len).unwrap_or(0);
    clear_after(
        &mut record.deadline,
        if record.deadline_row == 0 { 0 } else { sent },
    );
    record.search.fill(0);
    record.scratch.fill(0);
}

fn clear_after(bytes: &mut [u8], len: usize) {
    if let Some(rest) = bytes.get_mut(len..) {
        rest.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, decode, executed, scrub};
    use observer_common::event::{
        BodyFailed, CallAttempt, CallCancelled, CallRedirected, CallStarted, CallStreamEnded,
        ConnCancelled, ConnHijacked, ConnReadError, ContextCancelled, ContextCancelledShort,
        ContextCreated, ContextCreatedShort, DeadlineAsked, DialDone, DialStarted,
        GoroutineCreated, GoroutineEnded, GrpcCalled, GrpcEnded, GrpcStarted, Header,
        IoDeadlineSet, Kind, ProcessExecuted, RequestStarted, ServerClosing, SocketChanged,
        SqlCalled, SqlReturned,
    };
    use proptest::prelude::{any, prop_assert, proptest};
    use zerocopy::{FromZeros, IntoBytes};

    fn request(line: &[u8], path_at: u32, path_len: u32) -> RequestStarted {
        let mut record = RequestStarted::new_zeroed();
        record.header = Header {
            kind: Kind::RequestStarted as u8,
            ..Header::default()
        };
        record.line[..line.len()].copy_from_slice(line);
        record.method_len = 3;
        record.path_at = path_at;
        record.path_len = path_len;
        record.scratch.fill(7);
        record
    }

    #[test]
    fn a_query_does_not_survive() {
        let mut record = request(b"GET /a/b?token=secret HTTP/1.1", 4, 17);
        scrub(record.as_mut_bytes());
        assert_eq!(record.path_len, 4);
        assert_eq!(&record.line[..9], b"GET\0/a/b\0");
        assert!(record.line[8..].iter().all(|byte| *byte == 0));
        assert!(record.scratch.iter().all(|word| *word == 0));
        let bytes = record.as_bytes();
        assert!(!bytes.windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn values_of_a_query_do_not_survive() {
        let text = b"SELECT name FROM users WHERE mail = 'secret@example.com'";
        let mut record = SqlCalled::new_zeroed();
        record.header.kind = Kind::SqlCalled as u8;
        record.query[..text.len()].copy_from_slice(text);
        record.query[100..106].copy_from_slice(b"secret");
        record.query_len = text.len() as u64;
        scrub(record.as_mut_bytes());
        let named = b"SELECT FROM users";
        assert_eq!(record.query_len, named.len() as u64);
        assert_eq!(&record.query[..named.len()], named);
        assert!(record.query[named.len()..].iter().all(|byte| *byte == 0));
        let once = record;
        scrub(record.as_mut_bytes());
        assert_eq!(record, once);
        // Of one that could not be read only the place is left.
        record.query_at = 0x50_0000;
        record.query_len = 40;
        scrub(record.as_mut_bytes());
        assert_eq!((record.query_at, record.query_len), (0x50_0000, 40));
        assert_eq!(record.query, [0; 192]);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let record = request(b"GET /", 4, 1);
        let bytes = record.as_bytes();
        assert!(matches!(decode(bytes), Some(Event::RequestStarted(_))));
        assert!(decode(&bytes[..bytes.len() - 1]).is_none());
        assert!(decode(&[]).is_none());
        assert!(decode(&[99; 64]).is_none());
    }

    #[test]
    fn every_kind_is_its_own_record_of_its_own_size() {
        let kinds = [
            (Kind::ContextCreated, size_of::<ContextCreated>()),
            (Kind::ContextCreatedShort, size_of::<ContextCreatedShort>()),
            (Kind::ContextCancelled, size_of::<ContextCancelled>()),
            (
                Kind::ContextCancelledShort,
                size_of::<ContextCancelledShort>(),
            ),
            (Kind::DeadlineAsked, size_of::<DeadlineAsked>()),
            (Kind::RequestStarted, size_of::<RequestStarted>()),
            (Kind::GrpcStarted, size_of::<GrpcStarted>()),
            (Kind::GrpcEnded, size_of::<GrpcEnded>()),
            (Kind::ConnReadError, size_of::<ConnReadError>()),
            (Kind::IoDeadlineSet, size_of::<IoDeadlineSet>()),
            (Kind::ServerClosing, size_of::<ServerClosing>()),
            (Kind::ConnHijacked, size_of::<ConnHijacked>()),
            (Kind::CallStarted, size_of::<CallStarted>()),
            (Kind::CallCancelled, size_of::<CallCancelled>()),
            (Kind::CallStreamEnded, size_of::<CallStreamEnded>()),
            (Kind::CallAttempt, size_of::<CallAttempt>()),
            (Kind::CallRedirected, size_of::<CallRedirected>()),
            (Kind::ConnCancelled, size_of::<ConnCancelled>()),
            (Kind::BodyFailed, size_of::<BodyFailed>()),
            (Kind::GrpcCalled, size_of::<GrpcCalled>()),
            (Kind::SqlCalled, size_of::<SqlCalled>()),
            (Kind::SqlReturned, size_of::<SqlReturned>()),
            (Kind::DialStarted, size_of::<DialStarted>()),
            (Kind::DialDone, size_of::<DialDone>()),
            (Kind::SocketChanged, size_of::<SocketChanged>()),
            (Kind::GoroutineCreated, size_of::<GoroutineCreated>()),
            (Kind::GoroutineEnded, size_of::<GoroutineEnded>()),
        ];
        for (kind, size) in kinds {
            let mut words = vec![0u64; size / 8 + 1];
            let header = Header {
                kind: kind as u8,
                goid: 77,
                ..Header::default()
            };
            words.as_mut_bytes()[..size_of::<Header>()].copy_from_slice(header.as_bytes());
            let bytes = words.as_bytes();
            let event = decode(&bytes[..size]).unwrap();
            assert_eq!(*event.header(), header, "{kind:?}");
            // The ring may pad, and may not cut.
            assert!(decode(bytes).is_some(), "{kind:?}");
            assert!(decode(&bytes[..size - 1]).is_none(), "{kind:?}");
        }
    }

    #[test]
    fn a_start_is_told_apart_from_events() {
        let record = ProcessExecuted {
            header: Header {
                kind: Kind::ProcessExecuted as u8,
                pid: 7,
                time_ns: 9,
                ..Header::default()
            },
        };
        assert_eq!(executed(record.as_bytes()), Some((7, 9)));
        assert!(decode(record.as_bytes()).is_none());
        assert_eq!(executed(&record.as_bytes()[..40]), None);
        assert_eq!(executed(request(b"GET /", 4, 1).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(mut words in proptest::collection::vec(any::<u64>(), 0..120)) {
            for kind in 0..80 {
                let bytes = words.as_mut_slice().as_mut_bytes();
                if let Some(first) = bytes.first_mut() {
                    *first = kind;
                }
                scrub(bytes);
                if let Some(Event::RequestStarted(record)) = decode(bytes) {
                    prop_assert!(record.search.iter().all(|word| *word == 0));
                }
            }
        }
    }
}
