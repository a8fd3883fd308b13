//! The file, its errors, and the order of sources.

use std::path::Path;

use super::{FailOn, Settings, Size, keys, parse};
use crate::style::Styles;

const PATH: &str = "/etc/observer/observer.toml";

fn fault(text: &str) -> String {
    let error = parse(text, Path::new(PATH)).unwrap_err();
    error.render(Styles::new(false))
}

/// A value for every key.
const FULL: &str = r#"
pid = [4121]
exe = ["api"]
port = [8080]
unit = ["shop-api"]
container = ["0123456789ab"]
all = true
wait = true
duration = "30s"
fail-on = "warning"
rule = ["cancel-ignored", "detached-context=info"]
grace = "1s"
leak-after = "10s"
surge-factor = 4
surge-min = 1000
surge-times = 3
surge-window = "2m"
snapshot-dir = "/var/lib/observer"
snapshot-max = 3
goroutines = true
deadline-tolerance = "5%"
deadline-tolerance-min = "10ms"
short-deadline = "50ms"
short-deadline-depth = 7
baseline = "known.txt"
write-baseline = "new.txt"
request-id-header = ["X-Request-Id", "X-Correlation-Id"]
deadline-header = ["X-Timeout", "X-Wait=s"]
request-ids = "always"
redact-path = true
output = "json"
log = "/var/log/observer.jsonl"
log-max-size = "1MiB"
log-max-age = "1h"
log-max-total = "8MiB"
record = "run.rec"
facts = true
color = "never"
verbose = true
quiet = false
own-packages = ["example.com/lib"]

[[allow]]
site = "example.com/shop/audit"
rule = "detached-context"
"#;

#[test]
fn every_key_is_read_and_no_other() {
    let settings = parse(FULL, Path::new(PATH)).unwrap();
    assert_eq!(settings.fail_on, Some(FailOn::Warning));
    assert_eq!(settings.log_max_size, Some(Size(1 << 20)));
    let table: toml::Table = toml::from_str(FULL).unwrap();
    let mut known = keys();
    known.sort();
    let mut tried: Vec<String> = table.keys().cloned().collect();
    tried.sort();
    assert_eq!(tried, known, "each known key once, and nothing else");
    for key in &known {
        let mut without = table.clone();
        without.remove(key);
        let text = toml::to_string(&without).unwrap();
        let less = parse(&text, Path::new(PATH)).unwrap();
        assert_ne!(less, settings, "`{key}` has no effect");
    }
}

#[test]
fn sources_in_order() {
    let file = parse(FULL, Path::new(PATH)).unwrap();
    let flags = Settings {
        port: Some(vec![9090]),
        log_max_size: Some(Size(5)),
        quiet: Some(true),
        ..Settings::default()
    };
    let merged = flags.over(file.clone());
    assert_eq!(merged.log_max_size, Some(Size(5)));
    assert_eq!(merged.log_max_total, file.log_max_total);
    assert_eq!((&merged.pid, &merged.exe), (&None, &None), "one setting");
    assert_eq!((&merged.unit, merged.all), (&None, None), "one setting");
    assert_eq!(merged.wait, Some(true));
    assert_eq!((merged.verbose, merged.quiet), (None, Some(true)));
    assert_eq!(Settings::default().over(file.clone()), file);
}

#[test]
fn faults_of_the_file() {
    insta::assert_snapshot!(
        "unknown_keys",
        fault("gracee = \"1s\"\nfoo = 1\n[[allow]]\nsite = \"a\"\nrules = \"x\"\n")
    );
    insta::assert_snapshot!(
        "unknown_keys_nested",
        fault("[rules]\ngrace = \"1s\"\n[rules.more]\nfoo = 1\n[empty]\n")
    );
    insta::assert_snapshot!(
        "unknown_keys_and_a_wrong_type",
        fault("gracee = \"1s\"\npid = \"x\"\n[[allow]]\nsitee = \"a\"\n")
    );
    insta::assert_snapshot!(
        "unknown_key_and_no_toml",
        fault("gracee = \"1s\"\nduration =\nfoo = 1\n")
    );
    insta::assert_snapshot!("no_unit", fault("grace = 5\n"));
    insta::assert_snapshot!("no_rules", fault("rule = [1]\n"));
    insta::assert_snapshot!("underscore", fault("log_max_size = \"1MiB\"\n"));
    insta::assert_snapshot!("bad_value", fault("\n\ngrace = \"soon\"\n"));
    insta::assert_snapshot!("bad_rule", fault("rule = [\"cancel-ignord\"]\n"));
    insta::assert_snapshot!(
        "bad_allow_rule",
        fault("[[allow]]\nsite = \"a\"\nrule = \"detached\"\n")
    );
    insta::assert_snapshot!("wrong_type", fault("pid = \"4121\"\n"));
    insta::assert_snapshot!("no_toml", fault("pid = [\n"));
}
