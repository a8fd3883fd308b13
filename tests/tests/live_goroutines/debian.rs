//! A server as a distribution ships it: stripped, built without a module, by the distribution's own Go, and not by us.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use observer_tests::live::{Connection, Guarded, PATIENCE, Tail, get};
use serde_json::Value;

use super::command::json_of;
use super::dump::{Dumped, Place, parse, plain};

/// Debian's package of this name has it.
const SERVER: &str = "prometheus-node-exporter";
const DUMP: &str = "/debug/pprof/goroutine?debug=2";
/// What it says once it listens, before its address.
const LISTENS: &str = "msg=\"Listening on\" address=";
/// Connections that wait for their next request meanwhile.
const CONNECTIONS: usize = 5;
/// Looks at a server that goes on by itself.
const TRIES: usize = 20;

/// What is known of one goroutine: what it does, where, and where it was started.
type Told = (String, Vec<Place>, Option<(String, u32)>);

#[test]
fn a_packaged_server_is_told_as_it_dumps_itself() {
    let mut command = Command::new(SERVER);
    command
        .arg("--web.listen-address=127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut server = Guarded::spawn(&mut command).expect("`cargo xtask setup` installs it");
    let pid = server.pid().to_string();
    let exe = std::fs::read(format!("/proc/{pid}/exe")).unwrap();
    let symbols = b".symtab\0";
    assert!(!exe.windows(symbols.len()).any(|at| at == symbols));
    let said = Tail::of(server.child().stderr.take().unwrap());
    let address = address(&said);
    let idle = (0..CONNECTIONS).map(|_| {
        let mut connection = Connection::open(address).unwrap();
        connection.send("/-/none", "1").unwrap();
        connection
    });
    let _idle: Vec<Connection> = idle.collect();
    let mut differs = String::new();
    for _ in 0..TRIES {
        // Who wakes up meanwhile is elsewhere; the next look finds all at rest.
        match compared(&pid, address) {
            Ok(compared) => {
                assert!(compared > CONNECTIONS, "{compared} goroutines");
                return;
            }
            Err(why) => differs = why,
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{differs}");
}

fn address(said: &Tail) -> SocketAddr {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let lines = said.lines();
        if let Some(address) = lines.iter().find_map(|line| line.split(LISTENS).nth(1)) {
            return address.trim().parse().unwrap();
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it does not listen: {:?}", said.lines());
}

/// How many goroutines are told as they were dumped; or which is not.
fn compared(pid: &str, address: SocketAddr) -> Result<usize, String> {
    let dump = get(address, DUMP).map_err(|error| error.to_string())?;
    let lines: Vec<String> = dump.lines().map(str::to_owned).collect();
    // Whoever dumps, and reads its connection, is gone afterwards.
    let serves = |one: &Dumped| {
        let mut functions = one.frames.iter().map(|(function, ..)| &**function);
        one.state == "running" || functions.any(|function| function.contains("ackgroundRead"))
    };
    let dumped = parse(&lines).into_iter().filter(|one| !serves(one));
    let dumped: BTreeMap<u64, Told> = dumped
        .map(|one| {
            let created = one.created.map(|(_, file, line)| (file, line));
            (one.goid, (one.state, one.frames, created))
        })
        .collect();
    let seen = told(&json_of(pid, &[])[1..]);
    if seen == dumped {
        Ok(seen.len())
    } else {
        Err(format!("{seen:#?}\nis not what was dumped: {dumped:#?}"))
    }
}

fn told(groups: &[Value]) -> BTreeMap<u64, Told> {
    let stacks = groups
        .iter()
        .flat_map(|group| group["stacks"].as_array().unwrap());
    stacks
        .flat_map(|stack| {
            let state = stack["wait_reason"].as_str().or(stack["state"].as_str());
            let frames = stack["stack"].as_array().unwrap().iter().map(place);
            let created = (!stack["go"].is_null()).then(|| place(&stack["go"]));
            let created = created.map(|(_, file, line)| (file, line));
            let told: Told = (state.unwrap().to_owned(), frames.collect(), created);
            let known = stack["goroutines"].as_array().unwrap().iter();
            let goids = known.map(|one| one["goid"].as_u64().unwrap());
            goids
                .map(move |goid| (goid, told.clone()))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn place(site: &Value) -> Place {
    let text = |key: &str| site[key].as_str().unwrap().to_owned();
    let line = u32::try_from(site["line"].as_u64().unwrap()).unwrap();
    (plain(&text("function")), text("file"), line)
}
