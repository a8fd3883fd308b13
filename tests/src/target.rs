//! Builds the Go programs that the tests observe, from `tests/targets/`, once for each state of their sources.
//!
//! Only builds; starting and stopping them is the tests' own.

use std::{
    collections::hash_map::DefaultHasher,
    fs::{self, File},
    hash::Hasher,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::go::{Go, workspace_root};
use crate::module::Module;

/// How a target is built: what observer has to cope with differs a lot between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// As `go build` makes it: symbols and DWARF present.
    Plain,
    /// `-ldflags "-s -w"`: neither symbols nor DWARF.
    Stripped,
    /// Position independent, and stripped.
    PieStripped,
    /// Stripped, and without a path of the machine that built it: what recordings are made of.
    Trimmed,
    /// With the race detector. Needs a C compiler.
    Race,
    /// Without optimisation and inlining, as debuggers want it.
    Unoptimised,
}

impl Flavor {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Stripped => "stripped",
            Self::PieStripped => "pie-stripped",
            Self::Trimmed => "trimmed",
            Self::Race => "race",
            Self::Unoptimised => "unoptimised",
        }
    }

    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Stripped => &["-ldflags=-s -w"],
            Self::PieStripped => &["-buildmode=pie", "-ldflags=-s -w"],
            Self::Trimmed => &["-trimpath", "-ldflags=-s -w"],
            Self::Race => &["-race"],
            Self::Unoptimised => &["-gcflags=all=-N -l"],
        }
    }

    const fn cgo(self) -> &'static str {
        match self {
            Self::Plain
            | Self::Stripped
            | Self::PieStripped
            | Self::Trimmed
            | Self::Unoptimised => "0",
            Self::Race => "1",
        }
    }
}

/// Builds `tests/targets/<program>` (such as `shop/front`) with this Go version (such as `1.24.11`) and returns the
/// executable. It is kept in `target/go-targets/` for as long as the sources stay the same.
///
/// A program that needs other people's code lies in a module of its own below `modules/`, see
/// `tests/targets/README.md`.
///
/// Safe to call from many tests at once: a lock for each executable makes one of them build and the others wait.
///
/// # Errors
/// When there is no such program, no Go, no such version, or the compiler refuses.
pub fn build_target(program: &str, go_version: &str, flavor: Flavor) -> Result<PathBuf> {
    let sources = workspace_root().join("tests/targets");
    build(&sources, program, None, go_version, flavor)
}

/// The same with a generation of other people's code that is not the one that the Go version would take: `go.mod`, or one
/// of its module's files such as `go1.25.mod`.
///
/// # Errors
/// Those of [`build_target`], and when the module has no such file.
pub fn build_target_with(
    generation: &str,
    program: &str,
    go_version: &str,
    flavor: Flavor,
) -> Result<PathBuf> {
    let sources = workspace_root().join("tests/targets");
    build(&sources, program, Some(generation), go_version, flavor)
}

