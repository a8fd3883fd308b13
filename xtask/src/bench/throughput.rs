//! What observing costs a saturated server, and what is left of it: the main comparison.

use anyhow::{Context, Result};

use super::{
    Bench,
    load::Source,
    programs::Runs,
    statistics::Measured,
    table::{Table, Verdict, median, percent, thousands},
    window::{
        EMPTY, ENTRY, FULL, Setting, UNOBSERVED, Variant, Window, kept, kept_by_cpu, typical,
        with_range,
    },
};
use crate::live::Target;

/// A server and what is promised for it.
pub struct Server {
    /// What verdicts call it; of `tests/targets/bench` the value of `-mode`, too.
    pub mode: &'static str,
    /// In the tables.
    pub title: &'static str,
    /// Least share of the unobserved throughput.
    pub kept: Option<f64>,
    /// Whether a share of the trap floor is promised.
    pub floor: bool,
    /// Whether a multiple of what function entry keeps is promised.
    pub entry: bool,
    /// Most CPU time of the server a request beyond that of the traps, µs.
    pub beyond_us: Option<f64>,
    /// Most traps a request.
    pub traps: Option<f64>,
}

/// Plain text, nothing else: the worst case.
pub const HELLO: Server = Server {
    mode: "hello",
    title: "hello world",
    kept: None,
    floor: true,
    entry: true,
    beyond_us: Some(1.5),
    traps: Some(3.0),
};
/// JSON with one WithTimeout and one call to another process.
pub const JSON: Server = Server {
    mode: "json",
    title: "JSON, one WithTimeout, one outgoing call",
    kept: None,
    floor: true,
    entry: true,
    beyond_us: None,
    traps: Some(10.0),
};
/// A handler that costs 200 µs of CPU.
pub const BURN200: Server = Server {
    mode: "burn200",
    title: "200 µs of CPU a request",
    kept: Some(0.97),
    floor: false,
    entry: false,
    beyond_us: None,
    traps: None,
};

/// Least share of what empty programs keep, and least multiple of what function entry keeps.
const OF_FLOOR: f64 = 0.92;
const TIMES_ENTRY: f64 = 2.0;
/// Most CPU seconds of observer for 10 000 requests, and most anonymous MiB.
const OWN_CPU_S: f64 = 0.03;
const OWN_MIB: f64 = 64.0;

const VARIANTS: [Variant; 4] = [UNOBSERVED, EMPTY, FULL, ENTRY];

impl Server {
    /// Measures, and adds tables and verdicts.
    pub fn measure(&self, bench: &mut Bench) -> Result<()> {
        let mode = self.mode;
        // The called service is a process of its own, which nobody observes: its traps are not this server's.
        let downstream = Target::start::<&str>(&bench.rules4, &[])?;
        let url = downstream.url("/down");
        let target = Target::start(&bench.server, &["-mode", mode, "-downstream", &url])?;
        self.measure_under(bench, &target, Source::wrk(target.url("/")))?;
        target.stop()?;
        downstream.stop()
    }

    /// The same of a server that runs, under this load.
    pub fn measure_under(&self, bench: &mut Bench, target: &Target, source: Source) -> Result<()> {
        let mode = self.mode;
        let setting = Setting {
            observer: &bench.observer,
            target,
            source,
            seconds: bench.seconds,
        };
        eprintln!(
            "bench: {mode}: {} rounds of {} windows",
            bench.rounds,
            VARIANTS.len()
        );
        let windows = setting.compare(&VARIANTS, bench.rounds)?;
        let [unobserved, empty, full, entry] = &*windows else {
            unreachable!("one list of windows for each variant")
        };
        eprintln!("bench: {mode}: program statistics");
        let (programs, traps) = statistics(&setting)?;

        let mut tables = vec![self.table(&windows, unobserved)];
        tables.push(own(full, self.title)?);
        tables.push(programs);
        let mut verdicts = Vec::new();
        let mut verdict = |promise: String, measured: String, kept: bool| {
            let promise = format!("{mode}: {promise}");
            verdicts.push(Verdict {
                promise,
                measured,
                kept,
            });
        };
        if self.floor {
            let floor = kept(full, empty);
            let share = median(floor.iter().copied());
            verdict(
                "≥ 92 % of the trap floor".into(),
                by_both(with_range(&floor), full, empty),
                share >= OF_FLOOR,
            );
        }
        if self.entry {
            let times = median(kept(full, entry));
            verdict(
                "≥ 2 × function entry".into(),
                format!("{times:.2} ×; by CPU {:.2} ×", kept_by_cpu(full, entry)),
                times >= TIMES_ENTRY,
            );
        }
        if let Some(most_us) = self.beyond_us {
            let pairs = full.iter().zip(empty);
            let beyond_us = median(pairs.map(|(full, empty)| full.server_us - empty.server_us));
            verdict(
                format!("server CPU ≤ {most_us} µs a request beyond the traps"),
                format!("{beyond_us:.1} µs"),
                beyond_us <= most_us,
            );
        }
        if let Some(least) = self.kept {
            let shares = kept(full, unobserved);
            let share = median(shares.iter().copied());
            verdict(
                format!("≥ {:.0} % of unobserved", least * 100.0),
                by_both(with_range(&shares), full, unobserved),
                share >= least,
            );
        }
        if let Some(most) = self.traps {
            verdict(
                format!("≤ {most} traps a request"),
                format!("{traps:.2}"),
                traps <= most + 0.05,
            );
        }
        let of_own = |figure: fn(&super::window::Own) -> f64| {
            typical(full, |window| window.own.as_ref().map_or(f64::NAN, figure))
        };
        let cpu = of_own(|own| own.cpu_s_per_10k);
        verdict(
            "own CPU ≤ 0.03 s per 10 000 requests".into(),
            format!("{cpu:.3} s"),
            cpu <= OWN_CPU_S,
        );
        let mib = of_own(|own| own.mib);
        verdict(
            "own anonymous memory ≤ 64 MiB".into(),
            format!("{mib:.1} MiB"),
            mib <= OWN_MIB,
        );
        let lost: f64 = full
            .iter()
            .filter_map(|window| window.own)
            .map(|own| own.lost)
            .sum::<f64>()
            + 0.0;
        verdict("0 events lost".into(), thousands(lost), lost == 0.0);

        bench.verdicts.append(&mut verdicts);
        tables.into_iter().for_each(|table| bench.show(&table));
        Ok(())
    }

