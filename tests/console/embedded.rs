//! What the binary itself carries.

use crate::mesh::Mesh;

#[test]
fn the_binary_serves_the_console_that_was_built() {
    let mesh = Mesh::start(&["--no-sample"]);
    let curl = |path: &str, more: &[&str]| {
        let url = format!("{}{path}", mesh.up["console"].as_str().unwrap());
        let output = std::process::Command::new("curl").args(["-sS", "-i"]).args(more).arg(url).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let page = curl("", &["-H", "accept: text/html"]);
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<div id=\"root\">"), "{page}");
    assert!(page.contains("content-security-policy: default-src 'self'"), "{page}");
    let script = page.split('"').find(|part| part.starts_with("/assets/") && part.ends_with(".js")).unwrap();
    let head = curl(&script[1..], &["-H", "accept-encoding: br", "-o", "/dev/null", "-D", "-"]);
    assert!(head.contains("content-encoding: br") && head.contains("immutable"), "{head}");
}
