//! The bootstrap file that Envoy and weft both run on: twenty routes, and the filters that Istio sets.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::scenario::{Protocol, Scenario};

const CLUSTER: &str = "outbound|80||svc.default";

/// One proxy of a scenario.
pub struct Place<'a> {
    pub scenario: &'a Scenario,
    pub listen: SocketAddr,
    pub upstream: SocketAddr,
    /// TLS towards the client, and whether it must have a certificate.
    pub tls_in: Option<bool>,
    pub tls_out: bool,
}

/// A message in an `Any`, by its full name.
pub fn typed(name: &str, mut config: Value) -> Value {
    config["@type"] = format!("type.googleapis.com/{name}").into();
    config
}

impl Place<'_> {
    fn http2(&self) -> bool {
        self.scenario.protocol == Protocol::Http2
    }

    /// The whole file.
    pub fn bootstrap(&self, certificates: &Certificates) -> Value {
        let mut chain = json!({ "filters": [self.network_filter()] });
        if let Some(client_certificate) = self.tls_in {
            chain["transport_socket"] = self.downstream_tls(certificates, client_certificate);
        }
        let mut listener = json!({
            "name": "listener", "address": address(self.listen), "filter_chains": [chain], "tcp_backlog_size": 4096,
        });
        if self.scenario.filters {
            listener["per_connection_buffer_limit_bytes"] = 32768.into();
        }
        json!({
            "node": { "id": "bench", "cluster": "bench" },
            "static_resources": { "listeners": [listener], "clusters": [self.cluster(certificates)] },
        })
    }

    fn network_filter(&self) -> Value {
        if self.scenario.protocol == Protocol::Tcp {
            let config = json!({ "stat_prefix": "tcp", "cluster": CLUSTER });
            let config = typed("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", config);
            return json!({ "name": "tcp", "typed_config": config });
        }
        let mut host = json!({ "name": "svc", "domains": ["*"], "routes": routes() });
        if self.scenario.filters {
            let path = |prefix: &str| json!([{ "name": ":path", "string_match": { "prefix": prefix } }]);
            host["virtual_clusters"] = json!([
                { "name": "team", "headers": path("/team") },
                { "name": "second", "headers": path("/api/v2") },
                { "name": "items", "headers": path("/api/v1/items") },
            ]);
        }
        let mut manager = json!({
            "stat_prefix": "in", "codec_type": if self.http2() { "HTTP2" } else { "AUTO" },
            "route_config": { "name": "routes", "virtual_hosts": [host] }, "http_filters": self.http_filters(),
            "normalize_path": true, "generate_request_id": true, "server_name": "istio-envoy",
            "stream_idle_timeout": "300s",
        });
        if self.http2() {
            manager["http2_protocol_options"] = json!({ "max_concurrent_streams": 1000 });
        }
        let name = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        json!({ "name": "http", "typed_config": typed(name, manager) })
    }

    fn http_filters(&self) -> Vec<Value> {
        let filter = |name: &str, kind: &str, config: Value| {
            let config = typed(&format!("envoy.extensions.filters.http.{name}.v3.{kind}"), config);
            json!({ "name": format!("envoy.filters.http.{name}"), "typed_config": config })
        };
        let mut filters = Vec::new();
        if self.scenario.filters {
            filters.push(filter(
                "rbac",
                "RBAC",
                json!({ "rules": { "action": "ALLOW", "policies": self.policies() } }),
            ));
            let stats = json!({ "emit_filter_state": true, "stats_for_all_methods": false });
            filters.push(filter("grpc_stats", "FilterConfig", stats));
            filters.push(filter("fault", "HTTPFault", json!({})));
            filters.push(filter("cors", "Cors", json!({})));
        }
        filters.push(filter("router", "Router", json!({})));
        filters
    }

    /// Four policies that do not match and one that does.
    fn policies(&self) -> Value {
        let mut policies = json!({});
        for number in 0..4 {
            let path = |kind: &str, text: String| json!({ "url_path": { "path": { (kind): text } } });
            let paths = [path("prefix", format!("/team{number}/")), path("exact", format!("/health{number}"))];
            let method = json!({ "header": { "name": ":method", "string_match": { "exact": "GET" } } });
            let tier = json!({ "header": { "name": "x-tier", "string_match": { "prefix": "t" } } });
            policies[format!("p{number}")] = json!({
                "permissions": [{ "and_rules": { "rules": [{ "or_rules": { "rules": paths } }, method] } }],
                "principals": [{ "and_ids": { "ids": [tier] } }],
            });
        }
        let principal = match self.tls_in {
            Some(true) => json!({ "authenticated": { "principal_name": { "prefix": "spiffe://cluster.local/" } } }),
            _ => json!({ "any": true }),
        };
        policies["z-allow-api"] = json!({
            "permissions": [{ "url_path": { "path": { "prefix": "/api/" } } }], "principals": [principal],
        });
        policies
    }

    fn cluster(&self, certificates: &Certificates) -> Value {
        let endpoint = json!({ "endpoint": { "address": address(self.upstream) } });
        let most = u32::MAX;
        let mut cluster = json!({
            "name": CLUSTER, "type": "STATIC", "connect_timeout": "10s",
            "load_assignment": { "cluster_name": CLUSTER, "endpoints": [{ "lb_endpoints": [endpoint] }] },
            "circuit_breakers": { "thresholds": [{
                "max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": most,
            }] },
        });
        if self.scenario.filters {
            cluster["outlier_detection"] = json!({ "consecutive_5xx": 5 });
        }
        if self.http2() {
            let options =
                json!({ "explicit_http_config": { "http2_protocol_options": { "max_concurrent_streams": 1000 } } });
            let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
            cluster["typed_extension_protocol_options"] = json!({ (name): typed(name, options) });
        }
        if self.tls_out {
            let mut common = self.common_tls(certificates, "client");
            common["validation_context"] = json!({
                "trusted_ca": { "filename": certificates.path("ca.pem") },
                "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "prefix": "spiffe://cluster.local/" } }],
            });
            let context = json!({ "common_tls_context": common, "sni": "svc.default", "max_session_keys": 0 });
            cluster["transport_socket"] = tls_socket("UpstreamTlsContext", context);
        }
        cluster
    }

    fn common_tls(&self, certificates: &Certificates, who: &str) -> Value {
        let file = |kind: &str| json!({ "filename": certificates.path(&format!("{who}.{kind}")) });
        let mut common = json!({
            "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
            "tls_certificates": [{ "certificate_chain": file("pem"), "private_key": file("key") }],
        });
        if self.http2() {
            common["alpn_protocols"] = json!(["h2"]);
        }
        common
    }

    fn downstream_tls(&self, certificates: &Certificates, client_certificate: bool) -> Value {
        let mut common = self.common_tls(certificates, "server");
        if client_certificate {
            common["validation_context"] = json!({ "trusted_ca": { "filename": certificates.path("ca.pem") } });
        }
        let context = json!({
            "common_tls_context": common, "require_client_certificate": client_certificate,
            "disable_stateless_session_resumption": true, "disable_stateful_session_resumption": true,
        });
        tls_socket("DownstreamTlsContext", context)
    }
}

