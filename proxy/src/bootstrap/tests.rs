//! How bootstrap files are refused: each with the path of what is wrong.

use super::*;

const TCP_PROXY: &str = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

fn refusal(text: &str, format: Format) -> String {
    parse_bootstrap(text, format).expect_err("the text is refused").to_string()
}

/// A listener with one filter.
fn listener(filter: &str) -> String {
    format!(
        "static_resources: {{listeners: [{{name: l, address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}},
         filter_chains: [{{filters: [{filter}]}}]}}]}}"
    )
}

#[test]
fn what_is_not_known_or_not_supported_is_refused_with_its_path() {
    let misspelt = listener(&format!("{{name: f, typed_config: {{'@type': {TCP_PROXY}, clutser: x}}}}"));
    let unknown = listener("{name: f, typed_config: {'@type': type.googleapis.com/no.Such}}");
    let filter = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config: ";
    for (text, expected) in [
        (misspelt.as_str(), format!("{filter}unrecognized field name 'clutser'")),
        (&unknown, format!("{filter}message 'no.Such' not found")),
        (
            "static_resources: {clusters: [{name: a, connect_timeout: 5}]}",
            "static_resources.clusters[0].connect_timeout: invalid type: integer `5`".into(),
        ),
        ("static_resources: {clusters: [{name: a, type: EDZ}]}", "static_resources.clusters[0].type: ".into()),
        (
            "static_resources: {clusters: [{name: a, per_connection_buffer_limit_bytes: 5}]}",
            "static_resources.clusters[0].per_connection_buffer_limit_bytes: ".into(),
        ),
        ("layered_runtime: {layers: [{name: x}]}", "layered_runtime.layers[0].static_layer: not set: ".into()),
        ("admin: {access_log_path: /tmp/x}", "admin.access_log_path: /tmp/x: ".into()),
        ("static_resources: {clusters: [{}]}", "static_resources.clusters[0].name: not set: is required".into()),
    ] {
        let told = refusal(text, Format::Yaml);
        assert!(told.starts_with(&expected), "{told:?} does not begin with {expected:?}");
    }
}

#[test]
fn enum_values_are_taken_in_any_case() {
    let cluster =
        "static_resources: {clusters: [{name: a, type: static, lb_policy: round_Robin, load_assignment: {}}]}";
    let read = parse_bootstrap(cluster, Format::Yaml).unwrap();
    assert!(matches!(read.clusters[0].lb_policy, crate::config::LbPolicy::RoundRobin { .. }));
}

#[test]
fn addresses_are_of_the_kind_that_the_cluster_looks_up() {
    let cluster = |kind: &str, hosts: &[&str]| {
        let host =
            |host: &&str| format!("{{endpoint: {{address: {{socket_address: {{address: {host}, port_value: 1}}}}}}}}");
        let hosts = hosts.iter().map(host).collect::<Vec<_>>().join(", ");
        format!(
            "static_resources: {{clusters: [{{name: a, type: {kind},
             load_assignment: {{endpoints: [{{lb_endpoints: [{hosts}]}}]}}}}]}}"
        )
    };
    let told = refusal(&cluster("STATIC", &["127.0.0.1", "localhost"]), Format::Yaml);
    let place =
        "static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[1].endpoint.address: localhost: ";
    assert!(told.starts_with(place) && told.contains("STRICT_DNS"), "{told}");
    let told = refusal(&cluster("LOGICAL_DNS", &["a.test", "b.test"]), Format::Yaml);
    assert!(told.contains("2 endpoints: a LOGICAL_DNS cluster has exactly one"), "{told}");
    for (kind, hosts) in [("STATIC", &["127.0.0.1", "::1"][..]), ("STRICT_DNS", &["a", "b"]), ("LOGICAL_DNS", &["a"])] {
        let text = cluster(kind, hosts).replace("::1", "'::1'");
        parse_bootstrap(&text, Format::Yaml).unwrap();
    }
}

