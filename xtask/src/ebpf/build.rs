//! Builds the eBPF object into `target/bpf`, unless it is there already for these very sources.
//!
//! `target/bpf/observer-ebpf.sha256` names the sources that `target/bpf/observer-ebpf.o` was made from. It is replaced
//! after the object, so an interrupted build looks stale and never fresh.

use std::{
    env,
    ffi::OsStr,
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    sources,
    toolchain::{Compiler, Missing, TARGET, Toolchain},
};

/// An object that matches the sources.
#[derive(Debug)]
pub struct Object {
    /// The ELF file.
    pub path: PathBuf,
    /// [`sources::hash`] of what it was made from.
    pub sources_sha256: String,
}

/// Why there is no object.
#[derive(Debug)]
pub enum Error {
    /// The object is missing or stale and this machine cannot build it.
    NoToolchain(Missing),
    /// The compiler refused; its output.
    Build(String),
    /// A file could not be read or written.
    Io(PathBuf, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToolchain(missing) => write!(f, "cannot build the eBPF object: {missing}"),
            Self::Build(output) => write!(f, "building the eBPF object failed:\n{output}"),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

/// What [`hash_file`] holds where something was built with a stub in place of the object.
pub const STUB: &str = "none\n";

/// The file that names the sources of the object in place. The folder is always the workspace's own `target/bpf`, so
/// that the build script and `cargo xtask` agree whatever `CARGO_TARGET_DIR` says.
pub fn hash_file(root: &Path) -> PathBuf {
    root.join("target/bpf/observer-ebpf.sha256")
}

/// Returns the object for the sources as they are, building it when it is missing, stale, or `force` is set.
///
/// # Errors
/// See [`Error`].
pub fn ensure(root: &Path, force: bool) -> Result<Object, Error> {
    let folder = root.join("target/bpf");
    let path = folder.join("observer-ebpf.o");
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    let _lock = lock(&folder.join("lock"))?;

    let sources_sha256 = sources::hash(root).map_err(at(root))?;
    let known = fs::read_to_string(hash_file(root)).unwrap_or_default();
    if !force && path.is_file() && known.trim() == sources_sha256 {
        return Ok(Object {
            path,
            sources_sha256,
        });
    }

    let toolchain = Toolchain::find().map_err(Error::NoToolchain)?;
    let made = compile(root, &toolchain, &folder.join("build"))?;
    replace(&path, &fs::read(&made).map_err(at(&made))?)?;
    replace(&hash_file(root), format!("{sources_sha256}\n").as_bytes())?;
    Ok(Object {
        path,
        sources_sha256,
    })
}

/// Runs cargo in `observer-ebpf/` with a target folder of its own: the outer cargo holds the lock of `target/`.
fn compile(root: &Path, toolchain: &Toolchain, build_folder: &Path) -> Result<PathBuf, Error> {
    let mut cargo = match &toolchain.compiler {
        Compiler::Prebuilt(rustc) => {
            let mut cargo = clean_command(
                env::var_os("CARGO")
                    .as_deref()
                    .unwrap_or(OsStr::new("cargo")),
            );
            // aya-ebpf names an unstable feature.
            cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
            cargo
        }
        Compiler::Nightly => {
            let mut rustup = clean_command(OsStr::new("rustup"));
            rustup.args(["run", "nightly", "cargo"]);
            rustup
        }
    };
    cargo
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(build_folder);
    if matches!(toolchain.compiler, Compiler::Nightly) {
        cargo.args(["-Z", "build-std=core"]);
    }
    let flags = [
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        // Else LLVM makes a call of every memset, and the linker's memset goes byte by byte.
        "-Clink-arg=--disable-expand-memcpy-in-order".into(),
    ];
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
        .current_dir(root.join("observer-ebpf"));

    let output = cargo.output().map_err(at(Path::new(cargo.get_program())))?;
    if !output.status.success() {
        return Err(Error::Build(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    Ok(build_folder.join(TARGET).join("release/observer-ebpf"))
}

/// A command without what an outer cargo, clippy or rustup has put into the environment for its own build, and with
/// what the user has set to reach registries.
fn clean_command(program: &OsStr) -> Command {
    const KEPT: [&str; 7] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_INSTALL_ROOT",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_SOURCE_",
    ];
    const DROPPED: [&str; 7] = [
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "CLIPPY",
        "TARGET",
    ];
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let starts = |prefixes: &[&str]| {
            prefixes
                .iter()
                .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
        };
        if starts(&DROPPED) && !starts(&KEPT) {
            command.env_remove(&name);
        }
    }
    command
}

fn lock(path: &Path) -> Result<File, Error> {
    let file = File::create(path).map_err(at(path))?;
    file.lock().map_err(at(path))?;
    Ok(file)
}

/// Writes beside and renames, so that a reader sees the old file or the new one.
fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    let new = path.with_extension("new");
    fs::write(&new, content).map_err(at(&new))?;
    fs::rename(&new, path).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::Io(path, error)
}
