//! `weft apply`: sends files to the control plane. Each file is taken whole or not at all.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::api::{ApiOptions, Client, encode, finding};
use super::data_dir::DataDir;
use super::failure::{Exit, Failure};
use super::output::text;

#[derive(Debug, Args)]
pub struct Options {
    /// A file, a directory of .yaml, .yml and .json files, or - for standard input; may be repeated
    #[arg(short, long = "file", value_name = "FILE|DIR|-", required = true)]
    files: Vec<PathBuf>,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    api: ApiOptions,
}

/// A text and what to call it.
pub struct Source {
    pub origin: String,
    pub text: String,
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let sources = read_all(&options.files)?;
    let client = Client::open(&data, &options.api)?;
    let mut rejected = Vec::new();
    for source in sources {
        match send(&client, source, options.dry_run).await {
            Ok(()) => {}
            Err(error) if is_rejection(&error) => rejected.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    if rejected.is_empty() { Ok(()) } else { Err(Failure::new(Exit::Rejected, rejected.join("\n")).into()) }
}

async fn send(client: &Client, source: Source, dry_run: bool) -> anyhow::Result<()> {
    let suffix = if dry_run { "&dryRun=server" } else { "" };
    let path = format!("_apply?origin={}{suffix}", encode(&source.origin));
    let answer = client.post(&path, source.text).await?;
    for item in answer["items"].as_array().into_iter().flatten() {
        report(item, dry_run);
    }
    Ok(())
}

fn report(item: &Value, dry_run: bool) {
    let suffix = if dry_run { " (dry run)" } else { "" };
    let [kind, namespace, name, change] = ["kind", "namespace", "name", "change"].map(|key| text(item, key));
    println!("{} {namespace}/{name} {change}{suffix}", kind.to_ascii_lowercase());
    for warning in item["warnings"].as_array().into_iter().flatten() {
        eprintln!("{}", warn(warning));
    }
}

/// `warning: ` and what it is about.
fn warn(warning: &Value) -> String {
    let mut unmarked = warning.clone();
    unmarked["severity"] = Value::Null;
    format!("warning: {}", finding(&unmarked))
}

fn is_rejection(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(|failure| failure.exit == Exit::Rejected)
}

/// Everything that the paths name; directories in the order of their files' names.
pub fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
            sources.push(Source { origin: "<stdin>".into(), text });
        } else if path.is_dir() {
            for file in files_of(path)? {
                sources.push(read(&file)?);
            }
        } else {
            sources.push(read(path)?);
        }
    }
    Ok(sources)
}

fn read(path: &Path) -> anyhow::Result<Source> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(Source { origin: path.display().to_string(), text })
}

fn files_of(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("{} cannot be listed", directory.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    let extension =
        |path: &Path| path.extension().is_some_and(|word| word == "yaml" || word == "yml" || word == "json");
    let mut files: Vec<PathBuf> = paths.into_iter().filter(|path| path.is_file() && extension(path)).collect();
    files.sort();
    anyhow::ensure!(!files.is_empty(), "{} holds no .yaml, .yml or .json file", directory.display());
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_warning_begins_with_the_word() {
        let found = json!({
            "severity": "warning", "file": "VirtualService default/a", "line": 0, "column": 0,
            "path": "spec.gateways[0]", "detail": "Referenced gateway not found: \"default/gw\"", "suggestion": null,
        });
        assert_eq!(
            warn(&found),
            "warning: VirtualService default/a: spec.gateways[0]: Referenced gateway not found: \"default/gw\""
        );
    }
}
