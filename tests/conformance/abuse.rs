//! Clients that abuse HTTP/2: their connection ends, memory stays bounded, and other clients are served meanwhile.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::frames::*;
use crate::recorder::Recorder;
use crate::weft::{ALL, Listener, Weft, bootstrap, own_address};

const PORT: u16 = 8001;
/// Few, so that what is over shows.
const STREAMS: usize = 20;

struct Mesh {
    address: SocketAddr,
    recorder: Recorder,
    weft: Weft,
}

impl Mesh {
    fn start() -> Self {
        let address: IpAddr = own_address();
        let recorder = Recorder::start(address);
        let manager = format!("http2_protocol_options: {{ max_concurrent_streams: {STREAMS} }}");
        let listener = Listener { name: "abuse", port: PORT, manager: &manager, routes: ALL };
        let weft = Weft::start(&bootstrap(address, &[listener], recorder.address, ""));
        Self { address: (address, PORT).into(), recorder, weft }
    }

    /// Runs an attack; meanwhile another client is served all along, and memory does not grow by 16 MB.
    fn attacked<T>(&self, attack: impl FnOnce(&mut Raw) -> T) -> (Raw, T) {
        self.serves();
        let before = self.weft.memory();
        let over = Arc::new(AtomicBool::new(false));
        let (address, told) = (self.address, Arc::clone(&over));
        let other = std::thread::spawn(move || {
            let mut served = 0;
            while !told.load(Ordering::Relaxed) {
                assert!(is_served(address), "another client is served");
                served += 1;
            }
            served
        });
        let mut raw = Raw::connect(self.address);
        let result = attack(&mut raw);
        over.store(true, Ordering::Relaxed);
        other.join().unwrap();
        self.serves();
        let grown = self.weft.peak_memory().saturating_sub(before);
        assert!(grown < 16 * 1024, "memory grew by {grown} kB");
        (raw, result)
    }

    fn serves(&self) {
        assert!(is_served(self.address));
    }
}

fn is_served(address: SocketAddr) -> bool {
    let mut raw = Raw::connect(address);
    raw.send(&frame(HEADERS, WHOLE, 1, &get("/other")));
    // 0x88 is `:status: 200` in the static table.
    raw.find(|frame| frame.kind == HEADERS).is_some_and(|answer| answer.payload.contains(&0x88))
}

/// The attacker's connection ends while these frames are repeated, so many times at most.
fn ends_under(name: &str, times: u32, frames: impl Fn(u32) -> Vec<u8>) {
    let mesh = Mesh::start();
    let (raw, ()) = mesh.attacked(|raw| {
        for n in 0..times {
            if !raw.send(&frames(n)) {
                break;
            }
        }
    });
    assert!(raw.ends(), "{name}: the attacker's connection goes on");
}

fn stream(n: u32) -> u32 {
    n * 2 + 1
}

const REPEAT: u32 = 100_000;

#[test]
fn cve_2023_44487_rapid_reset_ends_the_connection() {
    ends_under("rapid reset", REPEAT, |n| {
        [frame(HEADERS, WHOLE, stream(n), &get("/")), frame(RST_STREAM, 0, stream(n), &[0, 0, 0, 8])].concat()
    });
}

#[test]
fn cve_2025_8671_a_client_that_makes_us_reset_ends_its_connection() {
    // A window that is opened by nothing is an error of the stream: we reset it.
    ends_under("window of nothing", REPEAT, |n| {
        [frame(HEADERS, END_HEADERS, stream(n), &post(&[])), frame(WINDOW_UPDATE, 0, stream(n), &[0; 4])].concat()
    });
    // As is a window beyond its largest.
    ends_under("window overflow", REPEAT, |n| {
        let over = frame(WINDOW_UPDATE, 0, stream(n), &0x7fff_ffff_u32.to_be_bytes());
        [frame(HEADERS, END_HEADERS, stream(n), &post(&[])), over.clone(), over].concat()
    });
    // And a body after its end.
    ends_under("data after the end", REPEAT, |n| {
        [frame(HEADERS, WHOLE, stream(n), &get("/")), frame(DATA, 0, stream(n), b"x")].concat()
    });
}

#[test]
fn cve_2024_27316_endless_continuation_ends_the_connection() {
    let mesh = Mesh::start();
    let piece = fields(&[("x-more", &"x".repeat(1000))]);
    let (raw, ()) = mesh.attacked(|raw| {
        raw.send(&frame(HEADERS, END_STREAM, 1, &get("/")));
        for _ in 0..REPEAT {
            if !raw.send(&frame(CONTINUATION, 0, 1, &piece)) {
                break;
            }
        }
    });
    assert!(raw.ends());
}

#[test]
fn cve_2019_9512_a_ping_flood_ends_the_connection() {
    ends_under("PING", REPEAT, |_| frame(PING, 0, 0, b"12345678"));
}

#[test]
fn cve_2019_9515_a_settings_flood_ends_the_connection() {
    ends_under("empty SETTINGS", REPEAT, |_| frame(SETTINGS, 0, 0, &[]));
    // Churn of the header table's size.
    ends_under("SETTINGS", REPEAT, |n| {
        let size = if n % 2 == 0 { 0_u32 } else { 65_536 };
        frame(SETTINGS, 0, 0, &[&[0, 1][..], &size.to_be_bytes()].concat())
    });
}

