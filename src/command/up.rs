//! `weft up`: a whole mesh on this machine, under one supervisor.

mod control;
mod detach;
mod network;
mod plan;
mod probe;
mod progress;
mod ready;
mod report;
mod supervisor;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::authority::AuthorityOptions;
use super::check_in::CheckInOptions;
use super::data_dir::DataDir;
use super::duration;
use super::key_sources::KeySources;
use super::output::{OutputOptions, tell};
use super::platforms::Platforms;
use super::store::StoreOptions;

pub use control::ask;
pub use plan::State;

#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Return once everything is ready; `weft down` stops it
    #[arg(long)]
    detach: bool,
    /// A directory of YAML to serve and watch; may be repeated [default: config/ in the data directory]
    #[arg(long, value_name = "DIR")]
    config: Vec<PathBuf>,
    /// Only the control plane and the gateway, without the sample
    #[arg(long)]
    no_sample: bool,
    /// The lifetime of workload certificates: 5m to 24h; from 5s on for trials
    #[arg(long, value_parser = duration::certificate_lifetime)]
    cert_ttl: Option<Duration>,
    #[command(flatten)]
    authority: AuthorityOptions,
    /// Leave what crashed as it is; `weft up` once more starts it again
    #[arg(long)]
    no_restart: bool,
    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    platforms: Platforms,
    #[command(flatten)]
    check_in: CheckInOptions,
    #[command(flatten)]
    key_sources: KeySources,
    /// Set by --detach for the process that stays
    #[arg(long, hide = true)]
    supervise: bool,
    #[command(flatten)]
    output: OutputOptions,
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<ExitCode> {
    let format = options.output.output;
    options.platforms.check().await?;
    options.check_in.on_loopback()?;
    for directory in options.config.iter().filter(|directory| !directory.is_dir()) {
        tell(format_args!(
            "weft: --config {} is no directory; its files are served once it is there",
            directory.display()
        ));
    }
    if !options.supervise && ask(&data, "ensure").await.is_some() {
        let progress = progress::Progress::new();
        let state = detach::wait_until_ready(&data, &progress, None).await?;
        progress.done();
        report::print(&state, &data, format).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.detach {
        let state = detach::start(&options, &data).await?;
        report::print(&state, &data, format).await?;
        return Ok(ExitCode::SUCCESS);
    }
    supervisor::run(options, data).await?;
    Ok(ExitCode::SUCCESS)
}

/// The `N` of the mesh's `127.0.N.0/24`.
pub fn network_of(data: &DataDir) -> u8 {
    State::read(data).map_or(network::FIRST, |state| state.network)
}
