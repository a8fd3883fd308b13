//! Contexts: where their chains end, whose they are, what time they have.

use super::super::{Ctx, CtxId, Cut, Fact, Root};
use super::{CANCEL_CTX, CHILD, ROOT, SERVER, SERVING, TIMER_CTX, WORKER, get};
use crate::testkit::{Created, MS, ModelScene, created_short, deadline, request_end};

const USER: &str = "example.com/shop/api.Get:42";

fn make(scene: &mut ModelScene, at_ms: u64, made: &Created<'_>) -> CtxId {
    let record = made.record(&scene.code);
    let facts = scene.take(at_ms, &record);
    match facts[..] {
        [Fact::ContextCreated(ctx)] => ctx,
        _ => panic!("{facts:?}"),
    }
}

fn of(scene: &ModelScene, id: CtxId) -> &Ctx {
    scene.model.context(id).unwrap()
}

/// A running request, and a context made on `goid` with this chain.
fn made(goid: u64, chain: &[(&str, u64)]) -> (ModelScene, CtxId) {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    let made = Created {
        goid,
        parent_goid: if goid == WORKER { SERVING } else { 0 },
        child: (CANCEL_CTX, CHILD),
        chain,
        stack: &["context.WithCancel", USER],
        ..Created::default()
    };
    let id = make(&mut scene, 2, &made);
    (scene, id)
}

fn root_request(scene: &ModelScene) -> Root {
    Root::Request(scene.model.running().next().unwrap().id)
}

#[test]
fn descent_is_proved_through_values() {
    let chain = [
        ("context.valueCtx", 0x7000),
        ("context.valueCtx", 0x7010),
        (CANCEL_CTX, ROOT),
    ];
    let (scene, id) = made(SERVING, &chain);
    let ctx = of(&scene, id);
    assert_eq!(ctx.root, root_request(&scene));
    assert_eq!(ctx.steps.len(), 2);
    let parent = of(&scene, ctx.parent.unwrap());
    assert!(parent.is_root);
    assert_eq!(parent.ptr, ROOT);
    assert_eq!((ctx.goid, ctx.created_ns), (SERVING, 2 * MS));
    assert_eq!(&ctx.pcs[..], scene.code.pcs(&["context.WithCancel", USER]));
    let request = scene.model.running().next().unwrap();
    assert_eq!(*request.contexts, [id]);
}

#[test]
fn background_and_todo_are_proved_to_be_detached() {
    for empty in [
        "context.backgroundCtx",
        "context.todoCtx",
        "context.emptyCtx",
    ] {
        let (scene, id) = made(SERVING, &[("context.valueCtx", 0x7000), (empty, 8)]);
        let ctx = of(&scene, id);
        assert_eq!(ctx.root, Root::Detached(Cut::Empty), "{empty}");
        assert_eq!(ctx.parent, None);
        // It is still made for the request: by its goroutine.
        assert!(ctx.owner.is_some());
    }
}

#[test]
fn without_cancel_cuts_and_remembers_the_request_beyond() {
    let chain = [("context.withoutCancelCtx", 0x7000), (CANCEL_CTX, ROOT)];
    let (scene, id) = made(SERVING, &chain);
    let request = scene.model.running().next().unwrap().id;
    assert_eq!(
        of(&scene, id).root,
        Root::Detached(Cut::Without(Some(request)))
    );
    // A child of it is as detached as it is.
    let (mut scene, _) = made(SERVING, &chain);
    let below = Created {
        goid: SERVING,
        child: (CANCEL_CTX, CHILD + 0x100),
        chain: &[(CANCEL_CTX, CHILD)],
        ..Created::default()
    };
    let below = make(&mut scene, 3, &below);
    assert!(matches!(
        of(&scene, below).root,
        Root::Detached(Cut::Without(Some(_)))
    ));
    // Beyond the cut nothing needs to be known.
    for beyond in [
        (CANCEL_CTX, 0xdead),
        ("main.custom", 0x7100),
        ("context.backgroundCtx", 8),
    ] {
        let (scene, id) = made(SERVING, &[("context.withoutCancelCtx", 0x7000), beyond]);
        assert_eq!(
            of(&scene, id).root,
            Root::Detached(Cut::Without(None)),
            "{beyond:?}"
        );
    }
}

