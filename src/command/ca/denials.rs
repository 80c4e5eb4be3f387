//! `weft ca deny`, `allow` and `denied`: who is turned away before their certificates end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use crate::command::api::{ApiOptions, Client, encode};
use crate::command::data_dir::DataDir;
use crate::command::duration;
use crate::command::output::{Column, OutputOptions, line, print_list, text};

#[derive(Debug, Args)]
pub struct Deny {
    /// A SPIFFE ID, the serial number of a certificate, or the id of a member (an agent)
    #[arg(value_name = "ID|SERIAL|AGENT")]
    who: String,
    /// Why; whoever is denied is told
    #[arg(long, default_value = "")]
    reason: String,
    /// For how long [default: until it is allowed again; a serial number until its certificate is of no use any more]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    lasts: Option<Duration>,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct Allow {
    /// What was denied, or the entry's id
    #[arg(value_name = "ID|SERIAL|AGENT")]
    who: String,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

pub const DENY_HELP: &str = "\
Whoever is denied gets no certificate and no configuration, every proxy closes the connections with it and refuses new \
ones, within seconds. A serial number denies one certificate of a member: one that was renewed from it has another; deny the identity \
or the agent to turn away all of them. Of a workload that joined by a platform's token it denies all that it has, until \
it joins again by its token.

Example: weft ca deny spiffe://cluster.local/ns/default/sa/reviews --reason stolen --for 24h";

const COLUMNS: [Column; 5] = [
    ("ID", |item| text(item, "id")),
    ("KIND", |item| text(item, "kind")),
    ("DENIED", |item| text(item, "value")),
    ("ENDS", |item| ends(item, SystemTime::now())),
    ("REASON", |item| text(item, "reason")),
];

pub async fn deny(options: Deny, data: DataDir) -> anyhow::Result<()> {
    let order = json!({
        "kind": kind(&options.who),
        "value": options.who,
        "reason": options.reason,
        "lasts_seconds": options.lasts.map(|lasts| lasts.as_secs()),
    });
    let made = Client::open(&data, &options.api)?.post("ca/denials", order.to_string()).await?;
    let end = match ends(&made, SystemTime::now()).as_str() {
        "" => "until it is allowed again".to_owned(),
        ends => format!("which ends {ends}"),
    };
    line(format_args!("{} {} is denied, {end}", text(&made, "kind"), text(&made, "value")))
}

pub async fn allow(options: Allow, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    let listing = client.list("ca/denials").await?;
    let wanted = bare(&options.who);
    let is_it = |item: &&Value| text(item, "id") == options.who || bare(&text(item, "value")) == wanted;
    let found: Vec<_> = listing["items"].as_array().into_iter().flatten().filter(is_it).collect();
    if found.is_empty() {
        anyhow::bail!("{} is not denied; `weft ca denied` shows who is", options.who);
    }
    for item in found {
        client.delete(&format!("ca/denials/{}", encode(&text(item, "id")))).await?;
        line(format_args!("{} {} is allowed again", text(item, "kind"), text(item, "value")))?;
    }
    Ok(())
}

pub async fn list(options: List, data: DataDir) -> anyhow::Result<()> {
    let listing = Client::open(&data, &options.api)?.list("ca/denials").await?;
    print_list(options.output.output, &listing, &COLUMNS, "nobody is denied")
}

/// Each looks different: an agent's id has a hyphen, which a serial number has not.
fn kind(who: &str) -> &'static str {
    match who {
        id if id.starts_with("spiffe://") => "identity",
        serial if serial.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') => "serial",
        _ => "agent",
    }
}

/// Serial numbers are written with and without colons, zeros in front and capitals.
fn bare(who: &str) -> String {
    match kind(who) {
        "serial" => who.replace(':', "").to_ascii_lowercase().trim_start_matches('0').to_owned(),
        _ => who.to_owned(),
    }
}

/// `in 40m`; empty without an end.
fn ends(item: &Value, now: SystemTime) -> String {
    let Some(until) = item["until"].as_u64() else { return String::new() };
    let left = (UNIX_EPOCH + Duration::from_secs(until)).duration_since(now).unwrap_or_default();
    format!("in {}", duration::rough(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_is_told_by_how_it_looks() {
        assert_eq!(kind("spiffe://cluster.local/ns/a/sa/b"), "identity");
        assert_eq!((kind("0A:1b:2C"), kind("0a1b2c")), ("serial", "serial"));
        assert_eq!(kind("3f9c2aQw81zX-0a1b2c3d"), "agent");
        assert_eq!(bare("00:0A:1b"), bare("a1b"));
    }
}