fn tls_socket(kind: &str, context: Value) -> Value {
    let context = typed(&format!("envoy.extensions.transport_sockets.tls.v3.{kind}"), context);
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
}

fn address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

/// Five regular expressions, seven prefixes, five with headers, then the one that takes the bench's requests.
fn routes() -> Vec<Value> {
    let route = |conditions: Value| json!({ "match": conditions, "route": { "cluster": CLUSTER, "timeout": "15s" } });
    let mut routes = Vec::new();
    for number in 1..6 {
        routes.push(route(json!({ "safe_regex": { "regex": format!("^/svc{number}/[a-z]+/[0-9]+$") } })));
    }
    for number in 6..13 {
        routes.push(route(json!({ "prefix": format!("/team{number}/") })));
    }
    let header = |name: &str, text: Value| json!([{ "name": name, "string_match": text }]);
    for number in 13..17 {
        let headers = header("x-route", json!({ "exact": format!("r{number}") }));
        routes.push(route(json!({ "prefix": "/api/", "headers": headers })));
    }
    let tier = header("x-tier", json!({ "safe_regex": { "regex": "^(gold|plat.*)$" } }));
    routes.push(route(json!({ "prefix": "/api/", "headers": tier })));
    let canary = header("x-route", json!({ "exact": "canary" }));
    let mut taken = route(json!({ "prefix": "/api/v1/", "headers": canary }));
    taken["route"]["retry_policy"] =
        json!({ "retry_on": "connect-failure,refused-stream,unavailable,cancelled", "num_retries": 2 });
    routes.push(taken);
    routes.push(route(json!({ "prefix": "/static/" })));
    routes.push(json!({ "match": { "prefix": "/" }, "direct_response": { "status": 404 } }));
    routes
}
