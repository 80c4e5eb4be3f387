//! `weft graph`: who calls whom, as text, or for Graphviz or Mermaid.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::api::{ApiOptions, Client, encode};
use super::data_dir::DataDir;
use super::output::{self, Column, Format, table, text};

#[derive(Debug, Args)]
pub struct Options {
    /// Only what touches these namespaces
    #[arg(short, long, value_delimiter = ',')]
    namespace: Vec<String>,
    /// Over how much time: 30s, 5m, 1h
    #[arg(long, default_value = "60s")]
    window: String,
    /// Whether the versions of a service are nodes of their own
    #[arg(long, value_enum, default_value_t)]
    by: By,
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    #[default]
    Text,
    /// For Graphviz
    Dot,
    Mermaid,
    Json,
    Yaml,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum By {
    #[default]
    Service,
    Version,
}

const COLUMNS: [Column; 8] = [
    ("FROM", |edge| text(edge, "source")),
    ("TO", |edge| text(edge, "destination")),
    ("PROTOCOL", |edge| text(edge, "protocol")),
    ("RATE", traffic),
    ("ERRORS", |edge| percent(&edge["error_ratio"])),
    ("DENIED", denied),
    ("P95", |edge| milliseconds(&edge["latency_ms"]["p95"])),
    ("MTLS", |edge| percent(&edge["mtls_ratio"])),
];

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let mut path = path(&options.window, &options.namespace);
    if options.by == By::Version {
        path += "&by=version";
    }
    let graph = Client::open(&data, &options.api)?.get(&path).await?;
    match options.output {
        Form::Text if edges(&graph).is_empty() => output::tell("no proxy has reported traffic of that time"),
        Form::Text => {
            let rows = edges(&graph).iter().map(|edge| COLUMNS.iter().map(|(_, show)| show(edge)).collect());
            output::line(table(COLUMNS.iter().map(|(heading, _)| *heading), rows))?;
        }
        Form::Dot => output::write(&dot(&graph))?,
        Form::Mermaid => output::write(&mermaid(&graph))?,
        Form::Json => output::print_value(Format::Json, &graph)?,
        Form::Yaml => output::print_value(Format::Yaml, &graph)?,
    }
    Ok(())
}

/// Where the API has the graph.
pub fn path(window: &str, namespaces: &[String]) -> String {
    format!("graph?window={}&namespace={}", encode(window), encode(&namespaces.join(",")))
}

pub fn edges(graph: &Value) -> &[Value] {
    graph["edges"].as_array().map(Vec::as_slice).unwrap_or_default()
}

pub fn nodes(graph: &Value) -> &[Value] {
    graph["nodes"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Requests a second, or connections where there are no requests.
fn traffic(edge: &Value) -> String {
    match edge["connections_per_second"].as_f64() {
        Some(rate) => format!("{rate:.1} conn/s"),
        None => format!("{:.1}/s", edge["requests_per_second"].as_f64().unwrap_or_default()),
    }
}

/// Requests a second that policies turned away.
pub fn denied(item: &Value) -> String {
    let rate = item["denied_per_second"].as_f64().filter(|rate| *rate > 0.0);
    rate.map_or_else(|| "-".into(), |rate| format!("{rate:.1}/s"))
}

pub fn percent(ratio: &Value) -> String {
    ratio.as_f64().map_or_else(|| "-".into(), |ratio| format!("{:.1}%", ratio * 100.0))
}

pub fn milliseconds(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".into(), |ms| if ms < 10.0 { format!("{ms:.1}ms") } else { format!("{ms:.0}ms") })
}

fn label(edge: &Value) -> String {
    let errors = edge["error_ratio"].as_f64().filter(|ratio| *ratio > 0.0);
    let errors = errors.map(|_| format!(", {} errors", percent(&edge["error_ratio"])));
    let denied =
        edge["denied_per_second"].as_f64().filter(|rate| *rate > 0.0).map(|rate| format!(", {rate:.1}/s denied"));
    let [errors, denied] = [errors, denied].map(Option::unwrap_or_default);
    format!("{} {}{errors}{denied}", text(edge, "protocol"), traffic(edge))
}

/// An edge that fails, one that is encrypted, or one that is not.
fn colour(edge: &Value) -> &'static str {
    let denied = edge["denied_per_second"].as_f64().unwrap_or_default();
    match (edge["error_ratio"].as_f64().unwrap_or_default(), edge["mtls_ratio"].as_f64()) {
        (errors, _) if errors >= 0.01 || denied > 0.0 => "firebrick",
        (_, Some(1.0)) => "seagreen",
        _ => "gray40",
    }
}

fn dot(graph: &Value) -> String {
    let quoted = |text: String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = String::from("digraph mesh {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    for node in nodes(graph) {
        let _ = writeln!(out, "  {} [label={}];", quoted(text(node, "id")), quoted(text(node, "name")));
    }
    for edge in edges(graph) {
        let (from, to) = (quoted(text(edge, "source")), quoted(text(edge, "destination")));
        let _ = writeln!(out, "  {from} -> {to} [label={}, color={}];", quoted(label(edge)), colour(edge));
    }
    out + "}\n"
}

fn mermaid(graph: &Value) -> String {
    let plain = |text: String| text.replace('"', "&quot;");
    let ids: BTreeMap<String, usize> = nodes(graph).iter().map(|node| text(node, "id")).zip(0..).collect();
    let mut out = String::from("flowchart LR\n");
    for node in nodes(graph) {
        let _ = writeln!(out, "  n{}[\"{}\"]", ids[&text(node, "id")], plain(text(node, "name")));
    }
    for edge in edges(graph) {
        let ends = [text(edge, "source"), text(edge, "destination")].map(|id| ids.get(&id).copied());
        if let [Some(from), Some(to)] = ends {
            let _ = writeln!(out, "  n{from} -->|\"{}\"| n{to}", plain(label(edge)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn graph() -> Value {
        json!({
            "nodes": [
                { "id": "default/productpage", "name": "productpage" },
                { "id": "default/reviews", "name": "reviews" },
            ],
            "edges": [{
                "source": "default/productpage", "destination": "default/reviews", "protocol": "http",
                "requests_per_second": 4.25, "error_ratio": 0.125, "mtls_ratio": 1.0,
                "latency_ms": { "p95": 12.4 },
            }],
        })
    }

    #[test]
    fn graphviz_is_told_of_nodes_and_edges() {
        let text = dot(&graph());
        assert!(text.contains("  \"default/reviews\" [label=\"reviews\"];\n"), "{text}");
        let edge =
            "\"default/productpage\" -> \"default/reviews\" [label=\"http 4.2/s, 12.5% errors\", color=firebrick]";
        assert!(text.contains(edge), "{text}");
        let mut denied = graph();
        denied["edges"][0]["denied_per_second"] = json!(1.5);
        assert!(dot(&denied).contains("12.5% errors, 1.5/s denied\""), "{}", dot(&denied));
    }

    #[test]
    fn mermaid_is_told_of_nodes_and_edges() {
        let expected = "flowchart LR\n  n0[\"productpage\"]\n  n1[\"reviews\"]\n  \
                        n0 -->|\"http 4.2/s, 12.5% errors\"| n1\n";
        assert_eq!(mermaid(&graph()), expected);
    }
}
