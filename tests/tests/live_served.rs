//! `observer goroutines` names the requests of gRPC and of HTTP/2 that a program serves, each at the goroutine that serves it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{Load, Program, observer_binary, on_each_build, schema, start};
use serde_json::Value;

const PROGRAM: &str = "modules/grpc/server";
/// The handlers asked for take 2 s.
const PATIENCE: Duration = Duration::from_millis(1900);

/// Where each is served, what of, and how many goroutines serve it: behind HTTP/2, gRPC has one of its own for a stream.
const CALLS: [(&str, &str, &str, usize); 3] = [
    ("listening-grpc ", "tcp", "Sleep", 1),
    ("listening-grpc-http ", "tls", "Doze", 2),
    ("listening-grpc-h2c ", "tcp", "Nap", 2),
];

/// Methods and paths of all requests that are served.
fn served(program: &Program) -> Result<Vec<(String, String)>> {
    let pid = program.pid().to_string();
    let output = std::process::Command::new(observer_binary()?)
        .args(["goroutines", "--pid", &pid])
        .args(["--group-by", "request", "--output", "json"])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut all = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        let faults = schema::faults(&line)?;
        ensure!(faults.is_empty(), "{faults:?}\n{line}");
        let word = |name: &str| line.pointer(name).and_then(Value::as_str);
        if let Some((method, path)) = word("/request/method").zip(word("/request/path")) {
            all.push((method.to_owned(), path.to_owned()));
        }
    }
    Ok(all)
}

#[test]
fn requests_of_grpc_and_http2_are_named() -> Result<()> {
    on_each_build(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let call = |listening: &str, over: &str, method: &str| -> Result<Load> {
            let address = program.serves_at(listening)?;
            let load = Load::grpc(address, &format!("shop.Depot/{method}"));
            Ok(load.flag("-over", &over))
        };
        // Builds the client.
        call("listening-grpc ", "tcp", "Echo")?.run()?;
        let mut clients = Vec::new();
        for (listening, over, method, _) in CALLS {
            clients.push(call(listening, over, method)?.start()?);
        }
        let begun = Instant::now();
        let mut found = Vec::new();
        let complete = |found: &[(String, String)]| {
            CALLS.iter().all(|(_, _, method, goroutines)| {
                let wanted = ("POST".to_owned(), format!("/shop.Depot/{method}"));
                found.iter().filter(|one| **one == wanted).count() == *goroutines
            })
        };
        while !complete(&found) && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(50));
            found = served(&program)?;
        }
        ensure!(complete(&found), "{found:?}");
        for client in clients {
            client.finish().context("a call")?;
        }
        Ok(())
    })
}
