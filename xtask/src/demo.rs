//! `cargo xtask demo`: a shop with eight mistakes in it, its customers, and observer beside them.
//!
//! stdout is observer's alone: what a user of it sees, as it comes.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::{
    live::{GO_VERSION, Observer, Running, Target, build, catch_signals, stop_wanted},
    setup,
    workspace::is_root,
};

/// Watch observer find the mistakes of a small shop that is already running
#[derive(clap::Args)]
pub struct Args {
    /// How long to observe
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(3..=600))]
    seconds: u64,
}

/// How one kind of customer behaves.
struct Customers {
    path: &'static str,
    /// Prefix of their requests' IDs.
    id: &'static str,
    /// When they leave; `None` for those who wait for the answer.
    patience_ms: Option<u32>,
    per_second: f64,
}

/// Customers of front. See `tests/targets/README.md` for what each route plants.
const CUSTOMERS: [Customers; 12] = [
    patient("/", "home-", 40.0),
    patient("/search?q=lamp", "search-", 10.0),
    patient("/product?id=1", "product-", 5.0),
    patient("/cart?id=2", "cart-", 3.0),
    patient("/order?customer=7", "order-", 1.0),
    patient("/quote?id=4", "quote-", 2.0),
    patient("/bundle?id=5", "bundle-", 0.5),
    impatient("/summary?month=may", "summary-", 1.0),
    impatient("/report?month=may", "report-", 0.5),
    impatient("/pickup", "pickup-", 0.5),
    impatient("/price?id=3", "price-", 0.5),
    impatient("/checkout", "checkout-", 0.5),
];

const fn patient(path: &'static str, id: &'static str, per_second: f64) -> Customers {
    Customers {
        path,
        id,
        patience_ms: None,
        per_second,
    }
}

const fn impatient(path: &'static str, id: &'static str, per_second: f64) -> Customers {
    Customers {
        path,
        id,
        patience_ms: Some(300),
        per_second,
    }
}

/// How long the shop is open before observer comes.
const BEFORE: Duration = Duration::from_secs(2);
/// How long observer may take on top of its time: attaching, flushing, detaching.
const SLACK: Duration = Duration::from_secs(20);

/// Prepares, builds, starts the shop, observes it, and ends everything.
pub fn run(args: &Args) -> Result<()> {
    ensure!(
        is_root(),
        "observing loads eBPF programs\n\nhint: run `cargo xtask demo` as root"
    );
    setup::ensure_bpf()?;
    setup::ensure_go()?;
    eprintln!("demo: building observer");
    let observer = Observer::build()?;
    eprintln!("demo: building the shop with go{GO_VERSION}");
    let (store, front) = (build("shop/store")?, build("shop/front")?);
    let client = build("client")?;

    catch_signals()?;
    let store = Target::start::<&str>(&store, &[])?;
    let front = Target::start(&front, &["-store", &store.url("")])?;
    eprintln!(
        "demo: the shop is open: front (pid {}), store (pid {})",
        front.pid(),
        store.pid()
    );
    let open_for = BEFORE.as_secs() + args.seconds;
    let customers = CUSTOMERS
        .iter()
        .map(|customers| customers.send(&client, &front, open_for))
        .collect::<Result<Vec<_>>>()?;
    eprintln!(
        "demo: {} kinds of customers, {} of them impatient",
        CUSTOMERS.len(),
        CUSTOMERS.iter().filter(|c| c.patience_ms.is_some()).count()
    );
    let observing = Instant::now() + BEFORE;
    while Instant::now() < observing && !stop_wanted() {
        sleep(Duration::from_millis(20));
    }
    if !stop_wanted() {
        let seconds = args.seconds;
        eprintln!(
            "demo: $ observer run --pid {} --pid {} --duration {seconds}s\n",
            front.pid(),
            store.pid()
        );
        observe(&observer, &[front.pid(), store.pid()], seconds)?;
    }
    drop(customers);
    front.stop()?;
    store.stop()
}

impl Customers {
    fn send(&self, client: &Path, front: &Target, seconds: u64) -> Result<Running> {
        let mut command = Command::new(client);
        command
            .args(["-url", &front.url(self.path), "-id-prefix", self.id])
            .args(["-n", "0", "-c", "8", "-rate", &self.per_second.to_string()])
            .args(["-max-seconds", &seconds.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(patience_ms) = self.patience_ms {
            command.args(["-mode", "drop", "-patience-ms", &patience_ms.to_string()]);
        }
        Running::start(command)
    }
}

/// Runs observer on our own stdout and stderr until its time is over or somebody wants us to end.
fn observe(observer: &Observer, pids: &[u32], seconds: u64) -> Result<()> {
    let mut command = observer.run(pids);
    command
        .args(["--duration", &format!("{seconds}s")])
        .stdin(Stdio::null());
    let mut running = Running::start(command)?;
    let latest = Instant::now() + Duration::from_secs(seconds) + SLACK;
    let status = loop {
        if stop_wanted() || Instant::now() > latest {
            break running.stop(Signal::SIGINT)?;
        }
        if let Some(status) = running.wait(Duration::from_millis(50))? {
            break Some(status);
        }
    };
    let status = status.context("observer did not end")?;
    ensure!(status.success(), "observer ended with {status}");
    Ok(())
}
