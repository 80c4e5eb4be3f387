//! `weft join`: makes this machine a member of a mesh, with one command. Whatever it changes is written down first, so
//! that `weft leave` undoes it.

pub mod state;
pub mod unit;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::api::TrustDomain;
use ::api::weft::v1::Member;
use anyhow::{Context as _, ensure};
use clap::Args;
use proxy::identity::{Identity, IdentityError, IdentityOptions};
use proxy::joined::{keep, own_address, run as run_joined, towards};
use proxy::{Membership, Users};
use runtime::{Backoff, shutdown};
use tokio::sync::watch;

use self::state::{Joining, State};
use self::unit::{Systemd, Unit};
use super::capture::options::CaptureOptions;
use super::capture::{self, Keep, Outcome};
use super::failure::{Exit, Failure};
use super::output::{line, tell, write};
use super::sidecar;
use super::words::uid;
use super::workload_api::{self, WorkloadApiFlags};
use super::{dns, duration};

/// Where a machine keeps what it is in the mesh.
pub const STATE_DIR: &str = "/var/lib/weft";

#[derive(Debug, Args)]
pub struct Options {
    /// The control plane
    #[arg(value_name = "https://HOST:PORT", env = "WEFT_CONTROL_PLANE", value_parser = url)]
    control_plane: String,
    /// The join token, from `weft token create --workload-group`; not needed to join again
    #[arg(long, env = "WEFT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Where the machine keeps its key, its certificate and its last configuration
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    state_dir: PathBuf,
    /// Where other machines reach this one [default: the address from which it reaches the control plane, followed when
    /// it changes]
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// The workload's name [default: the group's name and the address]
    #[arg(long)]
    name: Option<String>,
    /// A label on top of the group's; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = sidecar::label)]
    labels: Vec<(String, String)>,
    /// Where it runs: region/zone/subzone [default: the group's]
    #[arg(long)]
    locality: Option<String>,
    /// Where the program listens for a port of the group; may be repeated [default: the same port on 127.0.0.1, or with
    /// --capture on the machine's address]
    #[arg(long = "forward-to", value_name = "PORT=ADDR:PORT", value_parser = forward)]
    forward: Vec<(u16, SocketAddr)>,
    /// The trust domain of the mesh
    #[arg(long, default_value = "cluster.local")]
    trust_domain: String,
    /// How many threads carry traffic
    #[arg(long, default_value_t = 1, value_name = "N")]
    workers: usize,
    /// How long open connections may take to end when the agent stops
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    drain: Duration,
    #[command(flatten)]
    dns: dns::DnsFlags,
    #[command(flatten)]
    workload_api: WorkloadApiFlags,
    /// A user of this machine, by name or number, who may send requests out as the workload and change its proxy, as
    /// may root and the user who runs the agent; may be repeated [default: those of --workload-user, to send requests]
    #[arg(long = "allow-user", value_name = "USER", value_parser = uid)]
    allow_users: Vec<u32>,
    /// Run the agent here instead of by systemd
    #[arg(long)]
    foreground: bool,
    /// Write the systemd unit below this directory, and start nothing: for machine images
    #[arg(long, value_name = "DIR", conflicts_with = "foreground")]
    root: Option<PathBuf>,
    #[command(flatten)]
    capture: CaptureOptions,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let captured = options.capture.settings(&options.control_plane, options.dns.given().listen).await?;
    if options.capture.dry_run {
        let settings = captured.as_ref().context("--dry-run comes with --capture")?;
        return write(&capture::dry_run(settings));
    }
    let permitted = captured.is_none() || options.root.is_some() || nix::unistd::geteuid().is_root();
    ensure!(permitted, Failure::new(Exit::Usage, "--capture changes the packet filter; run weft join as root"));
    let workload_api = options.workload_api.given()?;
    if options.root.is_none() {
        Users::told(&options.allow_users)?;
    }
    let state = State::at(&options.state_dir)?;
    let before = state.read()?;
    let trust_domain = TrustDomain::new(&options.trust_domain)?;
    let made = state.make()?;
    if before.is_none() {
        // Should the join fail, the next one still knows what this one made.
        state.write(&Joining { made, ..joining(&options, &Member::default()) })?;
    }
    let made = state.read()?.map(|begun| begun.made).unwrap_or_default();
    let mut identity = IdentityOptions::new(state.dir(), &options.control_plane, &trust_domain)?;
    identity.token = options.token.clone();
    let (member, address, id) = enter(&options, identity, &trust_domain).await?;
    let systemd = Systemd::find(options.root.as_deref());
    let mut joining = joining(&options, &member);
    joining.made = made;
    joining.capture = captured;
    joining.workload_api = workload_api;
    joining.unit = match (&systemd, options.foreground) {
        (Some(_), false) => Some(Unit::new(state.dir(), options.root.as_deref(), &joining)?),
        _ => before.as_ref().and_then(|before| before.unit.clone()),
    };
    if let Some(before) = before.as_ref().and_then(|before| before.unit.as_ref())
        && let Some(unit) = &mut joining.unit
    {
        unit.remember(before);
    }
    if joining.capture.is_some() {
        capture::reset(state.dir()).await?;
    }
    state.write(&joining)?;
    keep(state.dir(), &member).context("what the group says cannot be kept")?;
    line(summary(&options, &joining, &member, address, &id))?;
    match systemd {
        _ if options.foreground => run_agent(&options.state_dir).await,
        Some(systemd) => {
            let unit = joining.unit.as_ref().context("the unit was made above")?;
            let changed = unit.write()?;
            systemd.start(changed || before.as_ref() != Some(&joining)).await?;
            line(systemd.told(&options.state_dir, own_address(address)))?;
            match &joining.capture {
                Some(settings) if options.root.is_none() => told_of_capture(&state, settings).await,
                _ => Ok(()),
            }
        }
        None => line(format_args!(
            "{}; run the agent with: weft agent --state-dir {}",
            unit::why_not(),
            options.state_dir.display()
        )),
    }
}

