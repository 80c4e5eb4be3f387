//! `weft ca`: the certificate authority, the change from one root of trust to the next, and who is denied.

mod denials;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};
use runtime::Clock;
use serde_json::{Value, json};

use super::api::{ApiOptions, Client};
use super::data_dir::DataDir;
use super::duration;
use super::output::{Column, Format, OutputOptions, line, print_list, print_value, tell, text};
use ::api::TrustDomain;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the roots of trust, until when they hold, and how far their change is
    #[command(after_help = "Example: weft ca status")]
    Status(Status),
    /// Print the trust domain's bundle, for other trust domains and verifiers: a set of keys in JSON
    #[command(after_help = "Example: weft ca bundle\n         weft ca bundle > bundle.json")]
    Bundle(Bundle),
    /// Replace the root of trust, phase by phase: each waits until everybody has followed
    #[command(after_help = ROTATE_HELP)]
    Rotate(Rotate),
    /// Give a root of trust that expired new dates, on the control plane's machine
    #[command(after_help = RENEW_HELP)]
    RenewRoot(RenewRoot),
    /// Turn a workload away before its certificate ends, and cut its connections
    #[command(after_help = denials::DENY_HELP)]
    Deny(denials::Deny),
    /// Let back in who was denied
    #[command(after_help = "Example: weft ca allow spiffe://cluster.local/ns/default/sa/reviews")]
    Allow(denials::Allow),
    /// List who is denied
    #[command(after_help = "Example: weft ca denied")]
    Denied(denials::List),
}

const ROTATE_HELP: &str = "\
Phases: staged (the next root is made), distributed (all are told to trust it), signing (it signs, the old one is still \
trusted), retired (the old one is gone). No proxy is restarted and no connection is cut. Interrupt it at any time; the \
same command goes on. Join tokens that were made before the signing phase name the old root and cannot be used after. \
Control planes of one store take each phase together, whichever is asked. With --ca-dir it waits for the files that are \
there to be taken up; --force takes them up at once.

Example: weft ca rotate
         weft ca rotate --to distributed
         weft ca rotate --back";

const RENEW_HELP: &str = "\
The root keeps its key and its name, so that whoever trusts it goes on trusting it: no workload is joined again. A \
control plane that runs takes it up by itself; one that did not start is started again. Certificates that expired \
meanwhile are renewed as long as --rejoin-grace of the control plane allows.

Example: weft ca renew-root";