#[test]
fn all_that_is_not_supported_is_told_at_once() {
    let told = refusal("flags_path: /x\nstatic_resources: {clusters: [{name: a, alt_stat_name: b}]}", Format::Yaml);
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].starts_with("static_resources.clusters[0].alt_stat_name: "), "{told}");
    assert!(lines[1].starts_with("flags_path: "), "{told}");
}

#[test]
fn sources_that_give_nothing_are_refused() {
    let cluster =
        |more: &str| format!("static_resources: {{clusters: [{{name: xds, load_assignment: {{}} {more}}}]}}\n");
    let ads =
        "ads_config: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}";
    let server = format!("dynamic_resources: {{{ads}}}\n");
    let eds = |source: &str| {
        format!(
            "static_resources: {{clusters: [{{name: a, type: EDS, eds_cluster_config: {{eds_config: {source}}}}}]}}"
        )
    };
    for (text, expected) in [
        (
            "dynamic_resources: {ads_config: {api_type: GRPC}}".to_owned(),
            "dynamic_resources.ads_config.transport_api_version: ",
        ),
        (
            "dynamic_resources: {ads_config: {api_type: REST, transport_api_version: V3}}".to_owned(),
            "dynamic_resources.ads_config.api_type: REST: GRPC and DELTA_GRPC are supported",
        ),
        (
            server.clone(),
            "dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name: xds: there is no cluster",
        ),
        (
            server + &cluster(""),
            "dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name: xds: gRPC needs HTTP/2; give",
        ),
        ("dynamic_resources: {lds_config: {ads: {}}}".to_owned(), "dynamic_resources.lds_config: ads: needs a server"),
        (
            "dynamic_resources: {cds_config: {path_config_source: {path: /no/such}}}".to_owned(),
            "dynamic_resources.cds_config: /no/such: there is no such file",
        ),
        (eds("{ads: {}}"), "static_resources.clusters[0].eds_cluster_config.eds_config: ads: needs a server"),
        (eds("{self: {}}"), "static_resources.clusters[0].eds_cluster_config.eds_config: self: "),
        (
            eds("{api_config_source: {api_type: GRPC, transport_api_version: V3}}"),
            "static_resources.clusters[0].eds_cluster_config.eds_config.api_config_source: ",
        ),
    ] {
        let told = refusal(&text, Format::Yaml);
        assert!(told.starts_with(expected), "{told:?} does not begin with {expected:?}");
    }
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let told = refusal("node: {id: a}\nnode: {id: b}\n", Format::Yaml);
    assert!(told.contains("duplicate") && told.contains("node") && told.contains("line 2"), "{told}");
    let told = refusal(r#"{"node": {"id": "a", "id": "b"}}"#, Format::Json);
    assert!(told.contains("\"id\" stands twice") && told.contains("line 1"), "{told}");
}

#[test]
fn what_is_not_in_the_file_cannot_be_named() {
    let route = "{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: gone, weight: 1}]}}}";
    let manager =
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let with = |validate: &str| {
        listener(&format!(
            "{{name: f, typed_config: {{'@type': {manager}, stat_prefix: s,
              http_filters: [{{name: r, typed_config: {{'@type': {router}}}}}],
              route_config: {{{validate} virtual_hosts: [{{name: v, domains: ['*'], routes: [{route}]}}]}}}}}}"
        ))
    };
    let told = refusal(&with(""), Format::Yaml);
    assert!(told.contains(".routes[0].route.weighted_clusters.clusters[0].name: gone: "), "{told}");
    assert!(parse_bootstrap(&with("validate_clusters: false,"), Format::Yaml).is_ok());

    let tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    let told = refusal(
        &format!(
            "static_resources: {{clusters: [{{name: a, load_assignment: {{cluster_name: a}},
             transport_socket: {{name: t, typed_config: {{'@type': {tls},
             common_tls_context: {{tls_certificate_sds_secret_configs: [{{name: default}}]}}}}}}}}]}}"
        ),
        Format::Yaml,
    );
    assert!(told.contains("clusters[0].transport_socket: sds_config: default: there is no secret"), "{told}");
}

