//! gRPC while the certificates of both proxies rotate over SDS, and routes are pushed over RDS.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};

use super::{CASES, Certificates, TLS, listener_with, proxy, tls};
use crate::python::{Server, run};
use crate::recorder::PATIENCE;
use crate::requests::read;
use crate::weft::own_address;

const TYPES: &str = "type.googleapis.com/envoy";
/// Where the first proxy takes plaintext, and mutual TLS.
const PORTS: (u16, u16) = (8001, 8003);

/// Rotations that gRPC must have worked through.
const LEAST: u32 = 3;

/// What the control plane has, one generation after another, in files that the proxies watch.
struct Pushed<'a> {
    certificates: &'a Certificates,
    generation: u32,
}

impl Pushed<'_> {
    fn put(&self, name: &str, resource: &Value) {
        let text = json!({"version_info": self.generation.to_string(), "resources": [resource]}).to_string();
        let new = self.certificates.path("new.json");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.certificates.path(name)).unwrap();
    }

    /// A new certificate, and routes that tell of it.
    fn next(&mut self) -> CertificateDer<'static> {
        self.generation += 1;
        let (chain, key) = self.certificates.issue();
        self.put(
            "sds.json",
            &json!({"@type": format!("{TLS}.Secret"), "name": "own", "tls_certificate": {
                "certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}}),
        );
        self.put(
            "rds.json",
            &json!({"@type": format!("{TYPES}.config.route.v3.RouteConfiguration"), "name": "pushed", "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [
                    {"match": {"path": "/generation"}, "direct_response": {"status": 200,
                        "body": {"inline_string": self.generation.to_string()}}},
                    {"match": {"prefix": "/"}, "route": {"cluster": "next", "timeout": "0s"}}]}]}),
        );
        CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()
    }
}

/// Which generation of routes is in force.
fn generation(address: SocketAddr) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET /generation HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let told = read(&mut client, &mut Vec::new(), false, 1).unwrap();
    String::from_utf8(told.whole[0].body.clone()).unwrap()
}

/// The certificate that a new connection is shown.
fn shown(address: SocketAddr, config: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tls = ClientConnection::new(Arc::clone(config), "weft.test".try_into().unwrap()).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).unwrap();
    }
    tls.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Waits until something is so.
fn until(what: &str, so: impl Fn() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < patience, "{what} does not come into force");
    }
}

fn file(path: &Path) -> Value {
    json!({"resource_api_version": "V3", "path_config_source": {"path": path}})
}

#[test]
fn grpc_works_while_certificates_rotate_and_routes_are_pushed() {
    const SCRIPT: &str = "grpc/interop.py";
    let (address, certificates) = (own_address(), Certificates::make());
    let mut pushed = Pushed { certificates: &certificates, generation: 0 };
    pushed.next();
    let (server, inbound) = (9000, 9001);
    let _server = Server::start(SCRIPT, &["serve", &format!("{address}:{server}")]);
    let own = json!([{"name": "own", "sds_config": file(&certificates.path("sds.json"))}]);
    let own = format!("tls_certificate_sds_secret_configs: {own}, ");
    let rds = json!({"route_config_name": "pushed", "config_source": file(&certificates.path("rds.json"))});
    let routes = format!("rds: {rds}");
    let side = |kind: &str| tls(kind, &certificates, &own, true);
    let near_server = [listener_with("inbound", address, inbound, &side("DownstreamTlsContext"), &routes)];
    let _near_server = proxy(&near_server, address, server, "");
    let near_client = [
        listener_with("plain", address, PORTS.0, "", &routes),
        listener_with("mutual", address, PORTS.1, &side("DownstreamTlsContext"), &routes),
    ];
    let _near_client = proxy(&near_client, address, inbound, &side("UpstreamTlsContext"));

    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_file_iter(certificates.path("ca.pem")).unwrap().flatten());
    let config = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    let (done, rotations) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let interop = scope.spawn(|| {
            let folder = certificates.folder.path().display().to_string();
            // Once more where it was over before there were enough rotations.
            for _ in 0..10 {
                let said = run(SCRIPT, &["client", &format!("{address}:{}", PORTS.1), &folder]);
                assert_eq!(said.lines().filter(|line| line.starts_with("passed ")).count(), CASES, "{said}");
                if rotations.load(Ordering::Relaxed) >= LEAST {
                    break;
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) && !interop.is_finished() {
            let certificate = pushed.next();
            until("a certificate", || {
                [PORTS.1, inbound].iter().all(|port| shown((address, *port).into(), &config) == certificate)
            });
            until("a route", || generation((address, PORTS.0).into()) == pushed.generation.to_string());
            rotations.fetch_add(1, Ordering::Relaxed);
        }
        interop.join().unwrap();
    });
    let rotations = rotations.into_inner();
    assert!(rotations >= LEAST, "there were {rotations} rotations only");
}
