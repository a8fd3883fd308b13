//! Whatever happens to the process, to its file or to the output while observer runs: it says what it knows and ends
//! as it should.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::{
    go::CI_VERSIONS,
    live::{
        Expect, Guarded, Load, Observer, PATIENCE, Program, Tail, exactly, get, observer_binary,
        start, undisturbed,
    },
    target::{Flavor, build_target},
};

fn newest() -> &'static str {
    let [.., newest] = CI_VERSIONS;
    newest
}

/// A mistake that is found a moment after its request.
const MISTAKE: &str = "/notcalled/cancel";

fn mistake(id: &str) -> Result<Expect> {
    Ok(Expect::new("warning", "rules4", "cancel-not-called cancel")?.request(MISTAKE, id))
}

fn make_mistake(program: &Program, id_prefix: &str) -> Result<()> {
    Load::of(program, MISTAKE)
        .ids(id_prefix)
        .start()?
        .all("ok")
        .map(drop)
}

/// Beyond grace.
fn found() {
    thread::sleep(Duration::from_millis(1200));
}

fn rules4() -> Result<Program> {
    start("rules4", newest(), Flavor::Plain, &[])
}

#[test]
fn a_process_that_ends_is_a_normal_end() -> Result<()> {
    undisturbed(|| {
        let mut program = rules4()?;
        let observer = Observer::of(program.pid())?;
        make_mistake(&program, "a-")?;
        found();
        program.signal(Signal::SIGTERM)?;
        ensure!(program.process().wait(PATIENCE)?.is_some(), "it goes on");
        let run = observer.ends()?;
        run.require_clean().with_context(|| run.shown())?;
        ensure!(run.end()?["why"] == "processes_ended", "{}", run.shown());
        exactly(&run, program.pid(), &[mistake("a-0")?])
    })
}

#[test]
fn a_process_that_is_killed_is_a_normal_end_too() -> Result<()> {
    undisturbed(|| {
        let program = rules4()?;
        let pid = program.pid();
        let observer = Observer::of(pid)?;
        let load = Load::of(&program, "/all")
            .during(Duration::from_secs(20), 4)
            .start()?;
        make_mistake(&program, "a-")?;
        found();
        drop(program);
        let run = observer.ends()?;
        drop(load);
        ensure!(run.status.success(), "{}", run.shown());
        ensure!(run.end()?["why"] == "processes_ended", "{}", run.shown());
        exactly(&run, pid, &[mistake("a-0")?])
    })
}

#[test]
fn a_process_that_becomes_another_program_has_ended() -> Result<()> {
    undisturbed(|| {
        let mut program = start("execs", newest(), Flavor::Plain, &[])?;
        let observer = Observer::of(program.pid())?;
        get(program.address, "/")?;
        program.signal(Signal::SIGUSR1)?;
        let run = observer.ends()?;
        ensure!(program.process().is_running()?, "its new self has ended");
        run.require_clean().with_context(|| run.shown())?;
        ensure!(run.end()?["why"] == "processes_ended", "{}", run.shown());
        exactly(&run, program.pid(), &[])
    })
}

#[test]
fn a_process_may_end_at_any_moment_of_attaching() -> Result<()> {
    undisturbed(|| {
        for step in 0..12_u64 {
            let program = rules4()?;
            let pid = program.pid();
            let observer = Observer::launch(&["--pid", &pid.to_string()])?;
            thread::sleep(Duration::from_millis(step * 40));
            drop(program);
            let run = observer
                .ends()
                .with_context(|| format!("after {} ms", step * 40))?;
            let stderr = run.stderr.join("\n");
            let attached = run.status.code() == Some(0);
            let refused = run.status.code() == Some(4)
                && [
                    format!("no process has pid {pid}"),
                    format!("pid {pid} exited while observer was attaching"),
                ]
                .iter()
                .any(|text| stderr.contains(text));
            ensure!(
                attached || refused,
                "after {} ms: {}",
                step * 40,
                run.shown()
            );
        }
        Ok(())
    })
}

