//! Which findings pass.

use std::collections::BTreeMap;

use super::{Allowed, Filter, Level, RuleChoice, Silenced, parse_baseline, render_baseline};
use crate::finding::{Fingerprint, RuleName, Severity, samples};

#[test]
fn named_rules_switch_the_others_off() {
    let mut rules = RuleChoice::default();
    assert!(RuleName::ALL.into_iter().all(|rule| rules.is_on(rule)));
    rules.choose(RuleName::DetachedContext);
    rules.adjust(RuleName::PrematureCancel, Level::Always(Severity::Info));
    let on: Vec<_> = RuleName::ALL
        .into_iter()
        .filter(|rule| rules.is_on(*rule))
        .collect();
    assert_eq!(on, [RuleName::DetachedContext, RuleName::PrematureCancel]);
}

#[test]
fn a_level_replaces_the_severity() {
    let mut filter = Filter::default();
    let finding = samples::cancel_ignored();
    assert_eq!(filter.judge(&finding), Ok(Severity::Error));
    filter
        .rules
        .adjust(RuleName::CancelIgnored, Level::Always(Severity::Info));
    assert_eq!(filter.judge(&finding), Ok(Severity::Info));
    filter.rules.adjust(RuleName::CancelIgnored, Level::Off);
    assert_eq!(filter.judge(&finding), Err(Silenced::Rule));
}

#[test]
fn allowed_prefixes_end_at_a_name() {
    let finding = samples::cancel_ignored();
    let judge = |rule, site: &str| {
        let allow = vec![Allowed {
            rule,
            site: site.into(),
        }];
        Filter {
            allow,
            ..Filter::default()
        }
        .judge(&finding)
    };
    for site in [
        "example.com/shop",
        "example.com/shop/report",
        "example.com/shop/report.",
        "example.com/shop/report.(*Builder)",
        "example.com/shop/report.(*Builder).wait",
    ] {
        assert_eq!(judge(None, site), Err(Silenced::Allowed), "{site}");
    }
    for site in [
        "example.com/sho",
        "example.com/shop/report.(*Builder).wa",
        "x",
    ] {
        assert_eq!(judge(None, site), Ok(Severity::Error), "{site}");
    }
    let other = Some(RuleName::DetachedContext);
    assert_eq!(judge(other, "example.com/shop"), Ok(Severity::Error));
}

#[test]
fn a_baseline_reads_back() {
    let print = samples::cancel_ignored().fingerprint;
    let prints = BTreeMap::from([
        (print, "cancel-ignored report/build.go:132".to_owned()),
        (Fingerprint(1), "other".to_owned()),
    ]);
    let text = render_baseline(&prints);
    let read = parse_baseline(&text).unwrap();
    assert!(read.iter().eq(prints.keys()));
    assert_eq!(parse_baseline("# fine\n\nnonsense\n"), Err(3));
    assert_eq!(parse_baseline("12\n"), Err(1), "too short for one");
}
