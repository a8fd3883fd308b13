//! The same logic on memory recorded from live programs: requests with 0 to 30 headers.
//!
//! `tests/tests/live_inspect/probes.rs` makes the images.

use observer_common::event::{REQUEST_BIG_MAP, RequestStarted};
use observer_common::layout::{HeaderName, Layout, READ_IDS};
use observer_common::probe::request::started;
use observer_common::regs::RegisterSet;

use super::memory::{Memory, record};

const IMAGES: [&str; 3] = [
    include_str!("images/go1.21.13.txt"),
    include_str!("images/go1.24.11.txt"),
    include_str!("images/go1.27.3.txt"),
];

struct Image {
    memory: Memory,
    layout: Layout,
    g: u64,
    swiss: bool,
    /// Number of headers, address of the request, address of its context.
    requests: Vec<[u64; 3]>,
}

fn numbers<const N: usize>(text: &str) -> [u64; N] {
    let all: Vec<u64> = text.split(' ').map(|word| word.parse().unwrap()).collect();
    all.try_into().unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn image(text: &str) -> Image {
    let mut image = Image {
        memory: Memory::default(),
        layout: Layout::EMPTY,
        g: 0,
        swiss: false,
        requests: Vec::new(),
    };
    let narrow = |number: u64| u32::try_from(number).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (what, rest) = line.split_once(' ').unwrap();
        match what {
            "go" => {}
            "g" => {
                let [g, goid] = numbers(rest);
                (image.g, image.layout.g_goid) = (g, narrow(goid));
            }
            "request" => {
                let [ctx, uri, header] = numbers(rest).map(narrow);
                image.layout.req_ctx = ctx;
                image.layout.req_uri = uri;
                image.layout.req_header = header;
            }
            "swiss" => image.swiss = rest == "true",
            "headers" => image.requests.push(numbers(rest)),
            "memory" => {
                let (addr, hex) = rest.split_once(' ').unwrap();
                let addr = u64::from_str_radix(addr.trim_start_matches("0x"), 16).unwrap();
                image.memory.bytes(addr, &bytes(hex));
            }
            other => panic!("{other}"),
        }
    }
    image
}

fn start(image: &Image, request: u64, name: &str) -> RequestStarted {
    let mut layout = image.layout;
    layout.flags = READ_IDS;
    layout.headers[0] = HeaderName::new(name).unwrap();
    layout.headers[3] = HeaderName::new("Traceparent").unwrap();
    layout.header_lens = 1 << name.len() | 1 << 11;
    let regs = RegisterSet {
        args: [0, 0, 0, request, 0, 0, 0, 0, 0],
        g: image.g,
        ..RegisterSet::default()
    };
    let mut event: RequestStarted = record();
    let read = if image.swiss {
        started::<true, _, _>(&image.memory, &layout, &regs, &mut event)
    } else {
        started::<false, _, _>(&image.memory, &layout, &regs, &mut event)
    };
    read.unwrap();
    event
}

#[test]
fn every_header_of_a_live_map_is_found() {
    for text in IMAGES {
        let image = image(text);
        assert_eq!(image.requests.len(), 6);
        for [headers, request, ctx] in &image.requests {
            for number in 0..=*headers {
                let event = start(&image, *request, &format!("X-Number-{number}"));
                assert_eq!(event.ctx.data, *ctx);
                assert_eq!(&event.line[..event.method_len as usize], b"GET");
                assert_eq!(event.flags & REQUEST_BIG_MAP, 0, "{headers} {number}");
                let expected = if number < *headers {
                    format!("value {number}")
                } else {
                    String::new()
                };
                let id = &event.id[..event.id_len as usize];
                assert_eq!(id, expected.as_bytes(), "{headers} {number}");
            }
        }
    }
}
