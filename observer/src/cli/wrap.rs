//! Prose within a width.

/// Of text that stands below what it belongs to.
const BELOW: usize = 4;

/// Lines that begin with so many spaces, none wider than `width` unless one word is.
pub(super) fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let mut lines = String::new();
    let mut used = width;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used + 1 + length > width {
            if !lines.is_empty() {
                lines.push('\n');
            }
            lines.push_str(&" ".repeat(indent));
            used = indent + length;
        } else {
            lines.push(' ');
            used += 1 + length;
        }
        lines.push_str(word);
    }
    if !lines.is_empty() {
        lines.push('\n');
    }
    lines
}

/// What follows a head that takes `used` columns: `text` from `column` on where every word of it
/// has room there, else below the head.
pub(super) fn beside(used: usize, column: usize, text: &str, width: usize) -> String {
    let words = text.split_whitespace().map(|word| word.chars().count());
    if column + words.max().unwrap_or(0) > width {
        return format!("\n{}", wrapped(text, BELOW, width));
    }
    let gap = " ".repeat(column.saturating_sub(used));
    format!("{gap}{}", wrapped(text, column, width).trim_start())
}
