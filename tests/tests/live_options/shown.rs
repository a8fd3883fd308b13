//! What is shown of what is found, and the exit code that follows: rules, the baseline, paths.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use observer_tests::{
    live::{Expect, Load, Observer, Program, Run, exactly, findings, start, undisturbed},
    target::{Flavor, build_target},
};

use crate::{
    MISTAKE, PROGRAM, found, interrupted, leave_early, make_mistake, mistake, newest, rules4, text,
};

#[test]
fn redacted_paths_appear_nowhere() -> Result<()> {
    undisturbed(|| {
        // From 1.23 on Go's router names the route, unless the module asks for the older one, as ours does.
        let executable = build_target(PROGRAM, newest(), Flavor::Plain)?;
        let program =
            Program::run_with(PROGRAM, executable, &[], &[("GODEBUG", "httpmuxgo121=0")])?;
        let pid = program.pid().to_string();
        let observer = Observer::attach(&["--pid", &pid, "--redact-path"], 1)?;
        let secret = format!("{MISTAKE}?token=hunter2");
        Load::of(&program, &secret).ids("a-").start()?.all("ok")?;
        leave_early(&program, "/detached/background")
            .ids("b-")
            .start()?
            .all("dropped")?;
        thread::sleep(Duration::from_millis(2500));
        let run = observer.stop()?;
        let found = findings(&run, program.pid());
        ensure!(found.len() >= 2, "{}", run.shown());
        for finding in &found {
            let request = &finding.last["request"];
            ensure!(request["path"].is_null(), "{request}");
            ensure!(request["id"].is_string(), "{request}");
            // It is read while the request lives.
            let route = match finding.text("/rule") {
                "cancel-not-called" => "",
                _ => "/detached/background",
            };
            ensure!(finding.text("/request/route") == route, "{request}");
        }
        // The query, and the path of the outgoing call.
        for hidden in ["hunter2", "/slow"] {
            let shown = run
                .lines
                .iter()
                .any(|line| line.to_string().contains(hidden));
            ensure!(!shown, "{hidden} is shown: {}", run.shown());
        }
        Ok(())
    })
}

/// Counts of errors, warnings and infos, and what was silenced.
fn totals(run: &Run) -> Result<[u64; 4]> {
    let findings = &run.end()?["findings"];
    Ok(["error", "warning", "info", "silenced"].map(|key| findings[key].as_u64().unwrap_or(99)))
}

#[test]
fn rules_are_chosen_and_adjusted_and_the_exit_code_follows() -> Result<()> {
    undisturbed(|| {
        let program = rules4(&[])?;
        let pid = program.pid().to_string();
        // One warning of cancel-not-called, one error of premature-cancel.
        let cases: [(&[&str], i32, [u64; 4]); 8] = [
            (&[], 0, [1, 1, 0, 0]),
            (&["--fail-on", "error"], 1, [1, 1, 0, 0]),
            (
                &["--rule", "cancel-not-called", "--fail-on", "error"],
                0,
                [0, 1, 0, 0],
            ),
            (
                &["--rule", "cancel-not-called", "--fail-on", "warning"],
                1,
                [0, 1, 0, 0],
            ),
            (
                &["--rule", "premature-cancel=off", "--fail-on", "error"],
                0,
                [0, 1, 0, 0],
            ),
            (
                &[
                    "--rule",
                    "premature-cancel=info",
                    "--rule",
                    "cancel-not-called=error",
                    "--fail-on",
                    "error",
                ],
                1,
                [1, 0, 1, 0],
            ),
            (
                &["--rule", "premature-cancel=info", "--fail-on", "error"],
                0,
                [0, 1, 1, 0],
            ),
            (
                &[
                    "--rule",
                    "premature-cancel=off",
                    "--rule",
                    "cancel-not-called=info",
                    "--fail-on",
                    "info",
                ],
                1,
                [0, 0, 1, 0],
            ),
        ];
        let observers = cases
            .iter()
            .map(|(args, ..)| Observer::attach(&[&["--pid", &pid], *args].concat(), 1))
            .collect::<Result<Vec<_>>>()?;
        make_mistake(&program, "a-")?;
        Load::of(&program, "/premature/async")
            .ids("b-")
            .start()?
            .all("ok")?;
        thread::sleep(Duration::from_millis(2000));
        for (run, (args, code, expected)) in interrupted(observers)?.into_iter().zip(cases) {
            ensure!(
                run.status.code() == Some(code) && totals(&run)? == expected,
                "{args:?}: {:?}, expected {code} and {expected:?}: {}",
                totals(&run)?,
                run.shown()
            );
        }
        Ok(())
    })
}

#[test]
fn a_baseline_is_counted_and_not_shown() -> Result<()> {
    undisturbed(|| {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("known");
        let baseline = text(&file)?;
        {
            let program = rules4(&[])?;
            let pid = program.pid().to_string();
            let observer = Observer::attach(&["--pid", &pid, "--write-baseline", baseline], 1)?;
            make_mistake(&program, "a-")?;
            found();
            exactly(&observer.stop()?, program.pid(), &[mistake("a-0")?])?;
        }
        let written = fs::read_to_string(&file)?;
        ensure!(
            written.contains(" # cancel-not-called ") && written.lines().count() == 2,
            "{written}"
        );

        // Another process of another build of the same sources.
        let program = start(PROGRAM, newest(), Flavor::Stripped, &[])?;
        let pid = program.pid().to_string();
        let renewed = folder.path().join("renewed");
        let args = ["--pid", &pid, "--baseline", baseline, "--fail-on", "info"];
        let known = Observer::attach(&args, 1)?;
        let both = Observer::attach(
            &[
                "--pid",
                &pid,
                "--baseline",
                baseline,
                "--write-baseline",
                text(&renewed)?,
            ],
            1,
        )?;
        make_mistake(&program, "b-")?;
        found();
        let run = known.stop()?;
        ensure!(findings(&run, program.pid()).is_empty(), "{}", run.shown());
        ensure!(totals(&run)? == [0, 0, 0, 1], "{}", run.shown());
        Load::of(&program, "/notcalled/timeout")
            .ids("c-")
            .start()?
            .all("ok")?;
        found();
        let new = Expect::new("warning", PROGRAM, "cancel-not-called timeout")?
            .request("/notcalled/timeout", "c-0");
        let run = both.stop()?;
        exactly(&run, program.pid(), &[new])?;
        ensure!(totals(&run)? == [0, 1, 0, 1], "{}", run.shown());
        // What was known stays known.
        let renewed = fs::read_to_string(renewed)?;
        let first = written.lines().nth(1).context("one fingerprint")?;
        ensure!(
            renewed.contains(first) && renewed.lines().count() == 3,
            "{renewed}"
        );

        fs::write(&file, "no fingerprint\n")?;
        let run = Observer::launch(&args)?.ends()?;
        ensure!(
            run.status.code() == Some(2) && run.lines.is_empty(),
            "{}",
            run.shown()
        );
        Ok(())
    })
}
