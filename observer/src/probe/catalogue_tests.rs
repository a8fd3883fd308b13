//! The catalogue as data.

use super::{ALWAYS, CATALOGUE, ONLY_WITH, Since};
use crate::probe::SOCKET_STATE;
use observer_common::hook::HookId;

#[test]
fn every_hook_is_in_the_catalogue_once() {
    for id in HookId::ALL {
        let here = CATALOGUE.iter().filter(|hook| hook.id == id).count();
        let in_kernel = usize::from(SOCKET_STATE.id == id);
        assert_eq!(here + in_kernel, 1, "{id:?}");
    }
}

#[test]
fn versions_of_a_hook_do_not_overlap() {
    for hook in CATALOGUE {
        let of_module = |s: &Since| {
            s.symbol.starts_with("google.golang.org/")
                || ONLY_WITH.iter().any(|(symbol, _)| *symbol == s.symbol)
        };
        for minor in 18..60 {
            let names = hook
                .symbols
                .iter()
                .filter(|s| (s.from..=s.to).contains(&minor) && !of_module(s))
                .count();
            assert!(names <= 1, "{:?} has {names} symbols in 1.{minor}", hook.id);
        }
        assert!(hook.symbols.iter().any(|s| s.to == ALWAYS || s.to >= 18));
    }
}
