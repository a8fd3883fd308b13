//! Attaching and detaching, again and again, under load: the program answers right, and nothing stays behind.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use observer_tests::{
    go::{CI_VERSIONS, is_full},
    live::{Code, Held, Load, Observer, PATIENCE, breakpoints, get, on_each_version, start},
    target::Flavor,
};

/// Waits until no breakpoint is left in the code; the kernel takes its time after the last observer.
fn restored(code: &Code) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = breakpoints(code)?;
        if left == 0 {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{left} of {} breakpoints are left",
            code.len()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

fn cycles(go: &str, flavor: Flavor, count: usize) -> Result<()> {
    let program = start("bench", go, flavor, &["-mode", "json"])?;
    let limit = Duration::from_secs(if count > 100 { 3600 } else { 600 });
    let load = Load::of(&program, "/").during(limit, 4).flag("-rate", &500);
    let load = load.start()?;
    let mut code = None;
    for cycle in 0..count {
        let observer = Observer::of(program.pid()).with_context(|| format!("cycle {cycle}"))?;
        thread::sleep(Duration::from_millis(100));
        if let Some(code) = &code {
            let set = breakpoints(code)?;
            ensure!(set > 0, "cycle {cycle}: no breakpoint while observed");
        }
        let run = observer.stop().with_context(|| format!("cycle {cycle}"))?;
        let code = code.get_or_insert(Code::of_run(&run)?);
        restored(code).with_context(|| format!("cycle {cycle}"))?;
    }
    let report = load.interrupt()?;
    ensure!(
        report.ok > 0 && report.bad == 0 && report.failed == 0,
        "{report:?}: {:?}",
        program.said()
    );
    ensure!(
        program.said().is_empty(),
        "the program complains: {:?}",
        program.said()
    );
    Ok(())
}

#[test]
fn attaching_and_detaching_leaves_no_trace() -> Result<()> {
    let full = is_full();
    on_each_version(|go, flavor| cycles(go, flavor, if full { 100 } else { 4 }))
}

#[test]
fn killing_observer_leaves_no_trace() -> Result<()> {
    let full = is_full();
    let [.., newest] = CI_VERSIONS;
    on_each_version(|go, flavor| {
        let often = full || (go == newest && flavor == Flavor::Plain);
        let kills = if often { 20 } else { 1 };
        let program = start("bench", go, flavor, &["-mode", "json"])?;
        let load = Load::of(&program, "/")
            .during(Duration::from_secs(600), 4)
            .flag("-rate", &500)
            .start()?;
        for kill in 0..kills {
            let observer = Observer::of(program.pid())?;
            let start_line = observer.wait_for(|lines| lines.first().cloned())?;
            let code = Code::of(&start_line)?;
            ensure!(
                breakpoints(&code)? == code.len(),
                "{} of {} sites hold a breakpoint",
                breakpoints(&code)?,
                code.len()
            );
            let held = Held::by(observer.pid())?;
            ensure!(
                held.count("link_id") >= code.len(),
                "{} sites, but {held:?}",
                code.len()
            );
            // At any moment of its work, and of the program's.
            thread::sleep(Duration::from_millis(kill * 37 % 200));
            // Dropping it is kill -9.
            drop(observer);
            restored(&code).with_context(|| format!("kill {kill}"))?;
            held.gone().with_context(|| format!("kill {kill}"))?;
        }
        let report = load.interrupt()?;
        ensure!(
            report.ok > 0 && report.bad == 0 && report.failed == 0,
            "{report:?}: {:?}",
            program.said()
        );
        get(program.address, "/").map(drop)
    })
}
