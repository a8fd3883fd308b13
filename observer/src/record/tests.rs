//! What is written is read back, and what is damaged is refused.

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
use tempfile::TempDir;

use super::entry::{FORMAT, MAGIC, MAX_ENTRY};
use super::{Answered, Entry, Medium, Reader, Recorder, RecordingHeader, Resolved};
use crate::detect::{Answer, Ask, Deadlines, LeakTimes, Question, SurgeLimits, Thresholds};
use crate::error::{Error, Exit};
use crate::go::{Frame, TypeName};
use crate::model::Code;
use crate::sink::Clock;
use crate::stream::{Event, decode};
use crate::style::Styles;
use crate::testkit::{FakeCode, PID, Record, request};

fn header() -> RecordingHeader {
    let clock = Clock {
        realtime_minus_monotonic_ns: -7,
    };
    let thresholds = Thresholds {
        grace_ns: 500_000_000,
        id_headers: vec!["X-Request-Id".to_owned()],
        leaks: LeakTimes::default(),
        surges: SurgeLimits::default(),
        deadline_headers: Vec::new(),
        deadlines: Deadlines::default(),
        redact_path: true,
    };
    RecordingHeader {
        facts: true,
        ..RecordingHeader::new(clock, &thresholds, "edge".into(), "a boot".into())
    }
}

#[test]
fn an_older_header_says_nothing_of_facts() {
    let mut older = serde_json::to_value(header()).unwrap();
    older.as_object_mut().unwrap().remove("facts").unwrap();
    let read: RecordingHeader = serde_json::from_value(older).unwrap();
    assert!(!read.facts);
}

fn resolved() -> Vec<Resolved> {
    let frame = Frame {
        function: "main.main".into(),
        file: "main.go".into(),
        line: 7,
    };
    let name = TypeName {
        package: "context".into(),
        name: "cancelCtx".into(),
        pointer: true,
    };
    vec![
        Resolved::Frames {
            pid: PID,
            pc: 0x40_0000,
            frames: Arc::from([frame.clone()]),
        },
        Resolved::Type {
            pid: PID,
            itab: 0x50_0000,
            name: Some(Arc::new(name)),
        },
        Resolved::Type {
            pid: PID,
            itab: 0x50_0010,
            name: None,
        },
        Resolved::Function {
            pid: PID,
            pc: 0x1000,
            at: Some(Arc::new(frame.clone())),
        },
        Resolved::Handed {
            pid: PID,
            pc: 0x1000,
            address: 0x2000,
            places: [[frame.clone()].into()].into(),
        },
        Resolved::Made {
            pid: PID,
            pc: 0x1000,
            itab: 0x3000,
            frames: [frame].into(),
        },
        Resolved::Query {
            pid: PID,
            address: 0x3000,
            len: 40,
            name: Some("SELECT FROM items".into()),
        },
        Resolved::Unit {
            pid: PID,
            unit: FakeCode::default().unit(PID).unwrap(),
        },
    ]
}

fn answered() -> Answered {
    Answered {
        ask: Ask {
            id: 3,
            pid: PID,
            question: Question::Children { parent_goid: 7 },
        },
        answer: Answer::Children(None),
    }
}

fn started() -> Vec<u8> {
    let line = "GET /report/7?token=secret";
    match request(&FakeCode::default(), 10, 0x1000, line) {
        Record::Request(record) => zerocopy::IntoBytes::as_bytes(&*record).to_vec(),
        other => panic!("{other:?}"),
    }
}

/// One entry of each kind.
fn recording(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("small.rec");
    let mut recorder = Recorder::create(&path, &header()).unwrap();
    play(&mut recorder);
    recorder.finish(44).unwrap();
    path
}

/// All but the end of it.
fn play<M: Medium>(recorder: &mut Recorder<M>) {
    recorder.resolved(resolved());
    recorder.event(11, &started());
    recorder.loss();
    recorder.clock(-5);
    recorder.tick(22);
    recorder.answer(33, &answered());
    recorder.process_ended(PID);
}

fn entries(path: &Path) -> Result<Vec<Entry>, Error> {
    let mut reader = Reader::open(path)?;
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        all.push(entry);
    }
    Ok(all)
}

