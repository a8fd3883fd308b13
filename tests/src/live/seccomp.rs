//! Kernels that lack a system call, or forbid it: imitated by a filter, as containers do.

use std::{io, os::unix::process::CommandExt, process::Command};

use anyhow::{Result, ensure};
use nix::{
    errno::Errno,
    libc::{self, c_long},
};

/// Has the command start with a filter that answers `call` with `error` and lets all others pass.
///
/// # Errors
/// When the call has no number that a filter can compare.
pub(super) fn refuse(command: &mut Command, call: c_long, error: Errno) -> Result<()> {
    let number = u32::try_from(call)?;
    let answer = libc::SECCOMP_RET_ERRNO | u32::try_from(error as i32)?;
    ensure!(answer & libc::SECCOMP_RET_DATA != 0, "no error to answer");
    let step = |code: u32, jump_false: u8, k: u32| libc::sock_filter {
        // Codes of instructions are below 0x100.
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf: jump_false,
        k,
    };
    let mut filter = [
        // The number of the call is the first word of what a filter sees (`struct seccomp_data`).
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number),
        step(libc::BPF_RET | libc::BPF_K, 0, answer),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog {
            len: 4,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: the filter has four instructions and lives through the call, in which the kernel copies it.
        let done = unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
        };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: between fork and exec there is one system call, which neither allocates nor locks.
    unsafe { command.pre_exec(install) };
    Ok(())
}
