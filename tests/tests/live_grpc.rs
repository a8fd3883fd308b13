//! Requests of a gRPC server are requests: every planted mistake of `modules/grpc/server` is found with its method and ID,
//! every healthy twin is silent, on each generation of gRPC-go.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use observer_tests::{
    live::{
        Expect, Load, Observer, Program, exactly, on_each_kind, on_each_older, start, start_with,
    },
    target::Flavor,
};

const PROGRAM: &str = "modules/grpc/server";
/// The slowest handler takes 2 s; then what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(4500);

/// How long after its cancel work goes on: a handler takes 2 s, its client 300 ms, and a busy machine a little more. Less
/// would be a look at what still runs.
const WORKED_MS: std::ops::Range<u64> = 700..6000;

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT_ID: &str = "00f067aa0ba902b7";
/// What the clients send of it.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

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

/// Work that goes on after its client has left, to its end.
fn ignored(case: &str, method: &str, by: &str) -> Result<Expect> {
    let expect = Expect::new("error", PROGRAM, &format!("cancel-ignored {case}"))?;
    let expect = expect.by(by).after_cancel_ms(WORKED_MS);
    let expect = expect.fact("/evidence/state", "ended");
    Ok(about(expect, method).fact("/request/id", &format!("{method}-0")))
}

#[test]
fn every_planted_mistake_is_found_and_every_healthy_twin_is_silent() -> Result<()> {
    on_each_kind(|go, flavor| finds_what_is_planted(&start(PROGRAM, go, flavor, &[])?))
}

/// Every method of the server, and how its clients leave.
fn finds_what_is_planted(program: &Program) -> Result<()> {
    let address = program.serves_at("listening-grpc ")?;
    // Builds the client.
    call(address, "Echo", WAITS).run()?;
    let observer = Observer::of(program.pid())?;
    let began = Instant::now();
    let calls = [
        ("Sleep", RESETS),
        ("Doze", CLOSES),
        ("Nap", CLOSES),
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
        .into_iter()
        .map(|(method, leaves)| {
            let load = call(address, method, leaves).flag("-traceparent", &TRACEPARENT);
            Ok((method, leaves, load.start()?))
        })
        .collect::<Result<Vec<_>>>()?;
    for (method, leaves, client) in running {
        client.all(leaves.outcome).with_context(|| method)?;
    }
    // A stream that goes on after its client, and some that do not.
    let streams =
        [("Deaf", RESETS), ("Ticks", CLOSES), ("Ticks", WAITS)].map(|(method, leaves)| {
            let load = call(address, method, leaves).flag("-answer", &"stream");
            (method, leaves, load.start())
        });
    for (method, leaves, client) in streams {
        client?.all(leaves.outcome).with_context(|| method)?;
    }
    let load = call(address, "Echo", WAITS).times(300, 4);
    load.start()?.all("ok")?;
    thread::sleep(SETTLED.saturating_sub(began.elapsed()));
    let run = observer.stop()?;
    let expected = [
        ignored("sleep", "Sleep", "client")?
            .fact("/request/trace_id", TRACE_ID)
            .fact("/request/parent_id", PARENT_ID),
        // The client resets its stream in the moment in which the server's own timer fires.
        ignored("channel", "Channel", "deadline|client")?,
        ignored("poll", "Poll", "client")?,
        // Their connections are gone: gRPC writes no status for one that returns no error.
        ignored("doze", "Doze", "client")?,
        ignored("nap", "Nap", "client")?,
        ignored("stream", "Deaf", "client")?,
        about(
            Expect::new("warning", PROGRAM, "cancel-not-called uncalled")?,
            "Uncalled",
        )
        .fact("/request/id", "Uncalled-0"),
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
}

/// What came with it is read as it ends: when the leak is told of, its memory is another's.
#[test]
fn a_leak_is_told_with_the_id_of_its_request() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let address = program.serves_at("listening-grpc ")?;
        call(address, "Echo", WAITS).run()?;
        let pid = program.pid().to_string();
        let args = ["--pid", &pid, "--goroutines", "--leak-after", "1s"];
        let observer = Observer::attach(&args, 1)?;
        call(address, "Leaves", WAITS).start()?.all("ok")?;
        // The memory of the request comes to be another's.
        call(address, "Echo", WAITS)
            .times(300, 4)
            .start()?
            .all("ok")?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let leak = Expect::new("error", PROGRAM, "goroutine-leak leaves")?;
        let leak = about(leak, "Leaves").fact("/request/id", "Leaves-0");
        exactly(&run, program.pid(), &[leak])
    })
}

/// A route that calls the service itself, and how its client leaves.
fn route(program: &Program, path: &str, patience_ms: u64) -> Load {
    let prefix = format!("{}-", path.trim_start_matches('/').replace('/', "-"));
    let load = Load::of(program, path).ids(&prefix);
    if patience_ms > 0 {
        load.patience_ms(patience_ms)
    } else {
        load
    }
}

