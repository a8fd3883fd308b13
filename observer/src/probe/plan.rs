//! Which hooks can be probed in an executable, and at which instruction: a pure function.

use observer_common::hook::HookId;

use crate::finding::HookState;
use crate::go::grpc::{self, GRPC};
use crate::go::image::Function;
use crate::go::site::{NoSite, Site, SiteKind, Wanted, find_site};
use crate::go::{Image, Layout};

use super::catalogue::{CALL_SITES, CATALOGUE, ONLY_WITH};
use super::goroutines;
use super::hook::{Hook, Rate, Since};

/// Which sort of site to plan. Anything but [`SiteChoice::Cheap`] is for the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SiteChoice {
    /// An instruction that the kernel emulates, where there is one.
    #[default]
    Cheap,
    /// The function's first instruction, single-stepped: what others pay.
    Entry,
}

/// Why a hook is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Off {
    /// For people.
    pub reason: String,
    /// The program does not do what the hook watches, so nothing is missed.
    pub harmless: bool,
}

/// A hook that can be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSite {
    /// Which.
    pub hook: HookId,
    /// Function found.
    pub symbol: &'static str,
    /// Instruction.
    pub site: Site,
}

impl PlannedSite {
    /// Rate class of its hook.
    #[must_use]
    pub fn rate(&self) -> Rate {
        rate_of(self.hook)
    }
}

/// Every hook is in the catalogue; one that were not would be taken for the most expensive.
fn rate_of(id: HookId) -> Rate {
    CATALOGUE
        .iter()
        .find(|hook| hook.id == id)
        .map_or(Rate::Hot, |hook| hook.rate)
}

/// What became of one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookPlan {
    /// Which.
    pub hook: HookId,
    /// Where, or why not.
    pub outcome: Result<PlannedSite, Off>,
}

/// The plan for one executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One entry per entry of the catalogue, in its order.
    pub hooks: Vec<HookPlan>,
}

/// Plans every hook of the catalogue.
#[must_use]
pub fn plan(image: &Image, layout: &Layout, choice: SiteChoice) -> Plan {
    let hooks = CATALOGUE
        .iter()
        .map(|hook| HookPlan {
            hook: hook.id,
            outcome: plan_hook(image, layout, choice, hook),
        })
        .collect();
    let mut plan = Plan { hooks };
    plan.keep_together();
    plan
}

impl Plan {
    /// Sites to attach, in order.
    pub fn sites(&self) -> impl Iterator<Item = &PlannedSite> {
        self.hooks
            .iter()
            .filter_map(|hook| hook.outcome.as_ref().ok())
    }

    /// Leaves the hooks of a class out, for this reason: nobody has asked for what they tell.
    pub fn leave_out(&mut self, rate: Rate, reason: &str) {
        for planned in &mut self.hooks {
            if planned.outcome.is_ok() && rate_of(planned.hook) == rate {
                planned.outcome = Err(Off {
                    reason: reason.to_owned(),
                    harmless: true,
                });
            }
        }
    }

    /// Leaves a hook out that needs another one which is off. Call it whenever a hook was switched off.
    pub fn keep_together(&mut self) {
        let missing = goroutines::PAIR.into_iter().find(|hook| !self.has(*hook));
        let Some(missing) = missing else { return };
        for planned in &mut self.hooks {
            if goroutines::PAIR.contains(&planned.hook) && planned.outcome.is_ok() {
                planned.outcome = Err(Off {
                    reason: format!("of no use without {}", missing.name()),
                    harmless: false,
                });
            }
        }
    }

    /// Whether a hook is off that should be on.
    #[must_use]
    pub fn lacks(&self, hook: HookId) -> bool {
        let is_off = |off: &Off| !off.harmless;
        let mut all = self.hooks.iter().filter(|of| of.hook == hook);
        all.any(|planned| planned.outcome.as_ref().is_err_and(is_off))
    }

    /// Whether a hook has a site.
    #[must_use]
    pub fn has(&self, hook: HookId) -> bool {
        self.sites().any(|site| site.hook == hook)
    }

