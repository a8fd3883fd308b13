//! The instructions of a running program: as its file has them, or with a breakpoint in their place.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Run;

/// What a uprobe puts in the place of an instruction (`int3`).
const BREAKPOINT: u8 = 0xcc;

/// The places in a process's memory at which observer said it put probes.
#[derive(Clone, Debug)]
pub struct Code {
    pid: u32,
    /// Address in the process, and the byte that its file has there.
    sites: Vec<(u64, u8)>,
}

impl Code {
    /// The sites that a `start` line names.
    ///
    /// # Errors
    /// When it names none, or one that lies outside the executable.
    pub fn of(start: &Value) -> Result<Self> {
        let pid = u32::try_from(start["process"]["pid"].as_u64().context("a pid")?)?;
        let mappings = Mappings::of(pid)?;
        let mut sites = Vec::new();
        for hook in start["hooks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|hook| hook["on"] == true && hook["kind"] != "tracepoint")
        {
            let site = hook["site"]
                .as_str()
                .with_context(|| format!("a site in {hook}"))?;
            let vaddr = u64::from_str_radix(site.trim_start_matches("0x"), 16)?;
            sites.push(mappings.locate(vaddr)?);
        }
        ensure!(!sites.is_empty(), "no hook is on: {start}");
        Ok(Self { pid, sites })
    }

    /// The sites of the first process of a run.
    ///
    /// # Errors
    /// Those of [`of`](Self::of), and when nothing was observed.
    pub fn of_run(run: &Run) -> Result<Self> {
        Self::of(run.of_type("start").next().context("no start line")?)
    }

    /// How many sites there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sites.len()
    }

    /// Never: a [`Code`] has at least one site.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }
}

/// How many of the sites hold a breakpoint now.
///
/// # Errors
/// When the process has ended, or a site holds neither a breakpoint nor what the file has there.
pub fn breakpoints(code: &Code) -> Result<usize> {
    let memory = File::open(format!("/proc/{}/mem", code.pid))?;
    let mut count = 0;
    for &(address, original) in &code.sites {
        let mut byte = [0];
        memory
            .read_exact_at(&mut byte, address)
            .with_context(|| format!("cannot read {address:#x}"))?;
        match byte {
            [now] if now == original => {}
            [BREAKPOINT] => count += 1,
            [now] => bail!("{now:#x} at {address:#x}, the file has {original:#x}"),
        }
    }
    Ok(count)
}

/// Where the executable lies in memory.
struct Mappings {
    executable: File,
    /// Address range and offset in the file.
    parts: Vec<(u64, u64, u64)>,
}

impl Mappings {
    fn of(pid: u32) -> Result<Self> {
        let executable = File::open(format!("/proc/{pid}/exe"))?;
        let path = fs::read_link(format!("/proc/{pid}/exe"))?;
        let path = path.to_string_lossy();
        let mut parts = Vec::new();
        for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
            let mut words = line.splitn(6, ' ').map(str::trim);
            let (range, _rights, offset) = (words.next(), words.next(), words.next());
            if words.nth(2) != Some(&path) {
                continue;
            }
            let (from, to) = range
                .and_then(|range| range.split_once('-'))
                .context("a range")?;
            let hex = |text: &str| u64::from_str_radix(text, 16);
            parts.push((hex(from)?, hex(to)?, hex(offset.context("an offset")?)?));
        }
        ensure!(!parts.is_empty(), "{path} is not mapped in {pid}");
        Ok(Self { executable, parts })
    }

    /// Address in memory and original byte of a virtual address of the file. Position independent executables have
    /// theirs from 0 on.
    fn locate(&self, vaddr: u64) -> Result<(u64, u8)> {
        let lowest = self
            .parts
            .iter()
            .map(|(from, _, _)| *from)
            .min()
            .unwrap_or_default();
        let address = if vaddr < lowest {
            vaddr + lowest
        } else {
            vaddr
        };
        let part = self
            .parts
            .iter()
            .find(|(from, to, _)| (*from..*to).contains(&address));
        let (from, _, offset) =
            part.with_context(|| format!("{vaddr:#x} is not in the executable"))?;
        let mut byte = [0];
        self.executable
            .read_exact_at(&mut byte, address - from + offset)?;
        Ok((address, byte[0]))
    }
}
