//! Where a request's ID came from.

use std::fmt;

/// Where a request's ID was found. On the wire as it is displayed: `header:X-Request-Id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IdSource {
    /// In a header of the request, by its canonical name.
    Header(String),
    /// In a header of its answer, which the service has set.
    Response(String),
    /// In a value of a context, under a key of this package.
    Context(String),
}

impl IdSource {
    /// The header that it came from.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) | Self::Response(name) => Some(name),
            Self::Context(_) => None,
        }
    }
}

impl fmt::Display for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Response(name) => write!(f, "response:{name}"),
            Self::Context(package) => write!(f, "context:{package}"),
        }
    }
}
