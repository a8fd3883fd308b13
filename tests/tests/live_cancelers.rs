//! Who cancelled, in all the ways that net/http knows, and the corners of it in which nobody is to blame.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::{
    live::{
        Connection, Expect, Load, Observer, Program, Role, Run, exactly, findings, on_each_version,
        start,
    },
    target::Flavor,
};
use serde_json::json;

const PROGRAM: &str = "cancelers";

/// After the last answer: what still runs ends, grace passes, findings are said.
const SETTLED: Duration = Duration::from_millis(2500);

fn cancelers(go: &str, flavor: Flavor) -> Result<Program> {
    start(PROGRAM, go, flavor, &[])
}

fn over_tls(program: &Program, path: &str) -> Result<Load> {
    Ok(Load::to(&format!(
        "https://{}{path}",
        program.tls_address()?
    )))
}

/// A handler that works on for two seconds after this cancel.
fn stubborn(case: &str, cancelled_by: &str) -> Result<Expect> {
    let expect = Expect::new("error", PROGRAM, &format!("cancel-ignored stubborn-{case}"))?;
    Ok(expect
        .request(&format!("/stubborn/{case}"), &format!("stubborn-{case}-0"))
        .by(cancelled_by)
        .fact("/evidence/state", "ended"))
}

#[test]
fn a_finding_names_who_cancelled_and_who_obeys_is_not_named() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = cancelers(go, flavor)?;
        let routes = program.routes()?;
        let observer = Observer::of(program.pid())?;

        let mut clients = Vec::new();
        let with_a_signal = [
            "/stubborn/server-close",
            "/stubborn/h2-server-close",
            "/stubborn/shutdown",
        ];
        let not_of_these_rules = ["/unread-body", "/pipelined", "/read-timeout"];
        for route in &routes {
            let path = route.path.as_str();
            if with_a_signal.contains(&path)
                || not_of_these_rules.contains(&path)
                || path.starts_with("/admin/")
            {
                continue;
            }
            let load = match route.mode.as_str() {
                "h2" | "h2leave" => over_tls(&program, path)?
                    .mode(&route.mode)
                    .patience_ms(route.patience_ms)
                    .ids(&format!(
                        "{}-",
                        path.trim_start_matches('/').replace('/', "-")
                    )),
                _ => Load::route(&program, route),
            };
            clients.push((load.start()?, route.outcome.clone()));
        }
        // The other ways to leave a handler that looks.
        for mode in ["rst", "halfclose"] {
            let load = Load::of(&program, "/client").mode(mode).patience_ms(300);
            clients.push((
                load.start()?,
                if mode == "rst" { "dropped" } else { "ok" }.to_owned(),
            ));
        }
        let load = over_tls(&program, "/client")?.mode("h2").patience_ms(300);
        clients.push((load.start()?, "dropped".to_owned()));
        let load = Load::of(&program, "/client-write-unread")
            .mode("postunread")
            .patience_ms(300);
        clients.push((load.flag("-close", &"rst").start()?, "dropped".to_owned()));

        for (client, outcome) in clients {
            client
                .all(&outcome)
                .with_context(|| format!("it says {:?}", program.said()))?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        // Both deadlines are absolute, and both handlers set theirs to 300 ms.
        let expected = [
            stubborn("fin", "client")?
                .after_cancel_ms(500..6000)
                .fact("/evidence/peer_close", "fin")
                .fact("/request/proto", "HTTP/1.1"),
            stubborn("rst", "client")?
                .after_cancel_ms(500..6000)
                .fact("/evidence/peer_close", "reset"),
            stubborn("halfclose", "client")?
                .after_cancel_ms(500..6000)
                .fact("/evidence/peer_close", "fin"),
            stubborn("h2", "client")?
                .after_cancel_ms(500..6000)
                .fact("/request/proto", "HTTP/2.0"),
            stubborn("h2-leave", "client")?
                .after_cancel_ms(500..6000)
                .fact("/evidence/peer_close", "fin"),
            stubborn("write", "client")?
                .post()
                .fact("/evidence/peer_close", "fin|reset")
                .after_cancel_ms(500..6000),
            stubborn("write-deadline", "write_deadline")?.after_cancel_ms(500..6000),
            Expect::new("warning", PROGRAM, "cancel-ignored stubborn-code")?
                .request("/stubborn/code", "stubborn-code-0")
                .by("code")
                .after_cancel_ms(500..6000)
                .also(
                    Role::Context,
                    PROGRAM,
                    "cancel-ignored stubborn-code context",
                )?,
            Expect::new(
                "warning",
                PROGRAM,
                "premature-cancel cancelers-read-deadline",
            )?
            .request("/read-deadline", "read-deadline-0")
            .or_no_site()
            .by("read_deadline"),
        ];
        exactly(&run, program.pid(), &expected)?;
        closes_carry_both_times(&run, program.pid())
    })
}

