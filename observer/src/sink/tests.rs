//! Queues, filtering, exit codes and failing outputs.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{
    Delivery, End, EndReason, Format, Glyphs, LogOptions, Output, PATIENCE, QUEUE_LIMIT,
    SinkOptions, Sinks, Terminal, Verbosity, samples,
};
use crate::error::{Error, Exit, Notice};
use crate::finding::{
    Filter, Level, RuleName, Severity, UpdateReason, parse_baseline, samples as findings,
};
use crate::style::{Styles, locale_is_utf8};

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fails every write in one way.
struct Failing(io::ErrorKind);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocks until it is let go, then writes.
struct Stuck(Receiver<()>, Buffer);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Err once the sender is gone: free for good.
        let _free = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn stuck() -> (Stuck, Sender<()>, Buffer) {
    let (sender, receiver) = channel();
    let buffer = Buffer::default();
    (Stuck(receiver, buffer.clone()), sender, buffer)
}

fn human() -> Format {
    Format::Human(Terminal {
        styles: Styles::new(false),
        glyphs: Glyphs::new(true),
        width: 100,
        verbose: false,
    })
}

#[test]
fn findings_follow_the_width_of_the_terminal() {
    static WIDTH: AtomicUsize = AtomicUsize::new(100);
    let options = SinkOptions {
        format: human(),
        width: Some(|| WIDTH.fetch_sub(50, Ordering::Relaxed)),
        delivery: Delivery::Lossless,
        ..options()
    };
    let stdout = Buffer::default();
    let mut sinks = Sinks::on(options, stdout.clone(), Buffer::default).unwrap();
    for _ in 0..2 {
        sinks.emit(Output::Finding(Box::new(findings::cancel_ignored())));
    }
    sinks.finish().unwrap();
    let text = stdout.text();
    let widest = |block: &str| block.lines().map(|line| line.chars().count()).max();
    let widths: Vec<usize> = text.split("\n\n").filter_map(widest).collect();
    assert!(
        matches!(widths[..], [51..=100, 1..=50]),
        "{widths:?}: {text}"
    );
}

#[test]
fn quiet_or_not_warnings_are_said() {
    for (format, verbosity) in [
        (human(), Verbosity::Quiet),
        (Format::Json, Verbosity::Quiet),
        (Format::Json, Verbosity::Normal),
    ] {
        let options = SinkOptions {
            format,
            verbosity,
            ..options()
        };
        let stderr = Buffer::default();
        let full = Failing(io::ErrorKind::StorageFull);
        let mut sinks = Sinks::on(options, full, || stderr.clone()).unwrap();
        sinks.emit(Output::Start(Box::new(samples::start())));
        sinks.emit(Output::Notice(Notice::SecondObserver { pid: 7 }));
        sinks.emit(Output::Finding(Box::new(findings::cancel_ignored())));
        sinks.finish().unwrap_err();
        let mut said: Vec<String> = stderr.text().lines().map(str::to_owned).collect();
        said.sort();
        let [second, failed] = &said[..] else {
            panic!("{format:?} {verbosity:?}: {said:?}");
        };
        assert!(second.starts_with("warning: another observer"), "{second}");
        assert!(failed.starts_with("warning: cannot write"), "{failed}");
    }
}

fn with_baseline(path: &std::path::Path) -> SinkOptions {
    SinkOptions {
        write_baseline: Some(path.to_owned()),
        ..options()
    }
}

#[test]
fn a_baseline_that_cannot_be_written_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path| Sinks::on(with_baseline(path), Buffer::default(), Buffer::default);
    let missing = folder.path().join("no/baseline");
    for path in [folder.path(), &missing] {
        let error = open(path).unwrap_err();
        assert_eq!(error.exit(), Exit::Output);
        assert!(!error.hint().contains("space"), "{}", error.hint());
    }
    open(&folder.path().join("baseline")).unwrap();
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "trying leaves nothing behind");
}

#[test]
fn a_baseline_into_a_pipe_does_not_replace_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let sinks = Sinks::on(with_baseline(&pipe), Buffer::default(), Buffer::default).unwrap();
    let reader = {
        let pipe = pipe.clone();
        std::thread::spawn(move || std::fs::read_to_string(pipe).unwrap())
    };
    sinks.finish().unwrap();
    assert!(!reader.join().unwrap().is_empty());
    assert!(!pipe.is_file());
}

fn options() -> SinkOptions {
    SinkOptions {
        format: Format::Json,
        width: None,
        stderr: Styles::new(false),
        verbosity: Verbosity::Normal,
        log: None,
        filter: Filter::default(),
        write_baseline: None,
        fail_on: None,
        delivery: Delivery::Bounded,
    }
}

