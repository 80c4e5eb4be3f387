//! What `run`, `agent` and `proxy` share: the options that describe a workload, and the proxy made of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ::api::{TrustDomain, X509Svid, is_dns_label};
use anyhow::{Context as _, ensure};
use clap::Args;
use proxy::identity::TokenFile;
use proxy::joined::own_address;
use proxy::{Role, Served, Settings, Users};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::api::{ApiOptions, Client};
use super::data_dir::DataDir;
use super::failure::{Exit, Failure};
use super::token;
use super::words::uid;
use super::{dns, duration};

/// Ports that each workload has on its own address.
pub const ADMIN: u16 = 15000;
pub const READINESS: u16 = 15021;
pub const METRICS: u16 = 15090;
pub const HTTP_PROXY: u16 = 15088;
/// Bound for as long as an address is somebody's.
pub const RESERVATION: u16 = 15099;
/// What the program beside a sidecar cannot listen on.
const OWN: [u16; 5] = [ADMIN, READINESS, METRICS, HTTP_PROXY, RESERVATION];
/// What `--protocol` takes.
const PROTOCOLS: [&str; 11] =
    ["http", "http2", "grpc", "grpc-web", "https", "tls", "tcp", "udp", "mongo", "mysql", "redis"];

/// The workload and where it is.
#[derive(Clone, Debug, Args)]
pub struct WorkloadOptions {
    /// The workload's name, unique in its namespace [default: SERVICE, or SERVICE-VERSION]
    #[arg(long)]
    pub name: Option<String>,
    /// The workload's namespace
    #[arg(long, default_value = "default")]
    pub namespace: String,
    /// The service account of the workload's identity [default: the service's name]
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,
    /// The workload's version: the label `version`
    #[arg(long)]
    pub version: Option<String>,
    /// A label; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Where it runs: region/zone/subzone
    #[arg(long, default_value = "", hide_default_value = true)]
    pub locality: String,
    /// The workload's address [default: a free loopback address of the mesh on this machine]
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// The control plane [default: that of the data directory's mesh]
    #[arg(long, value_name = "https://HOST:PORT", env = "WEFT_CONTROL_PLANE")]
    pub control_plane: Option<String>,
    /// The join token, from `weft token create` [default: one is made, if the control plane is on this machine]
    #[arg(long, env = "WEFT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// In place of a join token: one that a platform gives, and replaces in its file: the projected token of a Kubernetes
    /// service account, or a JWT of an issuer that the control plane knows (--jwt-issuers)
    #[arg(long, value_name = "FILE", env = "WEFT_IDENTITY_TOKEN", requires = "root_cert", conflicts_with = "token")]
    pub identity_token: Option<PathBuf>,
    /// The root certificates to expect of the control plane, with --identity-token
    #[arg(long, value_name = "FILE", env = "WEFT_ROOT_CERT", requires = "identity_token")]
    pub root_cert: Option<PathBuf>,
    /// The trust domain of the mesh
    #[arg(long, default_value = "cluster.local")]
    pub trust_domain: String,
    /// How many threads carry traffic
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub workers: usize,
    /// How long open connections may take to end when the proxy stops
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    pub drain: Duration,
    /// A user of this machine, by name or number, who may send requests out as the workload and change its proxy, as
    /// may root and the user who starts it; may be repeated [default: `weft run`: no other; else any may send requests]
    #[arg(long = "allow-user", value_name = "USER", value_parser = uid)]
    pub allow_users: Vec<u32>,
    #[command(flatten)]
    pub dns: dns::DnsFlags,
}

/// The ports that a sidecar serves.
#[derive(Clone, Debug, Args)]
pub struct ServiceOptions {
    /// The service that the workload serves: a name in its namespace, or a whole host
    #[arg(long, requires = "port")]
    pub service: Option<String>,
    /// The service's port
    #[arg(long, requires = "service", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// What is spoken on the port: http, http2, grpc, tcp, …
    #[arg(long, default_value = "http", value_parser = protocol)]
    pub protocol: String,
    /// Where the program listens [default: on the workload's address, port + 10000, or port - 10000 if that is above
    /// 65535; the next one if the sidecar needs that port itself]
    #[arg(long, value_name = "ADDR:PORT")]
    pub forward_to: Option<SocketAddr>,
    /// Register nothing: Consul or Kubernetes tells the mesh of this service, with this sidecar's address and port
    #[arg(long, requires = "service")]
    pub no_register: bool,
    /// What else the workload serves, where that is not said on the command line.
    #[arg(skip)]
    pub others: Vec<String>,
}

