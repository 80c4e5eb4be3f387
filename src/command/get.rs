//! `weft get`

use clap::Args;
use serde_json::{Value, json};

use super::api::{ApiOptions, Client, encode};
use super::data_dir::DataDir;
use super::output::{Column, Format, OutputOptions, print_list, print_value, text, write, yaml};

#[derive(Debug, Args)]
pub struct Options {
    /// A kind, as in its YAML, or its plural or short name: virtualservice, virtualservices, vs
    kind: String,
    /// One object; all of the namespace without it
    name: Option<String>,
    /// The namespace
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with = "name")]
    all_namespaces: bool,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

const COLUMNS: [Column; 5] = [
    ("NAMESPACE", |item| text(item, "namespace")),
    ("NAME", |item| text(item, "name")),
    ("REVISION", |item| text(item, "revision")),
    ("SUMMARY", summary),
    ("FROM", origin),
];

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    let (kind, format) = (encode(&options.kind.to_ascii_lowercase()), options.output.output);
    let listing = match &options.name {
        Some(name) => {
            let found = client.get(&format!("{kind}/{}/{}", encode(&options.namespace), encode(name))).await?;
            if format != Format::Table {
                return print_value(format, &found["object"]);
            }
            json!({ "items": [found] })
        }
        None if options.all_namespaces => client.list(&kind).await?,
        None => client.list(&format!("{kind}?namespace={}", encode(&options.namespace))).await?,
    };
    match format {
        Format::Yaml => print_documents(&listing),
        Format::Json => print_value(format, &list_of(&listing)),
        Format::Table => print_list(format, &listing, &COLUMNS, "nothing found; -A looks in all namespaces"),
    }
}

fn objects(listing: &Value) -> Vec<&Value> {
    listing["items"].as_array().into_iter().flatten().map(|item| &item["object"]).collect()
}

/// An object that `weft apply` takes again.
fn list_of(listing: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects(listing) })
}

/// One YAML document an object, so that the output can be applied again.
fn print_documents(listing: &Value) -> anyhow::Result<()> {
    for (index, object) in objects(listing).into_iter().enumerate() {
        write(&format!("{}{}", if index > 0 { "---\n" } else { "" }, yaml(object)?))?;
    }
    Ok(())
}

/// What an object is about: the hosts it names, or its mode.
fn summary(item: &Value) -> String {
    let spec = &item["object"]["spec"];
    let hosts =
        |list: &Value| list.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    let servers = spec["servers"].as_array().into_iter().flatten();
    let of_servers = servers.map(|server| format!("{}:{}", hosts(&server["hosts"]), server["port"]["number"]));
    [
        hosts(&spec["hosts"]),
        text(spec, "host"),
        of_servers.collect::<Vec<_>>().join(" "),
        text(spec, "address"),
        text(&spec["mtls"], "mode"),
    ]
    .into_iter()
    .find(|words| !words.is_empty())
    .unwrap_or_default()
}

fn origin(item: &Value) -> String {
    match item["provenance"]["file"].as_str() {
        Some(file) => file.to_owned(),
        None => format!("applied by {}", text(&item["provenance"], "author")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_a_list_that_can_be_applied_again() {
        let listing = json!({ "items": [{ "object": { "kind": "Gateway" }, "revision": 3 }] });
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [{ "kind": "Gateway" }] });
        assert_eq!(list_of(&listing), list);
    }

    #[test]
    fn a_summary_names_what_the_object_is_about() {
        let of = |spec: Value| summary(&json!({ "object": { "spec": spec } }));
        assert_eq!(of(json!({ "hosts": ["reviews", "ratings"] })), "reviews,ratings");
        assert_eq!(of(json!({ "servers": [{ "port": { "number": 80 }, "hosts": ["*"] }] })), "*:80");
        assert_eq!(of(json!({ "mtls": { "mode": "STRICT" } })), "STRICT");
        assert_eq!(of(json!({})), "");
    }
}
