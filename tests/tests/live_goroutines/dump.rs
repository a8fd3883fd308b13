//! Go's own dump of its goroutines, read back line by line.

use observer::go::Frame;
use observer::picture::Stack;

use super::target::Target;

/// A function, its file and its line.
pub type Place = (String, String, u32);

/// One goroutine of a dump.
#[derive(Debug)]
pub struct Dumped {
    pub goid: u64,
    /// What stands in the brackets, without the minutes.
    pub state: String,
    /// Innermost first.
    pub frames: Vec<Place>,
    /// How many of them come before the place where the dump leaves some out.
    pub cut_after: Option<usize>,
    /// Of the `go` statement.
    pub created: Option<Place>,
    /// From Go 1.21.
    pub parent: Option<u64>,
    /// Who started it, who started that one, and so on: only where the program keeps them
    /// (`GODEBUG=tracebackancestors=…`).
    pub ancestors: Vec<Ancestor>,
}

/// A goroutine that has started another one, as it was then.
#[derive(Debug, PartialEq, Eq)]
pub struct Ancestor {
    pub goid: u64,
    /// Of its own `go` statement.
    pub created: Option<Place>,
}

impl Dumped {
    /// File and line of the `go` statement; empty for the first goroutine.
    pub fn created_line(&self) -> String {
        let line = |(_, file, line): &Place| format!("{file}:{line}");
        self.created.as_ref().map(line).unwrap_or_default()
    }
}

pub fn parse(lines: &[String]) -> Vec<Dumped> {
    lines
        .split(|line| line.is_empty())
        .filter_map(|block| {
            let (head, body) = block.split_first()?;
            let rest = head.strip_prefix("goroutine ")?;
            let (goid, state) = rest.split_once(" [")?;
            let state = state.trim_end_matches("]:");
            let mut dumped = Dumped {
                goid: goid.parse().unwrap(),
                state: state.split(", ").next().unwrap().to_owned(),
                frames: Vec::new(),
                cut_after: None,
                created: None,
                parent: None,
                ancestors: Vec::new(),
            };
            let mut body = body.iter();
            while let Some(line) = body.next() {
                if let Some(rest) = line.strip_prefix("[originating from goroutine ") {
                    let goid = rest.trim_end_matches("]:").parse().unwrap();
                    let created = None;
                    dumped.ancestors.push(Ancestor { goid, created });
                    continue;
                }
                if line.starts_with("...") {
                    dumped.cut_after = Some(dumped.frames.len());
                    continue;
                }
                let (file, line_number) = place(body.next().unwrap());
                if let Some(ancestor) = dumped.ancestors.last_mut() {
                    if let Some(creator) = line.strip_prefix("created by ") {
                        ancestor.created = Some((creator.to_owned(), file, line_number));
                    }
                    continue;
                }
                if let Some(creator) = line.strip_prefix("created by ") {
                    let (function, parent) = match creator.split_once(" in goroutine ") {
                        Some((function, parent)) => (function, Some(parent.parse().unwrap())),
                        None => (creator, None),
                    };
                    dumped.created = Some((function.to_owned(), file, line_number));
                    dumped.parent = parent;
                } else {
                    let function = line[..line.rfind('(').unwrap()].to_owned();
                    dumped.frames.push((function, file, line_number));
                }
            }
            Some(dumped)
        })
        .collect()
}

/// `\t/src/main.go:30 +0x1d`
fn place(line: &str) -> (String, u32) {
    let plain = line.trim().split(" +0x").next().unwrap();
    let (file, line) = plain.rsplit_once(':').unwrap();
    (file.to_owned(), line.parse().unwrap())
}

/// A function as a dump names it.
pub fn plain(function: &str) -> String {
    // A dump leaves out type arguments.
    match function.split_once('[').zip(function.rsplit_once(']')) {
        _ if function == "runtime.gopanic" => "panic".to_owned(),
        Some(((before, _), (_, after))) => format!("{before}[...]{after}"),
        None => function.to_owned(),
    }
}

fn of_frame(frame: &Frame) -> Place {
    (plain(&frame.function), frame.file.to_string(), frame.line)
}

/// Whether a stack is the dumped one, frame by frame, with its `go` statement.
pub fn agrees(target: &Target, stack: &Stack, dumped: &Dumped) -> Result<(), String> {
    let mut mine: Vec<Place> = stack.frames.iter().map(of_frame).collect();
    if let Some(cut) = dumped.cut_after {
        let tail = dumped.frames.len() - cut;
        if mine.len() <= dumped.frames.len() {
            return Err("the dump leaves out what is not there".into());
        }
        mine.drain(cut..mine.len() - tail);
    }
    // Up to Go 1.20 a dump ends after 100 frames, hidden ones counted, and does not say so.
    if target.image.go_version().minor <= 20 && mine.len() > 100 {
        if dumped.frames.len() <= 90 {
            return Err("the dump is shorter than a dump is".into());
        }
        mine.truncate(dumped.frames.len());
    }
    if mine != dumped.frames {
        return Err("the frames differ".into());
    }
    // A dump names the function that was not inlined, with the line of the one that was.
    let line = |(_, file, line): &Place| (file.clone(), *line);
    let creator = stack.started_at.as_ref().map(of_frame);
    if creator.as_ref().map(line) != dumped.created.as_ref().map(line) {
        return Err(format!(
            "created at {creator:?}, not at {:?}",
            dumped.created
        ));
    }
    Ok(())
}
