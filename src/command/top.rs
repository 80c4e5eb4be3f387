//! `weft top`: the busiest services or edges, again and again.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::api::{ApiOptions, Client};
use super::data_dir::DataDir;
use super::duration;
use super::graph::{denied, edges, milliseconds, nodes, path, percent};
use super::output::{self, Column, table, text};

#[derive(Debug, Args)]
pub struct Options {
    /// What a line is
    #[arg(value_enum, default_value_t)]
    of: Of,
    /// Only what touches these namespaces
    #[arg(short, long, value_delimiter = ',')]
    namespace: Vec<String>,
    /// What comes first
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
    /// Over how much time: 30s, 5m, 1h
    #[arg(long, default_value = "60s")]
    window: String,
    /// The pause between two looks
    #[arg(long, default_value = "2s", value_parser = duration::parse)]
    every: Duration,
    /// Look once
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Of {
    #[default]
    Services,
    Edges,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Sort {
    #[default]
    Rate,
    Errors,
    Latency,
    Name,
}

const SERVICES: [Column; 9] = [
    ("SERVICE", |node| text(node, "id")),
    ("HEALTH", |node| text(node, "health")),
    ("READY", ready),
    ("RATE", rate),
    ("ERRORS", |node| percent(&node["error_ratio"])),
    ("DENIED", denied),
    ("P50", |node| milliseconds(&node["latency_ms"]["p50"])),
    ("P95", |node| milliseconds(&node["latency_ms"]["p95"])),
    ("P99", |node| milliseconds(&node["latency_ms"]["p99"])),
];
const EDGES: [Column; 9] = [
    ("FROM", |edge| text(edge, "source")),
    ("TO", |edge| text(edge, "destination")),
    ("PROTOCOL", |edge| text(edge, "protocol")),
    ("RATE", rate),
    ("ERRORS", |edge| percent(&edge["error_ratio"])),
    ("DENIED", denied),
    ("P50", |edge| milliseconds(&edge["latency_ms"]["p50"])),
    ("P95", |edge| milliseconds(&edge["latency_ms"]["p95"])),
    ("MTLS", |edge| percent(&edge["mtls_ratio"])),
];

/// Clears the screen and goes to its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    let path = path(&options.window, &options.namespace);
    let live = !options.once && std::io::stdout().is_terminal();
    loop {
        let graph = client.get(&path).await?;
        let shown = show(&graph, options.of, options.sort);
        output::write(&if live { format!("{CLEAR}{}\n\n{shown}\n", heading(&graph)) } else { format!("{shown}\n") })?;
        if options.once {
            return Ok(());
        }
        tokio::time::sleep(options.every.max(Duration::from_millis(200))).await;
    }
}

fn show(graph: &Value, of: Of, sort: Sort) -> String {
    let (items, columns) = match of {
        Of::Services => (nodes(graph), SERVICES),
        Of::Edges => (edges(graph), EDGES),
    };
    let mut items: Vec<&Value> = items.iter().collect();
    let number = |value: &Value| value.as_f64().unwrap_or(-1.0);
    let key = |item: &Value| match sort {
        Sort::Rate => number(&item["requests_per_second"]).max(number(&item["connections_per_second"])),
        Sort::Errors => number(&item["error_ratio"]),
        Sort::Latency => number(&item["latency_ms"]["p95"]),
        Sort::Name => 0.0,
    };
    // The API lists by name, and what is equal stays in that order.
    items.sort_by(|a, b| key(b).total_cmp(&key(a)));
    let rows = items.into_iter().map(|item| columns.iter().map(|(_, show)| show(item)).collect());
    table(columns.iter().map(|(heading, _)| *heading), rows)
}

fn heading(graph: &Value) -> String {
    let reporting = &graph["reporting"];
    format!(
        "{} of {} proxies report; figures of the last {} s; Ctrl-C ends this",
        reporting["fresh"], reporting["known"], graph["window_seconds"]
    )
}

fn rate(item: &Value) -> String {
    match item["connections_per_second"].as_f64() {
        Some(rate) => format!("{rate:.1} conn/s"),
        None => format!("{:.1}/s", item["requests_per_second"].as_f64().unwrap_or_default()),
    }
}

fn ready(node: &Value) -> String {
    match &node["endpoints"] {
        Value::Null => "-".into(),
        endpoints => format!("{}/{}", endpoints["ready"], endpoints["total"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_busiest_come_first_unless_asked_otherwise() {
        let graph = json!({ "nodes": [
            { "id": "default/a", "health": "healthy", "requests_per_second": 1.0, "error_ratio": 0.5 },
            { "id": "default/b", "health": "idle", "requests_per_second": 3.0, "error_ratio": null },
        ]});
        let first = |sort| show(&graph, Of::Services, sort).lines().nth(1).unwrap_or_default().to_owned();
        assert!(first(Sort::Rate).starts_with("default/b"), "{}", first(Sort::Rate));
        assert!(
            first(Sort::Errors).starts_with("default/a   healthy   -       1.0/s   50.0%    -"),
            "{}",
            first(Sort::Errors)
        );
        assert!(first(Sort::Name).starts_with("default/a"));
    }
}
