//! A unary echo over gRPC, from a client of our own over one connection: wrk speaks no HTTP/2.

use anyhow::{Context, Result};

use super::{Bench, client::Client, load::Source, throughput::Server};
use crate::live::{Target, build};

/// It answers with what it gets.
const METHOD: &str = "shop.Depot/Echo";
const GRPC: Server = Server {
    mode: "grpc",
    title: "gRPC unary echo (16 calls at a time on one connection)",
    kept: None,
    floor: true,
    entry: false,
    beyond_us: None,
    traps: None,
};

/// Measures.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let target = Target::start::<&str>(&build("modules/grpc/server")?, &[])?;
    let address = target.address_of("listening-grpc");
    let address = address.context("the gRPC server does not say where it listens")?;
    let client = Client {
        program: build("modules/grpc/client")?,
        url: format!("{address}/{METHOD}"),
        rate: None,
    };
    GRPC.measure_under(bench, &target, Source::Own(client))?;
    target.stop()
}
