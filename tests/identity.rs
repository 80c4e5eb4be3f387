//! The authority and the agent together, over a real port: joining, renewing, and refusing to believe impostors.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "e2e/anyone.rs"]
mod anyone;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::istio::v1::auth::IstioCertificateRequest;
use api::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use api::weft::v1::trust_client::TrustClient;
use api::{SpiffeId, TrustDomain};
use citadel::{
    Attestor, Authority, Capacity, CurrentCertificate, Denials, DeniedKind, JoinToken, Members, NewDenial, NewToken,
    Phase, Rooms, Rotation, RotationError, SelfSigned, Signing, Tokens, Trust,
};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use proxy::identity::{Identity, IdentityError, IdentityOptions};
use runtime::ManualClock;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use store::Memory;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use anyone::Anyone;

/// What the control plane may have, so that a few connections are many.
const DESCRIPTORS: usize = 1024;

struct Mesh {
    dir: TempDir,
    time: ManualClock,
    trust_domain: TrustDomain,
    authority: Arc<SelfSigned>,
    rotation: Rotation,
    denials: Denials,
    tokens: Tokens,
    members: Members,
}

impl Mesh {
    async fn new() -> Self {
        let (dir, store) = (TempDir::new().unwrap(), Arc::new(Memory::new()));
        let time = ManualClock::at(SystemTime::now());
        let trust_domain = TrustDomain::new("cluster.local").unwrap();
        let authority = SelfSigned::open(&dir.path().join("ca"), &trust_domain, store.clone(), time.clock()).unwrap();
        let members = Members::new(store.clone(), time.clock());
        let own = trust_domain.workload("istio-system", "control-plane").unwrap();
        let denials = Denials::open(store.clone(), time.clock(), own, &[], Duration::ZERO).await.unwrap();
        let tokens = Tokens::new(store, authority.trust_bundle(), time.clock());
        let authority = Arc::new(authority);
        let rotation = Rotation::new(authority.clone(), false);
        Self { dir, time, trust_domain, authority, rotation, denials, tokens, members }
    }

    /// Serves the signing service as `id`; returns the address.
    async fn serve_as(&self, id: SpiffeId, capacity: Capacity) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let tls = citadel::server_tls(self.authority.clone(), id, self.time.clock()).await.unwrap();
        let tls = tls.cutting(self.denials.watch());
        let attestors: Vec<Box<dyn Attestor>> = vec![
            Box::new(JoinToken::new(self.tokens.clone())),
            Box::new(CurrentCertificate::new(self.authority.trust_bundle(), self.time.clock())),
        ];
        let signing = Signing::new(self.authority.clone(), attestors, self.members.clone(), self.control_plane());
        let signing = signing.refusing(self.denials.watch()).into_service();
        let trust = Trust::server(self.rotation.clone(), self.denials.watch());
        let server = citadel::server().add_service(signing).add_service(trust);
        tokio::spawn(server.serve_with_incoming(citadel::incoming(listener, tls, Rooms::new(capacity))));
        address
    }

    async fn serve(&self) -> String {
        self.serve_as(self.control_plane(), Capacity::within(DESCRIPTORS)).await
    }

    fn control_plane(&self) -> SpiffeId {
        self.trust_domain.workload("istio-system", "control-plane").unwrap()
    }

    async fn token(&self) -> Option<String> {
        Some(self.tokens.create(NewToken::new("default", "reviews")).await.unwrap().text)
    }

    /// A workload of this machine, without a token.
    fn workload(&self, address: &str) -> IdentityOptions {
        let dir = self.dir.path().join("workloads/reviews");
        let options = IdentityOptions::new(dir, format!("https://{address}"), &self.trust_domain).unwrap();
        IdentityOptions { patience: Duration::ZERO, clock: self.time.clock(), jitter: Arc::new(|| 0.0), ..options }
    }
}

/// An address where nobody listens, and nobody else can while the socket is there.
fn vacant() -> (TcpSocket, String) {
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    (taken, address)
}

