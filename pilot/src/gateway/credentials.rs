//! Certificates that a gateway's server shows by `credentialName`: Secrets in the namespace of the gateway's proxy, which
//! alone is told of them, over SDS (Istio, `ServerTLSSettings.credential_name`), and only if it may have private keys.

use api::envoy::config::core::v3 as core;
use api::envoy::extensions::transport_sockets::tls::v3 as tls;
use bytes::Bytes;
use galley::kinds::{ServerTls, ServerTlsMode};
use registry::{Credential, Credentials, KeyAccess};

use crate::diagnostic::Code;
use crate::node::Node;
use crate::resource::Resource;
use crate::tls::SecretNames;

/// What a server shows.
#[derive(Default)]
pub(super) struct Shown {
    certificates: Vec<String>,
    ca: Option<String>,
    pub resources: Vec<Resource>,
    /// Why a name is not told of now, though the proxy may know it.
    pub waits_for: Option<(Code, String)>,
}

impl Shown {
    pub fn names(&self) -> SecretNames {
        SecretNames { certificates: self.certificates.clone(), ca: self.ca.clone() }
    }
}

/// What the credentials stand for that a server names, or why they cannot be shown. Until the platform was read, they
/// are named without being told: a proxy that has them goes on with them.
pub(super) fn of(settings: &ServerTls, node: &Node, known: &Credentials) -> Result<Shown, (Code, String)> {
    if !settings.ca_credential_name.is_empty() {
        let message = "caCertCredentialName is not implemented; put ca.crt into the Secret that credentialName names";
        return Err((Code::Unsupported, message.into()));
    }
    let mut shown = Shown::default();
    let asks = matches!(settings.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    for name in &settings.credential_names {
        if let KeyAccess::Denied(why) = &node.keys {
            return Err((Code::WithheldKey, withheld(name, node, why)));
        }
        let (own, ca) = (format!("kubernetes://{name}"), format!("kubernetes://{name}-cacert"));
        match (known.of(&node.namespace, name), &node.keys) {
            (_, KeyAccess::Unknown(why)) => shown.waits_for = Some((Code::WithheldKey, withheld(name, node, why))),
            (Some(credential), _) => shown.resources.extend(resources(&own, &ca, credential, asks, name)?),
            (None, _) if known.is_pending => shown.waits_for = Some((Code::MissingSecret, waiting(name))),
            (None, _) => return Err((Code::MissingSecret, missing(name, &node.namespace))),
        }
        shown.certificates.push(own);
        if asks {
            shown.ca.get_or_insert(ca);
        }
    }
    Ok(shown)
}

fn withheld(name: &str, node: &Node, why: &str) -> String {
    format!("credentialName {name:?}: the proxy {} gets no private key: {why}", node.name)
}

fn waiting(name: &str) -> String {
    format!(
        "credentialName {name:?}: the Secrets of the cluster were not read yet; a gateway that has the certificate goes on \
         with it (see the control plane's log)"
    )
}

fn missing(name: &str, namespace: &str) -> String {
    format!(
        "credentialName {name:?}: the cluster that configuration is taken from has no Secret {namespace}/{name} of type \
         kubernetes.io/tls, with tls.crt and tls.key"
    )
}

fn resources(
    own: &str,
    ca: &str,
    credential: &Credential,
    asks: bool,
    name: &str,
) -> Result<Vec<Resource>, (Code, String)> {
    use tls::secret::Type;
    let certificate = tls::TlsCertificate {
        certificate_chain: Some(inline(&credential.chain)),
        private_key: Some(inline(&credential.key)),
        ..Default::default()
    };
    let secret = |name: &str, of: Type| Resource::encode(name, &tls::Secret { name: name.into(), r#type: Some(of) });
    let mut made = vec![secret(own, Type::TlsCertificate(certificate))];
    if asks {
        let Some(roots) = &credential.ca else {
            let message =
                format!("credentialName {name:?}: the Secret holds no ca.crt, which is needed to verify clients");
            return Err((Code::MissingSecret, message));
        };
        let roots = tls::CertificateValidationContext { trusted_ca: Some(inline(roots)), ..Default::default() };
        made.push(secret(ca, Type::ValidationContext(roots)));
    }
    Ok(made)
}

fn inline(pem: &Bytes) -> core::DataSource {
    let bytes = core::data_source::Specifier::InlineBytes(pem.to_vec());
    core::DataSource { specifier: Some(bytes), ..Default::default() }
}
