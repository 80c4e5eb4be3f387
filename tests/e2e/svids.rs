//! Certificates that the mesh's own authority signed and that are no SVIDs all the same: the port of a workload refuses
//! each, and so does the control plane's (SPIFFE X509-SVID; the whole list, on both sides, is in `proxy/src/identity/tls/tests.rs`).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::anyone::Anyone;
use crate::control_plane::ControlPlane;
use crate::identity::refusal;
use crate::mesh::Mesh;
use crate::strangers;

const DAY: Duration = Duration::from_secs(86_400);

struct Leaf {
    folder: tempfile::TempDir,
}

impl Leaf {
    /// Signed by the authority of the mesh whose data is here.
    fn new(data: &Path, params: &CertificateParams) -> Self {
        let authority = data.join("control-plane/ca");
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

    /// Whoever shows it, and believes any server.
    fn client(&self) -> ClientConfig {
        let read = |name: &str| CertificateDer::from_pem_file(self.path(name)).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path("leaf.key")).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.dangerous().with_custom_certificate_verifier(Anyone::new());
        builder.with_client_auth_cert(vec![read("leaf.pem"), read("chain.pem")], key).unwrap()
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

const OWN: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";

fn own() -> CertificateParams {
    params(vec![uri(OWN)])
}

/// What is wrong, and the certificate.
fn bad() -> Vec<(&'static str, CertificateParams)> {
    let changed = |change: fn(&mut CertificateParams)| {
        let mut params = own();
        change(&mut params);
        params
    };
    let now = SystemTime::now;
    let mut named = params(Vec::new());
    named.distinguished_name.push(DnType::CommonName, "productpage");
    let mut expired = own();
    (expired.not_before, expired.not_after) = ((now() - 2 * DAY).into(), (now() - DAY).into());
    let mut early = own();
    (early.not_before, early.not_after) = ((now() + DAY).into(), (now() + 2 * DAY).into());
    let long = format!("spiffe://cluster.local/{}", "a".repeat(2048));
    vec![
        ("two identities", params(vec![uri(OWN), uri("spiffe://cluster.local/ns/default/sa/other")])),
        ("a common name only", named),
        ("a foreign trust domain", params(vec![uri("spiffe://other.example/ns/default/sa/bookinfo-productpage")])),
        ("no path", params(vec![uri("spiffe://cluster.local")])),
        ("a path that ends with a slash", params(vec![uri("spiffe://cluster.local/ns/default/sa/a/")])),
        ("a query", params(vec![uri("spiffe://cluster.local/ns/default/sa/a?b")])),
        ("a fragment", params(vec![uri("spiffe://cluster.local/ns/default/sa/a#b")])),
        ("another scheme", params(vec![uri("https://cluster.local/ns/default/sa/bookinfo-productpage")])),
        ("too long", params(vec![uri(&long)])),
        ("expired", expired),
        ("not yet valid", early),
        ("an authority", changed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("may sign certificates", changed(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign))),
        ("may sign nothing", changed(|params| params.key_usages.clear())),
        ("for servers only", changed(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
    ]
}

#[test]
fn a_port_of_the_mesh_refuses_certificates_that_are_no_svids() {
    let mesh = Mesh::start(&[]);
    let root = mesh.path().join("workloads/details-v1/root-cert.pem");
    // One that is: what is tried below fails for what it says alone.
    let good = Leaf::new(mesh.path(), &own());
    let served = good.shown(&mesh, &root, crate::identity::attempt);
    assert!(served.contains("HTTP/1.1 200"), "{served}");
    for (what, params) in bad() {
        let shown = Leaf::new(mesh.path(), &params).shown(&mesh, &root, refusal);
        assert!(shown.contains("alert"), "{what}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_control_plane_refuses_certificates_that_are_no_svids_of_its_mesh() {
    let mut control_plane = ControlPlane::new();
    control_plane.start(&[]);
    let xds = crate::mesh::address(control_plane.address()["xds"].as_str().unwrap());
    let told = async |params: &CertificateParams| {
        let config = Leaf::new(control_plane.path(), params).client();
        // With TLS 1.3 a client learns only with the first answer that it was refused.
        let Ok(stream) = strangers::tls_as(xds, config).await else { return "refused".to_owned() };
        let Ok((calls, connection)) = h2::client::handshake(stream).await else { return "refused".to_owned() };
        tokio::spawn(connection);
        let Ok(mut calls) = calls.ready().await else { return "refused".to_owned() };
        let request = http::Request::post("https://control-plane/weft.v1.Trust/Follow");
        let request = request.header("content-type", "application/grpc").body(()).unwrap();
        let Ok((answer, _held)) = calls.send_request(request, false) else { return "refused".to_owned() };
        match tokio::time::timeout(Duration::from_secs(30), answer).await.expect("an answer") {
            Ok(answer) => {
                let status = answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
                status.unwrap_or_else(|| "served".to_owned())
            }
            Err(_) => "refused".to_owned(),
        }
    };
    assert_eq!(told(&own()).await, "served");
    for (what, params) in bad() {
        // 7 is PERMISSION_DENIED, 16 is UNAUTHENTICATED.
        let told = told(&params).await;
        assert!(matches!(&*told, "refused" | "7" | "16"), "{what}: {told}");
    }
}
