//! One Go executable understood: version, functions, lines, offsets, types, sites, stacks.

pub mod cache;
mod frame;
pub mod image;
mod isa;
pub mod layout;
pub mod site;
mod version;
mod wait_reason;

pub use frame::{Frame, TypeName, package_of};
pub use version::GoVersion;
pub use wait_reason::wait_reason;
