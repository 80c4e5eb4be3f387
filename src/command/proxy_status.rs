//! `weft proxy-status`

use clap::Args;
use serde_json::Value;

use super::api::{ApiOptions, Client};
use super::data_dir::DataDir;
use super::output::{Column, Format, OutputOptions, print_list, tell, text};

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
    let client = Client::open(&data, &options.api)?;
    let listing = client.list("proxies").await?;
    print_list(options.output.output, &listing, &COLUMNS, "no proxy is connected")?;
    if options.output.output == Format::Table {
        for line in problems(&client.list("problems").await?) {
            tell(line);
        }
    }
    Ok(())
}

fn state(item: &Value, name: &str) -> String {
    item["types"][name]["state"].as_str().unwrap_or("NOT SENT").to_owned()
}

/// Whether a proxy has all there is for it: nothing is still to be compiled, on its way, or refused by it.
pub fn is_synced(proxy: &Value) -> bool {
    let types = proxy["types"].as_object();
    let settled = |of_type: &Value| matches!(of_type["state"].as_str(), Some("SYNCED" | "NOT SENT"));
    types.is_some_and(|types| types.values().all(settled)) && state(proxy, "LDS") == "SYNCED" && proxy["behind"] != true
}

/// How many problems there are, and a line for each; nothing where there is none.
fn problems(listing: &Value) -> Vec<String> {
    let items = listing["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let heading = match items.len() {
        0 => return Vec::new(),
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    let line = |item: &Value| match (text(item, "severity"), text(item, "object"), text(item, "message")) {
        // A file's message begins with its place in the file.
        (severity, object, message) if message.starts_with(&object) => format!("{severity}: {message}"),
        (severity, object, message) => format!("{severity}: {object}: {message}"),
    };
    [heading].into_iter().chain(items.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn problems_are_counted_and_named() {
        assert!(problems(&json!({ "items": [] })).is_empty());
        let listing = json!({ "items": [
            { "severity": "error", "object": "a.v1", "message": "refused RDS: no such action" },
            { "severity": "error", "object": "/c/a.yaml", "message": "/c/a.yaml:1:2: spec: unknown field" },
        ]});
        let expected =
            ["2 problems", "error: a.v1: refused RDS: no such action", "error: /c/a.yaml:1:2: spec: unknown field"];
        assert_eq!(problems(&listing), expected);
    }
}
