//! `weft apply`: sends files to the control plane. All are checked before the first is applied, and each is taken
//! whole or not at all.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::api::{ApiOptions, Client, encode, finding};
use super::data_dir::DataDir;
use super::failure::{Exit, Failure};
use super::output::{line, tell, text};

#[derive(Debug, Args)]
pub struct Options {
    /// A file, a directory of .yaml, .yml and .json files, or - for standard input; may be repeated
    #[arg(short, long = "file", value_name = "FILE|DIR|-", required = true)]
    files: Vec<PathBuf>,
    /// Why, for the history
    #[arg(short, long, default_value = "")]
    message: String,
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
    if options.dry_run || sources.len() > 1 {
        check(&client, &sources, options.dry_run).await?;
    }
    if options.dry_run { Ok(()) } else { apply(&client, &sources, &options.message).await }
}

/// Has every text checked, so that all that is wrong is told at once and nothing is changed by then.
async fn check(client: &Client, sources: &[Source], told: bool) -> anyhow::Result<()> {
    let mut rejected = Vec::new();
    for source in sources {
        let answer = dry_run(client, source).await?;
        if answer["valid"] != true {
            rejected.extend(answer["diagnostics"].as_array().into_iter().flatten().map(finding));
        } else if told {
            report(&answer, " (dry run)")?;
            impact(&answer["impact"])?;
        }
    }
    if rejected.is_empty() {
        return Ok(());
    }
    rejected.push("the configuration is not valid; nothing was changed".into());
    Err(Failure::new(Exit::Rejected, rejected.join("\n")).into())
}

/// What the control plane says would happen.
pub async fn dry_run(client: &Client, source: &Source) -> anyhow::Result<Value> {
    send(client, source, "&dryRun=server").await
}

/// How many proxies a change reaches.
fn impact(impact: &Value) -> anyhow::Result<()> {
    let Some(proxies) = impact["proxies"].as_u64() else { return Ok(()) };
    let types = impact["xds"].as_object().into_iter().flatten().filter(|(_, count)| **count != 0);
    let types: Vec<String> = types.map(|(name, count)| format!("{count} {}", name.to_uppercase())).collect();
    let what = if types.is_empty() { String::new() } else { format!(": {}", types.join(", ")) };
    line(format_args!("changes {proxies} of {} connected proxies{what}", impact["connected"]))
}

async fn apply(client: &Client, sources: &[Source], message: &str) -> anyhow::Result<()> {
    for (done, source) in sources.iter().enumerate() {
        match send(client, source, &because(message, "&")).await {
            Ok(answer) => report(&answer, "")?,
            Err(error) => return Err(after(&sources[..done], error)),
        }
    }
    Ok(())
}

/// A message as part of a query.
pub fn because(message: &str, before: &str) -> String {
    if message.is_empty() { String::new() } else { format!("{before}message={}", encode(message)) }
}

/// A failure, with what was applied before it.
fn after(applied: &[Source], error: anyhow::Error) -> anyhow::Error {
    if applied.is_empty() {
        return error;
    }
    let names: Vec<&str> = applied.iter().map(|source| source.origin.as_str()).collect();
    let before = format!("these were applied before: {}", names.join(", "));
    if is_rejection(&error) {
        // The control plane speaks of this one file when it says that nothing was changed.
        let (findings, _) = split_detail(&error.to_string());
        return Failure::new(Exit::Rejected, format!("{findings}\n{before}")).into();
    }
    error.context(before)
}

/// The findings of a rejection, and the sentence below them.
fn split_detail(words: &str) -> (String, String) {
    let (findings, detail) = words.rsplit_once('\n').unwrap_or((words, words));
    (findings.to_owned(), detail.to_owned())
}

async fn send(client: &Client, source: &Source, suffix: &str) -> anyhow::Result<Value> {
    client.post(&format!("_apply?origin={}{suffix}", encode(&source.origin)), source.text.clone()).await
}

fn report(answer: &Value, suffix: &str) -> anyhow::Result<()> {
    for item in answer["items"].as_array().into_iter().flatten() {
        let [kind, namespace, name, change] = ["kind", "namespace", "name", "change"].map(|key| text(item, key));
        line(format_args!("{} {namespace}/{name} {change}{suffix}", kind.to_ascii_lowercase()))?;
        for operation in item["diff"].as_array().into_iter().flatten().filter(|operation| operation["path"] != "") {
            let value = operation.get("value").map_or_else(String::new, |value| format!(" {value}"));
            line(format_args!("  {} {}{value}", text(operation, "op"), text(operation, "path")))?;
        }
        for warning in item["warnings"].as_array().into_iter().flatten() {
            tell(warn(warning));
        }
    }
    Ok(())
}

/// `warning: ` and what it is about.
pub fn warn(warning: &Value) -> String {
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

    #[test]
    fn a_failure_names_the_files_applied_before_it() {
        let source = |origin: &str| Source { origin: origin.into(), text: String::new() };
        let rejection = || Failure::new(Exit::Rejected, "c.yaml:1:1: wrong\nnothing was changed").into();
        let told = after(&[source("a.yaml"), source("b.yaml")], rejection());
        assert_eq!(told.to_string(), "c.yaml:1:1: wrong\nthese were applied before: a.yaml, b.yaml");
        assert!(is_rejection(&told));
        assert_eq!(after(&[], rejection()).to_string(), "c.yaml:1:1: wrong\nnothing was changed");
        let gone = after(&[source("a.yaml")], Failure::new(Exit::Unreachable, "no answer").into());
        assert_eq!(gone.downcast_ref::<Failure>().unwrap().exit, Exit::Unreachable);
        assert_eq!(format!("{gone:#}"), "these were applied before: a.yaml: no answer");
    }
}
