//! `weft services`

use clap::Args;
use serde_json::Value;

use super::api::{ApiOptions, Client, encode};
use super::data_dir::DataDir;
use super::output::{Column, OutputOptions, print_list, text};

#[derive(Debug, Args)]
pub struct Options {
    /// Only services of this namespace
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

const COLUMNS: [Column; 6] = [
    ("NAMESPACE", |item| text(item, "namespace")),
    ("HOST", |item| text(item, "host")),
    ("PORTS", ports),
    ("ENDPOINTS", endpoints),
    ("PLATFORMS", platforms),
    ("FROM", |item| words(&item["registries"])),
];

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let query = options.namespace.map(|namespace| format!("?namespace={}", encode(&namespace))).unwrap_or_default();
    let listing = Client::open(&data, &options.api)?.list(&format!("services{query}")).await?;
    print_list(options.output.output, &listing, &COLUMNS, "no services yet; `weft run --service NAME …` adds one")
}

fn ports(item: &Value) -> String {
    let ports = item["ports"].as_array().into_iter().flatten();
    let words: Vec<String> = ports.map(|port| format!("{}/{}", port["port"], text(port, "protocol"))).collect();
    words.join(",")
}

/// Healthy of all. That a registry which tells of them cannot be asked now is part of what is known.
fn endpoints(item: &Value) -> String {
    let stale = if item["stale"] == true { " (stale)" } else { "" };
    format!("{}/{}{stale}", item["endpoints"]["healthy"], item["endpoints"]["total"])
}

/// `consul 2/3, vm 1/1`: healthy of all.
fn platforms(item: &Value) -> String {
    let platforms = item["platforms"].as_object().into_iter().flatten();
    let words: Vec<String> =
        platforms.map(|(name, count)| format!("{name} {}/{}", count["healthy"], count["total"])).collect();
    words.join(", ")
}

fn words(list: &Value) -> String {
    let words: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_whose_registry_is_out_of_reach_is_marked() {
        let item = |stale: bool| json!({ "endpoints": { "healthy": 2, "total": 3 }, "stale": stale });
        assert_eq!(endpoints(&item(false)), "2/3");
        assert_eq!(endpoints(&item(true)), "2/3 (stale)");
    }
}
