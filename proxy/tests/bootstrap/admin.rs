//! The admin interface of a proxy that serves a bootstrap file: what its answers look like to Envoy's tools, and what
//! can be asked of it.

use serde_json::{Value, json};

use super::*;

/// The body of an answer as JSON.
async fn json_of(at: (IpAddr, u16), path: &str) -> Value {
    let answer = get(at, path, "").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/json"), "{head}");
    serde_json::from_str(body).unwrap()
}

async fn post(at: (IpAddr, u16), path: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn it_shows_what_is_served_in_the_shapes_of_envoy() {
    let address = address();
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    let admin = (address, 9901);
    let _ = get((address, 10000), "/hello", "").await;
    assert_all(&get(admin, "/ready", "").await, &["HTTP/1.1 200", "cache-control: no-cache, max-age=0", "LIVE"]);
    assert_all(&get(admin, "/listeners", "").await, &[&format!("http::{address}:10000")]);
    let socket = |port: u16| json!({"socket_address": {"address": address.to_string(), "port_value": port}});
    let expected = json!({"listener_statuses": [{"name": "http", "local_address": socket(10000)}]});
    assert_eq!(json_of(admin, "/listeners?format=json").await, expected);

    let host = format!("second::{address}:10002::");
    let lines =
        [format!("{host}health_flags::healthy"), format!("{host}weight::1"), "second::added_via_api::false".into()];
    assert_all(&get(admin, "/clusters", "").await, &lines.each_ref().map(String::as_str));
    let clusters = json_of(admin, "/clusters?format=json&filter=^sec").await;
    let statuses = clusters["cluster_statuses"].as_array().unwrap();
    assert_eq!((statuses.len(), &statuses[0]["name"]), (1, &json!("second")));
    assert_eq!(statuses[0]["host_statuses"][0]["address"], socket(10002));
    assert_eq!(statuses[0]["host_statuses"][0]["health_status"], json!({"eds_health_status": "HEALTHY"}));

    let info = json_of(admin, "/server_info").await;
    assert_eq!(
        (&info["state"], &info["node"]["id"], &info["node"]["cluster"]),
        (&json!("LIVE"), &json!("router"), &json!("examples"))
    );
    assert_eq!(json_of(admin, "/certs").await, json!({"certificates": []}));
    let name = format!("listener.{address}_10000.downstream_cx_total");
    let stats = json_of(admin, &format!("/stats?format=json&usedonly&filter={name}")).await;
    let known = stats["stats"].as_array().unwrap();
    assert!(known.iter().all(|one| one["name"] == json!(name) && one["value"] == json!(1)), "{stats}");
    assert_all(&get(admin, "/stats", "").await, &["listener.", ": 0\n"]);
    assert_all(&get(admin, "/stats/prometheus", "").await, &["# TYPE envoy_"]);
    proxy.stop().await;
}

#[tokio::test]
async fn the_configuration_is_dumped_as_it_stands_in_the_file() {
    let address = address();
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    let admin = (address, 9901);
    let dump = json_of(admin, "/config_dump").await;
    let types: Vec<_> = dump["configs"].as_array().unwrap().iter().map(|one| one["@type"].as_str().unwrap()).collect();
    let expected = ["Bootstrap", "Clusters", "Listeners", "Routes", "Secrets"];
    assert_eq!(types, expected.map(|name| format!("type.googleapis.com/envoy.admin.v3.{name}ConfigDump")));
    assert_eq!(dump["configs"][0]["bootstrap"]["node"]["id"], "router");
    let cluster = &dump["configs"][1]["static_clusters"][0];
    assert_eq!(cluster["cluster"]["@type"], "type.googleapis.com/envoy.config.cluster.v3.Cluster");
    assert!(cluster["last_updated"].as_str().unwrap().ends_with('Z'));

    let listeners = json_of(admin, "/config_dump?resource=static_listeners").await;
    assert_eq!(
        listeners["configs"][0]["@type"],
        "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.StaticListener"
    );
    assert_eq!(json_of(admin, "/config_dump?resource=dynamic_listeners").await, json!({}));
    let one = json_of(admin, "/config_dump?resource=static_clusters&name_regex=^first$").await;
    assert_eq!(one["configs"].as_array().unwrap().len(), 1);
    assert_all(
        &get(admin, "/config_dump?resource=nosuch", "").await,
        &["HTTP/1.1 404", "nosuch not found in config dump"],
    );
    assert_all(&get(admin, "/config_dump?mask=bootstrap", "").await, &["HTTP/1.1 400"]);
    proxy.stop().await;
}

#[tokio::test]
async fn only_a_post_changes_anything() {
    let address = address();
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    let admin = (address, 9901);
    for path in ["/quitquitquit", "/healthcheck/fail", "/drain_listeners", "/logging?level=off"] {
        let answer = get(admin, path, "").await;
        assert_all(&answer, &["HTTP/1.1 405", "Method GET not allowed, POST required."]);
    }
    assert_all(&get(admin, "/nosuch", "").await, &["HTTP/1.1 404", "invalid path. admin commands are:"]);
    assert_all(&post(admin, "/healthcheck/fail").await, &["HTTP/1.1 200", "OK"]);
    assert_all(&get(admin, "/ready", "").await, &["HTTP/1.1 503", "DRAINING"]);
    assert_all(&post(admin, "/healthcheck/ok").await, &["OK"]);
    assert_all(&get(admin, "/ready", "").await, &["HTTP/1.1 200", "LIVE"]);
    proxy.stop().await;
}

/// What every proxy of these tests is asked for.
const HELLO: &[u8] = b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn connections_end_with_their_next_answer_while_health_checks_are_to_fail() {
    let address = address();
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    let (http, admin) = ((address, 10000), (address, 9901));
    let mut kept = TcpStream::connect(http).await.unwrap();
    assert_all(&post(admin, "/healthcheck/fail").await, &["OK"]);
    kept.write_all(HELLO).await.unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).await.unwrap();
    assert_all(&answer, &["HTTP/1.1 200", "\r\nconnection: close\r\n"]);

    let (mut client, connection) = h2::client::handshake(TcpStream::connect(http).await.unwrap()).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get(format!("http://{address}/hello")).body(()).unwrap();
    let answer = client.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    connection.await.unwrap().unwrap();
    assert!(client.ready().await.is_err(), "an HTTP/2 connection takes more streams");

    assert_all(&post(admin, "/healthcheck/ok").await, &["OK"]);
    let mut kept = TcpStream::connect(http).await.unwrap();
    kept.write_all(HELLO).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(kept.read_u8().await.unwrap());
    }
    assert!(!String::from_utf8(head).unwrap().contains("connection: close"));
    proxy.stop().await;
}

