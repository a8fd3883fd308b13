//! Two observers of one host, each with its own process: no ID, one connection.

use super::across::{DAY_NS, Files, MS, call, host, request};
use crate::correlate::{CallFact, Joined, RequestFact, SeenOn};
use crate::finding::JoinedBy;

/// From 10 to 300 ms.
const CALL: (u64, u64) = (10 * MS, 300 * MS);
const SERVED: (u64, u64) = (11 * MS, 2_000 * MS);

fn on(port: u16, read: (u64, u64)) -> Option<SeenOn> {
    Some(SeenOn {
        client: ([127, 0, 0, 1], port).into(),
        server: ([127, 0, 0, 1], 8080).into(),
        netns: 7,
        from_ns: DAY_NS + read.0,
        until_ns: DAY_NS + read.1,
    })
}

/// A call that waited on this port's connection when it was read, from 15 to 20 ms.
fn waits(number: u64, port: u16) -> CallFact {
    let mut fact = call(number, "", "/item", CALL, true);
    fact.request = None;
    fact.seen_on = on(port, (15 * MS, 20 * MS));
    fact
}

/// A request that came over it, and was read at this time.
fn came(number: u64, port: u16, read_ns: u64) -> RequestFact {
    let mut fact = request(number, "", "/item", SERVED);
    fact.request.id = None;
    fact.request.id_source = None;
    fact.seen_on = on(port, (read_ns, read_ns + MS));
    fact
}

fn joined(calls: Vec<CallFact>, requests: Vec<RequestFact>) -> Joined {
    let one = host("one");
    let mut files = Files::default();
    for call in calls {
        files.call(&one, call);
    }
    for request in requests {
        files.request(&one, request, 0);
    }
    files.0.join()
}

#[test]
fn the_two_ends_of_one_connection_belong_together() {
    let calls = vec![waits(1, 5000), waits(2, 5001), waits(3, 5002)];
    let requests = vec![came(7, 5001, 50 * MS), came(8, 5000, 20 * MS)];
    let joined = joined(calls, requests);
    let pairs = joined.pairs.iter();
    let pairs = pairs.map(|pair| (pair.call.number, pair.request.request.number, pair.by));
    let by = JoinedBy::Sockets;
    assert_eq!(pairs.collect::<Vec<_>>(), [(1, 8, by), (2, 7, by)]);
    assert_eq!((joined.totals.joined, joined.totals.ambiguous), (2, 0));
}

type Spoil = fn(&mut CallFact, &mut RequestFact);

#[test]
fn what_does_not_prove_it_joins_nothing() {
    let good = || (waits(1, 5000), came(7, 5000, 50 * MS));
    let spoiled = |spoil: Spoil| {
        let (mut call, mut request) = good();
        spoil(&mut call, &mut request);
        joined(vec![call], vec![request]).pairs.len()
    };
    assert_eq!(spoiled(|_, _| {}), 1);
    let all: [(&str, Spoil); 7] = [
        ("the request was read first", |_, request| {
            request.seen_on = on(5000, (19 * MS, 21 * MS));
        }),
        ("it began after the call was read", |call, _| {
            call.seen_on = on(5000, (10 * MS, 11 * MS - 1));
        }),
        ("the call was over when it was read", |call, _| {
            call.call.duration_ns = Some(5 * MS);
        }),
        ("the request was over when it was read", |_, request| {
            request.request.duration_ns = Some(20 * MS);
        }),
        ("another path", |_, request| {
            request.request.path = Some("/price".into());
        }),
        ("another namespace", |_, request| {
            let on = request.seen_on.as_mut();
            on.unwrap().netns = 8;
        }),
        ("nobody has read the request", |_, request| {
            request.seen_on = None;
        }),
    ];
    for (why, spoil) in all {
        assert_eq!(spoiled(spoil), 0, "{why}");
    }
}

#[test]
fn what_fits_twice_joins_nothing() {
    let two_calls = joined(
        vec![waits(1, 5000), waits(2, 5000)],
        vec![came(7, 5000, 50 * MS)],
    );
    assert!(two_calls.pairs.is_empty(), "{two_calls:?}");
    let two_requests = joined(
        vec![waits(1, 5000)],
        vec![came(7, 5000, 50 * MS), came(8, 5000, 50 * MS)],
    );
    assert!(two_requests.pairs.is_empty(), "{two_requests:?}");
}

#[test]
fn addresses_of_another_host_mean_something_else() {
    let mut files = Files::default();
    files.call(&host("one"), waits(1, 5000));
    files.request(&host("other"), came(7, 5000, 50 * MS), 0);
    assert!(files.0.join().pairs.is_empty());
}

#[test]
fn an_id_counts_more_than_a_connection() {
    let mut named = call(2, "r-1", "/item", CALL, true);
    named.seen_on = None;
    let mut request = request(7, "r-1", "/item", SERVED);
    request.seen_on = on(5000, (50 * MS, 51 * MS));
    let joined = joined(vec![waits(1, 5000), named], vec![request]);
    let [pair] = &joined.pairs[..] else {
        panic!("{joined:?}");
    };
    assert_eq!((pair.call.number, pair.by), (2, JoinedBy::RequestId));
}
