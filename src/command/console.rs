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
    // A token that may not make links signs in by itself.
    let made = client.post("_setup", String::new()).await.ok();
    let link = made.and_then(|made| Some(format!("{}{}", client.base(), made["path"].as_str()?)));
    if options.output.output != Format::Table {
        return print_value(options.output.output, &json!({ "console": url, "setup": link, "token_file": file }));
    }
    line(format_args!("Console     {url}"))?;
    if let Some(link) = link {
        line(format_args!("Sign in     {link}   (good once, within an hour)"))?;
    }
    line(format_args!("Token       {}", file.display()))
}
