//! Bootstrap files whose listeners, clusters and secrets stand in files of their own, and what happens when those
//! change.

use super::*;

const TYPE: &str = "type.googleapis.com";
const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";
const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

/// The folder of a test, with files that are replaced as Kubernetes and editors do it.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn replace(&self, name: &str, text: &str) {
        std::fs::write(self.path("new"), text).unwrap();
        std::fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    /// Listeners and clusters from files.
    fn bootstrap(&self, more: &str) -> String {
        let (lds, cds) = (self.path("lds.yaml"), self.path("cds.yaml"));
        format!(
            "node: {{id: proxy, cluster: tests}}
dynamic_resources:
  cds_config: {{path_config_source: {{path: {cds}}}, resource_api_version: V3}}
  lds_config: {{path_config_source: {{path: {lds}}}}}
{more}"
        )
    }
}

/// A listener whose routes stand in a file.
fn listener(address: IpAddr, port: u16, routes: &str, socket: &str) -> String {
    format!(
        "resources:
- '@type': {TYPE}/envoy.config.listener.v3.Listener
  name: l{port}
  address: {{socket_address: {{address: {address}, port_value: {port}}}}}
  filter_chains:
  - filters:
    - name: envoy.filters.network.http_connection_manager
      typed_config:
        '@type': {FILTERS}.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: s
        rds: {{route_config_name: r, config_source: {{path_config_source: {{path: {routes}}}}}}}
        http_filters: [{{name: router, typed_config: {{'@type': {FILTERS}.http.router.v3.Router}}}}]
    {socket}
"
    )
}

fn routes(cluster: &str) -> String {
    let route = format!("{{match: {{prefix: /}}, route: {{cluster: {cluster}}}}}");
    format!(
        "resources:
- '@type': {TYPE}/envoy.config.route.v3.RouteConfiguration
  name: r
  virtual_hosts: [{{name: v, domains: ['*'], routes: [{route}]}}]
"
    )
}

/// Clusters `first` and `second`, whose endpoints stand in files.
fn clusters(files: &Files) -> String {
    let one = |name: &str| {
        let path = files.path(&format!("{name}.yaml"));
        format!(
            "- '@type': {TYPE}/envoy.config.cluster.v3.Cluster
  name: {name}
  type: EDS
  eds_cluster_config: {{eds_config: {{path: {path}}}}}
"
        )
    };
    format!("resources:\n{}{}", one("first"), one("second"))
}

fn endpoints(cluster: &str, address: IpAddr, port: u16) -> String {
    let endpoint = format!("{{endpoint: {{address: {{socket_address: {{address: {address}, port_value: {port}}}}}}}}}");
    format!(
        "resources:
- '@type': {TYPE}/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: {cluster}
  endpoints: [{{lb_endpoints: [{endpoint}]}}]
"
    )
}

async fn until_answered(at: (IpAddr, u16), part: &str) {
    while !answer_of(at).await.contains(part) {
        tokio::task::yield_now().await;
    }
}

/// Nothing if nobody listens.
async fn answer_of(at: (IpAddr, u16)) -> String {
    match TcpStream::connect(at).await {
        Ok(stream) => exchange(stream, "/", "").await,
        Err(_) => String::new(),
    }
}

