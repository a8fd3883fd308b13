//! What is left behind where a connection is: those that a handler took over, and those to a store whose answer nobody reads.

use std::process::Command;

use observer_tests::live::{Connection, observer_binary, on_each_version};

use super::*;

/// Connections that the handler of a route takes over and leaves to two goroutines.
fn taken_over(program: &Program, path: &str) -> Result<Vec<Connection>> {
    let open = |number| {
        let mut connection = Connection::open(program.address)?;
        connection.exchange(path, &format!("{}{number}", ids(path)))?;
        Ok(connection)
    };
    (0..REQUESTS).map(open).collect()
}

#[test]
fn who_serves_a_connection_that_was_taken_over_is_a_leak_once_that_has_closed() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        for observe in [observe, observe_without_hooks] {
            let observer = observe(&program)?;
            let stays_open = taken_over(&program, "/pumps/ok")?;
            let closes = taken_over(&program, "/pumps")?;
            thread::sleep(Duration::from_secs(2));
            drop(closes);
            thread::sleep(SETTLED);
            let run = observer.stop()?;
            drop(stays_open);
            // A word that was left on a stack may hide that nothing leads to what it waits on.
            let stays = Expect::new("error|info", PROGRAM, "goroutine-leak pumps")?
                .fact("/request/path", "/pumps")
                .fact("/request/id", &any_of("pumps"))
                .fact("/evidence/wait_reason", "chan receive")
                .says("after the connection of its request closed")
                .times(None);
            exactly(&run, program.pid(), &[stays])?;
        }
        Ok(())
    })
}

/// The transport's goroutines are nobody's `go` line: what is told is the context of the call, which would have ended it. All that they
/// are is in the picture.
#[test]
fn whose_answer_nobody_reads_leaves_the_transport_waiting() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = observe(&program)?;
        for path in ["/body/ok", "/body"] {
            ask(&program, path, REQUESTS)?;
        }
        let waiting = waiting_for_readers(&program)?;
        ensure!(waiting == REQUESTS, "{waiting} wait for a reader");
        thread::sleep(SETTLED);
        let still = waiting_for_readers(&program)?;
        ensure!(still == REQUESTS, "{still} wait for a reader");
        let run = observer.stop()?;
        let detached = Expect::new("warning", PROGRAM, "detached-context body")?
            .fact("/request/path", "/body")
            .fact("/request/id", &any_of("body"))
            .times(None);
        exactly(&run, program.pid(), &[detached])
    })
}

/// Goroutines of the transport that wait for the reader of an answer, as `observer goroutines` counts them.
fn waiting_for_readers(program: &Program) -> Result<u64> {
    let pid = program.pid().to_string();
    let output = Command::new(observer_binary()?)
        .args(["goroutines", "--output", "json", "--pid", &pid])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut waiting = 0;
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        let stacks = line.get("stacks").and_then(Value::as_array);
        for stack in stacks.into_iter().flatten() {
            // One that has nothing to wait for but its connection is in a read.
            let is_one = stack["wait_reason"] == "select"
                && stack.pointer("/stack/0/function").and_then(Value::as_str)
                    == Some("net/http.(*persistConn).readLoop");
            waiting += stack["count"].as_u64().filter(|_| is_one).unwrap_or(0);
        }
    }
    Ok(waiting)
}
