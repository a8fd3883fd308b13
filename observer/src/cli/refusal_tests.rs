//! What is said of command lines, values and variables that mean nothing.

use std::ffi::OsString;

use super::{of, unknown_variables};
use crate::cli::command::command;
use crate::error::{Error, Exit, Notice};
use crate::style::Styles;

#[test]
fn a_bad_value_is_said_to_be_one() {
    let mut text = String::new();
    for line in [
        "observer run --rule nope",
        "observer run --rule cancel-ignord",
        "observer run --rule cancel-ignored=loud",
        "observer run --grace -1s",
        "observer run --grace 5",
        "observer run --duration=-5",
        "observer run --pid -5",
        "observer run --pid 7,abc",
        "observer check --pid 0",
        "observer run --port 70000",
        "observer run --surge-min x",
        "observer run --surge-factor 2.5x",
        "observer run --surge-min 99999999999999999999999",
        "observer run --log-max-size -5",
        "observer replay x.rec --fail-on eror",
        "observer run -o yaml",
        "observer run --redact-path=perhaps",
    ] {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let error = command().try_get_matches_from(&args).expect_err(line);
        let error = of(&error, &args, |_| None).expect(line);
        assert_eq!(error.exit(), Exit::Usage, "{line}");
        text.push_str(&format!("$ {line}\n{}\n", error.render(Styles::new(false))));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_bad_value_of_the_environment_is_said_to_come_from_there() {
    let place = |typed: &str| {
        let refused = command().try_get_matches_from(["observer", "run", "--grace", "5"]);
        let args: Vec<OsString> = typed.split_whitespace().map(OsString::from).collect();
        let variable = |name: &str| (name == "OBSERVER_GRACE").then(|| "5".to_owned());
        match of(&refused.unwrap_err(), &args, variable) {
            Some(Error::BadFlag { place, .. }) => place,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(place("observer run"), "OBSERVER_GRACE");
    assert_eq!(place("observer run --grace 5"), "--grace <TIME>");
}

#[test]
fn a_line_of_a_wrong_form_is_said_as_all_errors_are() {
    let refused = |line: &str| {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let error = command().try_get_matches_from(&args).expect_err(line);
        of(&error, &args, |_| None)
    };
    let mut text = String::new();
    for line in [
        "observer run --grac 1s",
        "observer run --xyzzy",
        "observer run -z",
        "observer --pid 7",
        "observer --xyzzy",
        "observer rnu",
        "observer help xyzzy",
        "observer run 7",
        "observer run --exe",
        "observer run --pid 1 --wait=",
        "observer run --pid 1 -v -q",
        "observer check --pid 1 ./x",
        "observer run --duration 1s --duration 2s",
        "observer replay",
        "observer schema --help=x",
    ] {
        let error = refused(line).expect(line);
        assert_eq!(error.exit(), Exit::Usage, "{line}");
        text.push_str(&format!("$ {line}\n{}\n", error.render(Styles::new(false))));
    }
    insta::assert_snapshot!(text);
    for help in ["observer", "observer run --help", "observer --version"] {
        assert!(refused(help).is_none(), "{help}");
    }
}

#[test]
fn variables_that_only_look_like_settings_are_named() {
    let set = ["PATH", "OBSERVER_PID", "OBSERVER_GRACEE", "OBSERVER_HOME"].map(OsString::from);
    let expected = [
        Notice::UnknownVariable {
            name: "OBSERVER_GRACEE".into(),
            nearest: Some("OBSERVER_GRACE".into()),
        },
        Notice::UnknownVariable {
            name: "OBSERVER_HOME".into(),
            nearest: None,
        },
    ];
    assert_eq!(unknown_variables(&command(), set.into_iter()), expected);
}