/// When the kernel saw the peer close, when Go cancelled, and how long that took; and of others neither.
fn closes_carry_both_times(run: &Run, pid: u32) -> Result<()> {
    let closes =
        ["fin", "rst", "halfclose", "h2-leave", "write"].map(|case| format!("/stubborn/{case}"));
    for finding in findings(run, pid) {
        if finding.text("/request/path") == "/stubborn/h2" {
            // Its client resets the stream and then ends, and the kernel may be the first to tell.
            continue;
        }
        let said = |pointer: &str| finding.number(&format!("/evidence/{pointer}"));
        let closed = finding.text("/evidence/peer_closed_at").to_owned();
        let Some(delivery_ns) = said("delivery_ns") else {
            ensure!(
                closed.is_empty() && !closes.contains(&finding.text("/request/path").to_owned()),
                "no delivery: {}",
                finding.last
            );
            continue;
        };
        ensure!(
            closes.contains(&finding.text("/request/path").to_owned()) && !closed.is_empty(),
            "{}",
            finding.last
        );
        let cancelled = finding.text("/evidence/cancelled_at");
        ensure!(*closed <= *cancelled, "{}", finding.last);
        // Go is told at once but by a write, of which there is one every 20 ms.
        ensure!(delivery_ns < 300_000_000, "{}", finding.last);
    }
    let delivery = &run.end()?["delivery"];
    ensure!(
        delivery["count"].as_u64().is_some_and(|count| count >= 5),
        "{}",
        run.shown()
    );
    Ok(())
}

/// One request to each path; then the signal; the stubborn one alone is named.
fn whole_server(
    go: &str,
    flavor: Flavor,
    signal: Signal,
    clients: &[(&str, &str)],
    expected: &[Expect],
) -> Result<()> {
    let program = cancelers(go, flavor)?;
    let observer = Observer::of(program.pid())?;
    let mut running = Vec::new();
    for &(path, outcome) in clients {
        let prefix = format!("{}-", path.trim_start_matches('/').replace('/', "-"));
        let load = if path.contains("/h2-") {
            over_tls(&program, path)?.mode("h2")
        } else {
            Load::of(&program, path)
        };
        running.push((load.ids(&prefix).start()?, outcome));
    }
    thread::sleep(Duration::from_millis(700));
    program.signal(signal)?;
    for (client, outcome) in running {
        client
            .all(outcome)
            .with_context(|| format!("it says {:?}", program.said()))?;
    }
    thread::sleep(SETTLED);
    exactly(&observer.stop()?, program.pid(), expected)
}

#[test]
fn the_servers_read_timeout_is_told_with_its_length() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &["-read-timeout", "400ms"])?;
        let observer = Observer::of(program.pid())?;
        for path in ["/read-timeout", "/wait"] {
            let prefix = format!("{}-", path.trim_start_matches('/'));
            let mode = if path == "/wait" { "get" } else { "postunread" };
            let load = Load::of(&program, path).mode(mode).ids(&prefix);
            load.start()?.all("ok")?;
        }
        let expected = Expect::new(
            "warning",
            PROGRAM,
            "premature-cancel cancelers-read-timeout",
        )?
        .request("/read-timeout", "read-timeout-0")
        .post()
        .or_no_site()
        .by("read_deadline")
        .fact("/evidence/timer", "read_timeout");
        let run = observer.stop()?;
        exactly(&run, program.pid(), &[expected])?;
        // The timeouts that are 0 are as long as it.
        let ns = 400_000_000;
        let limits = json!({"read_ns": ns, "read_header_ns": ns, "write_ns": null, "idle_ns": ns});
        for finding in findings(&run, program.pid()) {
            let evidence = finding.last.get("evidence").context("evidence")?;
            ensure!(evidence.get("server") == Some(&limits), "{evidence}");
            ensure!(evidence.get("asked_ns") == Some(&json!(ns)), "{evidence}");
        }
        Ok(())
    })
}

