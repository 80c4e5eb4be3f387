//! A root and two leaves for the benchmark, made anew for each run.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

/// Where the files are.
pub struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    pub fn make(directory: &Path) -> crate::Fallible<Self> {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        root.distinguished_name.push(DnType::CommonName, "bench root");
        let key = KeyPair::generate()?;
        std::fs::write(directory.join("ca.pem"), root.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(root, key);
        for who in ["server", "client"] {
            let mut leaf = CertificateParams::new(vec!["svc.default".to_owned()])?;
            leaf.subject_alt_names
                .push(SanType::URI(format!("spiffe://cluster.local/ns/default/sa/{who}").try_into()?));
            leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            let key = KeyPair::generate()?;
            std::fs::write(directory.join(format!("{who}.pem")), leaf.signed_by(&key, &issuer)?.pem())?;
            std::fs::write(directory.join(format!("{who}.key")), key.serialize_pem())?;
        }
        Ok(Self { directory: directory.to_owned() })
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}
