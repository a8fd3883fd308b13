//! Keys of the values in a request's chains: which are not known, and what memory said of them.

use std::sync::Arc;

use crate::inspect::{ValueKey, ValueLink};

use super::Model;
use super::context::Step;
use super::ids::{CtxId, ReqId};

/// Newest contexts, and calls, of a request whose values are looked at.
const CHAINS: usize = 16;
/// Values looked at in one go: chains of real services have fewer than ten.
const VALUES: usize = 64;

impl Step {
    /// Whether it is what `context.WithValue` makes.
    #[must_use]
    pub fn holds_value(&self) -> bool {
        let name = self.type_name.as_deref();
        name.is_some_and(|name| &*name.package == "context" && &*name.name == "valueCtx")
    }
}

impl Model {
    /// Values in the newest chains of a request whose keys nobody has read: each once, and 64 at most.
    #[must_use]
    pub fn unread_values(&self, id: ReqId) -> Vec<ValueLink> {
        let Some(request) = self.requests.get(id) else {
            return Vec::new();
        };
        let contexts = request.contexts.iter().rev().take(CHAINS);
        let contexts = contexts.filter_map(|id| self.contexts.get(*id));
        let contexts = contexts.map(|ctx| (&ctx.steps, ctx.parent));
        let calls = request.calls.iter().rev().take(CHAINS);
        let calls = calls.filter_map(|id| self.calls.get(*id));
        let calls = calls.map(|call| (&call.steps, call.ctx));
        let mut found = Vec::new();
        for (steps, above) in contexts.chain(calls) {
            for (link, step) in links(steps, self.data_of(above)) {
                if step.key.is_none() && !found.contains(&link) && found.len() < VALUES {
                    found.push(link);
                }
            }
        }
        found
    }

    /// Keeps the key of a value wherever chains of a request have it.
    pub fn set_key(&mut self, id: ReqId, value: ValueLink, key: &Arc<ValueKey>) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let (contexts, calls) = (request.contexts.clone(), request.calls.clone());
        for id in contexts {
            let above = self.contexts.get(id).and_then(|ctx| ctx.parent);
            let above = self.data_of(above);
            if let Some(ctx) = self.contexts.get_mut(id) {
                keep(&mut ctx.steps, above, value, key);
            }
        }
        for id in calls {
            let above = self.calls.get(id).and_then(|call| call.ctx);
            let above = self.data_of(above);
            if let Some(call) = self.calls.get_mut(id) {
                keep(&mut call.steps, above, value, key);
            }
        }
    }

    fn data_of(&self, ctx: Option<CtxId>) -> Option<u64> {
        Some(self.contexts.get(ctx?)?.data)
    }
}

/// The values among the steps up to the context whose data word is `above`; not those whose parent was not seen.
fn links(steps: &[Step], above: Option<u64>) -> impl Iterator<Item = (ValueLink, &Step)> {
    let parents = steps.iter().skip(1).map(|step| Some(step.data));
    let all = steps.iter().zip(parents.chain([above]));
    all.filter(|(step, _)| step.holds_value())
        .filter_map(|(step, parent)| {
            let link = ValueLink {
                itab: step.itab,
                data: step.data,
                parent: parent?,
            };
            Some((link, step))
        })
}

fn keep(steps: &mut [Step], above: Option<u64>, value: ValueLink, key: &Arc<ValueKey>) {
    if links(steps, above).any(|(link, _)| link == value) {
        // One chain has an address but once.
        let same = steps.iter_mut().filter(|step| step.data == value.data);
        for step in same {
            step.key = Some(Arc::clone(key));
        }
    }
}
