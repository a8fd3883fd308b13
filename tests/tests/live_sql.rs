//! What `database/sql` is found to do, over pgx and lib/pq, with a PostgreSQL of the test's own: every planted mistake of
//! `modules/sql` where its marker is, the wait for a connection told from the query, and silence about all else.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use observer_tests::{
    go::CI_VERSIONS,
    live::{
        Expect, Load, Observer, Program, Role, Run, exactly, findings, on_each_kind_in_turn, start,
        undisturbed,
    },
    postgres::Postgres,
    target::Flavor,
};

const PROGRAM: &str = "modules/sql";
/// Connections that `/hold/ok` takes: all of the small pool.
const POOL: u64 = 2;
/// The slowest route takes 1.8 s, and `/detached/pool` that much more for its connection; then what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(4500);

/// The drivers, each the way it is mostly used.
fn drivers(postgres: &Postgres) -> [(&'static str, String); 2] {
    [
        ("pgx", postgres.over_unix()),
        ("postgres", postgres.over_tcp()),
    ]
}

/// A planted mistake: rule and case of its marker, its route, and what the call is.
struct Planted {
    marked: &'static str,
    route: &'static str,
    severity: &'static str,
    kind: &'static str,
    target: &'static str,
}

const fn planted(
    marked: &'static str,
    route: &'static str,
    severity: &'static str,
    kind: &'static str,
    target: &'static str,
) -> Planted {
    Planted {
        marked,
        route,
        severity,
        kind,
        target,
    }
}

const ALL: [Planted; 8] = [
    planted(
        "detached-context query",
        "/detached/query",
        "error",
        "sql",
        "SELECT FROM items",
    ),
    planted(
        "detached-context cold",
        "/detached/cold",
        "error",
        "sql",
        "SELECT FROM items",
    ),
    planted(
        "detached-context exec",
        "/detached/exec",
        "error",
        "sql",
        "UPDATE items",
    ),
    planted(
        "detached-context prepared",
        "/detached/prepared",
        "error",
        "sql",
        "prepared statement",
    ),
    planted(
        "detached-context pool",
        "/detached/pool",
        "error",
        "sql_conn",
        "connection of the pool",
    ),
    planted(
        "premature-cancel query",
        "/premature/query",
        "error",
        "sql",
        "SELECT FROM items",
    ),
    planted(
        "premature-cancel pool",
        "/premature/pool",
        "error",
        "sql_conn",
        "connection of the pool",
    ),
    planted(
        "detached-context dropped",
        "/dropped/query",
        "warning",
        "sql",
        "SELECT FROM items",
    ),
];

/// The server goes on, and lib/pq waits for it; pgx leaves.
const IGNORED: Planted = planted(
    "cancel-ignored query",
    "/ignored/query",
    "error",
    "sql",
    "SELECT FROM items",
);

/// pgx goes on. lib/pq kills it with its transaction, whose context is the request's: then it is over within the grace
/// time, unless the server is slow to hear of it.
fn in_transaction(severity: &'static str) -> Planted {
    planted(
        "detached-context transaction",
        TRANSACTION,
        severity,
        "sql",
        "SELECT FROM items",
    )
}

const TRANSACTION: &str = "/detached/transaction";
/// observer's grace time, when nobody asks for another.
const GRACE: Duration = Duration::from_millis(500);

/// How long the handler of the transaction worked after its client had left, by the fact of its request.
fn overran(run: &Run) -> Result<Duration> {
    let fact = run
        .of_type("request")
        .find(|fact| {
            fact.pointer("/request/path")
                .is_some_and(|path| path == TRANSACTION)
        })
        .context("no fact of the transaction's request")?;
    let text = |pointer: &str| {
        let value = fact.pointer(pointer).and_then(serde_json::Value::as_str);
        value.with_context(|| format!("{pointer}: {fact}"))
    };
    let at = |text: &str| humantime::parse_rfc3339(text).with_context(|| text.to_owned());
    let lasted = fact
        .pointer("/request/duration_ns")
        .and_then(serde_json::Value::as_u64);
    let lasted = Duration::from_nanos(lasted.with_context(|| fact.to_string())?);
    let cancelled = at(text("/cancelled_at")?)?.duration_since(at(text("/request/start")?)?)?;
    lasted
        .checked_sub(cancelled)
        .with_context(|| fact.to_string())
}

impl Planted {
    fn expected(&self) -> Result<Expect> {
        let id = format!("{}-0", self.route.trim_start_matches('/').replace('/', "-"));
        let expect = Expect::new(self.severity, PROGRAM, self.marked)?
            .request(self.route, &id)
            .fact("/evidence/call/kind", self.kind)
            .fact("/evidence/call/target", self.target);
        if self.route == "/dropped/query" {
            return expect.also(Role::DeadlineSite, PROGRAM, "sql middleware deadline");
        }
        Ok(expect)
    }
}

fn run(go: &str, flavor: Flavor, driver: &(&str, String)) -> Result<Program> {
    start(
        PROGRAM,
        go,
        flavor,
        &["-driver", driver.0, "-dsn", &driver.1],
    )
}

#[test]
fn planted_mistakes_of_database_sql_are_found_at_their_lines() -> Result<()> {
    let postgres = Postgres::start()?;
    on_each_kind_in_turn(|go, flavor| {
        for driver in drivers(&postgres) {
            mistakes_are_found(&run(go, flavor, &driver)?, driver.0)
                .with_context(|| format!("driver {}", driver.0))?;
        }
        Ok(())
    })
}

fn mistakes_are_found(program: &Program, driver: &str) -> Result<()> {
    let routes = program.routes()?;
    let observer = Observer::attach(&["--pid", &program.pid().to_string(), "--facts"], 1)?;
    let began = Instant::now();
    // Two hold all connections of the small pool before anybody else asks for one.
    let holders = Load::of(program, "/hold/ok").times(POOL, POOL).start()?;
    thread::sleep(Duration::from_millis(200));
    let clients = routes
        .iter()
        .filter(|route| route.path != "/hold/ok")
        .map(|route| {
            thread::sleep(Duration::from_millis(20));
            Ok((route, Load::route(program, route).start()?))
        })
        .collect::<Result<Vec<_>>>()?;
    holders.all("ok")?;
    for (route, client) in clients {
        client
            .all(&route.outcome)
            .with_context(|| format!("{}: it says {:?}", route.path, program.said()))?;
    }
    thread::sleep(SETTLED.saturating_sub(began.elapsed()));
    let run = observer.stop()?;
    let waits = (driver == "postgres").then_some(&IGNORED);
    let over = overran(&run).with_context(|| run.shown())?;
    let goes_on = Duration::from_secs(1) < over && over < Duration::from_secs(2);
    ensure!(driver == "postgres" || goes_on, "{over:?}: {}", run.shown());
    let late = in_transaction(if over > GRACE { "error" } else { "warning" });
    let expected = ALL
        .iter()
        .chain(waits)
        .chain([&late])
        .map(Planted::expected)
        .collect::<Result<Vec<_>>>()?;
    exactly(&run, program.pid(), &expected)
}

/// What a client that has left leaves behind, as the server tells it: one version alone, because it counts them all.
#[test]
fn an_abandoned_query_goes_on_in_the_server_where_we_say_so() -> Result<()> {
    undisturbed(|| {
        let postgres = Postgres::start()?;
        let active = |like: &str| {
            let query = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%{like}%' AND pid <> \
             pg_backend_pid()"
            );
            postgres.query(&query)
        };
        let [.., newest] = CI_VERSIONS;
        for driver in drivers(&postgres) {
            let program = run(newest, Flavor::Plain, &driver)?;
            let observer = Observer::of(program.pid())?;
            for (path, like, goes_on) in [
                ("/detached/query", "planted query", "1"),
                ("/detached/query/ok", "healthy", "0"),
            ] {
                let load = Load::of(&program, path).patience_ms(300);
                load.start()?.all("dropped")?;
                thread::sleep(Duration::from_millis(300));
                ensure!(active(like)? == goes_on, "{path} over {}", driver.0);
            }
            thread::sleep(SETTLED);
            let run = observer.stop()?;
            let found = findings(&run, program.pid());
            let site = observer_tests::live::marker(PROGRAM, "detached-context query")?;
            ensure!(
                found.len() == 1
                    && found[0].last.get("site").is_some_and(|at| site.is(at))
                    && found[0].text("/severity") == "error",
                "{}",
                run.shown()
            );
        }
        Ok(())
    })
}
