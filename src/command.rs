//! The verbs of the command line: what each takes, and which function does it.

mod access;
mod agent;
mod api;
mod apply;
mod authority;
mod authz;
mod ca;
mod capture;
mod cert;
mod check;
mod check_in;
mod child;
mod completion;
mod console;
mod control_plane;
mod data_dir;
mod delete;
mod descriptors;
mod dns;
mod doctor;
mod down;
mod duration;
mod endpoints;
mod failure;
mod get;
mod graph;
mod history;
mod join;
mod key_sources;
mod leave;
mod log_level;
mod node_proxy;
mod output;
mod platforms;
mod problems;
mod proxy;
mod proxy_status;
mod registry;
mod run;
mod services;
mod sidecar;
mod store;
mod tap;
mod token;
mod top;
mod up;
mod version;
mod why;
mod words;
mod workload_api;

use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::sample;
use data_dir::DataDir;

const LONG_ABOUT: &str = "\
weft turns programs on plain machines into one mesh: mutual TLS between all of them, traffic rules in Istio's \
language, one command to start.

Exit codes:
  0  it worked
  1  it failed
  2  the command line is wrong
  3  there is no such object
  4  the configuration is rejected
  5  the control plane cannot be reached";

const RUN_HELP: &str = "\
The program is told by its environment: PORT is where it should listen, WEFT_ADDRESS its address, and http_proxy its \
way to the services of the mesh. weft run ends when the program ends, with its exit code.

Example: weft run --service reviews --port 9080 --forward-to 127.0.0.1:9081 -- ./reviews";

const JOIN_HELP: &str = "\
The token names a WorkloadGroup, which says what the machine serves. Everything stays in the state directory, so \
reboots, new addresses and absences of the control plane need no hand. The control plane proves itself by the token, \
under whatever name it is reached.

Example: weft join https://cp.example.com:15012 --token weft_join_…";

const NODE_PROXY_HELP: &str = "\
Programs reach the mesh by http_proxy and are told apart by the user they run as; each user is a workload with an \
identity of its own. The file names them:

workloads:
- user: reviews            # a name or a number
  version: v1
  services:
  - {service: reviews, port: 9080, forwardTo: 127.0.0.1:8080}
- user: batch
  name: nightly
  tokenFile: /etc/weft/nightly.token

Example: weft node-proxy -f /etc/weft/workloads.yaml --control-plane https://cp.example.com:15012";

/// What is logged unless WEFT_LOG says otherwise. The clients of Consul and Kubernetes log each failed call, some
/// several times; their errors are told where they are consumed.
const LOG: &str = "info,consulrs=off,rustify=off,kube_client=off";

