//! Detaching beside the loop: it takes the kernel up to 0.1 s a site, and events of others must be read meanwhile.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::probe::Groups;
use crate::target::Lease;

/// Probes that are to go.
#[derive(Debug)]
pub(super) struct Parting {
    pub(super) slot: u32,
    pub(super) probes: Groups,
    /// Given back once the last probe is out.
    pub(super) lease: Option<Lease>,
}

/// A thread that detaches.
#[derive(Debug)]
pub(super) struct Detacher {
    work: Option<Sender<Parting>>,
    done: Receiver<u32>,
    thread: Option<JoinHandle<()>>,
}

impl Detacher {
    pub(super) fn start() -> Self {
        let (work, parting) = channel::<Parting>();
        let (say_done, done) = channel();
        let thread = std::thread::spawn(move || {
            for mut parting in parting {
                parting.probes.detach_all();
                drop(parting.lease);
                // Nobody listens once observing has ended.
                let _unheard = say_done.send(parting.slot);
            }
        });
        Self {
            work: Some(work),
            done,
            thread: Some(thread),
        }
    }

    /// Detaches soon.
    pub(super) fn detach(&self, parting: Parting) {
        if let Some(work) = &self.work {
            // Where the thread is gone, dropping detaches just as well.
            let _dropped = work.send(parting);
        }
    }

    /// A slot whose probes are gone since the last time.
    pub(super) fn freed(&self) -> Option<u32> {
        self.done.try_recv().ok()
    }
}

impl Drop for Detacher {
    /// Waits until all is detached.
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was shown by the runtime; what it held is detached by its unwinding.
            let _panicked = thread.join();
        }
    }
}
