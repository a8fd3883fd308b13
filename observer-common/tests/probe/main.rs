//! The probes' logic on made-up memory, laid out as Go lays it out.
#![cfg(test)]

mod calls;
mod conns;
mod contexts;
mod dials;
mod goroutines;
mod grpc;
mod headers;
mod images;
mod maps;
mod memory;
mod requests;
mod sockets;
mod sql;
mod walks;
