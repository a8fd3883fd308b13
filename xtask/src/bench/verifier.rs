//! How long the kernel takes to verify and load each eBPF program: a program whose paths multiply takes seconds.
//!
//! Taken from outside, with strace: what a load returns is a file descriptor of observer's, by which the kernel tells how
//! many instructions its verifier went through.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use observer_tests::{
    go::CI_VERSIONS,
    postgres::Postgres,
    target::{Flavor, build_target},
};

use super::{
    Bench,
    session::Session,
    table::{Table, Verdict, median, thousands},
};
use crate::{
    ebpf,
    live::{Target, stop_wanted},
    setup,
    workspace::root,
};

/// How much of a program's name the kernel takes.
const NAME_BYTES: usize = 15;
/// For the benchmarks only.
const EMPTY: &str = "empty";
/// Attaching is promised to take no longer: no program may take all of it.
const PROMISED_MS: f64 = 250.0;

/// One load.
#[derive(Debug, PartialEq)]
struct Load {
    /// As the kernel has it.
    name: String,
    instructions: f64,
    descriptor: u32,
    took_ms: f64,
}

/// What is known of one program after all rounds.
#[derive(Default)]
struct Program {
    instructions: f64,
    /// What the verifier went through: each instruction once for each path to it that it could not leave out.
    verified: Option<f64>,
    took_ms: Vec<f64>,
}

/// Measures the programs of servers with everything that observer looks at, of the oldest and the newest Go at hand.
pub fn measure(bench: &mut Bench) -> Result<()> {
    setup::ensure_strace()?;
    setup::ensure_postgres()?;
    let names = names()?;
    let postgres = Postgres::start()?;
    let dsn = postgres.over_unix();
    let mut targets = Vec::new();
    let versions = [CI_VERSIONS.first(), CI_VERSIONS.last()];
    for version in versions.into_iter().flatten() {
        for (program, args) in [
            ("bench", vec![]),
            ("modules/grpc/server", vec![]),
            ("modules/sql", vec!["-driver", "pgx", "-dsn", &dsn]),
        ] {
            let executable = build_target(program, version, Flavor::Plain)?;
            let path = executable.to_str().context("a path in UTF-8")?.to_owned();
            targets.push((path, Target::start(&executable, &args)?));
        }
    }
    let selectors: Vec<&str> = targets
        .iter()
        .flat_map(|(path, _)| ["--exe", path])
        .chain(["--goroutines"])
        .collect();
    let mut programs = BTreeMap::<String, Program>::new();
    for round in 1..=bench.rounds {
        eprintln!("bench: load: round {round} of {}", bench.rounds);
        if stop_wanted() {
            bail!("interrupted");
        }
        add_round(bench, &selectors, targets.len(), &names, &mut programs)?;
    }
    for (_, target) in targets {
        target.stop()?;
    }
    show(bench, &names, programs)
}

fn add_round(
    bench: &Bench,
    selectors: &[&str],
    processes: usize,
    names: &BTreeSet<String>,
    programs: &mut BTreeMap<String, Program>,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let command = traced(&bench.observer.run(&[]), folder.path());
    let session = Session::begin(command, selectors, processes)?;
    for load in loads(folder.path())? {
        // The others are aya's, which tries what this kernel can do.
        let name = names.iter().find(|name| cut(name) == load.name);
        let Some(name) = name.filter(|name| *name != EMPTY) else {
            continue;
        };
        let program = programs.entry(name.clone()).or_default();
        program.instructions = load.instructions;
        program.verified = verified(session.pid(), load.descriptor);
        program.took_ms.push(load.took_ms);
    }
    session.end().map(drop)
}

