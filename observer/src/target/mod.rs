//! Processes on this host: which there are, which one is meant, whether it is still the same, what its
//! memory holds and what this host lets us do with it.
//!
//! Owns everything that reads `/proc` and remote memory. Never writes to a target, stops it or traces it,
//! and knows nothing of Go beyond "is this executable one".

pub mod cgroup;
mod elf;
mod error;
mod executables;
pub(crate) mod fields;
mod find;
mod identity;
mod lease;
mod listen;
mod maps;
mod memory;
mod preflight;
mod process;
mod recorded;
mod threads;

pub use error::TargetError;
pub use executables::Executables;
pub use find::{ByPath, Listed, Listeners, all, by_exe, by_port, exe_of, has_name, list_go};
pub use identity::{ExitNotice, Identity, Still};
pub use lease::Lease;
pub use listen::{Listening, listening, netns};
pub use maps::{FileId, Mapping, Segment};
pub use memory::{Memory, MemoryError, ProcessMemory, ReadRequest};
pub use preflight::{Host, Missing};
pub use process::{CodeCheck, Process};
pub use recorded::{RecordedMemory, RecordingMemory};
pub use threads::sleeps;
