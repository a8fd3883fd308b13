//! Findings of a run that tells facts: it reads what every call sends, and joins more than one that does not.

use std::{path::Path, thread};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{Load, Run};

use super::{NEWEST, SETTLED, cases};

const FRONT: &str = "chain/front";
const STORE: &str = "chain/store";
const GRPC: &str = "modules/grpc/server";

/// Calls over HTTP from one process to another, and calls over gRPC.
pub(super) fn told(recording: &Path) -> Result<Run> {
    let store = cases::nameless(STORE, NEWEST, &[])?;
    let args = ["-store", &store.program.url("")];
    let front = cases::nameless(FRONT, NEWEST, &args)?;
    let grpc = cases::nameless(GRPC, NEWEST, &[])?;
    let programs = [&front.program, &store.program, &grpc.program];
    let address = grpc.program.serves_at("listening-grpc ")?;
    let observer = cases::attach(&programs, recording, &["--facts"])?;
    let load = |path: &str| Load::of(&front.program, path).ids("told-");
    load("/deadline").times(2, 1).run()?;
    load("/honours/ok").times(2, 1).run()?;
    let unary = Load::of(&grpc.program, "/detached/unary").ids("unary-");
    let unary = unary.patience_ms(300).start()?;
    let premature = Load::of(&grpc.program, "/premature/unary").ids("premature-");
    let premature = premature.start()?;
    let sleeps = Load::grpc(address, "shop.Depot/Sleep").ids("sleep-");
    let sleeps = sleeps.mode("cancel").patience_ms(300).start()?;
    unary.all("dropped")?;
    premature.all("ok")?;
    sleeps.all("dropped")?;
    thread::sleep(SETTLED);
    let run = observer.stop()?;
    for kind in ["call", "request"] {
        ensure!(run.of_type(kind).next().is_some(), "no {kind} was told of");
    }
    let rules: Vec<&str> = run
        .of_type("finding")
        .filter_map(|line| line["rule"].as_str())
        .collect();
    for rule in ["orphaned-downstream", "detached-context", "cancel-ignored"] {
        ensure!(rules.contains(&rule), "no {rule}: {}", run.shown());
    }
    let sent = run.of_type("finding").find(|line| {
        line.pointer("/evidence/call/kind") == Some(&"grpc".into())
            && line.pointer("/evidence/call/sent/id").is_some()
    });
    sent.context("what a call over gRPC has sent")?;
    Ok(run)
}
