//! `weft log-level`: what the control plane or a proxy writes to its log.

use clap::Args;
use serde_json::json;

use super::api::{ApiOptions, Client, encode};
use super::data_dir::DataDir;
use super::output::{Format, OutputOptions, line, print_value, text};

#[derive(Debug, Args)]
pub struct Options {
    /// Whose: the id of a proxy [default: the control plane]
    #[arg(value_name = "PROXY")]
    proxy: Option<String>,
    /// What it writes from now on, until it ends: a level, and others for modules (warn,pilot=debug) [default: only show]
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

/// What stands below the help.
pub const HELP: &str = "Example: weft log-level info,pilot=debug\n\
                        Example: weft log-level reviews-v1.default debug\n\n\
                        An Envoy's own is changed where it runs: \
                        curl -X POST 'http://127.0.0.1:15000/logging?level=debug'";

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    let words: Vec<&str> = [&options.proxy, &options.filter].into_iter().flatten().map(String::as_str).collect();
    let (proxy, filter) = meant(&words);
    let path = match proxy {
        Some(id) => format!("proxies/{}/_log-level", encode(id)),
        None => "control-plane/_log-level".to_owned(),
    };
    let told = match filter {
        Some(filter) => client.put(&path, json!({ "filter": filter }).to_string()).await?,
        None => client.get(&path).await?,
    };
    match options.output.output {
        Format::Table => line(text(&told, "filter")),
        other => print_value(other, &told),
    }
}

/// A proxy's id has its namespace behind a dot, or is a whole node id; a filter has neither.
fn meant<'a>(words: &[&'a str]) -> (Option<&'a str>, Option<&'a str>) {
    match *words {
        [proxy, filter, ..] => (Some(proxy), Some(filter)),
        [one] if one.contains(['.', '~']) => (Some(one), None),
        [one] => (None, Some(one)),
        [] => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::meant;

    #[test]
    fn one_word_is_a_proxy_or_a_filter() {
        assert_eq!(meant(&[]), (None, None));
        assert_eq!(meant(&["warn,pilot::xds=debug"]), (None, Some("warn,pilot::xds=debug")));
        assert_eq!(meant(&["reviews-v1.default"]), (Some("reviews-v1.default"), None));
        assert_eq!(meant(&["reviews-v1.default", "debug"]), (Some("reviews-v1.default"), Some("debug")));
    }
}