#[tokio::test]
async fn a_workload_joins_once_and_renews_by_its_certificate() {
    let mesh = Mesh::new().await;
    let address = mesh.serve().await;
    let joining = IdentityOptions { token: mesh.token().await, ..mesh.workload(&address) };
    let joined = Identity::load_or_join(joining).await.unwrap().current();
    assert_eq!(joined.id().to_string(), "spiffe://cluster.local/ns/default/sa/reviews");

    mesh.time.advance(Duration::from_secs(35 * 60));
    let restarted = Identity::load_or_join(mesh.workload(&address)).await.unwrap();
    let mut svids = restarted.watch();
    assert_eq!(svids.borrow_and_update().serial(), joined.serial());
    svids.changed().await.unwrap();
    let renewed = restarted.current();
    assert_eq!(renewed.id(), joined.id());
    assert!(renewed.not_after() > joined.not_after());
    let ledger = mesh.authority.ledger().entries().await.unwrap();
    let entry = ledger.iter().find(|entry| entry.serial == renewed.serial()).unwrap();
    assert_eq!(entry.attested_by, format!("certificate {}", joined.serial()));
}

#[tokio::test]
async fn a_stored_identity_starts_while_the_control_plane_is_away() {
    let mesh = Mesh::new().await;
    let joining = IdentityOptions { token: mesh.token().await, ..mesh.workload(&mesh.serve().await) };
    let joined = Identity::load_or_join(joining).await.unwrap().current();
    let (_taken, vacant) = vacant();
    mesh.time.advance(Duration::from_secs(50 * 60));
    let restarted = Identity::load_or_join(mesh.workload(&vacant)).await.unwrap();
    assert_eq!(restarted.current().serial(), joined.serial());
}

#[tokio::test]
async fn a_control_plane_under_another_root_than_the_token_names_is_not_believed() {
    let (mesh, other) = (Mesh::new().await, Mesh::new().await);
    let address = other.serve().await;
    let joining = IdentityOptions { token: mesh.token().await, ..mesh.workload(&address) };
    let refused = Identity::load_or_join(joining).await.err().unwrap();
    assert!(
        matches!(&refused, IdentityError::Untrusted { cause, .. } if cause.kind() == "unknown_authority"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_workload_cannot_pose_as_the_control_plane() {
    let mesh = Mesh::new().await;
    let address =
        mesh.serve_as(mesh.trust_domain.workload("default", "ratings").unwrap(), Capacity::within(DESCRIPTORS)).await;
    let joining = IdentityOptions { token: mesh.token().await, ..mesh.workload(&address) };
    let refused = Identity::load_or_join(joining).await.err().unwrap();
    assert!(matches!(&refused, IdentityError::Untrusted { cause, .. } if cause.kind() == "not_allowed"), "{refused}");
}

#[tokio::test]
async fn refusals_reach_the_workload_in_words() {
    let mesh = Mesh::new().await;
    let (stale, token) = (mesh.serve().await, mesh.token().await);
    mesh.time.advance(Duration::from_secs(2 * 3600));
    let refused = Identity::load_or_join(IdentityOptions { token: token.clone(), ..mesh.workload(&stale) }).await;
    assert!(matches!(refused.err().unwrap(), IdentityError::Untrusted { cause, .. } if cause.kind() == "expired"));
    let fresh = mesh.serve().await;
    let refused = Identity::load_or_join(IdentityOptions { token, ..mesh.workload(&fresh) }).await.err().unwrap();
    assert!(refused.to_string().contains("the join token expired"), "{refused}");
    let without = Identity::load_or_join(mesh.workload(&fresh)).await.err().unwrap();
    assert!(matches!(without, IdentityError::NoToken { .. }), "{without}");
}

/// A connection from an address of this machine.
async fn connect(from: &str, to: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(to.parse().unwrap()).await.unwrap()
}

async fn flood(from: &str, to: &str, count: usize) -> Vec<TcpStream> {
    let mut flood = Vec::new();
    for _ in 0..count {
        flood.push(connect(from, to).await);
    }
    flood
}

/// What a client says first, of TLS.
fn hello() -> Vec<u8> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), "control-plane".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

#[tokio::test]
async fn bad_and_hanging_handshakes_hold_up_nobody() {
    let mesh = Mesh::new().await;
    let address = mesh.serve().await;
    // As many as three times the handshakes that were once made at a time.
    let _silent = flood("127.0.0.2", &address, 700).await;
    let mut begun = flood("127.0.0.3", &address, 100).await;
    for connection in &mut begun {
        // Whoever is cut already need not be told.
        let _ = connection.write_all(&hello()).await;
    }
    let mut bad = TcpStream::connect(&address).await.unwrap();
    bad.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    // The server closes a connection that does not speak TLS.
    let _ = bad.read_to_end(&mut Vec::new()).await;
    let joining = IdentityOptions { token: mesh.token().await, ..mesh.workload(&address) };
    Identity::load_or_join(joining).await.unwrap();
}

#[tokio::test]
async fn a_flood_from_ones_own_address_is_in_ones_way_until_its_time_is_over() {
    let mesh = Mesh::new().await;
    let address = mesh.serve().await;
    // Whoever says nothing makes room at once.
    let _silent = flood("127.0.0.1", &address, 300).await;
    let joining = IdentityOptions { token: mesh.token().await, ..mesh.workload(&address) };
    Identity::load_or_join(joining.clone()).await.unwrap();
    std::fs::remove_dir_all(&joining.dir).unwrap();

    let mut begun = Vec::new();
    for _ in 0..Capacity::within(DESCRIPTORS).handshakes / 4 {
        let mut connection = connect("127.0.0.1", &address).await;
        connection.write_all(&hello()).await.unwrap();
        // It is answered: its handshake is under way.
        connection.read_u8().await.unwrap();
        begun.push(connection);
    }
    let joining = IdentityOptions { token: mesh.token().await, ..joining };
    let refused = Identity::load_or_join(joining.clone()).await.err().unwrap();
    assert!(matches!(refused, IdentityError::Unreachable { .. }), "{refused:?}");
    for mut connection in begun {
        let _ = connection.read_to_end(&mut Vec::new()).await;
    }
    Identity::load_or_join(joining).await.unwrap();
}

#[tokio::test]
async fn whoever_has_its_share_of_connections_without_a_certificate_has_no_more() {
    const BEYOND: usize = 3;
    let mesh = Mesh::new().await;
    let address = mesh.serve().await;
    let each = Capacity::within(DESCRIPTORS).strangers / 4;
    let mut closed = FuturesUnordered::new();
    for _ in 0..each + BEYOND {
        let mut stranger = stranger(connect("127.0.0.2", &address).await).await;
        closed.push(async move { stranger.read_to_end(&mut Vec::new()).await });
    }
    for _ in 0..BEYOND {
        let _ = closed.next().await.unwrap();
    }
    let joining = IdentityOptions { token: mesh.token().await, ..mesh.workload(&address) };
    Identity::load_or_join(joining).await.unwrap();
    assert!(closed.next().now_or_never().is_none(), "the others are there");
}

/// A finished handshake, without a certificate.
async fn stranger(connection: TcpStream) -> TlsStream<TcpStream> {
    let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Anyone::new());
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config)).connect("control-plane".try_into().unwrap(), connection).await.unwrap()
}

