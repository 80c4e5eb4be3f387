//! How results are printed: a table for people, JSON or YAML for programs.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use comfy_table::{Cell, Table, presets::NOTHING};
use serde_json::Value;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct OutputOptions {
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// A column: its heading, and what it shows of an item.
pub type Column = (&'static str, fn(&Value) -> String);

/// Writes to standard output. That nobody reads on, as in `weft services | head -1`, is no failure.
pub fn write(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    excuse_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
        .context("standard output cannot be written")
}

/// The same, with the end of a line.
pub fn line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    write(&format!("{text}\n"))
}

/// Writes a line to standard error, where words go that are no result; there is nobody to tell if that fails.
pub fn tell(text: impl std::fmt::Display) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

fn excuse_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints a listing of the API; `nothing` is said instead of an empty table.
pub fn print_list(format: Format, listing: &Value, columns: &[Column], nothing: &str) -> anyhow::Result<()> {
    if format != Format::Table {
        return print_value(format, listing);
    }
    let items = listing["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        tell(nothing);
        return Ok(());
    }
    let rows = items.iter().map(|item| columns.iter().map(|(_, show)| show(item)).collect());
    line(table(columns.iter().map(|(heading, _)| *heading), rows))
}

/// Prints a value as JSON, or as YAML.
pub fn print_value(format: Format, value: &Value) -> anyhow::Result<()> {
    match format {
        Format::Yaml => write(&yaml(value)?),
        _ => line(serde_json::to_string_pretty(value)?),
    }
}

pub fn yaml(value: &Value) -> anyhow::Result<String> {
    let mut text = serde_saphyr::to_string(value)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Columns without borders, headings in upper case.
pub fn table<'a>(headings: impl Iterator<Item = &'a str>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(headings.map(Cell::new));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// The text at a key; empty if there is none.
pub fn text(item: &Value, key: &str) -> String {
    match &item[key] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_plain_columns() {
        let rows = [vec!["reviews".to_owned(), "9080".into()], vec!["a".into(), "1".into()]];
        let text = table(["NAME", "PORT"].into_iter(), rows.into_iter());
        assert_eq!(text, "NAME      PORT\nreviews   9080\na         1");
    }
}
