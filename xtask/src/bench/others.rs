//! What following goroutines costs those that belong to no request: a `go` statement and an end each, in a tight loop.

use anyhow::Result;

use super::{
    Bench,
    goroutines::{FLOOR, FOLLOWED},
    load::Source,
    statistics::Measured,
    table::{Table, Verdict, median, thousands},
    window::{FULL, Setting, UNOBSERVED, Variant, Window, typical},
};
use crate::live::Target;

/// What one request of the server's `-mode others` waits for.
const GOROUTINES: f64 = 1000.0;
/// Most beyond the trap floor for a `go` statement, and for an end, ns.
const BEYOND_NS: f64 = 500.0;
const HOOKS: [(&str, &str); 2] = [
    ("goroutine-create", "`go` statement"),
    ("goroutine-end", "end"),
];
const VARIANTS: [Variant; 4] = [UNOBSERVED, FULL, FLOOR, FOLLOWED];

/// Measures them in one goroutine's loop, which began with the process; requests only set the pace.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let target = Target::start(&bench.server, &["-mode", "others"])?;
    eprintln!("bench: goroutines: of no request: {} rounds", bench.rounds);
    let setting = Setting {
        observer: &bench.observer,
        target: &target,
        source: Source::wrk(target.url("/")),
        seconds: bench.seconds,
    };
    let windows = setting.compare(&VARIANTS, bench.rounds)?;
    let off = Measured::of(&setting, &FULL)?;
    let floor = Measured::of(&setting, &FLOOR)?;
    let followed = Measured::of(&setting, &FOLLOWED)?;
    target.stop()?;

    let [unobserved, not_followed, floor_windows, followed_windows] = &*windows else {
        unreachable!("one list of windows for each variant")
    };
    let empty_ns = floor.all().each_ns().unwrap_or(f64::NAN);
    for (hook, what) in HOOKS {
        let each_ns = followed.at(hook).and_then(|program| program.each_ns());
        let beyond_ns = each_ns.map_or(f64::NAN, |ns| ns - empty_ns);
        bench.verdicts.push(Verdict {
            promise: format!(
                "--goroutines: {what} of no request ≤ {BEYOND_NS} ns beyond the floor"
            ),
            measured: format!("{beyond_ns:.0} ns"),
            kept: beyond_ns <= BEYOND_NS,
        });
    }
    let both_ns = beyond(followed_windows, floor_windows);
    bench.verdicts.push(Verdict {
        promise: format!(
            "--goroutines: both ≤ {} ns beyond the floor, by CPU",
            2.0 * BEYOND_NS
        ),
        measured: format!("{both_ns:.0} ns"),
        kept: both_ns <= 2.0 * BEYOND_NS,
    });
    let traps = HOOKS
        .iter()
        .filter_map(|(hook, _)| off.at(hook))
        .map(|program| program.runs)
        .sum::<f64>()
        + 0.0;
    bench.verdicts.push(Verdict {
        promise: "goroutines: 0 traps unless asked for".into(),
        measured: format!(
            "{}; by CPU {:+.0} ns a goroutine",
            thousands(traps),
            beyond(not_followed, unobserved)
        ),
        kept: traps == 0.0,
    });
    bench.show(&costs(&windows, unobserved));
    bench.show(&programs(&followed, empty_ns));
    Ok(())
}

/// CPU time of the server for one goroutine, ns: the request that waits for a thousand of them is a small part of it.
fn each_ns(window: &Window) -> f64 {
    window.server_us * 1000.0 / GOROUTINES
}

/// Median over the rounds of what a goroutine costs more in `these`, ns.
fn beyond(these: &[Window], those: &[Window]) -> f64 {
    let pairs = these.iter().zip(those);
    median(pairs.map(|(this, that)| each_ns(this) - each_ns(that)))
}

fn costs(windows: &[Vec<Window>], unobserved: &[Window]) -> Table {
    let row = |(variant, windows): (&Variant, &Vec<Window>)| {
        let per_second = typical(windows, |window| window.load.per_second) * GOROUTINES;
        vec![
            variant.name.to_owned(),
            thousands(per_second),
            format!("{:.0} ns", typical(windows, each_ns)),
            format!("{:+.0} ns", beyond(windows, unobserved)),
        ]
    };
    Table {
        title: "Goroutines of no request, one `go` statement and one end each".into(),
        head: vec!["", "goroutines/s", "server CPU each", "added"],
        rows: VARIANTS.iter().zip(windows).map(row).collect(),
    }
}

fn programs(followed: &Measured, empty_ns: f64) -> Table {
    let row = |(hook, what): &(&str, &str)| {
        let program = followed.at(hook);
        let runs = program.map_or(0.0, |program| program.runs);
        let each = program.and_then(|program| program.each_ns());
        vec![
            format!("{hook} ({what})"),
            format!("{:.3}", runs / followed.requests / GOROUTINES),
            each.map_or_else(|| "–".to_owned(), |ns| format!("{ns:.0}")),
            each.map_or_else(|| "–".to_owned(), |ns| format!("{:+.0}", ns - empty_ns)),
        ]
    };
    Table {
        title: "Their programs (kernel statistics, without the trap itself)".into(),
        head: vec!["hook", "runs/goroutine", "ns/run", "beyond empty"],
        rows: HOOKS.iter().map(row).collect(),
    }
}
