//! Prose within a width.

/// Of text that stands below what it belongs to.
const BELOW: usize = 4;

/// Lines that begin with so many spaces, none wider than `width`.
pub(super) fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let mut lines = String::new();
    let mut used = width;
    for word in text.split_whitespace() {
        let pieces = broken(word, width.saturating_sub(indent));
        for (number, piece) in pieces.into_iter().enumerate() {
            let length = piece.chars().count();
            if number > 0 || used + 1 + length > width {
                if !lines.is_empty() {
                    lines.push('\n');
                }
                lines.push_str(&" ".repeat(indent));
                used = indent + length;
            } else {
                lines.push(' ');
                used += 1 + length;
            }
            lines.push_str(piece);
        }
    }
    if !lines.is_empty() {
        lines.push('\n');
    }
    lines
}

/// A word in pieces that fit: behind the last slash or dot that does, else anywhere.
fn broken(word: &str, room: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = word;
    while let Some((fits, _)) = rest.char_indices().nth(room.max(1)) {
        let fitting = rest.get(..fits).unwrap_or(rest);
        let seam = fitting.rfind(['/', '.']).map_or(fits, |at| at + 1);
        let (piece, after) = rest.split_at(seam);
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// What follows a head that takes `used` columns: `text` from `column` on where every word of it
/// has room there whole, else below the head.
pub(super) fn beside(used: usize, column: usize, text: &str, width: usize) -> String {
    let words = text.split_whitespace().map(|word| word.chars().count());
    if column + words.max().unwrap_or(0) > width {
        return format!("\n{}", wrapped(text, BELOW, width));
    }
    let gap = " ".repeat(column.saturating_sub(used));
    format!("{gap}{}", wrapped(text, column, width).trim_start())
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn no_line_is_wider() {
        let text = "at net/http/internal/http2.(*clientStream).cleanupWriteRequest now";
        let lines =
            "  at\n  net/http/internal/http2.\n  (*clientStream).\n  cleanupWriteRequest now\n";
        assert_eq!(wrapped(text, 2, 28), lines);
        assert_eq!(wrapped("abcdefgh", 0, 3), "abc\ndef\ngh\n");
        assert_eq!(wrapped("", 2, 28), "");
    }
}
