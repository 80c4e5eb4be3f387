//! The names of resources, as Istio gives them; dashboards and commands know them.

/// `outbound|9080|v1|reviews.default.svc.cluster.local`; the subset may be empty.
pub fn outbound_cluster(port: u16, subset: &str, host: &str) -> String {
    format!("outbound|{port}|{subset}|{host}")
}

/// The SNI by which the other side knows the cluster: `outbound_.9080_.v1_.reviews.default.svc.cluster.local`.
pub fn outbound_sni(port: u16, subset: &str, host: &str) -> String {
    format!("outbound_.{port}_.{subset}_.{host}")
}

/// `inbound|9080||`: both the route table and the cluster of a served port.
pub fn inbound(port: u16) -> String {
    format!("inbound|{port}||")
}

/// `127.0.10.11_9080`.
pub fn listener(address: &str, port: u16) -> String {
    format!("{address}_{port}")
}

/// `reviews.default.svc.cluster.local:9080`.
pub fn virtual_host(host: &str, port: u16) -> String {
    format!("{host}:{port}")
}

/// The object behind a resource, for `filter_metadata.istio.config`:
/// `/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews`.
pub fn config(kind: &str, namespace: &str, name: &str) -> String {
    format!("/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{name}")
}

/// The listener and the route table of a sidecar's explicit HTTP proxy.
pub const HTTP_PROXY: &str = "http_proxy";

/// The listener of every connection that is captured on its way out.
pub const VIRTUAL_OUTBOUND: &str = "virtualOutbound";

/// The listener of every connection that is captured on its way in.
pub const VIRTUAL_INBOUND: &str = "virtualInbound";

/// Where connections to nobody of the mesh go: where they were meant to go.
pub const PASSTHROUGH: &str = "PassthroughCluster";

/// Where requests to the explicit HTTP proxy go that are for hosts outside the mesh: wherever those are.
pub const FORWARD: &str = "outbound-dynamic-forward-proxy";

/// Where connections go that are to go nowhere.
pub const BLACK_HOLE: &str = "BlackHoleCluster";

/// The cluster of connections that come in to a port that is no service's, by whether they are of IPv6.
pub fn inbound_passthrough(ipv6: bool) -> &'static str {
    if ipv6 { "InboundPassthroughClusterIpv6" } else { "InboundPassthroughClusterIpv4" }
}

/// `9080`: the route table of the captured requests to a port.
pub fn captured_http(port: u16) -> String {
    port.to_string()
}

/// `http.80`: the route table of a gateway's plain HTTP port.
pub fn gateway_http(port: u16) -> String {
    format!("http.{port}")
}

/// `https.443.https.my-gateway.default`: the route table of one of a gateway's TLS servers.
pub fn gateway_https(port: u16, port_name: &str, gateway: &str, namespace: &str) -> String {
    format!("https.{port}.{port_name}.{gateway}.{namespace}")
}
