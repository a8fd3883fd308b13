//! Answers the rules' questions from the target's memory, read only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use observer_common::layout::TRACE_HEADER;

use crate::detect::{Answer, Ask, PeerAddress, Question, Reading, Work};
use crate::go::image::Key;
use crate::inspect::{
    Answering, Child, ConnState, ContextId, Ends, Goroutine, Inspection, Inspector, Kin, Reach,
    RequestDetails, RequestReading, Runtime, Started, Status, TargetTypes, TypeNames as _,
    Unsearched, ValueKey, ValueLink, id_in_contexts, inspect_conn, inspect_metadata,
    inspect_outgoing, inspect_request, local_address, response_headers, value_key,
};
use crate::model::parse_peer;
use crate::target::{Memory as _, MemoryError};

use super::clock;
use super::families::Families;
use super::subject::Target;

/// Children listed of one goroutine.
const MAX_CHILDREN: usize = 256;
/// Readings of all goroutines until one is whole.
const WHOLE_TRIES: u32 = 3;
/// The data word of an `atomic.Value` follows its type word.
const VALUE_DATA: u64 = 8;

/// Answers one question. A process that is gone or another by now gives [`Answer::Unknown`].
pub(super) fn answer(target: &Target, ask: &Ask, families: &mut Families) -> Answer {
    if !target.process.identity.still_same() {
        return Answer::Unknown;
    }
    match &ask.question {
        Question::Work {
            goid,
            g,
            contexts,
            request,
        } => {
            let goroutine = inspect(target, *goid, *g);
            let waits_on = match &goroutine {
                Inspection::Alive(goroutine) => waits_on(target, goroutine, contexts),
                _ => Vec::new(),
            };
            let (request, conn) = request
                .as_ref()
                .map_or((None, None), |r| describe(target, r));
            Answer::Work(Box::new(Work {
                goroutine,
                waits_on,
                request,
                conn,
            }))
        }
        Question::Request(reading) => {
            let (request, conn) = describe(target, reading);
            Answer::Request { request, conn }
        }
        Question::Children { parent_goid } => {
            Answer::Children(families.children(target, *parent_goid, clock::now_ns))
        }
        Question::ContextId { request, values } => {
            Answer::ContextId(context_id(target, request, values))
        }
        Question::Keys { values } => {
            let known = |value: &ValueLink| Some((*value, Arc::new(key(target, *value)?)));
            Answer::Keys(values.iter().filter_map(known).collect())
        }
        Question::Sent {
            request,
            ctx,
            stream,
            headers,
        } => Answer::Sent(match stream {
            Some(itab) => sent_by_grpc(target, (*itab, *ctx), headers),
            None => sent(target, (*request, *ctx), headers),
        }),
        // None is one answer among others: see `tallies`, `listings` and `looks`.
        Question::Count
        | Question::Listing
        | Question::Crowds { .. }
        | Question::Unreferenced { .. } => Answer::Unknown,
        Question::Peers { requests } => {
            Answer::Peers(requests.iter().map(|one| peer(target, one)).collect())
        }
        Question::CallEnds { goid, g } => Answer::Ends(call_ends(target, (*goid, *g))),
        Question::RequestEnds(reading) => Answer::Ends(request_ends(target, reading)),
    }
}

fn types(target: &Target) -> TargetTypes<'_, crate::target::ProcessMemory> {
    TargetTypes {
        image: &target.image,
        memory: &target.process.memory,
        bias: target.bias(),
    }
}

fn runtime(target: &Target) -> Option<Inspector<'_, crate::target::ProcessMemory>> {
    let offsets = target.offsets.goroutine.as_ref()?;
    let runtime = Runtime {
        table: &*target.image,
        offsets,
        bias: target.bias(),
        allgs: target.allgs,
        semtable: target.semtable,
    };
    Some(Inspector::new(&target.process.memory, runtime))
}

/// The living goroutines by `go` statement, without those that `is_runtime` says so of; `None` where not all could be
/// read.
pub(super) fn tally(target: &Target, is_runtime: impl FnMut(u64) -> bool) -> Option<Vec<Started>> {
    let mut lines = runtime(target)?.tally(is_runtime).ok()??;
    for line in lines.iter_mut().filter(|line| line.gopc != 0) {
        line.gopc = line.gopc.wrapping_add(target.bias());
    }
    Some(lines)
}

/// Its goroutines and who started them, by number; `None` where that is not to be known, or not all could be read.
pub(super) fn kin(target: &Target) -> Option<Vec<Kin>> {
    let mut all = runtime(target)?.kin().ok()??;
    for one in all.iter_mut().filter(|one| one.gopc != 0) {
        one.gopc = one.gopc.wrapping_add(target.bias());
    }
    Some(all)
}

/// The numbers of its goroutines, rising; `None` where not all could be read.
pub(super) fn goids(target: &Target) -> Option<Vec<u64>> {
    let inspector = runtime(target)?;
    (0..WHOLE_TRIES).find_map(|_| inspector.goids().ok()?)
}

