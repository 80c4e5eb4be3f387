//! A workload that joined: keeps its identity, follows what its group says and where its machine is, runs the group's
//! probe, and runs the proxy accordingly. Whatever happens to the control plane or the network, it goes on by itself.

mod address;
mod member;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use api::TrustDomain;
use api::weft::v1 as wire;
use runtime::Backoff;
use runtime::shutdown::{self, Shutdown};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::address::towards;
pub use self::member::keep;
use crate::dns::DnsOptions;
use crate::identity::{Identity, IdentityOptions};
use crate::probe;
use crate::run::{ProxyError, run_as};
use crate::settings::{Capture, Role, Served, Settings};
use crate::users::Users;
use crate::workload_api::{self, WorkloadApi};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(10);
const ADMIN: u16 = 15000;
const READINESS: u16 = 15021;
const METRICS: u16 = 15090;
const HTTP_PROXY: u16 = 15088;

/// What the operator said when the machine joined.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Holds key, certificate, the last configuration and the last description.
    pub state_dir: PathBuf,
    pub control_plane: String,
    pub trust_domain: TrustDomain,
    /// `None`: as the control plane names it.
    pub workload: Option<String>,
    /// `None`: the one from which the control plane is reached, whatever that is at the time.
    pub address: Option<IpAddr>,
    /// On top of the group's.
    pub labels: BTreeMap<String, String>,
    /// Before the group's.
    pub locality: Option<String>,
    /// Where the program listens, by served port; elsewhere it is the same port on 127.0.0.1, or where connections
    /// are captured, on the machine's own address, which they were meant for.
    pub forward: BTreeMap<u16, SocketAddr>,
    pub capture: Option<Capture>,
    pub dns: DnsOptions,
    /// Where programs of the workload get its identity.
    pub workload_api: Option<WorkloadApi>,
    /// Which users of the machine may change the proxy, and which may use its way out; `None`: whoever reaches it.
    pub users: Option<Users>,
    pub way_out: Option<Users>,
    pub workers: usize,
    pub drain: Duration,
}

/// Where and as what it runs at one time.
#[derive(Clone, Debug, PartialEq)]
struct Present {
    address: IpAddr,
    member: wire::Member,
}

/// Why a proxy was stopped.
enum Stopped {
    /// The whole is told to end.
    Ending,
    /// It is somewhere else, or something else, now.
    Changed,
}

/// Runs until it is told to end. An error is one that time does not mend: the identity is refused, or a port is taken.
pub async fn run(joined: Joined, shutdown: Shutdown, ready: watch::Sender<bool>) -> Result<(), ProxyError> {
    let api = workload_api::bind(joined.workload_api.as_ref())?;
    let Some(identity) = obtain(&joined, &shutdown).await? else { return Ok(()) };
    let _api = workload_api::start(api, &identity, &joined.control_plane)?;
    let mut presents = member::follow(&joined, &identity, address::follow(&joined));
    loop {
        let present = tokio::select! {
            present = presents.wait_for(Option::is_some) => match present.ok().and_then(|present| present.clone()) {
                Some(present) => present,
                None => return Ok(()),
            },
            () = shutdown.draining() => return Ok(()),
        };
        match run_present(&joined, &identity, present, &mut presents, &shutdown, &ready).await? {
            Stopped::Ending => return Ok(()),
            Stopped::Changed => {}
        }
    }
}

