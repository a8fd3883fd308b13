//! The headers in which IDs of requests are looked for.

use observer_common::layout::TRACE_HEADER;
use observer_common::limits::{MAX_HEADER_NAME, MAX_ID_HEADERS};

use crate::config::{IdReading, Settings};
use crate::error::Error;

const REQUEST_ID_HEADER: &str = "X-Request-Id";
/// ID headers that are looked for in the memory of a suspicious request: no service has so many.
const LAZY_HEADERS: usize = 16;
/// Length of the longest name of one.
const LAZY_HEADER_NAME: usize = 128;

/// The names that the settings ask for, best first.
///
/// # Errors
/// They are none, or more than can be looked for.
pub(super) fn of(settings: &Settings) -> Result<Vec<String>, Error> {
    let names = match &settings.request_id_header {
        Some(names) if !names.is_empty() => names.clone(),
        _ => vec![REQUEST_ID_HEADER.to_owned()],
    };
    if let Some(name) = names.iter().find(|name| !is_token(name)) {
        return Err(Error::Usage {
            problem: format!("`{name}` cannot be the name of a header"),
            remedy: "write it like `--request-id-header X-Request-Id`".into(),
        });
    }
    let always = settings.request_ids.unwrap_or_default() == IdReading::Always;
    let (most, longest) = if always {
        (MAX_ID_HEADERS, MAX_HEADER_NAME)
    } else {
        (LAZY_HEADERS, LAZY_HEADER_NAME)
    };
    // Its own row is always there.
    let is_trace = |name: &&String| name.eq_ignore_ascii_case(TRACE_HEADER);
    let too_long = names.iter().find(|name| name.len() > longest);
    let too_many = names.iter().filter(|name| !is_trace(name)).count() > most;
    let problem = match too_long {
        Some(name) => format!("`{name}` is longer than the {longest} bytes"),
        None if too_many => format!("these are more headers than the {most}"),
        None => return Ok(names),
    };
    Err(Error::Usage {
        problem: format!("{problem} that IDs of requests can be looked for in"),
        remedy: if always {
            "look for them only in requests that a finding is about: `--request-ids lazy`".into()
        } else {
            "leave out the headers that matter least".into()
        },
    })
}

/// RFC 9110, section 5.6.2.
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