/// Why nobody searches a process for references; `None` where that can be done.
pub(super) fn heap_gap(target: &Target) -> Option<String> {
    let knows = target.offsets.heap.is_some() && target.roots.is_some() && target.allgs.is_some();
    let version = &target.image.go_version().raw;
    (!knows).then(|| format!("where {version} keeps its heap is not known"))
}

/// The same, in the words of what is not covered.
pub(super) fn search_gap(target: &Target) -> Option<String> {
    let why = heap_gap(target)?;
    Some(format!(
        "goroutines that wait on what nothing refers to ({why})"
    ))
}

/// Which of some goroutines wait on what nothing refers to; `None` where the heap is not known.
pub(super) fn search(
    target: &Target,
    is_asked_about: impl Fn(u64) -> bool,
) -> Option<Result<Result<Reach, Unsearched>, MemoryError>> {
    let (offsets, roots) = (target.offsets.heap.as_ref()?, target.roots.as_ref()?);
    Some(runtime(target)?.unreferenced(offsets, roots, is_asked_about))
}

/// The same of goroutines by number; `None` where that is not to be known.
pub(super) fn unreferenced(target: &Target, goids: &[u64]) -> Option<Result<Reach, Unsearched>> {
    let asked: BTreeSet<u64> = goids.iter().copied().collect();
    search(target, |goid| asked.contains(&goid))?.ok()
}

fn inspect(target: &Target, goid: u64, g: u64) -> Inspection {
    let Some(inspector) = runtime(target) else {
        return Inspection::Unknown;
    };
    match inspector.inspect(goid, (g != 0).then_some(g)) {
        Inspection::Alive(mut goroutine) => {
            if goroutine.status == Status::Syscall {
                goroutine.sleeps = sleeps(target, &inspector, &goroutine);
            }
            live_addresses(&mut goroutine, target.bias());
            Inspection::Alive(goroutine)
        }
        other => other,
    }
}

/// Of a goroutine in a system call: how often its thread, which sleeps there, has given up its processor.
fn sleeps(
    target: &Target,
    inspector: &Inspector<'_, crate::target::ProcessMemory>,
    goroutine: &Goroutine,
) -> Option<u64> {
    let procid = target.layout.field("runtime.m", "procid")?;
    let thread = inspector.thread_in_call(goroutine, procid)?;
    let pid = i32::try_from(target.pid()).ok()?;
    crate::target::sleeps(pid, thread)
}

/// The core speaks of addresses in the process; the inspector takes the bias off.
fn live_addresses(goroutine: &mut Goroutine, bias: u64) {
    for pc in goroutine.stack.iter_mut().chain(&mut goroutine.outer) {
        *pc = pc.wrapping_add(bias);
    }
    goroutine.gopc = goroutine.gopc.wrapping_add(bias);
    goroutine.startpc = goroutine.startpc.wrapping_add(bias);
}

/// Contexts whose `Done` channel is among those that the goroutine waits on.
fn waits_on(target: &Target, goroutine: &Goroutine, contexts: &[u64]) -> Vec<u64> {
    let Some(offsets) = &target.offsets.context else {
        return Vec::new();
    };
    if goroutine.waiting_channels.is_empty() {
        return Vec::new();
    }
    let at = u64::from(offsets.done).wrapping_add(VALUE_DATA);
    let done = |ctx: u64| {
        target
            .process
            .memory
            .read_u64(ctx.wrapping_add(at))
            .unwrap_or(0)
    };
    contexts
        .iter()
        .copied()
        .filter(|ctx| {
            let channel = done(*ctx);
            channel != 0 && goroutine.waiting_channels.contains(&channel)
        })
        .collect()
}

fn describe(
    target: &Target,
    reading: &Reading,
) -> (Option<Arc<RequestDetails>>, Option<ConnState>) {
    let memory = &target.process.memory;
    let mut headers: Vec<&str> = reading.headers.iter().map(String::as_str).collect();
    // After the ID headers, where `detect` looks for it.
    if !headers.is_empty() {
        headers.push(TRACE_HEADER);
    }
    if let Some(ctx) = reading.stream {
        return (metadata(target, ctx, reading.ctx, &headers), None);
    }
    let Some(offsets) = &target.offsets.request else {
        return (None, None);
    };
    let RequestReading::Is(mut details) =
        inspect_request(memory, offsets, reading.request, reading.ctx, &headers)
    else {
        return (None, None);
    };
    // The writer of HTTP/2 is no `http.response`; its protocol says so.
    let is_http1 = details
        .proto
        .as_deref()
        .is_some_and(|proto| proto.starts_with("HTTP/1"));
    let conn = is_http1.then(|| conn(target, reading.writer)).flatten();
    if let Some(offsets) = &target.offsets.response
        && !headers.is_empty()
    {
        let of = Answering {
            request: reading.request,
            ctx: reading.ctx,
            writer: reading.writer,
            http2: !is_http1,
        };
        details.response = response_headers(memory, offsets, of, &headers).unwrap_or_default();
    }
    (Some(Arc::from(details)), conn)
}