    fn table(&self, windows: &[Vec<Window>], unobserved: &[Window]) -> Table {
        let base_us = typical(unobserved, |window| window.server_us);
        let row = |(variant, windows): (&Variant, &Vec<Window>)| {
            let server_us = typical(windows, |window| window.server_us);
            vec![
                variant.name.to_owned(),
                thousands(typical(windows, |window| window.load.per_second)),
                with_range(&kept(windows, unobserved)),
                percent(kept_by_cpu(windows, unobserved)),
                format!("{server_us:.1} µs"),
                format!("{:+.1} µs", server_us - base_us),
                format!(
                    "{:.2} ms",
                    typical(windows, |window| window.load.p99_us) / 1000.0
                ),
            ]
        };
        Table {
            title: format!("Throughput: {}", self.title),
            head: vec![
                "",
                "requests/s",
                "kept (range)",
                "by CPU",
                "server CPU/request",
                "added",
                "p99",
            ],
            rows: VARIANTS.iter().zip(windows).map(row).collect(),
        }
    }
}

fn by_both(throughput: String, these: &[Window], those: &[Window]) -> String {
    throughput + "; by CPU " + &percent(kept_by_cpu(these, those))
}

/// Observer's own side of the windows.
fn own(windows: &[Window], title: &str) -> Result<Table> {
    let own: Vec<_> = windows
        .iter()
        .map(|window| Some((window, window.own?)))
        .collect::<Option<_>>()
        .context("an observed window without observer's figures")?;
    let of = |figure: &dyn Fn(&Window, &super::window::Own) -> f64| {
        median(own.iter().map(|(window, own)| figure(window, own)))
    };
    Ok(Table {
        title: format!("Observer itself: {title}"),
        head: vec!["", "median"],
        rows: vec![
            vec![
                "CPU per 10 000 requests".into(),
                format!("{:.3} s", of(&|_, own| own.cpu_s_per_10k)),
            ],
            vec![
                "CPU at this load".into(),
                format!(
                    "{} of one core",
                    percent(of(&|window, own| {
                        own.cpu_s_per_10k / 10_000.0 * window.load.per_second
                    }))
                ),
            ],
            vec![
                "anonymous memory".into(),
                format!("{:.1} MiB", of(&|_, own| own.mib)),
            ],
            vec![
                "events per request".into(),
                format!(
                    "{:.2}",
                    of(&|window, own| own.events / window.load.requests)
                ),
            ],
            vec![
                "events/s".into(),
                thousands(of(&|window, own| {
                    own.events / window.load.requests * window.load.per_second
                })),
            ],
            vec![
                "events lost, all windows".into(),
                thousands(own.iter().map(|(_, own)| own.lost).sum::<f64>() + 0.0),
            ],
        ],
    })
}

/// What the kernel measured of each program, and traps a request.
fn statistics(setting: &Setting<'_>) -> Result<(Table, f64)> {
    let full = Measured::of(setting, &FULL)?;
    let empty = Measured::of(setting, &EMPTY)?;
    let line = |name: String, program: &Runs, requests: f64| {
        let each = program.each_ns();
        vec![
            name,
            format!("{:.3}", program.runs / requests),
            each.map_or_else(|| "–".to_owned(), |ns| format!("{ns:.0}")),
            format!("{:.0}", program.total_ns / requests),
        ]
    };
    let programs = full.programs.iter();
    let mut rows: Vec<_> = programs
        .map(|program| line(program.hooks.join(", "), program, full.requests))
        .collect();
    rows.sort();
    for (variant, measured) in [(FULL, &full), (EMPTY, &empty)] {
        let name = format!("{}, all", variant.name);
        rows.push(line(name, &measured.all(), measured.requests));
    }
    let table = Table {
        title: "Programs (kernel statistics, without the trap itself)".into(),
        head: vec!["hook", "runs/request", "ns/run", "ns/request"],
        rows,
    };
    Ok((table, full.all().runs / full.requests))
}
