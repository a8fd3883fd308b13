//! Which ID a request is known by, and where it came from.

use std::sync::Arc;

use observer_common::layout::TRACE_HEADER;

use crate::finding::IdSource;
use crate::inspect::RequestDetails;
use crate::model::{ReqId, Request};

use super::context::{Context, Thresholds};

/// Bytes of an ID that are kept: several times what the longest kinds in use have.
const MAX_ID: usize = 256;

/// A request's ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id {
    /// Its value, or the beginning of it.
    pub(super) value: String,
    /// Where it was found.
    pub(super) source: IdSource,
    /// There is more of the value.
    pub(super) truncated: bool,
}

impl Id {
    /// `cut`: `value` is only a beginning.
    fn new(value: &str, cut: bool, source: IdSource) -> Self {
        let kept = value.floor_char_boundary(MAX_ID);
        Self {
            value: value.get(..kept).unwrap_or(value).to_owned(),
            source,
            truncated: cut || kept < value.len(),
        }
    }
}

/// Keeps what memory said of a request.
pub(super) fn keep(id: ReqId, details: &Arc<RequestDetails>, cx: &mut Context<'_>) {
    let trace = cx.thresholds.id_headers.len();
    // The trace header is asked for after all ID headers.
    let trace = details.headers.get(trace).and_then(Option::as_deref);
    cx.model.set_details(id, Arc::clone(details), trace);
}

/// The ID of a request: the first of the configured headers that it has.
pub(super) fn of(request: &Request, thresholds: &Thresholds) -> Option<Id> {
    let names = thresholds.id_headers.iter().enumerate();
    names
        .clone()
        .find_map(|(place, name)| incoming(request, place, name, thresholds))
        // The service itself has put it there since.
        .or_else(|| {
            names
                .map(|(place, name)| (in_memory(request, place), name))
                .find_map(|(value, name)| Some(Id::new(value?, false, header(name))))
        })
}

fn header(name: &str) -> IdSource {
    IdSource::Header(name.to_owned())
}

/// What the request came with in the configured header at `place`.
fn incoming(request: &Request, place: usize, name: &str, thresholds: &Thresholds) -> Option<Id> {
    if name == TRACE_HEADER {
        let trace = request.trace.context()?.trace_id.to_string();
        return Some(Id::new(&trace, false, header(name)));
    }
    let row = usize::try_from(request.id_row).unwrap_or(0);
    if let Some(begin) = &request.id_value
        && probed(&thresholds.id_headers).nth(row.wrapping_sub(1)) == Some(name)
    {
        // A cut may have gone through a character.
        let sure = begin.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let whole = in_memory(request, place).filter(|whole| whole.starts_with(sure));
        let id = whole.map(|whole| Id::new(whole, false, header(name)));
        return id.or_else(|| Some(Id::new(begin, request.id_cut, header(name))));
    }
    let value = in_memory(request, place).filter(|_| request.ids_open)?;
    Some(Id::new(value, false, header(name)))
}

/// What memory said of the configured header at `place`.
fn in_memory(request: &Request, place: usize) -> Option<&str> {
    let value = request.details.as_ref()?.headers.get(place)?.as_deref();
    value.filter(|value| !value.is_empty())
}

/// The ID headers that probes look for, in the order of their rows: the trace header has a row of its own.
pub fn probed(names: &[String]) -> impl Iterator<Item = &str> {
    names
        .iter()
        .map(String::as_str)
        .filter(|name| *name != TRACE_HEADER)
}