#[test]
fn other_types_end_the_walk_as_unknown() {
    // Behind gin's context lies a ResponseWriter, not a parent.
    for other in ["github.com/gin-gonic/gin.Context", "main.myCtx"] {
        let (scene, id) = made(SERVING, &[(other, 0x7000), (CANCEL_CTX, ROOT)]);
        let ctx = of(&scene, id);
        assert_eq!(ctx.root, Root::Unknown, "{other}");
        assert_eq!(ctx.steps.len(), 1);
        assert!(ctx.owner.is_some(), "by goroutine");
    }
    // So does a type that could not be read, and a chain that was cut.
    let (scene, id) = made(SERVING, &[("nothing", 0x7000), (CANCEL_CTX, ROOT)]);
    assert_eq!(of(&scene, id).root, Root::Unknown);
    let (scene, id) = made(SERVING, &[("context.valueCtx", 0x7000)]);
    assert_eq!(of(&scene, id).root, Root::Unknown);
}

#[test]
fn a_context_from_before_observing_is_unknown() {
    for kind in [CANCEL_CTX, TIMER_CTX, "context.afterFuncCtx"] {
        let (scene, id) = made(SERVING, &[(kind, 0x6000)]);
        assert_eq!(of(&scene, id).root, Root::Unknown, "{kind}");
    }
}

