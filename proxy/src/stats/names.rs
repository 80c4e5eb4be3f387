//! The names that Envoy gives metrics, from those that Prometheus is shown: there is one name for `/stats`, for the
//! filters of a scrape and for `stats_matcher`.

/// What stands between dots in the names of a kind of owner, besides what labels tell: prefixes of the rest of a
/// metric's name, the longer first. The empty kind is the process.
const SCOPES: [(&str, &[&str]); 4] = [
    (
        "cluster",
        &[
            "circuit_breakers.default",
            "circuit_breakers.high",
            "ext_authz",
            "grpc",
            "health_check",
            "outlier_detection",
            "ratelimit",
        ],
    ),
    ("http", &["cors", "ext_authz", "fault", "health_check", "jwt_authn", "rbac", "rds"]),
    ("listener", &["ssl"]),
    (
        "",
        &[
            "cluster_manager.cds",
            "cluster_manager",
            "control_plane",
            "listener_manager.lds",
            "access_logs.open_telemetry_access_log",
            "listener_manager",
            "sds",
            "server",
            "tracing.opentelemetry",
            "tracing.zipkin",
        ],
    ),
];

/// What the labels of a metric say of its place among Envoy's names.
#[derive(Default)]
struct Place<'a> {
    /// `cluster`, and the cluster's name.
    owner: Option<(&'static str, String)>,
    /// What stands before the rest, after its first part: `rbac.<own>`, `rds.<name>`, `sds.<name>`, `grpc.<name>`.
    within: Option<String>,
    /// What follows the name.
    last: Option<String>,
    more: Vec<(&'a str, String)>,
}

/// The dotted name of a metric with these labels, and the labels that are no part of it:
/// `envoy_cluster_upstream_rq_xx` with `envoy_cluster_name="a",envoy_response_code_class="2"` is
/// `cluster.a.upstream_rq_2xx`.
pub fn dotted<'a>(metric: &str, labels: &'a str) -> (String, Vec<(&'a str, String)>) {
    let Some(name) = metric.strip_prefix("envoy_") else { return (foreign(metric, labels), Vec::new()) };
    let (mut name, mut place) = (name.to_owned(), Place::default());
    let mut virtual_cluster = [const { None }; 2];
    for (label, value) in labels_of(labels) {
        match label {
            "envoy_cluster_name" => place.owner = Some(("cluster", sanitized(&value))),
            // Istio's name of the same, where it is told besides.
            "cluster_name" if place.owner.is_some() => {}
            "envoy_listener_address" => place.owner = Some(("listener", sanitized(&value))),
            "envoy_http_conn_manager_prefix" => place.owner = Some(("http", sanitized(&value))),
            "envoy_tcp_prefix" => place.owner = Some(("tcp", sanitized(&value))),
            "envoy_connection_limit_prefix" => place.owner = Some(("connection_limit", sanitized(&value))),
            "envoy_ext_authz_prefix" => place.owner = Some(("ext_authz", sanitized(&value))),
            "envoy_local_network_ratelimit_prefix" => place.owner = Some(("local_rate_limit", sanitized(&value))),
            "envoy_local_http_ratelimit_prefix" => {
                return (format!("{value}.http_local_rate_limit.{}", rest(&name, "http_local_rate_limit")), place.more);
            }
            "envoy_rbac_prefix" => return (network_rbac(&value, rest(&name, "rbac")), place.more),
            "envoy_virtual_host" => virtual_cluster[0] = Some(value),
            "envoy_virtual_cluster" => virtual_cluster[1] = Some(value),
            "envoy_grpc_bridge_service" => {
                let method = place.within.take();
                place.within = Some(method.map_or(value.clone(), |method| format!("{value}.{method}")));
            }
            "envoy_grpc_bridge_method" | "envoy_rbac_http_prefix" | "envoy_rds_route_config" | "envoy_sds_secret" => {
                place.within = Some(value);
            }
            "envoy_ssl_version" | "envoy_ssl_cipher" | "envoy_ssl_curve" => place.last = Some(value),
            "envoy_response_code_class" => name = name.replace("_xx", &format!("_{value}xx")),
            "envoy_response_code" => name = format!("{name}_{value}"),
            _ => place.more.push((label, value)),
        }
    }
    if let [Some(host), Some(cluster)] = virtual_cluster {
        return (format!("vhost.{host}.vcluster.{cluster}.{}", rest(&name, "vhost_vcluster")), place.more);
    }
    (place.name(&name), place.more)
}

impl Place<'_> {
    fn name(&self, metric: &str) -> String {
        let of = self.owner.as_ref().map_or("", |(of, _)| of);
        let mut parts = Vec::new();
        if let Some((of, value)) = &self.owner {
            parts.extend([*of, value.as_str()]);
        }
        let metric = rest(metric, of);
        let scopes = SCOPES.iter().find(|(kind, _)| *kind == of).map_or(&[][..], |(_, scopes)| scopes);
        let scope = scopes.iter().find_map(|scope| {
            let rest = metric.strip_prefix(&scope.replace('.', "_"))?.strip_prefix('_')?;
            Some((*scope, rest))
        });
        let (scope, metric) = scope.map_or((None, metric), |(scope, rest)| (Some(scope), rest));
        parts.extend(scope);
        parts.extend(self.within.as_deref());
        parts.push(metric);
        parts.extend(self.last.as_deref());
        parts.join(".")
    }
}

