//! The lines against their schema, and against themselves.

use crate::finding::samples as findings;
use crate::sink::output::{Clock, Output, Tally};
use crate::sink::samples;

use super::{Body, Line, schema};

const TALLY: Tally = Tally {
    errors: 1,
    warnings: 1,
    infos: 0,
    silenced: 2,
    dropped: 0,
};

fn lines() -> Vec<Line> {
    let mut lines: Vec<Line> = samples::all()
        .iter()
        .filter_map(|output| Line::of(output, samples::CLOCK, &TALLY))
        .collect();
    lines.push(Line::examined(&samples::start()));
    let across = Output::Finding(Box::new(findings::orphaned_downstream()));
    lines.extend(Line::of(&across, samples::CLOCK, &TALLY));
    lines
}

#[test]
fn the_checked_in_schema_is_current() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../schemas/observer.schema.json"
    );
    let now = schema().unwrap();
    if std::env::var_os("OBSERVER_REGENERATE").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in == now,
        "schemas/observer.schema.json is old: `OBSERVER_REGENERATE=1 cargo test -p observer` writes it"
    );
}

#[test]
fn every_line_is_valid_and_reads_back() {
    let schema: serde_json::Value = serde_json::from_str(&schema().unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for line in lines() {
        let text = line.to_json().unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(&value)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert_eq!(faults, Vec::<String>::new(), "{text}");
        let back: Line = serde_json::from_str(&text).unwrap();
        assert_eq!(back, line);
    }
}

#[test]
fn the_schema_refuses_what_is_not_a_line() {
    let schema: serde_json::Value = serde_json::from_str(&schema().unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let finding = lines()
        .into_iter()
        .find(|line| matches!(line.body, Body::Finding(_)))
        .unwrap();
    let good = serde_json::to_value(&finding).unwrap();
    assert!(validator.is_valid(&good));
    let damaged = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = good.clone();
        change(&mut value);
        !validator.is_valid(&value)
    };
    assert!(damaged(&|v| v["schema"] = 2.into()));
    assert!(damaged(&|v| v["type"] = "other".into()));
    assert!(damaged(&|v| v["rule"] = "other".into()));
    assert!(damaged(&|v| v["evidence"]["other"] = 1.into()));
    assert!(damaged(&|v| {
        v.as_object_mut().unwrap().remove("message");
    }));
}

#[test]
fn json_lines() {
    let text: String = lines().iter().map(|line| line.to_json().unwrap()).collect();
    insta::assert_snapshot!(text);
}

#[test]
fn times_are_the_events() {
    assert_eq!(
        samples::CLOCK.rfc3339(1_500_000_001),
        "2026-03-01T12:00:01.500000001Z"
    );
    let early = Clock {
        realtime_minus_monotonic_ns: -5,
    };
    assert_eq!(early.rfc3339(0), "1970-01-01T00:00:00.000000000Z");
}
