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
    /// A service: its host, or the beginning of it up to a dot
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

const BY_PLATFORM: [Column; 4] = [
    ("SERVICE", |item| text(item, "service")),
    ("PLATFORM", |item| text(item, "platform")),
    ("HEALTHY", |item| text(item, "healthy")),
    ("TOTAL", |item| text(item, "total")),
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

fn by_platform(listing: &Value) -> Value {
    let mut counts: BTreeMap<(String, String), (usize, usize)> = BTreeMap::new();
    for item in listing["items"].as_array().into_iter().flatten() {
        let count = counts.entry((text(item, "service"), text(item, "platform"))).or_default();
        count.0 += usize::from(item["health"] == "healthy");
        count.1 += 1;
    }
    let items: Vec<Value> = counts
        .into_iter()
        .map(|((service, platform), (healthy, total))| {
            json!({ "service": service, "platform": platform, "healthy": healthy, "total": total })
        })
        .collect();
    json!({ "items": items })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_counted_per_platform() {
        let endpoint = |platform: &str, health: &str| json!({ "service": "a", "platform": platform, "health": health });
        let listing =
            json!({ "items": [endpoint("vm", "healthy"), endpoint("vm", "unhealthy"), endpoint("consul", "healthy")] });
        let items = by_platform(&listing)["items"].clone();
        assert_eq!(items[0], json!({ "service": "a", "platform": "consul", "healthy": 1, "total": 1 }));
        assert_eq!(items[1], json!({ "service": "a", "platform": "vm", "healthy": 1, "total": 2 }));
    }
}
