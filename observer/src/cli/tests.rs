//! Help texts, parsing, and what is handed to the engine.

use std::cell::RefCell;
use std::ffi::OsString;

use clap::Parser as _;

use super::command::{Command, command};
use super::run::{Options, Selector};
use super::{Cli, Engine, check, correlate, generate, goroutines, ps, replay, run, show};
use crate::config::{IdReading, Settings};
use crate::error::{Error, Exit, Subject};
use crate::finding::RuleName;
use crate::picture::Picture;
use crate::sink::{Clock, Delivery, Glyphs, Sinks, Start, Terminal, samples};
use crate::style::Styles;

/// Remembers what it was asked for.
#[derive(Default)]
struct Fake {
    ran: RefCell<Option<Options>>,
}

impl Engine for Fake {
    fn run(&self, options: &Options, _: &mut Sinks) -> Result<(), Error> {
        *self.ran.borrow_mut() = Some(options.clone());
        Ok(())
    }

    fn replay(&self, options: &replay::Options, _: &mut Sinks) -> Result<(), Error> {
        Err(Error::NotARecording {
            path: options.files.iter().collect(),
        })
    }

    fn correlate(&self, options: &correlate::Options, _: &mut Sinks) -> Result<(), Error> {
        Err(Error::NotARecording {
            path: options.files.iter().collect(),
        })
    }

    fn processes(&self) -> Result<Vec<Start>, Error> {
        Ok(vec![samples::start()])
    }

    fn examine(&self, _: &Subject) -> Result<Start, Error> {
        Ok(samples::start())
    }

    fn goroutines(&self, options: &goroutines::Options) -> Result<(Picture, Clock), Error> {
        Err(Error::NoSuchProcess { pid: options.pid })
    }
}

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace().map(OsString::from))
}

fn settings(line: &str) -> Settings {
    match parse(line).unwrap().command {
        Command::Run(args) => args.settings,
        other => panic!("not run: {other:?}"),
    }
}

fn plain() -> Terminal {
    Terminal {
        styles: Styles::new(false),
        glyphs: Glyphs::new(true),
        width: 100,
        verbose: false,
    }
}

#[test]
fn the_command_is_sound() {
    command().debug_assert();
}

#[test]
fn help_of_every_subcommand() {
    let mut command = command().term_width(100);
    command.build();
    insta::assert_snapshot!("help", command.render_help());
    for sub in command.get_subcommands_mut() {
        if sub.get_name() != "help" {
            let name = format!("help_{}", sub.get_name());
            insta::assert_snapshot!(name, sub.render_help());
        }
    }
}

#[test]
fn help_keeps_to_the_width() {
    let mut command = command().term_width(50);
    command.build();
    let help = command.render_long_help().to_string();
    for line in help.lines() {
        assert!(line.chars().count() <= 50, "{line}");
    }
    insta::assert_snapshot!("help_narrow", help);
}

#[test]
fn manual_pages() {
    let pages = generate::pages(command()).unwrap();
    let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "",
        "-run",
        "-ps",
        "-check",
        "-goroutines",
        "-replay",
        "-correlate",
        "-explain",
        "-schema",
    ];
    assert_eq!(names, expected.map(|sub| format!("observer{sub}.1")));
    for (name, page) in &pages {
        assert!(
            page.contains(".SH EXAMPLES\n.nf\n"),
            "{name} has no examples"
        );
        assert!(
            !page.contains("observer\\-help(1)"),
            "{name} names a page that is not there"
        );
    }
    let run = &pages[1].1;
    assert!(run.contains("OBSERVER_GRACE"), "{run}");
    insta::assert_snapshot!(
        "man",
        pages[0].1.replace(env!("CARGO_PKG_VERSION"), "VERSION")
    );
    let (_, after) = run.split_once(".SH EXAMPLES").unwrap();
    insta::assert_snapshot!("man_run_after_the_flags", after);
}

#[test]
fn every_subcommand_has_examples() {
    for sub in command().get_subcommands() {
        let after = sub.get_after_help().map(ToString::to_string);
        assert!(
            after.is_some_and(|after| after.starts_with("Examples:\n")),
            "{}",
            sub.get_name()
        );
    }
}

#[test]
fn every_flag_has_an_environment_variable() {
    for sub in command().get_subcommands() {
        for arg in sub.get_arguments() {
            let Some(long) = arg.get_long().filter(|long| *long != "help") else {
                continue;
            };
            let has_none = matches!(
                (sub.get_name(), long),
                ("replay" | "correlate", "verbose" | "quiet") | ("check" | "goroutines", "pid")
            );
            let expected = format!("OBSERVER_{}", long.to_uppercase().replace('-', "_"));
            let env = arg.get_env().map(|env| env.to_string_lossy().into_owned());
            assert!(
                has_none || env.as_deref() == Some(&expected),
                "{} --{long}: {env:?}",
                sub.get_name()
            );
        }
    }
}

