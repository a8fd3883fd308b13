//! Lengths of time, for people.

/// `4.31 s`: three significant digits, no trailing zeros; minutes and hours from two on.
#[must_use]
pub fn span(ns: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
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
    use super::span;

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
