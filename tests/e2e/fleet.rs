//! A fleet of proxies that carry no traffic and report some: each has a connection to the control plane of its own, over
//! mutual TLS, and a stream of reports on it, as real ones do. What they tell is generated.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::weft::v1 as wire;
use api::{SpiffeId, TrustDomain};
use hyper_util::rt::TokioIo;
use proxy::identity::tls::{Allowed, TlsOptions, client_config};
use proxy::identity::{Identity, IdentityOptions};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use wire::telemetry_client::TelemetryClient;

/// Before it is tried again to report.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a proxy reports when nobody wishes otherwise.
pub const PAUSE: Duration = Duration::from_secs(5);
/// Requests of an edge and a copy of its service between two reports.
const REQUESTS: u64 = 50;

/// How large the mesh is. Every service calls the ones that follow it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub services: u32,
    /// Proxies of each service.
    pub copies: u32,
    /// Services that each service calls.
    pub calls: u32,
    pub namespaces: u32,
}

impl Size {
    pub fn proxies(self) -> u32 {
        self.services * self.copies
    }

    pub fn edges(self) -> u32 {
        self.services * self.calls
    }

    pub fn namespace(self, service: u32) -> String {
        format!("team-{}", service % self.namespaces)
    }

    fn host(self, service: u32) -> String {
        format!("service-{service}.{}.svc.cluster.local", self.namespace(service))
    }

    pub fn workload(self, service: u32, copy: u32) -> wire::Workload {
        wire::Workload {
            name: format!("service-{service}-{copy}"),
            namespace: self.namespace(service),
            canonical_service: format!("service-{service}"),
            canonical_revision: format!("v{}", copy + 1),
            cluster: "weft".into(),
        }
    }

    pub fn principal(self, service: u32) -> String {
        format!("spiffe://cluster.local/ns/{}/sa/service-{service}", self.namespace(service))
    }

    /// The services as ServiceEntries, to be applied.
    pub fn manifests(self) -> String {
        let mut text = String::new();
        for service in 0..self.services {
            let (host, namespace) = (self.host(service), self.namespace(service));
            let _ = write!(
                text,
                "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
                 metadata: {{name: service-{service}, namespace: {namespace}}}\n\
                 spec:\n  hosts: [{host}]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
                 ports: [{{number: 80, name: http, protocol: HTTP}}]\n  endpoints: [{{address: 10.{}.{}.{}}}]\n",
                service >> 16,
                service >> 8 & 255,
                service & 255,
            );
        }
        text
    }

    /// A proxy's series: its calls, and the calls to it. One edge in a hundred fails.
    pub fn series(self, proxy: u32) -> Vec<wire::Series> {
        let (service, copy) = (proxy % self.services, proxy / self.services);
        let calls = (1..=self.calls).map(|step| (wire::Side::Source, (service + step) % self.services));
        let called =
            (1..=self.calls).map(|step| (wire::Side::Destination, (service + self.services - step) % self.services));
        let all = calls.chain(called).enumerate().map(|(id, (side, peer))| {
            let (from, to) = if side == wire::Side::Source { (service, peer) } else { (peer, service) };
            let fails = (from * self.calls + to).is_multiple_of(100);
            wire::Series {
                id: id as u32,
                side: side.into(),
                peer: Some(self.workload(peer, copy)),
                peer_principal: self.principal(peer),
                service: Some(wire::Service {
                    host: self.host(to),
                    name: format!("service-{to}"),
                    namespace: self.namespace(to),
                }),
                protocol: wire::Protocol::Http.into(),
                response_code: if fails { 503 } else { 200 },
                mutual_tls: true,
                ..wire::Series::default()
            }
        });
        all.collect()
    }

    /// What all of a proxy's series count after so many reports.
    pub fn counts(self, reports: u64) -> Vec<wire::Counts> {
        let total = reports * REQUESTS;
        let of = |id| wire::Counts {
            id,
            total,
            received_bytes: total * 100,
            sent_bytes: total * 1000,
            buckets: (30..40).collect(),
            in_buckets: vec![total / 10; 10],
            ..wire::Counts::default()
        };
        (0..2 * self.calls).map(of).collect()
    }
}

