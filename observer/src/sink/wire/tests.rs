//! The lines against their schema, and against themselves.

use std::sync::Arc;

use crate::correlate::{CallDeadline, CallFact, Host, RequestFact, SeenOn, Told};
use crate::finding::samples as findings;
use crate::model::SentDeadline;
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

fn host() -> Host {
    Host {
        name: "edge-1".into(),
        boot_id: "0f1e2d3c-0000-4000-8000-000000000000".into(),
    }
}

/// A call and the request that it led to, as they are told of.
fn told() -> [Told; 2] {
    let finding = findings::orphaned_downstream();
    let below = *finding.evidence.downstream.unwrap();
    let connection = SeenOn {
        client: "192.0.2.7:51322".parse().unwrap(),
        server: "[2001:db8::1]:8080".parse().unwrap(),
        netns: 4_026_531_840,
        from_ns: finding.time_ns - 20_000_000,
        until_ns: finding.time_ns - 19_000_000,
    };
    let call = CallFact {
        number: 12,
        process: finding.process,
        request: finding.request,
        call: finding.evidence.call.unwrap(),
        given_up_by: finding.evidence.cancelled_by,
        given_up_site: finding.evidence.cancel_site,
        deadline: Some(CallDeadline {
            set_ns: 300_000_000,
            left_ns: 299_900_000,
            site: finding.evidence.deadline_site,
        }),
        site: finding.site,
        caller: None,
        stack: crate::go::Stack::default(),
        context: Vec::new(),
        seen_on: Some(connection),
        whole: true,
        until_ns: finding.time_ns,
    };
    let request = RequestFact {
        process: below.process,
        request: below.request,
        cancelled: below.cancelled_by.zip(below.cancelled_at_ns),
        deadline_ns: Some(250_000_000),
        sent_deadline: SentDeadline::Is(250_000_000, "X-Timeout-Ms".into()),
        seen_on: Some(connection),
        whole: true,
        until_ns: finding.time_ns,
    };
    [Told::Call(Box::new(call)), Told::Request(Box::new(request))]
}

#[test]
fn facts_come_back_as_they_were_told() {
    for told in told() {
        let output = Output::Told(told.clone(), Arc::new(host()));
        let line = Line::of(&output, samples::CLOCK, &TALLY).unwrap();
        let line: Line = serde_json::from_str(&line.to_json().unwrap()).unwrap();
        let (mut back, origin) = match line.body {
            Body::Call(line) => (line.told().unwrap(), line.origin),
            Body::Request(line) => (line.told().unwrap(), line.origin),
            other => panic!("{other:?}"),
        };
        assert_eq!(origin.host(), host());
        // They come back by the wall clock.
        let to_monotonic = -samples::CLOCK.realtime_minus_monotonic_ns;
        match &mut back {
            Told::Call(fact) => fact.shift(to_monotonic),
            Told::Request(fact) => fact.shift(to_monotonic),
        }
        assert_eq!(back, told);
    }
}

#[test]
fn facts_with_nonsense_for_times_are_none() {
    let [call, request] = told().map(|told| {
        let output = Output::Told(told, Arc::new(host()));
        Line::of(&output, samples::CLOCK, &TALLY).unwrap().body
    });
    let (Body::Call(mut call), Body::Request(mut request)) = (call, request) else {
        panic!("not a call and a request");
    };
    call.call.start = "yesterday".into();
    assert_eq!(call.told(), None);
    request.time = "1969-12-31T23:59:59Z".into();
    assert_eq!(request.told(), None);
}

fn lines() -> Vec<Line> {
    let mut lines: Vec<Line> = samples::all()
        .iter()
        .filter_map(|output| Line::of(output, samples::CLOCK, &TALLY))
        .collect();
    lines.push(Line::examined(&samples::start()));
    let across = Output::Finding(Box::new(findings::orphaned_downstream()));
    lines.extend(Line::of(&across, samples::CLOCK, &TALLY));
    for told in told() {
        let output = Output::Told(told, Arc::new(host()));
        lines.extend(Line::of(&output, samples::CLOCK, &TALLY));
    }
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
fn what_has_grown_is_told_with_its_stacks() {
    let schema: serde_json::Value = serde_json::from_str(&schema().unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let output = Output::Finding(Box::new(findings::goroutine_surge()));
    let line = Line::of(&output, samples::CLOCK, &TALLY).unwrap();
    let text = line.to_json().unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(validator.is_valid(&value), "{text}");
    let surge = &value["evidence"]["surge"];
    insta::assert_snapshot!("surge", serde_json::to_string_pretty(surge).unwrap());
    assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
}

#[test]
fn ids_are_told_whole_and_harmless() {
    let mut finding = crate::finding::samples::cancel_ignored();
    let request = finding.request.as_mut().unwrap();
    let evil = "a\u{9b}2J\u{1b}[2J\u{202e}";
    request.id = Some(evil.to_owned());
    request.id_truncated = true;
    request.trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736".into());
    request.parent_id = Some("00f067aa0ba902b7".into());
    request.trace_flags = Some(1);
    let output = Output::Finding(Box::new(finding));
    let line = Line::of(&output, samples::CLOCK, &TALLY).unwrap();
    let text = line.to_json().unwrap();
    assert!(
        text.contains(r#""id":"a\u009b2J\u001b[2J\u202e","id_header":"X-Request-Id","id_source":"header:X-Request-Id","id_truncated":true,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","parent_id":"00f067aa0ba902b7","trace_flags":"01""#),
        "{text}"
    );
    let back: Line = serde_json::from_str(&text).unwrap();
    assert_eq!(back, line);
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
