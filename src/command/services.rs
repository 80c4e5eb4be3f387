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

/// Healthy of all.
fn endpoints(item: &Value) -> String {
    format!("{}/{}", item["endpoints"]["healthy"], item["endpoints"]["total"])
}

/// `consul 2/3 (stale), vm 1/1`: healthy of all. That a platform, or an agent on one, cannot be asked now is part of what
/// is known. A service without endpoints is told of by nothing but its registry.
fn platforms(item: &Value) -> String {
    let platforms = item["platforms"].as_object().into_iter().flatten();
    let stale = |is: bool| if is { " (stale)" } else { "" };
    let words: Vec<String> = platforms
        .map(|(name, count)| {
            let stale = stale(count["stale"].as_u64().is_some_and(|stale| stale > 0));
            format!("{name} {}/{}{stale}", count["healthy"], count["total"])
        })
        .collect();
    if words.is_empty() { stale(item["stale"] == true).trim().to_owned() } else { words.join(", ") }
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
    fn the_platform_that_is_out_of_reach_is_marked_and_no_other() {
        let item = json!({
            "endpoints": { "healthy": 4, "total": 5 },
            "platforms": {
                "consul": { "healthy": 2, "total": 3, "stale": 3 },
                "vm": { "healthy": 2, "total": 2, "stale": 0 },
            },
            "stale": true,
        });
        assert_eq!(endpoints(&item), "4/5");
        assert_eq!(platforms(&item), "consul 2/3 (stale), vm 2/2");
        assert_eq!(platforms(&json!({ "platforms": {}, "stale": true })), "(stale)");
        assert_eq!(platforms(&json!({ "platforms": {}, "stale": false })), "");
    }
}
