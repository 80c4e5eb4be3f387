//! Hosts that check in from other machines: over TLS, with a token, and into the mesh.

use std::process::{Command, Output};
use std::time::Duration;

use crate::control_plane::ControlPlane;
use crate::mesh::{text, until};
use crate::ports::free;

#[test]
fn hosts_of_other_machines_check_in_over_tls_with_the_token() {
    let mut mesh = ControlPlane::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let file = |name: &str, content: &str| {
        let path = mesh.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = file("api.pem", &made.cert.pem());
    let key = file("api-key.pem", &made.signing_key.serialize_pem());
    let token = file("check-in-token", "a secret\n");
    let port = free([0, 0, 0, 0]).port();
    let listen = format!("0.0.0.0:{port}");

    // Neither without TLS nor without a token.
    for lacking in [&["--registration-token-file", &token][..], &["--api-cert", &certificate, "--api-key", &key]] {
        let refused = mesh.prepared(&[&["--listen-registration", &listen], lacking].concat()).output().unwrap();
        assert!(
            !refused.status.success() && text(&refused).contains("--registration-token-file, --api-cert and --api-key"),
            "{}",
            text(&refused)
        );
    }
    let door = ["--listen-registration", &listen, "--registration-token-file", &token];
    mesh.start(&[&door[..], &["--api-cert", &certificate, "--api-key", &key]].concat());

    let curl = |arguments: &[&str], path: &str| -> Output {
        let mut command = Command::new("curl");
        command.args(["-sS", "-w", " %{http_code}", "--cacert", &certificate]).args(arguments);
        command.arg(format!("https://localhost:{port}{path}")).output().unwrap()
    };
    let answer = |arguments: &[&str], path: &str| text(&curl(arguments, path));
    let bearer = ["-H", "authorization: Bearer a secret"];
    let web = "/v1/registration/web";
    let tags = r#"tags={"az":"a","region":"eu","instance_id":"i-1"}"#;
    let host = ["-d", "ip=10.0.0.1", "-d", "port=9211", "-d", "revision=sha", "-d", tags];
    until("the listener", Duration::from_secs(60), || answer(&[], "/healthcheck") == "OK 200");
    assert!(answer(&host, web).ends_with(" 401"));
    assert!(answer(&["-H", "authorization: Bearer another"], web).ends_with(" 401"));
    let plain = Command::new("curl").args(["-s", &format!("http://localhost:{port}{web}")]).output().unwrap();
    assert!(!plain.status.success() && plain.stdout.is_empty());
    let stranger = Command::new("curl").args(["-sS", &format!("https://localhost:{port}{web}")]).output().unwrap();
    assert!(!stranger.status.success() && text(&stranger).contains("certificate"), "{}", text(&stranger));

    assert_eq!(answer(&[&bearer[..], &host].concat(), web), "{} 200");
    assert_eq!(
        answer(&[&bearer[..], &["-d", "revision=sha", "-d", tags]].concat(), &format!("{web}/10.0.0.1:9212")),
        "{} 200"
    );
    assert_eq!(
        answer(&[&bearer[..], &["-d", "load_balancing_weight=7"]].concat(), "/v1/loadbalancing/web/10.0.0.1:9212"),
        " 204"
    );
    let list = answer(&bearer, web);
    assert!(list.contains(r#""port":9211"#) && list.contains(r#""port":9212"#), "{list}");
    let endpoints = || {
        let listing = mesh.json(&["endpoints", "web", "-o", "json"]);
        let items = listing["items"].as_array().unwrap().clone();
        items.iter().map(|item| (item["port"].as_u64().unwrap(), item["weight"].as_u64().unwrap())).collect::<Vec<_>>()
    };
    until("both in the catalog", Duration::from_secs(60), || endpoints() == [(9211, 1), (9212, 7)]);
    assert_eq!(answer(&[&bearer[..], &["-X", "DELETE"]].concat(), &format!("{web}/10.0.0.1")), "{} 200");
    until("none in the catalog", Duration::from_secs(60), || {
        let listing = mesh.weft(&["endpoints", "web", "-o", "json"]);
        !text(&listing).contains("10.0.0.1")
    });
}
