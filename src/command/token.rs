//! `weft token`: join tokens.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::api::{ApiOptions, Client, encode};
use super::data_dir::DataDir;
use super::duration;
use super::output::{Column, Format, OutputOptions, print_list, print_value, text};

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

const COLUMNS: [Column; 6] = [
    ("ID", |item| text(item, "id")),
    ("NAMESPACE", |item| text(item, "namespace")),
    ("SERVICE ACCOUNT", |item| text(item, "service_account")),
    ("USED", |item| format!("{}/{}", item["used"], item["uses"])),
    ("EXPIRED", |item| if item["expired"] == true { "yes".into() } else { "no".into() }),
    ("EXPIRES (UNIX)", |item| text(item, "expires")),
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
            println!("token {} revoked; certificates already issued stay valid", options.id);
            Ok(())
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
        Format::Table => println!("{}", text(&made, "token")),
        format => print_value(format, &made)?,
    }
    Ok(())
}

/// A token for one workload of this machine, good for ten minutes.
pub async fn for_workload(client: &Client, namespace: &str, service_account: &str) -> anyhow::Result<String> {
    let order = json!({ "namespace": namespace, "service_account": service_account, "ttl_seconds": 600 });
    let made = client.post("tokens", order.to_string()).await?;
    Ok(text(&made, "token"))
}
