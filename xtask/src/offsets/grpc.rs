//! Where gRPC-go keeps what observer reads, for every minor release, as data.

use std::fs;

use anyhow::{Context, Result, ensure};
use observer_tests::go::{Go, VERSIONS};
use serde_json::Value;

use super::{dwarf, fields};
use crate::workspace::output;

/// The last patch release of each minor release, oldest first.
pub const RELEASES: [&str; 30] = [
    "1.56.3", "1.57.2", "1.58.3", "1.59.0", "1.60.1", "1.61.1", "1.62.1", "1.63.2", "1.64.1",
    "1.65.1", "1.66.2", "1.67.3", "1.68.1", "1.69.4", "1.70.0", "1.71.1", "1.72.2", "1.73.0",
    "1.74.3", "1.75.1", "1.76.0", "1.77.0", "1.78.0", "1.79.3", "1.80.0", "1.81.1", "1.82.1",
    "1.83.2", "1.84.0", "1.85.0",
];

/// A server that is a client, too: what the linker keeps of the transport is what a service has.
const SERVICE: &str = r#"package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

func main() {
	conn, err := grpc.Dial("127.0.0.1:1", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	ctx := metadata.AppendToOutgoingContext(context.Background(), "x-request-id", "1")
	_ = conn.Invoke(ctx, "/toy.Toy/Call", nil, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	_ = grpc.NewServer().Serve(ln)
}
"#;

/// The offsets of one release, built by the newest Go: none of the fields depends on the version of Go.
pub fn offsets(go: &Go, release: &str) -> Result<Value> {
    let newest = VERSIONS.last().context("no Go version")?;
    let folder = tempfile::tempdir()?;
    let run = |args: &[&str]| {
        output(
            go.at(newest)?
                .args(args)
                .env("GOOS", "linux")
                .env("GOARCH", "amd64")
                .env("CGO_ENABLED", "0")
                .current_dir(folder.path()),
        )
    };
    fs::write(folder.path().join("main.go"), SERVICE)?;
    run(&["mod", "init", "example.com/toy"])?;
    run(&["get", &format!("google.golang.org/grpc@v{release}")])?;
    run(&["mod", "tidy"])?;
    run(&[
        "build",
        "-buildvcs=false",
        "-ldflags=-compressdwarf=false",
        "-o",
        "toy",
        ".",
    ])?;
    let program = fs::read(folder.path().join("toy"))?;
    let found = fields::select_grpc(&dwarf::structs(&program, &fields::grpc_names())?);
    ensure!(
        found.get(fields::GRPC_STREAM).is_some_and(Value::is_object),
        "no {} in the toy's DWARF",
        fields::GRPC_STREAM
    );
    Ok(found)
}
