//! Clients that leave without net/http telling: each is found, by what the kernel saw, with the reason; and nobody who
//! is told, or whom nothing can be told, is accused.

use std::{io::Write as _, os::unix::net::UnixStream, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::live::{
    Connection, Expect, Finding, Load, Nginx, Observer, Program, exactly, findings, on_each_kind,
    on_each_version, start,
};
use serde_json::Value;

const PROGRAM: &str = "undelivered";
/// Handlers work for two seconds; then grace, and what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(3500);
/// The first piece of a POST whose body never comes.
const UNREAD: &str = "Content-Length: 1000\r\n\r\nhalf";

/// A handler that was not told, of the request `<path>-0`.
fn planted(severity: &'static str, case: &str, close: &str, why: &str) -> Result<Expect> {
    let expect = Expect::new(severity, PROGRAM, &format!("cancel-undelivered {case}"))?;
    Ok(expect
        .request(&format!("/{case}"), &format!("{case}-0"))
        .post()
        .fact("/evidence/peer_close", close)
        .fact("/evidence/undelivered", why)
        .fact("/evidence/state", "ended"))
}

/// The same, of a GET.
fn planted_get(severity: &'static str, case: &str, close: &str, why: &str) -> Result<Expect> {
    Ok(planted(severity, case, close, why)?.method("GET"))
}

/// A client that sends the beginning of a body and leaves after 300 ms.
fn leaves(url: &str, case: &str, close: &str) -> Load {
    Load::to(&format!("{url}/{case}"))
        .mode("postunread")
        .patience_ms(300)
        .flag("-close", &close)
        .ids(&format!("{case}-"))
}

fn wasted_ms(finding: &Finding) -> Option<u64> {
    Some(finding.number("/evidence/after_close_ns")? / 1_000_000)
}

#[test]
fn a_close_that_go_does_not_notice_is_found_with_its_reason() -> Result<()> {
    on_each_kind(|go, flavor| {
        let folder = tempfile::tempdir()?;
        let unix = folder.path().join("target.sock");
        let unix = unix.to_str().context("a path in UTF-8")?;
        let program = start(PROGRAM, go, flavor, &["-unix", unix])?;
        let v6 = start(PROGRAM, go, flavor, &["-listen", "[::1]:0"])?;
        let both = start(PROGRAM, go, flavor, &["-listen", "[::]:0"])?;
        let url = program.url("");
        let mut early = Connection::open(program.address)?;
        let pids = [program.pid(), v6.pid(), both.pid()];
        let args: Vec<String> = pids.iter().map(ToString::to_string).collect();
        let args: Vec<&str> = args.iter().flat_map(|pid| ["--pid", pid]).collect();
        let observer = Observer::attach(&args, 3)?;

        program.signal(Signal::SIGUSR1)?;
        let late = program.serves_at("listening-late ")?;
        let mapped = format!("http://127.0.0.1:{}", both.address.port());
        // The kernel's word of the new listener is taken up at the next look.
        thread::sleep(Duration::from_millis(200));
        let running = [
            leaves(&url, "fin", "fin"),
            leaves(&url, "reset", "rst"),
            leaves(&url, "fin-then-reset", "fin"),
            leaves(&url, "pipelined", "fin")
                .mode("pipeline")
                .flag("-method", &"POST"),
            leaves(&url, "expect", "fin").mode("expect100"),
            leaves(&format!("http://{late}"), "late", "fin"),
            leaves(&v6.url(""), "ipv6", "fin"),
            leaves(&mapped, "mapped", "rst"),
        ]
        .map(|load| load.start());
        early.post("/early", "early-0", UNREAD)?;
        let mut kept = Connection::open(program.address)?;
        kept.exchange("/get/ok", "kept-0")?;
        kept.exchange("/get/ok", "kept-1")?;
        kept.post("/keep-alive", "keep-alive-0", UNREAD)?;
        thread::sleep(Duration::from_millis(300));
        drop((early, kept));
        for client in running {
            client?.all("dropped")?;
        }
        thread::sleep(SETTLED);

        let run = observer.stop()?;
        let unread = "body_unread";
        let expected = [
            planted("warning", "fin", "fin", unread)?,
            planted("error", "reset", "reset", unread)?,
            planted("error", "fin-then-reset", "reset", unread)?
                .fact("/evidence/cancelled_by", "client|"),
            planted("warning", "pipelined", "fin", "pipelined")?,
            planted("warning", "expect", "fin", unread)?,
            planted("warning", "late", "fin", unread)?,
            planted("warning", "early", "fin", unread)?,
            planted("warning", "keep-alive", "fin", unread)?,
        ];
        exactly(&run, program.pid(), &expected)?;
        exactly(
            &run,
            v6.pid(),
            &[planted("warning", "ipv6", "fin", unread)?],
        )?;
        exactly(
            &run,
            both.pid(),
            &[planted("error", "mapped", "reset", unread)?],
        )?;
        for finding in pids.iter().flat_map(|pid| findings(&run, *pid)) {
            // Two seconds of work less the client's patience; the client may be late by any part of it.
            let wasted_ms = wasted_ms(&finding);
            ensure!(
                wasted_ms.is_some_and(|ms| (500..2600).contains(&ms)),
                "{wasted_ms:?} ms wasted: {}",
                finding.last
            );
        }
        sockets_are_seen(&run.lines, program.pid(), true)?;
        sockets_are_seen(&run.lines, v6.pid(), false)
    })
}

/// The start line names the hook, and what it cannot see.
fn sockets_are_seen(lines: &[Value], pid: u32, unix: bool) -> Result<()> {
    let start = lines
        .iter()
        .filter(|line| line["type"] == "start")
        .find(|line| line.pointer("/process/pid").and_then(Value::as_u64) == Some(pid.into()))
        .context("no start line")?;
    let text = start.to_string();
    let hook = start["hooks"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|hook| hook["hook"] == "socket-state")
        .context("no socket-state")?;
    ensure!(hook["on"] == true, "{hook}");
    ensure!(text.contains("clients on Unix sockets") == unix, "{text}");
    Ok(())
}

#[test]
fn whoever_is_told_or_cannot_be_told_is_silent() -> Result<()> {
    on_each_kind(|go, flavor| {
        let folder = tempfile::tempdir()?;
        let unix = folder.path().join("target.sock");
        let path = unix.to_str().context("a path in UTF-8")?;
        let program = start(PROGRAM, go, flavor, &["-unix", path])?;
        let observer = Observer::of(program.pid())?;
        silent_clients(&program, &unix)?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        exactly(&run, program.pid(), &[])?;
        // Clients of /read/ok left, and their requests were told.
        let delivery = &run.end()?["delivery"];
        let (count, p50) = (delivery["count"].as_u64(), delivery["p50_ns"].as_u64());
        ensure!(count == Some(2), "{}", run.shown());
        ensure!(p50.is_some_and(|ns| ns < 200_000_000), "{delivery}");
        Ok(())
    })
}

fn silent_clients(program: &Program, unix: &std::path::Path) -> Result<()> {
    let of = |path: &str| Load::of(program, path).ids(&path.replace('/', "-"));
    let post = |path: &str, bytes: u32| {
        let load = of(path)
            .flag("-body-bytes", &bytes)
            .flag("-method", &"POST");
        load.patience_ms(300)
    };
    let running = [
        (post("/read/ok", 100).mode("drop").start()?, "dropped"),
        (post("/read/ok", 100).mode("rst").start()?, "dropped"),
        (post("/in-time/ok", 100).mode("halfclose").start()?, "ok"),
        (
            of("/write/ok")
                .mode("postunread")
                .patience_ms(300)
                .start()?,
            "dropped",
        ),
        (
            of("/hijack/ok")
                .mode("postunread")
                .patience_ms(300)
                .start()?,
            "dropped",
        ),
        (
            of("/hijack/ok").mode("rst").patience_ms(300).start()?,
            "dropped",
        ),
    ];
    let mut kept = Connection::open(program.address)?;
    for number in 0..3 {
        kept.exchange("/get/ok", &format!("kept-{number}"))?;
    }
    // Idle when it leaves.
    drop(kept);
    let mut local = UnixStream::connect(unix)?;
    local.write_all(format!("POST /unix/ok HTTP/1.1\r\nHost: x\r\n{UNREAD}").as_bytes())?;
    thread::sleep(Duration::from_millis(300));
    drop(local);
    for (client, outcome) in running {
        client
            .all(outcome)
            .with_context(|| format!("it says {:?}", program.said()))?;
    }
    Ok(())
}

#[test]
fn every_other_reason_is_told_apart() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let secure = format!("https://{}", program.tls_address()?);
        let polled = format!("http://{}", program.serves_at("listening-polled ")?);
        let observer = Observer::of(program.pid())?;
        let running = [
            leaves(&secure, "http2-open", "rst").mode("h2break"),
            leaves(&polled, "not-written", "fin").mode("drop"),
            leaves(&program.url(""), "pipelined-get", "fin").mode("pipeline"),
            leaves(&secure, "tls", "fin"),
            // Twins: whoever reads the connection, or writes to it, is told.
            leaves(&secure, "http2/ok", "fin").mode("h2leave"),
            leaves(&secure, "http2/ok", "rst").mode("h2leave"),
            leaves(&secure, "http2/ok", "fin").mode("h2"),
            leaves(&polled, "write/ok", "fin").mode("drop"),
        ]
        .map(|load| load.start());
        for client in running {
            client?.all("dropped")?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let expected = [
            planted_get("error", "http2-open", "reset", "http2_open")?
                .by("client")
                .fact("/request/proto", "HTTP/2.0"),
            planted_get("warning", "not-written", "fin", "not_written")?,
            planted_get("warning", "pipelined-get", "fin", "pipelined")?,
            planted("warning", "tls", "fin", "body_unread")?,
        ];
        exactly(&run, program.pid(), &expected)
    })
}

