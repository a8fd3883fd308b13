//! What the goroutines do that have become so many: one look at all of a process, on a thread of its own, and its file.
//!
//! Such a look takes up to a second, in which events must be taken in. One follows the other, and few wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::detect::{Answer, Ask, Crowds, Question};
use crate::error::Notice;
use crate::finding::{Crowd, WorkState};
use crate::go::{self, Frame};
use crate::picture::{GroupBy, Key, Picture, Stack, Status};
use crate::sink::{Clock, SnapshotFolder};

use super::goroutines;
use super::subject::Target;

/// Looks that wait; what is asked beyond has no answer.
const WAITING: usize = 16;
/// Frames told of, innermost first.
const FRAMES: usize = 64;

/// A look that was asked for.
type Job = (Ask, Arc<Target>, Clock);

/// What came of one.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) ask: Ask,
    pub(super) answer: Answer,
    /// Why there is no file.
    pub(super) notice: Option<Notice>,
}

/// Looks that wait, the one under way, and those that are over.
#[derive(Debug, Default)]
pub(super) struct Looks {
    folder: Option<Arc<SnapshotFolder>>,
    waiting: VecDeque<Job>,
    at_work: Option<(Ask, JoinHandle<Done>)>,
    over: VecDeque<Done>,
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
            let done = thread.join().unwrap_or_else(|_| unanswered(ask));
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
    let Question::Crowds { gopcs } = &ask.question else {
        return unanswered(ask);
    };
    let Ok(picture) = goroutines::paint(target, GroupBy::Site, None) else {
        return unanswered(ask);
    };
    let statements = gopcs.iter().map(|gopc| {
        let pc = gopc.wrapping_sub(target.bias());
        target.image.frames(pc).into_iter().next()
    });
    let crowds = statements.map(|at| crowd(&picture, &at?)).collect();
    let written = folder.map(|folder| folder.write(picture, clock));
    let (snapshot, notice) = match written {
        Some(Ok(path)) => (Some(Arc::from(path.display().to_string())), None),
        Some(Err(notice)) => (None, Some(notice)),
        None => (None, None),
    };
    Done {
        ask,
        answer: Answer::Crowds(Crowds { crowds, snapshot }),
        notice,
    }
}

/// What most goroutines of a `go` statement do.
fn crowd(picture: &Picture, at: &Frame) -> Option<Crowd> {
    let is_it = |key: &Key| matches!(key, Key::Site(Some(site)) if site == at);
    let group = picture.groups.iter().find(|group| is_it(&group.key))?;
    group.stacks.first().map(of_stack)
}

fn of_stack(stack: &Stack) -> Crowd {
    let frames: Vec<Frame> = stack.frames.iter().take(FRAMES).cloned().collect();
    let is_cut = stack.cut || stack.frames.len() > FRAMES;
    Crowd {
        count: stack.count,
        state: match stack.status {
            Status::Waiting | Status::Leaked => WorkState::Waiting,
            _ => WorkState::Running,
        },
        wait_reason: stack.wait_reason.as_ref().map(ToString::to_string),
        stack: if is_cut {
            go::Stack::cut(frames)
        } else {
            frames.into()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::crowd;
    use crate::finding::WorkState;
    use crate::picture::{Key, samples};

    #[test]
    fn the_most_frequent_stack_of_a_statement_stands_for_it() {
        let mut picture = samples::picture();
        let at = picture.groups[0].stacks[0].started_at.clone();
        picture.groups[0].key = Key::Site(at.clone());
        let found = crowd(&picture, at.as_ref().unwrap()).unwrap();
        assert_eq!(found.count, picture.groups[0].stacks[0].count);
        assert_eq!(found.state, WorkState::Waiting);
        assert_eq!(*found.stack, *picture.groups[0].stacks[0].frames);
        let other = &found.stack[0];
        assert_eq!(crowd(&picture, other), None);
    }
}
