//! What a request is called, for people.

use crate::finding::{IdSource, RequestInfo};

/// Method and path; the route where the path is unknown or redacted.
pub(super) fn line_of(request: &RequestInfo) -> String {
    match (
        &request.method,
        request.path.as_ref().or(request.route.as_ref()),
    ) {
        (Some(method), Some(path)) => format!("{method} {path}"),
        (None, Some(path)) => path.clone(),
        (Some(method), None) => format!("{method} (path unknown)"),
        (None, None) => format!("request {} (method and path unknown)", request.number),
    }
}

/// Where an ID came from, behind it.
pub(super) fn source(source: &IdSource) -> String {
    match source {
        IdSource::Header(name) => format!(" ({name})"),
        IdSource::Response(name) => format!(" ({name} of the answer)"),
        IdSource::Context(package) => format!(" (context, {package})"),
    }
}

/// An ID in pieces that fit a line: whoever looks for it needs all of it.
pub(super) fn broken(text: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let pieces = letters.chunks(width.max(1));
    pieces.map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::line_of;
    use crate::finding::samples;

    #[test]
    fn the_route_stands_in_for_a_hidden_path() {
        let mut request = samples::cancel_ignored().request.unwrap();
        assert_eq!(line_of(&request), "GET /report/7");
        request.path = None;
        assert_eq!(line_of(&request), "GET /report/{}");
        request.route = None;
        assert_eq!(line_of(&request), "GET (path unknown)");
        request.method = None;
        assert_eq!(line_of(&request), "request 7 (method and path unknown)");
    }
}