fn build(
    sources: &Path,
    program: &str,
    generation: Option<&str>,
    go_version: &str,
    flavor: Flavor,
) -> Result<PathBuf> {
    let package = sources.join(program);
    ensure!(
        package.is_dir(),
        "no target program `{program}`: {} is not a folder",
        package.display()
    );

    let mut module = Module::of(sources, &package, go_version)?;
    let mut hasher = DefaultHasher::new();
    if let Some(generation) = generation {
        module = module.taking(generation)?;
        hasher.write(generation.as_bytes());
    }
    for folder in module.sources(sources) {
        hash_folder(&mut hasher, folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
    }
    // Debug information names the folder of the sources.
    hasher.write(sources.as_os_str().as_encoded_bytes());
    for flag in flavor.flags() {
        hasher.write(flag.as_bytes());
    }
    let folder = workspace_root()
        .join("target/go-targets")
        .join(format!("{:016x}", hasher.finish()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;

    // The file's name is what `ps` and observer show.
    let name = format!(
        "{}-go{go_version}-{}",
        program.replace('/', "-"),
        flavor.name()
    );
    let executable = folder.join(&name);
    let lock = File::create(folder.join(format!("{name}.lock")))?;
    lock.lock()?;
    if executable.is_file() {
        return Ok(executable);
    }

    let unfinished = folder.join(format!("{name}.new"));
    let mut go = Go::find()?.at(go_version)?;
    go.args(["build", "-buildvcs=false", "-o"])
        .arg(&unfinished)
        .args(flavor.flags())
        .args(module.flag())
        .arg(module.package(&package)?)
        .env("CGO_ENABLED", flavor.cgo())
        .current_dir(&module.root);
    let output = go.output().context("cannot run go")?;
    ensure!(
        output.status.success(),
        "cannot build `{program}` with go{go_version} ({}):\n{}",
        flavor.name(),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&unfinished, &executable)?;
    Ok(executable)
}

/// Everything in a module's folder; other modules below it are no part of it.
fn hash_folder(hasher: &mut DefaultHasher, folder: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let is_folder = entry.file_type()?.is_dir();
        if is_folder && Module::begins_at(&entry.path()) {
            continue;
        }
        hasher.write(entry.file_name().as_encoded_bytes());
        hasher.write_u8(0);
        if is_folder {
            hash_folder(hasher, &entry.path())?;
        } else {
            let content = fs::read(entry.path())?;
            hasher.write_usize(content.len());
            hasher.write(&content);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{process::Command, thread};

    use super::*;

    fn module(folder: &Path) {
        fs::create_dir_all(folder.join("say/hello")).unwrap();
        fs::write(folder.join("go.mod"), "module example.com/say\n\ngo 1.18\n").unwrap();
        let main =
            "package main\n\nimport \"runtime\"\n\nfunc main() { print(runtime.Version()) }\n";
        fs::write(folder.join("say/hello/main.go"), main).unwrap();
    }

    #[test]
    fn concurrent_builds_give_one_executable_of_the_version_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        module(folder.path());
        let built: Vec<PathBuf> = thread::scope(|scope| {
            let build = || {
                build(
                    folder.path(),
                    "say/hello",
                    None,
                    "1.21.13",
                    Flavor::Stripped,
                )
                .unwrap()
            };
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(build)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(built.iter().all(|path| path == &built[0]));
        let output = Command::new(&built[0]).output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "go1.21.13");
        fs::remove_dir_all(built[0].parent().unwrap()).unwrap();
    }

    #[test]
    fn a_module_of_its_own_builds_and_is_no_part_of_the_others() {
        let folder = tempfile::tempdir().unwrap();
        module(folder.path());
        let own = folder.path().join("modules/two");
        fs::create_dir_all(own.join("cmd")).unwrap();
        let mods = "module example.com/say/modules/two\n\ngo 1.18\n";
        fs::write(own.join("go.mod"), mods).unwrap();
        let say = |what: &str| format!("package main\n\nfunc main() {{ print(\"{what}\") }}\n");
        fs::write(own.join("cmd/main.go"), say("two")).unwrap();
        let build =
            |program| build(folder.path(), program, None, "1.21.13", Flavor::Stripped).unwrap();
        let hello = build("say/hello");
        let two = build("modules/two/cmd");
        let output = Command::new(&two).output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "two");
        fs::write(own.join("cmd/main.go"), say("three")).unwrap();
        assert_eq!(build("say/hello"), hello);
        let three = build("modules/two/cmd");
        assert_ne!(three, two);
        for built in [hello, two, three] {
            fs::remove_dir_all(built.parent().unwrap()).unwrap();
        }
    }

    #[test]
    fn an_unknown_program_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = build(folder.path(), "nobody", None, "1.21.13", Flavor::Plain).unwrap_err();
        assert!(
            error.to_string().starts_with("no target program `nobody`"),
            "{error}"
        );
    }
}