#[test]
fn names_and_addresses_are_taken_once() {
    let twice = "static_resources: {clusters: [{name: a, load_assignment: {}}, {name: a, load_assignment: {}}]}";
    let told = refusal(twice, Format::Yaml);
    assert_eq!(told, "static_resources.clusters[1].name: a: another cluster has this name");
}

#[test]
fn json_and_yaml_mean_the_same() {
    let json = r#"{"node": {"id": "n"}, "admin": {"address": {"socketAddress": {"address": "::1", "portValue": 9}}}}"#;
    for format in [Format::Json, Format::Yaml] {
        let bootstrap = parse_bootstrap(json, format).unwrap();
        assert_eq!((bootstrap.node.id.as_str(), bootstrap.admin), ("n", Some("[::1]:9".parse().unwrap())));
    }
}

#[test]
fn a_key_that_is_none_is_found_before_serving() {
    let tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    let text = format!(
        "static_resources: {{listeners: [{{address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}},
         filter_chains: [{{
           filters: [{{name: f, typed_config: {{'@type': {TCP_PROXY}, stat_prefix: s, cluster: c}}}}],
           transport_socket: {{name: t, typed_config: {{'@type': {tls}, common_tls_context: {{tls_certificates: [
             {{certificate_chain: {{inline_string: none}}, private_key: {{inline_string: none}}}}]}}}}}}}}]}}]}}"
    );
    let told = refusal(&text, Format::Yaml);
    let expected = "static_resources.listeners[0].filter_chains[0].transport_socket: TLS: the certificate or key";
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn what_ordinary_files_say_of_the_process_is_taken_and_the_rest_is_named() {
    let ordinary = "
node: {id: n1, cluster: c1, locality: {region: r, zone: z}, metadata: {ROLE: edge}}
admin:
  profile_path: /var/lib/x/envoy.prof
  access_log: [{name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/null}}]
  address: {socket_address: {address: 127.0.0.1, port_value: 15000}}
stats_config: {use_all_default_tags: true}
stats_flush_interval: 5s
cluster_manager: {}
layered_runtime:
  layers:
  - {name: static, static_layer: {overload: {global_downstream_max_connections: '50000'}}}
  - {name: admin, admin_layer: {}}
overload_manager: {refresh_interval: 0.25s}
";
    let bootstrap = parse_bootstrap(ordinary, Format::Yaml).unwrap();
    assert_eq!(bootstrap.max_connections, Some(50_000));
    let layer = |values: &str| format!("layered_runtime: {{layers: [{{name: x, static_layer: {values}}}]}}");
    for (text, expected) in [
        (layer("{re2.max: 5}"), "layered_runtime.layers[0].static_layer[\"re2.max\"]: 5: nothing reads this key"),
        (layer("{envoy.restart_features.use_eds_cache_for_ads: false}"), "layered_runtime.layers[0].static_layer["),
        (layer("{overload.global_downstream_max_connections: 0}"), "layered_runtime.layers[0].static_layer["),
        ("layered_runtime: {layers: [{name: x, rtds_layer: {}}]}".into(), "layered_runtime.layers[0].rtds_layer: "),
        ("stats_config: {stats_tags: [{tag_name: a}]}".into(), "stats_config.stats_tags[0].regex: not set: "),
        ("stats_config: {stats_tags: [{tag_name: a, regex: 'a(?=b)(c)'}]}".into(), "stats_config.stats_tags[0].regex: "),
        ("bootstrap_extensions: [{name: a, typed_config: {'@type': x/envoy.extensions.bootstrap.internal_listener.v3.InternalListener, size: 1}}]".into(), "bootstrap_extensions[0].typed_config.size: "),
        ("watchdogs: {}".into(), "watchdogs: "),
        ("cluster_manager: {outlier_detection: {event_log_path: /x}}".into(), "cluster_manager.outlier_detection: "),
    ] {
        let told = refusal(&text, Format::Yaml);
        assert!(told.starts_with(expected), "{told:?} does not begin with {expected:?}");
    }
}

