//! `weft version`

use clap::Args;
use serde_json::json;

use super::api::{ApiOptions, Client};
use super::data_dir::DataDir;
use super::output::{Format, OutputOptions, line, print_value, text};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let own = env!("CARGO_PKG_VERSION");
    let answer = match Client::open(&data, &options.api) {
        Ok(client) => client.get("version").await.ok(),
        Err(_) => None,
    };
    let control_plane = answer.map(|answer| text(&answer, "version"));
    if options.output.output != Format::Table {
        return print_value(options.output.output, &json!({ "version": own, "control_plane": control_plane }));
    }
    line(format_args!("weft {own}"))?;
    line(format_args!("control plane {}", control_plane.as_deref().unwrap_or("not reachable")))
}
