//! What following the goroutines of requests costs, on servers that start 0, 1 and 10 a request of their own.

use anyhow::Result;

use super::{
    Bench,
    load::Source,
    others,
    table::{Table, Verdict, median, percent, thousands},
    window::{FULL, Setting, UNOBSERVED, Variant, kept, kept_by_cpu, typical, with_range},
};
use crate::live::Target;

/// As users ask for it.
pub const FOLLOWED: Variant = Variant {
    name: "--goroutines",
    observed: Some(&["--goroutines"]),
};
/// The same sites, with programs that do nothing.
pub const FLOOR: Variant = Variant {
    name: "--goroutines, empty programs (trap floor)",
    observed: Some(&["--goroutines", "--bench-programs", "empty"]),
};
const VARIANTS: [Variant; 4] = [UNOBSERVED, FULL, FLOOR, FOLLOWED];

/// Least share of what empty programs keep, for servers that start at most one goroutine a request.
const OF_FLOOR: f64 = 0.92;

/// Measures hello world and its siblings. `net/http` starts one goroutine a request in each of them, to read the
/// connection in the background.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let mut rows = Vec::new();
    for mode in ["hello", "spawn1", "spawn10"] {
        let target = Target::start(&bench.server, &["-mode", mode])?;
        eprintln!("bench: goroutines: {mode}: {} rounds", bench.rounds);
        let setting = Setting {
            observer: &bench.observer,
            target: &target,
            source: Source::wrk(target.url("/")),
            seconds: bench.seconds,
        };
        let windows = setting.compare(&VARIANTS, bench.rounds)?;
        target.stop()?;
        let [unobserved, _, floor, followed] = &*windows else {
            unreachable!("one list of windows for each variant")
        };
        for (variant, windows) in VARIANTS.iter().zip(&windows) {
            let own =
                |window: &super::window::Window| window.own.map_or(0.0, |own| own.cpu_s_per_10k);
            rows.push(vec![
                format!("{mode}, {}", variant.name),
                thousands(typical(windows, |window| window.load.per_second)),
                with_range(&kept(windows, unobserved)),
                percent(kept_by_cpu(windows, unobserved)),
                format!("{:.1} µs", typical(windows, |window| window.server_us)),
                format!("{:.3} s", typical(windows, own)),
            ]);
        }
        let share = median(kept(followed, floor));
        let of_floor = format!(
            "{}; by CPU {}",
            with_range(&kept(followed, floor)),
            percent(kept_by_cpu(followed, floor))
        );
        bench.verdicts.push(Verdict {
            promise: match mode {
                "spawn10" => format!("{mode}: --goroutines of the trap floor, stated only"),
                _ => format!("{mode}: --goroutines ≥ 92 % of the trap floor"),
            },
            measured: of_floor,
            kept: mode == "spawn10" || share >= OF_FLOOR,
        });
    }
    bench.show(&Table {
        title: "Following goroutines".into(),
        head: vec![
            "",
            "requests/s",
            "kept (range)",
            "by CPU",
            "server CPU/request",
            "own CPU per 10 000",
        ],
        rows,
    });
    others::measure(bench)
}
