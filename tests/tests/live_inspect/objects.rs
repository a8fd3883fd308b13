//! Requests, connections, contexts and errors, read from outside.

use observer::go::TypeName;
use observer::inspect::{
    ChainEnd, ConnOffsets, ContextOffsets, ErrorKind, ErrorOffsets, LocalOffsets, RequestOffsets,
    RequestReading, TypeNames as _, children, error_kind, inspect_cancel, inspect_conn,
    inspect_request, local_address, walk_chain,
};

use super::target::{Target, hex, variants};

#[test]
fn errors_are_told_apart() {
    for variant in variants() {
        let target = Target::start(variant);
        let offsets = ErrorOffsets::of(&target.layout).unwrap();
        let facts = target.facts_of("ERROR");
        assert_eq!(facts.len(), 10);
        for fact in facts {
            let words = (hex(&fact[1]), hex(&fact[2]));
            let kind = error_kind(&target.process.memory, &offsets, &target.types(), words);
            let expected = match fact[0].as_str() {
                "eof" => Some(ErrorKind::Eof),
                "connection-reset" => Some(ErrorKind::ConnectionReset),
                "broken-pipe" => Some(ErrorKind::BrokenPipe),
                "errno" => Some(ErrorKind::Errno(28)),
                "io-deadline" => Some(ErrorKind::IoDeadline),
                "net-closing" => Some(ErrorKind::NetClosing),
                "canceled" => Some(ErrorKind::Canceled),
                "deadline-exceeded" => Some(ErrorKind::DeadlineExceeded),
                "other" => Some(ErrorKind::Other(TypeName {
                    package: "errors".into(),
                    name: "errorString".into(),
                    pointer: true,
                })),
                _ => None,
            };
            assert_eq!(kind.unwrap(), expected, "{variant:?} {fact:?}");
        }
    }
}

#[test]
fn requests_are_read_with_every_header() {
    for variant in variants() {
        let target = Target::start(variant);
        let memory = &target.process.memory;
        let offsets = RequestOffsets::of(&target.layout, target.map_kind()).unwrap();
        for fact in target.facts_of("REQUEST") {
            let (headers, at, ctx) = (hex_free(&fact[0]), hex(&fact[1]), hex(&fact[2]));
            let names: Vec<_> = (0..=headers).map(|n| format!("X-Number-{n}")).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let reading = inspect_request(memory, &offsets, at, ctx, &names);
            let RequestReading::Is(details) = reading else {
                panic!("{variant:?} {fact:?}: {reading:?}");
            };
            assert_eq!(details.peer.as_deref(), Some("10.0.3.9:51322"));
            assert_eq!(details.proto.as_deref(), Some("HTTP/1.1"));
            assert_eq!(details.host.as_deref(), Some("shop.example"));
            let pattern = offsets.pattern.map(|_| "");
            assert_eq!(details.pattern.as_deref(), pattern, "{variant:?}");
            assert!(details.headers_whole);
            for (n, value) in details.headers.iter().enumerate() {
                let expected = (n < headers).then(|| format!("value {n}"));
                assert_eq!(
                    value.as_deref(),
                    expected.as_deref(),
                    "{variant:?} {fact:?}"
                );
            }
            let other = inspect_request(memory, &offsets, at, ctx + 8, &names);
            assert_eq!(other, RequestReading::Reused);
        }
        let nowhere = inspect_request(memory, &offsets, 8, 8, &[]);
        assert_eq!(nowhere, RequestReading::Unreadable);
    }
}

fn hex_free(text: &str) -> usize {
    text.parse().unwrap()
}

