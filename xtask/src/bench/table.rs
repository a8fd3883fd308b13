//! Tables of figures, for a terminal or as markdown.

/// A table: first column left, all others right.
pub struct Table {
    /// What it shows, under which conditions.
    pub title: String,
    /// Column names.
    pub head: Vec<&'static str>,
    /// As many cells as there are columns.
    pub rows: Vec<Vec<String>>,
}

/// A promised figure and what became of it.
pub struct Verdict {
    /// What was promised, with its figure.
    pub promise: String,
    /// What was measured.
    pub measured: String,
    /// Whether that keeps the promise.
    pub kept: bool,
}

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Aligned with blanks.
    Text,
    /// Markdown.
    Markdown,
}

impl Table {
    /// The table as text, with an empty line behind it.
    pub fn render(&self, form: Form) -> String {
        let head: Vec<String> = self.head.iter().map(|name| (*name).to_owned()).collect();
        let widths: Vec<usize> = (0..head.len())
            .map(|column| {
                std::iter::once(&head)
                    .chain(&self.rows)
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or_default()
            })
            .collect();
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).enumerate();
            let cells: Vec<String> = padded
                .map(|(column, (cell, width))| match column {
                    0 => format!("{cell:width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            match form {
                Form::Text => cells.join("  ").trim_end().to_owned() + "\n",
                Form::Markdown => format!("| {} |\n", cells.join(" | ")),
            }
        };
        let rule = match form {
            Form::Text => String::new(),
            Form::Markdown => {
                let dashes = widths.iter().enumerate();
                let dashes: Vec<String> = dashes
                    .map(|(column, width)| match column {
                        0 => "-".repeat(*width),
                        _ => format!("{}:", "-".repeat(width.saturating_sub(1))),
                    })
                    .collect();
                format!("| {} |\n", dashes.join(" | "))
            }
        };
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        let title = match form {
            Form::Text => format!("{}\n", self.title),
            Form::Markdown => format!("{}:\n\n", self.title),
        };
        format!("{title}{}{rule}{rows}\n", line(&head))
    }
}

/// All promises in one table.
pub fn verdicts(verdicts: &[Verdict]) -> Table {
    let row = |verdict: &Verdict| {
        let mark = if verdict.kept {
            "reached"
        } else {
            "NOT REACHED"
        };
        vec![
            verdict.promise.clone(),
            verdict.measured.clone(),
            mark.to_owned(),
        ]
    };
    Table {
        title: "Promises".to_owned(),
        head: vec!["promise", "measured", ""],
        rows: verdicts.iter().map(row).collect(),
    }
}

/// The middle value; of an even number of values, the mean of the two in the middle. NaN of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    if values.len().is_multiple_of(2) {
        f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
    } else {
        at(middle)
    }
}

/// A whole number with its thousands apart: `72 598`.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// A share: `92.3 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn columns_line_up() {
        let table = Table {
            title: "Speed".into(),
            head: vec!["", "µs"],
            rows: vec![vec!["hello".into(), "7".into()]],
        };
        assert_eq!(table.render(Form::Text), "Speed\n       µs\nhello   7\n\n");
        let markdown = "Speed:\n\n|       | µs |\n| ----- | -: |\n| hello |  7 |\n\n";
        assert_eq!(table.render(Form::Markdown), markdown);
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(thousands(1_234_567.0), "1\u{a0}234\u{a0}567");
        assert_eq!(thousands(999.0), "999");
    }
}
