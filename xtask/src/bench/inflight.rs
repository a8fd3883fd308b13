//! Own memory while many requests are in flight at once.

use std::{
    fs::read_dir,
    io::Read,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::Value;

use super::{
    Bench,
    session::Session,
    table::{Table, Verdict},
    usage,
};
use crate::live::{Running, Target, build, stop_wanted};

/// Requests, each on a connection of its own, as HTTP/1.1 has it.
const REQUESTS: usize = 10_000;
/// Files that the target and the client have open besides.
const OTHER_FILES: u64 = 100;
/// How long each request takes: all of them have to begin within.
const TAKES_S: u64 = 20;
/// How often we look.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Most at any time, MiB.
const PROMISED_MIB: f64 = 64.0;

/// Measures one flight of requests to the store of the demo, each with its ID.
pub fn measure(bench: &mut Bench) -> Result<()> {
    eprintln!("bench: inflight: {REQUESTS} requests at once");
    // Go lifts its own soft limit.
    let (_, files) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(
        files >= u64::try_from(REQUESTS)? + OTHER_FILES,
        "{REQUESTS} connections do not fit {files} open files\n\nhint: raise it, `ulimit -Hn 65536`"
    );
    let target = Target::start::<&str>(&build("shop/store")?, &[])?;
    let session = Session::start(&bench.observer, &[target.pid()], &[])?;
    let idle = usage::anonymous_mib(session.pid())?;
    let mut client = client(bench, &target.url(&format!("/price?ms={}", TAKES_S * 1000)))?;
    let mut answers = client.take_stdout()?;
    let began = Instant::now();
    let (mut most, mut at_once) = (idle, 0);
    let patience = Duration::from_secs(TAKES_S * 3);
    while client.ended()?.is_none() {
        if stop_wanted() || began.elapsed() > patience {
            bail!("the client does not end");
        }
        at_once = at_once.max(read_dir(format!("/proc/{}/fd", target.pid()))?.count());
        most = most.max(usage::anonymous_mib(session.pid())?);
        std::thread::sleep(LOOK_EVERY);
    }
    let after = usage::anonymous_mib(session.pid())?;
    let mut report = String::new();
    answers.read_to_string(&mut report)?;
    let report: Value = serde_json::from_str(&report).context("the client's report")?;
    let ended = session.end()?;
    let lost = ended.total("/lost")?;
    let seen = ended.total("/requests")?;
    target.stop()?;
    let answered = report.get("ok").and_then(Value::as_u64).unwrap_or(0);
    let whole = answered == u64::try_from(REQUESTS)? && at_once >= REQUESTS && lost == 0.0;
    bench.verdicts.push(Verdict {
        promise: format!("own anonymous memory ≤ 64 MiB with {REQUESTS} requests in flight"),
        measured: format!("{most:.1} MiB"),
        kept: most <= PROMISED_MIB && whole,
    });
    bench.show(&Table {
        title: format!("Own anonymous memory with {REQUESTS} requests in flight"),
        head: vec![
            "idle",
            "most",
            "after",
            "connections at once",
            "right answers",
            "requests seen",
            "events lost",
        ],
        rows: vec![vec![
            format!("{idle:.1} MiB"),
            format!("{most:.1} MiB"),
            format!("{after:.1} MiB"),
            at_once.to_string(),
            answered.to_string(),
            format!("{seen:.0}"),
            format!("{lost:.0}"),
        ]],
    });
    Ok(())
}

fn client(bench: &Bench, url: &str) -> Result<Running> {
    let count = REQUESTS.to_string();
    let mut command = Command::new(&bench.client);
    command
        .args(["-url", url, "-n", &count, "-c", &count])
        .args(["-id-prefix", "in-flight-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Running::start(command)
}
