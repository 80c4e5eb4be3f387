//! The table of `docs/envoy-compatibility.md`: every message of which something is supported, with its fields. It is
//! made from `supported.txt` and the descriptors; `UPDATE=1` writes it anew. All else in that file is written by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use prost_reflect::MessageDescriptor;

const BEGIN: &str = "<!-- The table below is generated: UPDATE=1 cargo nextest run -p proxy compatibility -->";
const END: &str = "<!-- The end of the generated table -->";

/// Headings, and the messages below each by the beginnings of their names. The first that fits counts.
const GROUPS: [(&str, &[&str]); 12] = [
    (
        "Bootstrap, sources of resources, admin",
        &[
            "envoy.config.bootstrap.",
            "envoy.config.metrics.",
            "envoy.config.overload.",
            "envoy.extensions.resource_monitors.",
            "envoy.config.core.v3.ApiConfigSource",
            "envoy.config.core.v3.ConfigSource",
            "envoy.config.core.v3.PathConfigSource",
            "envoy.config.core.v3.WatchedDirectory",
            "envoy.config.core.v3.Node",
        ],
    ),
    ("Listeners", &["envoy.config.listener.", "envoy.extensions.filters.listener."]),
    ("HTTP connection manager", &["envoy.extensions.filters.network.http_connection_manager."]),
    ("Network filters", &["envoy.extensions.filters.network.", "envoy.config.rbac.", "envoy.extensions.rbac."]),
    (
        "HTTP filters",
        &["envoy.extensions.filters.http.", "envoy.extensions.filters.common.", "envoy.config.ratelimit."],
    ),
    ("Routes", &["envoy.config.route.", "envoy.extensions.retry.", "envoy.extensions.path."]),
    (
        "Clusters and endpoints",
        &[
            "envoy.config.cluster.",
            "envoy.config.endpoint.",
            "envoy.extensions.upstreams.",
            "envoy.extensions.load_balancing_policies.",
            "envoy.extensions.clusters.",
            "envoy.extensions.common.dynamic_forward_proxy.",
            "envoy.config.core.v3.HealthCheck",
        ],
    ),
    ("TLS and secrets", &["envoy.extensions.transport_sockets."]),
    ("Access logs", &["envoy.config.accesslog.", "envoy.extensions.access_loggers.", "envoy.extensions.formatter."]),
    ("Tracing", &["envoy.config.trace.", "envoy.type.tracing.", "envoy.extensions.tracers."]),
    ("Values that many messages share", &["envoy.config.core.", "envoy.type."]),
    ("Others", &[""]),
];

fn table() -> String {
    let mut fields: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in include_str!("supported.txt").lines() {
        let (message, field) = line.rsplit_once('.').expect("a full name");
        fields.entry(message).or_default().insert(field);
    }
    let mut out = String::new();
    for (group, (title, _)) in GROUPS.iter().enumerate() {
        let of_group = |name: &str| {
            let fits =
                |(_, beginnings): &(&str, &[&str])| beginnings.iter().any(|beginning| name.starts_with(beginning));
            GROUPS.iter().position(fits) == Some(group)
        };
        let rows: Vec<_> = fields.iter().filter(|(name, _)| of_group(name)).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = write!(out, "### {title}\n\n| message | supported | refused |\n|---|---|---|\n");
        for (name, supported) in rows {
            let message = api::descriptor_pool().get_message_by_name(name).expect("supported.txt names what exists");
            let _ = writeln!(out, "{}", row(&message, supported));
        }
        out.push('\n');
    }
    out
}

/// Deprecated fields that are refused are not worth their place.
fn row(message: &MessageDescriptor, supported: &BTreeSet<&str>) -> String {
    let deprecated = |field: &prost_reflect::FieldDescriptor| {
        field.field_descriptor_proto().options.as_ref().is_some_and(|options| options.deprecated())
    };
    let refused: Vec<String> = message
        .fields()
        .filter(|field| !supported.contains(field.name()) && !deprecated(field) && !field.name().starts_with("hidden_"))
        .map(|field| field.name().to_owned())
        .collect();
    let code = |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let shown = if refused.is_empty() { "all: ".to_owned() } else { String::new() };
    let supported = code(supported.iter().copied().collect());
    let refused = code(refused.iter().map(String::as_str).collect());
    format!("| {} | {shown}{supported} | {refused} |", link(message))
}

/// The message by its short name, with Envoy's page of it.
fn link(message: &MessageDescriptor) -> String {
    let package = message.package_name();
    let short = message.full_name().strip_prefix(package).unwrap_or_default().trim_start_matches('.');
    let file = message.parent_file();
    let page = file.name().strip_prefix("envoy/").unwrap_or(file.name());
    let anchor = message.full_name().trim_start_matches("envoy.").replace(['.', '_'], "-").to_lowercase();
    format!("[`{short}`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/{page}#envoy-v3-api-msg-{anchor})")
}

#[test]
fn the_table_of_what_is_supported_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/envoy-compatibility.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark where the table begins");
    let (written, after) = rest.split_once(END).expect("the mark where the table ends");
    let table = format!("\n\n{}", table());
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    }
    assert!(written == table, "the table is outdated; write it anew with UPDATE=1");
}
