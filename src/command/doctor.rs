//! `weft doctor`: what is wrong with the mesh and with this machine, and what to do about it. The codes are those of the
//! console's problems. Whatever is looked at and well is said, too.

mod dns;
mod machine;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::{Value, json};
use web::catalogue::{self, Code};

use super::api::{ApiOptions, Client};
use super::check;
use super::data_dir::DataDir;
use super::failure::{Exit, Failure};
use super::join::STATE_DIR;
use super::output::{Format, OutputOptions, line, print_value, text};

#[derive(Debug, Args)]
pub struct Options {
    /// Where the machine keeps what it joined with
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    state_dir: PathBuf,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

/// A certificate that is valid from now is refused by a clock that is behind.
const SKEW: Duration = Duration::from_secs(10);

/// What was looked at, and what was found.
#[derive(Default)]
pub struct Visit {
    found: Vec<Value>,
    /// What is as it should be.
    well: Vec<String>,
    /// Why the control plane was not asked.
    unreachable: Option<String>,
}

impl Visit {
    pub fn found(&mut self, code: &'static Code, object: &str, message: impl Into<String>) {
        self.found.push(json!({
            "code": code.code, "severity": code.severity.as_str(), "title": code.title, "source": "doctor",
            "object": object, "message": message.into(), "hint": code.hint,
        }));
    }

    pub fn well(&mut self, words: impl Into<String>) {
        self.well.push(words.into());
    }
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let mut visit = Visit::default();
    mesh(&mut visit, &options, &data).await;
    machine::look(&mut visit, &options.state_dir).await;
    let listing = json!({ "items": visit.found, "well": visit.well });
    if options.output.output != Format::Table {
        print_value(options.output.output, &listing)?;
    } else {
        for words in &visit.well {
            line(format_args!("ok: {words}"))?;
        }
        check::print(&listing, "nothing is wrong")?;
    }
    // Who cannot be reached is another matter than what it says.
    match visit.unreachable {
        Some(why) => Err(Failure::new(Exit::Unreachable, why).into()),
        None => check::fail_on_errors(&listing),
    }
}

/// What the control plane knows, and whether it is there.
async fn mesh(visit: &mut Visit, options: &Options, data: &DataDir) {
    let listing = async {
        let client = Client::open(data, &options.api)?;
        let before = SystemTime::now();
        let told = client.date().await?;
        let listing = client.list("problems").await?;
        let overview = client.get("overview").await?;
        anyhow::Ok((before, told, listing, overview))
    };
    let (before, told, listing, overview) = match listing.await {
        Ok(read) => read,
        Err(error) => {
            let why = format!("{error:#}");
            visit.unreachable = Some("the control plane cannot be asked".into());
            return visit.found(&catalogue::UNREACHABLE, "control plane", why);
        }
    };
    visit.well(format!("the control plane answers ({})", text(&overview["mesh"], "version")));
    clock(visit, before, told);
    version(visit, &overview);
    let items = listing["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    proxies(visit, &overview["proxies"], items);
    authority(visit, &overview["certificates"], items);
    visit.found.extend(items.iter().cloned());
}

/// Whether one of these is among the problems.
fn is_told(items: &[Value], codes: &[&Code]) -> bool {
    items.iter().any(|item| codes.iter().any(|code| item["code"] == code.code))
}

fn proxies(visit: &mut Visit, counts: &Value, items: &[Value]) {
    let (total, synced, stale) = (&counts["total"], &counts["synced"], &counts["stale"]);
    match stale.as_u64().unwrap_or_default() {
        0 => visit.well(format!("{synced} of {total} proxies are in step")),
        _ => visit.found(
            &catalogue::BEHIND,
            "proxies",
            format!("{stale} of {total} wait for their newest configuration"),
        ),
    }
    if !is_told(items, &[&catalogue::NACK]) {
        visit.well("no proxy refused its configuration (NACK)");
    }
    if !is_told(items, &[&catalogue::VERSION_SKEW]) {
        visit.well("the proxies are of the control plane's version");
    }
}

fn authority(visit: &mut Visit, certificates: &Value, items: &[Value]) {
    let ends = certificates["root_not_after"].as_u64();
    if let Some(ends) = ends.filter(|_| !is_told(items, &[&catalogue::CA_EXPIRES, &catalogue::CA_EXPIRED])) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        visit.well(format!("the certificate authority is good for {} days", ends.saturating_sub(now) / 86_400));
    }
    if !is_told(items, &[&catalogue::CERTIFICATE_EXPIRES]) {
        visit.well("the certificates of connected proxies are renewed in time");
    }
}

fn clock(visit: &mut Visit, own: SystemTime, told: Option<SystemTime>) {
    let Some(told) = told else { return };
    let apart = own.duration_since(told).or_else(|_| told.duration_since(own)).unwrap_or_default();
    match apart > SKEW {
        true => visit.found(&catalogue::CLOCK_SKEW, "clock", format!("they are {} s apart", apart.as_secs())),
        false => visit.well("the clocks agree"),
    }
}

fn version(visit: &mut Visit, overview: &Value) {
    let (own, other) = (env!("CARGO_PKG_VERSION"), text(&overview["mesh"], "version"));
    match own == other {
        true => visit.well("this program and the control plane are of one version"),
        false => {
            let message = format!("this program is {own}, the control plane {other}");
            visit.found(&catalogue::VERSION_SKEW, "weft", message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_apart_are_told_by_how_much() {
        let now = SystemTime::now();
        for told in [now + Duration::from_secs(60), now - Duration::from_secs(60)] {
            let mut visit = Visit::default();
            clock(&mut visit, now, Some(told));
            assert_eq!(
                (&visit.found[0]["code"], &visit.found[0]["message"]),
                (&json!("WFT1003"), &json!("they are 60 s apart"))
            );
        }
        let mut visit = Visit::default();
        clock(&mut visit, now, Some(now - Duration::from_secs(3)));
        assert!(visit.found.is_empty());
    }
}
