//! The last line of all: what was found, what was lost, what it has cost.

use super::super::tests::{TALLY, terminal};
use super::super::{Human, Terminal, Verbosity};
use crate::finding::{UpdateReason, samples as findings};
use crate::model::Health;
use crate::sink::output::{Output, Tally};
use crate::sink::samples;

/// Two findings of which the first and a third are seen again without a word.
fn seen_again(terminal: Terminal, verbosity: Verbosity) -> String {
    let mut human = Human::new(terminal, verbosity);
    let mut again = findings::cancel_ignored();
    let mut ended = again.clone();
    (ended.count, again.count) = (6, 15);
    again.last_seen_ns = again.first_seen_ns + 44_000_000_000;
    let related = findings::premature_cancel();
    let all = [
        Output::Start(Box::new(samples::start())),
        Output::Finding(Box::new(findings::cancel_ignored())),
        Output::Finding(Box::new(related.clone())),
        Output::Update(Box::new(related), UpdateReason::Related),
        Output::Update(Box::new(ended), UpdateReason::Worse),
        Output::Update(Box::new(again), UpdateReason::Count),
        samples::all().pop().unwrap(),
    ];
    let said: Vec<_> = all.iter().map(|one| human.render(one, &TALLY)).collect();
    said.last().unwrap().stdout.clone()
}

#[test]
fn the_end_tells_counts_that_were_not_shown() {
    let widths = [100, 60, 40].map(|width| seen_again(terminal(width), Verbosity::Normal));
    insta::assert_snapshot!(widths.join("--\n"));
    for text in &widths {
        assert_eq!(text.matches("update[").count(), 1);
    }
    let verbose = seen_again(terminal(100), Verbosity::Verbose);
    assert!(!verbose.contains("update["), "{verbose}");
}

#[test]
fn silence_can_be_trusted() {
    let last = |stats, tally: Tally| {
        let mut human = Human::new(terminal(100), Verbosity::Normal);
        human.render(&Output::Start(Box::new(samples::start())), &tally);
        let end = Output::End(crate::sink::End {
            why: crate::sink::EndReason::Signal,
            stats,
        });
        human.render(&end, &tally).stdout
    };
    let mut clean = samples::stats();
    clean.health = Health::default();
    insta::assert_snapshot!("nothing_found", last(clean.clone(), Tally::default()));
    let mut lossy = clean;
    lossy.requests_unknown = 1;
    lossy.lost.insert(crate::sink::LossCause::RingFull, 1200);
    let tally = Tally {
        silenced: 2,
        dropped: 1,
        ..Tally::default()
    };
    insta::assert_snapshot!("nothing_found_but_lossy", last(lossy, tally));
}

#[test]
fn broken_traceparents_are_told() {
    let mut stats = samples::stats();
    stats.traceparents_broken = 2;
    let end = Output::End(crate::sink::End {
        why: crate::sink::EndReason::Signal,
        stats,
    });
    let mut human = Human::new(terminal(200), Verbosity::Normal);
    let text = human.render(&end, &Tally::default()).stdout;
    assert!(text.contains(" · 2 broken traceparents · "), "{text}");
}

#[test]
fn joins_that_could_be_made_in_two_ways_are_told() {
    let text = |ambiguous| {
        let mut stats = samples::stats();
        stats.joins.ambiguous = ambiguous;
        let why = crate::sink::EndReason::FilesEnded;
        let end = Output::End(crate::sink::End { why, stats });
        let mut human = Human::new(terminal(200), Verbosity::Normal);
        human.render(&end, &Tally::default()).stdout
    };
    assert!(text(1).contains(" · 1 ambiguous join · "), "{}", text(1));
    assert!(text(3).contains(" · 3 ambiguous joins · "), "{}", text(3));
    assert!(!text(0).contains("ambiguous"), "{}", text(0));
}

#[test]
fn a_replay_has_no_cost() {
    let mut stats = samples::stats();
    stats.own_cpu_ns = None;
    stats.target_cpu_ns = None;
    let mut human = Human::new(terminal(100), Verbosity::Normal);
    let why = crate::sink::EndReason::RecordingEnded;
    let end = Output::End(crate::sink::End { why, stats });
    let line = human.render(&end, &TALLY).stdout;
    assert!(!line.contains("cost"), "{line}");
    assert!(line.ends_with("lost\n"), "{line}");
}

#[test]
fn the_last_line_says_how_long_a_close_took_to_arrive() {
    let mut stats = samples::stats();
    stats.delivery = Some(crate::sink::DeliveryTimes {
        count: 3,
        p50_ns: 114_000,
        p99_ns: 2_300_000,
        max_ns: 2_300_000,
    });
    let end = Output::End(crate::sink::End {
        why: crate::sink::EndReason::Signal,
        stats,
    });
    let mut human = Human::new(terminal(100), Verbosity::Normal);
    let text = human.render(&end, &TALLY).stdout;
    let wanted = "3 client closes delivered in 114 µs (p99 2.3 ms)";
    assert!(text.contains(wanted), "{text}");
}
