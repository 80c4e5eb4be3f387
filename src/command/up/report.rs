//! Tells what runs where.

use serde_json::{Value, json};

use super::plan::{CONTROL_PLANE, GATEWAY, Port, State};
use crate::command::api::{ApiOptions, Client};
use crate::command::data_dir::DataDir;
use crate::command::output::{Format, line, print_value, table, text};

pub async fn print(state: &State, data: &DataDir, format: Format) -> anyhow::Result<()> {
    let setup = setup_link(data).await;
    if format != Format::Table {
        return print_value(format, &describe(state, data, setup.as_deref()));
    }
    let fixed = [
        (GATEWAY, format!("http://{}", state.gateway), GATEWAY),
        (CONTROL_PLANE, format!("http://{}", state.api), CONTROL_PLANE),
    ];
    let fixed = fixed
        .into_iter()
        .map(|(name, url, process)| vec![name.to_owned(), "-".into(), "-".into(), url, pid(state, process)]);
    let workloads = state.workloads.iter().map(|workload| {
        let (service, version) = (workload.service.clone(), workload.version.clone());
        vec![workload.name.clone(), service, version, workload.address.to_string(), pid(state, &workload.name)]
    });
    line(table(["NAME", "SERVICE", "VERSION", "ADDRESS", "PID"].into_iter(), fixed.chain(workloads)))?;
    line("")?;
    if !state.workloads.is_empty() {
        line(format_args!("Open        http://{}/productpage", state.gateway))?;
    }
    if let Some(url) = setup {
        line(format_args!("Console     {url}   (signs one browser in, within an hour)"))?;
    }
    line(format_args!("API         http://{}   (token in {})", state.api, data.token_file().display()))?;
    line(format_args!("Logs        {}", data.path().join("log").display()))
}

/// Where a browser signs in, once; none if the control plane does not say.
async fn setup_link(data: &DataDir) -> Option<String> {
    let client = Client::open(data, &ApiOptions::default()).ok()?;
    let made = client.post("_setup", String::new()).await.ok()?;
    Some(format!("{}{}", client.base(), text(&made, "path")))
}

fn pid(state: &State, name: &str) -> String {
    state.pids.get(name).map_or_else(|| "not running".into(), ToString::to_string)
}

fn describe(state: &State, data: &DataDir, setup: Option<&str>) -> Value {
    let token = std::fs::read_to_string(data.token_file()).unwrap_or_default();
    let workloads = state.workloads.iter().map(|workload| {
        json!({
            "name": workload.name,
            "service": workload.service,
            "namespace": workload.namespace,
            "version": workload.version,
            "address": workload.address,
            "pid": state.pids.get(&workload.name),
            "http_proxy": workload.url(Port::HttpProxy),
            "admin": workload.url(Port::Admin),
            "metrics": workload.url(Port::Metrics),
        })
    });
    json!({
        "gateway": format!("http://{}", state.gateway),
        "api": format!("http://{}", state.api),
        "console": format!("http://{}/", state.api),
        "setup": setup,
        "token": token.trim(),
        "control_plane": { "pid": state.pids.get(CONTROL_PLANE) },
        "workloads": workloads.collect::<Vec<_>>(),
    })
}
