//! One output with a bounded queue and a thread of its own: a slow reader never holds up the
//! engine, and what that costs is counted.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::Notice;

use super::output::{Clock, Output, Tally};

/// Outputs waiting for one writer. A finding with its stack is about 8 KiB at worst.
pub const QUEUE_LIMIT: usize = 1024;

/// How long the end waits for a reader that does not read.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How often a reader is looked after to whom nothing is written.
const LOOK: Duration = Duration::from_secs(1);

/// What to do when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Drop and count: a live target does not wait.
    Bounded,
    /// Wait: a recording has time.
    Lossless,
}

/// One message with what the writer cannot know.
#[derive(Debug)]
pub struct Parcel {
    /// What is said.
    pub output: Output,
    /// Counts up to and including it.
    pub tally: Tally,
    /// For its times.
    pub clock: Clock,
}

/// The far end of a queue.
pub trait Sink: Send {
    /// How errors name it (`stdout`, "the log `/var/log/o.jsonl`").
    fn name(&self) -> String;

    /// Writes one parcel; `tally.dropped` is this sink's.
    ///
    /// # Errors
    /// What the kernel says; `BrokenPipe` means that the reader has closed it.
    fn take(&mut self, parcel: &Parcel, tally: &Tally) -> io::Result<Option<Notice>>;

    /// Says something to the user although the output itself may be broken.
    fn warn(&mut self, notice: &Notice);
}

#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    closed: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

/// The near end.
#[derive(Debug)]
pub struct Writer {
    name: String,
    sender: SyncSender<Arc<Parcel>>,
    done: Receiver<()>,
    shared: Arc<Shared>,
    delivery: Delivery,
}

/// How one output fared.
#[derive(Debug)]
pub struct Fate {
    /// As errors name it.
    pub name: String,
    /// Its reader closed it.
    pub closed: bool,
    /// The first failure.
    pub failure: Option<io::Error>,
    /// Lines that were not written, for whatever reason.
    pub dropped: u64,
}

impl Writer {
    /// Starts the thread. `is_gone` says whether the reader has closed it, while nothing is written.
    ///
    /// # Errors
    /// Where the kernel gives none.
    pub fn start(
        sink: Box<dyn Sink>,
        delivery: Delivery,
        is_gone: fn() -> bool,
    ) -> io::Result<Self> {
        let (sender, parcels) = sync_channel(QUEUE_LIMIT);
        let (finished, done) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let name = sink.name();
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("sink".into())
            .spawn(move || {
                drain(sink, &parcels, &theirs, is_gone);
                // Nobody waits any more after PATIENCE.
                let _unheard = finished.try_send(());
            })?;
        Ok(Self {
            name,
            sender,
            done,
            shared,
            delivery,
        })
    }

    /// Hands a parcel over, or drops and counts it. The end waits for [`PATIENCE`].
    pub fn send(&self, parcel: &Arc<Parcel>) {
        let mut item = Arc::clone(parcel);
        let is_end = matches!(parcel.output, Output::End(_));
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.sender.try_send(item) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => {
                    let waits = match self.delivery {
                        Delivery::Lossless => true,
                        Delivery::Bounded => is_end && Instant::now() < deadline,
                    };
                    if !waits {
                        self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    item = back;
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }

    /// Its reader has closed it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, at most [`PATIENCE`] where delivery is bounded.
    #[must_use]
    pub fn finish(self) -> Fate {
        drop(self.sender);
        let in_time = match self.delivery {
            Delivery::Lossless => self.done.recv().is_ok(),
            Delivery::Bounded => self.done.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout),
        };
        let failure = self
            .shared
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let late = || (!in_time).then(|| io::Error::from(io::ErrorKind::TimedOut));
        Fate {
            name: self.name,
            closed: self.shared.closed.load(Ordering::Relaxed),
            failure: failure.or_else(late),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
        }
    }
}

/// Whether nobody can read any more what is written here.
pub fn is_gone(output: impl AsFd) -> bool {
    let mut looked = [PollFd::new(output.as_fd(), PollFlags::empty())];
    let found = poll(&mut looked, PollTimeout::ZERO);
    let closed = PollFlags::POLLERR | PollFlags::POLLHUP;
    let is_closed = |fd: &PollFd<'_>| fd.revents().is_some_and(|what| what.intersects(closed));
    found.is_ok() && looked.iter().any(is_closed)
}

fn drain(
    mut sink: Box<dyn Sink>,
    parcels: &Receiver<Arc<Parcel>>,
    shared: &Shared,
    is_gone: fn() -> bool,
) {
    let mut said = 0;
    loop {
        let parcel = match parcels.recv_timeout(LOOK) {
            Ok(parcel) => parcel,
            Err(RecvTimeoutError::Timeout) if is_gone() => {
                shared.closed.store(true, Ordering::Relaxed);
                return;
            }
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let dropped = shared.dropped.load(Ordering::Relaxed);
        if dropped > said && said == 0 {
            sink.warn(&Notice::LinesDropped {
                what: sink.name(),
                lines: dropped,
            });
            said = dropped;
        }
        let tally = Tally {
            dropped,
            ..parcel.tally
        };
        match sink.take(&parcel, &tally) {
            Ok(None) => {}
            Ok(Some(notice)) => sink.warn(&notice),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                shared.closed.store(true, Ordering::Relaxed);
                return;
            }
            Err(error) => {
                shared.dropped.fetch_add(1, Ordering::Relaxed);
                let mut first = shared
                    .failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if first.is_none() {
                    sink.warn(&Notice::WriteFailed {
                        what: sink.name(),
                        why: error.to_string(),
                    });
                    *first = Some(error);
                    // A failed line is not a slow reader: what was said covers it.
                    said = said.max(1);
                }
            }
        }
    }
}