#[test]
fn connections_know_their_end() {
    for variant in variants() {
        let target = Target::start(variant);
        let offsets = ConnOffsets::of(&target.layout).unwrap();
        let memory = &target.process.memory;
        let minor = target.image.go_version().minor;
        let contexts = ContextOffsets::of(&target.layout, minor, target.map_kind()).unwrap();
        let local = LocalOffsets::of(&target.layout).unwrap();
        let facts = target.facts_of("CONN");
        assert_eq!(facts.len(), 5, "{variant:?}");
        for fact in facts {
            let ends = (hex(&fact[1]), hex(&fact[2]));
            let state = inspect_conn(memory, &offsets, &target.types(), ends).unwrap();
            let kind = &*fact[0];
            assert_eq!(state.hijacked, kind == "hijacked", "{variant:?}");
            let server = state.server.unwrap();
            let seconds = [
                server.read_ns,
                server.read_header_ns,
                server.write_ns,
                server.idle_ns,
            ]
            .map(|ns| ns / 1_000_000_000);
            assert_eq!(seconds, [31, 32, 33, 34], "{variant:?}");
            let failed = matches!(
                state.write_error,
                Some(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
            );
            assert_eq!(failed, kind == "gone", "{variant:?} {state:?}");
            assert_eq!(state.peer.as_deref(), Some(&*fact[5]), "{variant:?}");
            let reading = state.reading.unwrap();
            let seen = (reading.in_read, reading.has_byte, reading.body_ended);
            let expected = match kind {
                "unread" => (false, false, Some(false)),
                "pipelined" => (false, true, Some(true)),
                "watched" => (true, false, Some(true)),
                // Whether the reading has ended depends on who was faster.
                _ => seen,
            };
            assert_eq!(seen, expected, "{variant:?} {kind}");
            let ctx = (hex(&fact[3]), hex(&fact[4]));
            let own = local_address(memory, (&contexts, &local), &target.types(), ctx);
            assert_eq!(
                own.map(|own| own.port().to_string()).as_deref(),
                Some(&*fact[6])
            );
        }
    }
}

#[test]
fn contexts_are_walked_and_asked() {
    for variant in variants() {
        let target = Target::start(variant);
        let memory = &target.process.memory;
        let types = target.types();
        let minor = target.image.go_version().minor;
        let offsets = ContextOffsets::of(&target.layout, minor, target.map_kind()).unwrap();
        let errors = ErrorOffsets::of(&target.layout).unwrap();
        let find = |name: &str| {
            let facts = target.facts_of("CONTEXT");
            let fact = facts.iter().find(|fact| fact[0] == name).unwrap();
            (hex(&fact[1]), hex(&fact[2]))
        };
        let chain = |name| walk_chain(memory, &offsets, &types, &|_| None, find(name));
        let names = |name| -> Vec<String> {
            let links = chain(name).links;
            let name_of =
                |link: &observer::inspect::Link| link.type_name.as_ref().unwrap().to_string();
            links.iter().map(name_of).collect()
        };
        let root_type = if minor >= 21 {
            "context.backgroundCtx"
        } else {
            "*context.emptyCtx"
        };
        assert_eq!(
            names("leaf"),
            [
                "*context.cancelCtx",
                "*context.timerCtx",
                "*context.valueCtx",
                "*context.cancelCtx",
                root_type
            ],
            "{variant:?}"
        );
        assert_eq!(chain("leaf").end, ChainEnd::Root);
        assert_eq!(names("opaque"), ["*context.cancelCtx", "main.custom"]);
        assert_eq!(chain("opaque").end, ChainEnd::OpaqueType);

        let state = |name| {
            let (itab, data) = find(name);
            let type_name = types.of_itab(itab).unwrap();
            inspect_cancel(memory, &offsets, &errors, &types, &type_name, data)
                .unwrap()
                .unwrap()
        };
        assert_eq!(state("leaf").err, None, "{variant:?}");
        assert_eq!(
            state("leaf").done,
            Some(hex(&target.facts_of("DONE")[0][1]))
        );
        assert_eq!(state("dead").err, Some(ErrorKind::Canceled), "{variant:?}");
        assert_eq!(
            state("late").err,
            Some(ErrorKind::DeadlineExceeded),
            "{variant:?}"
        );

        let below = |name| {
            let (itab, data) = find(name);
            let type_name = types.of_itab(itab).unwrap();
            children(memory, &offsets, &type_name, data)
                .unwrap()
                .unwrap()
        };
        assert_eq!(below("timed").data, [find("leaf").1], "{variant:?}");
        assert!(below("root").data.contains(&find("timed").1), "{variant:?}");
        assert!(below("leaf").data.is_empty());
        let wide = below("wide");
        assert!(wide.whole);
        assert_eq!(wide.data.len(), 100, "{variant:?}");
    }
}