/// A planted call: rule and case of its marker, its route, what the call is and what it calls.
struct Planted {
    marked: &'static str,
    route: &'static str,
    severity: &'static str,
    kind: &'static str,
    method: &'static str,
}

const CALLS: [Planted; 4] = [
    Planted {
        marked: "detached-context unary",
        route: "/detached/unary",
        severity: "error",
        kind: "grpc",
        method: "SleepOk",
    },
    Planted {
        marked: "detached-context stream",
        route: "/detached/stream",
        severity: "error",
        kind: "grpc_stream",
        method: "Ticks",
    },
    Planted {
        marked: "detached-context abandoned",
        route: "/abandoned/stream",
        severity: "warning",
        kind: "grpc_stream",
        method: "Ticks",
    },
    Planted {
        marked: "premature-cancel unary",
        route: "/premature/unary",
        severity: "error",
        kind: "grpc",
        method: "SleepOk",
    },
];

impl Planted {
    fn expected(&self, address: SocketAddr) -> Result<Expect> {
        let id = format!("{}-0", self.route.trim_start_matches('/').replace('/', "-"));
        let target = format!("{address}/shop.Depot/{}", self.method);
        let expect = Expect::new(self.severity, PROGRAM, self.marked)?;
        Ok(expect
            .request(self.route, &id)
            .fact("/evidence/call/kind", self.kind)
            .fact("/evidence/call/target", &target))
    }
}

/// Routes that call as they should: health watch and keep-alive pings go on beside them.
const CALLS_OK: [(&str, u64); 7] = [
    ("/detached/unary/ok", 300),
    ("/detached/stream/ok", 300),
    ("/abandoned/stream/ok", 0),
    ("/premature/unary/ok", 0),
    ("/two/streams/ok", 0),
    ("/tags/ok", 0),
    ("/tags/ok", 0),
];

#[test]
fn calls_of_the_client_are_told_apart_by_method_and_context() -> Result<()> {
    on_each_kind(|go, flavor| tells_calls_apart(&start(PROGRAM, go, flavor, &[])?))
}

/// Every route that calls the service itself.
fn tells_calls_apart(program: &Program) -> Result<()> {
    let address = program.serves_at("listening-grpc ")?;
    // Builds the clients.
    call(address, "Echo", WAITS).run()?;
    route(program, "/tags/ok", 0).run()?;
    let observer = Observer::of(program.pid())?;
    let began = Instant::now();
    let leaving = ["/detached/unary", "/detached/stream"].map(|path| (path, 300));
    let staying = ["/abandoned/stream", "/premature/unary"].map(|path| (path, 0));
    let running = leaving
        .into_iter()
        .chain(staying)
        .chain(CALLS_OK)
        .map(|(path, patience_ms)| {
            let client = route(program, path, patience_ms).start()?;
            Ok((path, patience_ms, client))
        })
        .collect::<Result<Vec<_>>>()?;
    let detour = call(address, "Detour", HAS_TIME).start()?;
    let detour_ok = call(address, "DetourOk", HAS_TIME).start()?;
    for (path, patience_ms, client) in running {
        let outcome = if patience_ms > 0 { "dropped" } else { "ok" };
        client.all(outcome).with_context(|| path)?;
    }
    detour.all("ok")?;
    detour_ok.all("ok")?;
    let load = route(program, "/tags/ok", 0).times(10, 2);
    load.start()?.all("ok")?;
    thread::sleep(SETTLED.saturating_sub(began.elapsed()));
    let run = observer.stop()?;
    let mut expected = CALLS
        .iter()
        .map(|planted| planted.expected(address))
        .collect::<Result<Vec<_>>>()?;
    // What a call sends is read from the metadata of its context.
    let [unary, ..] = &mut expected[..] else {
        bail!("no calls are planted");
    };
    *unary = unary
        .clone()
        .fact("/evidence/call/sent/id", "detached-unary-0")
        .fact("/evidence/call/sent/id_header", "X-Request-Id");
    expected.push(
        about(
            Expect::new("warning", PROGRAM, "detached-context detour")?,
            "Detour",
        )
        .fact("/evidence/call/kind", "grpc")
        .fact("/evidence/timer", "context"),
    );
    exactly(&run, program.pid(), &expected)
}

/// What the Go versions from 1.21 on take of gRPC-go by themselves is newer from Go 1.24, and from Go 1.25 on: 1.56, then 1.62.
const OLDER: [(&str, u32, u32); 3] = [
    ("go.mod", 24, 27),
    ("go1.24.mod", 21, 23),
    ("go1.24.mod", 25, 27),
];

