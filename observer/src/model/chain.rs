//! From raw links to what is proved about a chain.

use observer_common::event::Link;

use super::On;
use super::code::ContextKind;
use super::context::{Cut, Root, Step};
use super::ids::CtxId;

/// What a chain came to.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    /// Nearest context that the model knows.
    pub(super) ctx: Option<CtxId>,
    /// What lies before it, or before the end of the walk.
    pub(super) steps: Vec<Step>,
    /// Where the chain ends.
    pub(super) root: Root,
}

impl On<'_> {
    /// Walks the links as far as their types can be trusted.
    pub(super) fn resolve(&mut self, links: &[Link]) -> Resolved {
        let mut steps = Vec::new();
        let mut cut = false;
        for link in links {
            let kind = self.kind(*link);
            if kind.is_node()
                && let Some(id) = self.process.contexts.get(&link.data)
                && let Some(ctx) = self.model.contexts.get(*id)
            {
                let root = if cut {
                    without(&ctx.root)
                } else {
                    ctx.root.clone()
                };
                return Resolved {
                    ctx: Some(*id),
                    steps,
                    root,
                };
            }
            steps.push(Step {
                itab: link.itab,
                data: link.data,
                type_name: self.code.type_of(self.pid, link.itab),
                key: None,
            });
            match kind {
                ContextKind::Through => {}
                ContextKind::Without => cut = true,
                ContextKind::Empty if cut => {
                    return ended(steps, Root::Detached(Cut::Without(None)));
                }
                ContextKind::Empty => return ended(steps, Root::Detached(Cut::Empty)),
                // A cancelable context from before observing may be a request's own.
                ContextKind::Cancel | ContextKind::Timer | ContextKind::AfterFunc if cut => {
                    return ended(steps, Root::Detached(Cut::Without(None)));
                }
                ContextKind::Opaque if cut => {
                    return ended(steps, Root::Detached(Cut::Without(None)));
                }
                ContextKind::Cancel
                | ContextKind::Timer
                | ContextKind::AfterFunc
                | ContextKind::Opaque => return ended(steps, Root::Unknown),
            }
        }
        let root = if cut {
            Root::Detached(Cut::Without(None))
        } else {
            Root::Unknown
        };
        ended(steps, root)
    }

    /// The type of one link.
    pub(super) fn kind(&mut self, link: Link) -> ContextKind {
        self.process.seen.kind(self.code, self.pid, link.itab)
    }
}

fn ended(steps: Vec<Step>, root: Root) -> Resolved {
    Resolved {
        ctx: None,
        steps,
        root,
    }
}

/// A root seen through `WithoutCancel`.
fn without(root: &Root) -> Root {
    match root {
        Root::Request(request) => Root::Detached(Cut::Without(Some(*request))),
        Root::Detached(cut) => Root::Detached(cut.clone()),
        Root::Unknown => Root::Detached(Cut::Without(None)),
    }
}

/// Links that a record holds.
pub(super) fn links<const N: usize>(all: &[Link; N], count: u32) -> &[Link] {
    let count = usize::try_from(count).unwrap_or(0).min(N);
    all.get(..count).unwrap_or(&[])
}
