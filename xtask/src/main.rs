//! Chores of the workspace: `cargo xtask …`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to a person"
)]

use std::process::ExitCode;

use clap::Parser;

mod bench;
mod build_ebpf;
mod demo;
mod ebpf;
mod generate;
mod live;
mod offsets;
mod setup;
mod targets;
mod test;
mod workspace;

/// Chores of the workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Xtask {
    Setup(setup::Args),
    BuildEbpf(build_ebpf::Args),
    Generate(generate::Args),
    Offsets(offsets::Args),
    Targets(targets::Args),
    Test(test::Args),
    Demo(demo::Args),
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let done = match Xtask::parse() {
        Xtask::Setup(args) => setup::run(&args),
        Xtask::BuildEbpf(args) => build_ebpf::run(&args),
        Xtask::Generate(args) => generate::run(&args),
        Xtask::Offsets(args) => offsets::run(&args),
        Xtask::Targets(args) => targets::run(&args),
        Xtask::Test(args) => test::run(&args),
        Xtask::Demo(args) => demo::run(&args),
        Xtask::Bench(args) => bench::run(&args),
    };
    if let Err(error) = done {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
