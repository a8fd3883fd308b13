//! observer finds where cancellation and deadlines stop travelling in running Go servers.
//!
//! The binary is a thin shell over this library; `ARCHITECTURE.md` is the map.

pub mod cli;
pub mod config;
pub mod correlate;
pub mod daemon;
pub mod detect;
pub mod error;
pub mod finding;
mod foreign;
pub mod go;
pub mod inspect;
#[cfg(test)]
mod layers;
pub mod model;
pub mod picture;
pub mod probe;
pub mod record;
pub mod sink;
pub mod stream;
pub mod style;
pub mod target;
#[cfg(test)]
mod testkit;
