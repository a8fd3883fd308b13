//! The attached probes of one executable, in groups by rate class: a group comes and goes as one.

use std::collections::BTreeMap;

use super::hook::Rate;
use super::kernel::{Attached, Kernel, ProbeError, Scope};
use super::plan::{Plan, PlannedSite};

/// Where and how the sites of one executable are attached.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The executable, by a path that the kernel can open.
    pub exe: &'a std::path::Path,
    /// Slot of its layout block.
    pub slot: u32,
    /// Which processes.
    pub scope: Scope,
}

/// Attached probes by rate class.
#[derive(Debug, Default)]
pub struct Groups {
    attached: BTreeMap<Rate, Vec<Attached>>,
}

impl Groups {
    /// Attaches every planned site of the wanted classes that is not attached yet, in the order
    /// of the plan. `program` names the program of a site.
    ///
    /// # Errors
    /// See [`ProbeError`]; what was attached before stays so.
    pub fn attach(
        &mut self,
        kernel: &mut Kernel,
        plan: &Plan,
        wanted: &[Rate],
        place: Place<'_>,
        program: impl Fn(&PlannedSite) -> &'static str,
    ) -> Result<(), ProbeError> {
        for site in plan.sites() {
            let rate = site.rate();
            if !wanted.contains(&rate) || self.has(site) {
                continue;
            }
            let attached =
                kernel.attach(site, program(site), place.exe, place.slot, place.scope)?;
            self.attached.entry(rate).or_default().push(attached);
        }
        Ok(())
    }

    /// Detaches a class; the kernel takes up to 0.1 s for each probe. Gives how many there were.
    pub fn detach(&mut self, rate: Rate) -> usize {
        self.attached.remove(&rate).map_or(0, |probes| probes.len())
    }

    /// Detaches all, those first that cost the target most.
    pub fn detach_all(&mut self) {
        while let Some((_, probes)) = self.attached.pop_last() {
            drop(probes);
        }
    }

    fn has(&self, site: &PlannedSite) -> bool {
        self.attached
            .get(&site.rate())
            .is_some_and(|probes| probes.iter().any(|probe| probe.is_at(site)))
    }
}
