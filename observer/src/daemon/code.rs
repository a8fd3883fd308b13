//! Addresses of live processes → names, cached, and noted for a recording.

use std::cell::RefCell;
use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::go::{Frame, TypeName};
use crate::inspect::{TargetTypes, TypeNames as _};
use crate::model::{Code, ContextKind, Handed, Unit};
use crate::record::Resolved;
use crate::stream::query_name;

use super::subject::Target;

/// Answers kept; beyond it all are forgotten and asked anew.
const CACHED: usize = 65_536;

/// Answers by process and address, or whatever else was asked of a process.
type Cache<T, K = u64> = RefCell<FxHashMap<(u32, K), T>>;

/// Keeps an answer, and makes room for it.
fn keep<T, K: Hash + Eq>(cache: &Cache<T, K>, asked: (u32, K), answer: T) {
    let mut cache = cache.borrow_mut();
    if cache.len() >= CACHED {
        cache.clear();
    }
    cache.insert(asked, answer);
}

/// Resolves against the executables and memory of observed processes.
#[derive(Debug, Default)]
pub(super) struct LiveCode {
    targets: FxHashMap<u32, Arc<Target>>,
    frames: Cache<Arc<[Frame]>>,
    types: Cache<Option<Arc<TypeName>>>,
    functions: Cache<Option<Arc<Frame>>>,
    handed: Cache<Handed, (u64, u64)>,
    queries: Cache<Option<Arc<str>>, (u64, u64)>,
    made: Cache<Arc<[Frame]>, (u64, u64)>,
    nodes: RefCell<Vec<(u32, u64)>>,
    noted: RefCell<Vec<Resolved>>,
    notes: bool,
}

impl LiveCode {
    /// With `notes`, every new answer is kept for [`LiveCode::take_noted`].
    pub(super) fn new(notes: bool) -> Self {
        Self {
            notes,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, target: Arc<Target>) {
        self.note(|| Resolved::Unit {
            pid: target.pid(),
            unit: Arc::clone(&target.unit),
        });
        self.targets.insert(target.pid(), target);
    }

    /// A process is gone: its pid may be another's soon.
    pub(super) fn forget(&mut self, pid: u32) {
        self.targets.remove(&pid);
        self.frames.get_mut().retain(|(of, _), _| *of != pid);
        self.types.get_mut().retain(|(of, _), _| *of != pid);
        self.functions.get_mut().retain(|(of, _), _| *of != pid);
        self.handed.get_mut().retain(|(of, _), _| *of != pid);
        self.queries.get_mut().retain(|(of, _), _| *of != pid);
        self.made.get_mut().retain(|(of, _), _| *of != pid);
    }

    pub(super) fn target(&self, pid: u32) -> Option<&Arc<Target>> {
        self.targets.get(&pid)
    }

    /// Itabs, by process, of contexts whose creation is an event: those that were met since the last time. Only what
    /// every process of an executable has at one place.
    pub(super) fn take_nodes(&self) -> Vec<(u32, u64)> {
        std::mem::take(&mut self.nodes.borrow_mut())
    }

    pub(super) fn take_noted(&self) -> Vec<Resolved> {
        std::mem::take(&mut self.noted.borrow_mut())
    }

    fn note(&self, make: impl FnOnce() -> Resolved) {
        if self.notes {
            self.noted.borrow_mut().push(make());
        }
    }
}

impl Code for LiveCode {
    fn frames(&self, pid: u32, pc: u64) -> Arc<[Frame]> {
        if let Some(known) = self.frames.borrow().get(&(pid, pc)) {
            return Arc::clone(known);
        }
        let target = self.targets.get(&pid);
        let frames: Arc<[Frame]> = target
            .map_or_else(Vec::new, |target| {
                target.image.frames(pc.wrapping_sub(target.bias()))
            })
            .into();
        keep(&self.frames, (pid, pc), Arc::clone(&frames));
        self.note(|| Resolved::Frames {
            pid,
            pc,
            frames: Arc::clone(&frames),
        });
        frames
    }

