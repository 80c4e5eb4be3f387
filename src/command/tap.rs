//! `weft tap`: live requests of the mesh, one line each.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::api::{ApiOptions, Client, encode};
use super::data_dir::DataDir;
use super::output::{self, text};

#[derive(Debug, Args)]
pub struct Options {
    /// Requests that this proxy carries: its id, or the name of its workload
    proxy: Option<String>,
    /// Requests from this service: NAMESPACE/NAME
    #[arg(long)]
    source: Option<String>,
    /// Requests to this service: NAMESPACE/NAME
    #[arg(long)]
    destination: Option<String>,
    /// Only requests of which this holds: conditions on method, path, authority, status, duration_ms, flags, principal
    /// and header.NAME
    #[arg(long = "match", value_name = "FIELD=VALUE,…")]
    matches: Option<String>,
    /// At most so many a second, of each proxy
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=50))]
    rate: u32,
    /// End after so many requests
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    #[default]
    Text,
    /// One object a line, with the headers
    Json,
}

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let given = [
        ("proxy", options.proxy),
        ("source", options.source),
        ("destination", options.destination),
        ("match", options.matches),
    ];
    let mut path = format!("tap?rate={}", options.rate);
    for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        path += &format!("&{name}={}", encode(&value));
    }
    let mut left = options.count;
    let mut show = |request: Value| -> anyhow::Result<bool> {
        match options.output {
            Form::Json => output::line(&request)?,
            Form::Text => output::line(line(&request))?,
        }
        left = left.map(|left| left.saturating_sub(1));
        Ok(left != Some(0))
    };
    Client::open(&data, &options.api)?.events(&path, "request", &mut show).await
}

/// `default/productpage > default/reviews GET /reviews/0 200 12.3ms mtls`
fn line(request: &Value) -> String {
    let status = request["status"].as_u64().map_or_else(|| "-".to_owned(), |status| status.to_string());
    let duration = format!("{:.1}ms", request["duration_ms"].as_f64().unwrap_or_default());
    let flags = Some(text(request, "flags")).filter(|flags| !flags.is_empty());
    let mutual = (request["mtls"] == true).then(|| "mtls".to_owned());
    let ends = format!("{} > {}", text(request, "source"), text(request, "destination"));
    let words = [ends, text(request, "method"), text(request, "path"), status, duration];
    words.into_iter().chain(flags).chain(mutual).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_request_is_a_line() {
        let request = json!({
            "source": "default/a", "destination": "default/b", "method": "GET", "path": "/x", "status": 503,
            "duration_ms": 1.25, "flags": "UF", "mtls": true,
        });
        assert_eq!(super::line(&request), "default/a > default/b GET /x 503 1.2ms UF mtls");
    }
}
