//! What authorization judges is byte for byte what the upstream gets: each request, in whatever spelling, is let in by
//! a rule that allows exactly what was forwarded of it, field by field.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::oracle::{self, Message};
use crate::paths;
use crate::recorder::{PATIENCE, Recorder};
use crate::requests::{FILES, read};
use crate::vectors::{Vector, load};
use crate::weft::{Weft, own_address};

const FIRST_PORT: u16 = 20_000;
const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// What the proxy says of itself or of this connection, after it has judged.
const OWN: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "x-request-id",
    "x-forwarded-proto",
    "x-envoy-expected-rq-timeout-ms",
    "te",
];

fn listener(address: IpAddr, port: u16, rules: Option<&Value>) -> Value {
    let typed = |kind: &str, mut config: Value| {
        config["@type"] = format!("{TYPES}.filters.{kind}").into();
        config
    };
    let rbac =
        rules.map(|rules| json!({"name": "rbac", "typed_config": typed("http.rbac.v3.RBAC", json!({"rules": rules}))}));
    let router = json!({"name": "router", "typed_config": typed("http.router.v3.Router", json!({}))});
    let manager = json!({
        "stat_prefix": "judged", "normalize_path": true, "merge_slashes": true,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": rbac.into_iter().chain([router]).collect::<Vec<_>>(),
        "route_config": {"name": "r", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]}]}});
    let manager = typed("network.http_connection_manager.v3.HttpConnectionManager", manager);
    json!({"name": port.to_string(), "address": {"socket_address": {"address": address, "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]})
}

/// A proxy with a listener for each of these rules, in the order of their ports.
fn start<'a>(address: IpAddr, upstream: SocketAddr, rules: impl Iterator<Item = Option<&'a Value>>) -> Weft {
    let listeners: Vec<Value> = (FIRST_PORT..).zip(rules).map(|(port, rules)| listener(address, port, rules)).collect();
    let options = json!({"@type": format!("{TYPES}.upstreams.http.v3.HttpProtocolOptions"),
        "common_http_protocol_options": {"max_requests_per_connection": 1},
        "explicit_http_config": {"http_protocol_options": {}}});
    let endpoint = json!({"address": {"socket_address": {"address": upstream.ip(), "port_value": upstream.port()}}});
    let cluster = json!({"name": "upstream", "type": "STATIC",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}});
    // JSON is YAML.
    Weft::start(&json!({"static_resources": {"listeners": listeners, "clusters": [cluster]}}).to_string())
}

/// The status of the answer to these bytes, and the one request that went upstream, if one did.
fn send(at: SocketAddr, recorder: &Recorder, bytes: &[u8]) -> (Option<u16>, Option<Message>) {
    let mut client = TcpStream::connect(at).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = client.write_all(bytes);
    let told = read(&mut client, &mut Vec::new(), bytes.starts_with(b"HEAD "), 1).unwrap_or_default();
    drop(client);
    let all = recorder.take();
    let mut requests = all.iter().flat_map(|bytes| oracle::requests(bytes).unwrap().whole);
    let first = requests.next().filter(|_| requests.next().is_none());
    (told.whole.iter().map(|answer| answer.status).find(|status| *status >= 200), first)
}

/// Allows exactly this request. `None` if it holds what a rule cannot say.
fn exactly(request: &Message) -> Option<Value> {
    let is = |name: &str, value: &str| json!({"header": {"name": name, "string_match": {"exact": value}}});
    let path = request.target.split('?').next().unwrap_or_default();
    let mut all = vec![
        is(":method", &request.method),
        is(":path", &request.target),
        is(":authority", &request.field("host")?),
        json!({"url_path": {"path": {"exact": path}}}),
    ];
    for (name, value) in request.fields.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
        let value = std::str::from_utf8(value).ok()?;
        all.push(if value.is_empty() {
            json!({"header": {"name": name, "present_match": true}})
        } else {
            is(name, value)
        });
    }
    Some(json!({"action": "ALLOW", "policies": {"exactly": {
        "permissions": [{"and_rules": {"rules": all}}], "principals": [{"any": true}]}}}))
}

fn get(target: &str, host: &str, more: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n").into_bytes()
}

/// Whether it is one request that may get through; what is refused is judged elsewhere.
fn may_pass(vector: &Vector) -> bool {
    vector.on.is_none() && vector.wanted().contains(&vec![Some(200)])
}

/// Spellings put together at random, the same in each run.
fn spellings() -> Vec<Vec<u8>> {
    const PARTS: [&str; 21] = [
        "/admin",
        "/%61dmin",
        "/.",
        "/..",
        "/%2e%2e",
        "/%2E",
        "//",
        "/",
        "/a;b",
        "/%2F",
        "/%5c",
        "\\",
        "/x%20y",
        "/%00",
        "/%7E~",
        "/%zz",
        "/%6%31",
        "?q=/../x",
        "?",
        "/*",
        "/:@!$&'()+,=",
    ];
    const HOSTS: [&str; 6] = ["h", "H.Example", "h.example.", "h:80", "[::1]:8080", "10.0.0.1"];
    const FIELDS: [&str; 6] = [
        "",
        "X-Role: user\r\nX-Role: admin\r\n",
        "X-Role:  \tadmin \t\r\n",
        "X-Empty:\r\nx-EMPTY: \r\n",
        "Cookie: a=b\r\nCookie: c=d\r\n",
        "X-Forwarded-For: fe80::1%eth0\r\nX-Envoy-Original-Path: /admin\r\n",
    ];
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut one = || {
        let target: String = (0..=next(5)).map(|_| PARTS[next(PARTS.len())]).collect();
        let target = if target.starts_with('/') { target } else { format!("/{target}") };
        get(&target, HOSTS[next(HOSTS.len())], FIELDS[next(FIELDS.len())])
    };
    (0..150).map(|_| one()).collect()
}

#[test]
fn what_authorization_saw_is_what_the_upstream_got() {
    let address = own_address();
    let recorder = Recorder::start(address);
    let vectors = FILES.iter().flat_map(|file| load(file)).filter(may_pass);
    let table = paths::table();
    let written = table.paths.iter().map(|one| get(&one.path, "h", ""));
    let hosts = table.hosts.iter().map(|host| get("/", host, ""));
    let requests: Vec<Vec<u8>> =
        vectors.map(|vector| vector.bytes()).chain(written).chain(hosts).chain(spellings()).collect();
    let forwarded: Vec<(Vec<u8>, Message, Value)> = {
        let _open = start(address, recorder.address, [None].into_iter());
        let at = SocketAddr::from((address, FIRST_PORT));
        let got = |bytes: Vec<u8>| match send(at, &recorder, &bytes) {
            (Some(200), Some(request)) => exactly(&request).map(|rules| (bytes, request, rules)),
            _ => None,
        };
        requests.into_iter().filter_map(got).collect()
    };
    assert!(forwarded.len() >= 200, "only {} requests were forwarded", forwarded.len());
    let _judging = start(address, recorder.address, forwarded.iter().map(|(.., rules)| Some(rules)));
    let mut problems = Vec::new();
    for (port, (bytes, before, rules)) in (FIRST_PORT..).zip(&forwarded) {
        let (status, request) = send((address, port).into(), &recorder, bytes);
        let same = request.is_some_and(|request| exactly(&request).as_ref() == Some(rules));
        if status != Some(200) || !same {
            let text = String::from_utf8_lossy(bytes);
            problems.push(format!("{text:?} was forwarded as {before:?} and judged otherwise: {status:?}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
