//! Under which keys the contexts of a suspicious request hold values: what its chains are shown with.

use crate::model::ReqId;

use super::ask::{Answer, Question};
use super::context::Context;
use super::timers::Topic;

/// Asks for keys that are not known yet, while the request runs: its values are where they were seen.
pub(super) fn ask(id: ReqId, cx: &mut Context<'_>) {
    let request = cx.model.request(id);
    let Some(request) = request.filter(|request| request.ended.is_none()) else {
        return;
    };
    let pid = request.pid;
    let values = cx.model.unread_values(id);
    if !values.is_empty() {
        cx.ask(pid, Topic::Keys(id), Question::Keys { values });
    }
}

/// What memory says of them.
pub(super) fn answer(id: ReqId, answer: &Answer, cx: &mut Context<'_>) {
    if let Answer::Keys(known) = answer {
        for (value, key) in known {
            cx.model.set_key(id, *value, key);
        }
    }
}