/// Gets the identity and the description. A first refusal leaves the identity, so the token is not lost by it.
async fn enter(
    options: &Options,
    identity: IdentityOptions,
    trust_domain: &TrustDomain,
) -> anyhow::Result<(Member, IpAddr, String)> {
    let identity = obtain(identity).await.map_err(|error| match error.retryable() {
        true => anyhow::Error::from(Failure::new(Exit::Unreachable, error.to_string())),
        false => error.into(),
    })?;
    let id = identity.current().id().to_string();
    let address = match options.address {
        Some(address) => address,
        None => {
            towards(&options.control_plane).await.context("this machine's address cannot be told; give --address")?
        }
    };
    let mut membership = Membership::new(&options.control_plane, &identity, trust_domain)?;
    let described = membership.describe(address, options.name.as_deref().unwrap_or_default()).await;
    let member = described.map_err(|status| match status.code() {
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => {
            let words =
                format!("the control plane at {} cannot be reached: {}", options.control_plane, status.message());
            anyhow::Error::from(Failure::new(Exit::Unreachable, words))
        }
        _ => anyhow::anyhow!("the control plane does not take this machine as it is: {}", status.message()),
    })?;
    Ok((member, address, id))
}

/// The identity, kept or new. While the control plane is out of reach it says so, and why.
async fn obtain(options: IdentityOptions) -> Result<Identity, IdentityError> {
    const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
    let deadline = Instant::now() + options.patience;
    let once = IdentityOptions { patience: Duration::ZERO, ..options };
    let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
    let mut told = String::new();
    tell(format_args!("asking the control plane at {} for an identity", once.control_plane));
    loop {
        let error = match Identity::load_or_join(once.clone()).await {
            Err(error) if error.retryable() && Instant::now() < deadline => error.to_string(),
            done => return done,
        };
        if error != told {
            let left = deadline.saturating_duration_since(Instant::now());
            tell(format_args!("{error}; trying again for {} s", left.as_secs_f32().ceil()));
            told = error;
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}

/// Waits until capture is in force for good, or is not.
async fn told_of_capture(state: &State, settings: &capture::Settings) -> anyhow::Result<()> {
    /// The proxy's own, from its start until it listens.
    const BEFORE: Duration = Duration::from_secs(30);
    const LOOK: Duration = Duration::from_millis(200);
    let deadline = Instant::now() + BEFORE + settings.patience();
    loop {
        match capture::outcome(state.dir())? {
            Outcome::Confirmed => return line("connections of this machine are captured"),
            Outcome::RolledBack(reason) => {
                let words = format!("capture was rolled back: {reason}");
                return Err(Failure::new(Exit::Unreachable, words).into());
            }
            Outcome::Pending if Instant::now() > deadline => {
                return line("capture is not in force yet; the journal says why: journalctl -u weft");
            }
            Outcome::Pending => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Runs the agent of a machine that joined, until a signal.
pub async fn run_agent(state_dir: &Path) -> anyhow::Result<()> {
    let state = State::at(state_dir)?;
    let joining = state.read()?.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("nothing has joined in {}; run weft join first", state_dir.display()))
    })?;
    let _lock = state.lock()?;
    let captured = joining.capture.clone();
    let joined = joining.joined(state.dir())?;
    let asked = shutdown::on_signals(joined.drain)?;
    let ready = watch::Sender::new(false);
    let Some(settings) = captured else {
        // Of an agent that captured, and came to a bad end.
        capture::release(state.dir()).await?;
        return Ok(run_joined(joined, asked, ready).await?);
    };
    // Of an agent that was killed together with its guard, or of a time before the machine was started.
    capture::release_stranded(state.dir()).await?;
    capture::take_group(settings.group)?;
    // They may have changed since the machine joined.
    let settings = settings.with_ssh(&capture::ssh_ports().await);
    let keep = Keep::new(state.dir(), settings);
    let reaching = joined.clone();
    let ended = tokio::select! {
        ended = run_joined(joined, asked, ready.clone()) => ended,
        never = keep.run(ready.subscribe(), async || reach(&reaching).await) => match never {},
    };
    keep.end().await?;
    Ok(ended?)
}

/// Whether the control plane answers, whatever it says, on a connection that begins now.
async fn reach(joined: &proxy::joined::Joined) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let attempt = async {
        let options = IdentityOptions::new(&joined.state_dir, &joined.control_plane, &joined.trust_domain)?;
        let identity = Identity::load_or_join(IdentityOptions { patience: Duration::ZERO, ..options }).await?;
        let mut membership = Membership::new(&joined.control_plane, &identity, &joined.trust_domain)?;
        let address = match joined.address {
            Some(address) => address,
            None => towards(&joined.control_plane).await?,
        };
        match membership.describe(address, joined.workload.as_deref().unwrap_or_default()).await {
            Err(status) if !is_an_answer(status.code()) => Err(anyhow::anyhow!("{}", status.message())),
            _ => Ok(()),
        }
    };
    tokio::time::timeout(PATIENCE, attempt).await.context("no answer")?
}

/// What only the control plane itself says.
fn is_an_answer(code: tonic::Code) -> bool {
    use tonic::Code::{AlreadyExists, FailedPrecondition, InvalidArgument, PermissionDenied, Unauthenticated};
    matches!(code, AlreadyExists | FailedPrecondition | InvalidArgument | PermissionDenied | Unauthenticated)
}

fn joining(options: &Options, member: &Member) -> Joining {
    Joining {
        control_plane: options.control_plane.clone(),
        trust_domain: options.trust_domain.clone(),
        member: member.id.clone(),
        workload_group: member.workload_group.clone(),
        workload: options.name.clone(),
        address: options.address,
        labels: options.labels.iter().cloned().collect(),
        locality: options.locality.clone(),
        forward: options.forward.iter().copied().collect(),
        listen_dns: dns::in_words(options.dns.given().listen),
        dns_upstreams: options.dns.given().upstreams,
        workers: options.workers.max(1),
        drain_ms: u64::try_from(options.drain.as_millis()).unwrap_or(u64::MAX),
        made: Vec::new(),
        unit: None,
        capture: None,
        workload_api: None,
        allow_users: options.allow_users.clone(),
    }
}

fn summary(options: &Options, joining: &Joining, member: &Member, address: IpAddr, id: &str) -> String {
    let forward: BTreeMap<u16, SocketAddr> = options.forward.iter().copied().collect();
    let mut lines = vec![format!("joined as {} of the group {} ({id})", member.workload, member.workload_group)];
    for port in &member.ports {
        let number = u16::try_from(port.port).unwrap_or_default();
        let own = if joining.capture.is_some() { address } else { Ipv4Addr::LOCALHOST.into() };
        let target = forward.get(&number).copied().unwrap_or_else(|| SocketAddr::new(own, number));
        let at = SocketAddr::new(address, number);
        lines.push(format!("serves {}.{} on {at}, from the program on {target}", port.service, member.namespace));
    }
    lines.push(format!(
        "programs of users {} call the mesh with http_proxy=http://{}; --allow-user lets those of others",
        joining.may_call(&Users::beside(&joining.allow_users)),
        SocketAddr::new(own_address(address), sidecar::HTTP_PROXY)
    ));
    if let Some(dns) = options.dns.given().settings(own_address(address)) {
        lines.push(format!("names of the mesh are answered over DNS on {}", dns.listen));
    }
    if let Some(api) = &joining.workload_api {
        lines.push(format!("programs get the workload's identity with {}", workload_api::told(&api.socket)));
    }
    if joining.capture.is_some() {
        lines.push("or without a proxy: connections of this machine are captured once the agent is ready".to_owned());
    }
    if let Some(port) = member.ports.first() {
        lines.push(format!("to see it, beside the control plane: weft endpoints {}", port.service));
    }
    lines.push(format!("to undo it: {}", to_leave(&options.state_dir)));
    lines.join("\n")
}

/// The command that undoes a join.
fn to_leave(state_dir: &Path) -> String {
    match state_dir == Path::new(STATE_DIR) {
        true => "weft leave".to_owned(),
        false => format!("weft leave --state-dir {}", quoted(&state_dir.to_string_lossy())),
    }
}

/// As one word of a shell's command line.
fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:@%".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")).into(),
    }
}

fn url(text: &str) -> Result<String, String> {
    let place = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
    match place.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(_))) if !host.is_empty() && !text.starts_with("http://") => Ok(format!("https://{place}")),
        _ => Err("write it as https://HOST:15012".to_owned()),
    }
}

fn forward(text: &str) -> Result<(u16, SocketAddr), String> {
    let wrong = || format!("{text:?} is not PORT=ADDR:PORT, such as 9080=127.0.0.1:8080");
    let (port, target) = text.split_once('=').ok_or_else(wrong)?;
    Ok((port.parse().map_err(|_| wrong())?, target.parse().map_err(|_| wrong())?))
}