/// What a gRPC stream says of itself: its metadata.
fn metadata(
    target: &Target,
    ctx: (u64, u64),
    own: u64,
    headers: &[&str],
) -> Option<Arc<RequestDetails>> {
    let offsets = (
        target.offsets.context.as_ref()?,
        target.offsets.local.as_ref()?,
    );
    let memory = &target.process.memory;
    inspect_metadata(memory, offsets, &types(target), (ctx, own), headers).map(Arc::new)
}

fn context_id(target: &Target, reading: &Reading, values: &[u64]) -> Option<ContextId> {
    let offsets = (
        target.offsets.context.as_ref()?,
        target.offsets.local.as_ref()?,
    );
    let memory = &target.process.memory;
    id_in_contexts(memory, offsets, &types(target), reading.ctx, values)
}

/// The key of a value, and which line has put it there.
fn key(target: &Target, value: ValueLink) -> Option<ValueKey> {
    let offsets = target.offsets.local.as_ref()?;
    let (kind, data) = value_key(&target.process.memory, offsets, value)?;
    let in_file = |address: u64| address.wrapping_sub(target.bias());
    let key = Key {
        type_vaddr: in_file(kind),
        data: in_file(data),
    };
    Some(ValueKey {
        type_name: types(target).of_type(kind)?,
        made: target.image.value_made(in_file(value.itab), key),
    })
}

/// The caller's request is one like a server's; its peer and its route are empty.
fn sent(
    target: &Target,
    (request, ctx): (u64, u64),
    headers: &[String],
) -> Option<Vec<Option<Arc<str>>>> {
    let offsets = target.offsets.request.as_ref()?;
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    match inspect_request(&target.process.memory, offsets, request, ctx, &headers) {
        RequestReading::Is(details) => Some(details.headers),
        RequestReading::Reused | RequestReading::Unreadable => None,
    }
}

/// Metadata that the context of a gRPC call holds.
fn sent_by_grpc(
    target: &Target,
    ctx: (u64, u64),
    headers: &[String],
) -> Option<Vec<Option<Arc<str>>>> {
    let offsets = &target.offsets;
    let offsets = (
        offsets.context.as_ref()?,
        offsets.local.as_ref()?,
        offsets.outgoing.as_ref()?,
    );
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    inspect_outgoing(
        &target.process.memory,
        offsets,
        &types(target),
        ctx,
        &headers,
    )
}

fn conn(target: &Target, writer: u64) -> Option<ConnState> {
    let memory = &target.process.memory;
    let at = u64::from(target.offsets.response_conn?);
    let conn = memory.read_u64(writer.wrapping_add(at)).ok()?;
    let offsets = target.offsets.conn.as_ref()?;
    inspect_conn(memory, offsets, &types(target), (conn, writer)).ok()
}

/// Of HTTP/1 as the connection has it; of HTTP/2, whose connection is not looked for, as the request has it.
fn peer(target: &Target, reading: &Reading) -> Option<PeerAddress> {
    let (details, conn) = describe(target, reading);
    let remote = conn
        .and_then(|conn| conn.peer)
        .or_else(|| details?.peer.clone())?;
    Some(PeerAddress {
        remote,
        local_port: own_address(target, reading).map(|address| address.port()),
    })
}

fn call_ends(target: &Target, goroutine: (u64, u64)) -> Option<Ends> {
    let offsets = target.offsets.socket.as_ref()?;
    let round_trip = target.offsets.round_trip?;
    runtime(target)?.call_ends(offsets, &types(target), round_trip, goroutine)
}

/// Once its header is out, the caller may use the connection for another call.
fn request_ends(target: &Target, reading: &Reading) -> Option<Ends> {
    let server = own_address(target, reading)?;
    let (_, conn) = describe(target, reading);
    let conn = conn.filter(|conn| !conn.hijacked)?;
    let begun = u64::from(target.offsets.response_begun?);
    let memory = &target.process.memory;
    let begun = memory
        .read_bytes(reading.writer.wrapping_add(begun), 1)
        .ok()?;
    let client = parse_peer(&conn.peer?)?;
    (begun == [0]).then_some(Ends { client, server })
}

fn own_address(target: &Target, reading: &Reading) -> Option<SocketAddr> {
    let memory = &target.process.memory;
    let at = u64::from(target.offsets.request.as_ref()?.ctx);
    let itab = memory.read_u64(reading.request.wrapping_add(at)).ok()?;
    let offsets = (
        target.offsets.context.as_ref()?,
        target.offsets.local.as_ref()?,
    );
    local_address(memory, offsets, &types(target), (itab, reading.ctx))
}

/// The children of several goroutines, in one look through all.
pub(super) fn children(
    target: &Target,
    parents: &BTreeSet<u64>,
) -> Option<BTreeMap<u64, Vec<Child>>> {
    let mut children = runtime(target)?
        .find_children(parents, MAX_CHILDREN)
        .ok()??;
    for child in children.values_mut().flatten() {
        child.gopc = child.gopc.wrapping_add(target.bias());
        child.startpc = child.startpc.wrapping_add(target.bias());
    }
    Some(children)
}
