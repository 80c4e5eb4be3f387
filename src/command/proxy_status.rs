//! `weft proxy-status`

use clap::Args;
use serde_json::Value;

use super::api::{ApiOptions, Client};
use super::data_dir::DataDir;
use super::output::{Column, Format, OutputOptions, print_list, text};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

const COLUMNS: [Column; 7] = [
    ("NAME", |item| text(item, "id")),
    ("KIND", |item| text(item, "kind")),
    ("CDS", |item| state(item, "CDS")),
    ("LDS", |item| state(item, "LDS")),
    ("EDS", |item| state(item, "EDS")),
    ("RDS", |item| state(item, "RDS")),
    ("VERSION", |item| text(item, "version")),
];

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let listing = Client::open(&data, &options.api)?.get("proxies").await?;
    print_list(options.output.output, &listing, &COLUMNS, "no proxy is connected")?;
    if options.output.output == Format::Table {
        for refusal in refusals(&listing) {
            eprintln!("{refusal}");
        }
    }
    Ok(())
}

fn state(item: &Value, name: &str) -> String {
    item["types"][name]["state"].as_str().unwrap_or("NOT SENT").to_owned()
}

/// Whether nothing is still on its way to a proxy, or was refused by it.
pub fn is_synced(proxy: &Value) -> bool {
    let types = proxy["types"].as_object();
    let settled = |of_type: &Value| matches!(of_type["state"].as_str(), Some("SYNCED" | "NOT SENT"));
    types.is_some_and(|types| types.values().all(settled)) && state(proxy, "LDS") == "SYNCED"
}

fn refusals(listing: &Value) -> Vec<String> {
    let proxies = listing["items"].as_array().into_iter().flatten();
    let errors = |proxy: &Value| {
        let types = proxy["types"].as_object().into_iter().flatten();
        let refused = types.filter_map(|(name, of_type)| Some((name, of_type["error"].as_str()?)));
        refused.map(|(name, words)| format!("{} refused {name}: {words}", text(proxy, "id"))).collect::<Vec<_>>()
    };
    proxies.flat_map(errors).collect()
}
