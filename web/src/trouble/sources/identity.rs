//! What ends soon: the authority's roots, and certificates that were not renewed in time. And who is denied.

use api::weft::v1::denied::Who;
use citadel::Fault;
use pilot::ProxyStatus;

use super::Trouble;
use crate::catalogue as codes;
use crate::certificates::CertificateView;
use crate::identities;
use crate::kept::now_seconds;
use crate::state::State;

/// How long before its end a root is spoken of.
const EARLY: u64 = 30 * 24 * 3600;

pub fn authority(state: &State) -> Option<Trouble> {
    let root = identities::roots(state).into_iter().find(|root| root.signs)?;
    let left = root.not_after.saturating_sub(now_seconds());
    let mut trouble = match left {
        0 => Trouble::new(&codes::CA_EXPIRED, "identity", root.fingerprint, "the root that signs has ended".into()),
        left if left < EARLY => {
            let message = format!("the root that signs ends in {} days", left / (24 * 3600));
            Trouble::new(&codes::CA_EXPIRES, "identity", root.fingerprint, message)
        }
        _ => return None,
    };
    trouble.link = Some("/api/v1/ca".into());
    Some(trouble)
}

/// What the control plane found wrong with the roots of trust.
pub fn roots(state: &State) -> Vec<Trouble> {
    let told = |fault| {
        let (code, message) = match fault {
            Fault::HeldBack(words) => (&codes::ROOTS_HELD_BACK, words),
            Fault::CutOff(words) => (&codes::CUT_OFF, words),
            Fault::AtOdds(words) => (&codes::AT_ODDS, words),
            Fault::Twin(words) => (&codes::SAME_NAME, words),
        };
        let mut trouble = Trouble::new(code, "identity", "certificate authority", message);
        trouble.link = Some("/api/v1/ca".into());
        trouble
    };
    state.rotation.faults().into_iter().map(told).collect()
}

/// Each entry of the deny list.
pub fn denied(state: &State) -> Vec<Trouble> {
    let list = state.denials.watch().borrow().to_wire();
    let told = |denied: api::weft::v1::Denied| {
        let (kind, value) = match denied.who? {
            Who::Serial(serial) => ("certificate", serial),
            Who::Identity(id) => ("identity", id),
            Who::Agent(agent) => ("agent", agent),
        };
        let reason = if denied.reason.is_empty() { String::new() } else { format!(": {}", denied.reason) };
        let message = format!("the {kind} {value} is denied{reason}");
        let mut trouble = Trouble::new(&codes::DENIED, "identity", value, message);
        trouble.link = Some("/api/v1/ca/denials".into());
        Some(trouble)
    };
    list.into_iter().filter_map(told).collect()
}

pub fn certificate(state: &State, proxy: &ProxyStatus) -> Option<Trouble> {
    let identity = proxy.identity.as_ref()?.to_string();
    let issued = state.kept.certificates.all();
    let certificate = CertificateView::of(issued.get(&identity)?, now_seconds());
    if certificate.state == "valid" {
        return None;
    }
    let message = format!("the certificate of {identity} is {}", certificate.state);
    let mut trouble = Trouble::new(&codes::CERTIFICATE_EXPIRES, "identity", &proxy.id, message);
    trouble.namespace = Some(proxy.namespace.clone());
    trouble.link = Some(format!("/api/v1/proxies/{}", proxy.id));
    Some(trouble)
}
