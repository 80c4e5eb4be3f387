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
    /// Revoke a token, and if asked who joined with it
    #[command(after_help = "Example: weft token revoke 3f9c2a")]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub struct Create {
    /// The namespace of the identity that the token gives
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// The service account of the identity that the token gives [default: that of the group]
    #[arg(short, long, value_name = "NAME", required_unless_present = "workload_group")]
    service_account: Option<String>,
    /// The WorkloadGroup that says what machines with the token serve: for `weft join`
    #[arg(short = 'g', long, value_name = "NAME")]
    workload_group: Option<String>,
    /// A service that may be registered; may be repeated [default: any of the namespace]
    #[arg(long = "allow-service", value_name = "NAME")]
    services: Vec<String>,
    /// A port that may be registered; may be repeated [default: any]
    #[arg(long = "allow-port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    ports: Vec<u16>,
    /// An address, or a range of them, that may be registered; may be repeated [default: any]
    #[arg(long = "allow-address", value_name = "CIDR", value_parser = addresses)]
    addresses: Vec<String>,
    /// It is for a gateway: it may have the private keys of its namespace, which credentialName names
    #[arg(long)]
    gateway: bool,
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
    /// Also throw out the workloads that joined with it: they are deregistered, and their certificates not renewed
    #[arg(long)]
    evict: bool,
    #[command(flatten)]
    api: ApiOptions,
}

const COLUMNS: [Column; 6] = [
    ("ID", |item| text(item, "id")),
    ("NAMESPACE", |item| text(item, "namespace")),
    ("SERVICE ACCOUNT", |item| text(item, "service_account")),
    ("GROUP", |item| text(item, "workload_group")),
    ("USED", |item| format!("{}/{}", item["used"], item["uses"])),
    ("EXPIRES", |item| expiry(item, SystemTime::now())),
];

pub async fn run(verb: Verb, data: DataDir) -> anyhow::Result<()> {
    match verb {
        Verb::Create(options) => create(options, data).await,
        Verb::List(options) => {
            let listing = Client::open(&data, &options.api)?.list("tokens").await?;
            print_list(options.output.output, &listing, &COLUMNS, "there are no join tokens")
        }
        Verb::Revoke(options) => revoke(options, data).await,
    }
}

async fn create(options: Create, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    let order = json!({
        "namespace": options.namespace,
        "service_account": options.service_account,
        "ttl_seconds": options.ttl.as_secs(),
        "uses": options.uses,
        "workload_group": options.workload_group,
        "services": options.services,
        "ports": options.ports,
        "addresses": options.addresses,
        "gateway": options.gateway,
    });
    let made = client.post("tokens", order.to_string()).await?;
    match options.output.output {
        Format::Table => line(text(&made, "token")),
        format => print_value(format, &made),
    }
}

async fn revoke(options: Revoke, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    client.delete(&format!("tokens/{}", encode(&options.id))).await?;
    if !options.evict {
        return line(format_args!("token {} revoked; who joined with it stays, unless you add --evict", options.id));
    }
    let members = client.list("members").await?;
    let mut count = 0;
    for member in members["items"].as_array().into_iter().flatten().filter(|member| member["token"] == options.id) {
        client.delete(&format!("members/{}", encode(&text(member, "id")))).await?;
        count += 1;
    }
    line(format_args!(
        "token {} revoked, and {count} workloads evicted; their connections are cut within seconds",
        options.id
    ))
}

/// An address counts as the range of it alone.
fn addresses(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no address and no range such as 10.0.0.0/8");
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: std::net::IpAddr = address.parse().map_err(|_| wrong())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length: u8 = length.map_or(Ok(longest), str::parse).map_err(|_| wrong())?;
    if length <= longest { Ok(format!("{address}/{length}")) } else { Err(wrong()) }
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
pub async fn for_workload(
    client: &Client,
    namespace: &str,
    service_account: &str,
    services: &[String],
    gateway: bool,
) -> anyhow::Result<String> {
    let order = json!({
        "namespace": namespace,
        "service_account": service_account,
        "services": services,
        "gateway": gateway,
        "ttl_seconds": 600,
    });
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