fn show(
    bench: &mut Bench,
    names: &BTreeSet<String>,
    programs: BTreeMap<String, Program>,
) -> Result<()> {
    let mut absent: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    absent.retain(|name| *name != EMPTY && !programs.contains_key(*name));
    let programs = programs.into_iter().map(|(name, program)| {
        let took_ms = median(program.took_ms.iter().copied());
        (name, took_ms, program)
    });
    let mut programs: Vec<_> = programs.collect();
    programs.sort_by(|(_, one, _), (_, other, _)| other.total_cmp(one));
    let (worst, worst_ms, _) = programs.first().context("no program was loaded")?;
    bench.verdicts.push(Verdict {
        promise: format!("no program takes the {PROMISED_MS} ms of attaching to load"),
        measured: format!("{worst}: {worst_ms:.1} ms"),
        kept: *worst_ms <= PROMISED_MS,
    });
    let row = |(place, (name, took_ms, program)): (usize, &(String, f64, Program))| {
        let mark = if place == 0 { " (worst)" } else { "" };
        let longest = program.took_ms.iter().copied().fold(0.0, f64::max);
        vec![
            format!("{name}{mark}"),
            format!("{took_ms:.1} ms"),
            format!("{longest:.1} ms"),
            thousands(program.instructions),
            program.verified.map_or_else(|| "–".to_owned(), thousands),
        ]
    };
    let mut rows: Vec<_> = programs.iter().enumerate().map(row).collect();
    rows.extend(absent.into_iter().map(|name| {
        let mut cells = vec![format!("{name}, not loaded here")];
        cells.resize(5, "–".to_owned());
        cells
    }));
    bench.show(&Table {
        title: "Loading each program: the kernel's verifier and compiler".into(),
        head: vec!["program", "median", "longest", "instructions", "verified"],
        rows,
    });
    Ok(())
}

/// The programs of the object.
fn names() -> Result<BTreeSet<String>> {
    let built = ebpf::build::ensure(&root(), false)?;
    let bytes = fs::read(&built.path).with_context(|| built.path.display().to_string())?;
    let file = object::File::parse(&*bytes)?;
    let is_program = |symbol: &object::Symbol<'_, '_>| {
        let section = symbol.section_index();
        let section = section.and_then(|index| file.section_by_index(index).ok());
        // What programs call is in `.text`, whatever it is a part of.
        section.is_some_and(|section| section.name().is_ok_and(|name| name != ".text"))
    };
    let programs = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && is_program(symbol));
    let names: Option<_> = programs
        .map(|symbol| symbol.name().ok().map(str::to_owned))
        .collect();
    names.context("a program without a name")
}

fn cut(name: &str) -> &str {
    name.get(..NAME_BYTES).unwrap_or(name)
}

/// The same command under strace, which writes a file for each thread. Observer stays our own child (`-D`), so that signals
/// reach it.
fn traced(command: &Command, folder: &Path) -> Command {
    let mut traced = Command::new("strace");
    traced
        .args(["-D", "-ff", "-T", "-e", "trace=bpf", "-o"])
        .arg(folder.join("thread"))
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced
}

/// All loads so far.
fn loads(folder: &Path) -> Result<Vec<Load>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let text = fs::read_to_string(entry?.path())?;
        found.extend(text.lines().filter_map(load));
    }
    ensure!(!found.is_empty(), "strace saw no program being loaded");
    Ok(found)
}

/// A line of strace's about a program that the kernel took.
fn load(line: &str) -> Option<Load> {
    let call = line.strip_prefix("bpf(BPF_PROG_LOAD,")?;
    let (call, result) = call.rsplit_once(" = ")?;
    let (descriptor, took) = result.split_once(" <")?;
    let field = |name: &str| {
        let (_, rest) = call.split_once(name)?;
        rest.split(',').next()
    };
    let seconds: f64 = took.strip_suffix('>')?.parse().ok()?;
    Some(Load {
        name: field("prog_name=")?.trim_matches('"').to_owned(),
        instructions: field("insn_cnt=")?.parse().ok()?,
        descriptor: descriptor.parse().ok()?,
        took_ms: seconds * 1000.0,
    })
}

/// Where the kernel tells (from Linux 5.16 on).
fn verified(pid: u32, descriptor: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("verified_insns:"))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_read() {
        let line = "bpf(BPF_PROG_LOAD, {prog_type=BPF_PROG_TYPE_KPROBE, insn_cnt=998, insns=0x5603c0133ae0, \
                    license=\"Dual MIT/GPL\", prog_name=\"context_cancel\", fd_array=NULL}, 152) = 27 <0.002500>";
        let expected = Load {
            name: "context_cancel".into(),
            instructions: 998.0,
            descriptor: 27,
            took_ms: 2.5,
        };
        assert_eq!(load(line), Some(expected));
    }

    #[test]
    fn refused_programs_and_other_calls_are_none() {
        let refused = "bpf(BPF_PROG_LOAD, {insn_cnt=2, prog_name=\"\"}, 152) = -1 EACCES (Permission denied) <0.000040>";
        assert_eq!(load(refused), None);
        assert_eq!(load("bpf(BPF_LINK_CREATE, {}, 64) = 9 <0.000020>"), None);
    }
}