#[test]
fn closing_the_server_is_not_the_client() -> Result<()> {
    on_each_version(|go, flavor| {
        let clients = [
            ("/stubborn/server-close", "failed"),
            ("/stubborn/h2-server-close", "failed"),
            ("/wait", "failed"),
        ];
        // HTTP/2 tells its streams that their client has left. It may even have done so: TLS has told it to.
        let expected = [
            stubborn("server-close", "server_close")?,
            stubborn("h2-server-close", "server_close")?
                .fact("/request/proto", "HTTP/2.0")
                .fact("/evidence/peer_close", ""),
        ];
        whole_server(go, flavor, Signal::SIGUSR1, &clients, &expected)
    })
}

#[test]
fn cancelling_the_base_context_is_a_shutdown() -> Result<()> {
    on_each_version(|go, flavor| {
        let clients = [("/stubborn/shutdown", "ok"), ("/wait", "ok")];
        let expected = [
            Expect::new("info", PROGRAM, "cancel-ignored stubborn-shutdown")?
                .request("/stubborn/shutdown", "stubborn-shutdown-0")
                .by("shutdown"),
        ];
        whole_server(go, flavor, Signal::SIGUSR2, &clients, &expected)
    })
}

#[test]
fn a_handler_that_outlives_shutdowns_deadline_is_an_error() -> Result<()> {
    on_each_version(|go, flavor| {
        // Shutdown gives up after observer's grace time, and within it.
        for patience in ["2s", "300ms"] {
            outlive_shutdown(go, flavor, patience)
                .with_context(|| format!("Shutdown waits for {patience}"))?;
        }
        Ok(())
    })
}

fn outlive_shutdown(go: &str, flavor: Flavor, patience: &str) -> Result<()> {
    let program = start(PROGRAM, go, flavor, &["-patience", patience])?;
    let observer = Observer::of(program.pid())?;
    let client = Load::of(&program, "/stubborn/shutdown")
        .ids("stubborn-shutdown-")
        .start()?;
    thread::sleep(Duration::from_millis(300));
    program.signal(Signal::SIGUSR2)?;
    // Its handler of signals is done with the first one.
    thread::sleep(Duration::from_millis(50));
    program.signal(Signal::SIGHUP)?;
    client.all("ok")?;
    thread::sleep(SETTLED);
    exactly(
        &observer.stop()?,
        program.pid(),
        &[stubborn("shutdown", "shutdown")?],
    )
}

#[test]
fn a_graceful_shutdown_cancels_nobody() -> Result<()> {
    on_each_version(|go, flavor| {
        whole_server(
            go,
            flavor,
            Signal::SIGHUP,
            &[("/wait", "ok"), ("/normal-end", "ok")],
            &[],
        )
    })
}

