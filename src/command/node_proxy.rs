//! `weft node-proxy`: one proxy for several workloads of a machine, each with an identity of its own.

mod file;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use proxy::joined::{own_address, towards};
use proxy::workload_api::SOCKET;
use proxy::{NodeSettings, NodeWorkload, Role, Users};
use runtime::shutdown;
use tokio::sync::watch;

use self::file::{Entry, File};
use super::data_dir::DataDir;
use super::duration;
use super::output::tell;
use super::sidecar::{self, ADMIN, METRICS, READINESS, ServiceOptions, Workload, WorkloadOptions};
use super::workload_api;

#[derive(Debug, Args)]
pub struct Options {
    /// The workloads of this machine: YAML
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// The machine's address [default: the one from which the control plane is reached, or a free loopback address of
    /// the mesh on this machine]
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Where programs send their requests as to an HTTP proxy
    #[arg(long, default_value_t = 4140, value_name = "PORT")]
    http_port: u16,
    /// Where connections from elsewhere come to
    #[arg(long, default_value_t = 4141, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    incoming_port: u16,
    /// Where programs send requests over HTTP/2 without TLS
    #[arg(long, default_value_t = 4240, value_name = "PORT")]
    http2_port: u16,
    /// The same, for gRPC
    #[arg(long, default_value_t = 4340, value_name = "PORT")]
    grpc_port: u16,
    /// Give programs the identity of their workload on a Unix socket: the SPIFFE Workload API, and secrets for Envoy
    /// [default: no socket; without a PATH, /run/weft/workload.sock]
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = SOCKET)]
    workload_socket: Option<PathBuf>,
    /// The control plane [default: that of the data directory's mesh]
    #[arg(long, value_name = "https://HOST:PORT", env = "WEFT_CONTROL_PLANE")]
    control_plane: Option<String>,
    /// The trust domain of the mesh
    #[arg(long, default_value = "cluster.local")]
    trust_domain: String,
    /// How many threads carry the traffic of each workload
    #[arg(long, default_value_t = 1, value_name = "N")]
    workers: usize,
    /// How long open connections may take to end when the proxy stops
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    drain: Duration,
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let file = File::read(&options.file)?;
    let (address, _reservation) = address(&options, &data).await?;
    let mut workloads = Vec::new();
    // Held for as long as they run.
    let mut held = Vec::new();
    for (number, entry) in file.workloads.into_iter().enumerate() {
        let place = || format!("{}: workloads[{number}]", options.file.display());
        let (workload, kept) = workload(&options, entry, address, &data).await.with_context(place)?;
        workloads.push(workload);
        held.push(kept);
    }
    let own = own_address(address);
    let at = |port: &u16| SocketAddr::new(own, *port);
    let settings = NodeSettings {
        outgoing: [options.http_port, options.http2_port, options.grpc_port].iter().map(at).collect(),
        incoming: SocketAddr::new(address, options.incoming_port),
        admin: at(&ADMIN),
        readiness: at(&READINESS),
        metrics: SocketAddr::new(address, METRICS),
        workload_socket: options.workload_socket.as_deref().map(workload_api::absolute).transpose()?,
        workloads,
    };
    let api = settings.workload_socket.as_deref();
    let api = api.map_or_else(String::new, |socket| format!(", {}", workload_api::told(socket)));
    let place = format!(
        "{} workloads are behind this proxy: http_proxy=http://{}, admin http://{}{api}",
        settings.workloads.len(),
        settings.outgoing[0],
        settings.admin
    );
    let asked = shutdown::on_signals(options.drain)?;
    let (ready, mut is_ready) = watch::channel(false);
    let telling = async move {
        if is_ready.wait_for(|ready| *ready).await.is_ok() {
            tell(place);
        }
        std::future::pending().await
    };
    tokio::select! {
        ended = proxy::run_node(settings, asked, ready) => Ok(ended?),
        () = telling => Ok(()),
    }
}

async fn address(options: &Options, data: &DataDir) -> anyhow::Result<(IpAddr, Option<TcpListener>)> {
    if let Some(address) = options.address {
        return Ok((address, None));
    }
    if let Some(url) = &options.control_plane {
        let address = towards(url).await.with_context(|| format!("there is no way to {url}; give --address"))?;
        if !address.is_loopback() {
            return Ok((address, None));
        }
    }
    sidecar::reserve(data).map(|(address, listener)| (address, Some(listener)))
}

/// A workload with its settings, and what holds its place on this machine.
async fn workload(
    options: &Options,
    entry: Entry,
    address: IpAddr,
    data: &DataDir,
) -> anyhow::Result<(NodeWorkload, Workload)> {
    let uid = entry.uid()?;
    let callers = entry.callers()?;
    let token = entry.token()?;
    let services = entry.served();
    let first = entry.services.first();
    let names = ServiceOptions {
        service: first.map(|service| service.service.clone()),
        port: None,
        protocol: String::new(),
        forward_to: None,
        no_register: !entry.register,
        others: entry.services.iter().skip(1).map(|service| service.service.clone()).collect(),
    };
    let described = WorkloadOptions {
        name: entry.name,
        namespace: entry.namespace,
        service_account: entry.service_account,
        version: entry.version,
        labels: entry.labels.into_iter().collect(),
        locality: entry.locality,
        address: Some(address),
        control_plane: options.control_plane.clone(),
        token,
        identity_token: None,
        root_cert: None,
        trust_domain: options.trust_domain.clone(),
        workers: options.workers,
        drain: options.drain,
        allow_users: Vec::new(),
        dns: Default::default(),
    };
    let mut workload = sidecar::prepare(Role::Sidecar, described, &names, data).await?;
    let settings = &mut workload.settings;
    settings.services = services;
    settings.http_proxy_port = options.http_port;
    settings.http_proxy_address = own_address(address);
    settings.node_proxy_port = Some(options.incoming_port);
    settings.dns = None;
    // Whose connections go out was looked at when they came.
    settings.way_out = None;
    settings.users = Some(Users::beside(&[uid]));
    Ok((NodeWorkload { uid, settings: settings.clone(), callers }, workload))
}