fn end() -> Output {
    Output::End(End {
        why: EndReason::Duration,
        stats: samples::stats(),
    })
}

fn run(options: SinkOptions) -> (Result<Exit, Error>, String, String) {
    let (out, err) = (Buffer::default(), Buffer::default());
    let mut sinks = Sinks::on(options, out.clone(), || err.clone()).unwrap();
    sinks.set_clock(samples::CLOCK);
    for output in samples::all() {
        sinks.emit(output);
    }
    let exit = sinks.finish();
    (exit, out.text(), err.text())
}

fn last(text: &str) -> serde_json::Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn all_lines_arrive_in_order_and_notices_go_to_stderr() {
    let (exit, out, err) = run(options());
    assert_eq!(exit.unwrap(), Exit::Fine);
    let types: Vec<String> = out
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["type"].as_str().unwrap().to_owned()
        })
        .collect();
    let expected = [
        "start", "finding", "finding", "update", "loss", "stop", "stats", "end",
    ];
    assert_eq!(types, expected);
    let end = last(&out);
    assert_eq!(
        (&end["findings"]["error"], &end["findings"]["warning"]),
        (&1.into(), &1.into())
    );
    let said: Vec<&str> = err.lines().collect();
    let [lost, no_btf] = said[..] else {
        panic!("{err}");
    };
    assert!(lost.starts_with("warning: 13 events lost"), "{err}");
    assert!(
        no_btf.starts_with("warning: this kernel has no BTF"),
        "{err}"
    );
}

#[test]
fn fail_on_looks_at_what_is_shown() {
    let with = |fail_on, filter| {
        let (exit, ..) = run(SinkOptions {
            fail_on: Some(fail_on),
            filter,
            ..options()
        });
        exit.unwrap()
    };
    assert_eq!(with(Severity::Error, Filter::default()), Exit::Findings);
    let mut filter = Filter::default();
    filter
        .baseline
        .insert(findings::cancel_ignored().fingerprint);
    assert_eq!(with(Severity::Error, filter.clone()), Exit::Fine);
    assert_eq!(with(Severity::Warning, filter), Exit::Findings);
}

#[test]
fn a_baseline_silences_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known.txt");
    let (exit, ..) = run(SinkOptions {
        write_baseline: Some(path.clone()),
        ..options()
    });
    assert_eq!(exit.unwrap(), Exit::Fine);
    let text = std::fs::read_to_string(path).unwrap();
    assert!(
        text.contains("# cancel-ignored report/build.go:132"),
        "{text}"
    );
    let filter = Filter {
        baseline: parse_baseline(&text).unwrap(),
        ..Filter::default()
    };
    let (exit, out, _) = run(SinkOptions {
        filter,
        fail_on: Some(Severity::Info),
        ..options()
    });
    assert_eq!(exit.unwrap(), Exit::Fine);
    assert!(!out.contains("\"finding\""), "{out}");
    assert_eq!(last(&out)["findings"]["silenced"], 2);
}

#[test]
fn a_rule_that_is_off_is_not_counted_as_silenced() {
    let mut filter = Filter::default();
    filter.rules.adjust(RuleName::CancelIgnored, Level::Off);
    let (_, out, _) = run(SinkOptions {
        filter,
        ..options()
    });
    assert!(!out.contains("\"cancel-ignored\""), "{out}");
    assert_eq!(last(&out)["findings"]["silenced"], 0);
    assert_eq!(last(&out)["findings"]["warning"], 1);
}

#[test]
fn a_rising_severity_moves_its_count() {
    let (out, err) = (Buffer::default(), Buffer::default());
    let mut sinks = Sinks::on(options(), out.clone(), || err.clone()).unwrap();
    let mut finding = findings::cancel_ignored();
    finding.severity = Severity::Warning;
    sinks.emit(Output::Finding(Box::new(finding.clone())));
    finding.severity = Severity::Error;
    sinks.emit(Output::Update(Box::new(finding), UpdateReason::Severity));
    sinks.emit(end());
    sinks.finish().unwrap();
    let end = last(&out.text());
    assert_eq!(
        (&end["findings"]["error"], &end["findings"]["warning"]),
        (&1.into(), &0.into())
    );
}

