//! Finds what can compile for BPF on this machine: a compiler with `core` for the target, and the linker.
//!
//! Only looks; installing is `cargo xtask setup`.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// The target that the programs are built for.
pub const TARGET: &str = "bpfel-unknown-none";

/// A compiler that can produce BPF.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// A `rustc` that comes with `core` for the target (Debian's `rustc-web`).
    Prebuilt(PathBuf),
    /// rustup's nightly with `rust-src`: `core` is built on the way.
    Nightly,
}

/// Everything that a build needs.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// Which compiler.
    pub compiler: Compiler,
    /// The `bpf-linker` to call.
    pub linker: PathBuf,
}

/// What is not there.
#[derive(Clone, Copy, Debug)]
pub enum Missing {
    /// No compiler with `core` for BPF and no nightly with `rust-src`.
    Compiler,
    /// No `bpf-linker`.
    Linker,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compiler => "no Rust compiler for the target bpfel-unknown-none",
            Self::Linker => "no bpf-linker",
        })
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prebuilt(rustc) => write!(f, "{}", rustc.display()),
            Self::Nightly => f.write_str("rustup nightly with rust-src"),
        }
    }
}

impl Toolchain {
    /// Looks for a compiler and the linker.
    ///
    /// # Errors
    /// Says which of the two is missing.
    pub fn find() -> Result<Self, Missing> {
        Ok(Self {
            compiler: Compiler::find().ok_or(Missing::Compiler)?,
            linker: find_linker().ok_or(Missing::Linker)?,
        })
    }
}

impl Compiler {
    /// The first compiler that can do it. A prebuilt `core` is preferred: it needs no unstable cargo feature.
    pub fn find() -> Option<Self> {
        let on_path = search_path("rustc");
        let candidates = [
            PathBuf::from("/usr/bin/rustc"),
            PathBuf::from("/usr/local/bin/rustc"),
        ];
        if let Some(rustc) = candidates
            .into_iter()
            .chain(on_path)
            .find(|rustc| has_prebuilt_core(rustc))
        {
            return Some(Self::Prebuilt(rustc));
        }
        let sysroot = sysroot(&mut Self::Nightly.rustc())?;
        sysroot
            .join("lib/rustlib/src/rust/library/core/Cargo.toml")
            .is_file()
            .then_some(Self::Nightly)
    }

    /// A command that runs this `rustc`.
    pub fn rustc(&self) -> Command {
        let mut command = match self {
            Self::Prebuilt(rustc) => Command::new(rustc),
            Self::Nightly => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", "nightly", "rustc"]);
                rustup
            }
        };
        command.env_remove("RUSTUP_TOOLCHAIN");
        command
    }
}

/// `bpf-linker` on `PATH` or where `cargo install` puts it.
pub fn find_linker() -> Option<PathBuf> {
    let installed = ["CARGO_INSTALL_ROOT", "CARGO_HOME"]
        .into_iter()
        .filter_map(env::var_os)
        .map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    installed
        .chain(home)
        .map(|root| root.join("bin/bpf-linker"))
        .chain(search_path("bpf-linker"))
        .find(|path| path.is_file())
}

fn search_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

fn has_prebuilt_core(rustc: &Path) -> bool {
    if !rustc.is_file() {
        return false;
    }
    let Some(sysroot) = sysroot(&mut Compiler::Prebuilt(rustc.to_owned()).rustc()) else {
        return false;
    };
    let Ok(libraries) = sysroot
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib")
        .read_dir()
    else {
        return false;
    };
    libraries.flatten().any(|library| {
        library
            .file_name()
            .as_encoded_bytes()
            .starts_with(b"libcore-")
    })
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let output = rustc.args(["--print", "sysroot"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()))
}
