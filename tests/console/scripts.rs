//! Runs a script of `web/console/e2e` on a mesh of its own.

use std::path::Path;
use std::process::Command;

use crate::mesh::{Mesh, repository, text, weft};

/// A script, for the console at this address.
pub fn node(script: &str, words: &[&str], console: &str, token: &str, data: &Path) -> Command {
    let folder = repository("web/console");
    assert!(
        folder.join("node_modules/playwright-core").is_dir(),
        "the scripts need what the console is built with: run scripts/build-console"
    );
    let mut command = Command::new("node");
    command.arg(folder.join("e2e").join(script)).args(words);
    command.env("CONSOLE", console).env("TOKEN", token).env("WEFT", weft()).env("WEFT_DATA_DIR", data);
    command.env("SCREENSHOTS", repository("target/console-screenshots"));
    command
}

fn run(script: &str, words: &[&str]) {
    let mesh = Mesh::start(&[]);
    let [console, token, gateway] = ["console", "token", "gateway"].map(|name| mesh.up[name].as_str().unwrap());
    let mut command = node(script, words, console, token, mesh.path());
    let output = command.env("GATEWAY", gateway).output().expect("node runs");
    println!("{}", text(&output));
    assert!(output.status.success(), "{script} failed: {}\n{}", text(&output), mesh.logs());
}

#[test]
fn pages_tell_each_of_their_states() {
    run("states.mjs", &[]);
}

#[test]
fn the_matrix_of_access_follows_a_policy() {
    run("matrix.mjs", &[]);
}

#[test]
fn the_root_of_trust_is_changed_step_by_step_and_back() {
    run("authority.mjs", &[]);
}

#[test]
fn every_page_loads_without_errors_and_is_accessible_in_the_light_theme() {
    run("pages.mjs", &["light"]);
}

#[test]
fn every_page_loads_without_errors_and_is_accessible_in_the_dark_theme() {
    run("pages.mjs", &["dark"]);
}

#[test]
fn the_graph_moves_and_follows_a_shift_and_a_fault() {
    run("traffic.mjs", &[]);
}

#[test]
fn a_broken_rule_is_told_and_not_applied_and_a_change_can_be_taken_back() {
    run("editor.mjs", &[]);
}

#[test]
fn everything_can_be_reached_by_the_keyboard_alone() {
    run("keyboard.mjs", &[]);
}

#[test]
fn registries_and_logs_are_steered_from_the_browser() {
    run("steering.mjs", &[]);
}
