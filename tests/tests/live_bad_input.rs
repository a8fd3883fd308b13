//! What is broken around observer accuses nobody: processes that die in the middle of a join, and requests that are none.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::live::{
    Connection, Expect, Observer, Program, Run, exactly, findings, on_each_version, start,
};

const FRONT: &str = "chain/front";
const STORE: &str = "chain/store";
/// The front has given its call up after 0.3 s; the grace time is over half a second later.
const GIVEN_UP: Duration = Duration::from_millis(400);
/// The store would have worked for two seconds, and the join been told of after 0.8.
const SETTLED: Duration = Duration::from_millis(2500);

/// The front calls the store and gives up; one of them is killed before anybody could say so.
fn dies(go: &'static str, which: &str) -> Result<(Run, Program, Program)> {
    let flavor = observer_tests::target::Flavor::Plain;
    let store = start(STORE, go, flavor, &[])?;
    let front = start(FRONT, go, flavor, &["-store", &store.url("")])?;
    let pids = [front.pid(), store.pid()].map(|pid| pid.to_string());
    let observer = Observer::attach(&["--pid", &pids[0], "--pid", &pids[1]], 2)?;
    let mut client = Connection::open(front.address)?;
    client.send("/deadline", "deadline-0")?;
    thread::sleep(GIVEN_UP);
    let victim = if which == FRONT { &front } else { &store };
    victim.signal(Signal::SIGKILL)?;
    thread::sleep(SETTLED);
    let run = observer.stop()?;
    let gone = run.of_type("stop").any(|stop| {
        let pid = stop
            .pointer("/process/pid")
            .and_then(serde_json::Value::as_u64);
        pid == Some(u64::from(victim.pid()))
    });
    ensure!(gone, "{which} is not said to be gone: {}", run.shown());
    Ok((run, front, store))
}

#[test]
fn a_process_that_dies_in_the_middle_of_a_join_accuses_nobody() -> Result<()> {
    on_each_version(|go, _| {
        let (run, front, store) = dies(go, STORE)?;
        for pid in [front.pid(), store.pid()] {
            ensure!(findings(&run, pid).is_empty(), "{}", run.shown());
        }
        // Who is left is judged for itself.
        let (run, front, store) = dies(go, FRONT)?;
        ensure!(findings(&run, front.pid()).is_empty(), "{}", run.shown());
        let ignored = Expect::new("error", STORE, "cancel-ignored deadline")?;
        exactly(
            &run,
            store.pid(),
            &[ignored.request("/deadline", "deadline-0")],
        )
    })
}

/// Sends what may be no request; gives the status of the answer.
fn answer(address: SocketAddr, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    // The server may answer and close before it has read all.
    let _cut = stream.write_all(bytes);
    let _closed = stream.shutdown(Shutdown::Write);
    let mut head = [0_u8; 12];
    stream.read_exact(&mut head).context("no answer")?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[test]
fn what_the_server_refuses_is_no_request() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start("healthy", go, flavor, &[])?;
        let observer = Observer::of(program.pid())?;
        let asks = |line: &[u8]| {
            let mut bytes = b"GET / HTTP/1.1\r\nHost: test\r\nX-Request-Id: broken\r\n".to_vec();
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\r\n\r\n");
            bytes
        };
        let huge = [&b"X-Huge: "[..], &vec![b'h'; 3 << 20]].concat();
        let refused: [(&str, &[u8]); 5] = [
            ("HTTP/1.1 400", b"X Request: a space in the name"),
            ("HTTP/1.1 400", b"no colon at all"),
            ("HTTP/1.1 400", b"X-Nul: a\0b"),
            ("HTTP/1.1 400", b"\xff\xfe\xfd: no name"),
            ("HTTP/1.1 431", &huge),
        ];
        for (status, line) in refused {
            let got = answer(program.address, &asks(line))?;
            ensure!(got == status, "{got} instead of {status}");
        }
        ensure!(answer(program.address, b"\x16\x03\x01\0\xff")?.starts_with("HTTP/1.1 400"));
        let sound = answer(program.address, &asks(b"X-Sound: yes"))?;
        ensure!(sound == "HTTP/1.1 200", "{sound}");
        thread::sleep(Duration::from_millis(700));
        let run = observer.stop()?;
        ensure!(run.requests()? == 1, "{}", run.shown());
        ensure!(findings(&run, program.pid()).is_empty(), "{}", run.shown());
        Ok(())
    })
}
