//! Several guilty requests at once: each is found, and none of which an event was lost.

use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::Index;

use super::{CANCEL_CTX, CANCEL_FUNC, ROUND_TRIP, SERVE, TIMER_CTX};
use crate::finding::Emission;
use crate::testkit::{
    Created, FakeCode, MS, ReadError, Record, Scene, call, cancel, cancelled_again, cascade,
    conn_error, created_short, deadline, request, request_end,
};

/// What a request does wrong.
#[derive(Debug, Clone, Copy)]
enum Guilt {
    /// Its handler works on after the client has left.
    Ignores,
    /// It calls on `Background`.
    Detaches,
    /// It forgets a CancelFunc.
    Forgets,
    /// It returns under a call of a goroutine of its own.
    Kills,
    /// It calls on its context from a goroutine that outlives it.
    Late,
    /// The server's read deadline hits it.
    Deadline,
}

/// Addresses and goroutines of one request, all its own.
struct Own {
    serving: u64,
    base: u64,
    place: String,
}

impl Own {
    fn new(number: u64) -> Self {
        Self {
            serving: 100 * (number + 1),
            base: 0x1_0000 * (number + 1),
            place: format!("example.com/shop/api.H{number}:{}", number + 1),
        }
    }

    fn conn_ends(&self, code: &FakeCode, at_ms: u64, error: ReadError) -> Vec<(u64, Record)> {
        let reader = self.serving + 2;
        let stack = [CANCEL_FUNC, "net/http.(*connReader).handleReadErrorLocked"];
        vec![
            (at_ms, conn_error(code, reader, error)),
            (at_ms, cancel(code, reader, self.base + 0x800, &stack)),
            (at_ms, cascade(code, reader, self.base)),
        ]
    }

    fn calls(&self, code: &FakeCode, goid: u64, chain: &[(&str, u64)]) -> Record {
        let parent = if goid == self.serving {
            0
        } else {
            self.serving
        };
        let stack = [ROUND_TRIP, &self.place, SERVE];
        call(code, (goid, parent), self.base + 0x900, chain, &stack)
    }

    /// The request's life; times from its start, ms.
    fn events(&self, code: &FakeCode, guilt: Guilt) -> Vec<(u64, Record)> {
        let (root, worker) = ((CANCEL_CTX, self.base), self.serving + 1);
        let (child, inner) = (self.base + 0x100, self.base + 0x200);
        let mut life = vec![(0, request(code, self.serving, self.base, "GET /a"))];
        let mut end_ms = 100;
        match guilt {
            Guilt::Ignores => {
                end_ms = 2_000;
                life.extend(self.conn_ends(code, 50, ReadError::Text("EOF")));
            }
            Guilt::Detaches => {
                let background = [("context.backgroundCtx", 8)];
                life.push((20, self.calls(code, self.serving, &background)));
            }
            Guilt::Forgets => {
                let made = Created {
                    goid: self.serving,
                    child: (TIMER_CTX, child),
                    chain: &[root],
                    stack: &["context.WithTimeout", &self.place, SERVE],
                    deadline: deadline(MS, 5_000_000_000, true),
                    ..Created::default()
                };
                life.push((20, made.record(code)));
            }
            Guilt::Kills => {
                life.push((20, self.calls(code, worker, &[root])));
                life.push((20, created_short(code, worker, inner, root)));
            }
            Guilt::Late => {}
            Guilt::Deadline => {
                let error = ReadError::Op("internal/poll.DeadlineExceededError");
                life.extend(self.conn_ends(code, 50, error));
            }
        }
        life.push((end_ms, request_end(code, self.base)));
        match guilt {
            Guilt::Forgets => life.push((end_ms, cascade(code, self.serving, child))),
            Guilt::Kills => {
                let gives_up = ["context.WithCancelCause.func1", ROUND_TRIP];
                life.push((end_ms, cascade(code, self.serving, inner)));
                let again = cancelled_again(code, worker, inner, gives_up);
                life.push((end_ms + 1, again));
            }
            Guilt::Late => life.push((end_ms + 50, self.calls(code, worker, &[root]))),
            Guilt::Ignores | Guilt::Detaches | Guilt::Deadline => {}
        }
        life
    }
}

/// A time, ms, and the serving goroutine of a request.
type At = (u64, u64);

/// Runs all requests; the event that `lost` names is lost. Gives who was accused, and whose the
/// lost event was.
fn run(all: &[(Guilt, u64)], lost: Option<Index>) -> (Vec<At>, Option<At>) {
    let mut scene = Scene::new();
    let mut events = Vec::new();
    for (number, (guilt, start_ms)) in (0..).zip(all) {
        let own = Own::new(number);
        scene.waits(own.serving, &["runtime.chanrecv1", &own.place, SERVE]);
        let life = own.events(&scene.code, *guilt);
        events.extend(
            life.into_iter()
                .map(|(at_ms, event)| (start_ms + at_ms, own.serving, event)),
        );
    }
    events.sort_by_key(|(at_ms, ..)| *at_ms);
    let lost = lost.map(|lost| lost.index(events.len()));
    for (number, (at_ms, _, event)) in events.iter().enumerate() {
        if lost == Some(number) {
            scene.until(*at_ms);
            scene.engine.loss();
        } else {
            scene.take(*at_ms, event);
        }
    }
    scene.until(10_000);
    let accused = scene.shown.iter().filter_map(|(at_ms, emission)| {
        let (Emission::Finding(finding) | Emission::Update(finding, _)) = emission;
        finding
            .request
            .as_ref()
            .map(|request| (*at_ms, request.goid))
    });
    let lost = lost.map(|lost| (events[lost].0, events[lost].1));
    (accused.collect(), lost)
}

fn requests() -> impl Strategy<Value = Vec<(Guilt, u64)>> {
    let guilt = (0..6usize).prop_map(|number| {
        [
            Guilt::Ignores,
            Guilt::Detaches,
            Guilt::Forgets,
            Guilt::Kills,
            Guilt::Late,
            Guilt::Deadline,
        ][number]
    });
    proptest::collection::vec((guilt, 0..1_000u64), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_guilty_request_is_found(all in requests()) {
        let (accused, _) = run(&all, None);
        for (number, (guilt, _)) in (0..).zip(&all) {
            let goid = Own::new(number).serving;
            prop_assert!(accused.iter().any(|(_, of)| *of == goid), "{:?}", guilt);
        }
        prop_assert_eq!(run(&all, None).0, accused);
    }

    #[test]
    fn a_request_that_lost_an_event_is_not_accused(all in requests(), lost in any::<Index>()) {
        let (accused, lost) = run(&all, Some(lost));
        let (lost_ms, goid) = lost.unwrap();
        for (at_ms, of) in accused {
            prop_assert!(of != goid || at_ms <= lost_ms, "{} at {} ms", of, at_ms);
        }
    }
}
