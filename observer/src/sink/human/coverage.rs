//! What could not be seen, and of which processes: all, or those that are named.

use std::collections::BTreeMap;

use crate::sink::output::Start;

/// Names that processes are told apart by: more than anybody reads. Those of later names are counted as one.
const NAMES: usize = 256;
const LATER: &str = "other processes";
/// Processes that are named in one list.
const NAMED: usize = 4;

/// Processes of one name.
#[derive(Debug, Default)]
struct Named {
    pid: u32,
    count: u32,
}

/// What was observed, and what of it could not be seen.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    observed: BTreeMap<String, Named>,
    /// By what cannot be seen, and by name.
    lacks: BTreeMap<String, BTreeMap<String, Named>>,
}

impl Coverage {
    /// A process is observed.
    pub(super) fn started(&mut self, start: &Start) {
        let process = &start.process;
        let is_known = self.observed.contains_key(&process.name);
        let name = if is_known || self.observed.len() < NAMES {
            process.name.as_str()
        } else {
            LATER
        };
        count(&mut self.observed, name, process.pid);
        for thing in &start.not_covered {
            let names = self.lacks.entry(thing.clone()).or_default();
            count(names, name, process.pid);
        }
    }

    /// `not covered: sql (not linked); of api and worker (pid 7): gRPC server (…)`; `None` where everything could be seen.
    pub(super) fn line(&self) -> Option<String> {
        let mut groups: BTreeMap<Vec<String>, Vec<&str>> = BTreeMap::new();
        for (thing, names) in &self.lacks {
            groups.entry(self.whose(names)).or_default().push(thing);
        }
        // Those of all come first: their list of names is empty.
        let groups = groups.iter().map(|(whose, things)| {
            let things = things.join(", ");
            if whose.is_empty() {
                things
            } else {
                format!("of {}: {things}", listed(whose))
            }
        });
        let groups: Vec<String> = groups.collect();
        let first_names = groups.first()?.starts_with("of ");
        let colon = if first_names { "" } else { ":" };
        Some(format!("not covered{colon} {}", groups.join("; ")))
    }

    /// The processes that lack something, as they are told; empty where all do.
    fn whose(&self, names: &BTreeMap<String, Named>) -> Vec<String> {
        let count =
            |names: &BTreeMap<String, Named>| names.values().map(|of| of.count).sum::<u32>();
        if count(names) == count(&self.observed) {
            return Vec::new();
        }
        let told = names.iter().map(|(name, lacking)| {
            let of = self.observed.get(name).map_or(0, |all| all.count);
            match lacking.count {
                all if all == of => name.clone(),
                1 => format!("{name} (pid {})", lacking.pid),
                some => format!("{some} of {of} {name}"),
            }
        });
        told.collect()
    }
}

fn count(names: &mut BTreeMap<String, Named>, name: &str, pid: u32) {
    let named = names.entry(name.to_owned()).or_default();
    named.pid = pid;
    named.count = named.count.saturating_add(1);
}

/// `a, b and c`.
fn listed(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    match (names.len().saturating_sub(NAMED), &shown[..]) {
        (0, [one]) => (*one).to_owned(),
        (0, [first @ .., last]) => format!("{} and {last}", first.join(", ")),
        (more, _) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::finding::ProcessInfo;
    use crate::sink::samples;

    fn called(name: String, pid: u32) -> Start {
        let mut start = samples::start();
        let process = ProcessInfo {
            name,
            pid,
            ..(*start.process).clone()
        };
        start.process = Arc::new(process);
        start
    }

    fn line(processes: &[(&str, &[&str])]) -> Option<String> {
        let mut coverage = Coverage::default();
        for (pid, (name, lacks)) in (10..).zip(processes) {
            let mut start = called((*name).to_owned(), pid);
            start.not_covered = lacks.iter().map(|thing| (*thing).to_owned()).collect();
            coverage.started(&start);
        }
        coverage.line()
    }

    #[test]
    fn of_one_process_nobody_is_named() {
        assert_eq!(line(&[("api", &[])]), None);
        let one = line(&[("api", &["sql (not linked)", "gRPC (off)"])]);
        assert_eq!(one.unwrap(), "not covered: gRPC (off), sql (not linked)");
        let equal = line(&[("api", &["sql"]), ("edge", &["sql"])]);
        assert_eq!(equal.unwrap(), "not covered: sql");
    }

    #[test]
    fn those_that_differ_are_named() {
        let told = line(&[
            ("api", &["sql", "grpc"]),
            ("edge", &["grpc", "tls"]),
            ("store", &["grpc", "sql"]),
        ]);
        let expected = "not covered: grpc; of api and store: sql; of edge: tls";
        assert_eq!(told.unwrap(), expected);
        let told = line(&[("api", &["sql"]), ("edge", &[])]);
        assert_eq!(told.unwrap(), "not covered of api: sql");
    }

    #[test]
    fn of_processes_with_one_name_the_number_is_told() {
        let told = line(&[("api", &["sql"]), ("api", &[]), ("edge", &[])]);
        assert_eq!(told.unwrap(), "not covered of api (pid 10): sql");
        let told = line(&[("api", &["sql"]), ("api", &[]), ("api", &["sql"])]);
        assert_eq!(told.unwrap(), "not covered of 2 of 3 api: sql");
    }

    #[test]
    fn long_lists_are_cut_and_names_are_bounded() {
        let lacks: &[&str] = &["sql"];
        let names = ["a", "b", "c", "d", "e", "f"].map(|name| (name, lacks));
        let all: Vec<_> = names.into_iter().chain([("z", &[][..])]).collect();
        assert_eq!(
            line(&all).unwrap(),
            "not covered of a, b, c, d and 2 more: sql"
        );

        let mut coverage = Coverage::default();
        for number in 0..600 {
            coverage.started(&called(format!("job-{number}"), number));
        }
        assert_eq!(coverage.observed.len(), NAMES + 1);
        assert_eq!(coverage.line().unwrap(), "not covered: sql (not linked)");
    }
}
