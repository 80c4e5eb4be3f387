//! `weft console`: where the browser finds the mesh.

use clap::Args;
use serde_json::json;

use super::api::{ApiOptions, Client};
use super::data_dir::DataDir;
use super::output::{Format, OutputOptions, line, print_value};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    client.get("version").await?;
    let url = format!("{}/", client.base());
    let file = options.api.token_file.clone().unwrap_or_else(|| data.token_file());
    if options.output.output != Format::Table {
        return print_value(options.output.output, &json!({ "console": url, "token_file": file }));
    }
    line(format_args!("Console     {url}"))?;
    line(format_args!("Sign in     with the token in {}", file.display()))
}
