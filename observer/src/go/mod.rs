//! One Go executable understood: version, functions, lines, offsets, types, sites, stacks.

pub mod cache;
mod frame;
pub mod grpc;
pub mod image;
mod isa;
pub mod layout;
pub mod site;
mod version;
mod wait_reason;

pub use cache::ImageCache;
pub use frame::{Frame, Stack, TypeName, package_of};
pub use image::{Image, ImageError};
pub use layout::{Layout, LayoutError};
pub use version::GoVersion;
pub use wait_reason::wait_reason;
