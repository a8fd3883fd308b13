//! What a person reads of a process's goroutines: a headline, the groups, and what was left out.

use std::fmt::Write as _;

use crate::go::Frame;
use crate::picture::{
    Awaited, Group, Key, Origin, Picture, Searches, Serving, Stack, Status, Totals, Waited, What,
};

use super::layout::{Row, Terminal};
use super::place::{short_file, short_function};
use super::summary::count;

/// Groups shown, unless verbose.
const GROUPS: usize = 20;
/// Frames shown of a stack, unless verbose.
const FRAMES: usize = 6;
/// Stacks shown of a group that has several, unless verbose.
const STACKS: usize = 3;
/// Goroutines named of a stack, unless verbose.
const NAMED: usize = 5;
/// Labels shown of a goroutine.
const LABELS: usize = 3;

/// Everything, each line with a newline.
#[must_use]
pub fn goroutines(picture: &Picture, terminal: &Terminal) -> String {
    let mut text = headline(picture, terminal);
    let shown = if terminal.verbose {
        picture.groups.len()
    } else {
        GROUPS
    };
    for group in picture.groups.iter().take(shown) {
        text.push('\n');
        text.push_str(&of_group(group, &picture.process.module, terminal));
    }
    let rest: Vec<u64> = picture
        .groups
        .iter()
        .skip(shown)
        .map(|it| it.count)
        .collect();
    if !rest.is_empty() {
        let groups = count(terminal, len(rest.len()), "further group");
        let goroutines = count(terminal, rest.iter().sum(), "goroutine");
        let more = format!(
            "\n{} {groups} with {goroutines}: -v shows them\n",
            terminal.glyphs.ellipsis
        );
        text.push_str(&more);
    }
    text.push('\n');
    text.push_str(&last(picture, terminal));
    text
}

