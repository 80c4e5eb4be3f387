//! New dates for a root that expired, under its own key and name: who trusts the certificate that expired trusts what the
//! new one signs, because a root is trusted for its key. So nobody has to be told by hand.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use api::TrustDomain;
use runtime::Clock;

use super::files::{Directory, OpenError};
use super::template;
use crate::sha256;

/// A root with new dates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewedRoot {
    pub path: PathBuf,
    /// SHA-256 in hexadecimal, of the certificate that expired and of the new one.
    pub before: String,
    pub fingerprint: String,
    pub not_after: SystemTime,
}

/// Renews the roots in an authority's directory that expired; at least one has to have. A control plane that runs takes
/// them up.
pub fn renew_expired_roots(
    directory: &Path,
    trust_domain: &TrustDomain,
    clock: &Clock,
) -> Result<Vec<RenewedRoot>, OpenError> {
    let (files, now) = (Directory::at(directory), clock.now());
    let mut renewed = Vec::new();
    let plan = files.plan()?;
    for name in plan.roots() {
        let root = files.root(name)?;
        if root.not_after > now {
            continue;
        }
        files.check_trust_domain(&root, trust_domain)?;
        let key = files.root_key(name)?;
        let certificate = template::root_again(&root.certificate, trust_domain, &key, now)?;
        files.replace_root(name, &root.certificate, &certificate)?;
        let fresh = files.root(name)?;
        renewed.push(RenewedRoot {
            path: files.file_of_root(name),
            before: sha256(&root.certificate),
            fingerprint: sha256(&fresh.certificate),
            not_after: fresh.not_after,
        });
    }
    if renewed.is_empty() {
        let rule = "it has not expired; `weft ca rotate` replaces a root that still holds".to_owned();
        return Err(OpenError::Rule { path: directory.to_owned(), rule });
    }
    Ok(renewed)
}

/// SHA-256 of the certificates that roots in a directory had before they were given new dates, in hexadecimal.
pub fn replaced_roots(directory: &Path) -> Result<Vec<String>, OpenError> {
    replaced(&Directory::at(directory))
}

pub(super) fn replaced(files: &Directory) -> Result<Vec<String>, OpenError> {
    let plan = files.plan()?;
    let before = plan.roots().filter_map(|name| files.root_before(name).transpose());
    before.map(|root| root.map(|root| sha256(&root))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::test_kit::{Mesh, issue};
    use crate::{Authority as _, SelfSigned, verify_peer};

    const YEARS: Duration = Duration::from_secs(11 * 365 * 24 * 3600);

    #[tokio::test]
    async fn a_root_that_expired_gets_new_dates_and_who_trusted_it_goes_on_trusting() {
        let mesh = Mesh::new();
        let running = mesh.authority();
        let before = running.trust_bundle().borrow().clone();
        let early = renew_expired_roots(&mesh.ca(), &mesh.trust_domain, &mesh.time.clock()).unwrap_err().to_string();
        assert!(early.contains("has not expired"), "{early}");
        mesh.time.advance(YEARS);
        let order = || {
            let key = crate::SubjectKey::of(&rcgen::KeyPair::generate().unwrap());
            let (id, attested_by) = (mesh.id("reviews"), "test".to_owned());
            crate::IssueRequest { id, key, ttl: None, member: None, attested_by, renews: None, from: None }
        };
        let refused = running.issue(order()).await.unwrap_err().to_string();
        assert!(refused.contains("`weft ca renew-root`"), "{refused}");
        let open = || SelfSigned::open(&mesh.ca(), &mesh.trust_domain, mesh.store.clone(), mesh.time.clock());
        let refused = open().err().unwrap().to_string();
        assert!(refused.contains("root.pem expired") && refused.contains("`weft ca renew-root`"), "{refused}");

        let renewed = renew_expired_roots(&mesh.ca(), &mesh.trust_domain, &mesh.time.clock()).unwrap();
        assert_eq!((renewed.len(), renewed[0].before == before.pin()), (1, true));
        assert_eq!(replaced_roots(&mesh.ca()).unwrap(), [before.pin()]);
        // The one that runs takes it up, and so does the next.
        for authority in [&running, &open().unwrap()] {
            let issued = issue(authority, &mesh.id("reviews"), None).await;
            let bundle = authority.trust_bundle().borrow().clone();
            assert_eq!((bundle.roots.len(), bundle.pin()), (1, renewed[0].fingerprint.clone()));
            let now = mesh.time.clock().now();
            for trusted in [&before, &*bundle] {
                assert!(verify_peer(&issued.chain[..2], trusted, now).is_ok());
            }
        }
    }

    #[test]
    fn where_there_is_no_root_none_is_made() {
        let mesh = Mesh::new();
        let told = renew_expired_roots(&mesh.ca(), &mesh.trust_domain, &mesh.time.clock()).unwrap_err().to_string();
        assert!(told.contains("there is no root of trust") && told.contains("--ca-dir"), "{told}");
        assert!(!mesh.ca().exists());
    }
}
