//! One window: a server under full load, unobserved or observed in one of the ways to compare.

use anyhow::{Result, bail};

use super::{
    load::{Load, Source},
    session::Session,
    table::median,
    usage::{anonymous_mib, cpu_seconds},
};
use crate::live::{Observer, Target, stop_wanted};

/// A way to observe, or not to.
#[derive(Clone, Copy)]
pub struct Variant {
    /// In the tables.
    pub name: &'static str,
    /// Observer's flags; `None` leaves the server alone.
    pub observed: Option<&'static [&'static str]>,
}

/// Nobody looks.
pub const UNOBSERVED: Variant = Variant {
    name: "unobserved",
    observed: None,
};
/// As users run it.
pub const FULL: Variant = Variant {
    name: "observed",
    observed: Some(&[]),
};
/// Programs that do nothing, at the same sites: the floor that only fewer traps can lower.
pub const EMPTY: Variant = Variant {
    name: "empty programs (trap floor)",
    observed: Some(&["--bench-programs", "empty"]),
};
/// The same programs at the functions' first instructions.
pub const ENTRY: Variant = Variant {
    name: "observed at function entry",
    observed: Some(&["--bench-sites", "entry"]),
};

/// What the windows of one comparison have in common.
pub struct Setting<'a> {
    /// The release observer.
    pub observer: &'a Observer,
    /// The server.
    pub target: &'a Target,
    /// Who loads it.
    pub source: Source,
    /// Length of a window.
    pub seconds: u64,
}

/// What one window showed.
#[derive(Clone, Copy)]
pub struct Window {
    /// The client's side.
    pub load: Load,
    /// CPU time of the server a request, µs; traps and programs are in it.
    pub server_us: f64,
    /// Observer's side.
    pub own: Option<Own>,
}

/// What observer did in a window.
#[derive(Clone, Copy)]
pub struct Own {
    /// CPU seconds for 10 000 requests.
    pub cpu_s_per_10k: f64,
    /// Anonymous memory at the window's end, MiB.
    pub mib: f64,
    /// Events taken in.
    pub events: f64,
    /// Events lost.
    pub lost: f64,
}

impl Setting<'_> {
    /// Loads the server without counting, so that its heap, its connections and its caches are as they stay.
    pub fn warm_up(&self) -> Result<()> {
        self.source.load(1).map(drop)
    }

    /// `rounds` times one window of each variant; the order moves on by one each round, so that no variant always
    /// comes first. By variant, then by round.
    pub fn compare(&self, variants: &[Variant], rounds: usize) -> Result<Vec<Vec<Window>>> {
        self.warm_up()?;
        let mut windows: Vec<Vec<Window>> = vec![Vec::new(); variants.len()];
        for round in 0..rounds {
            let mut order: Vec<_> = variants.iter().zip(&mut windows).collect();
            order.rotate_left(round % variants.len().max(1));
            for (variant, windows) in order {
                windows.push(self.window(variant)?);
            }
        }
        Ok(windows)
    }

    fn window(&self, variant: &Variant) -> Result<Window> {
        if stop_wanted() {
            bail!("interrupted");
        }
        let Some(args) = variant.observed else {
            let (load, server_us) = self.load()?;
            return Ok(Window {
                load,
                server_us,
                own: None,
            });
        };
        let session = Session::start(self.observer, &[self.target.pid()], args)?;
        let pid = session.pid();
        let before = cpu_seconds(pid)?;
        let (load, server_us) = self.load()?;
        let cpu = cpu_seconds(pid)? - before;
        let mib = anonymous_mib(pid)?;
        let ended = session.end()?;
        let own = Own {
            cpu_s_per_10k: cpu / load.requests * 10_000.0,
            mib,
            events: ended.total("/events")?,
            lost: ended.total("/lost")?,
        };
        Ok(Window {
            load,
            server_us,
            own: Some(own),
        })
    }

    fn load(&self) -> Result<(Load, f64)> {
        let pid = self.target.pid();
        let before = cpu_seconds(pid)?;
        let load = self.source.load(self.seconds)?;
        let cpu = cpu_seconds(pid)? - before;
        Ok((load, cpu / load.requests * 1e6))
    }
}

/// Median over the rounds of what `figure` reads.
pub fn typical(windows: &[Window], figure: impl Fn(&Window) -> f64) -> f64 {
    median(windows.iter().map(figure))
}

/// Throughput of `these` in units of `those`, round by round.
pub fn kept(these: &[Window], those: &[Window]) -> Vec<f64> {
    let pairs = these.iter().zip(those);
    pairs
        .map(|(this, that)| this.load.per_second / that.load.per_second)
        .collect()
}

/// What is left of the throughput by the server's own CPU time alone, round by round: other work on the machine, wrk
/// and observer included, does not count.
pub fn kept_by_cpu(these: &[Window], those: &[Window]) -> f64 {
    let pairs = these.iter().zip(those);
    median(pairs.map(|(this, that)| that.server_us / this.server_us))
}

/// `81.2 % (79.0–83.5)`: median and range.
pub fn with_range(shares: &[f64]) -> String {
    let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
    let most = shares.iter().copied().fold(0.0, f64::max);
    let middle = median(shares.iter().copied());
    format!(
        "{:.1} % ({:.1}–{:.1})",
        middle * 100.0,
        least * 100.0,
        most * 100.0
    )
}
