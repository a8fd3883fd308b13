//! The human form on several terminals.

use super::block::finding_block;
use super::{Glyphs, Human, Terminal, Verbosity};
use crate::finding::{
    CallOutcome, GoroutineEvidence, RuleName, UpdateReason, WorkState, samples as findings,
};
use crate::go::{Frame, Stack};
use crate::sink::output::{Output, Tally};
use crate::sink::samples;
use crate::style::Styles;

pub(super) const TALLY: Tally = Tally {
    errors: 1,
    warnings: 1,
    infos: 0,
    silenced: 0,
    dropped: 0,
};

pub(super) fn terminal(width: usize) -> Terminal {
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

/// The goroutine that works stands below where its handler waits.
#[test]
fn a_goroutine_is_told_with_its_go_statement() {
    let mut finding = findings::cancel_ignored();
    finding.evidence.goroutine = Some(Box::new(GoroutineEvidence {
        goid: 34,
        started_at: finding.site.clone(),
        state: Some(WorkState::Waiting),
        wait_reason: Some("sleep".into()),
        others: 1,
    }));
    let text = finding_block(&finding, &terminal(120), false);
    let row = text.lines().find(|line| line.contains("started"));
    let row = row.expect("no such row").trim();
    let site = finding.site.expect("no site");
    assert!(row.starts_with("started"), "{row}");
    assert!(row.contains(&*site.function), "{row}");
    assert!(row.contains(&format!(":{}", site.line)), "{row}");
    assert!(row.ends_with("goroutine 34   sleep   1 more"), "{row}");
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
fn very_narrow() {
    insta::assert_snapshot!(session(terminal(50), Verbosity::Normal));
}

#[test]
fn two_processes() {
    for (width, name) in [(100, "two_processes"), (50, "two_processes_narrow")] {
        let mut human = Human::new(terminal(width), Verbosity::Normal);
        let output = Output::Finding(Box::new(findings::orphaned_downstream()));
        insta::assert_snapshot!(name, human.render(&output, &TALLY).stdout);
    }
}

#[test]
fn a_stack_that_is_cut_says_so() {
    let mut finding = findings::cancel_ignored();
    finding.stack = Stack::cut(finding.stack[..3].to_vec());
    let output = Output::Finding(Box::new(finding));
    for verbose in [false, true] {
        let terminal = Terminal {
            verbose,
            ..terminal(100)
        };
        let text = Human::new(terminal, Verbosity::Normal)
            .render(&output, &TALLY)
            .stdout;
        let via = text.lines().find(|line| line.starts_with("  via"));
        assert_eq!(
            via,
            Some("  via      … > api.GetReport > report.(*Builder).Build")
        );
        assert_eq!(text.contains("… and more, which were not read"), verbose);
    }
}

#[test]
fn what_has_grown_and_where_it_is_kept() {
    for (width, name) in [(100, "surge"), (60, "surge_narrow")] {
        let mut human = Human::new(terminal(width), Verbosity::Normal);
        let output = Output::Finding(Box::new(findings::goroutine_surge()));
        insta::assert_snapshot!(name, human.render(&output, &TALLY).stdout);
    }
}

#[test]
fn a_surge_that_comes_again_names_its_newest_file() {
    let mut human = Human::new(terminal(100), Verbosity::Normal);
    let mut finding = findings::goroutine_surge();
    let _shown = human.render(&Output::Finding(Box::new(finding.clone())), &TALLY);
    let surge = finding.evidence.surge.as_mut().unwrap();
    surge.snapshot = Some("/var/lib/observer/the-newest.txt".into());
    let again = Output::Update(Box::new(finding), UpdateReason::Worse);
    let text = human.render(&again, &TALLY).stdout;
    assert!(text.contains("/var/lib/observer/the-newest.txt"), "{text}");
    assert!(text.contains("grown"), "{text}");
}

#[test]
fn a_leak_tells_of_all_of_its_kind() {
    let mut finding = findings::cancel_ignored();
    finding.rule = RuleName::GoroutineLeak;
    finding.evidence.live = Some(1_200);
    finding.evidence.stack_bytes = Some(131_072);
    finding.evidence.per_hour = Some(720);
    let mut human = Human::new(terminal(120), Verbosity::Normal);
    let output = Output::Finding(Box::new(finding));
    let text = human.render(&output, &TALLY).stdout;
    assert!(
        text.contains("200 live, 128.0 KiB of stack, 720 per hour"),
        "{text}"
    );
}

#[test]
fn a_leak_tells_what_has_started_it_and_where_it_waits() {
    let mut finding = findings::cancel_ignored();
    finding.rule = RuleName::GoroutineLeak;
    let frame = |function: &str, file: &str, line| Frame {
        function: function.into(),
        file: file.into(),
        line,
    };
    finding.site = Some(frame("main.fill", "/src/shop/fill.go", 40));
    let waits = [
        frame("sync.(*RWMutex).RLock", "/go/src/sync/rwmutex.go", 74),
        frame("main.fill.func1", "/src/shop/fill.go", 47),
    ];
    finding.stack = waits.to_vec().into();
    finding.evidence.wait_reason = Some("sync.RWMutex.RLock".into());
    finding.evidence.wait_ns = None;
    let mut human = Human::new(terminal(120), Verbosity::Normal);
    let output = Output::Finding(Box::new(finding));
    let text = human.render(&output, &TALLY).stdout;
    let row = |label: &str| {
        let mut lines = text.lines().map(|line| line.split_whitespace());
        let line = lines.find(|line| line.clone().next() == Some(label));
        line.map(|line| line.skip(1).collect::<Vec<_>>())
    };
    assert_eq!(row("at"), Some(vec!["main.fill", "fill.go:40"]), "{text}");
    assert_eq!(
        row("waits"),
        Some(vec!["main.fill.func1", "fill.go:47", "sync.RWMutex.RLock"])
    );
}

#[test]
fn a_headline_keeps_to_the_width() {
    let mut finding = findings::cancel_ignored();
    finding.message = "http.Server.WriteTimeout of the server fired".into();
    for width in [40, 50, 80] {
        let mut human = Human::new(terminal(width), Verbosity::Normal);
        let output = Output::Finding(Box::new(finding.clone()));
        let text = human.render(&output, &TALLY).stdout;
        let head: Vec<&str> = text
            .lines()
            .take_while(|line| !line.starts_with("  r"))
            .collect();
        let fits = |line: &&str| line.chars().count() <= width && line.trim_end() == *line;
        assert!(head.iter().all(fits), "{width}: {head:?}");
    }
}

#[test]
fn a_narrow_terminal_loses_no_id_and_no_time() {
    let mut short = findings::cancel_ignored();
    let mut long = short.clone();
    let id = "5f0c9a3e-7d41-4c5e-9b7a-2f6f1f0d8c11";
    if let Some(request) = &mut long.request {
        request.id = Some(id.into());
        request.path = Some("/a/rather/long/path/to/a/report/with/a/name".into());
    }
    let shown = |finding: &crate::finding::Finding, width| {
        let mut human = Human::new(terminal(width), Verbosity::Normal);
        let output = Output::Finding(Box::new(finding.clone()));
        human.render(&output, &TALLY).stdout
    };
    for width in 40..=140 {
        let text = shown(&long, width);
        let pieces: Vec<&str> = text.split_whitespace().collect();
        // An ID wider than the line goes on in the next one.
        assert!(pieces.concat().contains(id), "{width}: {text}");
        let times = ["120 ms client closed", "4.43 s returned"];
        let [closed, returned] = times.map(|time| pieces.join(" ").contains(time));
        assert!(closed || width < 50, "{width}: {text}");
        assert_eq!(closed, returned, "{width}: {text}");
    }
    for width in 50..=140 {
        let text = shown(&short, width);
        assert!(text.contains("✂ context.Background"), "{width}: {text}");
    }
    // Where the root is not the request, it is what the finding is about.
    short.context.reverse();
    short.context[0].label = "a context whose name is rather long".into();
    for width in 50..=140 {
        let text = shown(&short, width);
        assert!(text.contains("context.Background"), "{width}: {text}");
    }
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
fn quiet_says_nothing_on_stderr_but_warnings() {
    let text = session(terminal(100), Verbosity::Quiet);
    let said = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("2|"));
        lines.map(str::to_owned).collect()
    };
    let loud = said(&session(terminal(100), Verbosity::Normal));
    let warnings = loud.iter().filter(|line| line.starts_with("2| warning: "));
    assert!(warnings.clone().count() < loud.len(), "{loud:?}");
    assert!(warnings.eq(&said(&text)), "{text}");
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
fn an_id_cannot_steer_the_terminal_and_says_where_it_was_cut() {
    let mut finding = findings::cancel_ignored();
    let request = finding.request.as_mut().unwrap();
    request.id = Some(format!("a\u{9b}2J\u{1b}[2J{}", "é".repeat(100)));
    request.id_truncated = true;
    let mut human = Human::new(terminal(80), Verbosity::Normal);
    let text = human
        .render(&Output::Finding(Box::new(finding)), &TALLY)
        .stdout;
    let row = text
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("  at "));
    let row: String = row.map(str::trim_start).collect();
    let id = format!(r"id a\u{{9b}}2J\u{{1b}}[2J{}…", "é".repeat(100));
    assert!(row.contains(&id), "{text}");
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?}"
    );
}

