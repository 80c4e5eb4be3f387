//! `weft agent`: a sidecar for a program that somebody else runs, or for the machine's workload that joined.

use std::path::PathBuf;

use clap::Args;
use proxy::Role;
use runtime::shutdown;
use tokio::sync::watch;

use super::capture;
use super::data_dir::DataDir;
use super::join;
use super::output::tell;
use super::sidecar::{self, ServiceOptions, WorkloadOptions};
use super::workload_api::{self, WorkloadApiFlags};

#[derive(Debug, Args)]
pub struct Options {
    /// Run what `weft join` set up in this directory; everything else is written there
    #[arg(long, value_name = "DIR", conflicts_with_all = ["service", "name", "address", "workload_socket"])]
    state_dir: Option<PathBuf>,
    /// Take back the rules of capture that an agent left behind, and end; with --state-dir
    #[arg(long, requires = "state_dir")]
    end_capture: bool,
    /// Leave them to their guard where one is alive
    #[arg(long, hide = true, requires = "end_capture")]
    unless_guarded: bool,
    #[command(flatten)]
    service: ServiceOptions,
    #[command(flatten)]
    workload: WorkloadOptions,
    #[command(flatten)]
    workload_api: WorkloadApiFlags,
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    if let Some(state_dir) = &options.state_dir {
        if options.end_capture {
            return match options.unless_guarded {
                true => capture::release_stranded(state_dir).await,
                false => capture::release(state_dir).await,
            };
        }
        return join::run_agent(state_dir).await;
    }
    let workload_api = options.workload_api.given()?;
    let mut workload = sidecar::prepare(Role::Sidecar, options.workload, &options.service, &data).await?;
    if let Some(api) = &workload_api {
        tell(workload_api::told(&api.socket));
    }
    workload.settings.workload_api = workload_api;
    let asked = shutdown::on_signals(workload.settings.drain)?;
    Ok(proxy::run(workload.settings, asked, watch::Sender::new(false)).await?)
}