    /// The first required hook that is off, and why: then nothing can be observed.
    #[must_use]
    pub fn blocked(&self) -> Option<(HookId, &Off)> {
        CATALOGUE
            .iter()
            .filter(|hook| hook.required)
            .find_map(|hook| {
                let planned = self.hooks.iter().find(|planned| planned.hook == hook.id)?;
                planned.outcome.as_ref().err().map(|off| (hook.id, off))
            })
    }

    /// What there is to say of hooks: nothing of a module that is not linked, where the hook is known by another place.
    pub fn told(&self) -> impl Iterator<Item = &HookPlan> {
        self.hooks
            .iter()
            .enumerate()
            .filter(|(index, planned)| {
                let absent = matches!(&planned.outcome, Err(off) if off.harmless);
                let mut others = self
                    .hooks
                    .iter()
                    .enumerate()
                    .filter(|(_, other)| other.hook == planned.hook);
                !absent || !others.any(|(place, other)| place < *index || other.outcome.is_ok())
            })
            .map(|(_, planned)| planned)
    }

    /// The plan as users see it.
    #[must_use]
    pub fn states(&self) -> Vec<HookState> {
        self.told().map(state).collect()
    }
}

fn state(planned: &HookPlan) -> HookState {
    let rate = rate_of(planned.hook).as_str();
    let site = planned.outcome.as_ref().ok();
    HookState {
        hook: planned.hook.name().to_owned(),
        on: site.is_some(),
        symbol: site.map(|site| site.symbol.to_owned()),
        site: site.map(|site| format!("{:#x}", site.site.vaddr)),
        kind: site.map(|site| kind_name(site.site.kind).to_owned()),
        rate: rate.to_owned(),
        reason: match &planned.outcome {
            Ok(site) if site.site.kind == SiteKind::Entry => {
                Some("single-stepped: about ten times the cost of the other sites".to_owned())
            }
            Ok(_) => None,
            Err(off) => Some(off.reason.clone()),
        },
    }
}

const fn kind_name(kind: SiteKind) -> &'static str {
    match kind {
        SiteKind::Push => "push",
        SiteKind::StackCheckJump => "jbe",
        SiteKind::Call => "call",
        SiteKind::Entry => "entry",
    }
}

/// Of the program's Go, or of its gRPC.
fn unknown_offset(image: &Image, of: &str, field: &str) -> String {
    if !of.starts_with(GRPC) {
        let version = &image.go_version().raw;
        return format!("offset of {of}.{field} is unknown for {version}");
    }
    let release = image.dependency(GRPC).unwrap_or("one of unknown version");
    match grpc::measured() {
        Some(measured) => format!(
            "struct offsets are known for gRPC-go 1.{} to 1.{}, not for {release}",
            measured.start(),
            measured.end()
        ),
        None => format!("no struct offsets are known for gRPC-go {release}"),
    }
}

/// The function's one direct call of the first of these that it calls.
fn call_site(image: &Image, function: &Function, callees: &[&str]) -> Result<Site, NoSite> {
    let sites = callees
        .iter()
        .filter_map(|name| match image.functions(name) {
            [callee] => {
                let callee = callee.entry;
                Some(find_site(image, function, Wanted::DirectCall { callee }))
            }
            _ => None,
        });
    let first = sites.reduce(|first, next| if first.is_ok() { first } else { next });
    first.unwrap_or(Err(NoSite::NoCall))
}