/// What follows a first part of a name.
fn rest<'a>(name: &'a str, first: &str) -> &'a str {
    name.strip_prefix(first).map_or(name, |rest| rest.trim_start_matches('_'))
}

/// Rules that are only tried have a prefix of their own, which the name of the metric begins with.
fn network_rbac(prefix: &str, name: &str) -> String {
    match name.rsplit_once("_shadow_") {
        Some((own, outcome)) => format!("{prefix}.rbac.{own}.shadow_{outcome}"),
        None => format!("{prefix}.rbac.{name}"),
    }
}

/// Istio's metrics as its filter gives them to Envoy, with all labels in the name. Others follow Envoy's way to write
/// labels that it does not know.
fn foreign(metric: &str, labels: &str) -> String {
    let labels = labels_of(labels).into_iter().filter(|(label, _)| *label != "le");
    if metric.starts_with("istio_") {
        return labels.fold(format!("istiocustom.{metric}"), |name, (label, value)| format!("{name}.{label}.{value}"));
    }
    labels.fold(metric.to_owned(), |name, (label, value)| format!("{name};{label}={value}"))
}

/// As Envoy writes a name that comes from the configuration: a colon has a meaning of its own in `/stats`.
pub fn sanitized(name: &str) -> String {
    match name.contains(':') {
        true => name.replace("://", "_").replace(":/", "_").replace(':', "_"),
        false => name.to_owned(),
    }
}

