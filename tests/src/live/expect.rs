//! What has to be found, and nothing else.

use std::ops::Range;

use anyhow::{Result, bail};
use serde_json::Value;

use super::{Finding, Marker, Run, findings, marker, stalls::FalseAlarm};

/// Where another marked line has to appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// In the stack.
    Stack,
    /// As the creating site of a link of the chain.
    Context,
    /// As the line that cancelled.
    CancelSite,
    /// As the line that set the deadline.
    DeadlineSite,
    /// As the line that set the connection's timer.
    TimerSite,
    /// As the line at which the process that was called stood.
    Below,
    /// As the `go` statement of the goroutine that is told of.
    StartedAt,
}

/// One finding that has to be there, once.
#[derive(Clone, Debug)]
pub struct Expect {
    rule: String,
    severity: &'static str,
    site: Marker,
    site_may_be_unknown: bool,
    request: Option<(String, String)>,
    method: &'static str,
    no_request: bool,
    facts: Vec<(&'static str, String)>,
    says: &'static str,
    after_cancel_ms: Option<Range<u64>>,
    count: Option<u64>,
    others: Vec<(Role, Marker)>,
}

impl Expect {
    /// The finding of this severity (alternatives are separated by `|`) whose site carries `// want: RULE CASE` in `tests/targets/<program>/`.
    ///
    /// # Errors
    /// When no line or several lines are marked so.
    pub fn new(severity: &'static str, program: &str, rule_and_case: &str) -> Result<Self> {
        let rule = rule_and_case
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(Self {
            rule,
            severity,
            site: marker(program, rule_and_case)?,
            site_may_be_unknown: false,
            request: None,
            method: "GET",
            no_request: false,
            facts: Vec::new(),
            says: "",
            after_cancel_ms: None,
            count: Some(1),
            others: Vec::new(),
        })
    }

    /// The work may be over before anybody can look where it stood: then there is no site.
    #[must_use]
    pub fn or_no_site(mut self) -> Self {
        self.site_may_be_unknown = true;
        self
    }

    /// It is about the request with this path and ID.
    #[must_use]
    pub fn request(mut self, path: &str, id: &str) -> Self {
        self.request = Some((path.to_owned(), id.to_owned()));
        self
    }

    /// Its request is a POST, not a GET.
    #[must_use]
    pub fn post(self) -> Self {
        self.method("POST")
    }

    /// Its request has this method.
    #[must_use]
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// It is about no request.
    #[must_use]
    pub fn no_request(mut self) -> Self {
        self.no_request = true;
        self
    }

    /// What its last state says at a JSON pointer; alternatives are separated by `|`.
    #[must_use]
    pub fn fact(mut self, pointer: &'static str, value: &str) -> Self {
        self.facts.push((pointer, value.to_owned()));
        self
    }

    /// How the message of its last state ends.
    #[must_use]
    pub const fn says(mut self, end: &'static str) -> Self {
        self.says = end;
        self
    }

    /// Who cancelled.
    #[must_use]
    pub fn by(self, cancelled_by: &str) -> Self {
        self.fact("/evidence/cancelled_by", cancelled_by)
    }

    /// How long work went on after the cancel, ms.
    #[must_use]
    pub fn after_cancel_ms(mut self, range: Range<u64>) -> Self {
        self.after_cancel_ms = Some(range);
        self
    }

    /// How often it happened, instead of once; `None` where that is left open.
    #[must_use]
    pub fn times(mut self, count: impl Into<Option<u64>>) -> Self {
        self.count = count.into();
        self
    }

    /// Where another line, marked `RULE CASE ROLE`, appears.
    ///
    /// # Errors
    /// When no line or several lines are marked so.
    pub fn also(mut self, role: Role, program: &str, marked: &str) -> Result<Self> {
        self.others.push((role, marker(program, marked)?));
        Ok(self)
    }

    fn name(&self) -> String {
        let Marker { file, line, .. } = &self.site;
        let id = self.request.as_ref().map_or("", |(_, id)| id);
        format!("{} [{}] at {file}:{line} id {id}", self.rule, self.severity)
    }

    /// Whether a finding is at the expected place.
    #[must_use]
    pub fn is_at(&self, finding: &Finding) -> bool {
        let id = self.request.as_ref().map(|(_, id)| id.as_str());
        let unknown = self.site_may_be_unknown
            && finding.last["site"].is_null()
            && id == Some(finding.text("/request/id"));
        finding.text("/rule") == self.rule && (unknown || self.site.is(&finding.last["site"]))
    }

