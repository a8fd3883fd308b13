//! Lengths of time, for people.

use std::cmp::Ordering;

const SECOND: u64 = 1_000_000_000;

/// `4.31 s`: three significant digits, no trailing zeros; minutes and hours from two on.
#[must_use]
pub fn span(ns: u64) -> String {
    let seconds = ns / SECOND;
    if seconds >= 7200 {
        return format!("{} h {} min", seconds / 3600, seconds % 3600 / 60);
    }
    if seconds >= 120 {
        return format!("{} min {} s", seconds / 60, seconds % 60);
    }
    for (unit, name) in [(1, "ns"), (1_000, "µs"), (1_000_000, "ms")] {
        // A unit's last value is the one that rounds to 999.
        if ns < unit * 1000 - unit / 2 {
            return format!("{} {name}", three_digits(ns, unit));
        }
    }
    format!("{} s", three_digits(ns, SECOND))
}

/// `5.00012 s`: to the digit from which on `error_ns`, by how much it may be wrong, leaves nothing to say; zeros before that
/// stay.
fn span_to(ns: u64, error_ns: u64) -> String {
    let step = step(error_ns);
    let ns = rounded(ns, step);
    if ns >= SECOND {
        let (whole, minute) = (ns / SECOND, 60);
        let seconds = |whole: u64| decimals(whole * SECOND + ns % SECOND, SECOND, step);
        return match whole / minute {
            0 | 1 => format!("{} s", seconds(whole)),
            minutes if minutes < 120 => format!("{minutes} min {} s", seconds(whole % minute)),
            minutes => format!(
                "{} h {} min {} s",
                minutes / 60,
                minutes % 60,
                seconds(whole % minute)
            ),
        };
    }
    for (unit, name) in [(1_000_000, "ms"), (1_000, "µs")] {
        if ns >= unit {
            return format!("{} {name}", decimals(ns, unit, step));
        }
    }
    format!("{ns} ns")
}

/// How far a clock is from another, to the digit that `error_ns` leaves sure, and whether it is ahead; `offset_ns` is what is
/// added to its times.
#[must_use]
pub fn clock_apart(offset_ns: i64, error_ns: u64) -> (String, Ordering) {
    let apart_ns = offset_ns.unsigned_abs();
    let ahead = match rounded(apart_ns, step(error_ns)) {
        0 => Ordering::Equal,
        _ => 0.cmp(&offset_ns),
    };
    (span_to(apart_ns, error_ns), ahead)
}

/// What the last digit that is shown counts, ns: the highest power of ten within the error, a second at most.
fn step(error_ns: u64) -> u64 {
    10u64.pow(error_ns.clamp(1, SECOND).ilog10())
}

const fn rounded(ns: u64, step: u64) -> u64 {
    ns.saturating_add(step / 2) / step * step
}

fn decimals(ns: u64, unit: u64, step: u64) -> String {
    let (whole, rest) = (ns / unit, ns % unit);
    if step >= unit {
        return whole.to_string();
    }
    let width = (unit / step).ilog10() as usize;
    format!("{whole}.{:0width$}", rest / step)
}

fn three_digits(value: u64, unit: u64) -> String {
    let whole = value / unit;
    let decimals = if whole >= 100 {
        0
    } else if whole >= 10 {
        1
    } else {
        2
    };
    let scale = 10u64.pow(decimals);
    let scaled = (u128::from(value) * u128::from(scale) + u128::from(unit / 2)) / u128::from(unit);
    let (whole, rest) = (scaled / u128::from(scale), scaled % u128::from(scale));
    if rest == 0 {
        return whole.to_string();
    }
    let rest = format!("{rest:0width$}", width = decimals as usize);
    format!("{whole}.{}", rest.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering::{Equal, Greater, Less};

    use super::{clock_apart, span, span_to};

    #[test]
    fn what_is_shown_is_as_exact_as_it_is_known() {
        const US: u64 = 1_000;
        const MS: u64 = 1_000_000;
        const S: u64 = 1_000_000_000;
        for (ns, error_ns, text) in [
            (5_000_123_456, 96_900, "5.00012 s"),
            (5_000_001_234, 96_900, "5.00000 s"),
            (5 * S, 400 * MS, "5.0 s"),
            (5 * S, 7 * S, "5 s"),
            (5 * S, 0, "5.000000000 s"),
            (999_996 * US, 96_900, "1.00000 s"),
            (250_512_345, 1_500, "250.512 ms"),
            (250_512_345, 12 * MS, "250 ms"),
            (1_234_567, 100, "1.2346 ms"),
            (12_345, 900, "12.3 µs"),
            (12_345, 10, "12.35 µs"),
            (345, 100, "300 ns"),
            (345, 9, "345 ns"),
            (119_500 * MS, MS, "119.500 s"),
            (125_000_400 * US, 400 * US, "2 min 5.0004 s"),
            (7_503_250 * MS, 20 * MS, "2 h 5 min 3.25 s"),
            (u64::MAX, 5 * S, "5124095 h 34 min 33 s"),
        ] {
            assert_eq!(span_to(ns, error_ns), text, "{ns} {error_ns}");
        }
    }

    #[test]
    fn a_clock_whose_times_are_moved_back_is_ahead() {
        for (offset_ns, way) in [(-5_000_120_000, Greater), (5_000_120_000, Less), (0, Equal)] {
            assert_eq!(clock_apart(offset_ns, 1_000).1, way, "{offset_ns}");
        }
        assert_eq!(clock_apart(-5_000_120_000, 96_900).0, "5.00012 s");
        // Less than what may be told apart.
        assert_eq!(clock_apart(4_000, 96_900).1, Equal);
    }

    #[test]
    fn three_digits_and_no_zeros_behind_them() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_500, "1.5 µs"),
            (120_300_000, "120 ms"),
            (12_340_000, "12.3 ms"),
            (999_499_999, "999 ms"),
            (999_600_000, "1 s"),
            (4_310_000_000, "4.31 s"),
            (30_000_000_000, "30 s"),
            (119_900_000_000, "120 s"),
            (125_000_000_000, "2 min 5 s"),
            (7_500_000_000_000, "2 h 5 min"),
            (u64::MAX, "5124095 h 34 min"),
        ] {
            assert_eq!(span(ns), text);
        }
    }
}