#[test]
fn a_closed_pipe_ends_the_run_with_success() {
    let mut options = options();
    options.fail_on = Some(Severity::Info);
    let err = Buffer::default();
    let mut sinks = Sinks::on(options, Failing(io::ErrorKind::BrokenPipe), || err.clone()).unwrap();
    sinks.emit(Output::Finding(Box::new(findings::cancel_ignored())));
    let deadline = Instant::now() + Duration::from_secs(5);
    while !sinks.is_closed() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(sinks.is_closed());
    sinks.emit(end());
    assert_eq!(sinks.finish().unwrap(), Exit::Fine);
    assert_eq!(err.text(), "");
}

#[test]
fn a_reader_that_leaves_is_noticed_while_nothing_is_written() {
    let sinks = Sinks::with(options(), Buffer::default(), Buffer::default, || true).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !sinks.is_closed() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(sinks.is_closed());

    let (reader, writer) = io::pipe().unwrap();
    assert!(!super::queue::is_gone(&writer));
    drop(reader);
    assert!(super::queue::is_gone(&writer));
    assert!(!super::queue::is_gone(
        std::fs::File::open("/dev/null").unwrap()
    ));
}

#[test]
fn a_full_disk_is_said_once_and_fails_the_run_at_its_end() {
    let err = Buffer::default();
    let full = Failing(io::ErrorKind::StorageFull);
    let mut sinks = Sinks::on(options(), full, || err.clone()).unwrap();
    for output in samples::all() {
        sinks.emit(output);
    }
    assert!(!sinks.is_closed());
    let error = sinks.finish().unwrap_err();
    assert_eq!(error.exit(), Exit::Output);
    assert_eq!(err.text().matches("cannot write stdout").count(), 1);
}

#[test]
fn a_log_on_a_full_disk_does_not_touch_stdout() {
    let (exit, out, err) = run(SinkOptions {
        log: Some(LogOptions {
            path: "/dev/full".into(),
            max_size: 1 << 20,
            max_age: Duration::from_secs(60),
            max_total: 1 << 20,
        }),
        ..options()
    });
    assert_eq!(exit.unwrap_err().exit(), Exit::Output);
    assert_eq!(out.lines().count(), 8);
    assert_eq!(last(&out)["lines_dropped"], 0, "of stdout");
    assert!(err.contains("cannot write the log `/dev/full`"), "{err}");
}

#[test]
fn a_slow_reader_costs_lines_and_not_the_engine() {
    let (out, free, buffer) = stuck();
    let err = Buffer::default();
    let mut sinks = Sinks::on(options(), out, || err.clone()).unwrap();
    let began = Instant::now();
    let extra = 10;
    for _ in 0..QUEUE_LIMIT + 1 + extra {
        sinks.emit(Output::Stats(samples::stats()));
    }
    assert!(began.elapsed() < PATIENCE, "emit waited for the reader");
    drop(free);
    sinks.emit(end());
    assert_eq!(sinks.finish().unwrap(), Exit::Fine);
    let dropped = last(&buffer.text())["lines_dropped"].as_u64().unwrap();
    let expected = extra as u64;
    assert!((expected..=expected + 1).contains(&dropped), "{dropped}");
    assert!(err.text().contains("read too slowly"), "{}", err.text());
}

#[test]
fn a_reader_that_never_reads_holds_up_the_end_for_a_second_at_most() {
    let (out, _free, _) = stuck();
    let err = Buffer::default();
    let mut sinks = Sinks::on(options(), out, || err.clone()).unwrap();
    sinks.emit(end());
    let began = Instant::now();
    let error = sinks.finish().unwrap_err();
    assert_eq!(error.exit(), Exit::Output);
    assert!(began.elapsed() < PATIENCE * 3);
}

#[test]
fn a_replay_waits_for_its_reader() {
    let (out, free, buffer) = stuck();
    let mut options = options();
    options.delivery = Delivery::Lossless;
    let err = Buffer::default();
    let mut sinks = Sinks::on(options, out, || err.clone()).unwrap();
    let lines = QUEUE_LIMIT + 50;
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        drop(free);
    });
    for _ in 0..lines {
        sinks.emit(Output::Stats(samples::stats()));
    }
    sinks.finish().unwrap();
    assert_eq!(buffer.text().lines().count(), lines);
}

#[test]
fn the_first_locale_that_is_set_decides() {
    let locale = |pairs: &[(&str, &str)]| {
        locale_is_utf8(|name| {
            let pair = pairs.iter().find(|(key, _)| *key == name);
            pair.map(|(_, value)| (*value).to_owned())
        })
    };
    assert!(locale(&[("LANG", "de_DE.UTF-8")]));
    assert!(!locale(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
    assert!(locale(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]));
    assert!(!locale(&[]));
}
