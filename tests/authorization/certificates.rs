//! An authority, the workload's certificate in files, and callers of any identity.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::ClientConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;

use crate::anyone::Anyone;

pub struct Certificates {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    callers: Mutex<BTreeMap<String, Arc<ClientConfig>>>,
}

impl Certificates {
    pub fn create() -> Self {
        let folder = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let this = Self { folder, issuer: Issuer::new(params, key), callers: Mutex::default() };
        let (certificate, key) = this.issue("cluster.local/ns/default/sa/shop");
        fs::write(this.path("own.pem"), certificate.pem()).unwrap();
        fs::write(this.path("own.key"), key.serialize_pem()).unwrap();
        this
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, principal: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{principal}").try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A caller that shows this identity, and believes any server.
    pub fn caller(&self, principal: &str) -> Arc<ClientConfig> {
        let mut callers = self.callers.lock().unwrap();
        let made = callers.entry(principal.to_owned()).or_insert_with(|| {
            let (certificate, key) = self.issue(principal);
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Anyone::new());
            let mut config = builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap();
            // By which a mesh's proxy knows its kind.
            config.alpn_protocols = vec![b"istio".to_vec()];
            Arc::new(config)
        });
        Arc::clone(made)
    }
}
