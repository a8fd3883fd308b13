//! A gRPC server that closes connections for their age: its reader ends their streams, as it does where a client leaves,
//! and no client is named that has not left.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use observer_tests::live::{Expect, Load, Observer, Program, exactly, on_each_kind, start};

const PROGRAM: &str = "modules/grpc/server";
/// How old a connection may become, and how long after that its calls may go on. Then newer servers give the client a
/// second to close, which a call that still waits does not let it do.
const AGE: &str = "100ms";
/// The handlers take 2 s; then what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(4500);
/// How long after its cancel work goes on.
const WORKED_MS: std::ops::Range<u64> = 700..6000;

#[test]
fn a_server_that_closes_an_old_connection_is_no_client_that_leaves() -> Result<()> {
    on_each_kind(|go, flavor| closes_for_its_age(&start(PROGRAM, go, flavor, &["-age", AGE])?))
}

fn closes_for_its_age(program: &Program) -> Result<()> {
    let address = program.serves_at("listening-grpc ")?;
    let call = |method: &str| {
        let load = Load::grpc(address, &format!("shop.Depot/{method}"));
        load.ids(&format!("{method}-")).mode("cancel")
    };
    // Builds the client.
    call("Echo").run()?;
    let observer = Observer::of(program.pid())?;
    let began = Instant::now();
    // Wait for their answers, which do not come.
    let waiting = [call("Sleep").start()?, call("SleepOk").start()?];
    // Leaves before the server has closed.
    let leaves = call("Doze").mode("close").patience_ms(80);
    leaves.start()?.all("dropped")?;
    for client in waiting {
        client.finish()?;
    }
    thread::sleep(SETTLED.saturating_sub(began.elapsed()));
    let run = observer.stop()?;
    let ignored = |case: &str, method: &str, by: &str| {
        let expect = Expect::new("error", PROGRAM, &format!("cancel-ignored {case}"))?;
        let expect = expect.by(by).after_cancel_ms(WORKED_MS);
        anyhow::Ok(expect.fact("/request/id", &format!("{method}-0")))
    };
    let expected = [
        ignored("sleep", "Sleep", "server_close|unknown")?,
        ignored("doze", "Doze", "client")?,
    ];
    exactly(&run, program.pid(), &expected)
}
