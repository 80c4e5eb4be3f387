//! `weft log-level`: what the control plane writes to its log.

use clap::Args;
use serde_json::json;

use super::api::{ApiOptions, Client};
use super::data_dir::DataDir;
use super::output::{Format, OutputOptions, line, print_value, text};

#[derive(Debug, Args)]
pub struct Options {
    /// What it writes from now on, until it ends: a level, and others for modules (warn,pilot=debug) [default: only show]
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

/// What stands below the help.
pub const HELP: &str = "Example: weft log-level info,pilot=debug\n\n\
                        A proxy's own is changed where it runs: \
                        curl -X POST 'http://127.0.0.1:15000/logging?level=debug'";

const PATH: &str = "control-plane/_log-level";

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    let told = match options.filter {
        Some(filter) => client.put(PATH, json!({ "filter": filter }).to_string()).await?,
        None => client.get(PATH).await?,
    };
    match options.output.output {
        Format::Table => line(text(&told, "filter")),
        other => print_value(other, &told),
    }
}