fn len(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// `shop-api (pid 4121, go1.27.3): 10 240 goroutines, 2 running`
fn headline(picture: &Picture, terminal: &Terminal) -> String {
    let process = &picture.process;
    let totals = &picture.totals;
    let who = format!("{} (pid {}, {})", process.name, process.pid, process.go);
    let mut what = vec![count(terminal, totals.seen, "goroutine")];
    if picture.coverage.every > 1 {
        // What follows, and whatever is counted below, is of those that were looked at.
        let alive = count(terminal, len(picture.coverage.alive), "goroutine");
        let every = terminal.glyphs.number(len(picture.coverage.every));
        let seen = terminal.glyphs.number(totals.seen);
        what = vec![format!(
            "{alive}, the runtime's own included. 1 in {every} was looked at, and all that follows is of these: {seen} of the program"
        )];
    }
    for (number, word) in [
        (totals.running, "running"),
        (totals.runnable, "ready to run"),
        (totals.syscall, "in a system call"),
    ] {
        if number > 0 {
            what.push(format!("{} {word}", terminal.glyphs.number(number)));
        }
    }
    let who = terminal.glyphs.clean(&who);
    let all = format!("{who}: {}", what.join(", "));
    let lines = wrapped(&all, terminal);
    match lines.strip_prefix(&who) {
        Some(rest) => format!("{}{rest}", terminal.styles.strong(&who)),
        None => lines,
    }
}

/// As many lines as it takes, the further ones indented.
fn wrapped(text: &str, terminal: &Terminal) -> String {
    const INDENT: &str = "  ";
    let mut lines = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > terminal.width.max(super::layout::MIN_WIDTH) {
            lines.push('\n');
            lines.push_str(INDENT);
            used = INDENT.len();
        } else if used > 0 {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += length;
    }
    lines.push('\n');
    lines
}

fn state(status: Status, reason: Option<&str>) -> &str {
    match (reason, status) {
        (Some(reason), _) => reason,
        (None, Status::Running) => "running",
        (None, Status::Runnable) => "ready to run",
        (None, Status::Syscall) => "in a system call",
        (None, Status::Waiting) => "waiting, for an unknown reason",
        (None, Status::Preempted) => "preempted",
        (None, Status::CopyStack) => "its stack is being moved",
        (None, Status::Leaked) => "leaked",
        (None, _) => "in an unknown state",
    }
}

/// `, for 4 min 12 s to 9 min 1 s`; nothing where it is not known.
fn since(waited: Waited, terminal: &Terminal) -> String {
    let shown = |ns| terminal.glyphs.duration(ns);
    match (waited.at_least_ns.map(shown), waited.at_most_ns.map(shown)) {
        (Some(least), Some(most)) => format!(", for {least} to {most}"),
        (Some(least), None) => format!(", for at least {least}"),
        (None, Some(most)) => format!(", for at most {most}"),
        (None, None) => String::new(),
    }
}

fn site(frame: &Frame, module: &str, terminal: &Terminal) -> Vec<String> {
    let parts = [short_file(frame, module), short_function(&frame.function)];
    parts.map(|part| terminal.glyphs.clean(&part)).into()
}

fn of_group(group: &Group, module: &str, terminal: &Terminal) -> String {
    let what = match (&group.key, group.stacks.first()) {
        (Key::Stack, Some(stack)) => state(stack.status, stack.wait_reason.as_deref()).to_owned(),
        (Key::Stack, None) => String::new(),
        (Key::Site(None), stack) => {
            beginning(stack.map_or(Origin::Unknown, Stack::origin)).to_owned()
        }
        (Key::Site(Some(at)), _) => format!("started at {}", site(at, module, terminal).join("  ")),
        (Key::Wait(status, reason), _) => state(*status, reason.as_deref()).to_owned(),
        (Key::Request(None), _) => "of no request that is known".to_owned(),
        (Key::Request(Some(Serving { goid, request })), _) => {
            let name = request.as_ref().map_or_else(
                || "unknown request".to_owned(),
                |request| format!("{} {}", request.method, request.path),
            );
            format!("of {name}: goroutine {goid}, which serves it, and what that one started")
        }
    };
    let number = terminal.glyphs.number(group.count);
    let head = format!(
        "{number}  {}{}",
        terminal.glyphs.clean(&what),
        since(group.waited, terminal)
    );
    let lines = wrapped(&head, terminal);
    let mut text = match lines.strip_prefix(&number) {
        Some(rest) => format!("{}{rest}", terminal.styles.strong(&number)),
        None => lines,
    };
    let shown = if terminal.verbose {
        group.stacks.len()
    } else {
        STACKS
    };
    for stack in group.stacks.iter().take(shown) {
        text.push_str(&of_stack(stack, group, module, terminal));
    }
    let hidden = len(group.stacks.len().saturating_sub(shown)) + group.stacks_other;
    if hidden > 0 {
        let more = format!(
            "{} {}",
            terminal.glyphs.ellipsis,
            count(terminal, hidden, "further stack")
        );
        text.push_str(&terminal.rows(&[Row::words("", 0, &more)]));
    }
    text
}

/// What is said where there is no `go` statement.
const fn beginning(origin: Origin<'_>) -> &'static str {
    match origin {
        Origin::Beginning => "the program's first goroutine",
        Origin::Foreign => "from C, which has called a function of Go",
        Origin::Statement(_) | Origin::Unknown => "started at an unknown place",
    }
}

fn of_stack(stack: &Stack, group: &Group, module: &str, terminal: &Terminal) -> String {
    let mut rows = Vec::new();
    if !matches!(group.key, Key::Stack) {
        let mut head = terminal.glyphs.number(stack.count);
        if !matches!(group.key, Key::Wait(..)) {
            head.push(' ');
            head.push_str(state(stack.status, stack.wait_reason.as_deref()));
        }
        rows.push(Row::words("of them", 0, &terminal.glyphs.clean(&head)));
    }
    if !matches!(group.key, Key::Site(_)) {
        rows.push(match stack.origin() {
            Origin::Statement(at) => Row::facts("go", 0, site(at, module, terminal)),
            other => Row::words("go", 0, beginning(other)),
        });
    }
    rows.extend(frames(stack, module, terminal));
    for awaited in &stack.awaits {
        let awaited = of_awaited(awaited, stack.wait_reason.as_deref(), terminal);
        rows.push(Row::words("on", 0, &awaited));
    }
    if stack.awaits_other > 0 {
        let other = terminal.glyphs.number(stack.awaits_other);
        rows.push(Row::words("", 0, &format!("and {other} others")));
    }
    if stack.unreferenced > 0 {
        let whose = match stack.unreferenced {
            1 if stack.count == 1 => "it waits".to_owned(),
            all if all == stack.count => "they wait".to_owned(),
            1 => "one of them waits".to_owned(),
            some => format!("{} of them wait", terminal.glyphs.number(some)),
        };
        let text = format!("no reference found to what {whose} on");
        rows.push(Row::words("", 0, &text));
    }
    rows.push(Row::words("who", 0, &who(stack, terminal)));
    terminal.rows(&rows)
}

fn frames(stack: &Stack, module: &str, terminal: &Terminal) -> Vec<Row> {
    let places: Vec<&[Frame]> = stack.frames.chunk_by(|a, b| a == b).collect();
    let all = places.len();
    // One more instead of a line that says "1 more".
    let shown = if terminal.verbose || all <= FRAMES + 1 {
        all
    } else {
        FRAMES
    };
    let mut rows = Vec::new();
    for place in places.iter().take(shown) {
        let label = if rows.is_empty() { "at" } else { "" };
        let mut parts = place
            .first()
            .map_or_else(Vec::new, |frame| site(frame, module, terminal));
        if place.len() > 1 {
            parts.push(format!("{} times", place.len()));
        }
        rows.push(Row::facts(label, 0, parts));
    }
    if rows.is_empty()
        && !matches!(stack.origin(), Origin::Beginning)
        && let Some(start) = &stack.start
    {
        rows.push(Row::facts("began", 0, site(start, module, terminal)));
    }
    let ellipsis = terminal.glyphs.ellipsis;
    let hidden: usize = places.iter().skip(shown).map(|place| place.len()).sum();
    if hidden > 0 {
        let hidden = format!("{ellipsis} {}", count(terminal, len(hidden), "more frame"));
        rows.push(Row::words("", 0, &hidden));
    }
    if stack.cut {
        let more = format!("{ellipsis} and more, which were not read");
        rows.push(Row::words("", 0, &more));
    }
    rows
}

/// What is no channel, by how the reason of the wait begins.
fn lock(reason: Option<&str>) -> &'static str {
    const KINDS: [(&str, &str); 3] = [
        ("semacquire", "semaphore"),
        ("sync.Cond", "condition"),
        ("sync.WaitGroup", "wait group"),
    ];
    let is_of = |(start, _): &&(&str, &str)| reason.is_some_and(|reason| reason.starts_with(start));
    KINDS.iter().find(is_of).map_or("lock", |(_, kind)| kind)
}

/// `channel 0xc000123456, 0 of 8 in its buffer, open, 9 999 wait for it`
fn of_awaited(awaited: &Awaited, reason: Option<&str>, terminal: &Terminal) -> String {
    let mut text = match awaited.what {
        What::Channel(channel) => {
            let buffer = if channel.cap == 0 {
                "unbuffered".to_owned()
            } else {
                format!("{} of {} in its buffer", channel.len, channel.cap)
            };
            let closed = if channel.closed { "closed" } else { "open" };
            format!("channel {:#x}, {buffer}, {closed}", channel.addr)
        }
        What::Lock(addr) => format!("{} {addr:#x}", lock(reason)),
    };
    if let Some(waiters) = awaited.waiters.filter(|&waiters| waiters > 1) {
        let waiters = terminal.glyphs.number(waiters);
        let _infallible = write!(text, ", {waiters} wait for it");
    }
    text
}

/// `goroutines 34 (on thread 4130, region=eu), 35 and 12 more, started by 7`
fn who(stack: &Stack, terminal: &Terminal) -> String {
    let shown = if terminal.verbose {
        stack.members.len()
    } else {
        NAMED
    };
    let members = || stack.members.iter().take(shown);
    let common = stack.members.first().and_then(|first| first.parent);
    let common = common.filter(|_| members().all(|known| known.parent == common));
    let names: Vec<String> = members()
        .map(|known| {
            let mut facts = Vec::new();
            if let Some(parent) = known.parent.filter(|_| common.is_none()) {
                facts.push(format!("started by {parent}"));
            }
            if let Some(thread) = known.thread {
                facts.push(format!("on thread {thread}"));
            }
            if known.unreferenced && stack.unreferenced < stack.count {
                facts.push("no reference found".to_owned());
            }
            let labels = known.labels.iter().flat_map(|labels| labels.iter());
            facts.extend(
                labels
                    .take(LABELS)
                    .map(|(key, value)| format!("{key}={value}")),
            );
            let facts = if facts.is_empty() {
                String::new()
            } else {
                format!(" ({})", facts.join(", "))
            };
            terminal.glyphs.clean(&format!("{}{facts}", known.goid))
        })
        .collect();
    let plural = if stack.count == 1 { "" } else { "s" };
    let mut text = format!("goroutine{plural} {}", names.join(", "));
    if let Some(parent) = common {
        let _infallible = write!(text, ", started by {parent}");
    }
    let hidden = stack.count.saturating_sub(len(names.len()));
    if hidden > 0 {
        let _infallible = write!(text, "; and {} more", terminal.glyphs.number(hidden));
    }
    text
}

/// What was left out, what is not known, and what it took.
fn last(picture: &Picture, terminal: &Terminal) -> String {
    let glyphs = &terminal.glyphs;
    let (totals, coverage) = (&picture.totals, &picture.coverage);
    let mut parts = vec![format!(
        "{} in {}",
        count(terminal, totals.grouped, "goroutine"),
        count(
            terminal,
            len(picture.groups.len()) + picture.groups_other.0,
            "group"
        )
    )];
    if picture.groups_other.0 > 0 {
        let goroutines = count(terminal, picture.groups_other.1, "goroutine");
        parts.push(format!(
            "the smallest groups, with {goroutines}, not listed"
        ));
    }
    let left_out = totals.seen.saturating_sub(totals.grouped);
    if left_out > 0 {
        let ageless = glyphs.number(totals.ageless);
        parts.push(format!("{} left out by --min-age", glyphs.number(left_out)));
        if totals.ageless > 0 {
            parts.push(format!(
                "of {ageless} of these, Go's notes do not tell whether they have waited for so long"
            ));
        }
    }
    if coverage.torn > 0 {
        let torn = glyphs.number(len(coverage.torn));
        parts.push(format!("{torn} unknown, as they moved at every look"));
    }
    if coverage.every > 1 {
        parts.push(format!(
            "1 in {} of {} looked at",
            glyphs.number(len(coverage.every)),
            glyphs.number(len(coverage.alive))
        ));
    }
    if coverage.cut {
        parts.push("not all could be listed".into());
    }
    parts.push(format!(
        "{} of the runtime left out",
        glyphs.number(totals.runtime)
    ));
    parts.push(format!("read in {}", glyphs.duration(picture.took_ns)));
    if let Some(searches) = &picture.searches {
        parts.extend(of_searches(searches, totals, terminal));
    }
    wrapped(&glyphs.clean(&parts.join(" · ")), terminal)
}

/// What searches for references have shown, and what they could not.
fn of_searches(searches: &Searches, totals: &Totals, terminal: &Terminal) -> Vec<String> {
    let glyphs = &terminal.glyphs;
    let searched = match searches {
        Searches::NotMade(why) => return vec![format!("references not searched for: {why}")],
        Searches::Made(searched) => searched,
    };
    let times = searched.apart_ns.map_or_else(
        || "once".to_owned(),
        |apart_ns| format!("twice, {} apart", glyphs.duration(apart_ns)),
    );
    let took = glyphs.duration(searched.took_ns);
    let found = match totals.unreferenced {
        0 => "none is missing".to_owned(),
        lost => format!("none found for {}", count(terminal, lost, "goroutine")),
    };
    let mut parts = vec![format!(
        "searched {times}, for {took} in all, for references to what is waited on: {found}"
    )];
    if searched.beyond > 0 {
        let beyond = glyphs.number(searched.beyond);
        parts.push(format!("{beyond} more waits not looked at closely"));
    }
    if totals.unnamed > 0 {
        let unnamed = glyphs.number(totals.unnamed);
        parts.push(format!(
            "{unnamed} not searched for, as nothing names what they wait on"
        ));
    }
    parts
}

#[cfg(test)]
#[path = "goroutines_tests.rs"]
mod tests;
