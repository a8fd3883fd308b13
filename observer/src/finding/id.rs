//! Where a request's ID came from.

use std::fmt;

/// Where a request's ID was found. On the wire as it is displayed: `header:X-Request-Id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IdSource {
    /// In a header of the request, by its canonical name.
    Header(String),
}

impl IdSource {
    /// The header that it came from.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
        }
    }
}

impl fmt::Display for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}
