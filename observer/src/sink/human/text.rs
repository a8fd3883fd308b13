//! Numbers, durations and foreign text, for people.

use crate::finding::span;
use crate::foreign::steers;

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glyphs {
    /// From parent to child.
    pub arrow: &'static str,
    /// From parent to child where cancellation does not travel.
    pub cut: &'static str,
    /// From parent to child where descent is not proved.
    pub unsure: &'static str,
    /// The stuff of the time line.
    pub dash: char,
    /// Between the parts of the last line.
    pub dot: &'static str,
    /// Where something was left out.
    pub ellipsis: &'static str,
    /// Before a length that is a lower bound.
    pub at_least: &'static str,
    /// A millionth.
    pub micro: char,
    /// Between groups of three digits.
    pub thousands: char,
    utf8: bool,
}

impl Glyphs {
    /// For a terminal whose locale is UTF-8, or not.
    #[must_use]
    pub const fn new(utf8: bool) -> Self {
        if utf8 {
            Self {
                arrow: "→",
                cut: "✂",
                unsure: "⇢",
                dash: '─',
                dot: "·",
                ellipsis: "…",
                at_least: "≥",
                micro: 'µ',
                thousands: '\u{202f}',
                utf8,
            }
        } else {
            Self {
                arrow: "->",
                cut: "-x-",
                unsure: "-?->",
                dash: '-',
                dot: "-",
                ellipsis: "...",
                at_least: ">=",
                micro: 'u',
                thousands: ' ',
                utf8,
            }
        }
    }

    /// Foreign text made harmless: a path or an ID must not move the cursor or change colours.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '→' => clean.push_str(self.arrow),
                '✂' => clean.push_str(self.cut),
                '…' => clean.push_str(self.ellipsis),
                '·' => clean.push_str(self.dot),
                '─' => clean.push(self.dash),
                'µ' => clean.push(self.micro),
                _ if steers(c) || (!self.utf8 && !c.is_ascii()) => clean.push('?'),
                _ => clean.push(c),
            }
        }
        clean
    }

    /// Foreign text that a reader will search for: what is not shown as it is, is spelled out (`\u{1b}`).
    #[must_use]
    pub fn spelled(&self, text: &str) -> String {
        let mut spelled = String::with_capacity(text.len());
        for c in text.chars() {
            if steers(c) || (!self.utf8 && !c.is_ascii()) {
                spelled.extend(c.escape_unicode());
            } else {
                spelled.push(c);
            }
        }
        spelled
    }

    /// `1 904`.
    #[must_use]
    pub fn number(&self, number: u64) -> String {
        let digits = number.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(self.thousands);
            }
            text.push(digit);
        }
        text
    }

    /// `4.31 s`, in signs that the terminal has.
    #[must_use]
    pub fn duration(&self, ns: u64) -> String {
        self.clean(&span(ns))
    }

    /// A deadline's distance: `-2 s` where it had passed.
    #[must_use]
    pub fn signed_duration(&self, ns: i64) -> String {
        let sign = if ns < 0 { "-" } else { "" };
        format!("{sign}{}", self.duration(ns.unsigned_abs()))
    }

    /// At most `width` characters, the end kept: ends of names and paths tell more.
    #[must_use]
    pub fn keep_end(&self, text: &str, width: usize) -> String {
        let count = text.chars().count();
        if count <= width {
            return text.to_owned();
        }
        let kept = width.saturating_sub(self.ellipsis.chars().count());
        let tail: String = text.chars().skip(count - kept).collect();
        format!("{}{tail}", self.ellipsis)
    }
}

/// `part` of `whole` in percent with one decimal.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    let tenths = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole.max(1));
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::{Glyphs, percent};

    #[test]
    fn durations() {
        assert_eq!(Glyphs::new(true).signed_duration(-2_000_000_000), "-2 s");
        assert_eq!(Glyphs::new(true).duration(1_500), "1.5 µs");
        assert_eq!(Glyphs::new(false).duration(1_500), "1.5 us");
    }

    #[test]
    fn numbers() {
        let glyphs = Glyphs::new(false);
        assert_eq!(glyphs.number(0), "0");
        assert_eq!(glyphs.number(904), "904");
        assert_eq!(glyphs.number(1_904), "1 904");
        assert_eq!(glyphs.number(1_048_210), "1 048 210");
        assert_eq!(Glyphs::new(true).number(1_904), "1\u{202f}904");
        assert_eq!(percent(4, 1000), "0.4 %");
        assert_eq!(percent(1, 0), "100.0 %");
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        let evil = "/a\x1b[2J\u{202e}\n/b";
        assert_eq!(Glyphs::new(true).clean(evil), "/a?[2J??/b");
        assert_eq!(Glyphs::new(false).clean("/ü → x"), "/? -> x");
        assert_eq!(
            Glyphs::new(true).spelled(evil),
            r"/a\u{1b}[2J\u{202e}\u{a}/b"
        );
        assert_eq!(Glyphs::new(true).spelled("é…"), "é…");
        assert_eq!(Glyphs::new(false).spelled("é"), r"\u{e9}");
    }

    #[test]
    fn shortening_keeps_the_width() {
        let glyphs = Glyphs::new(true);
        assert_eq!(glyphs.keep_end("report/build.go:132", 10), "…ld.go:132");
        assert_eq!(glyphs.keep_end("abc", 3), "abc");
    }
}
