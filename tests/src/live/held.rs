//! What a process holds in the kernel of BPF: programs, maps and links, and whether they outlive it.

use std::{fs, io, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::libc;

use super::PATIENCE;

/// `bpf(2)`: commands that open an object by its number, with the name that `/proc/PID/fdinfo` has for that number.
/// From the kernel's `enum bpf_cmd`.
const OPEN: [(&str, libc::c_int); 3] = [("prog_id", 13), ("map_id", 14), ("link_id", 30)];
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Numbers of BPF objects. The kernel hands them out in turn, so none means another object soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    objects: Vec<(&'static str, libc::c_int, u32)>,
}

impl Held {
    /// What a process holds now.
    ///
    /// # Errors
    /// When it cannot be seen, or holds no program and no link.
    pub fn by(pid: u32) -> Result<Self> {
        let mut objects = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            // A descriptor may be closed between the two.
            let Ok(text) = fs::read_to_string(entry?.path()) else {
                continue;
            };
            for (line, (name, open)) in text.lines().flat_map(|line| OPEN.map(|open| (line, open)))
            {
                let number = line
                    .strip_prefix(name)
                    .and_then(|rest| rest.strip_prefix(':'));
                if let Some(number) = number {
                    objects.push((name, open, number.trim().parse()?));
                }
            }
        }
        objects.sort_unstable();
        objects.dedup();
        let held = Self { objects };
        for kind in ["prog_id", "link_id"] {
            ensure!(held.count(kind) > 0, "{pid} holds no {kind}: {held:?}");
        }
        Ok(held)
    }

    /// How many of a kind, by its name in `fdinfo`.
    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        self.objects
            .iter()
            .filter(|(name, ..)| *name == kind)
            .count()
    }

    /// Waits until the kernel knows none of them any more.
    ///
    /// # Errors
    /// When it still does after a while.
    pub fn gone(&self) -> Result<()> {
        let mut left = self.objects.clone();
        for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
            let mut still = Vec::new();
            for object in left {
                if exists(object.1, object.2)? {
                    still.push(object);
                }
            }
            if still.is_empty() {
                return Ok(());
            }
            left = still;
            thread::sleep(LOOK_EVERY);
        }
        ensure!(left.is_empty(), "still in the kernel: {left:?}");
        Ok(())
    }
}

fn exists(open: libc::c_int, number: u32) -> Result<bool> {
    // `union bpf_attr`: the number, then two words for other uses.
    let attributes = [number, 0, 0];
    // SAFETY: the kernel reads these twelve bytes and keeps no reference to them.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            open,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if let Ok(descriptor) = libc::c_int::try_from(opened)
        && descriptor >= 0
    {
        // SAFETY: it was opened just now, and nobody else has it.
        let closed = unsafe { libc::close(descriptor) };
        ensure!(closed == 0, "cannot close {descriptor}");
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOENT) => Ok(false),
        _ => Err(error).context("asking the kernel for a BPF object by its number"),
    }
}