#[test]
fn an_address_means_its_youngest_context() {
    let (mut scene, old) = made(SERVING, &[("context.backgroundCtx", 8)]);
    let again = Created {
        goid: SERVING,
        child: (CANCEL_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        ..Created::default()
    };
    let young = make(&mut scene, 3, &again);
    let below = Created {
        goid: SERVING,
        child: (CANCEL_CTX, 0x2200),
        chain: &[(CANCEL_CTX, CHILD)],
        ..Created::default()
    };
    let below = make(&mut scene, 4, &below);
    assert_eq!(of(&scene, below).parent, Some(young));
    assert_eq!(of(&scene, below).root, root_request(&scene));
    assert_eq!(of(&scene, old).root, Root::Detached(Cut::Empty));
}

#[test]
fn an_address_of_another_type_is_no_context_of_ours() {
    // The memory of a dead context now holds a value.
    let (mut scene, _) = made(SERVING, &[(CANCEL_CTX, ROOT)]);
    let below = Created {
        goid: SERVING,
        child: (CANCEL_CTX, 0x2200),
        chain: &[("context.valueCtx", CHILD), ("context.backgroundCtx", 8)],
        ..Created::default()
    };
    let below = make(&mut scene, 3, &below);
    assert_eq!(of(&scene, below).root, Root::Detached(Cut::Empty));
}

#[test]
fn a_goroutine_belongs_to_the_request_it_was_started_for() {
    let (mut scene, id) = made(WORKER, &[("context.backgroundCtx", 8)]);
    let request = scene.model.running().next().unwrap().id;
    assert_eq!(of(&scene, id).owner, Some(request));
    // Its own goroutines too, and still when the request has ended.
    scene.take(3, &request_end(&scene.code, ROOT));
    let grandchild = Created {
        goid: 30,
        parent_goid: WORKER,
        child: (CANCEL_CTX, 0x3000),
        chain: &[("context.backgroundCtx", 8)],
        ..Created::default()
    };
    let id = make(&mut scene, 4, &grandchild);
    assert_eq!(of(&scene, id).owner, Some(request));
    let stranger = Created {
        goid: 31,
        parent_goid: 999,
        child: (CANCEL_CTX, 0x3100),
        chain: &[("context.backgroundCtx", 8)],
        ..Created::default()
    };
    let id = make(&mut scene, 5, &stranger);
    assert_eq!(of(&scene, id).owner, None);
}

#[test]
fn time_left_comes_from_wall_time_with_and_without_monotonic_reading() {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    let cases = [
        (2_000_000_000, true),
        (2_000_000_000, false),
        (-5_000_000, true),
    ];
    for (number, (left_ns, monotonic)) in (0..).zip(cases) {
        let now_ms = 10 + number;
        let timer = Created {
            goid: SERVING,
            child: (TIMER_CTX, CHILD + 0x100 * number),
            chain: &[(CANCEL_CTX, ROOT)],
            deadline: deadline(now_ms * MS, left_ns, monotonic),
            ..Created::default()
        };
        let id = make(&mut scene, now_ms, &timer);
        assert_eq!(of(&scene, id).deadline_ns, Some(left_ns), "{monotonic}");
    }
}

#[test]
fn words_that_are_no_time_give_no_deadline() {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    for (kind, words) in [
        (CANCEL_CTX, deadline(2 * MS, 1_000_000_000, true)),
        (TIMER_CTX, [0, u64::MAX / 2]),
        (TIMER_CTX, [0, 1 << 63]),
    ] {
        let odd = Created {
            goid: SERVING,
            child: (kind, CHILD),
            chain: &[(CANCEL_CTX, ROOT)],
            deadline: words,
            ..Created::default()
        };
        let id = make(&mut scene, 2, &odd);
        assert_eq!(of(&scene, id).deadline_ns, None, "{kind} {words:?}");
    }
}

#[test]
fn a_timer_of_go_1_20_is_known_by_both_addresses() {
    let inner = 0x2040;
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    let timer = Created {
        goid: SERVING,
        child: (TIMER_CTX, CHILD),
        indirect: inner,
        chain: &[(CANCEL_CTX, ROOT)],
        ..Created::default()
    };
    let id = make(&mut scene, 2, &timer);
    assert_eq!((of(&scene, id).ptr, of(&scene, id).data), (inner, CHILD));
    // Chains name the timer, cancels the cancelCtx inside.
    let below = Created {
        goid: SERVING,
        child: (CANCEL_CTX, 0x3000),
        chain: &[(TIMER_CTX, CHILD)],
        ..Created::default()
    };
    let below = make(&mut scene, 3, &below);
    assert_eq!(of(&scene, below).parent, Some(id));
    let by_user = ["context.WithDeadline.func3", USER, SERVER[0]];
    let cancel = crate::testkit::cancel(&scene.code, SERVING, inner, &by_user);
    assert_eq!(
        scene.take(4, &cancel),
        [Fact::ContextCancelled(id), Fact::CancelCalled(id)]
    );
}

#[test]
fn inside_a_timeout_handler_its_deadline_is_the_requests() {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    let stack = [
        "context.WithDeadlineCause",
        "context.WithTimeout|net/http.(*timeoutHandler).ServeHTTP:3",
        SERVER[0],
    ];
    let timer = Created {
        goid: SERVING,
        child: (TIMER_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        stack: &stack,
        deadline: deadline(2 * MS, 3_000_000_000, true),
        ..Created::default()
    };
    let id = make(&mut scene, 2, &timer);
    assert_eq!(scene.model.running().next().unwrap().timeout, Some(id));
    // Not so a timeout that the handler sets itself.
    let (scene, _) = made(SERVING, &[(CANCEL_CTX, ROOT)]);
    assert_eq!(scene.model.running().next().unwrap().timeout, None);
}

#[test]
fn the_transports_context_belongs_to_the_call() {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    let call = crate::testkit::call(&scene.code, (SERVING, 0), 1, &[(CANCEL_CTX, ROOT)], &[]);
    let facts = scene.take(2, &call);
    let [Fact::CallStarted(call)] = facts[..] else {
        panic!("{facts:?}");
    };
    let inner = created_short(&scene.code, SERVING, CHILD, (CANCEL_CTX, ROOT));
    assert_eq!(scene.take(3, &inner), []);
    let inner = scene.model.call(call).unwrap().inner.unwrap();
    let ctx = of(&scene, inner);
    assert!(ctx.internal);
    assert_eq!(ctx.root, root_request(&scene));
    assert!(of(&scene, ctx.parent.unwrap()).is_root);
}

#[test]
fn contexts_of_one_line_that_live_are_counted() {
    let (mut scene, id) = made(SERVING, &[(CANCEL_CTX, ROOT)]);
    for number in 1..4 {
        let twin = Created {
            goid: SERVING,
            child: (CANCEL_CTX, CHILD + 0x100 * number),
            chain: &[(CANCEL_CTX, ROOT)],
            stack: &["context.WithCancel", USER],
            ..Created::default()
        };
        make(&mut scene, 3, &twin);
    }
    assert_eq!(scene.model.alive_like(of(&scene, id)), 4);
    let cancel = crate::testkit::cancel(
        &scene.code,
        SERVING,
        CHILD,
        &["context.WithCancel.func1", USER],
    );
    scene.take(4, &cancel);
    assert_eq!(scene.model.alive_like(of(&scene, id)), 3);
}
