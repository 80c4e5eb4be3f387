//! Certificates that the mesh's own authority signed and that are no SVIDs all the same: the port of a workload refuses
//! each (SPIFFE X509-SVID; the whole list, on both sides, is in `proxy/src/identity/tls/tests.rs`).

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

use crate::identity::refusal;
use crate::mesh::Mesh;

const DAY: Duration = Duration::from_secs(86_400);

struct Leaf {
    folder: tempfile::TempDir,
}

impl Leaf {
    /// Signed by the authority of the mesh.
    fn new(mesh: &Mesh, params: &CertificateParams) -> Self {
        let authority = mesh.path().join("control-plane/ca");
        let read = |name: &str| fs::read_to_string(authority.join(name)).unwrap();
        let signer = KeyPair::from_pem(&read("intermediate-key.pem")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("intermediate.pem"), signer).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("leaf.pem"), certificate.pem()).unwrap();
        fs::write(folder.path().join("chain.pem"), read("intermediate.pem")).unwrap();
        fs::write(folder.path().join("leaf.key"), key.serialize_pem()).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// What openssl says of an attempt to use it.
    fn shown(&self, mesh: &Mesh, root: &Path, attempt: fn(&Mesh, &str, &[&str]) -> String) -> String {
        let (leaf, key, chain) = (self.path("leaf.pem"), self.path("leaf.key"), self.path("chain.pem"));
        let root = root.to_str().unwrap();
        attempt(mesh, "details-v1", &["-CAfile", root, "-cert", &leaf, "-key", &key, "-cert_chain", &chain])
    }
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn params(names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = (SystemTime::now() - Duration::from_secs(60)).into();
    params.not_after = (SystemTime::now() + Duration::from_secs(600)).into();
    params
}

#[test]
fn a_port_of_the_mesh_refuses_certificates_that_are_no_svids() {
    const OWN: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";
    let mesh = Mesh::start(&[]);
    let root = mesh.path().join("workloads/details-v1/root-cert.pem");
    let own = || params(vec![uri(OWN)]);

    // One that is: what is tried below fails for what it says alone.
    let good = Leaf::new(&mesh, &own());
    let served = good.shown(&mesh, &root, crate::identity::attempt);
    assert!(served.contains("HTTP/1.1 200"), "{served}");

    let mut named = params(Vec::new());
    named.distinguished_name.push(DnType::CommonName, "productpage");
    let mut expired = own();
    (expired.not_before, expired.not_after) = ((SystemTime::now() - 2 * DAY).into(), (SystemTime::now() - DAY).into());
    let mut early = own();
    (early.not_before, early.not_after) = ((SystemTime::now() + DAY).into(), (SystemTime::now() + 2 * DAY).into());
    let mut authority = own();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut signs = own();
    signs.key_usages.push(KeyUsagePurpose::KeyCertSign);
    let bad = [
        ("two identities", params(vec![uri(OWN), uri("spiffe://cluster.local/ns/default/sa/other")])),
        ("a common name only", named),
        ("a foreign trust domain", params(vec![uri("spiffe://other.example/ns/default/sa/bookinfo-productpage")])),
        ("no path", params(vec![uri("spiffe://cluster.local")])),
        ("another scheme", params(vec![uri("https://cluster.local/ns/default/sa/bookinfo-productpage")])),
        ("expired", expired),
        ("not yet valid", early),
        ("an authority", authority),
        ("may sign certificates", signs),
    ];
    for (what, params) in bad {
        let shown = Leaf::new(&mesh, &params).shown(&mesh, &root, refusal);
        assert!(shown.contains("alert"), "{what}: {shown}");
    }
}