#[derive(Debug, Args)]
pub struct RenewRoot {
    /// The trust domain of the mesh
    #[arg(long, default_value = "cluster.local")]
    trust_domain: String,
}

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct Bundle {
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct Rotate {
    /// Stop when this phase is reached
    #[arg(long, value_enum, default_value_t)]
    to: Target,
    /// Go one phase back instead
    #[arg(long, conflicts_with_all = ["to", "no_wait"])]
    back: bool,
    /// Go on although somebody is behind, who is cut off by it
    #[arg(long)]
    force: bool,
    /// Fail instead of waiting for whoever is behind
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Target {
    Staged,
    Distributed,
    Signing,
    #[default]
    Retired,
}

const COLUMNS: [Column; 5] = [
    ("ROOT", |root| text(root, "fingerprint").chars().take(16).collect()),
    ("SUBJECT", |root| text(root, "subject")),
    ("SIGNS", |root| if root["signs"] == true { "yes".into() } else { "no".into() }),
    ("ENDS", ends),
    ("SERIAL", |root| text(root, "serial")),
];
/// Between two looks at who is behind.
const LOOK: Duration = Duration::from_millis(500);
/// So many of those who are behind are named.
const NAMED: usize = 3;

pub async fn run(verb: Verb, data: DataDir) -> anyhow::Result<()> {
    match verb {
        Verb::Status(options) => {
            let client = Client::open(&data, &options.api)?;
            let authority = client.get("ca").await?;
            if options.output.output != Format::Table {
                return print_value(options.output.output, &authority);
            }
            line(summary(&authority))?;
            print_list(Format::Table, &json!({ "items": authority["roots"] }), &COLUMNS, "there is no root")
        }
        Verb::RenewRoot(options) => {
            let trust_domain = TrustDomain::new(&options.trust_domain)?;
            for root in citadel::renew_expired_roots(&data.authority(), &trust_domain, &Clock::system())? {
                let left = root.not_after.duration_since(SystemTime::now()).unwrap_or_default();
                line(format_args!(
                    "{} holds for {}: {}",
                    root.path.display(),
                    duration::rough(left),
                    root.fingerprint
                ))?;
            }
            Ok(())
        }
        Verb::Deny(options) => denials::deny(options, data).await,
        Verb::Allow(options) => denials::allow(options, data).await,
        Verb::Denied(options) => denials::list(options, data).await,
        Verb::Bundle(options) => {
            let bundle = Client::open(&data, &options.api)?.get("ca/bundle").await?;
            print_value(Format::Json, &bundle)
        }
        Verb::Rotate(options) if options.back => {
            let client = Client::open(&data, &options.api)?;
            let now = step(&client, "back", options.force).await?;
            line(reached(&now))
        }
        Verb::Rotate(options) => rotate(&Client::open(&data, &options.api)?, &options).await,
    }
}

async fn rotate(client: &Client, options: &Rotate) -> anyhow::Result<()> {
    let mut now = client.get("ca").await?["rotation"].take();
    if now["plugged_in"] == true {
        return take_up(client, options, now).await;
    }
    let mut said = String::new();
    loop {
        if is_there(&text(&now, "phase"), options.to) {
            return Ok(());
        }
        if options.waits()
            && let Some(behind) = behind(&now)
        {
            now = wait(client, behind, &mut said).await?;
            continue;
        }
        now = step(client, "advance", options.force).await?;
        line(reached(&now))?;
        if text(&now, "phase") == "idle" {
            return Ok(());
        }
    }
}

/// Waits until the files that are there are in force, or has them taken up. Where there are none, the control plane says
/// what to do.
async fn take_up(client: &Client, options: &Rotate, mut now: Value) -> anyhow::Result<()> {
    const DONE: &str = "the authority's files are taken up";
    let mut said = String::new();
    while !now["pending"].is_null()
        && options.waits()
        && let Some(behind) = behind(&now)
    {
        now = wait(client, behind, &mut said).await?;
        if now["pending"].is_null() {
            return line(DONE);
        }
    }
    step(client, "advance", options.force).await?;
    line(DONE)
}

/// Tells who is behind, unless that was said, and looks again.
async fn wait(client: &Client, behind: String, said: &mut String) -> anyhow::Result<Value> {
    if behind != *said {
        tell(&behind);
        *said = behind;
    }
    tokio::time::sleep(LOOK).await;
    Ok(client.get("ca").await?["rotation"].take())
}

impl Rotate {
    fn waits(&self) -> bool {
        !self.force && !self.no_wait
    }
}

async fn step(client: &Client, which: &str, force: bool) -> anyhow::Result<Value> {
    client.post("ca/_rotate", json!({ "step": which, "force": force }).to_string()).await
}

/// Phases follow one another; retired is reached by a step alone.
fn is_there(phase: &str, wanted: Target) -> bool {
    let order = ["staged", "distributed", "signing"];
    let at = order.iter().position(|known| *known == phase);
    at.is_some_and(|at| wanted != Target::Retired && at >= wanted as usize)
}

fn reached(rotation: &Value) -> String {
    match text(rotation, "phase").as_str() {
        "staged" => "staged: the next root is made, and nobody knows it yet".to_owned(),
        "distributed" => "distributed: everybody is told to trust both roots; the old one signs".to_owned(),
        "signing" => "signing: the new root signs, and both are trusted".to_owned(),
        _ => "one root is trusted, and it signs".to_owned(),
    }
}

/// `92 % have followed; waiting for spiffe://… (has not said …), …`
fn behind(rotation: &Value) -> Option<String> {
    let waiting = rotation["waiting"].as_array().filter(|waiting| !waiting.is_empty())?;
    let name = |item: &Value| {
        let told = |key: &str| Some(text(item, key)).filter(|told| !told.is_empty());
        let member = told("member").map(|member| format!(" (member {member})"));
        let lineage = told("lineage").map(|serial| format!(" (certificates from {serial:.8})"));
        let from = told("from").map(|address| format!(" at {address}"));
        [Some(text(item, "identity")), member, lineage, from].into_iter().flatten().collect::<String>()
    };
    let names: Vec<_> = waiting.iter().take(NAMED).map(name).collect();
    let more = waiting.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let why = waiting.first().map(|item| text(item, "reason")).unwrap_or_default();
    Some(format!("{} % have followed; waiting for {}{more}: {why}", rotation["percent"], names.join(", ")))
}

fn summary(authority: &Value) -> String {
    let rotation = &authority["rotation"];
    let mut words = format!(
        "trust domain {}, {} live certificates; {}",
        text(authority, "trust_domain"),
        authority["live_certificates"],
        reached(rotation)
    );
    if let Some(behind) = behind(rotation) {
        words += &format!("\n{behind}");
    }
    if let Some(pending) = rotation["pending"].as_str() {
        words += &format!("\nfiles of the authority's are not in force: {pending}");
    }
    for fault in authority["faults"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        words += &format!("\n{fault}");
    }
    words
}

/// `in 3649d`
fn ends(root: &Value) -> String {
    let end = UNIX_EPOCH + Duration::from_secs(root["not_after"].as_u64().unwrap_or_default());
    end.duration_since(SystemTime::now())
        .map_or_else(|_| "ended".to_owned(), |left| format!("in {}", duration::rough(left)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_are_behind_are_named() {
        let waiting = |number: usize| json!({ "identity": format!("id-{number}"), "member": "m", "reason": "why" });
        let told = json!({ "percent": 60, "waiting": (0..5).map(waiting).collect::<Vec<_>>() });
        let expected =
            "60 % have followed; waiting for id-0 (member m), id-1 (member m), id-2 (member m) and 2 more: why";
        assert_eq!(behind(&told).as_deref(), Some(expected));
        let pod =
            json!({ "identity": "id", "member": null, "lineage": "1a2b3c4d5e6f", "from": "10.0.0.7", "reason": "why" });
        let expected = "50 % have followed; waiting for id (certificates from 1a2b3c4d) at 10.0.0.7: why";
        assert_eq!(behind(&json!({ "percent": 50, "waiting": [pod] })).as_deref(), Some(expected));
        assert_eq!(behind(&json!({ "percent": 100, "waiting": [] })), None);
    }

    #[test]
    fn a_phase_is_reached_when_it_or_a_later_one_is() {
        assert!(!is_there("idle", Target::Staged) && is_there("staged", Target::Staged));
        assert!(is_there("signing", Target::Distributed) && !is_there("staged", Target::Distributed));
        assert!(!is_there("signing", Target::Retired));
    }
}
