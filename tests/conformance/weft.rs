//! The proxy under test: the `weft` binary with a bootstrap file, ended with the test.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

/// A loopback address that no other test has, so that every port of it is free.
pub fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(192);
    let [.., high, low] = std::process::id().to_be_bytes();
    IpAddr::from([127, NEXT.fetch_add(1, Ordering::Relaxed), high, low])
}

pub struct Weft {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Weft {
    /// Serves this bootstrap, in YAML.
    pub fn start(bootstrap: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bootstrap.yaml");
        std::fs::write(&file, bootstrap).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_weft"))
            .args(["proxy", "--concurrency", "1", "-c"])
            .arg(&file)
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = Vec::new();
        loop {
            let line = told.next().unwrap_or_else(|| panic!("the proxy ended: {before:#?}")).unwrap();
            if line.contains("serving") {
                break;
            }
            before.push(line);
        }
        // The pipe must not fill up.
        std::thread::spawn(move || told.for_each(drop));
        Self { child, _folder: folder }
    }
}

impl Weft {
    /// Resident memory in kB; from here on the peak is counted.
    pub fn memory(&self) -> usize {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
        self.status("VmRSS:")
    }

    /// The most resident memory since, in kB.
    pub fn peak_memory(&self) -> usize {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Weft {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A listener of a bootstrap: its own fields of the connection manager and of its virtual host's routes are YAML in
/// flow style.
pub struct Listener<'a> {
    pub name: &'a str,
    pub port: u16,
    pub manager: &'a str,
    pub routes: &'a str,
}

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

/// Filters that let everything through, each by its type below `http` and its settings.
const FILTERS: [(&str, &str); 6] = [
    (
        "rbac.v3.RBAC",
        ", rules: { action: DENY, policies: { p: { permissions: [{ url_path: { path: { prefix: /denied } } }], \
         principals: [{ any: true }] } } }",
    ),
    ("cors.v3.Cors", ""),
    ("fault.v3.HTTPFault", ""),
    ("grpc_stats.v3.FilterConfig", ", stats_for_all_methods: true"),
    (
        "local_ratelimit.v3.LocalRateLimit",
        ", stat_prefix: l, token_bucket: { max_tokens: 1000000, fill_interval: 1s }, \
         filter_enabled: { default_value: { numerator: 100 } }, filter_enforced: { default_value: { numerator: 100 } }",
    ),
    (
        "header_mutation.v3.HeaderMutation",
        ", mutations: { request_mutations: [{ append: { header: { key: x-filtered, value: seen } } }] }",
    ),
];

/// A bootstrap with these listeners and one cluster, `upstream`.
pub fn bootstrap(address: IpAddr, listeners: &[Listener<'_>], upstream: SocketAddr, cluster: &str) -> String {
    with_filters(address, listeners, upstream, cluster, "")
}

/// The same with a chain of filters in front of the router.
pub fn filtered(address: IpAddr, listeners: &[Listener<'_>], upstream: SocketAddr, cluster: &str) -> String {
    let filters = FILTERS.map(|(kind, settings)| {
        format!("{{ name: {kind}, typed_config: {{ \"@type\": {TYPES}.http.{kind}{settings} }} }}, ")
    });
    with_filters(address, listeners, upstream, cluster, &filters.concat())
}

fn with_filters(
    address: IpAddr,
    listeners: &[Listener<'_>],
    upstream: SocketAddr,
    cluster: &str,
    filters: &str,
) -> String {
    let listeners = listeners.iter().map(|listener| {
        let Listener { name, port, manager, routes } = listener;
        format!(
            "  - name: {name}\n    address: {{ socket_address: {{ address: {address}, port_value: {port} }} }}\n    \
             filter_chains: [{{ filters: [{{ name: http, typed_config: {{ \"@type\": \
             {TYPES}.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: {name}, {manager}, \
             http_filters: [{filters}{{ name: router, typed_config: {{ \"@type\": {TYPES}.http.router.v3.Router }} }}], \
             route_config: {{ name: {name}, virtual_hosts: [{{ name: all, domains: [\"*\"], routes: [{routes}] }}] }} \
             }} }}] }}]\n"
        )
    });
    format!(
        "static_resources:\n  listeners:\n{}  clusters:\n  - name: upstream\n    type: STATIC\n    connect_timeout: 10s\n    \
         load_assignment: {{ cluster_name: upstream, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: \
         {{ socket_address: {{ address: {}, port_value: {} }} }} }} }}] }}] }}\n    {cluster}\n",
        listeners.collect::<String>(),
        upstream.ip(),
        upstream.port(),
    )
}

/// Every path to the upstream.
pub const ALL: &str = "{ match: { prefix: / }, route: { cluster: upstream, timeout: 60s } }";
