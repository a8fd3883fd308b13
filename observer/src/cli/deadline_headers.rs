//! The headers in which callers say how long they wait.

use observer_common::layout::TRACE_HEADER;
use observer_common::limits::{MAX_DEADLINE_HEADERS, MAX_HEADER_NAME};

use crate::config::{DeadlineHeader, Settings};
use crate::error::Error;

use super::id_headers::is_token;

const REMEDY: &str =
    "write it like `--deadline-header X-Timeout` or `--deadline-header X-Timeout=s`";

/// The headers that the settings ask for, best first.
///
/// # Errors
/// They are more than can be looked for, or cannot be looked for.
pub(super) fn of(settings: &Settings, ids: &[String]) -> Result<Vec<DeadlineHeader>, Error> {
    let headers = settings.deadline_header.clone().unwrap_or_default();
    if let Some(problem) = problem(&headers, ids) {
        let remedy = REMEDY.into();
        return Err(Error::Usage { problem, remedy });
    }
    Ok(headers)
}

fn problem(headers: &[DeadlineHeader], ids: &[String]) -> Option<String> {
    if headers.len() > MAX_DEADLINE_HEADERS {
        return Some(format!(
            "these are more headers than the {MAX_DEADLINE_HEADERS} that deadlines can be looked for in"
        ));
    }
    let taken = |name: &str| {
        let mut others = ids.iter().map(String::as_str).chain([TRACE_HEADER]);
        others.any(|other| other.eq_ignore_ascii_case(name))
    };
    headers.iter().map(|header| &header.name).find_map(|name| {
        if !is_token(name) {
            Some(format!("`{name}` cannot be the name of a header"))
        } else if name.len() > MAX_HEADER_NAME {
            Some(format!(
                "`{name}` is longer than the {MAX_HEADER_NAME} bytes that can be looked for"
            ))
        } else if taken(name) {
            Some(format!("`{name}` is the name of an ID"))
        } else {
            None
        }
    })
}
