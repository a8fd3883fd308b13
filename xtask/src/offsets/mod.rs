//! `cargo xtask offsets`: where Go keeps what observer reads, for every version of Go, as data.
//!
//! Writes `observer/src/go/data/offsets.json` (from the DWARF of a toy program), `wait-reasons.json` (from the
//! runtime's own source) and `grpc-offsets.json` (from the DWARF of a gRPC server). Knows nothing about how observer
//! uses them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use observer_tests::go::{Go, VERSIONS};
use serde_json::{Value, json};

use crate::{
    setup,
    workspace::{output, root},
};

mod dwarf;
mod fields;
mod grpc;
mod wait_reasons;

/// Measure Go's struct offsets and wait reasons, and write them as data for observer
#[derive(clap::Args)]
pub struct Args {
    /// Only print these versions instead of writing all, comma separated
    #[arg(long, value_delimiter = ',')]
    print: Vec<String>,
}

/// Writes the data of all versions, or prints some.
pub fn run(args: &Args) -> Result<()> {
    if args.print.is_empty() {
        return all();
    }
    setup::ensure_go()?;
    let go = Go::find()?;
    for version in &args.print {
        println!("{version} {}", offsets(&go, version)?);
        println!("{version} {}", reasons(&go, version)?);
    }
    Ok(())
}

/// Writes the data of all versions.
pub fn all() -> Result<()> {
    setup::ensure_go()?;
    let go = Go::find()?;
    let data = root().join("observer/src/go/data");
    let source = "DWARF of xtask/toys/offsets, linux/amd64; bytes from the start of the struct, null = not in this version";
    write(
        &data.join("offsets.json"),
        source,
        ("go", &VERSIONS),
        |version| offsets(&go, version),
    )?;
    let source = "runtime/runtime2.go of each version; the index is the value of g.waitreason";
    write(
        &data.join("wait-reasons.json"),
        source,
        ("go", &VERSIONS),
        |version| reasons(&go, version),
    )?;
    let source = "DWARF of a gRPC server, linux/amd64; bytes from the start of the struct, null = not in this release";
    write(
        &data.join("grpc-offsets.json"),
        source,
        ("google.golang.org/grpc", &grpc::RELEASES),
        |release| grpc::offsets(&go, release),
    )
}

/// One version a line: a change of one shows as one line in a diff.
fn write(
    path: &Path,
    source: &str,
    (what, versions): (&str, &[&str]),
    of: impl Fn(&str) -> Result<Value>,
) -> Result<()> {
    let mut lines = Vec::new();
    for version in versions {
        let value = of(version).with_context(|| format!("{what} {version}"))?;
        lines.push(format!("  {}: {value}", json!(version)));
    }
    let text = format!(
        "{{\n \"command\": \"cargo xtask offsets\",\n \"source\": {},\n {}: {},\n \"versions\": {{\n{}\n }}\n}}\n",
        json!(source),
        json!(what),
        json!(versions),
        lines.join(",\n")
    );
    let written = std::fs::create_dir_all(path.parent().unwrap_or(path))
        .and_then(|()| std::fs::write(path, text));
    written.with_context(|| path.display().to_string())?;
    println!("offsets: {}", path.display());
    Ok(())
}

fn offsets(go: &Go, version: &str) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("toy");
    output(
        go.at(version)?
            .args([
                "build",
                "-buildvcs=false",
                "-ldflags=-compressdwarf=false",
                "-o",
            ])
            .arg(&program)
            .arg(".")
            .env("GOOS", "linux")
            .env("GOARCH", "amd64")
            .env("CGO_ENABLED", "0")
            .current_dir(root().join("xtask/toys/offsets")),
    )?;
    let structs = dwarf::structs(&std::fs::read(&program)?, &fields::names())?;
    let found = fields::select(&structs);
    ensure!(
        found.get("runtime.g").is_some_and(Value::is_object),
        "no runtime.g in the toy's DWARF"
    );
    Ok(found)
}

fn reasons(go: &Go, version: &str) -> Result<Value> {
    let goroot = output(go.at(version)?.args(["env", "GOROOT"]).current_dir("/"))?;
    let path = Path::new(goroot.trim()).join("src/runtime/runtime2.go");
    let source = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    wait_reasons::parse(&source)
}