/// A workload whose address is taken.
pub struct Workload {
    pub settings: Settings,
    _reserved: Vec<TcpListener>,
    _lock: File,
}

/// Works out everything that the options leave open.
pub async fn prepare(
    role: Role,
    options: WorkloadOptions,
    service: &ServiceOptions,
    data: &DataDir,
) -> anyhow::Result<Workload> {
    ensure!(
        role == Role::Sidecar || !options.dns.asks_for_one(),
        Failure::new(Exit::Usage, "a gateway has no programs beside it to answer DNS to; leave --listen-dns out")
    );
    let short = service.service.as_deref().and_then(|host| host.split('.').next());
    let name = name_of(&options, short)?;
    let service_account = options.service_account.or_else(|| Some(short?.to_owned())).unwrap_or_else(|| name.clone());
    for text in [&name, &options.namespace, &service_account] {
        ensure!(is_dns_label(text), Failure::new(Exit::Usage, format!("{text:?} is no name: use a-z, 0-9 and -")));
    }
    let users = Users::told(&options.allow_users)?;
    let mut reserved = Vec::new();
    let address = match options.address {
        Some(address) => address,
        None => take(reserve(data)?, &mut reserved),
    };
    let own = match own_address(address) {
        own if own == address => own,
        own => take(place_at(own).map_or_else(|| reserve(data), Ok)?, &mut reserved),
    };
    let control_plane = match options.control_plane.clone() {
        Some(url) => url,
        None => data.address()?.map(|address| address.xds).ok_or_else(no_control_plane)?,
    };
    let services: Vec<String> = service.service.iter().chain(&service.others).cloned().collect();
    let lock = data.lock_workload(&options.namespace, &name)?;
    let state_dir = data.workload(&options.namespace, &name);
    let token_file = options.identity_token.zip(options.root_cert).map(|(token, roots)| TokenFile { token, roots });
    let token = match options.token {
        Some(token) => Some(token),
        None if token_file.is_some() => None,
        None if has_certificate(&state_dir) => None,
        // One that expired may still do; a token is tried after it.
        None if state_dir.join("cert-chain.pem").exists() => {
            local_token(data, role, &options.namespace, &service_account, &services).await.ok()
        }
        None => Some(local_token(data, role, &options.namespace, &service_account, &services).await?),
    };
    let mut labels: BTreeMap<String, String> = options.labels.into_iter().collect();
    for (key, value) in [("app", short.map(str::to_owned)), ("version", options.version)] {
        if let Some(value) = value {
            labels.entry(key.to_owned()).or_insert(value);
        }
    }
    let settings = Settings {
        role,
        workload: name,
        namespace: options.namespace,
        service_account,
        labels,
        locality: options.locality,
        cluster_id: "weft".into(),
        trust_domain: TrustDomain::new(&options.trust_domain)?,
        domain: "cluster.local".into(),
        address,
        services: served(service, address)?.into_iter().collect(),
        registers: !service.no_register,
        http_proxy_port: HTTP_PROXY,
        http_proxy_address: own,
        way_out: users.clone().filter(|_| !options.allow_users.is_empty()),
        users,
        capture: None,
        node_proxy_port: None,
        port_map: BTreeMap::new(),
        control_plane,
        token,
        token_file,
        state_dir,
        workers: options.workers.max(1),
        admin: SocketAddr::new(own, ADMIN),
        readiness: SocketAddr::new(address, READINESS),
        metrics: SocketAddr::new(address, METRICS),
        dns: match role {
            Role::Sidecar => options.dns.given().settings(own),
            Role::Gateway => None,
        },
        workload_api: None,
        drain: options.drain,
    };
    Ok(Workload { settings, _reserved: reserved, _lock: lock })
}

fn no_control_plane() -> Failure {
    Failure::new(Exit::Unreachable, "no control plane is known; start one with `weft up`, or give --control-plane")
}

