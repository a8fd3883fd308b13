//! What failed, shown once more at the end: of thousands of lines the last ones are what is read first.

/// Lines of one failure that are shown; what a program printed comes after what went wrong.
const LINES: usize = 12;
/// Characters of a line that are shown.
const WIDTH: usize = 300;

/// The first lines of each failure, as libtest prints them once its tests are over.
#[derive(Default)]
pub(super) struct Digest {
    failures: Vec<Vec<String>>,
    /// Within the output of a test that failed.
    open: bool,
}

impl Digest {
    /// Reads the next line that libtest prints.
    pub(super) fn read(&mut self, line: &str) {
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            self.failures.push(Vec::new());
            self.open = true;
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.open = false;
        }
        // Lines of JSON are what observer wrote, hundreds of them.
        let said = self.open && !line.is_empty() && !line.starts_with('{');
        if let Some(failure) = self.failures.last_mut()
            && said
            && failure.len() < LINES
        {
            failure.push(line.chars().take(WIDTH).collect());
        }
    }

    pub(super) fn show(&self) {
        for line in self.failures.iter().flatten() {
            println!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_by_their_first_lines() {
        let long = "x".repeat(2 * WIDTH);
        let mut printed = vec![
            "test a ... FAILED",
            "",
            "failures:",
            "",
            "---- a stdout ----",
        ];
        printed.extend(["Error: no finding", "{\"type\":\"stats\"}", &long]);
        printed.extend([long.as_str(); LINES]);
        printed.extend([
            "---- b stdout ----",
            "other",
            "",
            "",
            "failures:",
            "    a",
            "    b",
        ]);
        printed.push("test result: FAILED. 0 passed; 2 failed");
        let mut digest = Digest::default();
        for line in printed {
            digest.read(line);
        }
        let [first, second] = &digest.failures[..] else {
            panic!("{} failures", digest.failures.len());
        };
        assert_eq!(first[..2], ["---- a stdout ----", "Error: no finding"]);
        assert_eq!((first.len(), first[2].len()), (LINES, WIDTH));
        assert_eq!(second[..], ["---- b stdout ----", "other"]);
    }
}
