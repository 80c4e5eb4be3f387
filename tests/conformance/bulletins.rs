//! Faults that proxies have had, by the bulletins that told of them: what must hold instead, where no other file shows
//! it already.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use crate::frames::{HEADERS, Raw, WHOLE, fields, frame};
use crate::oracle;
use crate::recorder::{PATIENCE, Recorder};
use crate::requests::{CLUSTER, read};
use crate::weft::{ALL, Listener, Weft, bootstrap, own_address};

const PORT: u16 = 8001;

struct Mesh {
    address: SocketAddr,
    recorder: Recorder,
    _weft: Weft,
}

impl Mesh {
    fn start(routes: &str) -> Self {
        let address = own_address();
        let recorder = Recorder::start(address);
        let listener = Listener { name: "bulletins", port: PORT, manager: "codec_type: AUTO", routes };
        let weft = Weft::start(&bootstrap(address, &[listener], recorder.address, CLUSTER));
        Self { address: (address, PORT).into(), recorder, _weft: weft }
    }

    /// The status of the answer to a GET with these header lines.
    fn get(&self, lines: &str) -> Option<u16> {
        let mut client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = client.write_all(format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}Connection: close\r\n\r\n").as_bytes());
        let told = read(&mut client, &mut Vec::new(), false, 1).ok()?;
        told.whole.last().map(|answer| answer.status)
    }
}

#[test]
fn cve_2024_23322_a_request_whose_time_is_over_between_two_attempts_ends() {
    let mesh = Mesh::start(
        "{ match: { prefix: /, headers: [{ name: x-patient, present_match: true }] }, route: { cluster: upstream } }, \
         { match: { prefix: / }, route: { cluster: upstream, timeout: 0s, idle_timeout: 0.4s, retry_policy: \
         { retry_on: 5xx, num_retries: 5, per_try_timeout: 0.2s, retry_back_off: { base_interval: 5s, \
         max_interval: 5s } } } }",
    );
    mesh.recorder.never();
    for _ in 0..5 {
        assert_eq!(mesh.get(""), Some(504));
    }
    mesh.recorder.always(crate::recorder::OK.to_vec());
    assert_eq!(mesh.get("X-Patient: 1\r\n"), Some(200));
}

#[test]
fn cve_2023_35944_a_scheme_in_mixed_letters_changes_no_decision() {
    let mesh = Mesh::start(ALL);
    for scheme in ["http", "HttPs", "HTTP", "https"] {
        let mut raw = Raw::connect(mesh.address);
        let head = fields(&[(":method", "GET"), (":scheme", scheme), (":path", "/"), (":authority", "h")]);
        raw.send(&frame(HEADERS, WHOLE, 1, &head));
        assert!(raw.find(|came| came.stream == 1).is_some(), "{scheme}");
    }
    for bytes in mesh.recorder.take() {
        for request in oracle::requests(&bytes).unwrap().whole {
            assert_eq!(request.field("x-forwarded-proto").as_deref(), Some("http"));
        }
    }
}

#[test]
fn cve_2021_28682_a_timeout_of_ten_thousand_years_is_only_a_long_one() {
    let mesh = Mesh::start(
        "{ match: { prefix: / }, route: { cluster: upstream, max_stream_duration: { grpc_timeout_header_max: 0s } } }",
    );
    for timeout in ["99999999H", "99999999999H", "-1S", "0m"] {
        let lines = format!("Content-Type: application/grpc\r\ngrpc-timeout: {timeout}\r\n");
        assert!(mesh.get(&lines).is_some(), "{timeout}");
    }
    assert_eq!(mesh.get(""), Some(200));
}

#[test]
fn cve_2019_15226_ten_thousand_small_headers_are_refused_at_once() {
    let mesh = Mesh::start(ALL);
    for _ in 0..20 {
        assert_eq!(mesh.get(&"a: b\r\n".repeat(10_000)), Some(431));
    }
    assert_eq!(mesh.get(""), Some(200));
    assert_eq!(mesh.recorder.take().len(), 1);
}

#[test]
fn cve_2026_26310_an_address_with_a_zone_is_no_address() {
    let mesh = Mesh::start(ALL);
    for address in ["fe80::1%eth0", "[fe80::1%eth0]:80", "10.0.0.1%lo", "::1%", "1.2.3.4, fe80::1%25eth0"] {
        assert_eq!(mesh.get(&format!("X-Forwarded-For: {address}\r\n")), Some(200), "{address}");
    }
}
