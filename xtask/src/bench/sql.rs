//! A handler with one query: `/item/ok` of `tests/targets/modules/sql`, over pgx and `database/sql`, against a PostgreSQL of
//! the benchmark's own on a Unix socket of this machine.

use anyhow::Result;
use observer_tests::postgres::Postgres;

use super::{Bench, load::Source, throughput::Server};
use crate::{
    live::{Target, build},
    setup,
};

/// One row by its key, on the request's context.
const ROUTE: &str = "/item/ok";
const SQL: Server = Server {
    mode: "sql",
    title: "one query (PostgreSQL, database/sql, pgx)",
    kept: None,
    floor: true,
    entry: false,
    beyond_us: None,
    traps: None,
};

/// Measures; the database is nobody's who is observed, and shares the cores.
pub fn measure(bench: &mut Bench) -> Result<()> {
    setup::ensure_postgres()?;
    let program = build("modules/sql")?;
    let postgres = Postgres::start()?;
    let target = Target::start(&program, &["-driver", "pgx", "-dsn", &postgres.over_unix()])?;
    SQL.measure_under(bench, &target, Source::wrk(target.url(ROUTE)))?;
    target.stop()
}
