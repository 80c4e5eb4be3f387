//! `weft proxy`: a proxy by itself, in the mesh or with a bootstrap file of its own.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use runtime::shutdown;
use tokio::sync::watch;

use super::data_dir::DataDir;
use super::failure::{Exit, Failure};
use super::output::line;
use super::sidecar::{self, ServiceOptions, WorkloadOptions};

#[derive(Debug, Args)]
pub struct Options {
    /// Serve an Envoy bootstrap file (YAML or JSON), outside the mesh
    #[arg(short = 'c', long = "config-path", value_name = "FILE", conflicts_with_all = OF_THE_MESH)]
    config_path: Option<PathBuf>,
    /// How many threads carry the traffic of a bootstrap file [default: one for each CPU]
    #[arg(long, value_name = "N", requires = "config_path")]
    concurrency: Option<NonZeroUsize>,
    /// Check the bootstrap file and the files that it names, and serve nothing
    #[arg(long, requires = "config_path")]
    validate: bool,
    /// What the proxy is for
    #[arg(long, value_enum, required_unless_present = "config_path")]
    role: Option<Role>,
    /// A port that configuration declares, and the port to bind for it; may be repeated
    #[arg(long = "port-map", value_name = "DECLARED:BOUND", value_parser = ports)]
    port_map: Vec<(u16, u16)>,
    #[command(flatten)]
    service: ServiceOptions,
    #[command(flatten)]
    workload: WorkloadOptions,
}

/// Options that mean nothing to a proxy with a bootstrap file of its own.
const OF_THE_MESH: [&str; 21] = [
    "role",
    "port_map",
    "service",
    "port",
    "protocol",
    "forward_to",
    "no_register",
    "name",
    "namespace",
    "service_account",
    "version",
    "labels",
    "locality",
    "address",
    "trust_domain",
    "allow_users",
    "workers",
    "listen_dns",
    "dns_upstreams",
    "identity_token",
    "root_cert",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Gateway,
    Sidecar,
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    if let Some(file) = &options.config_path {
        return bootstrapped(file, &options).await;
    }
    let role = match options.role {
        Some(Role::Gateway) => proxy::Role::Gateway,
        Some(Role::Sidecar) | None => proxy::Role::Sidecar,
    };
    let mut workload = options.workload;
    if options.role == Some(Role::Gateway) && workload.name.is_none() && options.service.service.is_none() {
        workload.name = Some("gateway".into());
    }
    let mut workload = sidecar::prepare(role, workload, &options.service, &data).await?;
    workload.settings.port_map = options.port_map.into_iter().collect();
    let asked = shutdown::on_signals(workload.settings.drain)?;
    Ok(proxy::run(workload.settings, asked, watch::Sender::new(false)).await?)
}

async fn bootstrapped(file: &Path, options: &Options) -> anyhow::Result<()> {
    let bootstrap = proxy::read_bootstrap(file).map_err(|error| {
        let lines: Vec<_> = error.to_string().lines().map(|line| format!("{}: {line}", file.display())).collect();
        Failure::new(Exit::Rejected, lines.join("\n"))
    })?;
    if options.validate {
        return line("configuration OK");
    }
    let concurrency = match options.concurrency {
        Some(number) => number,
        None => std::thread::available_parallelism().context("the CPUs cannot be counted; give --concurrency")?,
    };
    let asked = shutdown::on_signals(options.workload.drain)?;
    Ok(proxy::run_static(bootstrap, concurrency.get(), asked, watch::Sender::new(false)).await?)
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("{text:?} is not DECLARED:BOUND, as in 80:8080");
    let (declared, bound) = text.split_once(':').ok_or_else(wrong)?;
    Ok((declared.parse().map_err(|_| wrong())?, bound.parse().map_err(|_| wrong())?))
}
