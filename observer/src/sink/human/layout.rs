//! Labels in a narrow column, text beside them, within the terminal's width.
//!
//! Knows nothing about findings.

use super::text::Glyphs;
use crate::sink::Styles;

/// Where text begins: two spaces, a label of at most seven letters, two spaces.
const COLUMN: usize = 11;

/// Below this, lines overflow rather than become unreadable.
const MIN_WIDTH: usize = 40;

/// Lines of one finding, unless verbose.
const MAX_LINES: usize = 10;

/// Lines of one row, unless verbose.
const MAX_ROW_LINES: usize = 2;

/// What the output goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// With or without colour.
    pub styles: Styles,
    /// What it can show.
    pub glyphs: Glyphs,
    /// Columns.
    pub width: usize,
    /// `-v`: everything, however long.
    pub verbose: bool,
}

/// One label and what stands beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// At most seven letters.
    pub label: &'static str,
    /// Pieces that are not broken.
    pub parts: Vec<String>,
    /// Between pieces on one line.
    pub gap: &'static str,
    /// The first piece stands out.
    pub strong: bool,
    /// What goes first when the finding is too long: the highest. 0 stays.
    pub rank: u8,
}

impl Row {
    /// Facts side by side.
    #[must_use]
    pub fn facts(label: &'static str, rank: u8, parts: Vec<String>) -> Self {
        Self {
            label,
            parts,
            gap: "   ",
            strong: false,
            rank,
        }
    }

    /// A chain whose pieces bring their own connecting signs, or words.
    #[must_use]
    pub fn chain(label: &'static str, rank: u8, parts: Vec<String>) -> Self {
        Self {
            gap: " ",
            ..Self::facts(label, rank, parts)
        }
    }

    /// A sentence.
    #[must_use]
    pub fn words(label: &'static str, rank: u8, text: &str) -> Self {
        let words = text.split_whitespace().map(str::to_owned).collect();
        Self::chain(label, rank, words)
    }
}

impl Terminal {
    /// Columns beside the labels.
    #[must_use]
    pub fn text_width(&self) -> usize {
        self.width.max(MIN_WIDTH) - COLUMN
    }

    /// The headline and its rows, each line with a newline.
    #[must_use]
    pub fn block(&self, head: &str, plain_head: &str, rows: &[Row]) -> String {
        let mut text = String::new();
        let head_lines = self.headline(head, plain_head, &mut text);
        let mut laid: Vec<(usize, Vec<String>)> = rows
            .iter()
            .enumerate()
            .map(|(index, row)| (index, self.lay(row)))
            .collect();
        if !self.verbose {
            let room = MAX_LINES.saturating_sub(head_lines);
            shrink(&mut laid, rows, room, |lines| {
                self.mark_cut(lines, self.text_width());
            });
        }
        for (index, lines) in laid {
            let Some(row) = rows.get(index) else { continue };
            for (number, line) in lines.iter().enumerate() {
                let label = if number == 0 { row.label } else { "" };
                let label = self.styles.label(&format!("{label:<7}"));
                let strong = row.strong && number == 0;
                text.push_str("  ");
                text.push_str(if number == 0 { &label } else { "       " });
                text.push_str("  ");
                text.push_str(&self.emphasised(line, row, strong));
                text.push('\n');
            }
        }
        text
    }

    fn emphasised(&self, line: &str, row: &Row, strong: bool) -> String {
        match row.parts.first() {
            Some(first) if strong && line.starts_with(first.as_str()) => {
                let rest = line.get(first.len()..).unwrap_or_default();
                format!("{}{rest}", self.styles.strong(first))
            }
            _ => line.to_owned(),
        }
    }

