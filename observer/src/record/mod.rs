//! Recordings: everything that a finding depends on, in order.
//!
//! A file begins with a magic and a header in JSON, then entries of `length u32, kind u8, body`,
//! little-endian. Events are kept as the kernel wrote them, without what must not be kept;
//! everything else is JSON. Entries that resolve addresses precede the entry that needs them.

mod entry;
mod reader;
mod tape;
#[cfg(test)]
mod tests;
mod writer;

pub use entry::{Answered, Entry, FORMAT, RecordingHeader, Resolved};
pub use reader::Reader;
pub use tape::Medium;
pub use writer::Recorder;
