//! observer.

pub mod probe;