/// It reports for as long as it is kept.
pub struct Fleet {
    _runtime: Runtime,
}

impl Fleet {
    /// Begins to report. `tokens` has a join token for each namespace, by number; `dir` takes their identities.
    pub fn start(size: Size, control_plane: &str, tokens: &[String], dir: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let domain = TrustDomain::new("cluster.local").unwrap();
        let server = domain.workload("istio-system", "control-plane").unwrap();
        let join = |number: usize| {
            let dir = dir.join(format!("fleet-{number}"));
            let token = Some(tokens[number].clone());
            let options = IdentityOptions { token, ..IdentityOptions::new(dir, control_plane, &domain).unwrap() };
            runtime.block_on(Identity::load_or_join(options)).unwrap()
        };
        let identities: Vec<Identity> = (0..size.namespaces as usize).map(join).collect();
        for proxy in 0..size.proxies() {
            let identity = identities[(proxy % size.services % size.namespaces) as usize].clone();
            let (address, server) = (control_plane.to_owned(), server.clone());
            runtime.spawn(async move {
                // Real ones did not all start at the same time either.
                tokio::time::sleep(PAUSE * proxy / size.proxies()).await;
                report(size, proxy, channel(&address, identity, server)).await;
            });
        }
        Self { _runtime: runtime }
    }
}

async fn report(size: Size, proxy: u32, channel: Channel) {
    let (service, copy) = (proxy % size.services, proxy / size.services);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let workload = size.workload(service, copy);
    let who = wire::Reporter {
        node: format!("sidecar~10.0.0.1~{}.{}~cluster.local", workload.name, workload.namespace),
        started_at: since.as_millis() as u64,
        workload: Some(workload),
        ..wire::Reporter::default()
    };
    let mut pauses = 0;
    loop {
        let first =
            wire::ReportRequest { reporter: Some(who.clone()), opened: size.series(proxy), ..Default::default() };
        // A control plane that so many come to at once may turn some away: they come again, as real ones do.
        let _ = stream(size, first, channel.clone(), &mut pauses).await;
        tokio::time::sleep(AGAIN).await;
    }
}

/// One stream, to its end.
async fn stream(
    size: Size,
    first: wire::ReportRequest,
    channel: Channel,
    pauses: &mut u64,
) -> Result<(), tonic::Status> {
    let (sender, stream) = mpsc::channel(4);
    // The channel has room.
    let _ = sender.try_send(first);
    let mut answers = TelemetryClient::new(channel).report(ReceiverStream::new(stream)).await?.into_inner();
    let mut wished = PAUSE;
    let mut ticks = tokio::time::interval(wished);
    loop {
        tokio::select! {
            answer = answers.message() => {
                let Some(answer) = answer? else { return Ok(()) };
                let interval = Duration::from_millis(answer.interval_ms.into());
                if wished != interval {
                    wished = interval;
                    ticks = tokio::time::interval_at(tokio::time::Instant::now() + wished, wished);
                }
            }
            _ = ticks.tick() => {
                let counts = size.counts(*pauses);
                // As much traffic, whatever the pause is.
                *pauses += wished.as_secs() / PAUSE.as_secs();
                if sender.send(wire::ReportRequest { counts, ..Default::default() }).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

fn channel(address: &str, identity: Identity, server: SpiffeId) -> Channel {
    let address: Arc<str> = address.trim_start_matches("https://").into();
    let connector = tower::service_fn(move |_| {
        let (address, identity, server) = (Arc::clone(&address), identity.clone(), server.clone());
        async move {
            let options = TlsOptions { alpn: vec![b"h2".to_vec()], ..TlsOptions::default() };
            let config = client_config(identity.watch(), Allowed::Ids(BTreeSet::from([server])), &options);
            let tcp = TcpStream::connect(&*address).await?;
            let name = ServerName::IpAddress(tcp.peer_addr()?.ip().into());
            let config = Arc::new(config.map_err(io::Error::other)?);
            TlsConnector::from(config).connect(name, tcp).await.map(TokioIo::new)
        }
    });
    Endpoint::from_static("http://control-plane").connect_with_connector_lazy(connector)
}
