//! Checked-in recordings of live runs, replayed: the findings must stay the same to the byte. No kernel, no Go, no
//! root: this is where rules are developed.
//!
//! `cargo test -p observer-tests --test live_replay -- --ignored` makes the recordings anew, with their goldens.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use observer_tests::recordings::{folder, found, unpack};

#[test]
fn recordings_replay_to_their_goldens() -> Result<()> {
    let mut replayed = 0;
    for entry in fs::read_dir(folder())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "gz") {
            replay(&path).with_context(|| format!("replaying {}", path.display()))?;
            replayed += 1;
        }
    }
    ensure!(replayed >= 36, "only {replayed} recordings are there");
    println!("{replayed} recordings replayed");
    Ok(())
}

#[test]
fn a_recording_that_is_cut_off_replays_as_far_as_it_goes() -> Result<()> {
    let packed = folder().join("cancelers-go1.27.3.rec.gz");
    let scratch = tempfile::tempdir()?;
    let recording = scratch.path().join("recording");
    unpack(&packed, &recording)?;
    let whole = fs::read(&recording)?;
    fs::write(
        &recording,
        whole.get(..whole.len() - 1000).context("it is short")?,
    )?;
    let output = Command::new(observer_tests::live::observer_binary()?)
        .args(["replay", "--output", "json"])
        .arg(&recording)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2), "{}: {said}", output.status);
    ensure!(said.contains("it ends inside an entry"), "{said}");
    let lines = String::from_utf8(output.stdout)?;
    let begun = found(&lines);
    let golden = fs::read_to_string(packed.with_extension("jsonl"))?;
    ensure!(
        begun.lines().count() > 1
            && golden.starts_with(begun.lines().next().context("nothing is found")?),
        "{begun}"
    );
    ensure!(lines.contains(r#""type":"end""#), "no end line in {lines}");
    Ok(())
}

fn replay(packed: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let recording = scratch.path().join("recording");
    unpack(packed, &recording)?;
    let output = Command::new(observer_tests::live::observer_binary()?)
        .args(["replay", "--output", "json"])
        .arg(&recording)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let golden = fs::read_to_string(packed.with_extension("jsonl"))?;
    let lines = found(&String::from_utf8(output.stdout)?);
    ensure!(
        !lines.is_empty() || packed.to_string_lossy().contains("healthy"),
        "it holds no finding"
    );
    for (number, (now, then)) in lines.lines().zip(golden.lines()).enumerate() {
        ensure!(
            now == then,
            "line {}:\n  was {then}\n  is  {now}",
            number + 1
        );
    }
    ensure!(
        lines.lines().count() == golden.lines().count(),
        "{} lines instead of {}",
        lines.lines().count(),
        golden.lines().count()
    );
    Ok(())
}
