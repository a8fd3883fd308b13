//! How every error looks, and how it exits.

use std::io;

use super::{Error, Exit, Notice, Subject, UnknownKey};
use crate::style::Styles;

fn denied() -> io::Error {
    io::Error::from_raw_os_error(13)
}

/// One of each variant.
fn all() -> Vec<Error> {
    let path = || "/srv/shop/shop-api".into();
    vec![
        Error::NoSuchProcess { pid: 4121 },
        Error::NotGo {
            subject: Subject::Pid(4121),
            why: "no .gopclntab section and no build info".into(),
        },
        Error::Unobservable {
            subject: Subject::Pid(4121),
            hook: "context-cancel",
            why: "inlined into other functions, as a build with a profile does: context.(*cancelCtx).cancel".into(),
        },
        Error::GoTooOld {
            subject: Subject::Path(path()),
            version: "go1.16.15".into(),
        },
        Error::ProcessExited { pid: 4121 },
        Error::ExitedWhileRead { pid: 4121 },
        Error::NoGoroutines {
            pid: 4121,
            why: "runtime.forEachGRace and runtime.atomicAllG are missing".into(),
        },
        Error::ProcessReplaced {
            pid: 4121,
            exe: "/bin/sh".into(),
        },
        Error::MissingCapability {
            action: "attach to pid 4121".into(),
            capability: "CAP_PERFMON",
        },
        Error::Denied {
            action: "attach to pid 4121".into(),
            source: denied(),
            remedy: "see what was logged: `sudo dmesg`".into(),
        },
        Error::KernelTooOld {
            release: "5.10.0-30-amd64".into(),
        },
        Error::KernelWithoutBpf {
            source: Box::new(io::Error::from_raw_os_error(38)),
        },
        Error::KernelWithoutUprobes,
        Error::ProgramRefused {
            release: "5.15.0".into(),
            program: "context_cancel".into(),
            source: "0: R1=ctx()\n1: invalid access".into(),
        },
        Error::BadElf {
            subject: Subject::Path(path()),
            problem: "section headers end after the file does".into(),
        },
        Error::ElfTooLarge {
            subject: Subject::Pid(4121),
            size: 5_000_000_000,
            limit: 4_294_967_296,
        },
        Error::ExecutableGone {
            pid: 4121,
            exe: path(),
        },
        Error::TooManyExecutables { limit: 256 },
        Error::NothingMatched {
            selectors: "--exe api --port 8080".into(),
        },
        Error::Usage {
            problem: "nothing is selected".into(),
            remedy: "name a process: `observer run --pid PID`; list them: `observer ps`".into(),
        },
        Error::BadFlag {
            value: "5".into(),
            place: "OBSERVER_GRACE".into(),
            source: "the unit is missing; write it like `500ms` or `1h 30m`".into(),
            remedy: "see what it takes: `observer run --help`".into(),
        },
        Error::UnknownRule {
            name: "cancel-ignord".into(),
            nearest: Some("cancel-ignored"),
        },
        Error::UnknownRule {
            name: "x".into(),
            nearest: None,
        },
        Error::BadConfig {
            path: "observer.toml".into(),
            line: 3,
            source: "expected a number".into(),
            unknown: vec![],
        },
        Error::UnknownKeys {
            path: "observer.toml".into(),
            keys: vec![UnknownKey {
                path: "gracee".into(),
                nearest: Some("grace".into()),
            }],
        },
        Error::Unreadable {
            what: "recording",
            path: "run.rec".into(),
            source: denied(),
        },
        Error::BadBaseline {
            path: "known.txt".into(),
            line: 4,
        },
        Error::NoFacts {
            paths: vec!["edge.jsonl".into()],
        },
        Error::NoFacts {
            paths: vec!["edge.jsonl".into(), "api.jsonl".into()],
        },
        Error::NotARecording {
            path: "run.rec".into(),
        },
        Error::RecordingTooNew {
            path: "run.rec".into(),
            found: 3,
            known: 1,
        },
        Error::RecordingDamaged {
            path: "run.rec".into(),
            offset: 81_920,
            problem: "it ends inside a record".into(),
        },
        Error::Output {
            what: "the log `/var/log/observer.jsonl`".into(),
            path: Some("/var/log/observer.jsonl".into()),
            source: io::Error::from_raw_os_error(libc::ENOSPC),
        },
        Error::Output {
            what: "stdout".into(),
            path: None,
            source: io::Error::from_raw_os_error(libc::EIO),
        },
        Error::StubObject,
        Error::ChildPidNamespace,
        Error::Internal {
            what: "joining the decoder".into(),
            source: None,
        },
    ]
}

