//! Two network namespaces with a wire between them: two hosts, as far as the network can tell.

use std::{
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};

use super::Program;
use crate::target::{Flavor, build_target};

/// Two of them, gone when dropped.
#[derive(Debug)]
pub struct TwoHosts {
    names: [String; 2],
}

/// Their addresses; the wire leads nowhere else.
const ADDRESSES: [&str; 2] = ["10.213.77.1", "10.213.77.2"];

impl TwoHosts {
    /// Makes them. Needs root and iproute2.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn new() -> Result<Self> {
        static PAIRS: AtomicU32 = AtomicU32::new(0);
        remove_stale()?;
        let pair = PAIRS.fetch_add(1, Ordering::Relaxed);
        let names = ["a", "b"].map(|end| format!("observer-{}-{pair}{end}", process::id()));
        let [a, b] = &names;
        let hosts = Self {
            names: names.clone(),
        };
        for name in [a, b] {
            ip(&["netns", "add", name])?;
        }
        // An interface of the host itself must not be met by name: both ends are born where they belong.
        ip(&[
            "link", "add", "wire", "netns", a, "type", "veth", "peer", "name", "wire", "netns", b,
        ])?;
        for (name, address) in [a, b].into_iter().zip(ADDRESSES) {
            ip(&[
                "-n",
                name,
                "addr",
                "add",
                &format!("{address}/30"),
                "dev",
                "wire",
            ])?;
            ip(&["-n", name, "link", "set", "wire", "up"])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(hosts)
    }

    /// Starts a program on one of them.
    ///
    /// # Errors
    /// When it cannot be built or does not become ready.
    pub fn start(
        &self,
        host: usize,
        program: &str,
        (go, flavor): (&str, Flavor),
        args: &[&str],
    ) -> Result<Program> {
        let executable = build_target(program, go, flavor)?;
        let executable = executable.to_str().context("a path in UTF-8")?;
        let listen = format!("{}:0", ADDRESSES[host]);
        let within = [
            "netns",
            "exec",
            &self.names[host],
            executable,
            "-listen",
            &listen,
        ];
        // `ip` becomes the program: its pid is the program's.
        Program::run(program, PathBuf::from("ip"), &[&within, args].concat())
    }

    /// What starts another command on one of them.
    #[must_use]
    pub fn on(&self, host: usize) -> [&str; 4] {
        ["ip", "netns", "exec", &self.names[host]]
    }
}

impl Drop for TwoHosts {
    fn drop(&mut self) {
        for name in &self.names {
            // What is gone already is as it should be.
            let _gone = ip(&["netns", "del", name]);
        }
    }
}

/// Removes what a test that was killed has left behind: the pid in its name is nobody's any more.
fn remove_stale() -> Result<()> {
    let output = Command::new("ip").args(["netns", "list"]).output()?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    for name in names {
        let pid = name
            .strip_prefix("observer-")
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(pid, _)| pid.parse::<u32>().ok());
        let stale = pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        if stale {
            // Another test may be as tidy.
            let _gone = ip(&["netns", "del", name]);
        }
    }
    Ok(())
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(args)
        .output()
        .context("ip of iproute2")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