#[tokio::test]
async fn files_that_change_are_taken_up_and_files_that_go_wrong_are_not() {
    let (address, files) = (address(), Files::new());
    upstream("first", address, 10001).await;
    upstream("second", address, 10002).await;
    files.replace("cds.yaml", &clusters(&files));
    files.replace("first.yaml", &endpoints("first", address, 10001));
    files.replace("second.yaml", &endpoints("second", address, 10002));
    files.replace("routes.yaml", &routes("first"));
    files.replace("lds.yaml", &listener(address, 10000, &files.path("routes.yaml"), ""));
    let proxy = Proxy::start(&files.bootstrap("")).await;
    let http = (address, 10000);
    assert_all(&answer_of(http).await, &["first saw /"]);

    files.replace("routes.yaml", &routes("second"));
    until_answered(http, "second saw /").await;
    files.replace("second.yaml", &endpoints("second", address, 10001));
    until_answered(http, "first saw /").await;

    // Files that are wrong, in form, type and content: the last good state stays, in each as a whole.
    for wrong in ["resources: [", "resources: 5", "resources: [{'@type': type.googleapis.com/no.Such}]"] {
        files.replace("lds.yaml", wrong);
        files.replace("routes.yaml", wrong);
    }
    files.replace("second.yaml", &endpoints("second", address, 10002));
    until_answered(http, "second saw /").await;

    // The listener moves.
    files.replace("routes.yaml", &routes("first"));
    files.replace("lds.yaml", &listener(address, 10005, &files.path("routes.yaml"), ""));
    until_answered((address, 10005), "first saw /").await;
    // Each worker takes it up by itself.
    while !answer_of(http).await.is_empty() {
        tokio::task::yield_now().await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_directory_that_is_swapped_is_seen_through_its_link() {
    let (address, files) = (address(), Files::new());
    upstream("first", address, 10001).await;
    upstream("second", address, 10002).await;
    files.replace("cds.yaml", &clusters(&files));
    files.replace("first.yaml", &endpoints("first", address, 10001));
    files.replace("second.yaml", &endpoints("second", address, 10002));
    for (version, cluster) in [("..v1", "first"), ("..v2", "second")] {
        std::fs::create_dir(files.path(version)).unwrap();
        std::fs::write(files.path(version) + "/routes.yaml", routes(cluster)).unwrap();
    }
    std::os::unix::fs::symlink("..v1", files.path("..data")).unwrap();
    std::os::unix::fs::symlink("..data/routes.yaml", files.path("routes.yaml")).unwrap();
    files.replace("lds.yaml", &listener(address, 10000, &files.path("routes.yaml"), ""));
    let proxy = Proxy::start(&files.bootstrap("")).await;
    assert_all(&answer_of((address, 10000)).await, &["first saw /"]);
    std::os::unix::fs::symlink("..v2", files.path("..new")).unwrap();
    std::fs::rename(files.path("..new"), files.path("..data")).unwrap();
    until_answered((address, 10000), "second saw /").await;
    proxy.stop().await;
}

/// Connects until the certificate is this one.
async fn until_certificate(at: (IpAddr, u16), root: &CertificateDer<'static>) {
    while over_tls(at, "shop.example", root).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_certificate_that_is_replaced_reaches_new_handshakes_and_leaves_connections_alone() {
    let (address, files) = (address(), Files::new());
    upstream("first", address, 10001).await;
    let old = certificate(files.0.path(), "shop", "shop.example");
    let secret = format!(
        "resources:
- '@type': {TLS}.Secret
  name: shop
  tls_certificate:
    certificate_chain: {{filename: {0}/shop.pem}}
    private_key: {{filename: {0}/shop-key.pem}}
    watched_directory: {{path: {0}}}
",
        files.path("")
    );
    files.replace("sds.yaml", &secret);
    let sds = format!("{{name: shop, sds_config: {{path_config_source: {{path: {}}}}}}}", files.path("sds.yaml"));
    let by_name = format!("tls_certificate_sds_secret_configs: [{sds}]");
    let by_file = format!(
        "tls_certificates: [{{certificate_chain: {{filename: {0}/shop.pem}}, private_key: {{filename: {0}/shop-key.pem}}}}]",
        files.path("")
    );
    let socket = |certificates: &str| {
        format!(
            "transport_socket: {{name: tls, typed_config: {{'@type': {TLS}.DownstreamTlsContext,
      common_tls_context: {{{certificates}}}}}}}"
        )
    };
    let both = listener(address, 10443, &files.path("routes.yaml"), &socket(&by_name))
        + listener(address, 10444, &files.path("routes.yaml"), &socket(&by_file)).trim_start_matches("resources:\n");
    files.replace("cds.yaml", &clusters(&files));
    files.replace("first.yaml", &endpoints("first", address, 10001));
    files.replace("second.yaml", &endpoints("second", address, 10001));
    files.replace("routes.yaml", &routes("first"));
    files.replace("lds.yaml", &both);
    let proxy = Proxy::start(&files.bootstrap("")).await;
    for port in [10443, 10444] {
        assert_all(&over_tls((address, port), "shop.example", &old).await.unwrap(), &["first saw /over-tls"]);
    }
    let mut kept = tls_stream((address, 10443), "shop.example", &old).await.unwrap();

    // A key without its certificate is no pair: what was there stays.
    let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    files.replace("shop-key.pem", &made.signing_key.serialize_pem());
    assert!(over_tls((address, 10443), "shop.example", &old).await.is_ok());
    files.replace("shop.pem", &made.cert.pem());
    let new = CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap();
    for port in [10443, 10444] {
        until_certificate((address, port), &new).await;
    }
    kept.write_all(b"GET /kept HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    kept.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    proxy.stop().await;
}
