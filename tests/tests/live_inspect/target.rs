//! A running `waits`, or a program like it: built once per Go version and flags, spoken to over its pipes.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use observer::go::image::Image;
use observer::go::layout::Layout;
use observer::inspect::{
    AllGs, CensusOffsets, Coverage, GOffsets, Goroutine, Inspector, MapKind, Runtime, SemTable,
    TargetTypes,
};
use observer::target::{MemoryError, Process, ProcessMemory};

/// One way of building the target.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    pub go: &'static str,
    pub flags: &'static [&'static str],
}

pub const PLAIN: &[&str] = &[];
const STRIPPED: &[&str] = &["-ldflags=-s -w"];
const PIE: &[&str] = &["-buildmode=pie", "-ldflags=-s -w"];

/// What is tested always, and with `OBSERVER_TEST_FULL=1`.
pub fn variants() -> Vec<Variant> {
    const ALWAYS: [&str; 3] = ["1.21.13", "1.24.11", "1.27.3"];
    const FULL: [&str; 10] = [
        "1.18.10", "1.19.13", "1.20.14", "1.21.13", "1.22.12", "1.23.12", "1.24.11", "1.25.8",
        "1.26.8", "1.27.3",
    ];
    let full = std::env::var_os("OBSERVER_TEST_FULL").is_some_and(|value| value == "1");
    let (versions, builds): (&[_], &[_]) = if full {
        (&FULL, &[PLAIN, STRIPPED, PIE])
    } else {
        (&ALWAYS, &[PLAIN, STRIPPED])
    };
    versions
        .iter()
        .flat_map(|&go| builds.iter().map(move |&flags| Variant { go, flags }))
        .collect()
}

/// A program to build.
#[derive(Debug)]
pub struct Source {
    /// In `tests/targets`.
    pub folder: &'static str,
    pub files: &'static [&'static str],
    /// Files of which only the first is built from that Go 1.N on, and only the second before.
    pub since: Option<(u32, [&'static str; 2])>,
    pub cgo: bool,
}

/// Goroutines that wait in every way.
pub const WAITS: Source = Source {
    folder: "waits",
    files: &["main.go", "objects.go", "crowd.go"],
    since: Some((23, ["coroutine.go", "nocoroutine.go"])),
    cgo: false,
};

/// Goroutines that wait on what nobody can get at, and others that wait on what is far away.
pub const UNREFERENCED: Source = Source {
    folder: "unreferenced",
    files: &["churn.go", "locks.go", "main.go"],
    since: None,
    cgo: false,
};

fn build(source: &Source, variant: Variant) -> PathBuf {
    // Tests of this file run in parallel and share the executables.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Named files are built whatever their constraints say.
    let minor = variant.go.split('.').nth(1).unwrap();
    let minor: u32 = minor.parse().unwrap();
    let mut sources = source.files.to_vec();
    if let Some((since, [then, before])) = source.since {
        sources.push(if minor >= since { then } else { before });
    }
    let program = source.folder;
    let name = format!("{program}-{}{}", variant.go, variant.flags.concat());
    let name = name.replace([' ', '='], "");
    let target = root.join("../target/go-targets");
    std::fs::create_dir_all(&target).unwrap();
    let executable = target.join(name);
    let folder = root.join("targets").join(program);
    let changed = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|meta| meta.modified())
            .ok()
    };
    let built = changed(&executable);
    let fresh = sources
        .iter()
        .all(|source| built.is_some() && changed(&folder.join(source)) < built);
    if !fresh {
        let status = Command::new("go")
            .current_dir(&folder)
            .env("GOTOOLCHAIN", format!("go{}", variant.go))
            .env("CGO_ENABLED", if source.cgo { "1" } else { "0" })
            .arg("build")
            .args(variant.flags)
            .arg("-o")
            .arg(&executable)
            .args(sources)
            .status()
            .unwrap();
        assert!(status.success(), "go build of {source:?}, {variant:?}");
    }
    executable
}

/// The target, killed at the end.
pub struct Target {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub process: Process,
    pub image: Image,
    pub layout: Layout,
    pub offsets: GOffsets,
    /// The lines before `READY`, split at spaces.
    pub facts: Vec<Vec<String>>,
}

impl Target {
    pub fn start(variant: Variant) -> Self {
        Self::of(&WAITS, variant)
    }

    pub fn of(source: &Source, variant: Variant) -> Self {
        Self::with(source, variant, &[])
    }

    /// With variables of its own.
    pub fn with(source: &Source, variant: Variant, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(build(source, variant))
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let facts = lines_until(&mut stdout, "READY")
            .iter()
            .map(|line| line.split(' ').map(str::to_owned).collect())
            .collect();
        let process = Process::open(i32::try_from(child.id()).unwrap()).unwrap();
        let image = Image::open(&process.exe).unwrap();
        let layout = Layout::for_version(image.go_version()).unwrap();
        Self {
            child,
            stdin,
            stdout,
            process,
            layout,
            offsets: GOffsets::of(&layout).unwrap(),
            image,
            facts,
        }
    }

    pub fn ask(&mut self, command: &str) -> Vec<String> {
        writeln!(self.stdin, "{command}").unwrap();
        lines_until(&mut self.stdout, "END")
    }

    pub fn runtime(&self) -> Runtime<'_> {
        let bias = self.process.mapping.bias;
        Runtime {
            table: &self.image,
            offsets: &self.offsets,
            bias,
            allgs: Some(AllGs::of(&self.image, bias).unwrap()),
            semtable: Some(SemTable::of(&self.image, bias).unwrap()),
        }
    }

    pub fn inspector(&self) -> Inspector<'_, ProcessMemory> {
        Inspector::new(&self.process.memory, self.runtime())
    }

    /// All goroutines, at most so many of them.
    pub fn snapshot(&self, limit: usize) -> Result<(Vec<Goroutine>, Coverage), MemoryError> {
        let minor = self.image.go_version().minor;
        let offsets = CensusOffsets::of(&self.layout, minor).unwrap();
        let mut all = Vec::new();
        let seen = self
            .inspector()
            .census(&offsets, limit, |member| all.push(member.goroutine))?;
        Ok((all, seen.unwrap()))
    }

    pub fn types(&self) -> TargetTypes<'_, ProcessMemory> {
        TargetTypes {
            image: &self.image,
            memory: &self.process.memory,
            bias: self.process.mapping.bias,
        }
    }

    pub fn map_kind(&self) -> MapKind {
        MapKind::of(
            self.image.go_version().minor,
            self.image.build_setting("GOEXPERIMENT"),
        )
    }

    /// The facts of one kind, without the kind.
    pub fn facts_of(&self, kind: &str) -> Vec<Vec<String>> {
        self.facts
            .iter()
            .filter(|fact| fact[0] == kind)
            .map(|fact| fact[1..].to_vec())
            .collect()
    }

    /// The goroutines that facts of one kind name, by number.
    pub fn named(&self, kind: &str) -> BTreeMap<u64, String> {
        let facts = self.facts_of(kind).into_iter();
        facts
            .map(|fact| (fact[1].parse().unwrap(), fact[0].clone()))
            .collect()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number as Go prints it with `%p` and `%#x`.
pub fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

fn lines_until(stdout: &mut impl std::io::BufRead, end: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in stdout.lines() {
        let line = line.unwrap();
        if line == end {
            return lines;
        }
        lines.push(line);
    }
    panic!("the target ended before {end}: {lines:?}");
}