#[test]
fn cve_2019_9513_a_priority_flood_ends_the_connection() {
    ends_under("PRIORITY", REPEAT, |n| {
        frame(PRIORITY, 0, 1, &[&(stream(n % 1000) + 2).to_be_bytes()[..], &[16]].concat())
    });
}

#[test]
fn cve_2019_9514_requests_that_we_must_reset_end_the_connection() {
    ends_under("malformed requests", REPEAT, |n| {
        frame(HEADERS, WHOLE, stream(n), &fields(&[(":method", "GET"), ("UPPER", "case")]))
    });
}

#[test]
fn cve_2019_9518_empty_frames_end_the_connection() {
    for (name, kind, flags) in [("DATA", DATA, 0), ("padded DATA", DATA, PADDED)] {
        let payload: &[u8] = if flags == PADDED { &[0] } else { &[] };
        ends_under(name, REPEAT, |n| match n {
            0 => frame(HEADERS, END_HEADERS, 1, &post(&[])),
            _ => frame(kind, flags, 1, payload),
        });
    }
    ends_under("CONTINUATION", REPEAT, |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &get("/")),
        _ => frame(CONTINUATION, 0, 1, &[]),
    });
    ends_under("HEADERS", REPEAT, |n| frame(HEADERS, END_HEADERS, stream(n), &[]));
}

#[test]
fn cve_2019_9511_a_window_update_flood_ends_the_connection() {
    ends_under("WINDOW_UPDATE", REPEAT, |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()));
}

#[test]
fn cve_2019_9516_headers_without_a_name_are_refused() {
    ends_under("nameless headers", REPEAT, |n| {
        frame(HEADERS, WHOLE, stream(n), &[get("/"), fields(&[("", ""); 50])].concat())
    });
}

#[test]
fn cve_2019_9517_answers_that_nobody_reads_are_held_in_bounds() {
    let mesh = Mesh::start();
    let body = vec![b'x'; 32 * 1024 * 1024];
    mesh.recorder
        .always([format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat());
    let before = mesh.weft.memory();
    // The window is wide open, and the socket is never read.
    let mut raw = Raw::unread(mesh.address);
    raw.send(&frame(SETTINGS, 0, 0, &[&[0, 4][..], &0x7fff_ffff_u32.to_be_bytes()].concat()));
    raw.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()));
    for n in 0..STREAMS as u32 {
        raw.send(&frame(HEADERS, WHOLE, stream(n), &get("/big")));
    }
    mesh.recorder.requests(STREAMS);
    mesh.recorder.blocked(STREAMS);
    let grown = mesh.weft.peak_memory().saturating_sub(before);
    assert!(grown < 16 * 1024, "memory grew by {grown} kB");
}

#[test]
fn streams_that_are_reset_before_they_are_answered_leave_no_work_behind() {
    let mesh = Mesh::start();
    mesh.recorder.never();
    let mut raw = Raw::connect(mesh.address);
    let mut next = 0;
    for round in 1..=10 {
        let opened: Vec<u32> = (0..STREAMS as u32).map(|n| stream(next + n)).collect();
        next += STREAMS as u32;
        raw.send(&opened.iter().flat_map(|id| frame(HEADERS, WHOLE, *id, &get("/slow"))).collect::<Vec<_>>());
        mesh.recorder.requests(STREAMS * round);
        raw.send(&opened.iter().flat_map(|id| frame(RST_STREAM, 0, *id, &[0, 0, 0, 8])).collect::<Vec<_>>());
        assert!(raw.lives());
    }
    let most = mesh.recorder.most_at_once();
    assert!(most <= STREAMS + 1, "{most} requests were under way at once");
}

#[test]
fn a_header_block_that_unfolds_into_much_more_is_refused() {
    let mesh = Mesh::start();
    let (mut raw, ()) = mesh.attacked(|raw| {
        // One entry of 4 kB goes into the table; then it is named again and again, at a byte each.
        let mut first = get("/");
        first.push(0x40);
        string(&mut first, b"x-bomb");
        string(&mut first, &[b'x'; 3900]);
        raw.send(&frame(HEADERS, WHOLE, 1, &first));
        for n in 1..200 {
            let block = [get("/"), vec![0xbe; 16_000]].concat();
            if !raw.send(&frame(HEADERS, WHOLE, stream(n), &block)) {
                break;
            }
        }
    });
    // Refused by stream, or the whole connection: no bomb got upstream.
    let _ = raw.lives();
    drop(raw);
    assert!(mesh.recorder.take_all().iter().all(|bytes| bytes.len() < 100_000));
}

#[test]
fn ten_thousand_small_headers_are_refused() {
    let mesh = Mesh::start();
    let (raw, ()) = mesh.attacked(|raw| {
        let many = fields(&[("a", "b"); 3000]);
        raw.send(&frame(HEADERS, END_STREAM, 1, &get("/")));
        for piece in many.chunks(15_000) {
            raw.send(&frame(CONTINUATION, 0, 1, piece));
        }
        raw.send(&frame(CONTINUATION, END_HEADERS, 1, &[]));
    });
    let answer = raw.find(|frame| frame.stream == 1 || frame.kind == GOAWAY);
    assert!(answer.is_none_or(|answer| !answer.payload.contains(&0x88)), "it was served");
}