#[test]
fn an_older_grpc_is_known_with_a_newer_go() -> Result<()> {
    on_each_older(&OLDER, |file, go| {
        let program = start_with(file, PROGRAM, go, Flavor::Plain)?;
        finds_what_is_planted(&program)?;
        tells_calls_apart(&program)
    })
}

#[test]
fn what_net_http_serves_for_grpc_is_a_request_of_grpc() -> Result<()> {
    served_through_http("listening-grpc-http ", "tls")
}

#[test]
fn what_comes_through_a_hijacked_connection_is_a_request_of_grpc() -> Result<()> {
    served_through_http("listening-grpc-h2c ", "tcp")
}

/// gRPC as a handler of HTTP/2, at the address after these words, over TLS or not.
fn served_through_http(listening: &str, over: &str) -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let address = program.serves_at(listening)?;
        let call = |method: &str, leaves| call(address, method, leaves).flag("-over", &over);
        // Builds the client.
        call("Echo", WAITS).run()?;
        let observer = Observer::of(program.pid())?;
        let began = Instant::now();
        let unary = [
            ("Sleep", RESETS),
            ("Doze", CLOSES),
            ("Nap", CLOSES),
            ("SleepOk", RESETS),
            ("SleepOk", CLOSES),
            ("SleepOk", HAS_A_DEADLINE),
            ("Channel", HAS_A_DEADLINE),
            ("ChannelOk", HAS_A_DEADLINE),
            ("Detached", RESETS),
            ("Inflated", HAS_TIME),
            ("InflatedOk", HAS_TIME),
        ];
        let streams = [("Deaf", RESETS), ("Ticks", CLOSES), ("Ticks", WAITS)];
        let unary = unary.map(|(method, leaves)| (method, leaves, call(method, leaves)));
        let streams = streams.map(|(method, leaves)| {
            let load = call(method, leaves).flag("-answer", &"stream");
            (method, leaves, load)
        });
        let running = unary
            .into_iter()
            .chain(streams)
            .map(|(method, leaves, load)| Ok((method, leaves, load.start()?)))
            .collect::<Result<Vec<_>>>()?;
        for (method, leaves, client) in running {
            client.all(leaves.outcome).with_context(|| method)?;
        }
        call("Echo", WAITS).times(100, 4).start()?.all("ok")?;
        thread::sleep(SETTLED.saturating_sub(began.elapsed()));
        let run = observer.stop()?;
        // TLS says goodbye before the socket closes. A server that hears the one may have closed before the other.
        let closed_by = if over == "tls" {
            "client|unknown"
        } else {
            "client"
        };
        let expected = [
            ignored("sleep", "Sleep", "client")?,
            ignored("doze", "Doze", closed_by)?,
            ignored("nap", "Nap", closed_by)?,
            ignored("channel", "Channel", "deadline|client")?,
            ignored("stream", "Deaf", "client")?,
            about(
                Expect::new("error", PROGRAM, "detached-context wait")?.by("client"),
                "Detached",
            ),
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
fn streams_of_another_http2_end_as_those_of_net_http() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let address = program.serves_at("listening-http2 ")?;
        let call = |path: &str, mode: &str, patience_ms| {
            Load::to(&format!("https://{address}{path}"))
                .ids(&format!(
                    "{}-",
                    path.trim_start_matches('/').replace('/', "-")
                ))
                .mode(mode)
                .patience_ms(patience_ms)
        };
        // Builds the client.
        call("/sleep/ok", "h2", 50).run()?;
        let observer = Observer::of(program.pid())?;
        let began = Instant::now();
        let calls = [
            ("/sleep/reset", "h2"),
            ("/sleep/leave", "h2leave"),
            ("/sleep/ok", "h2"),
            ("/sleep/ok", "h2leave"),
        ];
        let running = calls.map(|(path, mode)| (path, call(path, mode, 300).start()));
        for (path, client) in running {
            client?.all("dropped").with_context(|| path)?;
        }
        thread::sleep(SETTLED.saturating_sub(began.elapsed()));
        let run = observer.stop()?;
        let slept = |case: &str| {
            let marked = format!("cancel-ignored http2-{case}");
            let expect = Expect::new("error", PROGRAM, &marked)?;
            anyhow::Ok(
                expect
                    .request(&format!("/sleep/{case}"), &format!("sleep-{case}-0"))
                    .fact("/request/proto", "HTTP/2.0")
                    .by("client")
                    .after_cancel_ms(WORKED_MS)
                    .fact("/evidence/state", "ended"),
            )
        };
        exactly(&run, program.pid(), &[slept("reset")?, slept("leave")?])
    })
}

#[test]
fn goroutines_that_serve_one_stream_after_the_other_are_not_mistaken() -> Result<()> {
    on_each_kind(|go, flavor| {
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
