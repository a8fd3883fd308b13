//! One Go executable understood: version, functions, lines, offsets, types, sites, stacks.

mod frame;

pub use frame::{Frame, TypeName, package_of};