/// The labels between the braces. A value may hold anything, with quotes escaped.
pub fn labels_of(mut labels: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    while let Some((label, rest)) = labels.split_once("=\"") {
        let (mut value, mut escaped, mut end) = (String::new(), false, rest.len());
        for (at, c) in rest.char_indices() {
            match (escaped, c) {
                (true, 'n') => value.push('\n'),
                (true, c) => value.push(c),
                (false, '\\') => {}
                (false, '"') => {
                    end = at;
                    break;
                }
                (false, c) => value.push(c),
            }
            escaped = !escaped && c == '\\';
        }
        found.push((label.trim_start_matches(','), value));
        labels = rest.get(end + 1..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names as Envoy 1.40 has them in `/stats` and in `/stats/prometheus`.
    #[test]
    fn a_metric_has_the_name_that_envoy_gives_it() {
        for (name, metric, labels) in [
            (
                "cluster.up.upstream_rq_2xx",
                "cluster_upstream_rq_xx",
                "envoy_cluster_name=up,envoy_response_code_class=2",
            ),
            ("cluster.up.upstream_rq_200", "cluster_upstream_rq", "envoy_cluster_name=up,envoy_response_code=200"),
            ("cluster.a_80/x.membership_total", "cluster_membership_total", "envoy_cluster_name=a:80/x"),
            (
                "cluster.up.circuit_breakers.default.rq_open",
                "cluster_circuit_breakers_default_rq_open",
                "envoy_cluster_name=up",
            ),
            (
                "cluster.up.outlier_detection.ejections_active",
                "cluster_outlier_detection_ejections_active",
                "envoy_cluster_name=up",
            ),
            ("cluster.up.health_check.attempt", "cluster_health_check_attempt", "envoy_cluster_name=up"),
            (
                "cluster.up.grpc.a.B.M.12",
                "cluster_grpc_12",
                "envoy_cluster_name=up,envoy_grpc_bridge_method=M,envoy_grpc_bridge_service=a.B",
            ),
            ("cluster.up.ratelimit.ok", "cluster_ratelimit_ok", "envoy_cluster_name=up"),
            ("cluster_manager.active_clusters", "cluster_manager_active_clusters", ""),
            ("cluster_manager.cds.update_success", "cluster_manager_cds_update_success", ""),
            ("listener_manager.lds.version", "listener_manager_lds_version", ""),
            ("listener_manager.total_listeners_active", "listener_manager_total_listeners_active", ""),
            ("server.live", "server_live", ""),
            ("sds.s.update_attempt", "sds_update_attempt", "envoy_sds_secret=s"),
            ("tracing.opentelemetry.spans_sent", "tracing_opentelemetry_spans_sent", ""),
            (
                "listener.127.0.0.1_80.downstream_cx_total",
                "listener_downstream_cx_total",
                "envoy_listener_address=127.0.0.1_80",
            ),
            ("listener.127.0.0.1_80.ssl.handshake", "listener_ssl_handshake", "envoy_listener_address=127.0.0.1_80"),
            (
                "listener.127.0.0.1_80.ssl.versions.TLSv1.3",
                "listener_ssl_versions",
                "envoy_listener_address=127.0.0.1_80,envoy_ssl_version=TLSv1.3",
            ),
            (
                "listener.127.0.0.1_80.ssl.ciphers.TLS_AES_256_GCM_SHA384",
                "listener_ssl_ciphers",
                "envoy_listener_address=127.0.0.1_80,envoy_ssl_cipher=TLS_AES_256_GCM_SHA384",
            ),
            ("http.x.downstream_rq_total", "http_downstream_rq_total", "envoy_http_conn_manager_prefix=x"),
            ("http.x.fault.aborts_injected", "http_fault_aborts_injected", "envoy_http_conn_manager_prefix=x"),
            ("http.x.rbac.denied", "http_rbac_denied", "envoy_http_conn_manager_prefix=x"),
            (
                "http.x.rbac.dry_.shadow_denied",
                "http_rbac_shadow_denied",
                "envoy_http_conn_manager_prefix=x,envoy_rbac_http_prefix=dry_",
            ),
            (
                "http.x.rds.r.update_attempt",
                "http_rds_update_attempt",
                "envoy_http_conn_manager_prefix=x,envoy_rds_route_config=r",
            ),
            ("l.http_local_rate_limit.enabled", "http_local_rate_limit_enabled", "envoy_local_http_ratelimit_prefix=l"),
            (
                "local_rate_limit.l.rate_limited",
                "local_rate_limit_rate_limited",
                "envoy_local_network_ratelimit_prefix=l",
            ),
            (
                "connection_limit.l.active_connections",
                "connection_limit_active_connections",
                "envoy_connection_limit_prefix=l",
            ),
            ("nr.rbac.denied", "rbac_denied", "envoy_rbac_prefix=nr"),
            ("nr.rbac.dry_.shadow_denied", "rbac_dry__shadow_denied", "envoy_rbac_prefix=nr"),
            ("tcp.t.downstream_cx_total", "tcp_downstream_cx_total", "envoy_tcp_prefix=t"),
            (
                "vhost.all.vcluster.vc.upstream_rq_2xx",
                "vhost_vcluster_upstream_rq_xx",
                "envoy_response_code_class=2,envoy_virtual_cluster=vc,envoy_virtual_host=all",
            ),
        ] {
            let quoted = |pair: &str| pair.replacen('=', "=\"", 1) + "\"";
            let labels: Vec<_> = labels.split(',').filter(|pair| !pair.is_empty()).map(quoted).collect();
            assert_eq!(dotted(&format!("envoy_{metric}"), &labels.join(",")), (name.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn istios_metrics_have_all_their_labels_in_their_names() {
        let (name, _) = dotted("istio_requests_total", "reporter=\"source\",source_app=\"a\"");
        assert_eq!(name, "istiocustom.istio_requests_total.reporter.source.source_app.a");
        assert_eq!(dotted("weft_x", "cause=\"io\"").0, "weft_x;cause=io");
    }
}
