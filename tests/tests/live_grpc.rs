//! Requests of a gRPC server are requests: every planted mistake of `modules/grpc/server` is found with its method and ID,
//! every healthy twin is silent, on each generation of gRPC-go.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use observer_tests::live::{Expect, Load, Observer, exactly, on_each_build, start};

const PROGRAM: &str = "modules/grpc/server";
/// The slowest handler takes 2 s; then what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(4000);

/// How long after its cancel work is seen. The clients' connections are gone by then, and up to gRPC-go 1.68 a unary handler
/// then returns without a status: its end is not seen.
const WORKED_MS: std::ops::Range<u64> = 400..2400;

/// How a client leaves, and after how long.
#[derive(Clone, Copy)]
struct Leaves {
    mode: &'static str,
    patience_ms: u64,
    outcome: &'static str,
}

const RESETS: Leaves = Leaves {
    mode: "cancel",
    patience_ms: 300,
    outcome: "dropped",
};
const CLOSES: Leaves = Leaves {
    mode: "close",
    ..RESETS
};
const HAS_A_DEADLINE: Leaves = Leaves {
    mode: "deadline",
    ..RESETS
};
const WAITS: Leaves = Leaves {
    mode: "cancel",
    patience_ms: 0,
    outcome: "ok",
};
/// Answers in time.
const HAS_TIME: Leaves = Leaves {
    mode: "deadline",
    patience_ms: 1000,
    outcome: "ok",
};

fn call(address: SocketAddr, method: &str, leaves: Leaves) -> Load {
    let mut load = Load::grpc(address, &format!("shop.Depot/{method}"))
        .ids(&format!("{method}-"))
        .mode(leaves.mode);
    if leaves.patience_ms > 0 {
        load = load.patience_ms(leaves.patience_ms);
    }
    load
}

fn about(expect: Expect, method: &str) -> Expect {
    expect
        .fact("/request/path", &format!("/shop.Depot/{method}"))
        .fact("/request/route", &format!("/shop.Depot/{method}"))
        .fact("/request/method", "POST")
        .fact("/request/proto", "grpc")
}

#[test]
fn every_planted_mistake_is_found_and_every_healthy_twin_is_silent() -> Result<()> {
    on_each_build(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let address = program.serves_at("listening-grpc ")?;
        // Builds the client.
        call(address, "Echo", WAITS).run()?;
        let observer = Observer::of(program.pid())?;
        let began = Instant::now();
        let calls = [
            ("Sleep", RESETS),
            ("SleepOk", RESETS),
            ("SleepOk", CLOSES),
            ("SleepOk", HAS_A_DEADLINE),
            ("Channel", HAS_A_DEADLINE),
            ("ChannelOk", HAS_A_DEADLINE),
            ("Poll", CLOSES),
            ("Uncalled", WAITS),
            ("UncalledOk", WAITS),
            ("Detached", RESETS),
            ("DetachedOk", RESETS),
            ("Inflated", HAS_TIME),
            ("InflatedOk", HAS_TIME),
        ];
        let running = calls
            .map(|(method, leaves)| (method, leaves, call(address, method, leaves).start()))
            .into_iter()
            .map(|(method, leaves, client)| Ok((method, leaves, client?)))
            .collect::<Result<Vec<_>>>()?;
        for (method, leaves, client) in running {
            client.all(leaves.outcome).with_context(|| method)?;
        }
        let load = call(address, "Echo", WAITS).times(300, 4);
        load.start()?.all("ok")?;
        thread::sleep(SETTLED.saturating_sub(began.elapsed()));
        let run = observer.stop()?;
        let ignored = |case: &str, method: &str, by: &str| {
            let expect = Expect::new("error", PROGRAM, &format!("cancel-ignored {case}"))?;
            let expect = expect.by(by).after_cancel_ms(WORKED_MS);
            anyhow::Ok(about(expect, method).fact("/request/id", &format!("{method}-0")))
        };
        let expected = [
            ignored("sleep", "Sleep", "client")?,
            // The client resets its stream in the moment in which the server's own timer fires.
            ignored("channel", "Channel", "deadline|client")?,
            ignored("poll", "Poll", "client")?,
            about(
                Expect::new("warning", PROGRAM, "cancel-not-called uncalled")?,
                "Uncalled",
            ),
            about(
                Expect::new("error", PROGRAM, "detached-context wait")?.by("client"),
                "Detached",
            )
            .fact("/request/id", "Detached-0"),
            about(
                Expect::new("info", PROGRAM, "deadline-inflated clamped")?
                    .fact("/evidence/timer", "context"),
                "Inflated",
            ),
        ];
        exactly(&run, program.pid(), &expected)
    })
}

#[test]
fn goroutines_that_serve_one_stream_after_the_other_are_not_mistaken() -> Result<()> {
    on_each_build(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &["-workers", "2"])?;
        let address = program.serves_at("listening-grpc ")?;
        // Builds the client.
        call(address, "Echo", WAITS).run()?;
        let observer = Observer::of(program.pid())?;
        let began = Instant::now();
        call(address, "Echo", WAITS)
            .times(50, 2)
            .start()?
            .all("ok")?;
        let impatient = call(address, "Sleep", RESETS).start()?;
        impatient.all("dropped")?;
        thread::sleep(SETTLED.saturating_sub(began.elapsed()));
        call(address, "Echo", WAITS)
            .times(50, 2)
            .start()?
            .all("ok")?;
        call(address, "SleepOk", RESETS).start()?.all("dropped")?;
        let run = observer.stop()?;
        let expected = Expect::new("error", PROGRAM, "cancel-ignored sleep")?
            .by("client")
            .after_cancel_ms(WORKED_MS)
            .fact("/request/id", "Sleep-0");
        exactly(&run, program.pid(), &[about(expected, "Sleep")])
    })
}
