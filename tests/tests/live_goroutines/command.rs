//! The command, as a user runs it.

use std::process::{Command, Output};

use observer_tests::live::{observer_binary, schema};
use serde_json::Value;

use super::target::Target;

pub fn run(args: &[&str]) -> Output {
    Command::new(observer_binary().unwrap())
        .args(args)
        .env_remove("OBSERVER_TEST_FULL")
        .env_remove("OBSERVER_TEST_BINARY")
        .output()
        .unwrap()
}

/// What it prints of a target.
pub fn observe(target: &Target, args: &[&str]) -> String {
    observe_pid(&target.process.identity.pid.to_string(), args)
}

fn observe_pid(pid: &str, args: &[&str]) -> String {
    let mut all = vec!["goroutines", "--pid", pid];
    all.extend(args);
    let output = run(&all);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// Its JSON lines, each as its schema has it.
pub fn observe_json(target: &Target, args: &[&str]) -> Vec<Value> {
    json_of(&target.process.identity.pid.to_string(), args)
}

/// The same of any process.
pub fn json_of(pid: &str, args: &[&str]) -> Vec<Value> {
    let text = observe_pid(pid, &[args, &["--output", "json"]].concat());
    text.lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            let faults = schema::faults(&value).unwrap();
            assert!(faults.is_empty(), "{faults:?}\n{line}");
            value
        })
        .collect()
}
