//! CUSTOM with providers over HTTP and over gRPC: what pilot makes of the mesh's settings, through weft's proxy and
//! through Envoy, with services that really answer, answer nothing, or are not there. Both proxies do the same.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::certificates::Certificates;
use crate::compiled::Bootstrap;
use crate::providers::{Heard, Providers};
use crate::proxies::{Program, Proxy};
use crate::table::{GRPC_PORT, Group, HTTP_PORT, NOBODY, PROVIDER, PROVIDER_PORT, SILENT, TCP_PORT};
use crate::upstream;

/// A workload for each setting of the provider, by a name.
struct Doors {
    program: Program,
    addresses: BTreeMap<&'static str, IpAddr>,
    all: Providers,
    _proxy: Proxy,
    _folder: tempfile::TempDir,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// What is under /pay is put to the provider, and who connects to the port that is not of HTTP, but for one.
fn workload(by: &str, settings: &Value) -> Group {
    serde_json::from_value(json!({
        "name": "asked", "cases": [],
        "providers": [{"name": "judge", by: settings}],
        "policies": [{"name": "asked", "action": "CUSTOM", "provider": {"name": "judge"},
                      "rules": [{"to": [{"operation": {"paths": ["/pay*"], "ports": [HTTP_PORT.to_string()]}}]},
                                {"to": [{"operation": {"ports": [TCP_PORT.to_string()]}}],
                                 "from": [{"source": {"notIpBlocks": ["127.0.8.1"]}}]}]}],
    }))
    .unwrap()
}

fn settings(host: &str, port: u16, more: Value) -> Value {
    let mut settings = json!({"service": host, "port": port, "timeout": "60s"});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

fn workloads() -> Vec<(&'static str, Group)> {
    let http = |host, more| workload("envoyExtAuthzHttp", &settings(host, PROVIDER_PORT, more));
    let grpc = |host, more| workload("envoyExtAuthzGrpc", &settings(host, GRPC_PORT, more));
    let whole = json!({
        "pathPrefix": "/check",
        "includeRequestHeadersInCheck": ["x-ask", "x-ext-*"],
        "includeAdditionalHeadersInCheck": {"x-by": "mesh"},
        "includeRequestBodyInCheck": {"maxRequestBytes": 8, "allowPartialMessage": true},
        "headersToUpstreamOnAllow": ["x-user"],
        "headersToDownstreamOnAllow": ["x-told"],
        "headersToDownstreamOnDeny": ["x-why"],
        "statusOnError": "503",
    });
    let packed = json!({
        "includeRequestBodyInCheck": {"maxRequestBytes": 8, "allowPartialMessage": true, "packAsBytes": true},
        "statusOnError": "503",
    });
    let short = json!({"includeRequestBodyInCheck": {"maxRequestBytes": 8}, "includeRequestHeadersInCheck": ["x-ask"]});
    vec![
        ("http", http(PROVIDER, whole)),
        ("http, short bodies", http(PROVIDER, short)),
        ("http, open", http(NOBODY, json!({"failOpen": true}))),
        ("http, closed", http(NOBODY, json!({}))),
        ("http, slow", http(SILENT, json!({"timeout": "0.2s", "statusOnError": "504"}))),
        ("http, slow and open", http(SILENT, json!({"timeout": "0.2s", "failOpen": true}))),
        ("grpc", grpc(PROVIDER, packed)),
        ("grpc, open", grpc(NOBODY, json!({"failOpen": true}))),
        ("grpc, closed", grpc(NOBODY, json!({}))),
        ("grpc, slow", grpc(SILENT, json!({"timeout": "0.2s", "statusOnError": "504"}))),
        ("grpc, slow and open", grpc(SILENT, json!({"timeout": "0.2s", "failOpen": true}))),
    ]
}

impl Doors {
    fn open(program: Program, test: u8) -> Self {
        let all = Providers::start();
        let certificates = Certificates::create();
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        let mut bootstrap = Bootstrap::new(program, &certificates, all.application, upstream::tcp(), &log);
        for port in [PROVIDER_PORT, GRPC_PORT] {
            bootstrap.asks(SILENT, port, all.silent);
            bootstrap.asks(NOBODY, port, all.nobody);
        }
        bootstrap.asks(PROVIDER, PROVIDER_PORT, all.http);
        bootstrap.asks(PROVIDER, GRPC_PORT, all.grpc);
        let side = if program == Program::Envoy { 44 } else { 45 };
        let mut addresses = BTreeMap::new();
        for ((name, group), last) in workloads().into_iter().zip(1..) {
            let address = IpAddr::from([127, side, (std::process::id() % 250) as u8 + 1, test * 20 + last]);
            bootstrap.add(&group, address);
            addresses.insert(name, address);
        }
        let file = folder.path().join("bootstrap.yaml");
        std::fs::write(&file, bootstrap.text()).unwrap();
        let listens: Vec<SocketAddr> = addresses.values().map(|address| (*address, HTTP_PORT).into()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let proxy = runtime.block_on(Proxy::start(program, &file, &listens));
        Self { program, addresses, all, _proxy: proxy, _folder: folder }
    }

    fn send(&self, to: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect((self.addresses[to], HTTP_PORT)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
        let mut request = format!("POST {path} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{to}: {read:?} {answer:?}"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Answer { status, headers, body: body.to_owned() }
    }

    /// What came to the provider and to the application by one request.
    fn heard(&self) -> (Option<Heard>, Option<Heard>) {
        let (mut asked, mut served) = (self.all.asked(), self.all.served());
        assert!(asked.len() <= 1 && served.len() <= 1, "{:?}: {asked:?} {served:?}", self.program);
        (asked.pop(), served.pop())
    }

    /// The decisions of a provider that answers.
    fn decides(&self, door: &str, prefix: &str) {
        let who = format!("{:?}, {door}", self.program);
        let forged = [("x-ask", "yes"), ("x-user", "mallory"), ("x-ext-a", "1"), ("x-own", "1")];
        let allowed = self.send(door, "/pay/1?q=2", &forged, "money");
        assert_eq!((allowed.status, &*allowed.body), (200, "served"), "{who}");
        assert_eq!(allowed.headers.get("x-told").map(String::as_str), Some("welcome"), "{who}");
        assert_eq!(allowed.headers.get("x-secret"), None, "{who}");
        let (Some(asked), Some(served)) = self.heard() else { panic!("{who}: not heard") };
        assert_eq!((asked.path, &*asked.body), (format!("{prefix}/pay/1?q=2"), &b"money"[..]), "{who}");
        assert_eq!(asked.headers.get("x-ext-a").map(String::as_str), Some("1"), "{who}");
        assert_eq!(served.headers.get("x-user").map(String::as_str), Some("alice"), "{who}");
        assert_eq!((served.headers.get("x-told"), &*served.body), (None, &b"money"[..]), "{who}");
        let of_http = door == "http";
        assert_eq!(asked.headers.contains_key("x-own"), !of_http, "{who}");
        assert_eq!(asked.headers.get("x-by").map(String::as_str), of_http.then_some("mesh"), "{who}");

        let denied = self.send(door, "/pay", &[("x-ask", "no")], "much more money");
        assert_eq!((denied.status, &*denied.body), (401, "not you"), "{who}");
        assert_eq!(denied.headers.get("x-why").map(String::as_str), Some("no"), "{who}");
        assert_eq!(denied.headers.get("x-secret"), None, "{who}");
        let (asked, served) = self.heard();
        let asked = asked.unwrap();
        assert_eq!((&*asked.body, served.is_none()), (&b"much mor"[..], true), "{who}");
        assert_eq!(asked.headers.get("x-envoy-auth-partial-body").map(String::as_str), Some("true"), "{who}");
        let login = self.send(door, "/pay", &[("x-ask", "login")], "");
        assert_eq!(login.status, 302, "{who}");
        assert_eq!(login.headers.get("location").map(String::as_str), Some("/login"), "{who}");
        assert!(self.heard().1.is_none(), "{who}");
        assert_eq!(self.send(door, "/pay", &[("x-ask", "broken")], "").status, 503, "{who}");
        assert!(self.heard().1.is_none(), "{who}");
        // What no rule covers is nobody's question.
        assert_eq!(self.send(door, "/read", &[], "").status, 200, "{who}");
        let (asked, served) = self.heard();
        assert!(asked.is_none() && served.is_some(), "{who}: {asked:?}");
    }

    /// Whether who connects from an address is let in, and whom the provider was asked about.
    fn lets_in(&self, to: &str, from: [u8; 4]) -> (bool, Option<String>) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&SocketAddr::from((self.addresses[to], TCP_PORT)).into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // It may be closed before it is written to.
        let _ = stream.write_all(b"hello");
        let mut said = [0; 5];
        let is_in = match stream.read_exact(&mut said) {
            Ok(()) => &said == b"hello",
            Err(error) => {
                let timed_out = [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind());
                assert!(!timed_out, "{:?}, {to}: neither let in nor turned away", self.program);
                false
            }
        };
        (is_in, self.all.asked().pop().map(|heard| heard.path))
    }

    /// Where nobody answers.
    fn goes_without(&self, by: &str) {
        let status = |door: &str| {
            let started = Instant::now();
            let status = self.send(&format!("{by}, {door}"), "/pay", &[("x-ask", "yes")], "").status;
            let goes_on = self.heard().1.is_some();
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}, {by}, {door}", self.program);
            (status, goes_on)
        };
        let seen = ["closed", "open", "slow", "slow and open"].map(status);
        assert_eq!(seen, [(403, false), (200, true), (504, false), (200, true)], "{:?}, {by}", self.program);
        let uncovered = self.send(&format!("{by}, closed"), "/read", &[], "");
        assert_eq!((uncovered.status, self.heard().1.is_some()), (200, true), "{:?}, {by}", self.program);
    }
}

#[test]
fn a_provider_over_http_decides_and_where_none_answers_the_setting_does() {
    for program in [Program::Weft, Program::Envoy] {
        let doors = Doors::open(program, 0);
        doors.decides("http", "/check");
        doors.goes_without("http");
        let long = doors.send("http, short bodies", "/pay", &[("x-ask", "yes")], "much more money");
        assert_eq!((long.status, doors.heard().1.is_none()), (413, true), "{program:?}");
        assert_eq!(doors.send("http, short bodies", "/pay", &[("x-ask", "yes")], "money").status, 200, "{program:?}");
    }
}

#[test]
fn a_provider_over_grpc_decides_and_where_none_answers_the_setting_does() {
    for program in [Program::Weft, Program::Envoy] {
        let doors = Doors::open(program, 1);
        doors.decides("grpc", "");
        doors.goes_without("grpc");
    }
}

#[test]
fn a_provider_over_grpc_decides_on_connections_and_one_over_http_lets_none_in() {
    const IN: [u8; 4] = [127, 0, 9, 1];
    let asked_about = |address: [u8; 4]| Some(IpAddr::from(address).to_string());
    for program in [Program::Weft, Program::Envoy] {
        let doors = Doors::open(program, 2);
        for (from, is_in) in [(IN, true), ([127, 0, 9, 2], false), ([127, 0, 9, 9], false)] {
            assert_eq!(doors.lets_in("grpc", from), (is_in, asked_about(from)), "{program:?}, {from:?}");
        }
        for door in ["grpc", "grpc, closed", "http"] {
            assert_eq!(doors.lets_in(door, [127, 0, 8, 1]), (true, None), "{program:?}, {door}");
        }
        for (door, is_in) in [
            ("grpc, closed", false),
            ("grpc, open", true),
            ("grpc, slow", false),
            ("grpc, slow and open", true),
            ("http", false),
            ("http, open", false),
        ] {
            assert_eq!(doors.lets_in(door, IN), (is_in, None), "{program:?}, {door}");
        }
    }
}
