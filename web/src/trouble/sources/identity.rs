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

const DAY: u64 = 24 * 3600;

/// What signs, and what is above it, if it ends soon.
pub fn authority(state: &State) -> Vec<Trouble> {
    let now = now_seconds();
    let root = identities::roots(state).into_iter().find(|root| root.signs);
    let root =
        root.and_then(|root| ending("the root that signs", root.fingerprint, root.not_before, root.not_after, now));
    let path = state.rotation.path().into_iter().filter_map(|(file, told)| {
        let what = format!("{} in {file}, which signs or is above what signs,", told.subject);
        let mut trouble = ending(&what, told.fingerprint, told.not_before, told.not_after, now)?;
        trouble.message += "; put a new ca-cert.pem, ca-key.pem and cert-chain.pem in place: nothing that is signed \
                            outlives it";
        Some(trouble)
    });
    root.into_iter().chain(path).collect()
}

fn ending(what: &str, fingerprint: String, from: u64, to: u64, now: u64) -> Option<Trouble> {
    let left = to.saturating_sub(now);
    let mut trouble = match left {
        0 => Trouble::new(&codes::CA_EXPIRED, "identity", fingerprint, format!("{what} has ended")),
        left if left < early(to.saturating_sub(from)) => {
            let message = match left / DAY {
                0 => format!("{what} ends in {} hours", left / 3600),
                days => format!("{what} ends in {days} days"),
            };
            Trouble::new(&codes::CA_EXPIRES, "identity", fingerprint, message)
        }
        _ => return None,
    };
    trouble.link = Some("/api/v1/ca".into());
    Some(trouble)
}

/// How long before its end an authority is spoken of, by its life: a tenth of it, from 7 to 30 days. Those of a short life
/// are renewed often, and are not spoken of before their last quarter.
fn early(life: u64) -> u64 {
    (life / 10).clamp(7 * DAY, 30 * DAY).min(life / 4)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_spoken_of_before_its_end_and_not_all_its_life() {
        assert_eq!([3650, 365, 90, 30, 8].map(|days| early(days * DAY) / DAY), [30, 30, 9, 7, 2]);
        let code = |now| ending("x", String::new(), 0, 90 * DAY, now).map(|trouble| (trouble.code, trouble.message));
        assert_eq!(code(80 * DAY), None);
        assert_eq!(code(82 * DAY), Some(("WFT1401", "x ends in 8 days".to_owned())));
        assert_eq!(code(90 * DAY - 7200), Some(("WFT1401", "x ends in 2 hours".to_owned())));
        assert_eq!(code(90 * DAY), Some(("WFT1402", "x has ended".to_owned())));
    }
}
