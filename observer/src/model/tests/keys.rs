//! Keys of values: each is asked for until it is known, and belongs to the value that was seen.

use std::sync::Arc;

use super::{CANCEL_CTX, CHILD, ROOT, SERVING, get};
use crate::go::TypeName;
use crate::inspect::{ValueKey, ValueLink};
use crate::testkit::{Created, ModelScene};

const VALUE: &str = "context.valueCtx";

#[test]
fn a_key_is_kept_for_the_value_that_was_seen_and_for_no_other() {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    let made = Created {
        goid: SERVING,
        child: (CANCEL_CTX, CHILD),
        chain: &[(VALUE, 0x7000), (VALUE, 0x7100), (CANCEL_CTX, ROOT)],
        stack: &["context.WithCancel", "example.com/shop/api.Get:42"],
        ..Created::default()
    };
    scene.take(2, &made.record(&scene.code));
    let id = scene.model.running().next().unwrap().id;
    let link = |data, parent| ValueLink {
        itab: scene.code.itab(VALUE),
        data,
        parent,
    };
    let (first, second) = (link(0x7000, 0x7100), link(0x7100, ROOT));
    let another = link(0x7000, ROOT);
    assert_eq!(scene.model.unread_values(id), [first, second]);
    let key = Arc::new(ValueKey {
        type_name: TypeName {
            package: "main".into(),
            name: "key".into(),
            pointer: false,
        },
        made: Vec::new(),
    });
    // Another value, which had its place before it.
    scene.model.set_key(id, another, &key);
    assert_eq!(scene.model.unread_values(id), [first, second]);
    scene.model.set_key(id, second, &key);
    assert_eq!(scene.model.unread_values(id), [first]);
}
