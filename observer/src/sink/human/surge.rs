//! What has grown in a surge, and where all goroutines were written to.

use crate::finding::{Finding, Grown};

use super::layout::{Row, Terminal};
use super::naming::broken;
use super::place::{full_function, short_file};

/// Statements told of; `-v` tells of all.
const GROWN: usize = 3;

/// A line for each `go` statement, and one for the file.
pub(super) fn rows(finding: &Finding, terminal: &Terminal) -> Vec<Row> {
    let Some(surge) = &finding.evidence.surge else {
        return Vec::new();
    };
    let kept = if terminal.verbose { usize::MAX } else { GROWN };
    let grown = surge.grown.iter().take(kept);
    let mut rows: Vec<Row> = grown
        .map(|grown| row(grown, &finding.process.module, terminal))
        .collect();
    if let Some(path) = &surge.snapshot {
        let path = terminal.glyphs.clean(path);
        // Whoever looks for it needs all of it.
        let pieces = broken(&path, terminal.text_width());
        rows.push(Row::facts("file", 0, pieces.clone()).or(pieces));
    }
    rows
}

/// `main.burst   main.go:62   2 000 more   2 000 live   4.0 MiB of stack   chan receive`.
fn row(grown: &Grown, module: &str, terminal: &Terminal) -> Row {
    let glyphs = &terminal.glyphs;
    let mut parts = match &grown.site {
        Some(site) => vec![
            glyphs.clean(&full_function(&site.function)),
            glyphs.clean(&short_file(site, module)),
        ],
        None => vec!["somewhere".to_owned()],
    };
    parts.push(format!("{} more", glyphs.number(grown.grew)));
    let short = parts.clone();
    parts.push(held(Some(grown.live), Some(grown.stack_bytes), None, terminal).unwrap_or_default());
    if let Some(reason) = grown
        .most
        .as_ref()
        .and_then(|most| most.wait_reason.as_ref())
    {
        parts.push(glyphs.clean(reason));
    }
    Row::facts("grown", 1, parts).or(short)
}

/// `2 000 live, 4.0 MiB of stack, 120 per hour`.
pub(super) fn held(
    live: Option<u64>,
    stack_bytes: Option<u64>,
    per_hour: Option<u64>,
    terminal: &Terminal,
) -> Option<String> {
    let number = |number| terminal.glyphs.number(number);
    let mut text = format!("{} live", number(live?));
    if let Some(bytes) = stack_bytes {
        text.push_str(&format!(", {} of stack", size(bytes)));
    }
    if let Some(rate) = per_hour {
        text.push_str(&format!(", {} per hour", number(rate)));
    }
    Some(text)
}

/// `512 B`, `4.0 KiB`, `1.5 MiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (bytes.saturating_mul(10) >> 10, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths >>= 10;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_short() {
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (2048, "2.0 KiB"),
            (4_096_000, "3.9 MiB"),
            (1 << 30, "1.0 GiB"),
            (5 << 50, "5120.0 TiB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
    }
}
