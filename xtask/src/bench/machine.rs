//! The machine that the numbers come from.

use std::fs::read_to_string;

/// One line: processor, cores, virtual or not, memory, kernel, load before the first window.
pub fn describe() -> String {
    let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = value(&cpuinfo, "model name").unwrap_or("unknown processor");
    let cores = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let flags = value(&cpuinfo, "flags").unwrap_or_default();
    let kind = if flags.split(' ').any(|flag| flag == "hypervisor") {
        "virtual machine"
    } else {
        "bare metal"
    };
    let ghz = value(&cpuinfo, "cpu MHz")
        .and_then(|mhz| mhz.parse::<f64>().ok())
        .map_or_else(String::new, |mhz| format!(" at {:.1} GHz", mhz / 1000.0));
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    format!(
        "{model}{ghz}, {cores} cores, {kind}; Linux {}; load before: {load}",
        kernel.trim()
    )
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim())
}
