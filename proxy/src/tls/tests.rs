//! Handshakes between a listener's TLS and a cluster's, as bootstrap files describe them.

mod peers;
mod sessions;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, HandshakeKind, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::*;
use crate::config::{Bootstrap, SanKind};
use crate::{Format, parse_bootstrap};

const DAY: Duration = Duration::from_secs(86_400);

/// An authority, and what it issues.
struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, in PEM.
struct Issued {
    chain: String,
    key: String,
    der: Vec<u8>,
    spki: Vec<u8>,
}

impl Ca {
    fn new() -> Self {
        Self(CertifiedIssuer::self_signed(Self::params(), KeyPair::generate().unwrap()).unwrap())
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    fn intermediate(&self) -> Self {
        Self(CertifiedIssuer::signed_by(Self::params(), KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    fn issue(&self, names: &[SanType]) -> Issued {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
        Issued { chain: leaf.pem(), key: key.serialize_pem(), der: leaf.der().to_vec(), spki }
    }

    fn pem(&self) -> Value {
        json!({"trusted_ca": {"inline_string": self.0.pem()}})
    }

    fn crl(&self, revoked: &[u64], expires: SystemTime) -> Value {
        let params = CertificateRevocationListParams {
            this_update: (SystemTime::now() - DAY).into(),
            next_update: expires.into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: (SystemTime::now() - DAY).into(),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        json!({"crl": {"inline_string": params.signed_by(&self.0).unwrap().pem().unwrap()}})
    }
}

impl Issued {
    fn shown(&self) -> Value {
        json!({"tls_certificates": [
            {"certificate_chain": {"inline_string": self.chain}, "private_key": {"inline_string": self.key}}]})
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// One object with the fields of all.
fn all(parts: impl IntoIterator<Item = Value>) -> Value {
    let mut whole = json!({});
    for part in parts {
        for (key, value) in part.as_object().unwrap() {
            whole[key] = value.clone();
        }
    }
    whole
}

fn parse(resources: Value) -> Result<Bootstrap, String> {
    let text = json!({ "static_resources": resources }).to_string();
    parse_bootstrap(&text, Format::Json).map_err(|error| error.to_string())
}

fn socket(kind: &str, context: Value) -> Value {
    let kind = format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}TlsContext");
    json!({"name": "tls", "typed_config": all([json!({"@type": kind}), context])})
}

/// A listener's TLS. The common part stands beside the rest.
fn downstream(common: Value, more: Value) -> Result<Arc<DownstreamTls>, String> {
    let context = all([json!({ "common_tls_context": common }), more]);
    let tcp = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let bootstrap = parse(json!({
        "listeners": [{"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}, "filter_chains": [{
            "transport_socket": socket("Downstream", context),
            "filters": [{"name": "t", "typed_config": {"@type": tcp, "stat_prefix": "s", "cluster": "c"}}]}]}],
        "clusters": [{"name": "c", "load_assignment": {"cluster_name": "c"}}]}))?;
    Ok(bootstrap.listeners[0].filter_chains[0].tls.clone().unwrap())
}

/// A cluster's TLS.
fn upstream(common: Value, more: Value) -> Result<Arc<UpstreamTls>, String> {
    let context = all([json!({ "common_tls_context": common }), more]);
    let cluster =
        json!({"name": "c", "load_assignment": {"cluster_name": "c"}, "transport_socket": socket("Upstream", context)});
    Ok(parse(json!({ "clusters": [cluster] }))?.clusters[0].tls.clone().unwrap())
}

const SETTINGS: TlsSettings = TlsSettings { identity: None };

fn serves(common: Value, more: Value) -> Arc<ServerConfig> {
    SETTINGS.server(&downstream(common, more).unwrap(), &Snapshot::default()).unwrap()
}

fn connects(common: Value, more: Value) -> Arc<ClientConfig> {
    SETTINGS.client(&upstream(common, more).unwrap(), &Snapshot::default()).unwrap()
}

type Streams = (client::TlsStream<tokio::io::DuplexStream>, server::TlsStream<tokio::io::DuplexStream>);

/// Shakes hands and passes a byte each way, so that refusals and tickets arrive. The errors are the client's and the
/// server's.
async fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<Streams, [Option<rustls::Error>; 2]> {
    let (near, far) = duplex(64 * 1024);
    let name = ServerName::try_from("a.example").unwrap();
    let client = async {
        let mut stream = TlsConnector::from(Arc::clone(client)).connect(name, near).await?;
        stream.write_all(b"x").await?;
        stream.read_exact(&mut [0]).await?;
        Ok::<_, std::io::Error>(stream)
    };
    let server = async {
        let mut stream = TlsAcceptor::from(Arc::clone(server)).accept(far).await?;
        stream.read_exact(&mut [0]).await?;
        stream.write_all(b"x").await?;
        stream.flush().await?;
        Ok::<_, std::io::Error>(stream)
    };
    let cause = |error: std::io::Error| error.get_ref().and_then(|inner| inner.downcast_ref().cloned());
    match tokio::join!(client, server) {
        (Ok(client), Ok(server)) => Ok((client, server)),
        (client, server) => Err([client.err().and_then(cause), server.err().and_then(cause)]),
    }
}

/// A server for `a.example` and the authority of all.
fn fixture() -> (Ca, Issued) {
    let ca = Ca::new();
    let server = ca.issue(&[dns("a.example")]);
    (ca, server)
}

#[tokio::test]
async fn versions_suites_and_groups_are_those_of_the_configuration() {
    let (ca, server) = fixture();
    let client = connects(json!({"validation_context": ca.pem()}), json!({}));
    let chosen = async |params: Value| {
        let server = serves(all([server.shown(), json!({ "tls_params": params })]), json!({}));
        let (_, stream) = shake(&client, &server).await.ok().unwrap();
        let connection = stream.get_ref().1;
        let suite = format!("{:?}", connection.negotiated_cipher_suite().unwrap().suite());
        (suite, format!("{:?}", connection.negotiated_key_exchange_group().unwrap().name()))
    };
    let (suite, group) = chosen(json!({})).await;
    assert!(suite.starts_with("TLS13_"), "{suite}");
    assert_eq!(group, "X25519MLKEM768");
    let params = json!({"tls_maximum_protocol_version": "TLSv1_2", "ecdh_curves": ["P-384"],
        "cipher_suites": ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256"]});
    let expected = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    assert_eq!(chosen(params).await, (expected.to_owned(), "secp384r1".to_owned()));
}

#[test]
fn what_cannot_be_honoured_is_refused_with_its_path() {
    let (ca, server) = fixture();
    let told = |common: Value, more: Value| {
        let error = downstream(all([server.shown(), common]), more).err().unwrap();
        let path = error.rsplit_once("typed_config.").map_or("", |(_, rest)| rest);
        path.split_once(": ").map_or("", |(path, _)| path).to_owned()
    };
    let validation = |context: Value| json!({ "validation_context": context });
    let exact = json!([{"san_type": "URI", "matcher": {"exact": "x"}}]);
    for (common, more, path) in [
        (json!({}), json!({"require_client_certificate": true}), "require_client_certificate"),
        (json!({}), json!({"ocsp_staple_policy": "MUST_STAPLE"}), "ocsp_staple_policy"),
        (
            json!({}),
            json!({"session_ticket_keys": {"keys": [{"inline_string": "short"}]}}),
            "session_ticket_keys.keys[0]",
        ),
        (json!({"key_log": {"path": "/x"}}), json!({}), "common_tls_context.key_log"),
        (validation(json!({})), json!({}), "common_tls_context.validation_context.trusted_ca"),
        (
            validation(json!({"match_typed_subject_alt_names": exact})),
            json!({}),
            "common_tls_context.validation_context.match_typed_subject_alt_names",
        ),
        (
            validation(all([ca.pem(), json!({"verify_certificate_hash": ["00"]})])),
            json!({}),
            "common_tls_context.validation_context.verify_certificate_hash[0]",
        ),
    ] {
        assert_eq!(told(common, more), path);
    }
    let error = upstream(json!({}), json!({"allow_renegotiation": true})).err().unwrap();
    assert!(error.contains("typed_config.allow_renegotiation: "), "{error}");
}

#[test]
fn workers_share_what_is_in_use() {
    let (ca, server) = fixture();
    let tls = downstream(server.shown(), json!({})).unwrap();
    let one = SETTINGS.server(&tls, &Snapshot::default()).unwrap();
    assert!(Arc::ptr_eq(&one, &SETTINGS.server(&tls, &Snapshot::default()).unwrap()));
    let roots = Arc::new(Secret::TrustedCa(ca.0.pem().into_bytes()));
    let snapshot = Snapshot { secrets: [("roots".to_owned(), roots)].into(), ..Snapshot::default() };
    let common = CommonTls { validation: Some(ValidationSource::Sds("roots".into())), ..tls.common.clone() };
    let named = Arc::new(DownstreamTls { common, ..(*tls).clone() });
    assert!(matches!(SETTINGS.server(&named, &Snapshot::default()), Err(TlsError::NoSecret(_))), "a late secret");
    assert!(SETTINGS.server(&named, &snapshot).is_ok());
}