/// What a newcomer is told of a file.
fn told_of(text: &str) -> String {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("envoy.yaml");
    std::fs::write(&path, text).unwrap();
    read_bootstrap(&path).expect_err("the file is refused").to_string()
}

#[test]
fn what_is_wrong_is_told_with_line_path_value_and_rule() {
    let listener = "static_resources:
  listeners:
  - name: web
    address:
      socket_address: {address: 127.0.0.1, port_value: PORT}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: s
          cluster: c
";
    let web = listener.replace("PORT", "80");
    let second = web.split_once("  listeners:\n").unwrap().1;
    let tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    let without_key = format!(
        "{web}      transport_socket:
        name: tls
        typed_config:
          '@type': {tls}
          common_tls_context:
            tls_certificates:
            - certificate_chain: {{filename: /no/such.pem}}
"
    );
    for (text, expected) in [
        ("static_resources: [", "line 1"),
        ("", "the file is empty"),
        ("  \r\n\r\n", "the file is empty"),
        (
            "static_resources:\r\n  clusters:\r\n  - name: a\r\n    connect_timeout: 5\r\n",
            "line 4: static_resources.clusters[0].connect_timeout: invalid type",
        ),
        (
            &listener.replace("PORT", "99999"),
            "line 5: static_resources.listeners[0].address.socket_address.port_value: 99999: a port is at most 65535",
        ),
        (
            &web.replace("stat_prefix: s", "stat_prefx: s"),
            "line 9: static_resources.listeners[0].filter_chains[0].filters[0].typed_config: unrecognized field name 'stat_prefx'",
        ),
        (&web.replace("tcp_proxy.v3.TcpProxy", "tcp_proxy.v2.TcpProxy"), "tcp_proxy.v2.TcpProxy' not found"),
        (&format!("{web}{second}"), "line 13: static_resources.listeners[1].name: web: another listener has this name"),
        (
            &format!("{web}{}", second.replace("name: web", "name: other")),
            "static_resources.listeners[1].address: 127.0.0.1:80: another listener has this address",
        ),
        (
            &without_key,
            "line 19: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_certificates[0].certificate_chain.filename: /no/such.pem: cannot be read",
        ),
        (
            "flags_path: /x\nheader_prefix: other",
            "line 1: flags_path: \"/x\": envoy.config.bootstrap.v3.Bootstrap.flags_path is not supported",
        ),
    ] {
        let told = told_of(text);
        assert!(told.contains(expected), "{told:?} does not contain {expected:?}");
    }
}

#[test]
fn the_file_that_istio_writes_for_a_sidecar_is_taken() {
    let bootstrap = parse_bootstrap(include_str!("tests/istio-sidecar.json"), Format::Json).unwrap();
    assert_eq!(bootstrap.max_connections, Some(2_147_483_647));
    assert!(bootstrap.runtime.strips_fragments && bootstrap.stats.own_tags_only);
    assert_eq!(bootstrap.stats.tags.len(), 15);
    assert!(bootstrap.dynamic.ads.is_some() && bootstrap.listeners.len() == 1);
    let named = |name: &str| bootstrap.clusters.iter().find(|cluster| cluster.name == name).unwrap();
    let server = named("xds-grpc");
    assert_eq!(server.circuit_breakers.max_connections, 100_000);
    assert_eq!(server.high_circuit_breakers.max_connections, 90_000);
    assert_eq!(server.max_requests_per_connection, 1);
    assert_eq!(named("zipkin").dns_family, crate::config::DnsFamily::V4);
}
