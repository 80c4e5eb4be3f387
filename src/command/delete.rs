//! `weft delete`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::api::{ApiOptions, Client, encode};
use super::apply::{Source, because, read_all};
use super::data_dir::DataDir;
use super::output::line;

#[derive(Debug, Args)]
pub struct Options {
    /// A kind: virtualservice, vs
    #[arg(required_unless_present = "files", requires = "name")]
    kind: Option<String>,
    /// The object's name
    name: Option<String>,
    /// The namespace
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Delete what a file, a directory or standard input (-) names; may be repeated
    #[arg(short, long = "file", value_name = "FILE|DIR|-", conflicts_with = "kind")]
    files: Vec<PathBuf>,
    /// Why, for the history
    #[arg(short, long, default_value = "")]
    message: String,
    #[command(flatten)]
    api: ApiOptions,
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let mut targets = Vec::new();
    if let (Some(kind), Some(name)) = (options.kind, options.name) {
        targets.push((kind, options.namespace.clone(), name));
    }
    for source in read_all(&options.files)? {
        targets.extend(named_in(&source, &options.namespace)?);
    }
    let client = Client::open(&data, &options.api)?;
    for (kind, namespace, name) in targets {
        let kind = kind.to_ascii_lowercase();
        let path = format!("{}/{}/{}", encode(&kind), encode(&namespace), encode(&name));
        client.delete_read(&path, &because(&options.message, "?")).await?;
        line(format_args!("{kind} {namespace}/{name} deleted"))?;
    }
    Ok(())
}

/// Kind, namespace and name of each document.
fn named_in(source: &Source, namespace: &str) -> anyhow::Result<Vec<(String, String, String)>> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&source.text).with_context(|| format!("{} is no YAML", source.origin))?;
    let documents = documents.iter().filter(|document| !document.is_null());
    documents
        .flat_map(|document| match document["kind"].as_str() {
            // What `weft get -o json` prints.
            Some("List") => document["items"].as_array().map(Vec::as_slice).unwrap_or_default(),
            _ => std::slice::from_ref(document),
        })
        .map(|document| {
            let kind = document["kind"].as_str();
            let name = document["metadata"]["name"].as_str();
            let (Some(kind), Some(name)) = (kind, name) else {
                anyhow::bail!("{}: a document names no kind or no metadata.name", source.origin)
            };
            let namespace = document["metadata"]["namespace"].as_str().unwrap_or(namespace);
            Ok((kind.to_owned(), namespace.to_owned(), name.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_name_what_to_delete() {
        let text = "kind: VirtualService\nmetadata: {name: a}\n---\nkind: Gateway\nmetadata: {name: b, namespace: x}\n";
        let source = Source { origin: "f".into(), text: text.into() };
        let named = named_in(&source, "default").unwrap();
        assert_eq!(named[0], ("VirtualService".into(), "default".into(), "a".into()));
        assert_eq!(named[1].1, "x");
    }

    #[test]
    fn a_list_names_what_is_in_it() {
        let text = r#"{"apiVersion": "v1", "kind": "List", "items": [{"kind": "Gateway", "metadata": {"name": "b"}}]}"#;
        let source = Source { origin: "f".into(), text: text.into() };
        assert_eq!(named_in(&source, "default").unwrap(), [("Gateway".into(), "default".into(), "b".into())]);
    }
}