#[test]
fn lists_and_repeats_are_united() {
    let units = "--unit shop,user@7.service --unit s.slice --container 0123456789AB --all";
    let line = format!("observer run --pid 1,2 --pid 3 --exe a --port 8080 {units}");
    let options = Options::new(&settings(&line)).unwrap();
    let expected = [
        Selector::Pid(1),
        Selector::Pid(2),
        Selector::Pid(3),
        Selector::Exe("a".into()),
        Selector::Port(8080),
        Selector::Unit("shop.service".into()),
        Selector::Unit("user@7.service".into()),
        Selector::Unit("s.slice".into()),
        Selector::All,
        Selector::Container("0123456789ab".into()),
    ];
    assert_eq!(options.selectors, expected);
    assert!(!options.wait);
    assert!(!options.ends_with_processes());
}

#[test]
fn defaults() {
    let options = Options::new(&settings("observer run --pid 7")).unwrap();
    assert!(options.ends_with_processes());
    assert_eq!(options.grace.as_millis(), 500);
    assert_eq!(options.request_ids.headers, ["X-Request-Id"]);
    assert_eq!(options.request_ids.reading, IdReading::Always);
    assert!(
        RuleName::ALL
            .into_iter()
            .all(|rule| options.rules.is_on(rule))
    );
    assert_eq!((options.duration, options.redact_path), (None, false));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "observer run --pid 0",
        "observer run --pid x",
        "observer run --port 70000",
        "observer run --pid 1 -v -q",
        "observer run --pid 1 --rule cancel-ignord",
        "observer run --pid 1 --grace 5",
        "observer run --pid 1 --log-max-size lots",
        "observer check --pid 1 ./x",
        "observer replay",
        "observer",
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
    let nothing = Options::new(&settings("observer run")).unwrap_err();
    assert_eq!(nothing.exit(), Exit::Usage);
    let nothing = settings("observer run --all=false --wait");
    assert_eq!(Options::new(&nothing).unwrap_err().exit(), Exit::Usage);
    let header = settings("observer run --pid 1 --request-id-header X:Y");
    assert_eq!(Options::new(&header).unwrap_err().exit(), Exit::Usage);
    for flags in [
        "--surge-factor 0",
        "--surge-times 0",
        "--surge-window 0s",
        "--snapshot-dir /tmp --snapshot-max 0",
        "--snapshot-max 3",
    ] {
        let settings = settings(&format!("observer run --pid 1 {flags}"));
        assert_eq!(
            Options::new(&settings).unwrap_err().exit(),
            Exit::Usage,
            "{flags}"
        );
    }
}

#[test]
fn surges_are_as_the_flags_say() {
    let usual = Options::new(&settings("observer run --pid 1")).unwrap();
    let surges = usual.surges;
    assert_eq!((surges.factor, surges.min, surges.times), (3, 500, 2));
    assert_eq!(surges.window.as_secs(), 60);
    assert_eq!(usual.snapshots, None);
    let all = "--surge-factor 2 --surge-min 9 --surge-times 4 --surge-window 10s --snapshot-dir d";
    let other = Options::new(&settings(&format!("observer run --pid 1 {all}"))).unwrap();
    let surges = other.surges;
    assert_eq!((surges.factor, surges.min, surges.times), (2, 9, 4));
    assert_eq!(surges.window.as_secs(), 10);
    assert_eq!(other.snapshots.unwrap().max, 10);
}

#[test]
fn a_container_is_known_by_its_id_only() {
    let refused = |id: &str| {
        let settings = settings(&format!("observer run --container {id}"));
        Options::new(&settings).unwrap_err()
    };
    for id in ["web", "0123456789a", "0123456789ax"] {
        assert_eq!(refused(id).exit(), Exit::Usage, "{id}");
    }
    insta::assert_snapshot!("container_name", refused("web").render(Styles::new(false)));
}

#[test]
fn a_time_of_nothing_is_refused() {
    let zero = settings("observer run --pid 1 --duration 0");
    assert_eq!(Options::new(&zero).unwrap_err().exit(), Exit::Usage);
    assert!(Options::new(&settings("observer run --pid 1 --grace 0s")).is_ok());
    let log = settings("observer run --pid 1 --log x --log-max-age 0s");
    let error = show::sink_options(&log, Delivery::Bounded).unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
}

#[test]
fn something_has_to_be_checked() {
    let Command::Check(args) = parse("observer check").unwrap().command else {
        panic!("check");
    };
    let error = check::run(args, &Fake::default()).unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.hint().contains("observer check PATH"));
}

#[test]
fn flags_can_take_back_what_the_file_says() {
    let file = Settings {
        redact_path: Some(true),
        ..Settings::default()
    };
    let flags = settings("observer run --pid 1 --redact-path=false");
    assert_eq!(flags.over(file).redact_path, Some(false));
    let flags = settings("observer run --pid 1 --redact-path");
    assert_eq!(flags.redact_path, Some(true));
}

