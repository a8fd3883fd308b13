//! Labels in a narrow column, text beside them, within the terminal's width.
//!
//! Knows nothing about findings.

use std::ops::RangeInclusive;

use super::text::Glyphs;
use crate::style::Styles;

/// Where text begins: two spaces, a label of at most seven letters, two spaces.
const COLUMN: usize = 11;

/// Of the headline's further lines.
const HEAD_INDENT: usize = 4;

/// Below this, lines overflow rather than become unreadable.
pub(super) const MIN_WIDTH: usize = 40;

/// Lines of one finding, unless verbose.
const MAX_LINES: usize = 10;

/// What the headline and rows without a short form are cut to where room is scarce.
const BRIEF: usize = 2;

/// What one step of shortening does to a row.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Its short form; without one, its first line.
    Short,
    /// Its short form; without one, its first two lines.
    Brief,
    /// It goes.
    Whole,
}

/// Steps in order, each with the ranks that it is for, the highest first; taken until it fits.
const STEPS: [(RangeInclusive<u8>, Cut); 8] = [
    (5..=u8::MAX, Cut::Short),
    (1..=3, Cut::Short),
    (6..=u8::MAX, Cut::Whole),
    (0..=0, Cut::Brief),
    (4..=4, Cut::Short),
    (3..=5, Cut::Whole),
    (0..=0, Cut::Short),
    (2..=2, Cut::Whole),
];

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
    /// What goes first when the finding is too long: the highest. 0 and 1 stay.
    pub rank: u8,
    /// The pieces that tell most, of which nothing may be cut.
    pub short: Option<Vec<String>>,
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
            short: None,
        }
    }

    /// With a short form.
    #[must_use]
    pub fn or(self, short: Vec<String>) -> Self {
        Self {
            short: Some(short),
            ..self
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
        let (tag, message) = plain_head.split_once(": ").unwrap_or(("", plain_head));
        let mut laid = Laid {
            head: self.headline(tag, message),
            rows: rows
                .iter()
                .map(|row| (row, self.lay(&row.parts, row.gap)))
                .collect(),
        };
        if !self.verbose {
            self.shrink(&mut laid);
        }
        let mut text = String::new();
        text.push_str(head);
        for (number, line) in laid.head.iter().enumerate() {
            text.push_str(match (number, line.as_str()) {
                (0, "") => ":\n",
                (0, _) => ": ",
                _ => "    ",
            });
            if !line.is_empty() {
                text.push_str(&self.styles.strong(line));
                text.push('\n');
            }
        }
        for (row, lines) in laid.rows {
            self.beside_label(row, &lines, &mut text);
        }
        text
    }

    /// Rows without a headline, as long as they are.
    #[must_use]
    pub fn rows(&self, rows: &[Row]) -> String {
        let mut text = String::new();
        for row in rows {
            self.beside_label(row, &self.lay(&row.parts, row.gap), &mut text);
        }
        text
    }

    /// Pieces in as many lines as it takes, the further ones indented. One that has no room on a line goes word by word.
    #[must_use]
    pub fn flow(&self, pieces: &[String]) -> String {
        let width = self.width.max(MIN_WIDTH);
        let further = width - HEAD_INDENT;
        let mut parts = Vec::new();
        for piece in pieces {
            if piece.chars().count() > further {
                // Not at the narrow spaces inside numbers.
                parts.extend(piece.split(' ').map(str::to_owned));
            } else {
                parts.push(piece.clone());
            }
        }
        let indent = " ".repeat(HEAD_INDENT);
        pack(&parts, " ", width, further).join(&format!("\n{indent}")) + "\n"
    }

    fn beside_label(&self, row: &Row, lines: &[String], text: &mut String) {
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

    fn emphasised(&self, line: &str, row: &Row, strong: bool) -> String {
        match row.parts.first() {
            Some(first) if strong && line.starts_with(first.as_str()) => {
                let rest = line.get(first.len()..).unwrap_or_default();
                format!("{}{rest}", self.styles.strong(first))
            }
            _ => line.to_owned(),
        }
    }

    /// The message in lines, wrapped under the tag before it.
    fn headline(&self, tag: &str, message: &str) -> Vec<String> {
        let width = self.width.max(MIN_WIDTH);
        let first = width.saturating_sub(tag.chars().count() + 2);
        let words: Vec<String> = message.split_whitespace().map(str::to_owned).collect();
        let begins = words.first().map_or(0, |word| word.chars().count());
        let further = width - HEAD_INDENT;
        if begins <= first {
            return pack(&words, " ", first, further);
        }
        // No room beside the tag.
        let mut lines = vec![String::new()];
        lines.extend(pack(&words, " ", further, further));
        lines
    }

    fn lay(&self, parts: &[String], gap: &str) -> Vec<String> {
        let width = self.text_width();
        let parts: Vec<String> = parts
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
        pack(&parts, gap, width, width)
    }

    /// Shortens step by step until it fits.
    fn shrink(&self, laid: &mut Laid<'_>) {
        for (ranks, cut) in STEPS {
            if matches!(cut, Cut::Brief) && laid.len() > MAX_LINES {
                let width = self.width.max(MIN_WIDTH) - HEAD_INDENT;
                self.cut_lines(&mut laid.head, BRIEF, width);
            }
            let mut order: Vec<u8> = laid.rows.iter().map(|(row, _)| row.rank).collect();
            order.retain(|rank| ranks.contains(rank));
            order.sort_unstable();
            order.dedup();
            for rank in order.into_iter().rev() {
                if laid.len() <= MAX_LINES {
                    return;
                }
                self.cut(laid, rank, cut);
            }
        }
    }

    /// Cuts the rows of one rank.
    fn cut(&self, laid: &mut Laid<'_>, rank: u8, cut: Cut) {
        let kept = match cut {
            Cut::Whole => return laid.rows.retain(|(row, _)| row.rank != rank),
            Cut::Short => 1,
            Cut::Brief => BRIEF,
        };
        let long = |row: &Row, lines: &[String]| row.rank == rank && lines.len() > kept;
        for (row, lines) in laid.rows.iter_mut().filter(|(row, lines)| long(row, lines)) {
            match &row.short {
                Some(short) => *lines = self.lay(short, row.gap),
                None => self.cut_lines(lines, kept, self.text_width()),
            }
        }
    }

    /// Keeps the first lines, and says where there were more.
    fn cut_lines(&self, lines: &mut Vec<String>, kept: usize, width: usize) {
        if lines.len() <= kept {
            return;
        }
        lines.truncate(kept);
        let Some(last) = lines.last_mut() else { return };
        let room = width.saturating_sub(self.glyphs.ellipsis.chars().count() + 1);
        if last.chars().count() > room {
            let start: String = last.chars().take(room + 1).collect();
            // Half a word may read like another one.
            let whole = start.rsplit_once(' ').map(|(whole, _)| whole.trim_end());
            let letters = || last.chars().take(room).collect();
            *last = whole.map_or_else(letters, str::to_owned);
        }
        last.push(' ');
        last.push_str(self.glyphs.ellipsis);
    }
}

/// A finding in lines.
struct Laid<'a> {
    head: Vec<String>,
    rows: Vec<(&'a Row, Vec<String>)>,
}

impl Laid<'_> {
    fn len(&self) -> usize {
        let rows: usize = self.rows.iter().map(|(_, lines)| lines.len()).sum();
        self.head.len() + rows
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
