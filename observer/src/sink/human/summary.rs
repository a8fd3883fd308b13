//! The first and last line of each process (stderr), and the last line of all (stdout).

use crate::sink::output::{Start, Stats, Stop, StopReason, Tally};

use super::coverage::Coverage;
use super::layout::Terminal;
use super::text::percent;

/// `observing shop-api (pid 4121, go1.27.3, example.com/shop): 14 hooks, 17 probes, 121 ms; …`
#[must_use]
pub fn start_line(start: &Start, terminal: &Terminal) -> String {
    let glyphs = &terminal.glyphs;
    let process = &start.process;
    let hooks = start.hooks.iter().filter(|hook| hook.on).count();
    let mut line = format!(
        "observing {} (pid {}, {}, {}): {hooks} hooks, {} probes, {}",
        process.name,
        process.pid,
        process.go,
        process.built_from(),
        start.probes,
        glyphs.duration(start.attach_ns),
    );
    if !start.not_covered.is_empty() {
        line.push_str("; not covered: ");
        line.push_str(&start.not_covered.join(", "));
    }
    terminal.flow(&[glyphs.clean(&line)])
}

/// `shop-api (pid 4121) has ended`.
#[must_use]
pub fn stop_line(stop: &Stop, terminal: &Terminal) -> String {
    let process = &stop.process;
    let fate = match stop.why {
        StopReason::Ended => "has ended",
        StopReason::Replaced => "executes another program now",
    };
    let line = format!("{} (pid {}) {fate}", process.name, process.pid);
    terminal.flow(&[terminal.glyphs.clean(&line)])
}

/// Findings or their absence, requests, events and loss, and both costs.
#[must_use]
pub fn last_line(stats: &Stats, tally: &Tally, coverage: &Coverage, terminal: &Terminal) -> String {
    let glyphs = &terminal.glyphs;
    let requests = count(terminal, stats.requests, "request");
    let duration = glyphs.duration(stats.duration_ns);
    let mut parts = if tally.shown() == 0 {
        let mut silence = match tally.silenced {
            0 => format!("no gaps seen in {requests}"),
            silenced => format!(
                "no gaps but {} silenced in {requests}",
                glyphs.number(silenced)
            ),
        };
        if let Some(not_covered) = coverage.line() {
            silence.push_str("; ");
            silence.push_str(&glyphs.clean(&not_covered));
        }
        vec![silence, duration]
    } else {
        vec![
            format!("{} in {duration}", findings(tally, terminal)),
            requests,
        ]
    };
    if stats.requests_unknown > 0 {
        parts.push(format!(
            "{} unknown",
            count(terminal, stats.requests_unknown, "request")
        ));
    }
    if stats.traceparents_broken > 0 {
        parts.push(count(
            terminal,
            stats.traceparents_broken,
            "broken traceparent",
        ));
    }
    if stats.deadlines_broken > 0 {
        parts.push(count(terminal, stats.deadlines_broken, "broken deadline"));
    }
    if stats.joins.ambiguous > 0 {
        // Of each of these nothing is claimed across processes.
        parts.push(count(terminal, stats.joins.ambiguous, "ambiguous join"));
    }
    if let Some(delivery) = &stats.delivery {
        // Whoever waits for a cancel waits this long after its client has left.
        parts.push(format!(
            "{} delivered in {} (p99 {})",
            count(terminal, delivery.count, "client close"),
            glyphs.duration(delivery.p50_ns),
            glyphs.duration(delivery.p99_ns)
        ));
    }
    let goroutines = &stats.goroutines;
    // A look finds plumbing's, too, which nobody wants to hear of.
    let outliving = match goroutines.follows {
        true => goroutines.totals.outliving,
        false => goroutines.totals.waiting.values().sum(),
    };
    if outliving > 0 {
        let outliving = count(terminal, outliving, "goroutine");
        parts.push(format!("{outliving} alive after their requests"));
    }
    if tally.silenced > 0 && tally.shown() > 0 {
        parts.push(format!("{} silenced", glyphs.number(tally.silenced)));
    }
    let lost: u64 = stats.lost.values().sum();
    parts.push(format!(
        "{}, {} lost",
        count(terminal, stats.events, "event"),
        glyphs.number(lost)
    ));
    if tally.dropped > 0 {
        parts.push(format!(
            "{} dropped",
            count(terminal, tally.dropped, "line")
        ));
    }
    parts.extend(cost(stats));
    let last = parts.len().saturating_sub(1);
    for part in parts.iter_mut().take(last) {
        part.push(' ');
        part.push_str(glyphs.dot);
    }
    terminal.flow(&parts)
}

fn cost(stats: &Stats) -> Option<String> {
    let own = percent(stats.own_cpu_ns?, stats.duration_ns);
    Some(match stats.target_cpu_ns {
        Some(target_ns) => {
            let target = percent(target_ns, stats.duration_ns);
            format!("cost {own} of one core, and {target} in the target")
        }
        None => format!("cost {own} of one core"),
    })
}

fn findings(tally: &Tally, terminal: &Terminal) -> String {
    let kinds = [
        (tally.errors, "error"),
        (tally.warnings, "warning"),
        (tally.infos, "info"),
    ];
    let kinds: Vec<String> = kinds
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| match noun {
            "info" => format!("{} info", terminal.glyphs.number(number)),
            _ => count(terminal, number, noun),
        })
        .collect();
    format!(
        "{} ({})",
        count(terminal, tally.shown(), "finding"),
        kinds.join(", ")
    )
}

pub(super) fn count(terminal: &Terminal, number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", terminal.glyphs.number(number))
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
