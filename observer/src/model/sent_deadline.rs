//! How long a request's caller waits, as it says in a header.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use observer_common::limits::MAX_DEADLINE;

/// Digits that `grpc-timeout` has at most.
const GRPC_DIGITS: usize = 8;
/// Digits behind a point that are kept: billionths.
const FRACTION: usize = 9;

/// What a number without a unit means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlainUnit {
    /// Milliseconds.
    #[default]
    Ms,
    /// Seconds.
    S,
}

/// A header in which callers say how long they wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadlineHeader {
    /// Its canonical name.
    pub name: Arc<str>,
    /// What a number without a unit means.
    pub plain: PlainUnit,
}

impl DeadlineHeader {
    /// The time that a value stands for, ns; `None` for one that is broken.
    ///
    /// Either a unit as `grpc-timeout` has it behind up to eight digits (`1S`, `250m`; H, M, S, m, u, n), or a plain
    /// number, which may have a fraction. It has to be more than nothing.
    #[must_use]
    pub fn read(&self, value: &str) -> Option<i64> {
        let value = value.trim_matches([' ', '\t']);
        let ns = match value.as_bytes().split_last()? {
            (last, digits) if !last.is_ascii_digit() => {
                let digits = std::str::from_utf8(digits).ok()?;
                let number = whole(digits).filter(|_| digits.len() <= GRPC_DIGITS)?;
                number.checked_mul(unit_ns(*last)?)?
            }
            _ => {
                let unit_ns = match self.plain {
                    PlainUnit::Ms => 1_000_000,
                    PlainUnit::S => 1_000_000_000,
                };
                plain(value, unit_ns)?
            }
        };
        i64::try_from(ns).ok().filter(|ns| *ns > 0)
    }
}

/// Digits and nothing else.
fn whole(digits: &str) -> Option<u64> {
    let sound = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| sound)
}

fn plain(value: &str, unit_ns: u64) -> Option<u64> {
    let (digits, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let kept = whole(fraction)?;
    let places = u32::try_from(fraction.len())
        .ok()
        .filter(|_| fraction.len() <= FRACTION)?;
    let part_ns = u128::from(kept) * u128::from(unit_ns) / u128::from(10u64.checked_pow(places)?);
    whole(digits)?
        .checked_mul(unit_ns)?
        .checked_add(u64::try_from(part_ns).ok()?)
}

/// Units of `grpc-timeout`.
const fn unit_ns(unit: u8) -> Option<u64> {
    Some(match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    })
}

/// What a request's caller said of how long it waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SentDeadline {
    /// Nobody has looked, or not through all of its headers.
    #[default]
    Unknown,
    /// Nothing.
    None,
    /// Something that cannot be believed.
    Broken,
    /// Time from the request's start on, ns, and the header that it came in.
    Is(i64, Arc<str>),
}

impl SentDeadline {
    /// Of the value, or its beginning, that the header of a row has; `len` is its whole length.
    pub(super) fn of(headers: &[DeadlineHeader], row: u32, value: Option<&str>, len: u32) -> Self {
        let place = usize::try_from(row).ok().and_then(|row| row.checked_sub(1));
        let Some(header) = place.and_then(|place| headers.get(place)) else {
            return Self::None;
        };
        let whole = usize::try_from(len).is_ok_and(|len| len <= MAX_DEADLINE);
        let ns = value.filter(|_| whole).and_then(|value| header.read(value));
        ns.map_or(Self::Broken, |ns| Self::Is(ns, Arc::clone(&header.name)))
    }

    /// Its time, ns, where there is one.
    #[must_use]
    pub const fn ns(&self) -> Option<i64> {
        match self {
            Self::Is(ns, _) => Some(*ns),
            Self::Unknown | Self::None | Self::Broken => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DeadlineHeader, PlainUnit, SentDeadline};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn header(plain: PlainUnit) -> DeadlineHeader {
        DeadlineHeader {
            name: "X-Timeout".into(),
            plain,
        }
    }

    #[test]
    fn units_are_those_of_grpc_and_numbers_what_was_configured() {
        const MS: i64 = 1_000_000;
        for (value, ms, s) in [
            ("1S", 1000 * MS, 1000 * MS),
            ("250m", 250 * MS, 250 * MS),
            ("99999999u", 99_999_999_000, 99_999_999_000),
            ("2M", 120_000 * MS, 120_000 * MS),
            ("1H", 3_600_000 * MS, 3_600_000 * MS),
            ("7n", 7, 7),
            ("300", 300 * MS, 300_000 * MS),
            (" 300 ", 300 * MS, 300_000 * MS),
            ("0.25", 250_000, 250 * MS),
            ("1.5", 1_500_000, 1500 * MS),
        ] {
            assert_eq!(header(PlainUnit::Ms).read(value), Some(ms), "{value}");
            assert_eq!(header(PlainUnit::S).read(value), Some(s), "{value}");
        }
    }

    #[test]
    fn what_is_broken_is_not_believed() {
        for bad in [
            "",
            " ",
            "S",
            "m",
            "-1S",
            "+1S",
            "-5",
            "+5",
            "0",
            "0m",
            "0.0",
            "1s",
            "250ms",
            "1.5S",
            "123456789m",
            ".5",
            "5.",
            "1.2.3",
            "1e3",
            "0x10",
            "1 S",
            "١",
            "NaN",
            "99999999999999999999",
            "9999999999999999999",
            "1.1234567890",
            "soon",
        ] {
            assert_eq!(header(PlainUnit::Ms).read(bad), None, "{bad}");
            let headers = [header(PlainUnit::Ms)];
            let len = u32::try_from(bad.len()).unwrap();
            let sent = SentDeadline::of(&headers, 1, Some(bad), len);
            assert_eq!(sent, SentDeadline::Broken, "{bad}");
        }
    }

    #[test]
    fn what_was_cut_is_broken_and_no_row_is_nothing() {
        let headers = [header(PlainUnit::Ms)];
        let cut = SentDeadline::of(&headers, 1, Some("100000000000000000000000"), 30);
        assert_eq!(cut, SentDeadline::Broken);
        assert_eq!(SentDeadline::of(&headers, 0, None, 0), SentDeadline::None);
        assert_eq!(SentDeadline::of(&headers, 7, None, 0), SentDeadline::None);
        let sound = SentDeadline::of(&headers, 1, Some("5"), 1);
        assert_eq!(sound.ns(), Some(5_000_000));
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics_and_is_never_negative(text in ".{0,30}") {
            for plain in [PlainUnit::Ms, PlainUnit::S] {
                prop_assert!(header(plain).read(&text).is_none_or(|ns| ns > 0));
            }
        }

        #[test]
        fn whole_milliseconds_read_back(ms in 1i64..1_000_000_000) {
            prop_assert_eq!(header(PlainUnit::Ms).read(&ms.to_string()), Some(ms * 1_000_000));
        }
    }
}
