//! What cannot be observed is refused at once, with the reason, the remedy and the exit code of its kind.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use observer_tests::{
    go::CI_VERSIONS,
    live::{
        Expect, Guarded, Load, Observer, PATIENCE, Program, Run, exactly, observer_binary, start,
    },
    target::{Flavor, build_target},
};

/// Far above what refusing takes, and far below what reading gigabytes does.
const AT_ONCE: Duration = Duration::from_secs(2);

fn newest() -> &'static str {
    let [.., newest] = CI_VERSIONS;
    newest
}

/// `observer run` has to refuse: nothing on stdout, this exit code, these words on stderr, and a hint.
fn refused(run: &Run, code: i32, words: &[&str]) -> Result<()> {
    let stderr = run.stderr.join("\n");
    ensure!(run.status.code() == Some(code), "{}", run.shown());
    ensure!(run.lines.is_empty(), "{}", run.shown());
    ensure!(stderr.starts_with("error: "), "{}", run.shown());
    ensure!(
        words.iter().all(|word| stderr.contains(word)),
        "not all of {words:?} in\n{}",
        run.shown()
    );
    ensure!(stderr.contains("\n\nhint: "), "{}", run.shown());
    Ok(())
}

fn run_refuses(pid: u32, code: i32, words: &[&str]) -> Result<()> {
    let run = Observer::launch(&["--pid", &pid.to_string()])?.ends()?;
    refused(&run, code, words)
}

/// `observer check PATH` has to refuse with exit code 4, at once.
fn check_refuses(path: &Path, words: &[&str]) -> Result<()> {
    let began = Instant::now();
    let output = Command::new(observer_binary()?)
        .arg("check")
        .arg(path)
        .output()?;
    let took = began.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(4),
        "{}: {stderr}",
        output.status
    );
    ensure!(
        words.iter().all(|word| stderr.contains(word)),
        "not all of {words:?} in\n{stderr}"
    );
    ensure!(took < AT_ONCE, "refused after {took:?}");
    Ok(())
}

/// An executable copy of a file.
fn copied(from: &Path, to: PathBuf) -> Result<PathBuf> {
    fs::copy(from, &to).with_context(|| from.display().to_string())?;
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    Ok(to)
}

fn sleeping(executable: &Path) -> Result<Guarded> {
    Guarded::spawn(Command::new(executable).arg("60").stdin(Stdio::null()))
}

#[test]
fn no_such_process() -> Result<()> {
    let mut gone = Guarded::spawn(&mut Command::new("/bin/true"))?;
    let pid = gone.pid();
    gone.wait(PATIENCE)?;
    run_refuses(pid, 4, &[&format!("no process has pid {pid}")])
}

#[test]
fn no_go_program() -> Result<()> {
    let sleep = sleeping(Path::new("/bin/sleep"))?;
    run_refuses(
        sleep.pid(),
        4,
        &[&format!("pid {}", sleep.pid()), "is not a Go program"],
    )?;
    check_refuses(Path::new("/bin/sleep"), &["is not a Go program"])
}

#[test]
fn go_too_old() -> Result<()> {
    // The newest Go whose output looks much like that of the oldest ones, saying that it is one of those.
    let folder = tempfile::tempdir()?;
    let real = build_target("healthy", "1.21.13", Flavor::Plain)?;
    let old = copied(&real, folder.path().join("healthy"))?;
    let mut bytes = fs::read(&old)?;
    let (from, to) = (b"go1.21.13", b"go1.17.13");
    let mut at = 0;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.windows(from.len()).position(|part| part == from))
    {
        at += found;
        bytes
            .get_mut(at..at + to.len())
            .context("the window is inside")?
            .copy_from_slice(to);
    }
    fs::write(&old, bytes)?;
    check_refuses(&old, &["was built with go1.17.13", "go1.18 or newer"])?;
    let program = Program::run("healthy", old, &[])?;
    run_refuses(
        program.pid(),
        4,
        &["was built with go1.17.13", "go1.18 or newer"],
    )
}

#[test]
fn large_executables_that_are_not_go_are_refused_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Real bytes, and none of Go's.
    let large = copied(Path::new("/bin/sleep"), folder.path().join("large"))?;
    let mut file = File::options().append(true).open(&large)?;
    let mebibyte: Vec<u8> = (0..1_u32 << 20)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    for _ in 0..100 {
        file.write_all(&mebibyte)?;
    }
    drop(file);
    check_refuses(&large, &["is not a Go program"])?;
    // No bytes at all, but three gigabytes of them.
    let sparse = copied(Path::new("/bin/sleep"), folder.path().join("sparse"))?;
    File::options()
        .append(true)
        .open(&sparse)?
        .set_len(3 << 30)?;
    check_refuses(&sparse, &["is not a Go program"])?;

    for path in [large, sparse] {
        let sleep = sleeping(&path)?;
        let began = Instant::now();
        run_refuses(sleep.pid(), 4, &["is not a Go program"])?;
        ensure!(
            began.elapsed() < AT_ONCE,
            "refused after {:?}",
            began.elapsed()
        );
    }
    Ok(())
}

#[test]
fn a_header_that_promises_three_gigabytes_is_refused_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("fake");
    let size = 3_u64 << 30;
    // A 64-bit little-endian executable for x86-64, whose 1000 section headers are its last bytes.
    let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for field in [0x40_1000_u64, 64, size - 64 * 1000] {
        header.extend(field.to_le_bytes());
    }
    header.extend(0_u32.to_le_bytes());
    for field in [64_u16, 56, 1, 64, 1000, 999] {
        header.extend(field.to_le_bytes());
    }
    let mut file = File::create(&path)?;
    file.write_all(&header)?;
    file.set_len(size)?;
    check_refuses(&path, &["error: "])
}

