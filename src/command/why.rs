//! `weft why`: what becomes of a request, step by step, as the caller's own proxy would decide it.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::api::{ApiOptions, Client};
use super::authz::header;
use super::data_dir::DataDir;
use super::output::{Format, OutputOptions, line, print_value, text};

#[derive(Debug, Args)]
pub struct Options {
    /// Where it goes: reviews:9080, reviews.default.svc.cluster.local, or a URL
    destination: String,
    /// Who sends it: a workload (productpage-v1, default/productpage-v1), or the id of a proxy [default: the first gateway]
    #[arg(long)]
    from: Option<String>,
    #[arg(long)]
    method: Option<String>,
    /// NAME: VALUE; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let headers: BTreeMap<String, String> = options.headers.into_iter().collect();
    let question = json!({
        "source": options.from, "destination": options.destination, "method": options.method, "headers": headers,
    });
    let answer = Client::open(&data, &options.api)?.post("_why", question.to_string()).await?;
    match options.output.output {
        Format::Table => told(&answer).into_iter().try_for_each(line),
        other => print_value(other, &answer),
    }
}

/// The decision, and what led to it.
fn told(answer: &Value) -> Vec<String> {
    let status = answer["status"].as_u64().map_or_else(String::new, |status| format!(" with {status}"));
    let mut lines = vec![format!("{}: {}{status}", text(answer, "request"), text(answer, "decision"))];
    let each = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    for step in each("steps") {
        lines.push(format!("  {}: {}", text(&step, "step"), text(&step, "detail")));
    }
    lines.extend(each("warnings").iter().filter_map(Value::as_str).map(|words| format!("  warning: {words}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decision_comes_first_and_then_what_led_to_it() {
        let answer = json!({
            "request": "GET reviews:9080 /", "decision": "forwarded", "status": null,
            "steps": [{ "step": "route", "detail": "to-v1 of VirtualService default/reviews" }],
            "warnings": ["the route injects faults"],
        });
        let expected = [
            "GET reviews:9080 /: forwarded",
            "  route: to-v1 of VirtualService default/reviews",
            "  warning: the route injects faults",
        ];
        assert_eq!(told(&answer), expected);
        assert_eq!(
            told(&json!({ "request": "GET x /", "decision": "refused", "status": 404 })),
            ["GET x /: refused with 404"]
        );
    }
}
