//! The command line as a script sees it: help, exit codes, and words on standard error.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::path::Path;
use std::process::{Command, Output};

fn weft(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.arg("--data-dir").arg(data).args(arguments).env_remove("WEFT_API").env_remove("WEFT_TOKEN_FILE");
    command.output().unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_tells_the_exit_codes() {
    let data = tempfile::tempdir().unwrap();
    let help = words(&weft(data.path(), &["help"]).stdout);
    for line in ["3  there is no such object", "4  the configuration is rejected", "proxy-status"] {
        assert!(help.contains(line), "{line:?} is not in:\n{help}");
    }
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    let data = tempfile::tempdir().unwrap();
    for wrong in [&["frobnicate"][..], &["apply"], &["run", "--service", "a"], &["control-plane", "--cert-ttl", "20"]] {
        assert_eq!(weft(data.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn without_a_control_plane_verbs_exit_with_5_and_say_how_to_start_one() {
    let data = tempfile::tempdir().unwrap();
    for verb in
        [&["services"][..], &["get", "vs"], &["proxy-status"], &["run", "--service", "a", "--port", "1", "--", "true"]]
    {
        let output = weft(data.path(), verb);
        assert_eq!(output.status.code(), Some(5), "{verb:?}: {}", words(&output.stderr));
        assert!(words(&output.stderr).contains("weft up"), "{}", words(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn down_without_a_mesh_is_no_error() {
    let data = tempfile::tempdir().unwrap();
    assert!(weft(data.path(), &["down"]).status.success());
}

#[test]
fn a_control_plane_refuses_to_serve_its_api_beyond_this_machine() {
    let data = tempfile::tempdir().unwrap();
    let output = weft(data.path(), &["control-plane", "--listen-api", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output.stderr).contains("not a loopback address"), "{}", words(&output.stderr));
}

#[test]
fn every_shell_gets_a_completion_script() {
    let data = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = weft(data.path(), &["completion", shell]);
        assert!(output.status.success() && words(&output.stdout).contains("proxy-status"), "{shell}");
    }
}

#[test]
fn a_bootstrap_file_is_checked_without_serving_it() {
    let data = tempfile::tempdir().unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/envoy/router.yaml");
    let output = weft(data.path(), &["proxy", "--validate", "-c", example]);
    assert_eq!((output.status.code(), words(&output.stdout).as_str()), (Some(0), "configuration OK\n"));

    let wrong = data.path().join("wrong.yaml");
    std::fs::write(
        &wrong,
        "enable_dispatcher_stats: true\nstatic_resources: {clusters: [{name: a, alt_stat_name: b}]}\n",
    )
    .unwrap();
    let output = weft(data.path(), &["proxy", "--validate", "-c", wrong.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(4));
    let told = words(&output.stderr);
    assert_eq!(told.matches("wrong.yaml:").count(), 2, "{told}");
    assert!(told.contains(" static_resources.clusters[0].alt_stat_name: "), "{told}");
    assert!(told.contains(" enable_dispatcher_stats: "), "{told}");
}

#[test]
fn a_bootstrap_file_goes_with_no_role() {
    let data = tempfile::tempdir().unwrap();
    for wrong in [&["proxy", "-c", "f", "--role", "gateway"][..], &["proxy"], &["proxy", "--validate"]] {
        assert_eq!(weft(data.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_reader_that_stops_reading_is_no_failure() {
    let data = tempfile::tempdir().unwrap();
    for verb in [&["version"][..], &["down"], &["completion", "zsh"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.arg("--data-dir").arg(data.path()).args(verb).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), words(&output.stderr).as_str()), (Some(0), ""), "{verb:?}");
    }
}

#[test]
fn a_certificate_lifetime_out_of_range_is_a_wrong_command_line() {
    let data = tempfile::tempdir().unwrap();
    for verb in ["up", "control-plane"] {
        for lifetime in ["4s", "25h"] {
            let output = weft(data.path(), &[verb, "--cert-ttl", lifetime]);
            assert_eq!(output.status.code(), Some(2), "{verb} {lifetime}");
            assert!(words(&output.stderr).contains("5s to 24h"), "{}", words(&output.stderr));
        }
    }
}

#[test]
fn a_wrong_protocol_or_port_is_told_with_what_is_right() {
    let data = tempfile::tempdir().unwrap();
    let run = |options: &[&str]| {
        let output = weft(data.path(), &[&["run", "--service", "a"], options, &["--", "true"]].concat());
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        words(&output.stderr)
    };
    assert!(run(&["--port", "80", "--protocol", "htpp"]).contains("http, http2, grpc"));
    assert!(run(&["--port", "0"]).contains("1..=65535"));
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named_with_a_way_out() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    for verb in [&["up"][..], &["up", "--detach"], &["control-plane"]] {
        let output = weft(&file.join("mesh"), verb);
        let told = words(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb:?}: {told}");
        assert!(told.contains("file/mesh cannot be written") && told.contains("--data-dir"), "{verb:?}: {told}");
    }
    let told = words(&weft(&file.join("mesh"), &["services"]).stderr);
    assert!(told.contains("address.json cannot be read") && !told.contains("no mesh is there"), "{told}");
}
