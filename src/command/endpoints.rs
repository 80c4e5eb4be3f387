//! `weft endpoints`

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::api::{ApiOptions, Client, encode};
use super::data_dir::DataDir;
use super::failure::{Exit, Failure};
use super::output::{Column, Format, OutputOptions, print_list, text};

#[derive(Debug, Args)]
pub struct Options {
    /// A service: its host, the beginning of that up to a dot, or another of its names
    service: Option<String>,
    /// Only services of this namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Count endpoints per service and platform
    #[arg(long)]
    by_platform: bool,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

const COLUMNS: [Column; 8] = [
    ("SERVICE", |item| text(item, "service")),
    ("ENDPOINT", |item| format!("{}:{}", text(item, "address"), item["port"])),
    ("WORKLOAD", |item| text(item, "workload")),
    ("HEALTH", health),
    ("WEIGHT", |item| text(item, "weight")),
    ("PLATFORM", |item| text(item, "platform")),
    ("LOCALITY", |item| text(item, "locality")),
    ("IDENTITY", |item| text(item, "identity")),
];

const BY_PLATFORM: [Column; 5] = [
    ("SERVICE", |item| text(item, "service")),
    ("PLATFORM", |item| text(item, "platform")),
    ("HEALTHY", |item| text(item, "healthy")),
    ("TOTAL", |item| text(item, "total")),
    ("STALE", |item| text(item, "stale")),
];

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let query: Vec<String> = [("service", &options.service), ("namespace", &options.namespace)]
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", encode(value.as_ref()?))))
        .collect();
    let listing = Client::open(&data, &options.api)?.list(&format!("endpoints?{}", query.join("&"))).await?;
    let none = listing["items"].as_array().is_none_or(Vec::is_empty) && options.output.output == Format::Table;
    if let Some(service) = options.service.as_ref().filter(|_| none) {
        let told = format!("there are no endpoints of {service}; `weft services` lists the services");
        return Err(Failure::new(Exit::NotFound, told).into());
    }
    let nothing = "no such endpoints; `weft services` lists the services";
    match options.by_platform {
        true => print_list(options.output.output, &by_platform(&listing), &BY_PLATFORM, nothing),
        false => print_list(options.output.output, &listing, &COLUMNS, nothing),
    }
}

/// That the platform cannot be asked now is part of what is known of the health.
fn health(item: &Value) -> String {
    let stale = if item["stale"] == true { " (stale)" } else { "" };
    format!("{}{stale}", text(item, "health"))
}

/// Each service's endpoints on each platform, counted, with what each of them is.
fn by_platform(listing: &Value) -> Value {
    let mut groups: BTreeMap<(String, String), Vec<&Value>> = BTreeMap::new();
    for item in listing["items"].as_array().into_iter().flatten() {
        groups.entry((text(item, "service"), text(item, "platform"))).or_default().push(item);
    }
    let items: Vec<Value> = groups
        .into_iter()
        .map(|((service, platform), endpoints)| {
            json!({
                "service": service,
                "platform": platform,
                "healthy": endpoints.iter().filter(|item| item["health"] == "healthy").count(),
                "stale": endpoints.iter().filter(|item| item["stale"] == true).count(),
                "total": endpoints.len(),
                "endpoints": endpoints,
            })
        })
        .collect();
    json!({ "items": items })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_counted_per_platform_and_each_is_told() {
        let endpoint = |platform: &str, health: &str, stale: bool| json!({ "service": "a", "address": "10.0.0.1", "platform": platform, "health": health, "stale": stale });
        let all =
            [endpoint("vm", "healthy", false), endpoint("vm", "unhealthy", true), endpoint("consul", "healthy", true)];
        let items = by_platform(&json!({ "items": all }))["items"].clone();
        let expected = |platform: &str, counts: [usize; 3], endpoints: &[Value]| {
            let [healthy, stale, total] = counts;
            json!({ "service": "a", "platform": platform, "healthy": healthy, "stale": stale, "total": total,
                    "endpoints": endpoints })
        };
        assert_eq!(items[0], expected("consul", [1, 1, 1], &all[2..]));
        assert_eq!(items[1], expected("vm", [1, 1, 2], &all[..2]));
    }
}
