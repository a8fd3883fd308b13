//! What the goroutines do that have become so many: one look at all of a process, and its file.

use std::sync::Arc;

use crate::detect::{Answer, Crowds};
use crate::error::Notice;
use crate::finding::{Crowd, WorkState};
use crate::go::{self, Frame};
use crate::picture::{GroupBy, Key, Picture, Stack, Status};
use crate::sink::{Clock, SnapshotFolder};

use super::goroutines;
use super::subject::Target;

/// Frames told of, innermost first.
const FRAMES: usize = 64;

/// What the goroutines of some `go` statements do; and why there is no file of it.
pub(super) fn look(
    gopcs: &[u64],
    target: &Target,
    clock: Clock,
    folder: Option<&SnapshotFolder>,
) -> (Answer, Option<Notice>) {
    let Ok(picture) = goroutines::paint(target, (GroupBy::Site, None), None) else {
        return (Answer::Unknown, None);
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
    (Answer::Crowds(Crowds { crowds, snapshot }), notice)
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
