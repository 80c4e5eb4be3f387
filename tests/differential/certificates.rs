//! The certificates of a test: an authority, a server and a client, in files that both proxies read.

use std::fs;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;

use crate::corpus::Tls;

pub struct Certificates {
    dir: TempDir,
}

pub const CLIENT_ID: &str = "spiffe://test/ns/default/sa/client";

impl Certificates {
    pub fn create() -> Self {
        let dir = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let authority = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let uri = |name: &str| SanType::URI(name.try_into().unwrap());
        let leaf = |file: &str, name: &str, sans: Vec<SanType>| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.subject_alt_names = sans;
            let certificate = params.signed_by(&key, &issuer).unwrap();
            fs::write(dir.path().join(format!("{file}.pem")), certificate.pem()).unwrap();
            fs::write(dir.path().join(format!("{file}.key")), key.serialize_pem()).unwrap();
        };
        leaf("server", "server", vec![dns("a.test"), dns("b.test"), uri("spiffe://test/ns/default/sa/server")]);
        leaf("other", "other", vec![dns("other.test")]);
        leaf("client", "client", vec![uri(CLIENT_ID), dns("client.test")]);
        Self { dir }
    }

    pub fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    fn chain(&self, name: &str) -> Vec<CertificateDer<'static>> {
        let path = self.dir.path().join(format!("{name}.pem"));
        CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
    }

    fn key(&self, name: &str) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(self.dir.path().join(format!("{name}.key"))).unwrap()
    }

    /// A client that trusts the authority.
    pub fn client(&self, tls: &Tls) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.chain("ca").remove(0)).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match tls.certificate {
            true => builder.with_client_auth_cert(self.chain("client"), self.key("client")).unwrap(),
            false => builder.with_no_client_auth(),
        };
        config.alpn_protocols = tls.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// An upstream of the name `a.test`.
    pub fn server(&self) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder().with_no_client_auth();
        let mut config = builder.with_single_cert(self.chain("server"), self.key("server")).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}
