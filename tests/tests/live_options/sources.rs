//! Settings as flags, from the environment and from a file.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{Expect, Guarded, Load, Observer, exactly, findings, undisturbed};

use crate::{LONG, PROGRAM, interrupted, leave_early, make_mistake, rules4};

/// Started with these variables, given as `NAME=VALUE`.
fn with_environment(variables: &[String], args: &[&str]) -> Result<Observer> {
    let mut wrapper = vec!["env"];
    wrapper.extend(variables.iter().map(String::as_str));
    Observer::launch_through(&wrapper, args)
}

#[test]
fn environment_and_file_say_what_flags_say() -> Result<()> {
    undisturbed(|| {
        let program = rules4(&[])?;
        let stranger = Guarded::spawn(std::process::Command::new("/bin/sleep").arg("60"))?;
        let pid = program.pid();
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        let variables = [
            format!("OBSERVER_PID={pid}"),
            "OBSERVER_RULE=cancel-not-called=info,premature-cancel".to_owned(),
            "OBSERVER_REQUEST_ID_HEADER=X-Order-Key,X-Request-Id".to_owned(),
            "OBSERVER_REDACT_PATH=true".to_owned(),
            "OBSERVER_FAIL_ON=error".to_owned(),
            "OBSERVER_DURATION=1h".to_owned(),
            format!("OBSERVER_LOG={}", at("environment.jsonl")),
            format!("OBSERVER_WRITE_BASELINE={}", at("environment.known")),
        ];
        let file = at("observer.toml");
        let list = format!(
            "pid = [{pid}]\nrule = [\"cancel-not-called=info\", \"premature-cancel\"]\n\
         request-id-header = [\"X-Order-Key\", \"X-Request-Id\"]\nredact-path = true\n\
         fail-on = \"error\"\nduration = \"1h\"\nlog = \"{}\"\nwrite-baseline = \"{}\"\n",
            at("file.jsonl"),
            at("file.known")
        );
        fs::write(&file, list)?;
        // Flags over environment over file: each source below is wrong about what the one above says. A selector of
        // any kind above replaces all below, else the sleeper would be refused.
        let wrong = at("wrong.toml");
        let list = format!(
            "pid = [{}]\nrule = [\"cancel-ignored\"]\nfail-on = \"never\"\nduration = \"1ms\"\n\
         request-id-header = [\"X-Order-Key\", \"X-Request-Id\"]\nredact-path = true\n\
         log = \"{}\"\nwrite-baseline = \"{}\"\n",
            stranger.pid(),
            at("layers.jsonl"),
            at("layers.known")
        );
        fs::write(&wrong, list)?;
        let layers = [
            format!("OBSERVER_CONFIG={wrong}"),
            format!("OBSERVER_PID={}", stranger.pid()),
            "OBSERVER_ALL=true".to_owned(),
            "OBSERVER_RULE=cancel-not-called=info,premature-cancel".to_owned(),
            "OBSERVER_FAIL_ON=warning".to_owned(),
            "OBSERVER_DURATION=1h".to_owned(),
        ];
        let flags = [
            "--port",
            &program.address.port().to_string(),
            "--fail-on",
            "error",
        ];
        let observers = [
            with_environment(&variables, &[])?,
            Observer::launch(&["--config", &file])?,
            with_environment(&layers, &flags)?,
        ];
        for observer in &observers {
            observer.started(1)?;
        }
        make_mistake(&program, "a-")?;
        Load::of(&program, "/premature/async")
            .ids("b-")
            .flag("-header", &"X-Order-Key: c-0")
            .start()?
            .all("ok")?;
        leave_early(&program, LONG).start()?.all("dropped")?;
        thread::sleep(Duration::from_millis(2500));
        let runs = interrupted(observers)?;
        for (run, name) in runs.into_iter().zip(["environment", "file", "layers"]) {
            let shown = || format!("{name}: {}", run.shown());
            ensure!(run.status.code() == Some(1), "{}", shown());
            ensure!(run.end()?["why"] == "signal", "{}", shown());
            ensure!(run.of_type("start").count() == 1, "{}", shown());
            let expected = [
                Expect::new("info", PROGRAM, "cancel-not-called cancel")?
                    .fact("/request/id", "a-0"),
                Expect::new("error", PROGRAM, "premature-cancel async")?.fact("/request/id", "c-0"),
            ];
            exactly(&run, pid, &expected).with_context(|| name)?;
            let paths = findings(&run, pid);
            ensure!(
                paths
                    .iter()
                    .all(|found| found.text("/request/path").is_empty()),
                "{}",
                shown()
            );
            let log = fs::read_to_string(at(&format!("{name}.jsonl")))?;
            ensure!(log.lines().count() == run.lines.len(), "{}", shown());
            let known = fs::read_to_string(at(&format!("{name}.known")))?;
            ensure!(known.lines().count() == 3, "{known}\n{}", shown());
        }
        Ok(())
    })
}
