//! A burst of goroutines that stay is found once, with its `go` statement, where they wait, and a file of all of them; a
//! steady load, bounded work and what was there before are silent.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{
    Expect, Load, Marker, Observer, Program, Role, Run, exactly, findings, marker, observer_binary,
    on_each_kind, on_each_version, start,
};
use serde_json::Value;

const PROGRAM: &str = "surge";
/// What `--surge-window` is set to.
const WINDOW: Duration = Duration::from_secs(5);
/// Counting is once a second, and a busy machine is late.
const WARM: Duration = Duration::from_secs(8);
const BURST: u64 = 2_000;
/// What `--surge-min` is: up to so many are no surge.
const CALM: u64 = 500;

/// A folder of its own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let path = env::temp_dir().join(format!("observer-surge-{}-{name}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn text(&self) -> Result<&str> {
        self.0.to_str().context("a path in UTF-8")
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.0)?;
        entries.map(|entry| Ok(entry?.path())).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.0);
    }
}

fn observe(program: &Program, more: &[&str]) -> Result<Observer> {
    let pid = program.pid().to_string();
    let window = format!("{}s", WINDOW.as_secs());
    let args = ["--pid", &pid, "--surge-window", &window];
    Observer::attach(&[&args[..], more].concat(), 1)
}

fn burst(program: &Program, goroutines: u64) -> Result<()> {
    let report = Load::of(program, &format!("/burst?n={goroutines}")).run()?;
    ensure!(report.ok == 1, "{report:?}");
    Ok(())
}

/// The lines that tell of surges, the first and those that update it.
fn surges(lines: &[Value]) -> Vec<&Value> {
    let told = lines
        .iter()
        .filter(|line| line["rule"] == "goroutine-surge");
    told.collect()
}

fn expected() -> Result<Expect> {
    Ok(Expect::new("warning", PROGRAM, "goroutine-surge burst")?
        .no_request()
        .also(Role::Stack, PROGRAM, "goroutine-surge burst wait")?
        .fact("/evidence/wait_reason", "chan receive")
        .fact("/evidence/state", "waiting"))
}

#[test]
fn a_burst_is_found_once_with_what_grew() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let folder = Folder::new(&format!("once-{go}-{flavor:?}"))?;
        let observer = observe(&program, &["--snapshot-dir", folder.text()?])?;
        thread::sleep(WARM);
        burst(&program, BURST)?;
        observer.wait_for(|lines| (!surges(lines).is_empty()).then_some(()))?;
        // It lasts, and is not told again.
        thread::sleep(WINDOW);
        let run = observer.stop()?;
        exactly(&run, program.pid(), &[expected()?])?;
        has_grown(&run, &program)?;
        is_kept(&run, &folder)?;
        counts_them(&run)
    })
}

fn has_grown(run: &Run, program: &Program) -> Result<()> {
    let found = findings(run, program.pid());
    let finding = found.first().context("a finding")?;
    let surge = finding.last.pointer("/evidence/surge");
    let surge = surge.context("what has grown")?;
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let all = BURST + BURST / 4;
    ensure!(
        (all..all + 50).contains(&number(&surge["goroutines"])),
        "{surge}"
    );
    ensure!(number(&surge["average"]) < all / 3, "{surge}");
    // The last calm count may be of the middle of the burst.
    let grew = all - CALM..all + 50;
    ensure!(grew.contains(&number(&surge["grew"])), "{surge}");
    ensure!(finding.number("/evidence/live") == Some(BURST), "{surge}");
    // The smallest stack of Go is 2 KiB.
    let bytes = finding.number("/evidence/stack_bytes");
    ensure!(
        bytes.is_some_and(|bytes| bytes >= BURST * 2048),
        "{bytes:?}"
    );
    let beside = marker(PROGRAM, "goroutine-surge beside")?;
    let grown = surge["grown"].as_array().context("what has grown")?;
    let second = grown.get(1).context("a second statement")?;
    ensure!(beside.is(&second["site"]), "{second}");
    ensure!(number(&second["grew"]) == BURST / 4, "{second}");
    ensure!(
        second.pointer("/most/wait_reason") == Some(&"select".into()),
        "{second}"
    );
    Ok(())
}

/// All goroutines are in the file that the finding names.
fn is_kept(run: &Run, folder: &Folder) -> Result<()> {
    let told = surges(&run.lines);
    let named = told
        .first()
        .and_then(|line| line.pointer("/evidence/surge/snapshot")?.as_str());
    let named = Path::new(named.context("no file is named")?);
    ensure!(folder.files()? == [named], "{:?}", folder.files()?);
    let text = fs::read_to_string(named)?;
    let lines: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let site: Marker = marker(PROGRAM, "goroutine-surge burst")?;
    let of_burst = |line: &&Value| line["type"] == "group" && site.is(&line["go"]);
    let group = lines
        .iter()
        .find(of_burst)
        .context("the burst is not in it")?;
    ensure!(group["count"] == BURST, "{}", group["count"]);
    Ok(())
}

