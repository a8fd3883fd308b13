//! Go's own dump of its goroutines (`debug=2`): the truth to compare with.

use anyhow::{Context, Result};

use super::{Program, get};

/// One goroutine as Go prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goroutine {
    /// Its number.
    pub goid: u64,
    /// Why it waits, without for how long: `chan receive`.
    pub reason: String,
    /// Function, file and line, innermost first.
    pub frames: Vec<(String, String, u64)>,
    /// The function whose `go` statement started it; empty for the first one.
    pub created_by: String,
}

/// Asks a program for its goroutines.
///
/// # Errors
/// When it does not answer, or with something else than a dump.
pub fn dump(program: &Program) -> Result<Vec<Goroutine>> {
    parse(&get(program.address, "/debug/goroutines")?)
}

fn parse(text: &str) -> Result<Vec<Goroutine>> {
    text.split("\n\n")
        .filter(|block| !block.trim().is_empty())
        .map(goroutine)
        .collect()
}

fn goroutine(block: &str) -> Result<Goroutine> {
    let mut lines = block.lines();
    let head = lines.next().unwrap_or_default();
    let rest = head
        .strip_prefix("goroutine ")
        .with_context(|| format!("no goroutine: {head}"))?;
    let (goid, state) = rest.split_once(' ').with_context(|| head.to_owned())?;
    // `[select, 2 minutes, locked to thread]:`, and before the bracket what only some versions print.
    let state = state.split_once('[').with_context(|| head.to_owned())?.1;
    let reason = state
        .split([',', ']'])
        .next()
        .unwrap_or_default()
        .to_owned();
    let mut frames = Vec::new();
    let mut created_by = String::new();
    while let Some(call) = lines.next() {
        // The `go` statement is not a frame.
        if let Some(creator) = call.strip_prefix("created by ") {
            creator
                .split(" in goroutine ")
                .next()
                .unwrap_or_default()
                .clone_into(&mut created_by);
            break;
        }
        let place = lines
            .next()
            .with_context(|| format!("{call} has no place"))?;
        frames.push(frame(call, place).with_context(|| format!("{call} {place}"))?);
    }
    Ok(Goroutine {
        goid: goid.parse()?,
        reason,
        frames,
        created_by,
    })
}

/// `main.(*service).rawCall(0xc000…, {0x7b…})` and `/src/ignored.go:134 +0x1d4`
fn frame(call: &str, place: &str) -> Option<(String, String, u64)> {
    // The arguments are in the last pair of parentheses that opens at depth 0.
    let mut depth = 0_usize;
    let open = call.char_indices().rev().find_map(|(at, letter)| {
        match letter {
            ')' => depth += 1,
            '(' => depth -= 1,
            _ => {}
        }
        (letter == '(' && depth == 0).then_some(at)
    })?;
    let (place, _offset) = place.trim().split_once(' ').unwrap_or((place.trim(), ""));
    let (file, line) = place.rsplit_once(':')?;
    Some((
        call.get(..open)?.to_owned(),
        file.to_owned(),
        line.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_read() -> Result<()> {
        let text = "goroutine 7 [chan receive, 2 minutes]:\nmain.(*service).rawCall(0xc0000a, {0x7b, 0x1})\n\
                    \t/src/ignored.go:134 +0x1d4\nmain.sleeps(...)\n\t/src/ignored.go:70\n\
                    created by net/http.(*Server).Serve in goroutine 1\n\t/go/server.go:3285 +0x4b4\n\n\
                    goroutine 8 gp=0x1 m=nil [sleep]:\ntime.Sleep(0x77359400)\n\t/go/time.go:195 +0x125\n";
        let goroutines = parse(text)?;
        let frame =
            |function: &str, line| (function.to_owned(), "/src/ignored.go".to_owned(), line);
        let frames = vec![
            frame("main.(*service).rawCall", 134),
            frame("main.sleeps", 70),
        ];
        let seven = Goroutine {
            goid: 7,
            reason: "chan receive".to_owned(),
            frames,
            created_by: "net/http.(*Server).Serve".to_owned(),
        };
        assert_eq!(goroutines.first(), Some(&seven));
        assert_eq!(
            goroutines.get(1).map(|eight| eight.reason.as_str()),
            Some("sleep")
        );
        Ok(())
    }
}
