//! Threads of a process: whether one has slept since it was last looked at.

use procfs::ProcError;
use procfs::process::{Process, Status, Task};

/// Threads that are looked through for one that has another number in its own pid namespace.
const MAX_THREADS: usize = 4096;

/// How often a thread that sleeps has given up its processor, by its number in the process's own pid namespace: as long as
/// that stays the same, it has not woken. `None` where it runs, is gone, or there are more than 4096 threads to look through.
#[must_use]
pub fn sleeps(pid: i32, thread: i32) -> Option<u64> {
    let process = Process::new(pid).ok()?;
    let status = find(&process, thread).ok()??;
    let is_asleep = status.state.starts_with(['S', 'D']);
    let switches = status.voluntary_ctxt_switches?;
    let forced = status.nonvoluntary_ctxt_switches?;
    is_asleep.then(|| switches.saturating_add(forced))
}

fn find(process: &Process, thread: i32) -> Result<Option<Status>, ProcError> {
    // Seldom has a thread another number outside.
    if let Ok(status) = process.task_from_tid(thread).and_then(|task| task.status())
        && is_inside(&status, thread)
    {
        return Ok(Some(status));
    }
    let status = |task: Result<Task, ProcError>| task.ok()?.status().ok();
    let mut all = process.tasks()?.take(MAX_THREADS).filter_map(status);
    Ok(all.find(|status| is_inside(status, thread)))
}

/// Whether a thread has this number in the innermost namespace that it is in.
fn is_inside(status: &Status, thread: i32) -> bool {
    let inside = status.nspid.as_ref().and_then(|all| all.last().copied());
    inside.unwrap_or(status.pid) == thread
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use nix::unistd::gettid;

    use super::sleeps;

    fn me() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    /// Its number, and what wakes it.
    fn sleeper() -> (i32, mpsc::Sender<()>, mpsc::Receiver<()>) {
        let (wake, woken) = mpsc::channel();
        let (say, told) = mpsc::channel();
        let (again, is_again) = mpsc::channel();
        thread::spawn(move || {
            say.send(gettid().as_raw()).unwrap();
            while woken.recv().is_ok() {
                again.send(()).unwrap();
            }
        });
        (told.recv().unwrap(), wake, is_again)
    }

    fn asleep(thread: i32) -> u64 {
        for _ in 0..1000 {
            if let Some(switches) = sleeps(me(), thread) {
                return switches;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("it does not sleep");
    }

    #[test]
    fn one_that_has_woken_and_sleeps_again_is_told_from_one_that_has_not() {
        let (thread, wake, is_again) = sleeper();
        let mut first = asleep(thread);
        // It may have been on its way to sleep.
        thread::sleep(Duration::from_millis(50));
        first = first.max(asleep(thread));
        assert_eq!(asleep(thread), first);
        wake.send(()).unwrap();
        is_again.recv().unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(asleep(thread) > first);
    }

    #[test]
    fn one_that_runs_or_is_gone_tells_nothing() {
        assert_eq!(sleeps(me(), gettid().as_raw()), None);
        assert_eq!(sleeps(me(), i32::MAX), None);
        assert_eq!(sleeps(i32::MAX, 1), None);
    }
}
