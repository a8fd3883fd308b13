//! Code whose addresses are made up from names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::finding::ProcessInfo;
use crate::go::{Frame, TypeName, package_of};
use crate::model::{Code, Handed, Unit};

/// The process of all scenes.
pub(crate) const PID: u32 = 4121;
/// A process that it calls.
pub(crate) const STORE: u32 = 4122;
/// Its network namespace.
pub(crate) const NETNS: u64 = 4_026_531_840;
const TEXT: u64 = 0x0040_0000;
const ITABS: u64 = 0x0090_0000;

/// Hands out one address for each name, and answers with the name.
#[derive(Debug, Default)]
pub(crate) struct FakeCode {
    places: RefCell<Vec<String>>,
    types: RefCell<Vec<String>>,
    /// Places that take an address for a call, by what was asked.
    pub(crate) handed: BTreeMap<(u64, u64), Vec<String>>,
    /// Nothing is known of the process.
    pub(crate) no_unit: bool,
}

fn number(names: &RefCell<Vec<String>>, name: &str) -> u64 {
    let mut names = names.borrow_mut();
    let found = names.iter().position(|known| known == name);
    let index = found.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    index as u64
}

fn named(names: &RefCell<Vec<String>>, start: u64, address: u64) -> Option<String> {
    let index = address.checked_sub(start)? / 16;
    let names = names.borrow();
    names.get(usize::try_from(index).ok()?).cloned()
}

impl FakeCode {
    /// The return address in `function:line`; logical frames of one address, innermost first,
    /// are separated by `|`.
    pub(crate) fn pc(&self, place: &str) -> u64 {
        TEXT + 16 * number(&self.places, place)
    }

    /// Return addresses of a stack.
    pub(crate) fn pcs(&self, places: &[&str]) -> Vec<u64> {
        places.iter().map(|place| self.pc(place)).collect()
    }

    /// The itab of `package.name`; 0 for an empty name.
    pub(crate) fn itab(&self, type_name: &str) -> u64 {
        if type_name.is_empty() {
            return 0;
        }
        ITABS + 16 * number(&self.types, type_name)
    }
}

fn frame(place: &str) -> Frame {
    let (function, line) = match place.rsplit_once(':') {
        Some((function, line)) => (function, line.parse().unwrap()),
        None => (place, 1),
    };
    Frame {
        function: function.into(),
        file: format!("{}/code.go", package_of(function)).into(),
        line,
    }
}

impl Code for FakeCode {
    fn frames(&self, pid: u32, pc: u64) -> Arc<[Frame]> {
        match named(&self.places, TEXT, pc) {
            Some(places) if [PID, STORE].contains(&pid) => places.split('|').map(frame).collect(),
            _ => Arc::from([]),
        }
    }

    fn type_of(&self, _pid: u32, itab: u64) -> Option<Arc<TypeName>> {
        let text = named(&self.types, ITABS, itab)?;
        let (package, name) = text.rsplit_once('.')?;
        Some(Arc::new(TypeName {
            package: package.into(),
            name: name.into(),
            pointer: true,
        }))
    }

    fn function(&self, pid: u32, pc: u64) -> Option<Arc<Frame>> {
        let frame = self.frames(pid, pc).last()?.clone();
        Some(Arc::new(Frame { line: 1, ..frame }))
    }

    fn handed(&self, _pid: u32, pc: u64, address: u64) -> Handed {
        let places = self.handed.get(&(pc, address)).into_iter().flatten();
        places
            .map(|place| place.split('|').map(frame).collect())
            .collect()
    }

    fn unit(&self, pid: u32) -> Option<Arc<Unit>> {
        (!self.no_unit).then(|| {
            Arc::new(Unit {
                process: Arc::new(ProcessInfo {
                    pid,
                    start_ticks: 88_120,
                    name: if pid == STORE {
                        "shop-store"
                    } else {
                        "shop-api"
                    }
                    .into(),
                    exe: "/srv/shop/shop-api".into(),
                    build_id: "k3Jm/aQ".into(),
                    go: "go1.27.3".into(),
                    module: "example.com/shop".into(),
                    main_package: "example.com/shop/cmd/shop-api".into(),
                }),
                go_minor: 27,
                own: vec!["example.com/shop".into()],
                netns: NETNS,
            })
        })
    }
}
