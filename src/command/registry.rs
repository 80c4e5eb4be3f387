//! `weft registry`: the platforms that services come from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::{ApiOptions, Client, encode};
use super::data_dir::DataDir;
use super::duration;
use super::output::{Column, Format, OutputOptions, line, print_list, print_value, tell, text};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show which registries are in step with their platforms, and what they disagree about
    #[command(after_help = "Example: weft registry status")]
    Status(Status),
    /// Leave the news of a platform aside until it is resumed, or the control plane ends; what it told stands
    #[command(after_help = "Example: weft registry pause consul")]
    Pause(Steered),
    /// Read a platform anew that was paused, and take its news again
    #[command(after_help = "Example: weft registry resume consul")]
    Resume(Steered),
    /// Read a platform anew: what it does not tell any more is taken out
    #[command(after_help = "Example: weft registry resync consul")]
    Resync(Steered),
}

#[derive(Debug, Args)]
pub struct Steered {
    /// As `weft registry status` names it
    name: String,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

const COLUMNS: [Column; 6] = [
    ("REGISTRY", |item| text(item, "name")),
    ("STATE", state),
    ("SINCE", |item| since(item, SystemTime::now())),
    ("SERVICES", |item| text(item, "services")),
    ("ENDPOINTS", |item| text(item, "endpoints")),
    ("REASON", |item| text(item, "reason")),
];

pub async fn run(verb: Verb, data: DataDir) -> anyhow::Result<()> {
    let (options, word) = match verb {
        Verb::Status(options) => return status(options, &data).await,
        Verb::Pause(options) => (options, "_pause"),
        Verb::Resume(options) => (options, "_resume"),
        Verb::Resync(options) => (options, "_resync"),
    };
    let client = Client::open(&data, &options.api)?;
    let told = client.post(&format!("registries/{}/{word}", encode(&options.name)), String::new()).await?;
    match options.output.output {
        Format::Table => line(format!("{} is {}", options.name, state(&told))),
        other => print_value(other, &told),
    }
}

async fn status(options: Status, data: &DataDir) -> anyhow::Result<()> {
    let listing = Client::open(data, &options.api)?.get("registries").await?;
    print_list(options.output.output, &listing, &COLUMNS, "there are no registries")?;
    if options.output.output == Format::Table {
        remarks(&listing).into_iter().for_each(tell);
    }
    Ok(())
}

fn state(item: &Value) -> String {
    let forgotten = item["forgotten"] == true;
    if forgotten { "stale, taken out".into() } else { text(item, "state") }
}

/// `5m` ago.
fn since(item: &Value, now: SystemTime) -> String {
    let since = item["since"].as_u64().filter(|seconds| *seconds > 0);
    let age = since.map(|seconds| now.duration_since(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap_or_default());
    age.map(duration::rough).unwrap_or_default()
}

/// A line for each thing that is wrong or in conflict.
fn remarks(listing: &Value) -> Vec<String> {
    let lines = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let items = listing["items"].as_array().into_iter().flatten();
    let findings = items.flat_map(|item| {
        let name = text(item, "name");
        lines(&item["findings"]).into_iter().map(move |words| format!("{name}: {words}"))
    });
    let conflicts = listing["conflicts"].as_array().into_iter().flatten();
    let conflicts = conflicts.map(|item| format!("{}: {}", text(item, "service"), text(item, "message")));
    findings.chain(conflicts).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_and_what_is_in_conflict_is_told() {
        let listing = json!({
            "items": [{ "name": "consul", "findings": ["service a: no port"] }, { "name": "agents", "findings": [] }],
            "conflicts": [{ "service": "a.default.svc.cluster.local", "message": "port 80: x; agents decides" }],
        });
        let expected = ["consul: service a: no port", "a.default.svc.cluster.local: port 80: x; agents decides"];
        assert_eq!(remarks(&listing), expected);
    }

    #[test]
    fn the_age_of_a_state_is_rough() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(since(&json!({ "since": 700 }), now), "5m");
        assert_eq!(since(&json!({ "since": 0 }), now), "");
    }
}
