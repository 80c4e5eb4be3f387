//! `weft problems`: what is wrong with the mesh now, and what of it is known and out of the way for a time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::api::{ApiOptions, Client, encode};
use super::data_dir::DataDir;
use super::failure::{Exit, Failure};
use super::output::{Column, Format, OutputOptions, line, print_list, print_value, text};
use super::{check, duration};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List what is wrong, and what to do about each
    #[command(after_help = "Example: weft problems list")]
    List(Shown),
    /// Have a problem count for nothing until a certain time
    #[command(after_help = "Example: weft problems mute WFT1603 default/ratings --reason known --for 8h")]
    Mute(Mute),
    /// List what is muted, by whom, until when and why
    #[command(after_help = "Example: weft problems muted")]
    Muted(Shown),
    /// Have a problem count again
    #[command(after_help = "Example: weft problems unmute WFT1603 default/ratings")]
    Unmute(Named),
}

#[derive(Debug, Args)]
pub struct Shown {
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct Named {
    /// As `weft problems list` has it: WFT1603
    code: String,
    /// What it is about, as `weft problems list` has it between the severity and the words
    object: String,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct Mute {
    #[command(flatten)]
    problem: Named,
    /// Why nobody needs to look at it
    #[arg(long)]
    reason: String,
    /// For how long: at most 90d
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    period: Duration,
}

const MUTED: [Column; 5] = [
    ("CODE", |item| text(item, "code")),
    ("OBJECT", |item| text(item, "object")),
    ("FOR", |item| left(item, SystemTime::now())),
    ("BY", |item| text(item, "author")),
    ("REASON", |item| text(item, "reason")),
];

pub async fn run(verb: Verb, data: DataDir) -> anyhow::Result<()> {
    match verb {
        Verb::List(options) => {
            let client = Client::open(&data, &options.api)?;
            check::show(&client, options.output.output).await.map(drop)
        }
        Verb::Muted(options) => {
            let listing = Client::open(&data, &options.api)?.list("problems/_mutes").await?;
            print_list(options.output.output, &listing, &MUTED, "nothing is muted")
        }
        Verb::Mute(options) => mute(options, &data).await,
        Verb::Unmute(problem) => unmute(problem, &data).await,
    }
}

async fn mute(options: Mute, data: &DataDir) -> anyhow::Result<()> {
    let Mute { problem, reason, period } = options;
    let order =
        json!({ "code": problem.code, "object": problem.object, "reason": reason, "ttl_seconds": period.as_secs() });
    let made = Client::open(data, &problem.api)?.post("problems/_mutes", order.to_string()).await?;
    match problem.output.output {
        Format::Table => {
            line(format_args!("{} of {} is muted for {}", problem.code, problem.object, duration::rough(period)))
        }
        other => print_value(other, &made),
    }
}

async fn unmute(problem: Named, data: &DataDir) -> anyhow::Result<()> {
    let client = Client::open(data, &problem.api)?;
    let listing = client.list("problems/_mutes").await?;
    let items = listing["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_it = |item: &&Value| text(item, "code") == problem.code && text(item, "object") == problem.object;
    let Some(found) = items.iter().find(is_it) else {
        let words = format!("{} of {} is not muted; weft problems muted lists what is", problem.code, problem.object);
        return Err(Failure::new(Exit::NotFound, words).into());
    };
    let done = client.delete(&format!("problems/_mutes/{}", encode(&text(found, "id")))).await?;
    match problem.output.output {
        Format::Table => line(format_args!("{} of {} counts again", problem.code, problem.object)),
        other => print_value(other, &done),
    }
}

/// How long it still holds: `8h`.
fn left(item: &Value, now: SystemTime) -> String {
    let until = UNIX_EPOCH + Duration::from_secs(item["until"].as_u64().unwrap_or_default());
    duration::rough(until.duration_since(now).unwrap_or_default())
}
