//! The kernel's run-time statistics of observer's programs, read from observer's own file descriptors.
//!
//! `/proc/PID/fdinfo` names runs and nanoseconds of each program, and of each link its program and its file offset,
//! from which the hook follows. So observer itself has nothing to do for it.

use std::{
    collections::BTreeMap,
    fs::{File, read_dir, read_to_string},
    io::Write,
    path::Path,
};

use anyhow::{Context, Result};
use object::{Object, ObjectSegment};
use serde_json::Value;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel measures program runs while this lives.
pub struct Statistics {
    before: String,
}

impl Statistics {
    /// Switches them on.
    pub fn enable() -> Result<Self> {
        let before = read_to_string(SWITCH).context("no BPF run-time statistics")?;
        set("1")?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = set(self.before.trim()) {
            eprintln!("warning: {SWITCH} stays on: {error:#}");
        }
    }
}

fn set(value: &str) -> Result<()> {
    let mut file = File::options().write(true).open(SWITCH).context(SWITCH)?;
    file.write_all(value.as_bytes()).context(SWITCH)
}

/// Runs of one program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runs {
    /// Hooks that it is attached to.
    pub hooks: Vec<String>,
    /// How often it ran.
    pub runs: f64,
    /// How long in all, ns.
    pub total_ns: f64,
}

impl Runs {
    /// One run, ns; `None` where there was none.
    pub fn each_ns(&self) -> Option<f64> {
        (self.runs > 0.0).then(|| self.total_ns / self.runs)
    }
}

/// Programs of the process `pid`, by program ID; hooks as `start` names them.
pub fn runs(pid: u32, start: &Value) -> Result<BTreeMap<u64, Runs>> {
    let hooks = hooks_by_offset(start)?;
    let mut programs = BTreeMap::<u64, Runs>::new();
    for entry in read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed in the meantime; one that matters is not.
        let Ok(text) = read_to_string(entry?.path()) else {
            continue;
        };
        let fields: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key, value.trim()))
            .collect();
        let number = |key: &str| fields.get(key).and_then(|value| value.parse::<u64>().ok());
        let Some(program) = number("prog_id") else {
            continue;
        };
        let known = programs.entry(program).or_default();
        let figure = |key: &str| fields.get(key).and_then(|value| value.parse::<f64>().ok());
        if let (Some(runs), Some(total_ns)) = (figure("run_cnt"), figure("run_time_ns")) {
            (known.runs, known.total_ns) = (runs, total_ns);
        } else if fields.contains_key("tp_name") {
            // The only tracepoint there is.
            known.hooks.push("socket-state".to_owned());
        } else if let Some(offset) = fields.get("offset").and_then(|text| hex(text)) {
            let hook = hooks.get(&offset).cloned();
            known
                .hooks
                .push(hook.unwrap_or_else(|| format!("offset {offset:#x}")));
        }
    }
    Ok(programs)
}

/// File offset of each site of a `start` line → its hook.
fn hooks_by_offset(start: &Value) -> Result<BTreeMap<u64, String>> {
    let pid = start.pointer("/process/pid").and_then(Value::as_u64);
    let pid = pid.context("the start line has no pid")?;
    let bytes = std::fs::read(Path::new("/proc").join(pid.to_string()).join("exe"))?;
    let elf = object::File::parse(&*bytes)?;
    let hooks = start.pointer("/hooks").and_then(Value::as_array);
    let mut found = BTreeMap::new();
    for hook in hooks.into_iter().flatten() {
        let text = |key: &str| hook.get(key).and_then(Value::as_str);
        let site = text("site").and_then(hex);
        if let (Some(name), Some(site)) = (text("hook"), site)
            && let Some(offset) = file_offset(&elf, site)
        {
            found.insert(offset, name.to_owned());
        }
    }
    Ok(found)
}

fn file_offset(elf: &object::File<'_>, address: u64) -> Option<u64> {
    elf.segments().find_map(|segment| {
        let into = address.checked_sub(segment.address())?;
        let (start, size) = segment.file_range();
        (into < size).then_some(start + into)
    })
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