/// A service mesh in one binary
#[derive(Debug, Parser)]
#[command(name = "weft", version, about, long_about = LONG_ABOUT)]
#[command(after_help = "Example: weft up")]
struct Cli {
    /// Where the mesh keeps its state [default: $XDG_STATE_HOME/weft, else ~/.local/state/weft]
    #[arg(long, global = true, value_name = "DIR", env = "WEFT_DATA_DIR")]
    data_dir: Option<std::path::PathBuf>,
    /// Write the log as JSON lines
    #[arg(long, global = true, env = "WEFT_LOG_JSON")]
    log_json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start a mesh on this machine: control plane, gateway, and a sample to look at
    #[command(after_help = "Example: weft up --detach -o json")]
    Up(up::Options),
    /// Stop what `weft up` started
    #[command(after_help = "Example: weft down")]
    Down,
    /// Run a program with a sidecar beside it
    #[command(after_help = RUN_HELP)]
    Run(run::Options),
    /// Run a sidecar for a program that runs by itself
    #[command(after_help = "Example: weft agent --service reviews --port 9080 --forward-to 127.0.0.1:9081")]
    Agent(agent::Options),
    /// Make this machine's workload a member of a mesh
    #[command(after_help = JOIN_HELP)]
    Join(join::Options),
    /// Guard what an agent captures against its death
    #[command(name = capture::GUARD, hide = true)]
    CaptureGuard(capture::GuardOptions),
    /// Undo `weft join`
    #[command(after_help = "Example: weft leave")]
    Leave(leave::Options),
    /// Run a proxy: a gateway, a sidecar that serves nothing, or one with an Envoy bootstrap file
    #[command(
        after_help = "Example: weft proxy --role gateway --address 127.0.10.1 --label istio=ingressgateway\n         weft proxy -c examples/envoy/router.yaml"
    )]
    Proxy(proxy::Options),
    /// Run one proxy for several workloads of this machine
    #[command(after_help = NODE_PROXY_HELP)]
    NodeProxy(node_proxy::Options),
    /// Run the control plane
    #[command(after_help = "Example: weft control-plane --config ./mesh")]
    ControlPlane(control_plane::Options),
    /// Tell where the console is, and how to sign in
    #[command(after_help = "Example: weft console")]
    Console(console::Options),
    /// List the services of the mesh
    #[command(after_help = "Example: weft services -n default")]
    Services(services::Options),
    /// List the endpoints of all services, or of one
    #[command(after_help = "Example: weft endpoints reviews --by-platform")]
    Endpoints(endpoints::Options),
    /// Show the platforms that services come from
    #[command(subcommand, after_help = "Example: weft registry status")]
    Registry(registry::Verb),
    /// Apply configuration
    #[command(after_help = "Example: weft apply -f examples/bookinfo/virtual-service-reviews-90-10.yaml")]
    Apply(apply::Options),
    /// Show configuration
    #[command(after_help = "Example: weft get virtualservice reviews -o yaml")]
    Get(get::Options),
    /// Delete configuration that was applied
    #[command(after_help = "Example: weft delete virtualservice reviews")]
    Delete(delete::Options),
    /// Say everything that is wrong with the mesh, or with files before they are applied
    #[command(after_help = "Example: weft check -f ./mesh")]
    Check(check::Options),
    /// Say what is wrong with the mesh and with this machine, and what to do about it
    #[command(after_help = "Example: weft doctor")]
    Doctor(doctor::Options),
    /// Say what becomes of a request, and which rule decides, before anybody sends it
    #[command(after_help = "Example: weft why reviews:9080 --from productpage-v1 --header end-user:jason")]
    Why(why::Options),
    /// List what is wrong, and put out of the way what is known
    #[command(subcommand, after_help = "Example: weft problems list")]
    Problems(problems::Verb),
    /// Show what was changed, by whom, when and why
    #[command(after_help = "Example: weft history virtualservice/reviews")]
    History(history::Options),
    /// Show what a revision changed, what lies between two, or what applying files would change
    #[command(after_help = "Example: weft diff 41..44\n         weft diff -f ./mesh")]
    Diff(history::DiffOptions),
    /// Put configuration back to what it was at a revision, as a revision of its own
    #[command(after_help = "Example: weft rollback virtualservice/reviews@41")]
    Rollback(history::RollbackOptions),
    /// Show a certificate: of a proxy, of a file, or of this machine's agent
    #[command(after_help = cert::HELP)]
    Cert(cert::Options),
    /// Show the certificate authority, and change its root
    #[command(subcommand, after_help = "Example: weft ca status")]
    Ca(ca::Verb),
    /// Say who may do what through the API
    #[command(subcommand, after_help = "Example: weft access token create ci --role operator --ttl 90d")]
    Access(access::Verb),
    /// Say who may call whom, and which policy decides
    #[command(
        subcommand,
        after_help = "Example: weft authz check --from productpage-v1 --to ratings --path /ratings/0"
    )]
    Authz(authz::Verb),
    /// Show who did or was refused what, and whether the log was changed
    #[command(after_help = "Example: weft audit --verify")]
    Audit(access::AuditOptions),
    /// Show which proxies are connected and whether they run on the latest configuration
    #[command(after_help = "Example: weft proxy-status")]
    ProxyStatus(proxy_status::Options),
    /// Show who calls whom
    #[command(after_help = "Example: weft graph -o mermaid")]
    Graph(graph::Options),
    /// Show the busiest services or edges, again and again
    #[command(after_help = "Example: weft top edges --sort errors")]
    Top(top::Options),
    /// Watch live requests
    #[command(after_help = "Example: weft tap --destination default/reviews --match status=5xx")]
    Tap(tap::Options),
    /// Make, list and revoke the tokens with which workloads join
    #[command(subcommand, after_help = "Example: weft token create --service-account reviews")]
    Token(token::Verb),
    /// Show or change what the control plane, or a proxy, writes to its log
    #[command(after_help = log_level::HELP)]
    LogLevel(log_level::Options),
    /// Print the version of this program and of the control plane
    #[command(after_help = "Example: weft version")]
    Version(version::Options),
    /// Print a script that completes commands in a shell
    #[command(after_help = "Example: weft completion bash > ~/.local/share/bash-completion/completions/weft")]
    Completion(completion::Options),
    /// Run the sample services by themselves
    #[command(subcommand, after_help = "Example: weft sample bookinfo reviews --version v2 --listen 127.0.0.1:9080")]
    Sample(sample::Command),
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    run_verb(cli).unwrap_or_else(|error| failure::report(&error))
}