#[test]
fn behind_a_proxy_the_peer_is_the_proxy() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let nginx = Nginx::before(program.address)?;
        let url = format!("http://{}", nginx.address);
        let observer = Observer::of(program.pid())?;
        let post = |case: &str| {
            let load = leaves(&url, case, "fin").mode("drop");
            load.flag("-method", &"POST").flag("-body-bytes", &100)
        };
        let running = [
            post("proxied"),
            post("kept/ok"),
            post("read/ok"),
            leaves(&url, "get-left/ok", "rst").mode("drop"),
        ]
        .map(|load| load.start());
        for client in running {
            client?.all("dropped")?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let expected = planted("warning", "proxied", "fin", "body_unread")?;
        exactly(&run, program.pid(), &[expected])?;
        for finding in findings(&run, program.pid()) {
            // Nobody claims that a client left: whose close it was, the kernel does not know.
            let said = finding.text("/message");
            ensure!(
                said.contains("its peer closed") && !said.contains("client"),
                "{said}"
            );
        }
        // The two that were told, which nginx has not kept waiting.
        let delivery = &run.end()?["delivery"];
        ensure!(delivery["count"] == 2, "{}", run.shown());
        ensure!(
            delivery["max_ns"]
                .as_u64()
                .is_some_and(|ns| ns < 200_000_000),
            "{delivery}"
        );
        Ok(())
    })
}

/// Hides the kernel's types from whoever is started behind it, and from nobody else.
const WITHOUT_BTF: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\"",
];

#[test]
fn a_kernel_that_does_not_describe_its_types_costs_one_rule() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let pid = program.pid().to_string();
        let observer = Observer::launch_through(&WITHOUT_BTF, &["--pid", &pid])?;
        observer.started(1)?;
        leaves(&program.url(""), "reset", "rst")
            .start()?
            .all("dropped")?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        exactly(&run, program.pid(), &[])?;
        let start = run.of_type("start").next().context("no start line")?;
        let text = start["not_covered"].to_string();
        ensure!(
            text.contains("socket-state (this kernel has no BTF"),
            "{start}"
        );
        ensure!(run.requests()? == 1, "{}", run.shown());
        Ok(())
    })
}