/// A workload by its number that joins, and follows the trust bundle until the task is aborted.
async fn follower(mesh: &Mesh, address: &str, number: usize) -> (Identity, tokio::task::JoinHandle<()>) {
    let dir = mesh.dir.path().join(format!("workloads/{number}"));
    let token = Some(mesh.tokens.create(NewToken::new("default", format!("app-{number}"))).await.unwrap().text);
    // Whoever must renew does so at once.
    let jitter: proxy::identity::Jitter = Arc::new(|| -1.0);
    let options = IdentityOptions { dir, token, jitter, ..mesh.workload(address) };
    let identity = Identity::load_or_join(options).await.unwrap();
    let following = follow(mesh, address, &identity);
    (identity, following)
}

fn follow(mesh: &Mesh, address: &str, identity: &Identity) -> tokio::task::JoinHandle<()> {
    let channel = proxy::control_plane_channel(address, identity, mesh.control_plane());
    tokio::spawn(identity.clone().follow_trust(channel))
}

/// Takes the next step as soon as nobody is behind.
async fn step(mesh: &Mesh) -> Phase {
    loop {
        match mesh.rotation.advance(false).await {
            Ok(progress) => return progress.phase,
            Err(RotationError::Waits(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_follow_a_change_of_roots_which_waits_for_the_one_that_is_cut_off() {
    let mesh = Mesh::new().await;
    // All of them are at one address, and come at once.
    let address = mesh.serve_as(mesh.control_plane(), Capacity::within(100 * DESCRIPTORS)).await;
    let mut followers = Vec::new();
    for number in 0..200 {
        followers.push(follower(&mesh, &address, number).await);
    }
    let (cut_off, following) = &followers[7];
    following.abort();
    let old = mesh.authority.signing_root();
    assert_eq!((step(&mesh).await, step(&mesh).await), (Phase::Staged, Phase::Distributed));
    // All others have both roots on disk and in use.
    while mesh.rotation.progress().await.unwrap().waiting.len() > 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waits = mesh.rotation.advance(false).await.unwrap_err().to_string();
    assert!(waits.starts_with("1 of 200 holders of certificates are behind"), "{waits}");
    assert!(waits.contains("spiffe://cluster.local/ns/default/sa/app-7 (member "), "{waits}");
    assert_eq!(mesh.authority.signing_root(), old, "nothing happened");

    let _back = follow(&mesh, &address, cut_off);
    assert_eq!(step(&mesh).await, Phase::Signing);
    assert_eq!(step(&mesh).await, Phase::Idle);
    assert_ne!(mesh.authority.signing_root(), old);
    for (identity, _) in &followers {
        let mut svids = identity.watch();
        svids.wait_for(|svid| svid.roots().len() == 1).await.unwrap();
        let svid = identity.current();
        assert_eq!(citadel::sha256(&svid.roots()[0]), mesh.authority.signing_root());
        let bundle = mesh.authority.trust_bundle().borrow().clone();
        citadel::verify_peer(svid.chain(), &bundle, mesh.time.clock().now()).unwrap();
    }
}

async fn deny(mesh: &Mesh, id: &SpiffeId) {
    let (value, reason) = (id.to_string(), "key leaked".to_owned());
    mesh.denials.deny(NewDenial { kind: DeniedKind::Identity, value, reason, lasts: None }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_denied_gets_nothing_and_is_told_why_and_the_others_keep_the_list() {
    let mesh = Mesh::new().await;
    let address = mesh.serve().await;
    let (denied, _) = follower(&mesh, &address, 1).await;
    let (other, following) = follower(&mesh, &address, 2).await;
    let channel = proxy::control_plane_channel(&address, &denied, mesh.control_plane());
    let mut trust = TrustClient::new(channel);
    let mut stream = trust.follow(tokio_stream::pending()).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());

    deny(&mesh, denied.current().id()).await;
    while let Ok(Some(_)) = stream.message().await {}
    // The stream may end before the connection does.
    let mut trust = TrustClient::new(proxy::control_plane_channel(&address, &denied, mesh.control_plane()));
    let refused = trust.follow(tokio_stream::pending()).await.unwrap().into_inner().message().await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(refused.message().contains("sa/app-1") && refused.message().contains("(key leaked)"), "{refused}");
    // Neither a new token nor the certificate that it has gets it another one.
    let token = Some(mesh.tokens.create(NewToken::new("default", "app-1")).await.unwrap().text);
    let refused = Identity::load_or_join(IdentityOptions { token, ..mesh.workload(&address) }).await.err().unwrap();
    assert!(matches!(&refused, IdentityError::Refused(why) if why.contains("key leaked")), "{refused}");

    other.watch().wait_for(|svid| svid.denied().len() == 1).await.unwrap();
    following.abort();
    let (_taken, vacant) = vacant();
    let dir = mesh.dir.path().join("workloads/2");
    let restarted = Identity::load_or_join(IdentityOptions { dir, ..mesh.workload(&vacant) }).await.unwrap();
    assert_eq!(restarted.current().denied().len(), 1, "the last list holds while the control plane is away");
}

/// Asks for a certificate over a channel that may have another's requests on it too.
async fn sign(channel: tonic::transport::Channel) -> Result<(), tonic::Status> {
    let csr = rcgen::CertificateParams::default().serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let request = IstioCertificateRequest { csr: csr.pem().unwrap(), validity_duration: 0, metadata: None };
    IstioCertificateServiceClient::new(channel).create_certificate(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_floods_is_told_when_to_come_again_and_all_others_are_served() {
    const AGENTS: usize = 40;
    const EACH: usize = 5;
    const FLOOD: usize = 600;
    let mesh = Mesh::new().await;
    let address = mesh.serve().await;
    let channel = async |number| {
        let (identity, _) = follower(&mesh, &address, number).await;
        proxy::control_plane_channel(&address, &identity, mesh.control_plane())
    };
    let flooding = channel(0).await;
    let flood: Vec<_> = (0..FLOOD).map(|_| tokio::spawn(sign(flooding.clone()))).collect();
    let mut others = Vec::new();
    for number in 1..=AGENTS {
        let channel = channel(number).await;
        others.extend((0..EACH).map(|_| tokio::spawn(sign(channel.clone()))));
    }
    for served in others {
        served.await.unwrap().unwrap();
    }
    let mut refused = 0;
    for answer in flood {
        let Err(status) = answer.await.unwrap() else { continue };
        assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status}");
        assert!(
            status.message().contains("come again in") && status.metadata().get("grpc-retry-pushback-ms").is_some()
        );
        refused += 1;
    }
    assert!(refused > 0 && refused < FLOOD, "{refused} of {FLOOD} were refused");
}