/// The identity that is kept; one that expired is regained, however long the control plane is away. `None`: told to
/// end before.
async fn obtain(joined: &Joined, shutdown: &Shutdown) -> Result<Option<Identity>, ProxyError> {
    let options = IdentityOptions::new(&joined.state_dir, &joined.control_plane, &joined.trust_domain)?;
    let options = IdentityOptions { patience: Duration::ZERO, ..options };
    let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
    loop {
        let obtained = tokio::select! {
            obtained = Identity::load_or_join(options.clone()) => obtained,
            () = shutdown.draining() => return Ok(None),
        };
        match obtained {
            Ok(identity) => return Ok(Some(identity)),
            Err(error) if error.retryable() => {
                tracing::warn!(%error, "there is no valid identity yet; trying again");
                tokio::select! {
                    () = tokio::time::sleep(backoff.failed()) => {}
                    () = shutdown.draining() => return Ok(None),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Runs the proxy and the probe for as long as nothing but the probe changes.
async fn run_present(
    joined: &Joined,
    identity: &Identity,
    mut present: Present,
    presents: &mut watch::Receiver<Option<Present>>,
    shutdown: &Shutdown,
    ready: &watch::Sender<bool>,
) -> Result<Stopped, ProxyError> {
    let (told, health) = watch::channel(None);
    let mut probing = Probing::start(&present.member, &told);
    let (stop, stopping) = shutdown::channel();
    let settings = settings(joined, &present);
    tracing::info!(workload = settings.workload, address = %settings.address, "running as a member of the mesh");
    let mut proxy = tokio::spawn(run_as(settings, identity.clone(), health, stopping, ready.clone()));
    loop {
        tokio::select! {
            ended = &mut proxy => return finished(ended).map(|()| Stopped::Ending),
            () = shutdown.draining() => {
                stop.drain();
                tokio::select! {
                    ended = &mut proxy => return finished(ended).map(|()| Stopped::Ending),
                    () = shutdown.ended() => stop.shutdown(),
                }
                return finished(proxy.await).map(|()| Stopped::Ending);
            }
            changed = presents.changed() => {
                let Some(now) = changed.ok().and_then(|()| presents.borrow_and_update().clone()) else { continue };
                if without_probe(&now) == without_probe(&present) {
                    probing = Probing::start(&now.member, &told);
                    present = now;
                    continue;
                }
                tracing::info!(address = %now.address, "the workload's place in the mesh changed");
                // At another address nothing of the old is of use; else what is under way may end.
                if now.address == present.address { stop.drain() } else { stop.shutdown() }
                drop(probing);
                finished(proxy.await)?;
                return Ok(Stopped::Changed);
            }
        }
    }
}

fn finished(ended: Result<Result<(), ProxyError>, tokio::task::JoinError>) -> Result<(), ProxyError> {
    ended.unwrap_or_else(|error| Err(ProxyError::Workers(std::io::Error::other(error))))
}

fn without_probe(present: &Present) -> Present {
    let mut present = present.clone();
    present.member.probe = None;
    present
}

/// The probe while it is run.
struct Probing(Option<JoinHandle<()>>);

impl Probing {
    fn start(member: &wire::Member, told: &watch::Sender<Option<Option<String>>>) -> Self {
        match &member.probe {
            Some(probe) => Self(Some(tokio::spawn(probe::run(probe.clone(), told.clone())))),
            None => {
                told.send_replace(Some(None));
                Self(None)
            }
        }
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

fn settings(joined: &Joined, present: &Present) -> Settings {
    let Present { address, member } = present;
    let own = own_address(*address);
    let mut labels = member.labels.clone();
    labels.extend(joined.labels.clone());
    Settings {
        role: Role::Sidecar,
        workload: member.workload.clone(),
        namespace: member.namespace.clone(),
        service_account: member.service_account.clone(),
        labels,
        locality: joined.locality.clone().unwrap_or_else(|| member.locality.clone()),
        cluster_id: "weft".to_owned(),
        trust_domain: joined.trust_domain.clone(),
        domain: "cluster.local".to_owned(),
        address: *address,
        services: member.ports.iter().filter_map(|port| served(joined, *address, port)).collect(),
        registers: true,
        http_proxy_port: HTTP_PROXY,
        http_proxy_address: own,
        users: joined.users.clone(),
        way_out: joined.way_out.clone(),
        capture: joined.capture,
        node_proxy_port: None,
        port_map: BTreeMap::new(),
        control_plane: joined.control_plane.clone(),
        token: None,
        token_file: None,
        state_dir: joined.state_dir.clone(),
        workers: joined.workers,
        admin: SocketAddr::new(own, ADMIN),
        readiness: SocketAddr::new(own, READINESS),
        metrics: SocketAddr::new(*address, METRICS),
        dns: joined.dns.settings(own),
        // It outlives the proxy of one place.
        workload_api: None,
        drain: joined.drain,
    }
}

/// Where the proxy's own ports are: nowhere that other machines reach.
pub fn own_address(address: IpAddr) -> IpAddr {
    if address.is_loopback() { address } else { Ipv4Addr::LOCALHOST.into() }
}

fn served(joined: &Joined, own: IpAddr, port: &wire::Port) -> Option<Served> {
    let number = u16::try_from(port.port).ok()?;
    let target = joined.forward.get(&number).copied();
    let own = if joined.capture.is_some() { own } else { Ipv4Addr::LOCALHOST.into() };
    Some(Served {
        service: port.service.clone(),
        port: number,
        protocol: port.protocol.clone(),
        target: target.unwrap_or_else(|| SocketAddr::new(own, number)),
    })
}
