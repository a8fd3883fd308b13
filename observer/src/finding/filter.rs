//! Which findings are shown, and as how severe: rules chosen, sites allowed, baseline.
//!
//! Pure; reading and writing the baseline's file is the caller's.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Fingerprint, RuleName, Severity};

/// What `--rule NAME=…` sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Never shown.
    Off,
    /// Shown with this severity, whatever the rule found.
    Always(Severity),
}

/// The choice of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleChoice {
    only: BTreeSet<RuleName>,
    levels: BTreeMap<RuleName, Level>,
}

impl RuleChoice {
    /// Adds `--rule NAME`: once there is one, rules that are not named are off.
    pub fn choose(&mut self, rule: RuleName) {
        self.only.insert(rule);
    }

    /// Adds `--rule NAME=LEVEL`; the last one for a rule holds.
    pub fn adjust(&mut self, rule: RuleName, level: Level) {
        self.levels.insert(rule, level);
    }

    /// Whether the rule is to run at all. A rule that is adjusted counts as named.
    #[must_use]
    pub fn is_on(&self, rule: RuleName) -> bool {
        match self.levels.get(&rule) {
            Some(Level::Off) => false,
            Some(Level::Always(_)) => true,
            None => self.only.is_empty() || self.only.contains(&rule),
        }
    }

    fn severity(&self, rule: RuleName, found: Severity) -> Severity {
        match self.levels.get(&rule) {
            Some(Level::Always(severity)) => *severity,
            Some(Level::Off) | None => found,
        }
    }
}

/// One `allow` entry: sites that are as they are on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Only for this rule; `None` for all.
    pub rule: Option<RuleName>,
    /// Prefix of the site's full function name (`example.com/shop/audit.`), or a whole package.
    pub site: String,
}

impl Allowed {
    fn covers(&self, finding: &Finding) -> bool {
        if self.rule.is_some_and(|rule| rule != finding.rule) {
            return false;
        }
        finding.site.as_ref().is_some_and(|site| {
            site.package() == self.site
                || site
                    .function
                    .strip_prefix(self.site.as_str())
                    .is_some_and(|rest| ends_a_name(&self.site, rest))
        })
    }
}

/// `example.com/shop` must not cover `example.com/shopping`: what follows a prefix starts a new
/// part of the name, unless the prefix itself ends one.
fn ends_a_name(prefix: &str, rest: &str) -> bool {
    prefix.ends_with(['.', '/']) || rest.is_empty() || rest.starts_with(['.', '/', '['])
}

/// Why a finding is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silenced {
    /// `--rule`.
    Rule,
    /// `allow`.
    Allowed,
    /// `--baseline`.
    Baseline,
}

/// Everything that decides about showing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// `--rule`.
    pub rules: RuleChoice,
    /// `allow` of the configuration file.
    pub allow: Vec<Allowed>,
    /// `--baseline`.
    pub baseline: BTreeSet<Fingerprint>,
}

impl Filter {
    /// The severity to show it with.
    ///
    /// # Errors
    /// Why it is not shown.
    pub fn judge(&self, finding: &Finding) -> Result<Severity, Silenced> {
        if !self.rules.is_on(finding.rule) {
            return Err(Silenced::Rule);
        }
        if self.allow.iter().any(|allowed| allowed.covers(finding)) {
            return Err(Silenced::Allowed);
        }
        if self.baseline.contains(&finding.fingerprint) {
            return Err(Silenced::Baseline);
        }
        Ok(self.rules.severity(finding.rule, finding.severity))
    }
}

/// Reads a baseline: a fingerprint in hex at the start of each line, `#` starts a comment.
///
/// # Errors
/// The number of the first line, from 1, that is neither empty nor a fingerprint.
pub fn parse_baseline(text: &str) -> Result<BTreeSet<Fingerprint>, usize> {
    let mut prints = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let word = line.split('#').next().unwrap_or_default().trim();
        if word.is_empty() {
            continue;
        }
        let print = (word.len() == 16)
            .then(|| u64::from_str_radix(word, 16).ok())
            .flatten()
            .ok_or(index + 1)?;
        prints.insert(Fingerprint(print));
    }
    Ok(prints)
}

/// Text of a baseline: sorted, one line each with what it stands for.
#[must_use]
pub fn render_baseline(prints: &BTreeMap<Fingerprint, String>) -> String {
    let mut text = String::from("# Findings that are known: counted, not shown.\n");
    for (print, comment) in prints {
        text.push_str(&format!("{print} # {comment}\n"));
    }
    text
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
