//! The chain of contexts above what a finding is about, as one row.

use crate::finding::{ContextLink, Finding, Trust};

use super::layout::{Row, Terminal};
use super::place::short_file;

/// Root first, as the code reads; the sign before a link says whether cancellation reaches it.
pub(super) fn row(finding: &Finding, terminal: &Terminal) -> Option<Row> {
    let links = &finding.context;
    if links.is_empty() {
        return None;
    }
    let last = links.len() - 1;
    let width = terminal.text_width();
    let module = &finding.process.module;
    let (mut parts, mut names) = (vec![], vec![]);
    for (index, link) in links.iter().enumerate().rev() {
        let name = name(link, terminal);
        let name = if index == last {
            name
        } else {
            format!("{} {name}", sign(link, terminal))
        };
        names.push(name.clone());
        let site = link.site.as_ref();
        match site.map(|site| format!("({})", terminal.glyphs.clean(&short_file(site, module)))) {
            Some(place) if name.chars().count() + 1 + place.chars().count() <= width => {
                parts.push(format!("{name} {place}"));
            }
            // Broken between them, so that the sign is not cut off.
            place => parts.extend(std::iter::once(name).chain(place)),
        }
    }
    Some(Row::chain("context", 4, parts).or(in_short(links, names, terminal)))
}

/// The chain in one line if there is one that tells where cancellation ends: without places,
/// without what descends as it should, or by its root alone where that is not the request.
fn in_short(links: &[ContextLink], names: Vec<String>, terminal: &Terminal) -> Vec<String> {
    let ellipsis = terminal.glyphs.ellipsis;
    let root = links.last();
    if names.join(" ").chars().count() <= terminal.text_width() {
        return names;
    }
    if root.is_some_and(|root| root.label != "request") {
        let first = names.into_iter().take(1);
        return first.chain([ellipsis.to_owned()]).collect();
    }
    let below = links.iter().rev().skip(1);
    let known = below.take_while(|link| link.trust == Trust::Known).count();
    let dropped = (1 + known).min(names.len().saturating_sub(1));
    let shown = names.into_iter().skip(dropped);
    std::iter::once(ellipsis.to_owned()).chain(shown).collect()
}

const fn sign(child: &ContextLink, terminal: &Terminal) -> &'static str {
    let glyphs = &terminal.glyphs;
    match child.trust {
        Trust::Known => glyphs.arrow,
        Trust::Cuts | Trust::Root => glyphs.cut,
        Trust::Unknown => glyphs.unsure,
    }
}

fn name(link: &ContextLink, terminal: &Terminal) -> String {
    let mut text = terminal.glyphs.clean(&link.label);
    if let Some(ns) = link.deadline_ns {
        text.push(' ');
        text.push_str(&terminal.glyphs.signed_duration(ns));
    }
    text
}