#[test]
fn every_error_as_it_is_printed() {
    let mut text = String::new();
    for error in all() {
        let exit = error.exit();
        let rendered = error.render(Styles::new(false));
        text.push_str(&format!("--- exit {} ({exit:?})\n{rendered}\n", exit as u8));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_hint_about_a_file_fits_what_is_wrong_with_it() {
    let mut text = String::new();
    for (path, errno) in [
        ("/no/such/run.rec", libc::ENOENT),
        ("run.rec", libc::EACCES),
        ("/sys/run.rec", libc::EROFS),
        ("/tmp", libc::EISDIR),
        ("/etc/passwd/run.rec", libc::ENOTDIR),
        ("/tmp/link", libc::ELOOP),
        ("/full/run.rec", libc::ENOSPC),
    ] {
        let error = Error::Output {
            what: format!("the recording `{path}`"),
            path: Some(path.into()),
            source: io::Error::from_raw_os_error(errno),
        };
        text.push_str(&error.render(Styles::new(false)));
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}

#[test]
fn colour_only_adds_to_the_words() {
    let plain = Error::StubObject.render(Styles::new(false));
    let coloured = Error::StubObject.render(Styles::new(true));
    assert!(coloured.starts_with("\u{1b}["));
    let mut stripped = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        stripped.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain);
}

#[test]
fn all_exits_are_used() {
    let mut exits: Vec<Exit> = all().iter().map(Error::exit).collect();
    exits.sort();
    exits.dedup();
    let expected = [
        Exit::Usage,
        Exit::Host,
        Exit::Target,
        Exit::Output,
        Exit::Internal,
    ];
    assert_eq!(exits, expected);
}

fn clock(offset_ns: i64, error_ns: u64, pairs: usize) -> Notice {
    let (host, common) = ("store".to_owned(), "edge".to_owned());
    Notice::ClockOffset {
        host,
        common,
        offset_ns,
        error_ns,
        pairs,
    }
}

#[test]
fn notices() {
    let notices = [
        Notice::UnknownVariable {
            name: "OBSERVER_GRACEE".into(),
            nearest: Some("OBSERVER_GRACE".into()),
        },
        Notice::UnknownVariable {
            name: "OBSERVER_SERVICE_HOST".into(),
            nearest: None,
        },
        Notice::NoBtf,
        Notice::SecondObserver { pid: 4121 },
        Notice::NotObserved {
            pid: 4121,
            exe: "/opt/shop/api".into(),
            why: "pid 4121 was built with go1.17.13; observer needs go1.18 or newer".into(),
        },
        Notice::NoStarts {
            why: "the kernel refuses program `process_executed`".into(),
        },
        Notice::OtherProbes { pid: 4121 },
        Notice::NotSearched {
            pid: 4121,
            why: "there is more to look through than 64 MiB of objects with pointers".into(),
        },
        Notice::NewerGo {
            version: "go1.29".into(),
            hooks: "http-serve, goroutine-new".into(),
        },
        Notice::RotationFailed {
            path: "/var/log/observer.jsonl".into(),
            why: "Permission denied".into(),
        },
        Notice::WriteFailed {
            what: "stdout".into(),
            why: "No space left on device".into(),
        },
        Notice::LinesDropped {
            what: "stdout".into(),
            lines: 12,
        },
        Notice::BrokenLines {
            path: "edge.jsonl".into(),
            broken: 2,
        },
        clock(-5_000_123_456, 96_900, 1),
        clock(5_250_000_000, 400_000_000, 12),
        clock(-40, 96_900, 2),
        Notice::FactsTwice { twice: 1 },
        Notice::FactsTwice { twice: 2 },
        Notice::BrokenLines {
            path: "edge.jsonl".into(),
            broken: 1,
        },
        Notice::EventsLost {
            events: 13,
            causes: "ring buffer full 12, malformed 1".into(),
        },
    ];
    let text: String = notices
        .iter()
        .map(|notice| notice.render(Styles::new(false)))
        .collect();
    insta::assert_snapshot!(text);
}
