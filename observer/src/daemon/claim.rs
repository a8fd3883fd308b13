//! So that two observers of one process know of each other.
//!
//! The first holds a name in the abstract socket namespace until it ends, however it ends; a later one
//! finds it taken and knocks.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use crate::finding::ProcessInfo;

/// The name of a process, while nobody else has come.
#[derive(Debug)]
pub(super) struct Claim(Option<UnixListener>);

impl Claim {
    /// Takes the name; also whether somebody had it, and knows now that we are here.
    pub(super) fn take(process: &ProcessInfo) -> (Self, bool) {
        let name = format!("observer/{}/{}", process.pid, process.start_ticks);
        let Ok(address) = SocketAddr::from_abstract_name(name.as_bytes()) else {
            return (Self(None), false);
        };
        match UnixListener::bind_addr(&address) {
            Ok(listener) => {
                let polled = listener.set_nonblocking(true).is_ok();
                (Self(Some(listener).filter(|_| polled)), false)
            }
            // Whoever has it may have ended meanwhile, and needs no telling then.
            Err(_) => {
                let _unheard = UnixStream::connect_addr(&address);
                (Self(None), true)
            }
        }
    }

    /// Whether another observer has knocked since the last time.
    pub(super) fn was_knocked_at(&self) -> bool {
        let knock = self.0.as_ref().map(UnixListener::accept);
        knock.is_some_and(|knock| knock.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::Claim;
    use crate::finding::samples;

    #[test]
    fn whoever_comes_second_and_whoever_was_first_know() {
        let mut process = (*samples::process()).clone();
        // Nobody else's name on this machine.
        process.start_ticks = u64::from(std::process::id()) << 32;
        let (first, taken) = Claim::take(&process);
        assert!(!taken && !first.was_knocked_at());
        let (second, taken) = Claim::take(&process);
        assert!(taken && !second.was_knocked_at());
        assert!(first.was_knocked_at());
        assert!(!first.was_knocked_at());
        drop(first);
        let (_next, taken) = Claim::take(&process);
        assert!(!taken);
    }
}
