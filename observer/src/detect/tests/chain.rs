//! Links of chains: what they are called, and which line made them.

use std::sync::Arc;

use super::{
    BACKGROUND, BUILD, CANCEL_CTX, CHILD, HANDLER, ROOT, SERVE, SERVING, calls, client_leaves,
    derived, site, start,
};
use crate::detect::Question;
use crate::finding::Finding;
use crate::go::{Frame, TypeName};
use crate::inspect::{ValueKey, ValueLink};
use crate::testkit::{Scene, call};

const VALUE: &str = "context.valueCtx";
const WITHOUT: &str = "context.withoutCancelCtx";

fn serving() -> Scene {
    let mut scene = Scene::new();
    scene.waits(SERVING, &["runtime.chanrecv1", BUILD, SERVE]);
    start(&mut scene, 0);
    scene
}

/// A key of this type, which these functions are the only ones to use, innermost first.
fn key(package: &str, name: &str, made: &[&str]) -> Arc<ValueKey> {
    let frame = |function: &&str| Frame {
        function: (*function).into(),
        file: "code.go".into(),
        line: 9,
    };
    Arc::new(ValueKey {
        type_name: TypeName {
            package: package.into(),
            name: name.into(),
            pointer: false,
        },
        made: made.iter().map(frame).collect(),
    })
}

fn links(finding: &Finding) -> Vec<(&str, Option<&str>)> {
    let links = finding.context.iter();
    links
        .map(|link| {
            let site = link.site.as_ref();
            (&*link.label, site.map(|site| &*site.function))
        })
        .collect()
}

#[test]
fn a_value_is_shown_with_its_key_and_with_the_line_that_alone_can_have_made_it() {
    let mut scene = serving();
    let own = "example.com/shop/api.WithUser";
    scene.keys = [
        (
            0x7000,
            key("example.com/shop/api", "userKey", &[own, HANDLER]),
        ),
        (
            0x7100,
            key("net/http", "contextKey", &["net/http.(*Server).Serve"]),
        ),
        (0x7200, key("", "string", &[])),
    ]
    .into();
    let chain = [
        (VALUE, 0x7000),
        (VALUE, 0x7100),
        (VALUE, 0x7200),
        (VALUE, 0x7300),
        (CANCEL_CTX, ROOT),
    ];
    let made = derived(&scene, 1, (SERVING, CHILD), &chain, HANDLER);
    scene.take(1, &made);
    client_leaves(&mut scene, 10);
    scene.until(600);
    let (_, finding) = scene.only();
    assert_eq!(
        links(finding),
        [
            ("WithTimeout", Some("example.com/shop/api.GetReport")),
            ("WithValue(api.userKey)", Some(own)),
            ("WithValue(http.contextKey)", None),
            ("WithValue(string)", None),
            ("WithValue", None),
            ("request", None),
        ]
    );
}

/// A helper that has returned has put a value on `Background`.
#[test]
fn who_made_the_value_on_background_is_to_blame_where_nobody_on_the_stack_passed_that() {
    let on_empty = |made: &str| {
        let mut scene = serving();
        scene.keys = [(0x7100, key("main", "key", &[made]))].into();
        let record = calls(&scene, SERVING, &[(VALUE, 0x7100), BACKGROUND], BUILD);
        scene.take(1, &record);
        scene
    };
    let function = |scene: &Scene| site(scene.only().1).0.to_owned();
    let own = "example.com/shop/api.audit";
    assert_eq!(function(&on_empty(own)), own);
    let direct = "example.com/shop/report.(*Builder).Build";
    assert_eq!(function(&on_empty("example.org/log.WithLogger")), direct);
    // In the same function it is the line of the value.
    assert_eq!(function(&on_empty(direct)), direct);
    assert_eq!(site(on_empty(direct).only().1).1, 9);
    // Who passes it on the stack comes first.
    let mut scene = serving();
    scene.keys = [(0x7100, key("main", "key", &[own]))].into();
    let (pc, itab) = (scene.code.pcs(&[BUILD])[0], scene.code.itab(BACKGROUND.0));
    scene.code.handed.insert((pc, itab), vec![BUILD.to_owned()]);
    let record = calls(&scene, SERVING, &[(VALUE, 0x7100), BACKGROUND], BUILD);
    scene.take(1, &record);
    assert_eq!(function(&scene), direct);
}

#[test]
fn a_key_is_asked_for_once_with_the_parent_that_its_value_was_seen_with() {
    let mut scene = serving();
    let known = key("main", "key", &[]);
    scene.keys = [(0x7100, known)].into();
    let chain = [(VALUE, 0x7100), BACKGROUND];
    for at_ms in [1, 2] {
        let record = calls(&scene, SERVING, &chain, BUILD);
        scene.take(at_ms, &record);
    }
    let asked: Vec<_> = scene
        .asked
        .iter()
        .filter_map(|ask| match &ask.question {
            Question::Keys { values } => Some(&values[..]),
            _ => None,
        })
        .collect();
    let value = ValueLink {
        itab: scene.code.itab(VALUE),
        data: 0x7100,
        parent: BACKGROUND.1,
    };
    // The second call is another chain.
    assert_eq!(asked, [[value], [value]]);
    // Where the walk ended before the parent, nothing could be checked.
    let mut scene = serving();
    let record = calls(
        &scene,
        SERVING,
        &[(WITHOUT, 0x7000), (VALUE, 0x7100)],
        BUILD,
    );
    scene.take(1, &record);
    let keys = |question: &Question| matches!(question, Question::Keys { .. });
    assert!(!scene.asked.iter().any(|ask| keys(&ask.question)));
}

/// Which function made the last cut of a call's chain, where these frames each made one for the next.
fn cut_made_by(cuts: usize, makers: &[&str]) -> Option<String> {
    const FETCH: &str = "example.com/shop/store.Fetch:12";
    const LIST: &str = "example.com/shop/api.List:20";
    let mut scene = serving();
    let itab = scene.code.itab(WITHOUT);
    let makers = [FETCH, LIST].into_iter().zip(makers);
    for (frame, place) in makers.filter(|(_, place)| !place.is_empty()) {
        let asked = (scene.code.pc(frame), itab);
        scene.code.made.insert(asked, (*place).to_owned());
    }
    let mut chain = vec![(WITHOUT, 0x7000), (WITHOUT, 0x7100)];
    chain.truncate(cuts);
    chain.push((CANCEL_CTX, ROOT));
    let stack = ["net/http.(*Client).Do", FETCH, LIST, SERVE];
    let record = call(&scene.code, (SERVING, 0), 0x9000, &chain, &stack);
    scene.take(5, &record);
    let (_, finding) = scene.only();
    let site = finding.context[cuts - 1].site.as_ref();
    site.map(|site| format!("{}:{}", site.function, site.line))
}

#[test]
fn who_calls_without_cancel_is_named_where_nobody_else_can_have() {
    let list = "context.WithoutCancel:590|example.com/shop/x.Detach:8|example.com/shop/api.List:17";
    let made = Some("example.com/shop/x.Detach:8".to_owned());
    assert_eq!(cut_made_by(1, &["", list]), made);
    // Nobody hands one on, two do, one of two links is theirs.
    assert_eq!(cut_made_by(1, &[]), None);
    let fetch = "context.WithoutCancel:590|example.com/shop/store.Fetch:11";
    assert_eq!(cut_made_by(1, &[fetch, list]), None);
    assert_eq!(cut_made_by(2, &["", list]), None);
}
