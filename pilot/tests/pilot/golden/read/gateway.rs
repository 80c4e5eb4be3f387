//! Gateways of a case.

use galley::kinds::{CertificateFiles, Gateway, GatewayHost, Server, ServerPort, ServerTls, ServerTlsMode};
use registry::Protocol;
use serde_json::Value;

use super::value::Fields;

pub fn read(spec: &Value, namespace: &str) -> Gateway {
    Gateway {
        selector: spec.labels("selector"),
        servers: spec.list("servers").into_iter().map(|of| server(of, namespace)).collect(),
    }
}

fn server(of: &Value, namespace: &str) -> Server {
    let port = of.at("port");
    Server {
        name: of.text("name"),
        port: ServerPort {
            number: port.port("number").unwrap(),
            protocol: Protocol::named(&port.text("protocol")).unwrap(),
            name: port.text("name"),
        },
        bind: of.text("bind"),
        hosts: of.texts("hosts").iter().map(|host| gateway_host(host, namespace)).collect(),
        tls: of.some("tls").map(tls),
    }
}

fn gateway_host(text: &str, own: &str) -> GatewayHost {
    match text.split_once('/') {
        None | Some(("*", _)) => GatewayHost { namespace: None, host: text.trim_start_matches("*/").to_owned() },
        Some((".", host)) => GatewayHost { namespace: Some(own.to_owned()), host: host.to_owned() },
        Some((namespace, host)) => GatewayHost { namespace: Some(namespace.to_owned()), host: host.to_owned() },
    }
}

fn tls(of: &Value) -> ServerTls {
    let files = CertificateFiles {
        certificate: of.text("serverCertificate"),
        private_key: of.text("privateKey"),
        ca_certificates: String::new(),
    };
    ServerTls {
        https_redirect: of.at("httpsRedirect").as_bool().unwrap_or_default(),
        mode: match of.text("mode").as_str() {
            "SIMPLE" => ServerTlsMode::Simple,
            "MUTUAL" => ServerTlsMode::Mutual,
            "ISTIO_MUTUAL" => ServerTlsMode::IstioMutual,
            "AUTO_PASSTHROUGH" => ServerTlsMode::AutoPassthrough,
            _ => ServerTlsMode::Passthrough,
        },
        credential_names: of.some_text("credentialName").into_iter().collect(),
        certificates: if files.certificate.is_empty() { vec![] } else { vec![files] },
        ca_certificates: of.text("caCertificates"),
        ..ServerTls::default()
    }
}
