//! The human form on several terminals.

use super::{Glyphs, Human, Terminal, Verbosity};
use crate::finding::{UpdateReason, samples as findings};
use crate::sink::output::{Output, Tally};
use crate::sink::{Styles, samples};

const TALLY: Tally = Tally {
    errors: 1,
    warnings: 1,
    infos: 0,
    silenced: 0,
    dropped: 0,
};

fn terminal(width: usize) -> Terminal {
    Terminal {
        styles: Styles::new(false),
        glyphs: Glyphs::new(true),
        width,
        verbose: false,
    }
}

/// Everything that can be said, stderr lines marked.
fn session(terminal: Terminal, verbosity: Verbosity) -> String {
    let mut human = Human::new(terminal, verbosity);
    let mut text = String::new();
    for output in samples::all() {
        let rendered = human.render(&output, &TALLY);
        for line in rendered.stderr.lines() {
            text.push_str(&format!("2| {line}\n"));
        }
        for line in rendered.stdout.lines() {
            text.push_str(format!("1| {line}").trim_end());
            text.push('\n');
        }
    }
    text
}

#[test]
fn plain() {
    insta::assert_snapshot!(session(terminal(100), Verbosity::Normal));
}

#[test]
fn colour() {
    let terminal = Terminal {
        styles: Styles::new(true),
        ..terminal(100)
    };
    insta::assert_snapshot!(session(terminal, Verbosity::Normal).replace('\u{1b}', "ESC"));
}

#[test]
fn ascii() {
    let terminal = Terminal {
        glyphs: Glyphs::new(false),
        ..terminal(100)
    };
    let text = session(terminal, Verbosity::Normal);
    assert!(text.is_ascii(), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn narrow() {
    insta::assert_snapshot!(session(terminal(60), Verbosity::Normal));
}

#[test]
fn verbose() {
    let terminal = Terminal {
        verbose: true,
        ..terminal(100)
    };
    insta::assert_snapshot!(session(terminal, Verbosity::Verbose));
}

#[test]
fn quiet_says_nothing_on_stderr() {
    let text = session(terminal(100), Verbosity::Quiet);
    assert!(text.lines().all(|line| line.starts_with("1|")), "{text}");
}

#[test]
fn at_most_ten_lines_within_the_width() {
    let mut finding = findings::cancel_ignored();
    finding.count = 9;
    finding.related = vec![1];
    finding.caller = finding.site.clone();
    finding.evidence.call = findings::premature_cancel().evidence.call;
    finding.evidence.cancel_site = finding.site.clone();
    finding.message = "word ".repeat(60);
    finding.help = "word ".repeat(60);
    for width in 40..=140 {
        let mut human = Human::new(terminal(width), Verbosity::Normal);
        let output = Output::Finding(Box::new(finding.clone()));
        let text = human.render(&output, &TALLY).stdout;
        let lines: Vec<&str> = text.trim_end().lines().collect();
        assert!(lines.len() <= 10, "{width}: {text}");
        for line in lines {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        assert!(text.contains("  help"), "{text}");
        assert!(text.contains("  at "), "{text}");
    }
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
    insta::assert_snapshot!("nothing_found", last(samples::stats(), Tally::default()));
    let mut lossy = samples::stats();
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
fn a_running_case_and_its_end() {
    let mut running = findings::cancel_ignored();
    running.message = "handler works on, 500 ms after the client left".into();
    running.evidence.state = Some(crate::finding::WorkState::Waiting);
    running.evidence.after_cancel_ns = Some(500_000_000);
    if let Some(request) = &mut running.request {
        request.duration_ns = None;
    }
    let mut human = Human::new(terminal(100), Verbosity::Normal);
    let first = human.render(&Output::Finding(Box::new(running)), &TALLY);
    let ended = Output::Update(Box::new(findings::cancel_ignored()), UpdateReason::Ended);
    let second = human.render(&ended, &TALLY);
    insta::assert_snapshot!(first.stdout + &second.stdout);
}

#[test]
fn a_close_and_the_cancel_that_it_led_to_are_two_moments() {
    let shown = |finding| {
        let mut human = Human::new(terminal(120), Verbosity::Normal);
        let output = Output::Finding(Box::new(finding));
        human.render(&output, &TALLY).stdout
    };
    let mut finding = findings::cancel_ignored();
    finding.evidence.peer_closed_at_ns = Some(findings::START_NS + 115_000_000);
    let text = shown(finding.clone());
    assert!(text.contains("115 ms client closed"), "{text}");
    assert!(text.contains("120 ms cancelled"), "{text}");
    // Nobody told the request, which runs.
    finding.evidence.cancelled_at_ns = None;
    finding.evidence.state = Some(crate::finding::WorkState::Waiting);
    finding.evidence.after_close_ns = Some(500_000_000);
    if let Some(request) = &mut finding.request {
        request.duration_ns = None;
    }
    let text = shown(finding);
    assert!(text.contains("615 ms still running"), "{text}");
    assert!(!text.contains("cancelled"), "{text}");
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
