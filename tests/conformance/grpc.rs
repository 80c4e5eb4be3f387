//! gRPC through two proxies, as sidecars stand between client and server: h2c, TLS and mutual TLS to the first, mutual
//! TLS between them.

mod rotation;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::python::{Server, run};
use crate::weft::{Weft, own_address};

const CASES: usize = 19;

struct Certificates {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    /// One authority, and a certificate that serves every side.
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Named unlike its certificates, or they would count as self-signed.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let made = Self { folder, issuer };
        let (chain, key) = made.issue();
        std::fs::create_dir(made.path("anonymous")).unwrap();
        for (name, text) in
            [("ca.pem", ca.pem()), ("anonymous/ca.pem", ca.pem()), ("cert.pem", chain), ("key.pem", key)]
        {
            std::fs::write(made.path(name), text).unwrap();
        }
        made
    }

    /// A certificate and its key.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["weft.test".into()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// The certificate in files, as a field of a side.
    fn files(&self) -> String {
        let (cert, key) = (self.path("cert.pem").display().to_string(), self.path("key.pem").display().to_string());
        format!(
            "tls_certificates: [{{ certificate_chain: {{ filename: {cert} }}, private_key: {{ filename: {key} }} }}], "
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

/// The transport socket of a side, whose own certificate this field tells; `peer`: the other's is asked for.
fn tls(kind: &str, certificates: &Certificates, own: &str, peer: bool) -> String {
    let ca = certificates.path("ca.pem").display().to_string();
    let trust =
        if peer { format!("validation_context: {{ trusted_ca: {{ filename: {ca} }} }}, ") } else { String::new() };
    let more = match kind {
        "UpstreamTlsContext" => "sni: weft.test, ",
        _ if peer => "require_client_certificate: true, ",
        _ => "",
    };
    format!(
        "transport_socket: {{ name: tls, typed_config: {{ \"@type\": {TLS}.{kind}, {more}\
         common_tls_context: {{ {own}{trust}alpn_protocols: [h2] }} }} }}"
    )
}

/// Everything to the cluster `next`.
const ALL: &str = "route_config: { name: all, virtual_hosts: [{ name: all, domains: [\"*\"], routes: [{ match: { prefix: / }, \
     route: { cluster: next, timeout: 0s } }] }] }";

fn listener(name: &str, address: IpAddr, port: u16, tls: &str) -> String {
    listener_with(name, address, port, tls, ALL)
}

fn listener_with(name: &str, address: IpAddr, port: u16, tls: &str, routes: &str) -> String {
    const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";
    let tls = if tls.is_empty() { String::new() } else { format!(", {tls}") };
    format!(
        "  - {{ name: {name}, address: {{ socket_address: {{ address: {address}, port_value: {port} }} }}, \
         filter_chains: [{{ filters: [{{ name: http, typed_config: {{ \"@type\": \
         {TYPES}.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: {name}, \
         http_filters: [{{ name: router, typed_config: {{ \"@type\": {TYPES}.http.router.v3.Router }} }}], \
         {routes} }} }}]{tls} }}] }}\n"
    )
}

fn proxy(listeners: &[String], address: IpAddr, port: u16, tls: &str) -> Weft {
    Weft::start(&format!(
        "static_resources:\n  listeners:\n{}  clusters:\n  - name: next\n    type: STATIC\n    load_assignment: \
         {{ cluster_name: next, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: \
         {{ address: {address}, port_value: {port} }} }} }} }}] }}] }}\n    typed_extension_protocol_options: \
         {{ envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{ \"@type\": \
         type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: \
         {{ http2_protocol_options: {{}} }} }} }}\n    {tls}\n",
        listeners.concat()
    ))
}

#[test]
fn grpc_works_through_two_proxies_over_h2c_tls_and_mutual_tls() {
    const SCRIPT: &str = "grpc/interop.py";
    let address = own_address();
    let certificates = Certificates::make();
    let (server, inbound) = (9000, 9001);
    let _server = Server::start(SCRIPT, &["serve", &format!("{address}:{server}")]);
    let own = certificates.files();
    let towards_client = |peer: bool| tls("DownstreamTlsContext", &certificates, &own, peer);
    let _near_server = proxy(&[listener("inbound", address, inbound, &towards_client(true))], address, server, "");
    let outbound = [
        listener("h2c", address, 8001, ""),
        listener("tls", address, 8002, &towards_client(false)),
        listener("mutual", address, 8003, &towards_client(true)),
    ];
    let between = tls("UpstreamTlsContext", &certificates, &own, true);
    let _near_client = proxy(&outbound, address, inbound, &between);
    let folder = |path: &Path| path.display().to_string();
    for (port, certificates) in [
        (8001, "-".to_owned()),
        (8002, folder(&certificates.path("anonymous"))),
        (8003, folder(certificates.folder.path())),
    ] {
        let said = run(SCRIPT, &["client", &format!("{address}:{port}"), &certificates]);
        assert_eq!(said.lines().filter(|line| line.starts_with("passed ")).count(), CASES, "{said}");
    }
}
