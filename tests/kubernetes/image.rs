//! `deploy/Dockerfile`, as far as it can be held to its word without building it: what it copies is there, what it
//! starts is understood, and it is the image that the manifests run.

use std::path::Path;
use std::process::Command;

use crate::cluster::documents;

const DOCKERFILE: &str = include_str!("../../deploy/Dockerfile");
const IGNORED: &str = include_str!("../../deploy/Dockerfile.dockerignore");
const CONTROL_PLANE: &str = include_str!("../../deploy/kubernetes/control-plane.yaml");

/// The instructions in order, with what follows each; lines that go on are one.
fn instructions() -> Vec<(String, String)> {
    let joined = DOCKERFILE.replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

/// The only words of the last instruction of that name.
fn last(name: &str) -> String {
    instructions().into_iter().rev().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn list(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap()
}

/// The container of the manifests.
fn container() -> serde_json::Value {
    let deployment = documents(CONTROL_PLANE).into_iter().find(|object| object["kind"] == "Deployment").unwrap();
    deployment["spec"]["template"]["spec"].clone()
}

#[test]
fn everything_that_is_copied_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut stages = Vec::new();
    let mut copied = 0;
    for (name, rest) in instructions() {
        let words: Vec<&str> = rest.split_whitespace().collect();
        match name.as_str() {
            "FROM" => {
                stages.extend(words.iter().skip_while(|word| **word != "AS").nth(1).map(|name| (*name).to_owned()))
            }
            "COPY" => {
                copied += 1;
                if let Some(stage) = words[0].strip_prefix("--from=") {
                    assert!(stages.iter().any(|known| known == stage), "{rest}: there is no stage {stage} before it");
                    continue;
                }
                for source in &words[..words.len() - 1] {
                    assert!(root.join(source).exists(), "{rest}: {source} is not there");
                    assert!(!IGNORED.lines().any(|ignored| ignored == *source), "{rest}: {source} is ignored");
                }
            }
            _ => {}
        }
    }
    assert_eq!((stages.len(), copied), (2, 5));
}

#[test]
fn it_is_built_by_a_compiler_that_is_new_enough() {
    let cargo = include_str!("../../Cargo.toml");
    let wanted = cargo.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    let built_by = DOCKERFILE.lines().find_map(|line| line.strip_prefix("FROM rust:")).unwrap();
    let number = |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap()).collect() };
    assert!(number(built_by.split('-').next().unwrap()) >= number(wanted), "{built_by} is older than {wanted}");
}

#[test]
fn it_is_the_image_that_the_manifests_run_as_the_same_user() {
    let pod = container();
    let image = pod["containers"][0]["image"].as_str().unwrap();
    assert!(DOCKERFILE.contains(&format!("-t {image} .")), "{image}");
    let user = &pod["securityContext"];
    assert_eq!(last("USER"), format!("{}:{}", user["runAsUser"], user["runAsGroup"]));
    assert_ne!(user["runAsUser"], 0);
    let installed =
        instructions().into_iter().any(|(name, rest)| name == "COPY" && rest.ends_with(" /usr/local/bin/weft"));
    assert!(installed && list(&last("ENTRYPOINT")) == ["weft"]);
}

#[test]
fn what_it_starts_is_understood() {
    let command = &container()["containers"][0]["command"];
    let of_manifests: Vec<String> =
        command.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
    let of_image = [list(&last("ENTRYPOINT")), list(&last("CMD"))].concat();
    for words in [of_manifests, of_image] {
        assert_eq!(words[0], "weft");
        // What stands before it is read first.
        let output = Command::new(env!("CARGO_BIN_EXE_weft")).args(&words[1..]).arg("--help").output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let refused = Command::new(env!("CARGO_BIN_EXE_weft")).args(&words[1..]).args(["--no-such", "--help"]).output();
        assert!(!refused.unwrap().status.success());
    }
}
