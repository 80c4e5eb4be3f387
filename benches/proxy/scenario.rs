//! What is measured, and the goals.

/// What the proxy speaks, in both directions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
    Tcp,
}

/// What the client speaks to the proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    Plain,
    Tls,
    MutualTls,
    /// Two proxies in a row with mutual TLS between them, as between two sidecars.
    Pair,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// CPU microseconds for a request.
    Request,
    /// CPU seconds for a GiB.
    Gibibyte,
}

pub struct Scenario {
    pub name: &'static str,
    pub title: &'static str,
    pub protocol: Protocol,
    pub inbound: Inbound,
    pub connections: usize,
    /// A connection for each request.
    pub fresh: bool,
    /// Bytes of a request's body.
    pub body: usize,
    pub path: &'static str,
    pub unit: Unit,
    /// Whether Envoy and weft carry the filters that Istio sets.
    pub filters: bool,
    /// Weft's cost divided by Envoy's should be at most this.
    pub goal: f64,
}

pub const PATH: &str = "/api/v1/items/12345?lang=en";
const BIG: &str = "/api/v1/big";

const fn http(name: &'static str, title: &'static str, goal: f64) -> Scenario {
    Scenario {
        name,
        title,
        protocol: Protocol::Http1,
        inbound: Inbound::Plain,
        connections: 64,
        fresh: false,
        body: 0,
        path: PATH,
        unit: Unit::Request,
        filters: true,
        goal,
    }
}

const fn tcp(name: &'static str, title: &'static str, goal: f64) -> Scenario {
    Scenario { protocol: Protocol::Tcp, filters: false, ..http(name, title, goal) }
}

const fn bulk(scenario: Scenario) -> Scenario {
    Scenario { connections: 2, path: BIG, unit: Unit::Gibibyte, ..scenario }
}

const fn fresh(scenario: Scenario) -> Scenario {
    Scenario { connections: 16, fresh: true, ..scenario }
}

pub const SCENARIOS: &[Scenario] = &[
    http("h1", "HTTP/1.1 GET, 1 KiB", 0.38),
    Scenario { body: 1024, ..http("h1-post", "HTTP/1.1 POST, 1 KiB", 0.38) },
    Scenario { connections: 1, ..http("h1-one", "HTTP/1.1, one connection", 0.72) },
    fresh(http("h1-new", "HTTP/1.1, a connection per request", 0.60)),
    Scenario { protocol: Protocol::Http2, ..http("h2", "HTTP/2 to HTTP/2", 0.65) },
    Scenario { protocol: Protocol::Http2, path: "/api/v1/grpc", ..http("grpc", "gRPC-like POST", 0.62) },
    Scenario { inbound: Inbound::Tls, ..http("tls", "TLS termination, HTTP/1.1", 0.42) },
    Scenario { inbound: Inbound::Pair, ..http("pair", "mutual TLS pair, HTTP/1.1", 0.36) },
    Scenario { inbound: Inbound::Pair, protocol: Protocol::Http2, ..http("pair-h2", "mutual TLS pair, HTTP/2", 0.45) },
    Scenario { inbound: Inbound::Tls, filters: false, ..fresh(http("handshake", "TLS handshake and request", 0.60)) },
    Scenario {
        inbound: Inbound::MutualTls,
        filters: false,
        ..fresh(http("handshake-mutual", "mutual TLS handshake and request", 0.68))
    },
    tcp("tcp", "TCP, small messages", 0.72),
    Scenario { fresh: true, ..tcp("tcp-new", "TCP, connections", 0.75) },
    bulk(tcp("tcp-bulk", "TCP, bulk", 0.55)),
    bulk(http("h1-bulk", "HTTP/1.1, bulk", 0.85)),
    bulk(Scenario { inbound: Inbound::Tls, ..http("tls-bulk", "TLS termination, bulk", 0.90) }),
];
