//! The demo's shop: two services with mistakes in both, and what passes between them.

use std::{thread, time::Duration};

use anyhow::Result;
use observer_tests::live::{Expect, Load, Observer, Role, exactly, on_each_build, start};

/// The slowest mistake takes two and a half seconds, of which its client waits 0.3.
const SETTLED: Duration = Duration::from_secs(4);

/// What front does wrong, and what store does for front's call when that has been given up.
fn in_front() -> Result<[Expect; 8]> {
    let planted = |severity, rule: &str, case: &str, by: Option<&str>| {
        let expect = Expect::new(severity, "shop/front", &format!("{rule} shop-{case}"))?;
        let expect = expect.request(&format!("/{case}"), &format!("{case}-0"));
        Ok::<_, anyhow::Error>(match by {
            Some(by) => expect.by(by),
            None => expect,
        })
    };
    Ok([
        planted("error", "cancel-ignored", "report", Some("client"))?.after_cancel_ms(500..6000),
        planted("error", "cancel-ignored", "pickup", Some("client"))?.after_cancel_ms(500..6000),
        planted("error", "detached-context", "price", Some("client"))?.after_cancel_ms(500..6000),
        planted("error", "detached-context", "checkout", Some("client"))?
            .after_cancel_ms(500..6000),
        planted("warning", "cancel-not-called", "cart", None)?,
        planted("error", "premature-cancel", "order", Some("normal_end"))?,
        planted("warning", "deadline-dropped", "quote", None)?,
        planted("error", "orphaned-downstream", "bundle", Some("deadline"))?
            .after_cancel_ms(500..6000)
            .also(Role::Below, "shop/store", "cancel-ignored shop-bundle")?,
    ])
}

/// What store does wrong: the ID is the one that front sends on.
fn in_store() -> Result<[Expect; 1]> {
    let packs = Expect::new("error", "shop/store", "cancel-ignored shop-bundle")?;
    let packs = packs.post().request("/bundle", "bundle-0").by("client");
    Ok([packs.after_cancel_ms(500..6000)])
}

#[test]
fn the_shop_has_its_mistakes_and_no_other() -> Result<()> {
    on_each_build(|go, flavor| {
        let store = start("shop/store", go, flavor, &[])?;
        let front = start("shop/front", go, flavor, &["-store", &store.url("")])?;
        let routes = front.routes()?;
        let pids = [front.pid(), store.pid()].map(|pid| pid.to_string());
        let [front_pid, store_pid] = &pids;
        let observer = Observer::attach(&["--pid", front_pid, "--pid", store_pid], 2)?;
        let mistakes = [
            "/report",
            "/pickup",
            "/price",
            "/checkout",
            "/cart",
            "/order",
            "/quote",
            "/bundle",
        ];
        let mut clients = Vec::new();
        for route in &routes {
            let load = Load::route(&front, route);
            let healthy = !mistakes.contains(&route.path.as_str());
            let load = if healthy { load.times(40, 8) } else { load };
            clients.push((load.start()?, &route.outcome));
        }
        for (client, outcome) in clients {
            client.all(outcome)?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        exactly(&run, front.pid(), &in_front()?)?;
        exactly(&run, store.pid(), &in_store()?)
    })
}
