//! `weft run`: a program and the sidecar beside it, as one.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use nix::sys::signal::Signal;
use proxy::{Role, Settings};
use runtime::shutdown;
use tokio::process::Command;
use tokio::sync::watch;

use super::child;
use super::data_dir::DataDir;
use super::output::tell;
use super::sidecar::{self, ServiceOptions, WorkloadOptions};
use super::workload_api::{self, WorkloadApiFlags};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    service: ServiceOptions,
    #[command(flatten)]
    workload: WorkloadOptions,
    #[command(flatten)]
    workload_api: WorkloadApiFlags,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How long the program may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<ExitCode> {
    let workload_api = options.workload_api.given()?;
    let mut workload = sidecar::prepare(Role::Sidecar, options.workload, &options.service, &data).await?;
    workload.settings.workload_api = workload_api;
    // The program runs as the user who starts it, and the way out is its own.
    workload.settings.way_out = workload.settings.users.clone();
    let asked = shutdown::on_signals(PATIENCE)?;
    let (stop, told) = shutdown::channel();
    let mut command = program(&options.command, &workload.settings);
    let place = place(&workload.settings);
    let drain = workload.settings.drain;
    let (ready, mut is_ready) = watch::channel(false);
    let mut sidecar = tokio::spawn(proxy::run(workload.settings, told, ready));
    // The program's first call should find its way out open.
    tokio::select! {
        _ = is_ready.wait_for(|ready| *ready) => {}
        ended = &mut sidecar => {
            ended??;
            anyhow::bail!("the sidecar ended before it was ready");
        }
        () = asked.draining() => {
            stop.shutdown();
            let _ = sidecar.await;
            return Ok(ExitCode::SUCCESS);
        }
    }
    tell(place);
    let mut program =
        command.spawn().with_context(|| format!("{} cannot be started", options.command[0].to_string_lossy()))?;
    tokio::select! {
        status = program.wait() => {
            stop.shutdown();
            let _ = sidecar.await;
            Ok(exit_code(status?))
        }
        ended = &mut sidecar => {
            child::stop(&mut program, PATIENCE).await?;
            ended??;
            anyhow::bail!("the sidecar ended by itself");
        }
        () = asked.draining() => {
            // Requests in flight still need the program.
            stop.drain();
            let _ = tokio::time::timeout(drain + Duration::from_secs(1), &mut sidecar).await;
            child::stop(&mut program, PATIENCE).await?;
            stop.shutdown();
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The program, told where its service and its way out are.
fn program(words: &[OsString], settings: &Settings) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("WEFT_ADDRESS", settings.address.to_string());
    if let Some(served) = settings.services.first() {
        command.env("PORT", served.target.port().to_string());
    }
    if let Some(api) = &settings.workload_api {
        command.env("SPIFFE_ENDPOINT_SOCKET", workload_api::endpoint(&api.socket));
    }
    let way_out = way_out(settings);
    for (name, value) in [("http_proxy", way_out.as_str()), ("no_proxy", "localhost,127.0.0.1")] {
        command.env(name, value).env(name.to_ascii_uppercase(), value);
    }
    // It is the program's business, not the sidecar's.
    command.env_remove("WEFT_TOKEN");
    child::tie(&mut command, Signal::SIGKILL);
    command
}

fn way_out(settings: &Settings) -> String {
    format!("http://{}", SocketAddr::new(settings.http_proxy_address, settings.http_proxy_port))
}

/// Where the mesh finds the workload, and the workload the mesh.
fn place(settings: &Settings) -> String {
    let namespace = &settings.namespace;
    // Of port 0 it is not known yet which it will be; the log says it.
    let dns = settings.dns.as_ref().map(|dns| dns.listen).filter(|listen| listen.port() != 0);
    let dns = dns.map_or_else(String::new, |listen| format!(", DNS on {listen}"));
    let api = settings.workload_api.as_ref();
    let api = api.map_or_else(String::new, |api| format!(", {}", workload_api::told(&api.socket)));
    let ways = format!("http_proxy={}{dns}{api}", way_out(settings));
    let Some(served) = settings.services.first() else {
        return format!("{}.{namespace} is in the mesh ({ways})", settings.workload);
    };
    let suffix = if served.service.contains('.') { String::new() } else { format!(".{namespace}") };
    let at = SocketAddr::new(settings.address, served.port);
    format!("{}{suffix} is served on {at} ({ways})", served.service)
}

/// The program's own code; 128 + the signal's number as in a shell.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
