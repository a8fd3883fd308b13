//! What programs say in the kernel: faults of ours that only they can see.

use std::sync::{Arc, Mutex, PoisonError};

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

/// Lines kept until they are taken; a fault repeats with every hit.
const MOST: usize = 64;

/// Lines said and not yet taken.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < MOST {
            lines.push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Reads the programs' log.
pub(super) struct Said {
    logger: EbpfLogger<Lines>,
    lines: Lines,
}

impl Said {
    /// `None` where the object has no log: then no program says anything.
    pub(super) fn open(ebpf: &mut Ebpf) -> Option<Self> {
        let lines = Lines::default();
        let logger = EbpfLogger::init_with_logger(ebpf, lines.clone()).ok()?;
        Some(Self { logger, lines })
    }

    /// What was said since the last time.
    pub(super) fn take(&mut self) -> Vec<String> {
        self.logger.flush();
        std::mem::take(&mut *self.lines.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
