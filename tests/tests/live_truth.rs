//! What a finding says of a goroutine is what Go itself says of it at that moment.

#![expect(
    clippy::indexing_slicing,
    reason = "what a JSON value does not have is null"
)]

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{Goroutine, Load, Observer, dump, on_each_build, start};
use serde_json::Value;

/// Routes whose handler waits on, in as many ways as there are.
const ROUTES: [&str; 8] = [
    "/ignored/sleep",
    "/ignored/channel",
    "/ignored/workers",
    "/ignored/raw-call",
    "/ignored/derived",
    "/ignored/backoff",
    "/detached/wait",
    // Its goroutine is not the one that serves the request.
    "/ignored/timeout-handler",
];

/// What Go shows of a stack: the runtime's own frames are left out.
fn shown(finding: &Value) -> Vec<(String, String, u64)> {
    let frames = finding["stack"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let frame = |frame: &Value| {
        (
            text(&frame["function"]),
            text(&frame["file"]),
            frame["line"].as_u64().unwrap_or_default(),
        )
    };
    frames
        .map(frame)
        .filter(|(function, ..)| !function.starts_with("runtime."))
        .collect()
}

/// The reasons for which a finding does not agree with the dump that was made when it came.
fn disagreement(finding: &Value, goroutines: &[Goroutine]) -> Option<String> {
    let frames = shown(finding);
    let goid = finding["request"]["goid"].as_u64();
    let inner = finding["request"]["path"] == "/ignored/timeout-handler";
    let theirs = goroutines.iter().find(|goroutine| {
        if inner {
            goroutine.frames == frames
        } else {
            Some(goroutine.goid) == goid
        }
    });
    let Some(theirs) = theirs else {
        return Some(format!(
            "no such goroutine in the dump: {finding}\n{goroutines:#?}"
        ));
    };
    let reason = finding["evidence"]["wait_reason"]
        .as_str()
        .unwrap_or_default();
    let same = theirs.reason == reason && theirs.frames == frames && !frames.is_empty();
    (!same).then(|| {
        format!("Go says {theirs:#?}\nthe finding says {reason:?}, {frames:#?}\n{finding}")
    })
}

#[test]
fn wait_reason_and_stack_are_those_of_gos_own_dump() -> Result<()> {
    on_each_build(|go, flavor| {
        let program = start("rules4", go, flavor, &[])?;
        let routes = program.routes()?;
        let observer = Observer::of(program.pid())?;
        let mut clients = Vec::new();
        for route in routes
            .iter()
            .filter(|route| ROUTES.contains(&route.path.as_str()))
        {
            clients.push((Load::route(&program, route).start()?, &route.outcome));
        }

        // The handlers work for two seconds in all, and findings come after less than one.
        let end = Instant::now() + Duration::from_millis(2500);
        let mut compared = HashSet::new();
        let mut wrong = Vec::new();
        while compared.len() < ROUTES.len() && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            let news = observer.wait_for(left, |lines| {
                let news: Vec<Value> = lines
                    .iter()
                    .filter(|line| {
                        line["type"] == "finding" && line["evidence"]["state"] == "waiting"
                    })
                    .filter(|line| !compared.contains(line["id"].as_str().unwrap_or_default()))
                    .cloned()
                    .collect();
                (!news.is_empty()).then_some(news)
            })?;
            let goroutines = dump(&program)?;
            for finding in news {
                wrong.extend(disagreement(&finding, &goroutines));
                compared.insert(finding["id"].as_str().context("an id")?.to_owned());
            }
        }
        for (client, outcome) in clients {
            client.all(outcome)?;
        }
        thread::sleep(Duration::from_millis(500));
        let run = observer.stop()?;
        ensure!(
            wrong.is_empty(),
            "{} of {} findings differ\n{}",
            wrong.len(),
            compared.len(),
            wrong.join("\n\n")
        );
        ensure!(
            compared.len() == ROUTES.len(),
            "only {} were compared\n{}",
            compared.len(),
            run.shown()
        );
        Ok(())
    })
}
