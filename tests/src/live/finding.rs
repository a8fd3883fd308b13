//! Findings as they stand after all updates.

use serde_json::Value;

use super::Run;

/// One finding of one process.
#[derive(Clone, Debug)]
pub struct Finding {
    /// As it was said first.
    pub first: Value,
    /// As it was said last.
    pub last: Value,
}

impl Finding {
    /// The text at a JSON pointer of its last state; empty where there is none.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        self.last
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The number at a JSON pointer of its last state.
    #[must_use]
    pub fn number(&self, pointer: &str) -> Option<u64> {
        self.last.pointer(pointer).and_then(Value::as_u64)
    }

    /// Whether it is at warning or above.
    #[must_use]
    pub fn accuses(&self) -> bool {
        self.text("/severity") != "info"
    }

    /// Rule, severity, site and request in one line.
    #[must_use]
    pub fn brief(&self) -> String {
        format!(
            "{} [{}] at {} {}:{} of {} id {} by {}",
            self.text("/rule"),
            self.text("/severity"),
            self.text("/site/function"),
            self.text("/site/file"),
            self.number("/site/line").unwrap_or_default(),
            self.text("/request/path"),
            self.text("/request/id"),
            self.text("/evidence/cancelled_by"),
        )
    }
}

/// The findings about a process, each once, in the order in which they were first said.
#[must_use]
pub fn findings(run: &Run, pid: u32) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for line in run
        .lines
        .iter()
        .filter(|line| line["process"]["pid"] == pid)
    {
        if line["type"] == "finding" {
            found.push(Finding {
                first: line.clone(),
                last: line.clone(),
            });
        } else if line["type"] == "update" {
            // An update of something never said becomes a finding of its own, so that nothing is hidden.
            match found
                .iter_mut()
                .find(|finding| finding.last["id"] == line["id"])
            {
                Some(finding) => finding.last = line.clone(),
                None => found.push(Finding {
                    first: line.clone(),
                    last: line.clone(),
                }),
            }
        }
    }
    found
}