#[test]
fn the_engine_gets_the_options() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("o.toml");
    std::fs::write(&config, "grace = \"2s\"\nexe = [\"other\"]\n").unwrap();
    let engine = Fake::default();
    let args = ["observer", "run", "-q", "--pid", "7", "--config"].map(OsString::from);
    let args = args.into_iter().chain([config.into_os_string()]);
    let Command::Run(args) = Cli::try_parse_from(args).unwrap().command else {
        panic!("run");
    };
    let exit = run::run(*args, &engine).unwrap();
    assert_eq!(exit, Exit::Fine);
    let options = engine.ran.into_inner().unwrap();
    assert_eq!(options.selectors, [Selector::Pid(7)]);
    assert_eq!(options.grace.as_secs(), 2);
}

#[test]
fn an_error_of_the_engine_is_the_programs() {
    let Command::Replay(args) = parse("observer replay x.rec -q --config /dev/null")
        .unwrap()
        .command
    else {
        panic!("replay");
    };
    let error = replay::run(*args, &Fake::default()).unwrap_err();
    assert!(matches!(error, Error::NotARecording { .. }));
}

#[test]
fn the_coverage_report_keeps_to_the_width() {
    let mut start = samples::start();
    for hook in &mut start.hooks {
        hook.reason = Some("the function was inlined: its callers are probed instead".into());
    }
    start.hooks[0].symbol =
        Some("net/http/internal/http2.(*clientStream).cleanupWriteRequest".into());
    for width in [50, 80, 200] {
        let terminal = Terminal { width, ..plain() };
        let text = check::report(&start, &terminal);
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(width), "{width}: {text}");
        let words = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(words(&text), words(&check::report(&start, &plain())));
    }
    let terminal = Terminal {
        width: 50,
        ..plain()
    };
    insta::assert_snapshot!("check_narrow", check::report(&start, &terminal));
}

#[test]
fn tables() {
    let mut other = samples::start();
    let mut process = (*other.process).clone();
    process.pid = 17;
    process.module = String::new();
    process.name = "x\u{1b}[31m".into();
    let mut nameless = other.clone();
    other.process = process.clone().into();
    process.pid = 18;
    process.main_package = "command-line-arguments".into();
    nameless.process = process.into();
    let all = [samples::start(), other, nameless];
    insta::assert_snapshot!("ps", ps::table(&all, &plain()));
    insta::assert_snapshot!("ps_none", ps::table(&[], &plain()));
    insta::assert_snapshot!("check", check::report(&samples::start(), &plain()));
}

#[test]
fn headers_that_cannot_be_looked_for_are_refused() {
    let refused = |flags: &str| {
        let line = format!("observer run --pid 7 {flags}");
        match Options::new(&settings(&line)).unwrap_err() {
            Error::Usage { problem, remedy } => (problem, remedy),
            other => panic!("{other:?}"),
        }
    };
    let four = "--request-id-header A,B,C --request-id-header D";
    let (problem, remedy) = refused(four);
    assert!(problem.contains("more headers than the 3"), "{problem}");
    assert!(remedy.contains("--request-ids lazy"), "{remedy}");
    let long = format!("--request-id-header X-{}", "n".repeat(31));
    let (problem, _) = refused(&long);
    assert!(problem.contains("longer than the 32 bytes"), "{problem}");
    let (problem, _) = refused("--request-id-header X:Y");
    assert!(problem.contains("cannot be the name"), "{problem}");
    let many = format!(
        "--request-ids lazy --request-id-header {}",
        vec!["A"; 17].join(",")
    );
    let (problem, remedy) = refused(&many);
    assert!(problem.contains("more headers than the 16"), "{problem}");
    assert!(!remedy.contains("lazy"), "{remedy}");

    let (problem, _) = refused("--deadline-header A,B=s,C");
    assert!(problem.contains("more headers than the 2"), "{problem}");
    let (problem, _) = refused("--deadline-header X:Y");
    assert!(problem.contains("cannot be the name"), "{problem}");
    let longer = format!("--deadline-header X-{}", "n".repeat(31));
    let (problem, _) = refused(&longer);
    assert!(problem.contains("longer than the 32 bytes"), "{problem}");
    for id in ["x-request-id", "traceparent"] {
        let (problem, _) = refused(&format!("--deadline-header {id}"));
        assert!(problem.contains("is the name of an ID"), "{problem}");
    }

    // The trace header has a place of its own.
    for fits in [
        "--request-id-header A,traceparent,B,C",
        &format!("{four} --request-ids lazy"),
        &format!("{long} --request-ids lazy"),
    ] {
        let line = format!("observer run --pid 7 {fits}");
        Options::new(&settings(&line)).unwrap();
    }
}