/// Runs `rules4` from a file of its own, does something to the file, observes, and requires the usual finding.
fn with_its_file(change: impl Fn(&std::path::Path) -> Result<()>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rules4");
    fs::copy(build_target("rules4", newest(), Flavor::Plain)?, &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    let program = Program::run("rules4", path.clone(), &[])?;
    change(&path)?;
    let observer = Observer::of(program.pid())?;
    make_mistake(&program, "a-")?;
    found();
    exactly(&observer.stop()?, program.pid(), &[mistake("a-0")?])
}

#[test]
fn an_executable_that_was_deleted_is_observed_all_the_same() -> Result<()> {
    undisturbed(|| with_its_file(|path| Ok(fs::remove_file(path)?)))
}

#[test]
fn an_executable_that_was_replaced_on_disk_is_observed_as_it_runs() -> Result<()> {
    undisturbed(|| {
        // As installers do: another file under the same name.
        with_its_file(|path| {
            let other = path.with_extension("new");
            fs::write(&other, "#!/bin/sh\nexit 0\n")?;
            Ok(fs::rename(other, path)?)
        })
    })
}

#[test]
fn an_executable_that_is_deleted_while_observed_is_no_reason_to_stop() -> Result<()> {
    undisturbed(|| {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("rules4");
        fs::copy(build_target("rules4", newest(), Flavor::Stripped)?, &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let program = Program::run("rules4", path.clone(), &[])?;
        let observer = Observer::of(program.pid())?;
        fs::remove_file(&path)?;
        make_mistake(&program, "a-")?;
        found();
        exactly(&observer.stop()?, program.pid(), &[mistake("a-0")?])
    })
}

#[test]
fn two_observers_are_both_right_and_both_say_so() -> Result<()> {
    undisturbed(|| {
        let program = rules4()?;
        let observers = [Observer::of(program.pid())?, Observer::of(program.pid())?];
        make_mistake(&program, "a-")?;
        found();
        let runs = observers.map(Observer::stop);
        for run in runs {
            let run = run?;
            exactly(&run, program.pid(), &[mistake("a-0")?])?;
            let warnings = run
                .stderr
                .iter()
                .filter(|line| line.contains("another observer watches pid"))
                .count();
            ensure!(warnings == 1, "{}", run.shown());
        }
        Ok(())
    })
}

#[test]
fn a_reader_that_has_read_enough_ends_it_well() -> Result<()> {
    undisturbed(|| {
        let program = rules4()?;
        for form in ["json", "human"] {
            let mut command = Command::new(observer_binary()?);
            command
                .args(["run", "--pid", &program.pid().to_string(), "--output", form])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut observer = Guarded::spawn(&mut command)?;
            let stderr = Tail::of(observer.child().stderr.take().context("a pipe")?);
            let mut stdout = BufReader::new(observer.child().stdout.take().context("a pipe")?);
            // Findings, until the first line is there; then more of them, until it notices that nobody reads.
            let began = Instant::now();
            make_mistake(&program, "a-")?;
            while form == "human" && stderr.lines().is_empty() {
                make_mistake(&program, "a-")?;
            }
            make_mistake(&program, "a-")?;
            let mut line = String::new();
            stdout.read_line(&mut line)?;
            drop(stdout);
            while observer.is_running()? {
                Load::of(&program, "/notcalled/timeout").run()?;
                ensure!(
                    began.elapsed() < PATIENCE,
                    "{form}: goes on after {line}: {:?}",
                    stderr.lines()
                );
                thread::sleep(Duration::from_millis(300));
            }
            let status = observer.wait(PATIENCE)?;
            let said = stderr.lines();
            ensure!(
                status.and_then(|status| status.code()) == Some(0),
                "{form}: {status:?} {said:?}"
            );
            ensure!(
                !said.iter().any(|line| line.starts_with("error")),
                "{form}: {said:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_full_disk_costs_log_lines_and_nothing_else() -> Result<()> {
    undisturbed(|| {
        let program = rules4()?;
        let folder = tempfile::tempdir()?;
        let folder = folder.path().display();
        // In a mount namespace of its own, which ends with it. Four kilobytes hold no start line.
        let script = format!("mount -t tmpfs -o size=4k none '{folder}' && exec \"$@\"");
        let log = format!("{folder}/observer.jsonl");
        let wrapper = ["unshare", "--mount", "sh", "-c", &script, "sh"];
        let observer = Observer::launch_through(
            &wrapper,
            &["--pid", &program.pid().to_string(), "--log", &log],
        )?;
        observer.started(1)?;
        make_mistake(&program, "a-")?;
        found();
        observer.signal(Signal::SIGINT)?;
        let run = observer.ends()?;
        exactly(&run, program.pid(), &[mistake("a-0")?])?;
        ensure!(
            run.end()?["lines_dropped"] == 0,
            "lines of stdout are missing: {}",
            run.shown()
        );
        let stderr = run.stderr.join("\n");
        ensure!(
            stderr.matches("warning: cannot write the log").count() == 1,
            "{}",
            run.shown()
        );
        let summed_up =
            |line: &&String| line.starts_with("error: cannot write") && line.contains("to the log");
        ensure!(
            run.stderr.iter().filter(summed_up).count() == 1,
            "{}",
            run.shown()
        );
        ensure!(run.status.code() == Some(5), "{}", run.shown());
        Ok(())
    })
}

#[test]
fn a_full_disk_ends_a_recording_and_not_the_run() -> Result<()> {
    undisturbed(|| {
        let program = rules4()?;
        let folder = tempfile::tempdir()?;
        let full = folder.path().display();
        let script = format!("mount -t tmpfs -o size=64k none '{full}' && exec \"$@\"");
        let recording = format!("{full}/run.rec");
        let wrapper = ["unshare", "--mount", "sh", "-c", &script, "sh"];
        let observer = Observer::launch_through(
            &wrapper,
            &["--pid", &program.pid().to_string(), "--record", &recording],
        )?;
        observer.started(1)?;
        make_mistake(&program, "a-")?;
        found();
        let ends = "warning: cannot write the recording";
        let began = Instant::now();
        while !observer.said().iter().any(|line| line.starts_with(ends)) {
            Load::of(&program, "/all").times(100, 4).run()?;
            ensure!(began.elapsed() < PATIENCE, "{:?}", observer.said());
        }
        // Its mount namespace, and with it the disk, ends with observer.
        let kept = tempfile::NamedTempFile::new()?;
        let held = format!("/proc/{}/root{recording}", observer.pid());
        fs::copy(held, kept.path())?;
        make_mistake(&program, "b-")?;
        found();
        observer.signal(Signal::SIGINT)?;
        let run = observer.ends()?;
        exactly(&run, program.pid(), &[mistake("a-0")?.times(2)])?;
        ensure!(run.end()?["why"] == "signal", "{}", run.shown());
        ensure!(run.status.code() == Some(5), "{}", run.shown());
        let said = run.stderr.join("\n");
        ensure!(said.matches(ends).count() == 1, "{}", run.shown());
        let error = "error: cannot write the recording";
        let hint = "\n\nhint: see whether there is space left";
        ensure!(
            said.contains(error) && said.contains(hint),
            "{}",
            run.shown()
        );

        let replay = Command::new(observer_binary()?)
            .args(["replay", "--output", "json"])
            .arg(kept.path())
            .output()?;
        let stdout = String::from_utf8(replay.stdout)?;
        let stderr = String::from_utf8(replay.stderr)?;
        ensure!(replay.status.success(), "{stderr}");
        ensure!(stderr.contains("ends early"), "{stderr}");
        let first = run.lines.iter().find(|line| line["type"] == "finding");
        let again = first.context("a finding")?.to_string();
        ensure!(stdout.lines().any(|line| line == again), "{stdout}");
        Ok(())
    })
}

#[test]
fn an_interrupt_flushes_what_was_found() -> Result<()> {
    undisturbed(|| {
        let program = rules4()?;
        let observer = Observer::of(program.pid())?;
        make_mistake(&program, "a-")?;
        let sleeper = Load::of(&program, "/ignored/sleep")
            .mode("drop")
            .patience_ms(300)
            .ids("b-")
            .start()?;
        sleeper.all("dropped")?;
        // Found, and its handler is still at work.
        observer.wait_for(|lines| {
            lines
                .iter()
                .any(|line| line["rule"] == "cancel-ignored")
                .then_some(())
        })?;
        let run = observer.stop()?;
        let sleep = Expect::new("error", "rules4", "cancel-ignored sleep")?
            .request("/ignored/sleep", "b-0");
        exactly(&run, program.pid(), &[mistake("a-0")?, sleep])?;
        let end = run.end()?;
        ensure!(end["why"] == "signal", "{end}");
        ensure!(
            end["findings"]["error"] == 1 && end["findings"]["warning"] == 1,
            "{end}"
        );
        Ok(())
    })
}

#[test]
fn an_interrupt_may_come_at_any_moment_of_attaching() -> Result<()> {
    undisturbed(|| {
        let program = rules4()?;
        for step in 1..12 {
            let observer = Observer::launch(&["--pid", &program.pid().to_string()])?;
            thread::sleep(Duration::from_millis(step * 50));
            observer.signal(Signal::SIGINT)?;
            let run = observer
                .ends()
                .with_context(|| format!("after {} ms", step * 50))?;
            // Before it is able to listen, a signal does what signals do.
            let early =
                run.lines.is_empty() && run.stderr.is_empty() && run.status.code().is_none();
            let orderly = run.status.code() == Some(0) && run.end()?["why"] == "signal";
            ensure!(orderly || early, "after {} ms: {}", step * 50, run.shown());
        }
        Ok(())
    })
}

#[test]
fn a_duration_ends_it_as_a_signal_does() -> Result<()> {
    undisturbed(|| {
        let program = rules4()?;
        let pid = program.pid().to_string();
        let observer = Observer::attach(
            &["--pid", &pid, "--duration", "3s", "--fail-on", "warning"],
            1,
        )?;
        make_mistake(&program, "a-")?;
        let run = observer.ends()?;
        exactly(&run, program.pid(), &[mistake("a-0")?])?;
        ensure!(run.end()?["why"] == "duration", "{}", run.shown());
        ensure!(run.status.code() == Some(1), "{}", run.shown());
        Ok(())
    })
}