#[tokio::test]
async fn a_proxy_whose_listeners_drain_is_live_all_the_same() {
    let address = address();
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    let admin = (address, 9901);
    assert_all(&post(admin, "/drain_listeners?graceful").await, &["HTTP/1.1 200", "OK"]);
    assert_all(&get(admin, "/ready", "").await, &["HTTP/1.1 200", "LIVE"]);
    assert_eq!(json_of(admin, "/server_info").await["state"], "LIVE");
    proxy.stop().await;
}

#[tokio::test]
async fn metrics_have_one_name_in_text_and_json_and_for_filters() {
    let address = address();
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    let admin = (address, 9901);
    let _ = get((address, 10000), "/hello", "").await;
    let text = get(admin, "/stats", "").await;
    let lines =
        ["\nserver.live: 1\n", "\ncluster_manager.active_clusters: ", "\nlistener_manager.total_listeners_active: 1\n"];
    assert_all(&text, &lines);
    assert!(!text.contains("\nserver_") && !text.contains("_manager_"), "{text}");
    let json = json_of(admin, "/stats?format=json&filter=^server.live$").await;
    assert_eq!(json, json!({"stats": [{"name": "server.live", "value": 1}]}));
    let metrics = get(admin, "/stats/prometheus?filter=^server.live$", "").await;
    let (_, metrics) = metrics.split_once("\r\n\r\n").unwrap();
    assert_eq!(metrics, "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n");
    let used = get(admin, "/stats?usedonly&format=prometheus", "").await;
    let (_, used) = used.split_once("\r\n\r\n").unwrap();
    let mut lines = used.lines().peekable();
    while let Some(line) = lines.next() {
        let bare = line.starts_with('#') && lines.peek().is_none_or(|next| next.starts_with('#'));
        assert!(!bare, "{line} has no sample in {used}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_host_that_fails_its_health_check_is_shown_so() {
    let address = address();
    upstream("first", address, 10001).await;
    let check = json!([{"timeout": "60s", "interval": "3600s", "unhealthy_threshold": 1, "healthy_threshold": 1,
        "http_health_check": {"path": "/"}}]);
    let host = |port: u16| {
        json!({"endpoint": {"address":
            {"socket_address": {"address": address.to_string(), "port_value": port}}}})
    };
    let bootstrap = json!({
        "admin": {"address": {"socket_address": {"address": address.to_string(), "port_value": 9901}}},
        "static_resources": {"clusters": [{"name": "c", "type": "STATIC", "health_checks": check, "load_assignment":
            {"cluster_name": "c", "endpoints": [{"lb_endpoints": [host(10001), host(10002)]}]}}]}});
    let proxy = Proxy::start(&bootstrap.to_string()).await;
    let admin = (address, 9901);
    let lines = [
        format!("c::{address}:10001::health_flags::healthy\n"),
        format!("c::{address}:10002::health_flags::/failed_active_hc\n"),
    ];
    assert_all(&get(admin, "/clusters", "").await, &lines.each_ref().map(String::as_str));
    let clusters = json_of(admin, "/clusters?format=json").await;
    let hosts = &clusters["cluster_statuses"][0]["host_statuses"];
    assert_eq!(hosts[0]["health_status"], json!({"eds_health_status": "HEALTHY"}));
    let failed = json!({"failed_active_health_check": true, "eds_health_status": "HEALTHY"});
    assert_eq!(hosts[1]["health_status"], failed);
    let stats = get(admin, "/stats?filter=health_check", "").await;
    let lines =
        [("attempt", 2), ("success", 1), ("failure", 1), ("network_failure", 1), ("healthy", 1), ("degraded", 0)];
    let lines = lines.map(|(name, count)| format!("cluster.c.health_check.{name}: {count}\n"));
    assert_all(&stats, &lines.each_ref().map(String::as_str));
    proxy.stop().await;
}

#[tokio::test]
async fn updates_are_counted_for_each_subscription() {
    let (address, directory) = (address(), tempfile::TempDir::new().unwrap());
    let file = |name: &str, kind: &str, mut resource: Value| {
        let path = directory.path().join(name);
        resource["@type"] = format!("type.googleapis.com/envoy.config.{kind}").into();
        std::fs::write(&path, json!({"version_info": "7", "resources": [resource]}).to_string()).unwrap();
        json!({"path_config_source": {"path": path.to_str().unwrap()}})
    };
    let at = |port: u16| json!({"socket_address": {"address": address.to_string(), "port_value": port}});
    let eds = file("eds.json", "endpoint.v3.ClusterLoadAssignment", json!({"cluster_name": "c"}));
    let cluster = json!({"name": "c", "type": "EDS", "eds_cluster_config": {"service_name": "c", "eds_config": eds}});
    let cds = file("cds.json", "cluster.v3.Cluster", cluster);
    let rds = file("rds.json", "route.v3.RouteConfiguration", json!({"name": "r"}));
    let filters = "type.googleapis.com/envoy.extensions.filters";
    let manager = json!({"@type": format!("{filters}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "x", "rds": {"route_config_name": "r", "config_source": rds}, "http_filters":
        [{"name": "router", "typed_config": {"@type": format!("{filters}.http.router.v3.Router")}}]});
    let chains = json!([{"filters": [{"name": "http", "typed_config": manager}]}]);
    let lds =
        file("lds.json", "listener.v3.Listener", json!({"name": "l", "address": at(10000), "filter_chains": chains}));
    let bootstrap = json!({"node": {"id": "i", "cluster": "c"}, "admin": {"address": at(9901)},
        "dynamic_resources": {"cds_config": cds, "lds_config": lds}});
    let proxy = Proxy::start(&bootstrap.to_string()).await;
    let stats = get((address, 9901), "/stats", "").await;
    for prefix in ["cluster_manager.cds", "listener_manager.lds", "cluster.c", "http.x.rds.r"] {
        // The version is the hash of its text, as Envoy 1.40 shows it.
        let lines = [("update_attempt", 1), ("update_success", 1), ("version", 1_750_302_349_509_622_455_u64)];
        let lines = lines.map(|(name, value)| format!("\n{prefix}.{name}: {value}\n"));
        assert_all(&stats, &lines.each_ref().map(String::as_str));
    }
    proxy.stop().await;
}

#[tokio::test]
async fn listeners_that_drain_take_no_more_connections_and_keep_those_they_have() {
    let address = address();
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    let http = (address, 10000);
    let mut kept = TcpStream::connect(http).await.unwrap();
    kept.write_all(HELLO).await.unwrap();
    let mut answer = [0; 12];
    kept.read_exact(&mut answer).await.unwrap();
    assert_all(&post((address, 9901), "/drain_listeners").await, &["HTTP/1.1 200", "OK"]);
    assert!(TcpStream::connect(http).await.is_err());
    kept.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    kept.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("HTTP/1.1 200"), "{rest}");
    proxy.stop().await;
}

#[tokio::test]
async fn it_can_be_asked_to_end() {
    let address = address();
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    assert_all(&post((address, 9901), "/quitquitquit").await, &["HTTP/1.1 200", "OK"]);
    proxy.ended.await.unwrap().unwrap();
}