#[test]
fn everything_comes_back_in_order() {
    let dir = TempDir::new().unwrap();
    let path = recording(&dir);
    assert_eq!(Reader::open(&path).unwrap().header(), &header());
    let all = entries(&path).unwrap();
    let [
        r1,
        r2,
        r3,
        r4,
        r5,
        r6,
        r7,
        r8,
        event,
        Entry::Loss,
        Entry::Clock(-5),
        Entry::Tick(22),
        said,
        ended,
        Entry::End(44),
    ] = &all[..]
    else {
        panic!("{all:#?}");
    };
    for (entry, wanted) in [r1, r2, r3, r4, r5, r6, r7, r8].into_iter().zip(resolved()) {
        let Entry::Resolved(read) = entry else {
            panic!("{entry:?}");
        };
        assert_eq!(**read, wanted);
    }
    assert!(matches!(said, Entry::Answer(33, read) if **read == answered()));
    assert!(matches!(ended, Entry::ProcessEnded(PID)));
    let Entry::Event(11, words) = event else {
        panic!("{event:?}");
    };
    let bytes = zerocopy::IntoBytes::as_bytes(words.as_slice());
    let Some(Event::RequestStarted(record)) = decode(bytes) else {
        panic!("no request");
    };
    assert_eq!(record.header.goid, 10);
    assert_eq!((record.ctx.data, record.path_len), (0x1000, 9));
}

#[test]
fn secrets_do_not_reach_the_file() {
    let dir = TempDir::new().unwrap();
    let bytes = std::fs::read(recording(&dir)).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
}

#[test]
fn only_its_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new().unwrap();
    let mode = std::fs::metadata(recording(&dir))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Where the header ends, and then each entry.
fn boundaries(whole: &[u8]) -> Vec<usize> {
    let header_len = u32::from_le_bytes(*whole[8..].first_chunk::<4>().unwrap());
    let first = MAGIC.len() + 4 + usize::try_from(header_len).unwrap();
    let mut boundaries = vec![first];
    while let Some(last) = boundaries.last().copied().filter(|at| *at < whole.len()) {
        let len = u32::from_le_bytes(*whole[last..].first_chunk::<4>().unwrap());
        boundaries.push(last + 5 + usize::try_from(len).unwrap());
    }
    boundaries
}

/// Has room for so many bytes at a time, takes them in small bites, and has room again once it is cut.
struct Disk {
    room: usize,
    held: Rc<RefCell<Vec<u8>>>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut held = self.held.borrow_mut();
        let bite = bytes.len().min(100).min(self.room - held.len());
        held.extend_from_slice(&bytes[..bite]);
        if bite == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(bite)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Medium for Disk {
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.held
            .borrow_mut()
            .truncate(usize::try_from(len).unwrap());
        Ok(())
    }
}

/// Several times more than waits to be written at once.
const ROUNDS: usize = 20;

/// What a disk with so much room holds of a long recording, and what became of that.
fn recorded_on(room: usize) -> (Vec<u8>, Result<(), Error>) {
    let held = Rc::new(RefCell::new(Vec::new()));
    let disk = Disk {
        room,
        held: Rc::clone(&held),
    };
    let record = || {
        let mut recorder = Recorder::on(disk, Path::new("/full/run.rec"), &header())?;
        for _ in 0..ROUNDS {
            play(&mut recorder);
        }
        recorder.finish(44)
    };
    let recorded = record();
    (held.take(), recorded)
}

#[test]
fn on_a_disk_that_is_full_anywhere_it_ends_with_its_last_whole_entry() {
    let (whole, recorded) = recorded_on(usize::MAX);
    recorded.unwrap();
    let boundaries = boundaries(&whole);
    assert_eq!(boundaries.len(), 14 * ROUNDS + 2);
    for room in (0..whole.len()).step_by(13) {
        let (held, recorded) = recorded_on(room);
        assert!(
            matches!(recorded, Err(Error::Output { .. })),
            "{recorded:?}"
        );
        let fits = boundaries.iter().rev().find(|at| **at <= room);
        assert_eq!(held.len(), fits.copied().unwrap_or(0), "room for {room}");
        assert!(whole.starts_with(&held), "room for {room}");
    }
}

#[test]
fn that_it_ends_early_is_said_once_with_a_remedy() {
    let held = Rc::new(RefCell::new(Vec::new()));
    let disk = Disk { room: 1000, held };
    let mut recorder = Recorder::on(disk, Path::new("/full/run.rec"), &header()).unwrap();
    assert_eq!(recorder.complaint(), None);
    for _ in 0..ROUNDS {
        play(&mut recorder);
    }
    let said = recorder.complaint().unwrap().render(Styles::new(false));
    insta::assert_snapshot!(said, @"warning: cannot write the recording `/full/run.rec` (no storage space): it ends here, observing goes on; see whether there is space left: `df -h /full`");
    assert_eq!(recorder.complaint(), None);
    let error = recorder.finish(44).unwrap_err();
    assert_eq!(error.exit(), Exit::Output);
}