fn plan_hook(
    image: &Image,
    layout: &Layout,
    choice: SiteChoice,
    hook: &Hook,
) -> Result<PlannedSite, Off> {
    let version = image.go_version();
    let off = |reason: String, harmless| Off { reason, harmless };
    let fits = |since: &&Since| (since.from..=since.to).contains(&version.minor);
    let is_linked = |symbol: &str| !image.functions(symbol).is_empty();
    let of_use = |symbol: &str| {
        let needs = ONLY_WITH.iter().find(|(only, _)| *only == symbol);
        needs.is_none_or(|(_, with)| is_linked(with))
    };
    let linked = |since: &&Since| is_linked(since.symbol) && of_use(since.symbol);
    let fitting = || hook.symbols.iter().filter(fits);
    let Some(since) = fitting().find(linked).or_else(|| fitting().next()) else {
        return Err(off(format!("not needed with {}", version.raw), true));
    };
    if !layout.is_proved() {
        return Err(off(
            format!(
                "{} is newer than the struct offsets known to observer",
                version.raw
            ),
            false,
        ));
    }
    let (function, rest) = match image.functions(since.symbol) {
        [function, rest @ ..] => (function, rest),
        [] => {
            return Err(match hook.absent {
                Some(meaning) => off(meaning.to_owned(), true),
                None => off(format!("{} is not in the executable", since.symbol), false),
            });
        }
    };
    if !rest.is_empty() {
        let found = rest.len() + 1;
        return Err(off(
            format!("{} is in the executable {found} times", since.symbol),
            false,
        ));
    }
    if image.is_inlined(function) {
        let copied = "inlined into other functions, as a build with a profile does";
        return Err(off(format!("{copied}: {}", since.symbol), false));
    }
    if let Some((of, field)) = hook
        .fields
        .iter()
        .find(|(of, field)| layout.field(of, field).is_none())
    {
        return Err(off(unknown_offset(image, of, field), false));
    }
    let callees = CALL_SITES
        .iter()
        .find(|(id, from, _)| *id == hook.id && *from <= version.minor);
    let found = match (callees, choice) {
        // What it tells is in registers there only.
        (Some((_, _, callees)), _) => call_site(image, function, callees),
        (None, SiteChoice::Cheap) => find_site(image, function, Wanted::AfterStackCheck),
        (None, SiteChoice::Entry) => find_site(image, function, Wanted::Entry),
    };
    found
        .map(|site| PlannedSite {
            hook: hook.id,
            symbol: since.symbol,
            site,
        })
        .map_err(|why| off(why.to_string(), false))
}

#[cfg(test)]
mod tests {
    use observer_common::hook::HookId;

    use super::{HookPlan, Off, Plan, PlannedSite};
    use crate::go::site::{Site, SiteKind};
    use crate::probe::Rate;

    fn planned(hook: HookId, here: bool) -> HookPlan {
        let site = Site {
            vaddr: 1,
            file_offset: 1,
            kind: SiteKind::Call,
            bytes: [0xe8].into(),
        };
        let site = PlannedSite {
            hook,
            symbol: "runtime.goexit0",
            site,
        };
        let off = Off {
            reason: "no direct call of the callee".into(),
            harmless: false,
        };
        HookPlan {
            hook,
            outcome: here.then_some(site).ok_or(off),
        }
    }

    fn plan_of(create: bool, end: bool) -> Plan {
        Plan {
            hooks: vec![
                planned(HookId::GoroutineEnd, end),
                planned(HookId::ContextCancel, true),
                planned(HookId::GoroutineCreate, create),
            ],
        }
    }

    fn on(plan: &Plan) -> Vec<HookId> {
        plan.sites().map(|site| site.hook).collect()
    }

    #[test]
    fn the_hooks_of_goroutines_are_there_together_or_not_at_all() {
        for (create, end) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut plan = plan_of(create, end);
            plan.keep_together();
            let both = create && end;
            assert_eq!(plan.has(HookId::GoroutineCreate), both);
            assert_eq!(plan.has(HookId::GoroutineEnd), both);
            assert_eq!(plan.lacks(HookId::GoroutineCreate), !both);
            assert!(plan.has(HookId::ContextCancel));
        }
        let mut plan = plan_of(true, false);
        plan.keep_together();
        let states = plan.states();
        let reasons: Vec<_> = states.iter().map(|state| state.reason.as_deref()).collect();
        assert_eq!(
            reasons,
            [
                Some("no direct call of the callee"),
                None,
                Some("of no use without goroutine-end")
            ]
        );
    }

    #[test]
    fn a_class_is_left_out_and_says_why() {
        let mut plan = plan_of(true, true);
        plan.leave_out(Rate::Hot, "nobody has asked");
        assert_eq!(on(&plan), [HookId::ContextCancel]);
        let off = plan.hooks[0].outcome.as_ref().unwrap_err();
        assert_eq!((&*off.reason, off.harmless), ("nobody has asked", true));
        assert!(!plan.lacks(HookId::GoroutineEnd));
    }
}
