//! What the cases of one finding died of.

use crate::go::Frame;

use super::{CancelledBy, Evidence};

/// Causes named of one finding.
pub const CAUSES: usize = 8;

/// Who cancelled, and where code did, the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Who.
    pub cancelled_by: CancelledBy,
    /// The line, where code did.
    pub cancel_site: Option<Frame>,
}

/// Distinct causes, in the order in which they were first seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Causes {
    /// Each once.
    pub named: Vec<Cause>,
    /// Reports of cases with further causes.
    pub others: u64,
}

impl Causes {
    /// Takes in what a case says; whether that is named for the first time.
    pub fn note(&mut self, evidence: &Evidence) -> bool {
        let Some(cancelled_by) = evidence.cancelled_by else {
            return false;
        };
        let cause = Cause {
            cancelled_by,
            cancel_site: evidence.cancel_site.clone(),
        };
        if self.named.contains(&cause) {
            return false;
        }
        let room = self.named.len() < CAUSES;
        if room {
            self.named.push(cause);
        } else {
            self.others = self.others.saturating_add(1);
        }
        room
    }

    /// Whether there is more to say than what the evidence of one case says.
    #[must_use]
    pub fn several(&self) -> bool {
        self.named.len() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::{CAUSES, Causes};
    use crate::finding::{CancelledBy, Evidence, samples};

    fn by_code(line: u32) -> Evidence {
        Evidence {
            cancelled_by: Some(CancelledBy::Code),
            cancel_site: Some(samples::frame("main.f", "f.go", line)),
            ..Evidence::default()
        }
    }

    #[test]
    fn causes_are_told_apart_by_their_lines() {
        let mut causes = Causes::default();
        causes.note(&Evidence::default());
        assert_eq!(causes, Causes::default());
        causes.note(&by_code(1));
        causes.note(&by_code(1));
        assert!(!causes.several());
        causes.note(&by_code(2));
        assert!(causes.several());
        assert_eq!(causes.named.len(), 2);
    }

    #[test]
    fn past_the_limit_they_are_counted_together() {
        let mut causes = Causes::default();
        for line in 0..11 {
            causes.note(&by_code(line));
        }
        assert_eq!((causes.named.len(), causes.others), (CAUSES, 3));
    }
}