#[test]
fn what_waits_when_a_run_fails_is_written() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("failed.rec");
    let mut recorder = Recorder::create(&path, &header()).unwrap();
    play(&mut recorder);
    drop(recorder);
    assert_eq!(entries(&path).unwrap().len(), 14);
}

#[test]
fn cut_anywhere_it_says_so_and_gives_what_is_whole() {
    let dir = TempDir::new().unwrap();
    let whole = std::fs::read(recording(&dir)).unwrap();
    let boundaries = boundaries(&whole);
    assert_eq!(boundaries.len(), 16);
    let path = dir.path().join("cut.rec");
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let read = entries(&path);
        let before = boundaries.iter().rposition(|at| *at <= len);
        match (before, read) {
            (None, Err(Error::NotARecording { .. })) => {}
            (Some(number), Ok(all)) if boundaries[number] == len => {
                assert_eq!(all.len(), number);
            }
            (Some(number), Err(Error::RecordingDamaged { offset, .. })) => {
                assert_eq!(offset, boundaries[number] as u64, "cut at {len}");
                assert_ne!(boundaries[number], len);
            }
            (_, other) => panic!("cut at {len}: {other:?}"),
        }
    }
}

fn file(dir: &TempDir, parts: &[&[u8]]) -> PathBuf {
    let path = dir.path().join("odd.rec");
    std::fs::write(&path, parts.concat()).unwrap();
    path
}

fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap().to_le_bytes()
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let dir = TempDir::new().unwrap();
    // All else may have changed by then.
    let json = format!("{{\"format\":{},\"novel\":true}}", FORMAT + 1);
    let path = file(&dir, &[MAGIC, &length(json.len()), json.as_bytes()]);
    let error = Reader::open(&path).unwrap_err();
    assert!(
        matches!(error, Error::RecordingTooNew { found, known, .. } if found == FORMAT + 1 && known == FORMAT),
        "{error:?}"
    );
}

#[test]
fn what_is_no_recording_is_refused() {
    let dir = TempDir::new().unwrap();
    let json: &[u8] = b"{\"format\":1}";
    let too_long = (MAX_ENTRY + 1).to_le_bytes();
    let odd: [&[&[u8]]; 6] = [
        &[],
        &[b"{\"schema\":1}\n"],
        &[MAGIC, &too_long, json],
        &[MAGIC, &length(5), b"junk!"],
        &[MAGIC, &length(json.len()), json],
        &[b"OBSVRECx", &length(json.len()), json],
    ];
    for parts in odd {
        let path = file(&dir, parts);
        let error = Reader::open(&path).unwrap_err();
        assert!(
            matches!(error, Error::NotARecording { .. }),
            "{parts:?}: {error:?}"
        );
    }
    let missing = Reader::open(&dir.path().join("missing.rec")).unwrap_err();
    assert!(matches!(missing, Error::Unreadable { .. }));
}

#[test]
fn damaged_entries_are_told_with_their_offset() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("begin.rec");
    Recorder::create(&path, &header())
        .unwrap()
        .finish(1)
        .unwrap();
    let whole = std::fs::read(&path).unwrap();
    let begin = &whole[..whole.len() - 13];
    let too_long = (MAX_ENTRY + 1).to_le_bytes();
    let odd: [(&[u8], &[u8]); 7] = [
        (&[0, 0, 0, 0, 99], b""),
        (&[4, 0, 0, 0, 3], b"1234"),
        (&[3, 0, 0, 0, 6], b"123"),
        (&[18, 0, 0, 0, 4], b"0123456701234567{]"),
        (&[8, 0, 0, 0, 4], b"01234567"),
        (&[2, 0, 0, 0, 5], b"{}"),
        (&[7, 0, 0, 0, 1], b"1234567"),
    ];
    for (head, body) in odd {
        let path = file(&dir, &[begin, head, body]);
        let error = entries(&path).unwrap_err();
        assert!(
            matches!(error, Error::RecordingDamaged { offset, .. } if offset == begin.len() as u64),
            "{head:?}: {error:?}"
        );
    }
    let path = file(&dir, &[begin, &too_long, &[1]]);
    assert!(matches!(
        entries(&path),
        Err(Error::RecordingDamaged { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn garbage_never_panics(
        junk in proptest::collection::vec(any::<u8>(), 0..300),
        at in any::<proptest::sample::Index>(),
    ) {
        let dir = TempDir::new().unwrap();
        let mut bytes = std::fs::read(recording(&dir)).unwrap();
        let at = at.index(bytes.len());
        let end = (at + junk.len()).min(bytes.len());
        bytes.splice(at..end, junk);
        let path = file(&dir, &[&bytes]);
        match entries(&path) {
            Ok(all) => prop_assert!(all.len() <= bytes.len()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
