//! Generates the wire types from the Envoy v3 .proto files that the `envoy-types` package ships, and from our own
//! under `api/proto/`, with protox (no protoc needed). Nothing generated is kept in the tree.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

/// The files whose messages weft speaks; what they import comes with them.
const ROOTS: &[&str] = &[
    // First: protox resolves `common.dynamic_forward_proxy.v3` and `common.ratelimit.v3` here wrongly once a file of
    // package `envoy.extensions.filters.common` is in the pool.
    "envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy.proto",
    "envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto",
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/admin/v3/config_dump.proto",
    "envoy/config/trace/v3/opentelemetry.proto",
    "envoy/config/trace/v3/zipkin.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/access_loggers/filters/cel/v3/cel.proto",
    "envoy/extensions/access_loggers/grpc/v3/als.proto",
    "envoy/extensions/access_loggers/open_telemetry/v3/logs_service.proto",
    "envoy/extensions/access_loggers/stream/v3/stream.proto",
    "envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster.proto",
    "envoy/extensions/filters/http/cors/v3/cors.proto",
    "envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto",
    "envoy/extensions/filters/network/ext_authz/v3/ext_authz.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/grpc_stats/v3/config.proto",
    "envoy/extensions/filters/http/header_mutation/v3/header_mutation.proto",
    "envoy/extensions/filters/http/health_check/v3/health_check.proto",
    "envoy/extensions/filters/http/jwt_authn/v3/config.proto",
    "envoy/extensions/filters/http/ratelimit/v3/rate_limit.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto",
    "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
    "envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/connection_limit/v3/connection_limit.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/local_ratelimit/v3/local_rate_limit.proto",
    "envoy/extensions/filters/network/rbac/v3/rbac.proto",
    "envoy/extensions/filters/network/sni_cluster/v3/sni_cluster.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
    "envoy/extensions/load_balancing_policies/maglev/v3/maglev.proto",
    "envoy/extensions/load_balancing_policies/random/v3/random.proto",
    "envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.proto",
    "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto",
    "envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality.proto",
    "envoy/extensions/request_id/uuid/v3/uuid.proto",
    "envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config.proto",
    "envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.proto",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/service/accesslog/v3/als.proto",
    "envoy/service/auth/v3/external_auth.proto",
    "envoy/service/discovery/v3/ads.proto",
    "envoy/service/ratelimit/v3/rls.proto",
    "envoy/service/secret/v3/sds.proto",
    "envoy/service/status/v3/csds.proto",
    "istio/networking/nds/v1/nds.proto",
    "istio/stats/config.proto",
    "istio/v1/auth/ca.proto",
    "opentelemetry/proto/collector/logs/v1/logs_service.proto",
    "opentelemetry/proto/collector/metrics/v1/metrics_service.proto",
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
    "spiffe/workload.proto",
    "weft/v1/jwt.proto",
    "weft/v1/membership.proto",
    "weft/v1/telemetry.proto",
    "weft/v1/trust.proto",
];

/// Import roots inside the `envoy-types` package.
const IMPORTS: &[&str] = &[
    "data-plane-api",
    "xds",
    "googleapis",
    "protoc-gen-validate",
    "client_model",
    "cel-spec/proto",
    "opentelemetry-proto",
    "ratelimit/api",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto");
    let shipped = envoy_types()?.join("proto");
    // Our own first: a file there stands for the one that is shipped.
    let mut includes = vec![PathBuf::from("proto")];
    includes.extend(IMPORTS.iter().map(|dir| shipped.join(dir)));

    let descriptors = protox::compile(ROOTS, includes)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    write_descriptors(&descriptors, &out)?;
    std::fs::write(out.join("schema.bin"), schema(&descriptors))?;

    let mut config = prost_build::Config::new();
    config
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .disable_comments(["."])
        .btree_map(["."])
        .include_file("mod.rs");
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config)?;
    Ok(())
}

/// The descriptors without source positions, for the proto-JSON mapping.
fn write_descriptors(descriptors: &prost_types::FileDescriptorSet, out: &Path) -> std::io::Result<()> {
    let mut bare = descriptors.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    std::fs::write(out.join("descriptors.bin"), bare.encode_to_vec())
}

/// The numbers of fields and what they hold, as `src/schema.rs` reads it: how many messages and fields there are, a
/// record for each message by name, one for each field of those by number, and all names.
fn schema(descriptors: &FileDescriptorSet) -> Vec<u8> {
    let mut messages = BTreeMap::new();
    for file in &descriptors.file {
        for message in &file.message_type {
            gather(file.package(), message, &mut messages);
        }
    }
    let places: BTreeMap<&String, usize> = messages.keys().zip(0..).collect();
    let number: usize = messages.values().map(|message| message.field.len()).sum();
    let mut names = Vec::new();
    let names_at = 8 + 16 * (messages.len() + number);
    let mut named = |name: &str| {
        let at = names_at + names.len();
        names.extend_from_slice(name.as_bytes());
        [at as u32, name.len() as u32]
    };
    let (mut of_messages, mut of_fields) = (Vec::new(), Vec::new());
    for (name, message) in &messages {
        let is_entry = message.options.as_ref().is_some_and(|options| options.map_entry());
        let count = message.field.len() as u32 | u32::from(is_entry) << 31;
        of_messages.extend(named(name));
        of_messages.extend([of_fields.len() as u32 / 4, count]);
        let mut fields: Vec<_> = message.field.iter().collect();
        fields.sort_by_key(|field| field.number());
        for field in fields {
            let holds = places.get(&field.type_name().trim_start_matches('.').to_owned());
            of_fields.extend(named(field.name()));
            of_fields.extend([field.number() as u32, holds.map_or(u32::MAX, |place| *place as u32)]);
        }
    }
    let words = [messages.len() as u32, number as u32].into_iter().chain(of_messages).chain(of_fields);
    words.flat_map(u32::to_le_bytes).chain(names).collect()
}

fn gather<'a>(outer: &str, message: &'a DescriptorProto, found: &mut BTreeMap<String, &'a DescriptorProto>) {
    // The messages of SPIFFE are of no package.
    let name = format!("{outer}.{}", message.name()).trim_start_matches('.').to_owned();
    for inner in &message.nested_type {
        gather(&name, inner, found);
    }
    found.insert(name, message);
}

/// Where cargo keeps the `envoy-types` package (it fetches it if need be).
fn envoy_types() -> Result<PathBuf, Box<dyn Error>> {
    let output = Command::new(std::env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--filter-platform=x86_64-unknown-none"])
        .arg("--manifest-path")
        .arg(Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "envoy-types")
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or("cargo metadata does not list the package envoy-types, which ships Envoy's .proto files")?;
    Ok(Path::new(manifest).parent().ok_or("a manifest without a folder")?.to_owned())
}