    /// What is wrong with the finding at the right place.
    fn faults(&self, finding: &Finding) -> Vec<String> {
        let mut faults = Vec::new();
        let mut same = |pointer: &str, wanted: &str| {
            let got = finding.text(pointer);
            if !wanted.split('|').any(|wanted| wanted == got) {
                faults.push(format!("{pointer} is {got:?}, not {wanted:?}"));
            }
        };
        same("/severity", self.severity);
        if let Some((path, id)) = &self.request {
            same("/request/path", path);
            same("/request/id", id);
            same("/request/method", self.method);
        }
        for (pointer, wanted) in &self.facts {
            same(pointer, wanted);
        }
        let message = finding.text("/message");
        if !message.ends_with(self.says) {
            faults.push(format!("it says {message:?}, not {:?}", self.says));
        }
        let function = finding.text("/site/function");
        if !self.site.is_in(function) && !finding.last["site"].is_null() {
            faults.push(format!(
                "the site's function is {function}, not {}",
                self.site.function
            ));
        }
        if self.no_request && !finding.last["request"].is_null() {
            faults.push(format!("it names a request: {}", finding.last["request"]));
        }
        if let Some(range) = &self.after_cancel_ms {
            let after = finding
                .number("/evidence/after_cancel_ns")
                .map(|ns| ns / 1_000_000);
            if !after.is_some_and(|ms| range.contains(&ms)) {
                faults.push(format!("after_cancel is {after:?} ms, not in {range:?}"));
            }
        }
        if self.count.is_some() && finding.number("/count") != self.count {
            faults.push(format!(
                "count is {}, not {:?}",
                finding.last["count"], self.count
            ));
        }
        for (role, marker) in &self.others {
            let appears = match role {
                Role::Stack => contains(&finding.last["stack"], marker),
                Role::Context => contains(&finding.last["context"], marker),
                Role::CancelSite => marker.is(&finding.last["evidence"]["cancel_site"]),
                Role::Below => marker.is(&finding.last["evidence"]["downstream"]["site"]),
                Role::StartedAt => marker.is(&finding.last["evidence"]["goroutine"]["started_at"]),
                Role::DeadlineSite => marker.is(&finding.last["evidence"]["deadline_site"]),
                Role::TimerSite => marker.is(&finding.last["evidence"]["timer_site"]),
            };
            if !appears {
                faults.push(format!(
                    "{role:?} does not name {}:{}",
                    marker.file, marker.line
                ));
            }
        }
        faults
    }
}

fn contains(sites: &Value, marker: &Marker) -> bool {
    sites
        .as_array()
        .is_some_and(|sites| sites.iter().any(|site| marker.is(site)))
}

/// Requires that a process has exactly the expected findings: each once and as expected, and no other at warning or
/// above. Infos beyond the expected ones are allowed.
///
/// # Errors
/// One line for each thing that is wrong, and everything that observer said.
pub fn exactly(run: &Run, pid: u32, expected: &[Expect]) -> Result<()> {
    let found = findings(run, pid);
    let mut wrong = Vec::new();
    for expect in expected {
        let here: Vec<&Finding> = found
            .iter()
            .filter(|finding| expect.is_at(finding))
            .collect();
        match here[..] {
            [] => wrong.push(missing(expect, &found)),
            [finding] => wrong.extend(
                expect
                    .faults(finding)
                    .into_iter()
                    .map(|fault| format!("wrong: {}: {fault}", expect.name())),
            ),
            _ => wrong.push(format!("{} times: {}", here.len(), expect.name())),
        }
    }
    let wanted = |finding: &&Finding| expected.iter().any(|expect| expect.is_at(finding));
    let missed = wrong.len();
    for finding in found
        .iter()
        .filter(|finding| finding.accuses() && !wanted(finding))
    {
        wrong.push(format!(
            "unexpected: {}: {}",
            finding.brief(),
            finding.text("/message")
        ));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let is_accused = wrong.len() > missed;
    let said = format!(
        "{} things are wrong:\n  {}\n{}",
        wrong.len(),
        wrong.join("\n  "),
        run.shown()
    );
    if is_accused {
        return Err(FalseAlarm(said).into());
    }
    bail!(said)
}

fn missing(expect: &Expect, found: &[Finding]) -> String {
    let near: Vec<String> = found
        .iter()
        .filter(|finding| {
            expect
                .request
                .as_ref()
                .is_some_and(|(_, id)| finding.text("/request/id") == id)
        })
        .map(Finding::brief)
        .collect();
    format!("missing: {}; about that request: {near:?}", expect.name())
}
