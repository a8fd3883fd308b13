//! The two sides of a join.

use std::borrow::Cow;
use std::sync::Arc;

use observer_common::limits::MAX_PATH;

use super::Ids;
use super::ids::Key;

/// A call, as far as joining needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSide {
    /// Those of the request that it was made for; where that has none or the call's own are known, those that it sent.
    pub ids: Ids,
    /// Method.
    pub method: Arc<str>,
    /// Path as the URL has it, decoded; at most 96 bytes. `None`: unknown.
    pub path: Option<Arc<str>>,
}

/// A request, as far as joining needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSide {
    /// Those that came with it.
    pub ids: Ids,
    /// Method; `None`: unknown.
    pub method: Option<Arc<str>>,
    /// Path as it came; at most 96 bytes. `None`: unknown.
    pub path: Option<Arc<str>>,
}

impl CallSide {
    /// Splits `GET store:8080/item/7`. Where paths are hidden it ends with the host. A call of gRPC names no method: it
    /// is a POST.
    #[must_use]
    pub fn new(ids: Ids, target: &str) -> Self {
        let (method, place) = target.split_once(' ').unwrap_or(("POST", target));
        let path = place.find('/').and_then(|at| place.get(at..));
        Self {
            ids,
            method: Arc::from(method),
            path: path.map(Arc::from),
        }
    }

    /// Method and path, where both are known whole.
    pub(super) fn line(&self) -> Option<Key> {
        let path = self.path.as_ref().filter(|path| path.len() < MAX_PATH)?;
        Some(Key::Line(Arc::clone(&self.method), Arc::clone(path)))
    }

    /// Whether what is known of IDs, method and path allows that the request is this call's.
    #[must_use]
    pub fn fits(&self, request: &RequestSide) -> bool {
        let method = request
            .method
            .as_ref()
            .is_none_or(|method| *method == self.method);
        let path = match (&self.path, &request.path) {
            (Some(called), Some(came)) => same_path(called, came),
            _ => true,
        };
        !self.ids.differ(&request.ids) && method && path
    }
}

impl RequestSide {
    /// Method and path, as the URL of its call has them.
    pub(super) fn line(&self) -> Option<Key> {
        let path = self.path.as_ref().filter(|path| path.len() < MAX_PATH)?;
        let path = match decoded(path.as_bytes()) {
            Cow::Borrowed(_) => Arc::clone(path),
            Cow::Owned(bytes) => Arc::from(String::from_utf8(bytes).ok()?),
        };
        Some(Key::Line(Arc::clone(self.method.as_ref()?), path))
    }
}

/// A path of a URL and one of a request line: the latter is escaped, and either may be cut.
fn same_path(called: &str, came: &str) -> bool {
    if came.len() >= MAX_PATH || called.len() >= MAX_PATH {
        let decoded = decoded(came.as_bytes());
        let both = decoded.len().min(called.len());
        // An escape may have been cut in two.
        let sure = both.saturating_sub(2);
        return called.as_bytes().get(..sure) == decoded.get(..sure);
    }
    called.as_bytes() == &*decoded(came.as_bytes())
}

/// Without `%XX`.
fn decoded(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.contains(&b'%') {
        return Cow::Borrowed(path);
    }
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let pair = after.first_chunk::<2>().filter(|_| *first == b'%');
        let byte = pair
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        if let Some(byte) = byte {
            out.push(byte);
            rest = after.get(2..).unwrap_or(&[]);
        } else {
            out.push(*first);
            rest = after;
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::{CallSide, Ids, RequestSide};

    fn request(method: &str, path: Option<&str>) -> RequestSide {
        RequestSide {
            ids: Ids::default(),
            method: Some(method.into()),
            path: path.map(Into::into),
        }
    }

    #[test]
    fn method_and_path_have_to_fit() {
        let call = CallSide::new(Ids::default(), "GET store:8080/item/7");
        assert!(call.fits(&request("GET", Some("/item/7"))));
        assert!(call.fits(&request("GET", None)));
        assert!(!call.fits(&request("POST", Some("/item/7"))));
        assert!(!call.fits(&request("GET", Some("/item/70"))));
        let hidden = CallSide::new(Ids::default(), "GET store:8080");
        assert!(hidden.fits(&request("GET", Some("/item/7"))));
        assert!(!hidden.fits(&request("POST", Some("/item/7"))));
    }

    #[test]
    fn a_call_of_grpc_names_no_method() {
        let call = CallSide::new(Ids::default(), "store:8080/shop.Depot/Item");
        assert!(call.fits(&request("POST", Some("/shop.Depot/Item"))));
        assert!(!call.fits(&request("GET", Some("/shop.Depot/Item"))));
        assert!(!call.fits(&request("POST", Some("/shop.Depot/Items"))));
    }

    #[test]
    fn escapes_are_undone() {
        let call = CallSide::new(Ids::default(), "GET store/a b/%c");
        assert!(call.fits(&request("GET", Some("/a%20b/%25c"))));
        assert!(call.fits(&request("GET", Some("/a b/%c"))));
        assert!(!call.fits(&request("GET", Some("/a%21b/%25c"))));
    }

    #[test]
    fn long_paths_are_compared_as_far_as_both_go() {
        let long = format!("/{}", "x".repeat(95));
        let call = CallSide::new(Ids::default(), &format!("GET store{long}"));
        assert!(call.fits(&request("GET", Some(&long))));
        let other = format!("/y{}", "x".repeat(94));
        assert!(!call.fits(&request("GET", Some(&other))));
    }
}