fn run_verb(cli: Cli) -> anyhow::Result<ExitCode> {
    let data = || DataDir::locate(cli.data_dir.clone());
    let log = || {
        let format = if cli.log_json { runtime::logging::Format::Json } else { runtime::logging::Format::Text };
        runtime::logging::init(LOG, format);
        descriptors::raise();
    };
    match cli.verb {
        // A child dies with the thread that started it, so whoever has children lives on the main thread.
        Verb::Up(options) => return on_main_thread(up::run(options, data()?)),
        Verb::Run(options) => {
            log();
            return on_main_thread(run::run(options, data()?));
        }
        Verb::Down => on_main_thread(down::run(data()?))?,
        Verb::Agent(options) => {
            log();
            on_main_thread(agent::run(options, data()?))?;
        }
        Verb::Join(options) => {
            log();
            on_main_thread(join::run(options))?;
        }
        Verb::CaptureGuard(options) => on_main_thread(capture::guard(options))?,
        Verb::Leave(options) => on_main_thread(leave::run(options))?,
        Verb::Proxy(options) => {
            log();
            on_main_thread(proxy::run(options, data()?))?;
        }
        Verb::NodeProxy(options) => {
            log();
            on_main_thread(node_proxy::run(options, data()?))?;
        }
        Verb::ControlPlane(options) => {
            log();
            on_all_cores(control_plane::run(options, data()?))?;
        }
        Verb::Console(options) => on_main_thread(console::run(options, data()?))?,
        Verb::Services(options) => on_main_thread(services::run(options, data()?))?,
        Verb::Endpoints(options) => on_main_thread(endpoints::run(options, data()?))?,
        Verb::Registry(verb) => on_main_thread(registry::run(verb, data()?))?,
        Verb::Apply(options) => on_main_thread(apply::run(options, data()?))?,
        Verb::Get(options) => on_main_thread(get::run(options, data()?))?,
        Verb::Delete(options) => on_main_thread(delete::run(options, data()?))?,
        Verb::Check(options) => on_main_thread(check::run(options, data()?))?,
        Verb::Doctor(options) => on_main_thread(doctor::run(options, data()?))?,
        Verb::Why(options) => on_main_thread(why::run(options, data()?))?,
        Verb::Problems(verb) => on_main_thread(problems::run(verb, data()?))?,
        Verb::History(options) => on_main_thread(history::run(options, data()?))?,
        Verb::Diff(options) => on_main_thread(history::diff(options, data()?))?,
        Verb::Rollback(options) => on_main_thread(history::rollback(options, data()?))?,
        Verb::Cert(options) => on_main_thread(cert::run(options, data()?))?,
        Verb::Ca(verb) => on_main_thread(ca::run(verb, data()?))?,
        Verb::Access(verb) => on_main_thread(access::run(verb, data()?))?,
        Verb::Authz(verb) => on_main_thread(authz::run(verb, data()?))?,
        Verb::Audit(options) => on_main_thread(access::audit(options, data()?))?,
        Verb::ProxyStatus(options) => on_main_thread(proxy_status::run(options, data()?))?,
        Verb::Graph(options) => on_main_thread(graph::run(options, data()?))?,
        Verb::Top(options) => on_main_thread(top::run(options, data()?))?,
        Verb::Tap(options) => on_main_thread(tap::run(options, data()?))?,
        Verb::Token(verb) => on_main_thread(token::run(verb, data()?))?,
        Verb::LogLevel(options) => on_main_thread(log_level::run(options, data()?))?,
        Verb::Version(options) => on_main_thread(version::run(options, data()?))?,
        Verb::Completion(options) => completion::run(options)?,
        Verb::Sample(command) => {
            log();
            on_all_cores(sample::run(command))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn on_main_thread<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn on_all_cores<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests;
