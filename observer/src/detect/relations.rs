//! Findings about one request point to each other: what goes wrong together is mended together.

use std::collections::BTreeMap;

use crate::finding::Finding;

/// Requests whose findings are remembered.
const REQUESTS: usize = 4096;
/// Findings remembered of one request.
const FINDINGS: usize = 16;

/// Ids of findings by request, newest requests kept.
#[derive(Debug, Default)]
pub(super) struct Relations {
    by_request: BTreeMap<u64, Vec<u64>>,
}

impl Relations {
    /// Sets `related` to the other findings about the same request so far. True where they do not
    /// know of this one yet.
    pub(super) fn relate(&mut self, finding: &mut Finding) -> bool {
        // One about two processes is about both of their requests.
        let here = finding.request.as_ref();
        let below = finding.evidence.downstream.as_ref();
        let below = below.map(|downstream| &downstream.request);
        let numbers: Vec<u64> = here.into_iter().chain(below).map(|of| of.number).collect();
        finding.related.clear();
        let mut is_new = false;
        for number in numbers {
            let ids = self.by_request.entry(number).or_default();
            for id in ids.iter().filter(|id| **id != finding.id) {
                if !finding.related.contains(id) {
                    finding.related.push(*id);
                }
            }
            if !ids.contains(&finding.id) && ids.len() < FINDINGS {
                ids.push(finding.id);
                is_new = true;
            }
            if self.by_request.len() > REQUESTS {
                self.by_request.pop_first();
            }
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Relations;
    use crate::detect::draft;
    use crate::finding::{Confidence, Finding, ProcessInfo, RequestInfo, RuleName, Severity};
    use crate::model::Unit;

    fn finding(id: u64, request: u64) -> Finding {
        let unit = Unit {
            process: Arc::new(ProcessInfo {
                pid: 1,
                start_ticks: 1,
                name: String::new(),
                exe: String::new(),
                build_id: String::new(),
                go: String::new(),
                module: String::new(),
                main_package: String::new(),
            }),
            go_minor: 27,
            own: Vec::new(),
            netns: 0,
            older: crate::model::Older::default(),
            is_looked_through: false,
        };
        let rule = RuleName::CancelIgnored;
        let mut finding = draft::blank(rule, Severity::Error, Confidence::High, 1, &unit);
        finding.id = id;
        finding.request = Some(RequestInfo {
            number: request,
            method: None,
            path: None,
            route: None,
            proto: None,
            id: None,
            id_truncated: false,
            id_source: None,
            trace_id: None,
            parent_id: None,
            trace_flags: None,
            peer: None,
            goid: 1,
            start_ns: 0,
            duration_ns: None,
        });
        finding
    }

    #[test]
    fn findings_of_one_request_point_to_each_other() {
        let mut relations = Relations::default();
        let mut related = |id, request| {
            let mut finding = finding(id, request);
            relations.relate(&mut finding);
            finding.related
        };
        assert!(related(1, 7).is_empty());
        assert_eq!(related(2, 7), [1]);
        assert_eq!(related(1, 7), [2]);
        assert!(related(1, 8).is_empty());
        let mut news = finding(3, 7);
        assert!(relations.relate(&mut news), "the others do not know of it");
        assert!(!relations.relate(&mut news));
    }
}
