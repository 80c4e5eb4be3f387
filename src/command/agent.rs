//! `weft agent`: a sidecar for a program that somebody else runs.

use clap::Args;
use proxy::Role;
use runtime::shutdown;
use tokio::sync::watch;

use super::data_dir::DataDir;
use super::sidecar::{self, ServiceOptions, WorkloadOptions};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    service: ServiceOptions,
    #[command(flatten)]
    workload: WorkloadOptions,
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let workload = sidecar::prepare(Role::Sidecar, options.workload, &options.service, &data).await?;
    let asked = shutdown::on_signals(workload.settings.drain)?;
    Ok(proxy::run(workload.settings, asked, watch::Sender::new(false)).await?)
}
