//! A closer look at a target's memory, taken only when something is suspicious.
//!
//! Owns the reading of goroutines, contexts, requests and connections, and the doubt that belongs to it: the
//! target runs on while it is read, so everything is read twice or checked against something that cannot have
//! moved, and what does not hold is reported as unknown. Never writes, never stops the target, reads no
//! executable (offsets and tables come in from outside) and draws no conclusions.

mod allgs;
mod census;
mod conn;
mod context;
mod context_id;
mod error_kind;
mod gomap;
mod goroutine;
mod kin;
mod listed;
mod metadata;
mod offsets;
mod outer;
mod raw_g;
mod reach;
mod request;
mod response;
mod semaphores;
#[cfg(test)]
mod semaphores_tests;
mod served;
mod socket;
mod stack;
mod strings;
mod tables;
mod tally;
#[cfg(test)]
mod tests;
mod value_key;
mod wait_reason;
mod waits;

pub use allgs::AllGs;
pub use census::{CensusOffsets, Channel, Coverage, LabelShape, Labels, Member};
pub use conn::{ConnState, Reading, ServerTimeouts, inspect_conn, local_address};
pub use context::{
    CancelState, Chain, ChainEnd, Children, Link, ParentAt, children, inspect_cancel, walk_chain,
};
pub use context_id::{ContextId, REQUEST_ID_KEYS, RequestIdKey, id_in_contexts};
pub use error_kind::{ErrorKind, TypeNames, error_kind, error_kind_of_type};
pub use gomap::MapKind;
pub use goroutine::{Goroutine, Inspection, Inspector, Runtime, StackState};
pub use kin::{Kin, Listing};
pub use listed::Child;
pub use metadata::{inspect_metadata, inspect_outgoing};
pub use offsets::{
    ConnOffsets, ContextOffsets, ErrorOffsets, GOffsets, LocalOffsets, OutgoingOffsets,
    RequestOffsets, ServerOffsets, SudogOffsets, timer_holds_pointer,
};
pub use outer::CallSite;
pub use raw_g::Status;
pub use reach::{HeapOffsets, Reach, Roots, Unreferenced, Unsearched, confirmed};
pub use request::{RequestDetails, RequestReading, inspect_request};
pub use response::{Answering, ResponseOffsets, response_headers};
pub use semaphores::{QueueOffsets, SemTable};
pub use served::{Served, ServedBy, ServedOffsets, served};
pub use socket::{AddressOffsets, Ends, ROUND_TRIP, SocketOffsets};
pub use stack::{Extent, StackTable};
pub use tables::TargetTypes;
pub use tally::Started;
pub use value_key::{ValueKey, ValueLink, value_key};
pub use wait_reason::{
    ends_by_itself, is_for_coroutine, is_for_ever, is_for_lock, is_for_others, is_for_runtime,
    is_for_semaphore, is_for_work,
};