#[test]
fn corners_of_net_http_are_counted_and_silent() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = cancelers(go, flavor)?;
        let observer = Observer::of(program.pid())?;
        let of = |path: &str| Load::of(&program, path);
        // Clients, how they end, and how many requests each of their requests is.
        let clients = [
            (of("/hello").times(5, 1), "ok", 1),
            (of("/hello").mode("http10").times(5, 2), "ok", 1),
            (of("/hello").mode("pipeline").times(5, 1), "ok", 2),
            (
                of("/hello")
                    .mode("pipeline")
                    .flag("-pipeline-gap-ms", &0)
                    .times(5, 1),
                "ok",
                2,
            ),
            (over_tls(&program, "/hello")?.times(5, 2), "ok", 1),
            (
                of("/timeout-handler").flag("-status", &503).times(3, 3),
                "ok",
                1,
            ),
            (of("/hijack").times(3, 3), "ok", 1),
            (of("/panic").mode("drop").times(3, 1), "failed", 1),
            (of("/panic-abort").mode("drop").times(3, 1), "failed", 1),
            (
                of("/panic-recovered").flag("-status", &500).times(3, 1),
                "ok",
                1,
            ),
            (of("/expect").mode("expect100").times(3, 1), "ok", 1),
            (
                of("/upload").flag("-body-bytes", &100_000).times(3, 1),
                "ok",
                1,
            ),
            (of("/normal-end").times(3, 3), "ok", 1),
        ];
        let mut running = Vec::new();
        for (load, outcome, each) in clients {
            running.push((load.start()?, outcome, each));
        }
        let mut sent = 0;
        for (client, outcome, each) in running {
            sent += each * client.all(outcome)?.sent;
        }
        thread::sleep(Duration::from_secs(1));
        let run = observer.stop()?;
        exactly(&run, program.pid(), &[])?;
        ensure!(
            run.requests()? == sent,
            "{} requests seen, {sent} sent\n{}",
            run.requests()?,
            run.shown()
        );
        Ok(())
    })
}

#[test]
fn what_go_itself_is_not_told_is_found_by_what_the_kernel_saw() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = cancelers(go, flavor)?;
        let routes = program.routes()?;
        let observer = Observer::of(program.pid())?;
        let untold = ["/unread-body", "/pipelined"];
        let mut running = Vec::new();
        for route in routes
            .iter()
            .filter(|route| untold.contains(&route.path.as_str()))
        {
            running.push((Load::route(&program, route).start()?, &route.outcome));
        }
        for (client, outcome) in running {
            client.all(outcome)?;
        }
        thread::sleep(SETTLED);
        let found = |case: &str| {
            let marked = format!("cancel-undelivered {case}");
            let expect = Expect::new("warning", PROGRAM, &marked)?;
            let expect = expect.fact("/evidence/peer_close", "fin");
            anyhow::Ok(expect.request(&format!("/{case}"), &format!("{case}-0")))
        };
        let expected = [
            found("unread-body")?
                .post()
                .fact("/evidence/undelivered", "body_unread"),
            found("pipelined")?.fact("/evidence/undelivered", "pipelined"),
        ];
        exactly(&observer.stop()?, program.pid(), &expected)
    })
}

/// How long the server keeps a connection that nobody uses: less than `/normal-end` takes.
const IDLE: Duration = Duration::from_millis(200);

#[test]
fn a_connection_that_the_server_closes_because_nobody_uses_it_is_nobodys_leaving() -> Result<()> {
    on_each_version(|go, flavor| {
        let args = ["-idle-timeout", "200ms"];
        let program = start(PROGRAM, go, flavor, &args)?;
        let observer = Observer::of(program.pid())?;
        // Each of these over a connection of its own, because the one before has been closed.
        let over_http2 = over_tls(&program, "/hello")?.mode("h2").flag("-rate", &2);
        let over_http2 = over_http2.times(4, 1).start()?;
        let mut connections = Vec::new();
        for number in 0..4 {
            let mut connection = Connection::open(program.address)?;
            connection.exchange("/hello", &format!("first-{number}"))?;
            // A request may take longer than a connection may be idle.
            connection.exchange("/normal-end", &format!("second-{number}"))?;
            connections.push(connection);
        }
        // The last one has just been used.
        let last = connections.last_mut().context("a connection")?;
        let waited = last.closed()?;
        ensure!(waited >= IDLE / 2, "closed after {waited:?}");
        for mut connection in connections {
            connection.closed()?;
        }
        over_http2.all("ok")?;
        let leaves = Load::of(&program, "/stubborn/fin").ids("stubborn-fin-");
        let leaves = leaves.mode("drop").patience_ms(300).start()?;
        leaves.all("dropped")?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let expected = stubborn("fin", "client")?;
        exactly(&run, program.pid(), &[expected])?;
        ensure!(run.requests()? == 4 * 2 + 4 + 1, "{}", run.shown());
        let delivered = &run.end()?["delivery"]["count"];
        ensure!(*delivered == 1, "{delivered} clients left: {}", run.shown());
        Ok(())
    })
}
