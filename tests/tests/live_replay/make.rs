//! Makes the recordings that are checked in: all of them, or those of a group by its test's name.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use observer_tests::{
    live::undisturbed,
    recordings::{folder, pack},
};

use super::{NEWEST, cases, occasions, replay};

/// The oldest Go version, both kinds of maps, and the newest.
const VERSIONS: [&str; 4] = ["1.18.10", "1.21.13", "1.24.11", NEWEST];

#[test]
#[ignore = "writes into the source tree; run it to make the recordings anew"]
fn make_those_of_each_version() -> Result<()> {
    for go in VERSIONS {
        for (program, rules) in [
            (
                "rules4",
                &[
                    "cancel-ignored",
                    "detached-context",
                    "cancel-not-called",
                    "premature-cancel",
                ][..],
            ),
            ("cancelers", &["cancel-ignored", "premature-cancel"]),
            ("healthy", &[]),
            (
                "deadlines",
                &[
                    "deadline-dropped",
                    "deadline-inflated",
                    "timeout-mismatch",
                    "deadline-too-short",
                ],
            ),
        ] {
            save(&format!("{program}-go{go}"), rules, |recording| {
                cases::every_route(program, go, &[], recording)
            })?;
        }
        save(&format!("shop-go{go}"), &["cancel-ignored"], |recording| {
            cases::pair("shop", go, recording)
        })?;
    }
    Ok(())
}

#[test]
#[ignore = "writes into the source tree; run it to make the recordings anew"]
fn make_those_of_the_newest() -> Result<()> {
    let every_route = |program: &str, rules: &[&str], args: &[&str]| {
        save(program, rules, |recording| {
            cases::every_route(program, NEWEST, args, recording)
        })
    };
    every_route("calls", &["detached-context"], &[])?;
    every_route("dials", &["detached-context"], &[])?;
    save("chain", &["orphaned-downstream"], |recording| {
        cases::pair("chain", NEWEST, recording)
    })?;
    save("undelivered", &["cancel-undelivered"], cases::undelivered)?;
    save("sql", &["detached-context", "premature-cancel"], cases::sql)?;
    save("grpc", &["cancel-ignored", "detached-context"], cases::grpc)?;
    save("killed", &["cancel-ignored"], cases::killed)?;
    save("interrupted", &["cancel-ignored"], cases::interrupted)?;
    save("loss", &["cancel-ignored"], cases::loss)
}

#[test]
#[ignore = "writes into the source tree; run it to make the recordings anew"]
fn make_those_of_goroutines() -> Result<()> {
    save("behind", &["cancel-ignored"], |recording| {
        cases::every_route("behind", NEWEST, &["--goroutines"], recording)
    })?;
    save("leaks", &["goroutine-leak"], cases::leaks)?;
    save("looks", &["goroutine-leak"], cases::looks)?;
    save("surge", &["goroutine-surge"], cases::surge)
}

#[test]
#[ignore = "writes into the source tree; run it to make the recordings anew"]
fn make_those_of_occasions() -> Result<()> {
    save(
        "connections",
        &["cancel-ignored", "detached-context", "premature-cancel"],
        occasions::connections,
    )?;
    save(
        "endings",
        &["cancel-ignored", "premature-cancel"],
        occasions::endings,
    )?;
    save(
        &format!("unknown-go{}", occasions::WITHOUT_ANCESTRY),
        &["cancel-not-called"],
        occasions::unknown,
    )?;
    save("made-ids", &["cancel-ignored"], occasions::made_ids)
}

/// Keeps what a case records under a name, with what it found: these rules at least.
fn save(name: &str, rules: &[&str], case: impl Fn(&Path) -> Result<String>) -> Result<()> {
    undisturbed(|| {
        let scratch = tempfile::tempdir()?;
        let recording = scratch.path().join("run.rec");
        let live = case(&recording)?;
        for rule in rules {
            let of_rule = format!("\"rule\":\"{rule}\"");
            ensure!(live.contains(&of_rule), "nothing of {rule} in\n{live}");
        }
        ensure!(replay(&recording)? == live, "the replay differs");
        let packed = folder().join(format!("{name}.rec.gz"));
        pack(&recording, &packed)?;
        Ok(fs::write(packed.with_extension("jsonl"), &live)?)
    })
    .with_context(|| name.to_owned())
}
