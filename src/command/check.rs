//! `weft check`: everything that is wrong with the mesh, or with files before they are applied. The codes are those of
//! the console's problems.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::api::{ApiOptions, Client, finding};
use super::apply::{dry_run, read_all};
use super::data_dir::DataDir;
use super::failure::{Exit, Failure};
use super::output::{Format, OutputOptions, line, print_value, text};

#[derive(Debug, Args)]
pub struct Options {
    /// Check what a file, a directory or standard input (-) would do, instead of the mesh; may be repeated
    #[arg(short, long = "file", value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    match options.files.is_empty() {
        true => of_mesh(&client, options.output.output).await,
        false => of_files(&client, &options.files, options.output.output).await,
    }
}

async fn of_mesh(client: &Client, format: Format) -> anyhow::Result<()> {
    fail_on_errors(&show(client, format).await?)
}

/// Prints all problems of the mesh.
pub async fn show(client: &Client, format: Format) -> anyhow::Result<Value> {
    let listing = client.list("problems").await?;
    match format {
        Format::Table => print(&listing, "no problem found")?,
        other => print_value(other, &listing)?,
    }
    Ok(listing)
}

async fn of_files(client: &Client, files: &[PathBuf], format: Format) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for source in read_all(files)? {
        let told = dry_run(client, &source).await?;
        found.extend(told["diagnostics"].as_array().into_iter().flatten().cloned());
    }
    if format != Format::Table {
        print_value(format, &json!({ "items": found }))?;
    } else if found.is_empty() {
        line("no problem found")?;
    }
    for item in found.iter().filter(|_| format == Format::Table) {
        line(finding(item))?;
    }
    fail_on_errors(&json!({ "items": found }))
}

/// Each problem in two lines: what, and what to do.
pub fn print(listing: &Value, nothing: &str) -> anyhow::Result<()> {
    let items = listing["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        return line(nothing);
    }
    for item in items {
        line(told(item))?;
        line(format_args!("    {}", advice(item)))?;
    }
    Ok(())
}

/// What to do; of what is muted, why nothing.
fn advice(item: &Value) -> String {
    match &item["muted"] {
        Value::Null => format!("→ {}", text(item, "hint")),
        mute => format!("muted by {}: {}", text(mute, "author"), text(mute, "reason")),
    }
}

/// `WFT1301 error: reviews-v1.default: refused RDS: …`
fn told(item: &Value) -> String {
    let [code, severity, object, message] = ["code", "severity", "object", "message"].map(|key| text(item, key));
    // A file's message begins with its place in the file.
    match message.starts_with(&object) {
        true => format!("{code} {severity}: {message}"),
        false => format!("{code} {severity}: {object}: {message}"),
    }
}

/// Exit code 4 where anything is an error that nobody muted, so that a pipeline stops.
pub fn fail_on_errors(listing: &Value) -> anyhow::Result<()> {
    let items = listing["items"].as_array().into_iter().flatten();
    let errors = items.filter(|item| item["severity"] == "error" && item["muted"].is_null()).count();
    match errors {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Rejected, "1 error").into()),
        count => Err(Failure::new(Exit::Rejected, format!("{count} errors")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_its_code() {
        let item = json!({ "code": "WFT1301", "severity": "error", "object": "a.v1", "message": "refused RDS: no" });
        assert_eq!(told(&item), "WFT1301 error: a.v1: refused RDS: no");
    }

    #[test]
    fn only_errors_fail() {
        assert!(fail_on_errors(&json!({ "items": [{ "severity": "warning" }] })).is_ok());
        assert!(fail_on_errors(&json!({ "items": [{ "severity": "error" }] })).is_err());
        assert!(fail_on_errors(&json!({ "items": [{ "severity": "error", "muted": { "id": "a" } }] })).is_ok());
    }
}
