//! Three services, one behind the other, that honour what their clients want: under load from clients without patience nobody
//! is accused, and every cancel that reached the edge reaches the worker.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use observer_tests::{
    go::versions,
    live::{Load, Observer, exactly, on_each_version, start},
};

const TIER: &str = "chain/tier";
/// On the newest version, and on the others.
const LOAD: Duration = Duration::from_secs(60);
const SHORTER: Duration = Duration::from_secs(10);
/// Requests per second and route; what is slow runs beside itself.
const RATE: f64 = 8.0;
const AT_ONCE: u64 = 8;
/// The longest work that nobody gives up, and grace.
const SETTLED: Duration = Duration::from_secs(3);

#[test]
fn a_chain_that_honours_impatient_clients_is_not_accused() -> Result<()> {
    on_each_version(|go, flavor| {
        let worker = start(TIER, go, flavor, &[])?;
        let api = start(TIER, go, flavor, &["-next", &worker.url("")])?;
        let edge = start(TIER, go, flavor, &["-next", &api.url("")])?;
        let tiers = [edge.pid(), api.pid(), worker.pid()];
        let pids = tiers.map(|pid| pid.to_string());
        let chosen: Vec<&str> = pids
            .iter()
            .flat_map(|pid| ["--pid", pid.as_str()])
            .collect();
        let observer = Observer::attach(&chosen, tiers.len())?;

        let load = if versions().last() == Some(&go) {
            LOAD
        } else {
            SHORTER
        };
        let routes = edge.routes()?;
        let mut clients = Vec::new();
        for route in &routes {
            let mut client = Load::route(&edge, route)
                .during(load, AT_ONCE)
                .flag("-rate", &RATE);
            if route.path == "/post" {
                client = client.flag("-body-bytes", &(64 << 10));
            }
            clients.push((&route.path, client.start()?));
        }
        let mut sent = 0;
        for (path, client) in clients {
            let report = client.finish()?;
            ensure!(
                report.failed == 0 && report.bad * 2 < report.sent,
                "{path}: {report:?}"
            );
            sent += report.sent;
        }
        thread::sleep(SETTLED);

        let run = observer.stop()?;
        run.require_clean()?;
        for pid in tiers {
            exactly(&run, pid, &[])?;
        }
        ensure!(
            run.requests()? >= 3 * sent,
            "{} requests seen in three tiers, {sent} sent to the first",
            run.requests()?
        );
        ensure!(
            run.end()?["joins"]["joined"] != 0,
            "no call was joined to its request: {}",
            run.end()?
        );
        let health = &run.end()?["health"];
        ensure!(
            health["requests_lost"] == 0
                && health["chains_cancelled"] != 0
                && health["chains_recovered"] == health["chains_cancelled"],
            "not every cancel arrived: {health}"
        );
        Ok(())
    })
}
