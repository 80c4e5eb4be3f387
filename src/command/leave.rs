//! `weft leave`: undoes `weft join`, on the machine and in the mesh.

use std::path::PathBuf;
use std::time::Duration;

use ::api::TrustDomain;
use clap::Args;
use proxy::Membership;
use proxy::identity::{Identity, IdentityOptions};

use super::capture;
use super::join::STATE_DIR;
use super::join::state::{Joining, State};
use super::join::unit::Systemd;
use super::output::{line, tell};

#[derive(Debug, Args)]
pub struct Options {
    /// Where the machine keeps what it is in the mesh
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    state_dir: PathBuf,
}

/// How long the control plane may take to hear of it.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(options: Options) -> anyhow::Result<()> {
    let state = State::at(&options.state_dir)?;
    let Some(joining) = state.read()? else {
        return line(format_args!("nothing has joined in {}", state.dir().display()));
    };
    // First the mesh, so that nothing is sent here any more when the agent ends.
    let told = tokio::time::timeout(PATIENCE, tell_mesh(&state, &joining)).await;
    let told = told.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in {} s", PATIENCE.as_secs())));
    if let Err(error) = &told {
        tell(format_args!(
            "the control plane was not told: {error:#}; it forgets this machine by itself, its certificate when that expires"
        ));
    }
    let systemd = joining.unit.as_ref().map(Systemd::of);
    if let Some(systemd) = &systemd
        && let Err(error) = systemd.stop().await
    {
        // Whether the agent ends is seen below.
        tell(format_args!("{error:#}"));
    }
    state.stop_agent().await?;
    // The agent did it at its end, unless something ended it.
    capture::release(state.dir()).await?;
    if let Some(unit) = &joining.unit {
        unit.remove()?;
    }
    state.remove(&joining.made)?;
    if let Some(systemd) = &systemd {
        systemd.reload().await?;
    }
    line(if told.is_ok() { "left the mesh; nothing of it remains here" } else { "nothing of the mesh remains here" })
}

async fn tell_mesh(state: &State, joining: &Joining) -> anyhow::Result<()> {
    let trust_domain = TrustDomain::new(&joining.trust_domain)?;
    let options = IdentityOptions::new(state.dir(), &joining.control_plane, &trust_domain)?;
    let options = IdentityOptions { patience: Duration::ZERO, ..options };
    let identity = Identity::load_or_join(options).await?;
    let mut membership = Membership::new(&joining.control_plane, &identity, &trust_domain)?;
    membership.leave().await.map_err(|status| anyhow::anyhow!("{}", status.message()))
}