    fn type_of(&self, pid: u32, itab: u64) -> Option<Arc<TypeName>> {
        if let Some(known) = self.types.borrow().get(&(pid, itab)) {
            return known.clone();
        }
        let target = self.targets.get(&pid)?;
        let types = TargetTypes {
            image: &target.image,
            memory: &target.process.memory,
            bias: target.bias(),
        };
        let name = types.of_itab(itab).map(Arc::new);
        if ContextKind::of(name.as_deref()).is_node() {
            let in_file = itab.wrapping_sub(target.bias());
            if target.image.itab_type_vaddr(in_file).is_some() {
                self.nodes.borrow_mut().push((pid, itab));
            }
        }
        keep(&self.types, (pid, itab), name.clone());
        self.note(|| Resolved::Type {
            pid,
            itab,
            name: name.clone(),
        });
        name
    }

    fn function(&self, pid: u32, pc: u64) -> Option<Arc<Frame>> {
        if let Some(known) = self.functions.borrow().get(&(pid, pc)) {
            return known.clone();
        }
        let target = self.targets.get(&pid)?;
        let at = target
            .image
            .declaration(pc.wrapping_sub(target.bias()))
            .map(Arc::new);
        keep(&self.functions, (pid, pc), at.clone());
        self.note(|| Resolved::Function {
            pid,
            pc,
            at: at.clone(),
        });
        at
    }

    fn handed(&self, pid: u32, pc: u64, address: u64) -> Handed {
        let asked = (pid, (pc, address));
        if let Some(known) = self.handed.borrow().get(&asked) {
            return Arc::clone(known);
        }
        let places: Handed = self.targets.get(&pid).map_or_else(
            || Arc::from([]),
            |target| {
                let bias = target.bias();
                let places = target
                    .image
                    .handed(pc.wrapping_sub(bias), address.wrapping_sub(bias));
                places.into_iter().map(Arc::from).collect()
            },
        );
        keep(&self.handed, asked, Arc::clone(&places));
        self.note(|| Resolved::Handed {
            pid,
            pc,
            address,
            places: Arc::clone(&places),
        });
        places
    }

    fn query(&self, pid: u32, address: u64, len: u64) -> Option<Arc<str>> {
        let asked = (pid, (address, len));
        if let Some(known) = self.queries.borrow().get(&asked) {
            return known.clone();
        }
        let target = self.targets.get(&pid)?;
        let vaddr = address.wrapping_sub(target.bias());
        let text = target.image.constant(vaddr, usize::try_from(len).ok()?);
        let name: Option<Arc<str>> = text.map(|text| query_name(text).into());
        keep(&self.queries, asked, name.clone());
        self.note(|| Resolved::Query {
            pid,
            address,
            len,
            name: name.clone(),
        });
        name
    }

    fn made_for(&self, pid: u32, pc: u64, itab: u64) -> Arc<[Frame]> {
        let asked = (pid, (pc, itab));
        if let Some(known) = self.made.borrow().get(&asked) {
            return Arc::clone(known);
        }
        let frames: Arc<[Frame]> = self
            .targets
            .get(&pid)
            .map_or_else(Vec::new, |target| {
                let bias = target.bias();
                let (pc, itab) = (pc.wrapping_sub(bias), itab.wrapping_sub(bias));
                target.image.made_for(pc, itab)
            })
            .into();
        keep(&self.made, asked, Arc::clone(&frames));
        self.note(|| Resolved::Made {
            pid,
            pc,
            itab,
            frames: Arc::clone(&frames),
        });
        frames
    }

    fn unit(&self, pid: u32) -> Option<Arc<Unit>> {
        self.targets
            .get(&pid)
            .map(|target| Arc::clone(&target.unit))
    }
}
