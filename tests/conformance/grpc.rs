//! gRPC through two proxies, as sidecars stand between client and server: h2c, TLS and mutual TLS to the first, mutual
//! TLS between them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::python::{Server, run};
use crate::weft::{Weft, own_address};

const CASES: usize = 19;

struct Certificates {
    folder: tempfile::TempDir,
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
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["weft.test".into()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", ca.pem());
        write("cert.pem", certificate.pem());
        write("key.pem", key.serialize_pem());
        std::fs::create_dir(folder.path().join("anonymous")).unwrap();
        write("anonymous/ca.pem", ca.pem());
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

/// The transport socket of a side; `peer`: the other's certificate is asked for.
fn tls(kind: &str, certificates: &Certificates, own: bool, peer: bool) -> String {
    let file = |name| certificates.path(name).display().to_string();
    let (cert, key, ca) = (file("cert.pem"), file("key.pem"), file("ca.pem"));
    let own = if own {
        format!(
            "tls_certificates: [{{ certificate_chain: {{ filename: {cert} }}, private_key: {{ filename: {key} }} }}], "
        )
    } else {
        String::new()
    };
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

fn listener(name: &str, address: IpAddr, port: u16, tls: &str) -> String {
    const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";
    let tls = if tls.is_empty() { String::new() } else { format!(", {tls}") };
    format!(
        "  - {{ name: {name}, address: {{ socket_address: {{ address: {address}, port_value: {port} }} }}, \
         filter_chains: [{{ filters: [{{ name: http, typed_config: {{ \"@type\": \
         {TYPES}.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: {name}, \
         http_filters: [{{ name: router, typed_config: {{ \"@type\": {TYPES}.http.router.v3.Router }} }}], \
         route_config: {{ name: {name}, virtual_hosts: [{{ name: all, domains: [\"*\"], routes: [{{ match: \
         {{ prefix: / }}, route: {{ cluster: next, timeout: 0s }} }}] }}] }} }} }}]{tls} }}] }}\n"
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
    let towards_client = |own: bool, peer: bool| tls("DownstreamTlsContext", &certificates, own, peer);
    let _near_server =
        proxy(&[listener("inbound", address, inbound, &towards_client(true, true))], address, server, "");
    let outbound = [
        listener("h2c", address, 8001, ""),
        listener("tls", address, 8002, &towards_client(true, false)),
        listener("mutual", address, 8003, &towards_client(true, true)),
    ];
    let between = tls("UpstreamTlsContext", &certificates, true, true);
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