fn counts_them(run: &Run) -> Result<()> {
    let end = run.of_type("end").next().context("no end")?;
    let total = end.pointer("/goroutines/total").and_then(Value::as_u64);
    ensure!(
        total.is_some_and(|total| total > BURST),
        "{}",
        end["goroutines"]
    );
    ensure!(
        end.pointer("/goroutines/requests/started")
            .is_none_or(Value::is_null),
        "nothing follows them: {}",
        end["goroutines"]
    );
    Ok(())
}

/// The next surge is the same finding; of its files there are no more than asked for.
#[test]
fn another_burst_is_counted_and_replaces_the_file() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let folder = Folder::new(&format!("again-{go}"))?;
        let recorded = Folder::new(&format!("recording-{go}"))?;
        let recording = recorded.0.join("run.rec");
        let recording = recording.to_str().context("a path in UTF-8")?;
        let observer = observe(
            &program,
            &[
                "--snapshot-dir",
                folder.text()?,
                "--snapshot-max",
                "1",
                "--surge-min",
                "50",
                "--record",
                recording,
            ],
        )?;
        thread::sleep(WARM);
        burst(&program, 100)?;
        let first = observer.wait_for(|_| folder.files().ok()?.first().cloned())?;
        // The average comes near, and then there are more than three times as many.
        thread::sleep(WINDOW * 2);
        burst(&program, 1_000)?;
        observer.wait_for(|_| {
            let files = folder.files().ok()?;
            (files.len() == 1 && files.first() != Some(&first)).then_some(())
        })?;
        thread::sleep(Duration::from_secs(1));
        let run = observer.stop()?;
        ensure!(folder.files()?.len() == 1, "{:?}", folder.files()?);
        exactly(&run, program.pid(), &[expected()?.times(2)])?;
        replays(&run, recording)
    })
}

/// A replay tells the same without the process and without the snapshots' folder.
fn replays(run: &Run, recording: &str) -> Result<()> {
    let mut command = Command::new(observer_binary()?);
    command.args(["replay", "--output", "json", recording]);
    let output = command.output()?;
    ensure!(output.status.success(), "{output:?}");
    let replayed: Vec<Value> = String::from_utf8(output.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    ensure!(
        surges(&replayed) == surges(&run.lines),
        "the replay differs"
    );
    Ok(())
}

#[test]
fn steady_and_bounded_work_and_what_was_there_is_silent() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &["-workers", "1000"])?;
        let folder = Folder::new(&format!("healthy-{go}-{flavor:?}"))?;
        let observer = observe(&program, &["--snapshot-dir", folder.text()?])?;
        let lasts = WARM + WINDOW;
        let load = |path, rate: f64| {
            let load = Load::of(&program, path).during(lasts, 8);
            load.flag("-rate", &rate).start()
        };
        let clients = [load("/steady/ok", 50.0)?, load("/pool/ok", 1.0)?];
        for client in clients {
            let report = client.finish()?;
            ensure!(report.ok > 0 && report.failed == 0, "{report:?}");
        }
        let run = observer.stop()?;
        exactly(&run, program.pid(), &[])?;
        ensure!(folder.files()?.is_empty(), "{:?}", folder.files()?);
        let end = run.of_type("end").next().context("no end")?;
        let total = end["goroutines"]["total"].as_u64();
        ensure!(
            total.is_some_and(|total| (1000..1200).contains(&total)),
            "{end}"
        );
        Ok(())
    })
}

/// What a full disk does to a snapshot is a warning, and the finding is told.
#[test]
fn a_full_disk_costs_the_file_only() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let folder = Folder::new(&format!("full-{go}"))?;
        let dir = folder.text()?;
        let mount = format!("mount -t tmpfs -o size=16k none '{dir}' && exec \"$@\"");
        let pid = program.pid().to_string();
        let observer = Observer::launch_through(
            &["unshare", "--mount", "sh", "-c", &mount, "sh"],
            &[
                "--pid",
                &pid,
                "--surge-window",
                &format!("{}s", WINDOW.as_secs()),
                "--snapshot-dir",
                dir,
            ],
        )?;
        observer.started(1)?;
        // What is there by now fills the rest.
        let filler = format!("/proc/{}/root{dir}/filler", observer.pid());
        let _full = fs::write(filler, vec![0u8; 64 << 10]);
        thread::sleep(WARM);
        burst(&program, BURST)?;
        observer.wait_for(|lines| (!surges(lines).is_empty()).then_some(()))?;
        thread::sleep(Duration::from_secs(1));
        let run = observer.stop()?;
        let said = run.stderr.join("\n");
        ensure!(said.contains("cannot write a snapshot"), "{said}");
        let told = surges(&run.lines);
        let first = told.first().context("no finding")?;
        ensure!(first["evidence"]["surge"]["snapshot"].is_null(), "{first}");
        exactly(&run, program.pid(), &[expected()?])
    })
}

#[test]
fn a_folder_that_is_not_there_is_said_at_the_start() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let pid = program.pid().to_string();
        let args = ["--pid", &pid, "--snapshot-dir", "/nowhere/at/all"];
        let run = Observer::launch(&args)?.ends()?;
        ensure!(run.status.code() == Some(5), "{:?}", run.status);
        let said = run.stderr.join("\n");
        ensure!(
            said.contains("cannot write snapshots into `/nowhere/at/all`"),
            "{said}"
        );
        ensure!(said.contains("mkdir -p /nowhere/at/all"), "{said}");
        Ok(())
    })
}
