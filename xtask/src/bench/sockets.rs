//! What the kernel's tracepoint of socket states costs: sockets of nobody's interest, and those of an observed server.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};

use super::{
    Bench,
    programs::{Statistics, runs},
    session::Session,
    table::{Table, Verdict},
};
use crate::live::Target;

/// Connections opened and closed in one round: the host's local ports must last.
const CONNECTIONS: u32 = 1_000;
/// What a change of state of a socket that nobody observes may cost, ns.
const PROMISED_NS: f64 = 200.0;

/// What ran while connections were opened and closed.
#[derive(Clone, Copy, Default)]
struct Cost {
    changes: f64,
    total_ns: f64,
}

/// Observes one server, and opens connections to it and to another of the same executable.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let observed = Target::start(&bench.server, &["-mode", "hello"])?;
    let other = Target::start(&bench.server, &["-mode", "hello"])?;
    let statistics = Statistics::enable()?;
    let session = Session::start(&bench.observer, &[observed.pid()], &[])?;
    let servers = [("not observed", &other), ("observed", &observed)];
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 1..=bench.rounds {
        eprintln!("bench: sockets: round {round} of {}", bench.rounds);
        for ((_, target), costs) in servers.iter().zip(&mut rounds) {
            costs.push(changes(&session, address(target)?)?);
        }
    }
    session.end()?;
    drop(statistics);
    let rows = servers.iter().zip(&rounds).map(|((name, _), costs)| {
        let each = costs
            .iter()
            .map(|cost| cost.changes / f64::from(CONNECTIONS));
        vec![
            (*name).to_owned(),
            format!("{:.1}", median(each.collect())),
            format!("{:.0} ns", program_ns(costs)),
        ]
    });
    let rows = rows.collect();
    let [unobserved, _] = &rounds;
    let measured_ns = program_ns(unobserved);
    bench.verdicts.push(Verdict {
        promise: format!("sockets: ≤ {PROMISED_NS} ns a state change of a process not observed"),
        measured: format!("{measured_ns:.0} ns"),
        kept: measured_ns <= PROMISED_NS,
    });
    bench.show(&Table {
        title: format!("Socket states: {CONNECTIONS} connections that their client closes"),
        head: vec!["server", "changes/connection, both ends", "program"],
        rows,
    });
    observed.stop()?;
    other.stop()
}

fn program_ns(costs: &[Cost]) -> f64 {
    median(
        costs
            .iter()
            .map(|cost| cost.total_ns / cost.changes.max(1.0))
            .collect(),
    )
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or_default()
}

fn address(target: &Target) -> Result<SocketAddr> {
    let url = target.url("");
    let text = url.trim_start_matches("http://");
    text.parse().with_context(|| format!("no address: {text}"))
}

fn changes(session: &Session, to: SocketAddr) -> Result<Cost> {
    let before = socket_program(session)?;
    for _ in 0..CONNECTIONS {
        drop(TcpStream::connect_timeout(&to, Duration::from_secs(5))?);
    }
    // The servers' ends close a moment later.
    std::thread::sleep(Duration::from_millis(200));
    let after = socket_program(session)?;
    Ok(Cost {
        changes: after.changes - before.changes,
        total_ns: after.total_ns - before.total_ns,
    })
}

fn socket_program(session: &Session) -> Result<Cost> {
    let programs = runs(session.pid(), session.started()?)?;
    let found = programs
        .into_values()
        .find(|program| program.hooks.iter().any(|hook| hook == "socket-state"));
    let found = found.context("observer does not watch sockets here")?;
    Ok(Cost {
        changes: found.runs,
        total_ns: found.total_ns,
    })
}
