//! Answers that take their time: looks at much of a process, on a thread of their own.
//!
//! Such a look takes up to a second, in which events must be taken in. One follows the other, and few wait.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::detect::{Answer, Ask, Question, Searched};
use crate::error::Notice;
use crate::inspect::Unsearched;
use crate::sink::{Clock, SnapshotFolder};

use super::subject::Target;
use super::{clock, crowds, inspector};

/// Looks that wait; what is asked beyond has no answer.
const WAITING: usize = 16;

/// A look that was asked for.
type Job = (Ask, Arc<Target>, Clock);

/// What came of one.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) ask: Ask,
    pub(super) answer: Answer,
    /// What could not be done.
    pub(super) notice: Option<Notice>,
}

/// Looks that wait, the one under way, and those that are over.
#[derive(Debug, Default)]
pub(super) struct Looks {
    folder: Option<Arc<SnapshotFolder>>,
    waiting: VecDeque<Job>,
    at_work: Option<(Ask, JoinHandle<Done>)>,
    over: VecDeque<Done>,
    /// Processes that were said not to be searched for references.
    not_searched: BTreeSet<u32>,
}

impl Looks {
    /// With a folder, what is seen is written there.
    pub(super) fn new(folder: Option<SnapshotFolder>) -> Self {
        Self {
            folder: folder.map(Arc::new),
            ..Self::default()
        }
    }

    /// Asks for a look.
    pub(super) fn ask(&mut self, ask: Ask, target: Arc<Target>, clock: Clock) {
        if self.waiting.len() >= WAITING {
            self.over.push_back(unanswered(ask));
            return;
        }
        self.waiting.push_back((ask, target, clock));
        self.begin();
    }

    /// The next that is over by now.
    pub(super) fn done(&mut self) -> Option<Done> {
        let ended = self.at_work.take_if(|(_, thread)| thread.is_finished());
        self.take(ended);
        self.over.pop_front()
    }

    /// Waits until all are over.
    pub(super) fn wait(&mut self) {
        while let Some(begun) = self.at_work.take() {
            self.take(Some(begun));
        }
    }

    fn take(&mut self, ended: Option<(Ask, JoinHandle<Done>)>) {
        if let Some((ask, thread)) = ended {
            let mut done = thread.join().unwrap_or_else(|_| unanswered(ask));
            if let Some(Notice::NotSearched { pid, .. }) = &done.notice
                && !self.not_searched.insert(*pid)
            {
                done.notice = None;
            }
            self.over.push_back(done);
            self.begin();
        }
    }

    fn begin(&mut self) {
        while self.at_work.is_none()
            && let Some((ask, target, clock)) = self.waiting.pop_front()
        {
            let (own, folder) = (ask.clone(), self.folder.clone());
            let thread = std::thread::Builder::new().name("goroutines".into());
            match thread.spawn(move || look(own, &target, clock, folder.as_deref())) {
                Ok(thread) => self.at_work = Some((ask, thread)),
                Err(_) => self.over.push_back(unanswered(ask)),
            }
        }
    }
}

const fn unanswered(ask: Ask) -> Done {
    Done {
        ask,
        answer: Answer::Unknown,
        notice: None,
    }
}

fn look(ask: Ask, target: &Target, clock: Clock, folder: Option<&SnapshotFolder>) -> Done {
    let (answer, notice) = match &ask.question {
        Question::Crowds { gopcs } => crowds::look(gopcs, target, clock, folder),
        Question::Unreferenced { goids } => {
            let begun_ns = clock::now_ns();
            match inspector::unreferenced(target, goids) {
                Some(Ok(reach)) => {
                    let found = Searched {
                        lost: reach.lost,
                        reached: reach.reached,
                        took_ns: clock::now_ns().saturating_sub(begun_ns),
                    };
                    (Answer::Unreferenced(Some(found)), None)
                }
                Some(Err(why @ Unsearched::TooMuch)) => {
                    let (pid, why) = (ask.pid, why.to_string());
                    let notice = Notice::NotSearched { pid, why };
                    (Answer::Unreferenced(None), Some(notice))
                }
                Some(Err(Unsearched::Unclear)) | None => (Answer::Unreferenced(None), None),
            }
        }
        _ => (Answer::Unknown, None),
    };
    Done {
        ask,
        answer,
        notice,
    }
}
