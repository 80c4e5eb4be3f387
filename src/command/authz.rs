//! `weft authz`: who may call whom, by the policies.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::api::{ApiOptions, Client, encode};
use super::data_dir::DataDir;
use super::output::{Format, OutputOptions, line, print_value, table, text};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Judge one call: which policies apply, which rule decides, and why the others do not
    #[command(
        after_help = "Example: weft authz check --from productpage-v1 --to ratings --method GET --path /ratings/0"
    )]
    Check(Check),
    /// Show who may call whom
    #[command(after_help = "Example: weft authz matrix -n default")]
    Matrix(Matrix),
}

#[derive(Debug, Args)]
pub struct Check {
    /// A workload, an identity (cluster.local/ns/default/sa/web), or "plaintext"
    #[arg(long)]
    from: String,
    /// A service (reviews, reviews:9080), or a workload (default/reviews-v1)
    #[arg(long)]
    to: String,
    /// What is left out is left open
    #[arg(long)]
    method: Option<String>,
    #[arg(long)]
    path: Option<String>,
    #[arg(long)]
    host: Option<String>,
    /// NAME: VALUE; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// A claim of the caller's token; may be repeated
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, String)>,
    /// The caller has no token
    #[arg(long, conflicts_with = "claims")]
    no_token: bool,
    /// The caller's address
    #[arg(long)]
    ip: Option<std::net::IpAddr>,
    /// The name that it asks for by TLS
    #[arg(long)]
    sni: Option<String>,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct Matrix {
    /// Only services of these namespaces
    #[arg(short, long, value_delimiter = ',')]
    namespace: Vec<String>,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

pub async fn run(verb: Verb, data: DataDir) -> anyhow::Result<()> {
    match verb {
        Verb::Check(options) => check(options, data).await,
        Verb::Matrix(options) => matrix(options, data).await,
    }
}

async fn check(options: Check, data: DataDir) -> anyhow::Result<()> {
    let headers: BTreeMap<String, String> = options.headers.into_iter().collect();
    let claims: Map<String, Value> = options.claims.into_iter().map(|(name, value)| (name, value.into())).collect();
    let claims = (options.no_token || !claims.is_empty()).then_some(claims);
    let question = json!({
        "from": options.from, "to": options.to, "method": options.method, "path": options.path,
        "host": options.host, "headers": headers, "claims": claims, "ip": options.ip, "sni": options.sni,
    });
    let answer = Client::open(&data, &options.api)?.post("_authz", question.to_string()).await?;
    if options.output.output != Format::Table {
        return print_value(options.output.output, &answer);
    }
    line(format_args!("{}: {}", text(&answer, "decision"), text(&answer, "because")))?;
    for workload in items(&answer, "workloads") {
        let port = workload["port"].as_u64().map_or_else(String::new, |port| format!(":{port}"));
        let rule = workload["rule"].as_str().map_or_else(String::new, |rule| format!(", by {rule}"));
        line(format_args!(
            "\n{}{port} (mutual TLS {}): {}{rule}",
            text(workload, "workload"),
            text(workload, "mtls"),
            text(workload, "decision")
        ))?;
        policies(workload)?;
    }
    Ok(())
}

fn policies(workload: &Value) -> anyhow::Result<()> {
    for policy in items(workload, "policies") {
        let tried = if policy["dry_run"] == true { " (dry run)" } else { "" };
        line(format_args!(
            "  {} {}/{}{tried}",
            text(policy, "action"),
            text(policy, "namespace"),
            text(policy, "name")
        ))?;
        let rules = items(policy, "rules");
        if rules.is_empty() {
            line("    no rules: it matches nothing")?;
        }
        for (number, rule) in rules.iter().enumerate() {
            let because = text(rule, "because");
            let because = if rule["because"] == "" { String::new() } else { format!(": {because}") };
            let matches = match rule["matches"].as_str() {
                Some("yes") => "matches",
                Some("no") => "does not match",
                _ => "may match",
            };
            line(format_args!("    rule {number} {matches}{because}"))?;
        }
    }
    for other in items(workload, "others") {
        let name = format!("{}/{}", text(other, "namespace"), text(other, "name"));
        line(format_args!("  {name} does not apply: {}", text(other, "because")))?;
    }
    Ok(())
}

async fn matrix(options: Matrix, data: DataDir) -> anyhow::Result<()> {
    let query = match options.namespace.as_slice() {
        [] => String::new(),
        names => format!("?namespace={}", encode(&names.join(","))),
    };
    let matrix = Client::open(&data, &options.api)?.get(&format!("_authz/matrix{query}")).await?;
    if options.output.output != Format::Table {
        return print_value(options.output.output, &matrix);
    }
    let services = items(&matrix, "services");
    let headings: Vec<String> = std::iter::once("FROM".to_owned())
        .chain(services.iter().map(|service| {
            let name = text(service, "host");
            format!("{}:{}", name.split(".svc.").next().unwrap_or(&name), service["port"])
        }))
        .collect();
    let rows = items(&matrix, "callers").iter().map(|caller| {
        let cells = items(caller, "cells").iter().map(|cell| match cell["decision"].as_str() {
            Some("allowed") => "yes".to_owned(),
            Some("denied") => "no".to_owned(),
            _ => "depends".to_owned(),
        });
        std::iter::once(text(caller, "identity")).chain(cells).collect()
    });
    line(table(headings.iter().map(String::as_str), rows))
}

fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// For clap.
pub fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn claim(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a claim is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
