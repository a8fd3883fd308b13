//! What a process costs: CPU time and anonymous memory, from `/proc`.

use std::fs::read_to_string;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// CPU time of all threads so far, user and system, seconds; to the kernel's tick (usually 10 ms).
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK)?.context("no CLK_TCK")?;
    let text = read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = cpu_ticks(&text).context("/proc/PID/stat looks unexpected")?;
    Ok(ticks / f64::from(i32::try_from(ticks_per_second)?))
}

/// Fields 14 and 15; the name in field 2 may hold anything, so they are counted from its end.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Anonymous resident memory now, MiB: what is not a mapping of a file.
pub fn anonymous_mib(pid: u32) -> Result<f64> {
    let text = read_to_string(format!("/proc/{pid}/status"))?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|value| value.split_whitespace().next())
        .and_then(|kib| kib.parse::<f64>().ok());
    Ok(kib.context("/proc/PID/status has no RssAnon")? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "4 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 5 0 100";
        assert_eq!(cpu_ticks(stat), Some(175.0));
    }
}
