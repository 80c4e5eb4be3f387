//! `weft proxy`: a proxy by itself.

use clap::{Args, ValueEnum};
use runtime::shutdown;
use tokio::sync::watch;

use super::data_dir::DataDir;
use super::sidecar::{self, ServiceOptions, WorkloadOptions};

#[derive(Debug, Args)]
pub struct Options {
    /// What the proxy is for
    #[arg(long, value_enum)]
    role: Role,
    /// A port that configuration declares, and the port to bind for it; may be repeated
    #[arg(long = "port-map", value_name = "DECLARED:BOUND", value_parser = ports)]
    port_map: Vec<(u16, u16)>,
    #[command(flatten)]
    service: ServiceOptions,
    #[command(flatten)]
    workload: WorkloadOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Gateway,
    Sidecar,
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let role = match options.role {
        Role::Gateway => proxy::Role::Gateway,
        Role::Sidecar => proxy::Role::Sidecar,
    };
    let mut workload = options.workload;
    if options.role == Role::Gateway && workload.name.is_none() && options.service.service.is_none() {
        workload.name = Some("gateway".into());
    }
    let mut workload = sidecar::prepare(role, workload, &options.service, &data).await?;
    workload.settings.port_map = options.port_map.into_iter().collect();
    let asked = shutdown::on_signals(workload.settings.drain)?;
    Ok(proxy::run(workload.settings, asked, watch::Sender::new(false)).await?)
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("{text:?} is not DECLARED:BOUND, as in 80:8080");
    let (declared, bound) = text.split_once(':').ok_or_else(wrong)?;
    Ok((declared.parse().map_err(|_| wrong())?, bound.parse().map_err(|_| wrong())?))
}