fn name_of(options: &WorkloadOptions, service: Option<&str>) -> anyhow::Result<String> {
    let composed = || Some(format!("{}-{}", service?, options.version.as_ref()?));
    let name = options.name.clone().or_else(composed).or_else(|| service.map(str::to_owned));
    name.ok_or_else(|| Failure::new(Exit::Usage, "give --service, or --name for a workload that serves nothing").into())
}

fn served(options: &ServiceOptions, address: IpAddr) -> anyhow::Result<Option<Served>> {
    let (Some(service), Some(port)) = (&options.service, options.port) else { return Ok(None) };
    ensure!(!OWN.contains(&port), Failure::new(Exit::Usage, format!("port {port} is the sidecar's own")));
    let target = options.forward_to.unwrap_or_else(|| SocketAddr::new(address, beside(port)));
    Ok(Some(Served { service: service.clone(), port, protocol: options.protocol.clone(), target }))
}

/// Where a program listens by default: far above its service's port, on a port that the sidecar leaves free.
fn beside(port: u16) -> u16 {
    let first = port.checked_add(10_000).unwrap_or_else(|| port - 10_000);
    (first..=u16::MAX).find(|port| !OWN.contains(port)).unwrap_or(first)
}

fn take((address, listener): (IpAddr, TcpListener), reserved: &mut Vec<TcpListener>) -> IpAddr {
    reserved.push(listener);
    address
}

/// A place for a sidecar's own ports, unless another has it.
fn place_at(address: IpAddr) -> Option<(IpAddr, TcpListener)> {
    let listener = TcpListener::bind((address, RESERVATION)).ok()?;
    let free = [ADMIN, HTTP_PROXY].iter().all(|port| TcpListener::bind((address, *port)).is_ok());
    free.then_some((address, listener))
}

/// A free address for a workload, from `N.101` on, in the /24 of the data directory's mesh.
pub fn reserve(data: &DataDir) -> anyhow::Result<(IpAddr, TcpListener)> {
    let network = super::up::network_of(data);
    let addresses = (101..=250).map(|host| IpAddr::from([127, 0, network, host]));
    let free = addresses.filter_map(|address| Some((address, TcpListener::bind((address, RESERVATION)).ok()?))).next();
    free.context("no loopback address is free for the workload; give --address")
}

/// Whether a certificate is kept that still holds for a while, so that no token is needed.
fn has_certificate(state_dir: &std::path::Path) -> bool {
    let svid = CertificateDer::from_pem_file(state_dir.join("cert-chain.pem")).ok();
    let svid = svid.and_then(|der| X509Svid::parse(&der).ok());
    svid.is_some_and(|svid| svid.not_after > SystemTime::now() + Duration::from_secs(2))
}

async fn local_token(
    data: &DataDir,
    role: Role,
    namespace: &str,
    service_account: &str,
    services: &[String],
) -> anyhow::Result<String> {
    let client = Client::open(data, &ApiOptions::default());
    let gateway = role == Role::Gateway;
    let made = async { token::for_workload(&client?, namespace, service_account, services, gateway).await };
    made.await.context("the workload needs a join token: give --token, from `weft token create`")
}

pub fn protocol(text: &str) -> Result<String, String> {
    match registry::Protocol::named(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("use one of {}", PROTOCOLS.join(", "))),
    }
}

pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_listens_ten_thousand_above_its_service_port() {
        let options = |port| ServiceOptions {
            service: Some("reviews".into()),
            port: Some(port),
            protocol: "http".into(),
            forward_to: None,
            no_register: false,
            others: Vec::new(),
        };
        let address = IpAddr::from([127, 0, 10, 11]);
        assert_eq!(served(&options(9080), address).unwrap().unwrap().target.to_string(), "127.0.10.11:19080");
        assert_eq!(served(&options(60000), address).unwrap().unwrap().target.port(), 50000);
        assert_eq!(served(&options(5000), address).unwrap().unwrap().target.port(), 15001);
        assert!(served(&options(15021), address).is_err());
    }

    #[test]
    fn every_protocol_named_is_taken() {
        assert!(PROTOCOLS.into_iter().all(|word| protocol(word).is_ok()));
        assert!(protocol("htpp").unwrap_err().contains("grpc-web, https"));
    }
}
