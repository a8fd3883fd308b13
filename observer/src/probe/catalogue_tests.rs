//! The catalogue as data.

use super::{ALWAYS, CATALOGUE, Hook, ONLY_WITH, Since};
use crate::finding::RuleName;
use crate::probe::SOCKET_STATE;
use observer_common::hook::HookId;

#[test]
fn every_hook_is_in_the_catalogue_once() {
    for id in HookId::ALL {
        let entries = || CATALOGUE.iter().filter(|hook| hook.id == id);
        let in_modules = entries().filter(|hook| is_of_module(hook)).count();
        let in_kernel = usize::from(SOCKET_STATE.id == id);
        let first = entries().count() - in_modules + in_kernel;
        assert!(first == 1 || first + in_modules == 1, "{id:?}");
    }
}

/// What goes on between two processes is lost where either side is not seen.
#[test]
fn whoever_sees_one_side_of_a_call_feeds_what_is_told_of_both() {
    for id in [
        HookId::RequestStart,
        HookId::Http2Start,
        HookId::GrpcStart,
        HookId::CallStart,
        HookId::GrpcCall,
    ] {
        let entries = CATALOGUE.iter().filter(|hook| hook.id == id);
        for rule in [RuleName::OrphanedDownstream, RuleName::DeadlineNotForwarded] {
            let feeds = |hook: &Hook| hook.rules.contains(&rule);
            assert!(entries.clone().all(feeds), "{id:?} does not feed {rule}");
        }
        assert!(entries.count() > 0, "{id:?}");
    }
}

#[test]
fn versions_of_a_hook_do_not_overlap() {
    for hook in CATALOGUE {
        let other = |s: &Since| is_in_module(s) || ONLY_WITH.iter().any(|(of, _)| *of == s.symbol);
        for minor in 18..60 {
            let names = hook
                .symbols
                .iter()
                .filter(|s| (s.from..=s.to).contains(&minor) && !other(s))
                .count();
            assert!(names <= 1, "{:?} has {names} symbols in 1.{minor}", hook.id);
        }
        assert!(hook.symbols.iter().any(|s| s.to == ALWAYS || s.to >= 18));
    }
}

/// The releases of a module have nothing to do with those of Go.
fn is_in_module(symbol: &Since) -> bool {
    let host = symbol.symbol.split('/').next();
    host.is_some_and(|host| host.contains(".org"))
}

fn is_of_module(hook: &Hook) -> bool {
    hook.symbols.iter().all(is_in_module)
}