    /// Wraps the headline under its own beginning; only the first line has styled words.
    fn headline(&self, head: &str, plain_head: &str, text: &mut String) -> usize {
        let (tag, message) = plain_head.split_once(": ").unwrap_or(("", plain_head));
        let first = self
            .width
            .max(MIN_WIDTH)
            .saturating_sub(tag.chars().count() + 2);
        let words: Vec<String> = message.split_whitespace().map(str::to_owned).collect();
        let mut lines = pack(&words, " ", first, self.width.max(MIN_WIDTH) - 4);
        if !self.verbose && lines.len() > MAX_ROW_LINES {
            lines.truncate(MAX_ROW_LINES);
            self.mark_cut(&mut lines, self.width.max(MIN_WIDTH) - 4);
        }
        for (number, line) in lines.iter().enumerate() {
            if number == 0 {
                text.push_str(head);
                text.push_str(": ");
            } else {
                text.push_str("    ");
            }
            text.push_str(&self.styles.strong(line));
            text.push('\n');
        }
        lines.len()
    }

    fn lay(&self, row: &Row) -> Vec<String> {
        let width = self.text_width();
        let parts: Vec<String> = row
            .parts
            .iter()
            .filter(|part| !part.is_empty())
            .map(|part| {
                if self.verbose {
                    part.clone()
                } else {
                    self.glyphs.keep_end(part, width)
                }
            })
            .collect();
        let mut lines = pack(&parts, row.gap, width, width);
        if !self.verbose && lines.len() > MAX_ROW_LINES {
            lines.truncate(MAX_ROW_LINES);
            self.mark_cut(&mut lines, width);
        }
        lines
    }

    fn mark_cut(&self, lines: &mut [String], width: usize) {
        if let Some(last) = lines.last_mut() {
            let room = width.saturating_sub(self.glyphs.ellipsis.chars().count() + 1);
            let kept = self.glyphs.keep_start(last, room);
            let kept = kept.trim_end_matches(self.glyphs.ellipsis).trim_end();
            *last = format!("{kept} {}", self.glyphs.ellipsis);
        }
    }
}

/// As many pieces on a line as fit.
fn pack(parts: &[String], gap: &str, first_width: usize, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    let mut used = 0;
    for part in parts {
        let length = part.chars().count();
        let limit = if lines.len() <= 1 { first_width } else { width };
        match lines.last_mut() {
            Some(line) if used + gap.len() + length <= limit => {
                line.push_str(gap);
                line.push_str(part);
                used += gap.len() + length;
            }
            _ => {
                lines.push(part.clone());
                used = length;
            }
        }
    }
    lines
}

/// Rows from here on may go whole before those that matter more lose a line.
const DISPENSABLE: u8 = 3;

/// What one step of shortening does to a row.
#[derive(Clone, Copy)]
enum Cut {
    SecondLine,
    Whole,
}

/// Shortens step by step until it fits: second lines of facts, rows that can be spared, the rest.
fn shrink(
    laid: &mut Vec<(usize, Vec<String>)>,
    rows: &[Row],
    limit: usize,
    mark: impl Fn(&mut [String]),
) {
    let rank = |index: usize| rows.get(index).map_or(0, |row| row.rank);
    let mut order: Vec<usize> = laid.iter().map(|(index, _)| *index).collect();
    order.retain(|index| rank(*index) > 0);
    order.sort_by_key(|index| std::cmp::Reverse(rank(*index)));
    let steps = [
        (2, Cut::SecondLine),
        (DISPENSABLE, Cut::Whole),
        (1, Cut::SecondLine),
        (1, Cut::Whole),
    ];
    for (from, cut) in steps {
        for index in order.iter().filter(|index| rank(**index) >= from) {
            let length: usize = laid.iter().map(|(_, lines)| lines.len()).sum();
            if length <= limit {
                return;
            }
            match cut {
                Cut::Whole => laid.retain(|(this, _)| this != index),
                Cut::SecondLine => {
                    let row = laid.iter_mut().find(|(this, _)| this == index);
                    if let Some((_, lines)) = row.filter(|(_, lines)| lines.len() > 1) {
                        lines.truncate(1);
                        mark(lines);
                    }
                }
            }
        }
    }
}