/// Without one capability, as root; CAP_SYS_ADMIN would stand in for most.
fn without(capability: &str) -> [String; 2] {
    [
        "setpriv".to_owned(),
        format!("--bounding-set=-sys_admin,-{capability}"),
    ]
}

#[test]
fn a_missing_capability_is_named() -> Result<()> {
    let program = start("healthy", newest(), Flavor::Plain, &[])?;
    for capability in ["bpf", "perfmon", "sys_ptrace", "dac_read_search"] {
        let wrapper = without(capability);
        let wrapper = wrapper.each_ref().map(String::as_str);
        let observer = Observer::launch_through(&wrapper, &["--pid", &program.pid().to_string()])?;
        let named = format!("missing capability CAP_{}", capability.to_uppercase());
        refused(&observer.ends()?, 3, &[&named])?;
    }
    Ok(())
}

#[test]
fn what_the_kernel_lacks_is_named() -> Result<()> {
    let program = start("healthy", newest(), Flavor::Plain, &[])?;
    let pid = program.pid().to_string();
    let lacks = |wrapper: &[&str], words: &[&str]| {
        let observer = Observer::launch_through(wrapper, &["--pid", &pid])?;
        refused(&observer.ends()?, 3, words)
    };
    // As kernels from before 3.0 were called.
    lacks(
        &["setarch", "--uname-2.6"],
        &["kernel 2.6 is too old; observer needs Linux 5.15 or newer"],
    )?;
    let hidden = |path: &str| format!("mount -t tmpfs none {path} && exec \"$@\"");
    let no_uprobes = hidden("/sys/bus/event_source/devices");
    lacks(
        &["unshare", "--mount", "sh", "-c", &no_uprobes, "sh"],
        &["this kernel has no uprobes", "event_source/devices/uprobe"],
    )?;
    let mut namespace = vec!["unshare", "--pid", "--fork", "--kill-child"];
    lacks(&namespace, &["child pid namespace", "hostPID: true"])?;
    namespace.push("--mount-proc");
    lacks(&namespace, &["child pid namespace", "hostPID: true"])?;

    let call = nix::libc::SYS_bpf;
    let answers = [
        (Errno::ENOSYS, "this kernel has no BPF"),
        // As the filters of containers answer; with all capabilities at hand, somebody else forbids it.
        (Errno::EPERM, "cannot load eBPF programs: permission denied"),
    ];
    for (error, words) in answers {
        let observer = Observer::launch_without(call, error, &["--pid", &pid])?;
        refused(&observer.ends()?, 3, &[words])?;
    }
    let call = nix::libc::SYS_perf_event_open;
    let observer = Observer::launch_without(call, Errno::EACCES, &["--pid", &pid])?;
    let run = observer.ends()?;
    refused(&run, 3, &["cannot attach probes"])
}

#[test]
fn a_kernel_without_btf_is_enough() -> Result<()> {
    let program = start("rules4", newest(), Flavor::Plain, &[])?;
    let script = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";
    let wrapper = ["unshare", "--mount", "sh", "-c", script, "sh"];
    let observer = Observer::launch_through(&wrapper, &["--pid", &program.pid().to_string()])?;
    observer.started(1)?;
    let path = "/notcalled/cancel";
    Load::of(&program, path).ids("a-").start()?.all("ok")?;
    std::thread::sleep(Duration::from_millis(1200));
    let found = Expect::new("warning", "rules4", "cancel-not-called cancel")?.request(path, "a-0");
    exactly(&observer.stop()?, program.pid(), &[found])
}

#[test]
fn full_root_is_not_needed() -> Result<()> {
    let program = start("healthy", newest(), Flavor::Plain, &[])?;
    let pid = program.pid().to_string();
    let wrapper = [
        "setpriv",
        "--bounding-set=-all,+sys_admin,+sys_ptrace,+dac_read_search",
    ];
    let observer = Observer::launch_through(&wrapper, &["--pid", &pid])?;
    observer.started(1)?;
    exactly(&observer.stop()?, program.pid(), &[])?;

    // Kernels differ in whether placing a uprobe takes CAP_SYS_ADMIN or only CAP_PERFMON.
    let wrapper = [
        "setpriv",
        "--bounding-set=-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search",
    ];
    let observer = Observer::launch_through(&wrapper, &["--pid", &pid, "--duration", "1s"])?;
    let run = observer.ends()?;
    if run.status.code() == Some(0) {
        return exactly(&run, program.pid(), &[]);
    }
    refused(&run, 3, &["missing capability CAP_SYS_ADMIN"])
}

#[test]
fn an_output_that_cannot_be_written_is_said_before_anything_is_attached() -> Result<()> {
    let program = start("healthy", newest(), Flavor::Plain, &[])?;
    let pid = program.pid().to_string();
    let folder = tempfile::tempdir()?;
    let missing = folder.path().join("missing/file");
    let places = [
        (missing.as_path(), "mkdir -p"),
        (folder.path(), "name a file"),
    ];
    for flag in ["--log", "--record", "--write-baseline"] {
        for (path, hint) in places {
            let path = path.to_string_lossy();
            let observer = Observer::launch(&["--pid", &pid, flag, &path])?;
            let run = observer.ends()?;
            refused(&run, 5, &[&format!("`{path}`"), hint])?;
        }
    }
    ensure!(fs::read_dir(folder.path())?.next().is_none());
    Ok(())
}

#[test]
fn a_broken_configuration_is_refused_before_anything_is_attached() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("observer.toml");
    fs::write(&config, "gracee = \"1s\"\n")?;
    let config = config.to_string_lossy();
    let run = Observer::launch(&["--pid", "1", "--config", &config])?.ends()?;
    refused(&run, 2, &["unknown key `gracee`", "did you mean `grace`"])
}
