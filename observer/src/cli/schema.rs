//! `observer schema`.

use crate::error::{Error, Exit};
use crate::sink::wire;

use super::print;

/// Runs it.
pub(super) fn run() -> Result<Exit, Error> {
    let text = wire::schema().map_err(|error| Error::Internal {
        what: "writing the JSON Schema".into(),
        source: Some(error.into()),
    })?;
    print(&text)
}
