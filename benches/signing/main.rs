//! What signing costs: 5,000 certificates in a burst from 1,000 agents, over gRPC and mutual TLS, the ledger written to
//! disk. Told as a ratio: certificates per second of the control plane's CPU against bare signatures per second of the
//! same CPU in the same run. Every one must be signed, and memory must stay bounded.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

#[path = "../proxy/measure.rs"]
#[allow(dead_code)]
mod measure;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::TrustDomain;
use api::istio::v1::auth::IstioCertificateRequest;
use api::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use citadel::{Attestor, Authority, CurrentCertificate, JoinToken, Members, NewToken, SelfSigned, Signing, Tokens};
use proxy::identity::{Identity, IdentityOptions};
use runtime::Clock;
use tokio::net::TcpListener;
use tonic::transport::Channel;

/// In the dev profile fewer: it shows that the bench works, and no more.
const AGENTS: usize = if cfg!(debug_assertions) { 50 } else { 1000 };
const EACH: usize = 5;
/// Of the threads that are the control plane's.
const SERVER: &str = "control-plane";

fn main() {
    let raw = raw();
    println!("a bare P-256 signature: {raw:.0} a second and core");
    let server = tokio::runtime::Builder::new_multi_thread().thread_name(SERVER).enable_all().build().unwrap();
    let clients = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mesh = server.block_on(async { tokio::spawn(Mesh::serve(folder.path().join("mesh"))).await.unwrap() });
    let channels = clients.block_on(mesh.join(folder.path().join("agents")));
    let csr = csr();
    let (before, memory, began) = (cpu(), measure::memory(std::process::id()).1, Instant::now());
    let most = clients.block_on(burst(channels, &csr));
    let (spent, wall) = (cpu() - before, began.elapsed());
    let total = AGENTS * EACH;
    let issued = total as f64 / spent.as_secs_f64();
    println!(
        "{total} certificates for {AGENTS} agents at once: all signed in {wall:.2?}, the last of an agent after {most:.2?}"
    );
    println!("{issued:.0} a second and core, {:.1} % of bare signatures", 100.0 * issued / raw);
    let grown = measure::memory(std::process::id()).1.saturating_sub(memory);
    println!("memory grew by {grown} KiB for both sides, {:.1} KiB a request", grown as f64 / total as f64);
}

/// Signatures a second of one core.
fn raw() -> f64 {
    const COUNT: u32 = if cfg!(debug_assertions) { 2_000 } else { 50_000 };
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
    let own = std::path::Path::new("/proc/thread-self");
    let before = spent(own).unwrap();
    for number in 0..COUNT {
        std::hint::black_box(key.sign(&random, &number.to_be_bytes()).unwrap());
    }
    f64::from(COUNT) / Duration::from_nanos(spent(own).unwrap() - before).as_secs_f64()
}

/// CPU time of the control plane's threads.
fn cpu() -> Duration {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten().map(|thread| thread.path());
    let own = threads.filter(|path| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == SERVER));
    Duration::from_nanos(own.filter_map(|thread| spent(&thread)).sum())
}

/// Nanoseconds of CPU time of a thread (proc(5), `schedstat`).
fn spent(thread: &std::path::Path) -> Option<u64> {
    fs::read_to_string(thread.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
}

fn csr() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
}

struct Mesh {
    trust_domain: TrustDomain,
    tokens: Tokens,
    address: String,
}

impl Mesh {
    async fn serve(folder: std::path::PathBuf) -> Self {
        let store: Arc<dyn store::Store> = Arc::new(store::Sled::open(folder.join("store")).unwrap());
        let (clock, trust_domain) = (Clock::system(), TrustDomain::new("cluster.local").unwrap());
        let own = trust_domain.workload("istio-system", "control-plane").unwrap();
        let authority = SelfSigned::open(&folder.join("ca"), &trust_domain, store.clone(), clock.clone()).unwrap();
        let authority = Arc::new(authority);
        let bundle = authority.trust_bundle();
        let tokens = Tokens::new(store.clone(), bundle.clone(), clock.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let tls = citadel::server_tls(authority.clone(), own.clone(), clock.clone()).await.unwrap();
        let attestors: Vec<Box<dyn Attestor>> =
            vec![Box::new(JoinToken::new(tokens.clone())), Box::new(CurrentCertificate::new(bundle, clock.clone()))];
        let signing = Signing::new(authority, attestors, Members::new(store, clock), own).into_service();
        let server = tonic::transport::Server::builder().add_service(signing);
        let rooms = citadel::Rooms::new(citadel::Capacity::within(1 << 16));
        tokio::spawn(server.serve_with_incoming(citadel::incoming(listener, tls, rooms)));
        Self { trust_domain, tokens, address }
    }

    /// A connection of each agent, which has shaken hands.
    async fn join(&self, folder: std::path::PathBuf) -> Vec<Channel> {
        let mut channels = Vec::new();
        for number in 0..AGENTS {
            let token = self.tokens.create(NewToken::new("default", format!("app-{number}"))).await.unwrap().text;
            let dir = folder.join(number.to_string());
            let options = IdentityOptions::new(dir, self.address.clone(), &self.trust_domain).unwrap();
            let identity = Identity::load_or_join(IdentityOptions { token: Some(token), ..options }).await.unwrap();
            let own = self.trust_domain.workload("istio-system", "control-plane").unwrap();
            let channel = proxy::control_plane_channel(&self.address, &identity, own);
            sign(channel.clone(), csr()).await;
            channels.push(channel);
        }
        channels
    }
}

/// All at once; how long the last of any agent took.
async fn burst(channels: Vec<Channel>, csr: &str) -> Duration {
    let began = Instant::now();
    let all: Vec<_> = channels
        .into_iter()
        .flat_map(|channel| (0..EACH).map(move |_| channel.clone()))
        .map(|channel| tokio::spawn(sign(channel, csr.to_owned())))
        .collect();
    for one in all {
        one.await.unwrap();
    }
    began.elapsed()
}

async fn sign(channel: Channel, csr: String) {
    let request = IstioCertificateRequest { csr, validity_duration: 0, metadata: None };
    IstioCertificateServiceClient::new(channel).create_certificate(request).await.unwrap();
}