#[test]
fn a_running_case_and_its_end() {
    let mut running = findings::cancel_ignored();
    running.message = "handler works on, 500 ms after the client left".into();
    running.evidence.state = Some(WorkState::Waiting);
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

/// Work that an http.TimeoutHandler lets go outlives its request's answer.
#[test]
fn the_answer_of_a_timeout_handler_is_not_the_end_of_the_work() {
    let mut finding = findings::cancel_ignored();
    if let Some(request) = &mut finding.request {
        request.duration_ns = Some(301_000_000);
    }
    let time = |finding: &crate::finding::Finding| {
        let mut human = Human::new(terminal(100), Verbosity::Normal);
        let text = human
            .render(&Output::Finding(Box::new(finding.clone())), &TALLY)
            .stdout;
        let line = text.lines().find(|line| line.starts_with("  time"));
        let words = line.unwrap().split_whitespace().skip(1);
        let shown: Vec<&str> = words.filter(|word| !word.starts_with('─')).collect();
        shown.join(" ")
    };
    assert_eq!(
        time(&finding),
        "0 start 120 ms client closed 301 ms answered 4.43 s work ended"
    );
    finding.evidence.state = Some(WorkState::Waiting);
    finding.evidence.after_cancel_ns = Some(500_000_000);
    assert_eq!(
        time(&finding),
        "0 start 120 ms client closed 301 ms answered 620 ms still running"
    );
}

#[test]
fn a_site_of_several_routes_lists_them() {
    let mut finding = findings::cancel_ignored();
    let shows = |finding: &crate::finding::Finding| {
        let mut human = Human::new(terminal(100), Verbosity::Normal);
        let text = human
            .render(&Output::Finding(Box::new(finding.clone())), &TALLY)
            .stdout;
        let line = text.lines().find(|line| line.starts_with("  routes"));
        line.map(str::to_owned)
    };
    assert_eq!(shows(&finding), None, "one route stands in `request`");
    finding.routes.count("/report/{}");
    finding.routes.count("/export");
    finding.routes.others = 7;
    assert_eq!(
        shows(&finding).unwrap(),
        "  routes   /report/{} 2   /export 1   others 7"
    );
}

#[test]
fn a_line_whose_cases_died_of_different_things_lists_them() {
    let mut finding = findings::cancel_ignored();
    let shows = |finding: &crate::finding::Finding| {
        let mut human = Human::new(terminal(100), Verbosity::Normal);
        let text = human
            .render(&Output::Finding(Box::new(finding.clone())), &TALLY)
            .stdout;
        let line = text.lines().find(|line| line.starts_with("  causes"));
        line.map(str::to_owned)
    };
    finding.causes.note(&finding.evidence);
    assert_eq!(shows(&finding), None, "one cause stands in the timeline");
    let mut other = finding.evidence.clone();
    other.cancelled_by = Some(crate::finding::CancelledBy::Code);
    other.cancel_site = Some(findings::frame("main.stop", "/src/stop.go", 9));
    finding.causes.note(&other);
    assert_eq!(
        shows(&finding).unwrap(),
        "  causes   client closed   cancelled by code stop.go:9"
    );
}

#[test]
fn a_relation_alone_is_for_the_verbose() {
    let related = Output::Update(
        Box::new(findings::premature_cancel()),
        UpdateReason::Related,
    );
    let mut human = Human::new(terminal(100), Verbosity::Normal);
    assert_eq!(human.render(&related, &TALLY).stdout, "");
    let verbose = Terminal {
        verbose: true,
        ..terminal(100)
    };
    let text = Human::new(verbose, Verbosity::Verbose)
        .render(&related, &TALLY)
        .stdout;
    assert!(text.contains("see also 0000000000001234"), "{text}");
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
    assert!(text.contains("115 ms peer closed"), "{text}");
    assert!(text.contains("120 ms cancelled"), "{text}");
    // Nobody told the request, which runs.
    finding.evidence.cancelled_at_ns = None;
    finding.evidence.state = Some(WorkState::Waiting);
    finding.evidence.after_close_ns = Some(500_000_000);
    if let Some(request) = &mut finding.request {
        request.duration_ns = None;
    }
    let text = shown(finding);
    assert!(text.contains("615 ms still running"), "{text}");
    assert!(!text.contains("cancelled"), "{text}");
}

/// A call that is told of when it begins has no length yet, and its request no course.
#[test]
fn a_call_has_the_length_that_is_known() {
    let shown = |outcome, duration_ns, returned_ns| {
        let mut finding = findings::premature_cancel();
        finding.evidence.cancelled_by = None;
        finding.evidence.cancelled_at_ns = None;
        if let Some(call) = &mut finding.evidence.call {
            (call.outcome, call.duration_ns) = (outcome, duration_ns);
        }
        if let Some(request) = &mut finding.request {
            request.duration_ns = returned_ns;
        }
        let mut human = Human::new(terminal(100), Verbosity::Normal);
        let text = human.render(&Output::Finding(Box::new(finding)), &TALLY);
        let row = |name: &str| {
            let line = text.stdout.lines().find(|line| line.starts_with(name));
            line.map(|line| {
                line.split_whitespace()
                    .skip(1)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        (row("  call").unwrap(), row("  time"))
    };
    let call = "http GET store:8080/item/7";
    for (outcome, duration_ns, length) in [
        (CallOutcome::Running, Some(0), " just begun"),
        (CallOutcome::Running, Some(40_000), " 40 µs so far"),
        (CallOutcome::Done, Some(3_000_000), " 3 ms"),
        (CallOutcome::Unknown, None, ""),
    ] {
        let (row, _) = shown(outcome, duration_ns, None);
        assert_eq!(row, format!("{call}{length}"));
    }
    assert_eq!(shown(CallOutcome::Running, Some(0), None).1, None);
    let (_, course) = shown(CallOutcome::Running, Some(0), Some(20_000_000));
    assert!(course.unwrap().ends_with("20 ms returned"));
}
