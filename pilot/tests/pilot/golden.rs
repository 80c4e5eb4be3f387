//! `pilot::compile` by golden files: `tests/golden/<case>/{input.yaml, node.yaml}` make `expected.yaml`. `UPDATE=1`
//! renews what is expected.

mod credentials;
mod names;
mod ownership;
mod passed;
mod read;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use api::envoy::config::core::v3 as core;
use api::prost::Message;
use pilot::{Kind, Node, Resource, Snapshot};
use prost_reflect::{DynamicMessage, SerializeOptions};
use registry::KeyAccess;
use serde_json::{Map, Value};

#[test]
fn every_case_compiles_to_what_is_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|case| case.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    let update = std::env::var_os("UPDATE").is_some();
    let mut different = String::new();
    for case in cases {
        let made = compile(&case);
        let expected = case.join("expected.yaml");
        if update {
            std::fs::write(&expected, &made).unwrap();
        } else if let Some(line) = first_difference(&std::fs::read_to_string(&expected).unwrap_or_default(), &made) {
            writeln!(different, "{}: {line}", expected.display()).unwrap();
        }
    }
    assert!(different.is_empty(), "{different}if this is wanted, renew with UPDATE=1 and read the difference");
}

fn compile(case: &Path) -> String {
    let text = |name: &str| std::fs::read_to_string(case.join(name)).unwrap();
    let inputs = read::inputs(&text("input.yaml"));
    let node = Node { keys: KeyAccess::Granted, ..node(&text("node.yaml")) };
    let (snapshot, diagnostics) = pilot::compile(&inputs, &node);
    let again = pilot::compile(&inputs, &node);
    assert_eq!(again.0, snapshot, "{}: not the same twice", case.display());
    let mut out = render(&snapshot);
    let diagnostics = diagnostics.iter().map(|diagnostic| Value::String(diagnostic.to_string())).collect();
    out.insert("diagnostics".into(), Value::Array(diagnostics));
    serde_saphyr::to_string(&out).unwrap()
}

/// A node in the proto-JSON mapping.
fn node(yaml: &str) -> Node {
    let json: Value = serde_saphyr::from_str(yaml).unwrap();
    let descriptor = api::descriptor_pool().get_message_by_name("envoy.config.core.v3.Node").unwrap();
    let message = DynamicMessage::deserialize(descriptor, json).unwrap();
    Node::parse(&core::Node::decode(message.encode_to_vec().as_slice()).unwrap()).unwrap()
}

fn render(snapshot: &Snapshot) -> Map<String, Value> {
    let kinds = [Kind::Cluster, Kind::Endpoint, Kind::Listener, Kind::Route];
    kinds
        .into_iter()
        .map(|kind| {
            let resources = snapshot.of(kind).iter().map(|resource| (resource.name.to_string(), json(resource)));
            let sorted: std::collections::BTreeMap<_, _> = resources.collect();
            (kind.short_name().to_owned(), Value::Object(sorted.into_iter().collect()))
        })
        .collect()
}

fn json(resource: &Resource) -> Value {
    let name = resource.any.type_url.rsplit('/').next().unwrap();
    let descriptor = api::descriptor_pool().get_message_by_name(name).unwrap();
    let message = DynamicMessage::decode(descriptor, resource.any.value.as_slice()).unwrap();
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(serde_json::value::Serializer, &options).unwrap()
}

fn first_difference(expected: &str, made: &str) -> Option<String> {
    let mut lines = expected.lines().zip(made.lines()).enumerate();
    let line = lines.find(|(_, (expected, made))| expected != made);
    match line {
        Some((number, (expected, made))) => {
            Some(format!("line {}: expected {expected:?}, made {made:?}\n", number + 1))
        }
        None => (expected != made).then(|| "one has more lines than the other\n".to_owned()),
    }
}
