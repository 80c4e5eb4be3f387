//! Ways to say a path or a host that is denied: none gets past, and what was judged is byte for byte what goes upstream.

use std::io::Write as _;
use std::net::{IpAddr, TcpStream};
use std::path::Path;

use serde::Deserialize;

use crate::frames::{Came, DATA, END_STREAM, HEADERS, RST_STREAM, Raw, WHOLE, fields, frame};
use crate::oracle;
use crate::recorder::{PATIENCE, Recorder};
use crate::requests::{CLUSTER, read};
use crate::weft::{Weft, own_address};

const PORT: u16 = 8001;

/// Denied are the path /admin and what is below it, and the host secret.example; what passes tells the upstream what
/// it was judged by.
const BOOTSTRAP: &str = r#"
static_resources:
  listeners:
  - name: paths
    address: { socket_address: { address: ADDRESS, port_value: PORT } }
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: paths
          normalize_path: true
          merge_slashes: true
          path_with_escaped_slashes_action: SLASHES
          http_filters:
          - name: router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            name: paths
            ignore_port_in_host_matching: true
            request_headers_to_add:
            - { header: { key: x-judged-path, value: "%REQ(:PATH)%" } }
            - { header: { key: x-judged-host, value: "%REQ(:AUTHORITY)%" } }
            virtual_hosts:
            - name: secret
              domains: [secret.example, secret.example.]
              routes:
              - { match: { prefix: / }, direct_response: { status: 403 } }
            - name: all
              domains: ["*"]
              routes:
              - { match: { path_separated_prefix: /admin }, direct_response: { status: 403 } }
              - { match: { prefix: / }, route: { cluster: upstream } }
  clusters:
  - name: upstream
    type: STATIC
    load_assignment: { cluster_name: upstream, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: ADDRESS, port_value: UPSTREAM } } } }] }] }
    CLUSTER
"#;

#[derive(Deserialize)]
pub struct Table {
    pub paths: Vec<Spelling>,
    pub hosts: Vec<String>,
}

#[derive(Deserialize)]
pub struct Spelling {
    pub path: String,
    is: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Normal,
    Lenient,
    Other,
}

pub fn table() -> Table {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/paths.yaml");
    serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

struct Proxy {
    address: IpAddr,
    recorder: Recorder,
    _weft: Weft,
}

impl Proxy {
    fn start(slashes: &str) -> Self {
        let address = own_address();
        let recorder = Recorder::start(address);
        let bootstrap = BOOTSTRAP
            .replace("ADDRESS", &address.to_string())
            .replace("UPSTREAM", &recorder.address.port().to_string())
            .replace("PORT", &PORT.to_string())
            .replace("SLASHES", slashes)
            .replace("CLUSTER", CLUSTER);
        let weft = Weft::start(&bootstrap);
        Self { address, recorder, _weft: weft }
    }

    /// Whether the request got through, once it is certain that what went upstream is what was judged.
    fn passes(&self, target: &str, host: &str) -> bool {
        let mut client = TcpStream::connect((self.address, PORT)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        let answers = read(&mut client, &mut Vec::new(), false, usize::MAX).unwrap().whole;
        let [answer] = &answers[..] else { panic!("{target} on {host}: {answers:?}") };
        let passed = self.went_on(target, host);
        assert_eq!(passed, answer.status == 200, "{target} on {host}: {}", answer.status);
        assert!(passed || matches!(answer.status, 400 | 403), "{target} on {host}: {}", answer.status);
        passed
    }

    /// The same over HTTP/2, by frames: no library stands between what is told and what is sent.
    fn passes_on_http2(&self, path: &str, authority: &str) -> bool {
        let mut client = Raw::connect((self.address, PORT).into());
        let block = fields(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", authority)]);
        client.send(&frame(HEADERS, WHOLE, 1, &block));
        let ends = |came: &Came| came.flags & END_STREAM != 0 || came.kind == RST_STREAM;
        // Or the connection with it.
        client.find(|came| came.stream == 1 && matches!(came.kind, HEADERS | DATA | RST_STREAM) && ends(came));
        self.went_on(path, authority)
    }

    /// Whether anything went upstream; then it is what was judged.
    fn went_on(&self, target: &str, host: &str) -> bool {
        let bytes = self.recorder.take().concat();
        let upstream = oracle::requests(&bytes).unwrap().whole;
        assert!(upstream.len() <= 1, "{target} on {host}: {upstream:?}");
        if let Some(request) = upstream.first() {
            assert_eq!(request.field("x-judged-path").as_ref(), Some(&request.target), "{target}");
            assert_eq!(request.field("x-judged-host"), request.field("host"), "{host}");
        }
        !upstream.is_empty()
    }
}

/// How many spellings that only a lenient backend takes for the denied path get through.
fn lenient(slashes: &str) -> usize {
    let proxy = Proxy::start(slashes);
    let table = table();
    assert!(table.paths.iter().filter(|one| one.is != Kind::Other).count() >= 59);
    let mut through = 0;
    for Spelling { path, is } in &table.paths {
        match (is, proxy.passes(path, "h")) {
            (Kind::Normal, true) => panic!("{path} gets past"),
            (Kind::Other, false) => panic!("{path} is another path, and is refused"),
            (Kind::Lenient, true) => through += 1,
            _ => {}
        }
    }
    for host in &table.hosts {
        assert!(!proxy.passes("/", host), "{host} gets past");
    }
    through
}

#[test]
fn no_spelling_of_a_denied_path_or_host_gets_past() {
    assert!(lenient("KEEP_UNCHANGED") <= 25);
}

#[test]
fn hidden_slashes_that_are_refused_or_brought_to_light_leave_few_ways_for_a_lenient_backend() {
    assert!(lenient("REJECT_REQUEST") <= 10);
    assert!(lenient("UNESCAPE_AND_FORWARD") <= 10);
}

#[test]
fn no_spelling_of_a_denied_path_or_host_gets_past_over_http2() {
    let proxy = Proxy::start("UNESCAPE_AND_FORWARD");
    let table = table();
    let (mut lenient, mut other) = (0, 0);
    for Spelling { path, is } in &table.paths {
        match (is, proxy.passes_on_http2(path, "h")) {
            (Kind::Normal, true) => panic!("{path} gets past"),
            (Kind::Lenient, true) => lenient += 1,
            (Kind::Other, true) => other += 1,
            (Kind::Normal | Kind::Lenient | Kind::Other, false) => {}
        }
    }
    assert!(lenient <= 10 && other > 0, "{lenient} {other}");
    for host in &table.hosts {
        assert!(!proxy.passes_on_http2("/", host), "{host} gets past");
    }
    assert!(proxy.passes_on_http2("/", "h"));
}
