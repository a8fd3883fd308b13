//! Stacks in the form that flame graph tools take: `outermost;…;innermost count`, one a line.

use crate::go::Frame;
use crate::picture::{Group, Key, Origin, Picture, Serving, Stack, Status};

use super::short_file;

/// One line for each stack. Outermost is what makes a group, where that is not the stack itself; innermost, in brackets,
/// what the goroutines do, and below that those to whose wait no reference was found. What is in no group, for the bound or for want of a still look, has lines of its own.
#[must_use]
pub fn folded(picture: &Picture) -> String {
    let module = &picture.process.module;
    let mut text = String::new();
    for group in &picture.groups {
        let root = root(group, module);
        let mut told = 0;
        for stack in &group.stacks {
            told += stack.count;
            let outermost = root.iter().cloned();
            let frames = stack
                .frames
                .iter()
                .rev()
                .map(|frame| clean(&frame.function));
            let running = (stack.frames.is_empty())
                .then(|| outermost_of(stack))
                .flatten();
            let cut = stack.cut.then(|| "[and more]".to_owned());
            let parts = outermost
                .chain(cut)
                .chain(running)
                .chain(frames)
                .chain([format!("[{}]", state(stack))]);
            let mut parts: Vec<String> = parts.collect();
            let known = stack.count.saturating_sub(stack.unreferenced);
            line(&mut text, &parts, known);
            parts.push("[no reference found]".to_owned());
            line(&mut text, &parts, stack.unreferenced);
        }
        let rest = root.into_iter().chain(["[other stacks]".to_owned()]);
        let others = group.count.saturating_sub(told);
        line(&mut text, &rest.collect::<Vec<_>>(), others);
    }
    line(
        &mut text,
        &["[other groups]".to_owned()],
        picture.groups_other.1,
    );
    let torn = u64::try_from(picture.coverage.torn).unwrap_or(u64::MAX);
    line(&mut text, &["[unknown]".to_owned()], torn);
    text
}

fn line(text: &mut String, parts: &[String], count: u64) {
    if count > 0 {
        text.push_str(&parts.join(";"));
        text.push(' ');
        text.push_str(&count.to_string());
        text.push('\n');
    }
}

/// What stands between two frames, or between them and the number, is no part of a frame.
fn clean(name: &str) -> String {
    name.replace("%2e", ".")
        .chars()
        .map(|c| match c {
            ';' => ',',
            c if c.is_whitespace() || crate::foreign::steers(c) => '_',
            c => c,
        })
        .collect()
}

fn state(stack: &Stack) -> String {
    match (&stack.wait_reason, stack.status) {
        (Some(reason), _) => reason.to_string(),
        (None, Status::Running) => "running".into(),
        (None, Status::Runnable) => "runnable".into(),
        (None, Status::Syscall) => "syscall".into(),
        (None, Status::Waiting) => "waiting".into(),
        (None, Status::Preempted) => "preempted".into(),
        (None, Status::Leaked) => "leaked".into(),
        (None, _) => "unknown".into(),
    }
}

/// The outermost frame of goroutines that run: of where they are, no more is known.
fn outermost_of(stack: &Stack) -> Option<String> {
    match stack.origin() {
        Origin::Beginning => Some("main.main".into()),
        _ => stack.start.as_ref().map(|start| clean(&start.function)),
    }
}

fn root(group: &Group, module: &str) -> Option<String> {
    let at = |frame: &Frame| format!("[go {}]", clean(&short_file(frame, module)));
    match &group.key {
        Key::Stack | Key::Wait(..) => None,
        Key::Site(None) => Some(
            match group.stacks.first().map(Stack::origin) {
                Some(Origin::Beginning) => "[first goroutine]",
                Some(Origin::Foreign) => "[from C]",
                _ => "[unknown origin]",
            }
            .into(),
        ),
        Key::Site(Some(frame)) => Some(at(frame)),
        Key::Request(None) => Some("[no request]".into()),
        Key::Request(Some(Serving { goid, request })) => {
            let name = request.as_ref().map_or_else(
                || "unknown request".to_owned(),
                |request| clean(&format!("{} {}", request.method, request.path)),
            );
            Some(format!("[{name} of goroutine {goid}]"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::folded;
    use crate::picture::{GroupBy, Key, samples};

    #[test]
    fn each_stack_is_a_line_from_the_outermost_frame_on() {
        let mut picture = samples::picture();
        picture.coverage.torn = 3;
        let text = folded(&picture);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "example.com/shop/report.(*Builder).work;example.com/shop/report.(*Builder).wait;[chan receive] 10000"
        );
        assert!(lines[1].starts_with("[and more];example.com/shop/tree.(*Node).walk;"));
        assert!(lines[1].ends_with(";sync.(*Mutex).Lock;[sync.Mutex.Lock] 2"));
        assert_eq!(
            lines[2],
            "example.com/shop/report.(*Builder).work;[running] 1"
        );
        assert_eq!(lines[4], "[unknown] 3");
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn whose_wait_nothing_refers_to_has_a_line_of_its_own() {
        let text = folded(&samples::searched());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with(";[chan receive] 9998"), "{text}");
        let own = ";[chan receive];[no reference found] 2";
        assert!(lines[1].ends_with(own), "{text}");
        // Of the recursion, there are no others.
        let own = ";[sync.Mutex.Lock];[no reference found] 2";
        assert!(lines[2].ends_with(own), "{text}");
        assert!(lines[3].ends_with(";[running] 1"), "{text}");
    }

    #[test]
    fn without_a_go_statement_it_is_said_why() {
        let mut picture = samples::picture();
        picture.group_by = GroupBy::Site;
        picture.groups.drain(..3);
        picture.groups[0].key = Key::Site(None);
        let first = folded(&picture);
        assert!(first.starts_with("[first goroutine];main.main;"), "{first}");
        picture.groups[0].stacks[0].frames.clear();
        let running = folded(&picture);
        assert!(
            running.starts_with("[first goroutine];main.main;["),
            "{running}"
        );
        picture.groups[0].stacks[0].start = None;
        let called = folded(&picture);
        assert!(called.starts_with("[from C];["), "{called}");
    }

    #[test]
    fn what_makes_a_group_is_outermost() {
        let mut picture = samples::picture();
        picture.group_by = GroupBy::Site;
        picture.groups.truncate(1);
        let at = picture.groups[0].stacks[0].started_at.clone();
        picture.groups[0].key = Key::Site(at);
        picture.groups[0].count += 5;
        let text = folded(&picture);
        assert!(
            text.starts_with("[go api/report.go:71];example.com/shop/report."),
            "{text}"
        );
        assert!(
            text.ends_with("[go api/report.go:71];[other stacks] 5\n"),
            "{text}"
        );
    }
}
