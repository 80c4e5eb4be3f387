//! `weft token`: join tokens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::api::{ApiOptions, Client, encode};
use super::data_dir::DataDir;
use super::duration;
use super::output::{Column, Format, OutputOptions, line, print_list, print_value, text};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a token with which one workload may join; it is shown once
    #[command(after_help = "Example: weft token create --namespace default --service-account reviews --ttl 1h")]
    Create(Create),
    /// List the tokens
    #[command(after_help = "Example: weft token list")]
    List(List),
    /// Revoke a token
    #[command(after_help = "Example: weft token revoke 3f9c2a")]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub struct Create {
    /// The namespace of the identity that the token gives
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// The service account of the identity that the token gives
    #[arg(short, long, value_name = "NAME")]
    service_account: String,
    /// How long it may be used
    #[arg(long, default_value = "1h", value_parser = duration::parse)]
    ttl: Duration,
    /// How many workloads may use it
    #[arg(long, default_value_t = 1)]
    uses: u32,
    #[command(flatten)]
    output: OutputOptions,
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

#[derive(Debug, Args)]
pub struct Revoke {
    /// The token's id, as `weft token list` shows it
    id: String,
    #[command(flatten)]
    api: ApiOptions,
}

const COLUMNS: [Column; 5] = [
    ("ID", |item| text(item, "id")),
    ("NAMESPACE", |item| text(item, "namespace")),
    ("SERVICE ACCOUNT", |item| text(item, "service_account")),
    ("USED", |item| format!("{}/{}", item["used"], item["uses"])),
    ("EXPIRES", |item| expiry(item, SystemTime::now())),
];

pub async fn run(verb: Verb, data: DataDir) -> anyhow::Result<()> {
    match verb {
        Verb::Create(options) => create(options, data).await,
        Verb::List(options) => {
            let listing = Client::open(&data, &options.api)?.get("tokens").await?;
            print_list(options.output.output, &listing, &COLUMNS, "there are no join tokens")
        }
        Verb::Revoke(options) => {
            Client::open(&data, &options.api)?.delete(&format!("tokens/{}", encode(&options.id))).await?;
            line(format_args!("token {} revoked; certificates already issued stay valid", options.id))
        }
    }
}

async fn create(options: Create, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    let order = json!({
        "namespace": options.namespace,
        "service_account": options.service_account,
        "ttl_seconds": options.ttl.as_secs(),
        "uses": options.uses,
    });
    let made = client.post("tokens", order.to_string()).await?;
    match options.output.output {
        Format::Table => line(text(&made, "token")),
        format => print_value(format, &made),
    }
}

/// `in 40m`, or `expired`.
fn expiry(item: &Value, now: SystemTime) -> String {
    let expires = UNIX_EPOCH + Duration::from_secs(item["expires"].as_u64().unwrap_or(0));
    match expires.duration_since(now) {
        Ok(left) if !left.is_zero() && item["expired"] != true => format!("in {}", duration::rough(left)),
        _ => "expired".into(),
    }
}

/// A token for one workload of this machine, good for ten minutes.
pub async fn for_workload(client: &Client, namespace: &str, service_account: &str) -> anyhow::Result<String> {
    let order = json!({ "namespace": namespace, "service_account": service_account, "ttl_seconds": 600 });
    let made = client.post("tokens", order.to_string()).await?;
    Ok(text(&made, "token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_how_long_it_can_be_used() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(expiry(&json!({ "expires": 3_400, "expired": false }), now), "in 40m");
        assert_eq!(expiry(&json!({ "expires": 1_000, "expired": true }), now), "expired");
    }
}
