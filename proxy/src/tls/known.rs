//! Chains of certificates that were verified before. Most peers connect again and again with the same one, and checking
//! its signatures costs more than the rest of a handshake. That the peer holds the key is proved each time.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Chains that are remembered at most; what is shown beyond that is verified each time anew until a change of roots or
/// the end of some chain's time makes room.
const MOST: usize = 1024;

/// A chain as it was shown, by its SHA-256, and what it was shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shown([u8; 32]);

impl Shown {
    /// `purpose` tells apart what a chain may be good for and what it may not.
    pub fn new(purpose: u8, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Self {
        let mut hash = Context::new(&SHA256);
        hash.update(&[purpose]);
        for certificate in std::iter::once(leaf).chain(intermediates) {
            hash.update(&(certificate.len() as u64).to_be_bytes());
            hash.update(certificate);
        }
        let mut shown = Self([0; 32]);
        shown.0.copy_from_slice(hash.finish().as_ref());
        shown
    }
}

/// What one verifier found good.
#[derive(Debug, Default)]
pub struct Known(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The roots under which all of them are good.
    roots: Option<Arc<RootCertStore>>,
    /// When each of them is, in seconds since 1970.
    valid: HashMap<Shown, RangeInclusive<u64>>,
}

impl Known {
    /// Whether a chain was found good under these very roots, and is within its time.
    pub fn is_good(&self, roots: &Arc<RootCertStore>, shown: Shown, now: UnixTime) -> bool {
        let inner = self.0.lock();
        inner.stands_on(roots) && inner.valid.get(&shown).is_some_and(|valid| valid.contains(&now.as_secs()))
    }

    /// Remembers a chain that was just verified, for as long as all that was shown is valid.
    pub fn add(
        &self,
        roots: &Arc<RootCertStore>,
        shown: Shown,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) {
        let valid = std::iter::once(leaf).chain(intermediates).try_fold(0..=u64::MAX, within);
        let Some(valid) = valid else { return };
        let mut inner = self.0.lock();
        if !inner.stands_on(roots) {
            *inner = Inner { roots: Some(Arc::clone(roots)), valid: HashMap::new() };
        }
        if inner.valid.len() >= MOST {
            inner.valid.retain(|_, valid| now.as_secs() <= *valid.end());
        }
        if inner.valid.len() < MOST {
            inner.valid.insert(shown, valid);
        }
    }
}

impl Inner {
    fn stands_on(&self, roots: &Arc<RootCertStore>) -> bool {
        self.roots.as_ref().is_some_and(|known| Arc::ptr_eq(known, roots))
    }
}

/// The part of a time in which a certificate is valid too.
fn within(time: RangeInclusive<u64>, certificate: &CertificateDer<'_>) -> Option<RangeInclusive<u64>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    let begin = u64::try_from(validity.not_before.timestamp()).ok()?;
    let end = u64::try_from(validity.not_after.timestamp()).ok()?;
    Some(begin.max(*time.start())..=end.min(*time.end()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: u64 = 86_400;

    fn certificate(from: u64, to: u64) -> CertificateDer<'static> {
        let at = |day: u64| (std::time::UNIX_EPOCH + Duration::from_secs(day * DAY)).into();
        let mut params = rcgen::CertificateParams::default();
        (params.not_before, params.not_after) = (at(from), at(to));
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn on(day: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(day * DAY))
    }

    #[test]
    fn a_chain_is_known_under_its_roots_for_its_purpose_and_within_the_time_of_all_of_it() {
        let (leaf, above) = (certificate(10, 20), [certificate(5, 15)]);
        let (roots, others) = (Arc::new(RootCertStore::empty()), Arc::new(RootCertStore::empty()));
        let (known, shown) = (Known::default(), Shown::new(0, &leaf, &above));
        assert!(!known.is_good(&roots, shown, on(12)), "nothing was verified yet");
        known.add(&roots, shown, &leaf, &above, on(12));
        assert!(known.is_good(&roots, shown, on(10)) && known.is_good(&roots, shown, on(15)));
        assert!(!known.is_good(&roots, shown, on(9)), "the leaf was not valid yet");
        assert!(!known.is_good(&roots, shown, on(16)), "the intermediate has expired");
        assert!(!known.is_good(&roots, Shown::new(1, &leaf, &above), on(12)), "another purpose");
        assert!(!known.is_good(&roots, Shown::new(0, &leaf, &[]), on(12)), "another chain");
        assert!(!known.is_good(&others, shown, on(12)), "other roots");
        known.add(&others, Shown::new(0, &above[0], &[]), &above[0], &[], on(12));
        assert!(!known.is_good(&roots, shown, on(12)), "other roots took their place");
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let (leaf, roots, known) = (certificate(10, 20), Arc::new(RootCertStore::empty()), Known::default());
        for purpose in 0..=u8::MAX {
            for times in 1..=8 {
                let shown = Shown::new(purpose, &leaf, &vec![leaf.clone(); times]);
                known.add(&roots, shown, &leaf, &[], on(12));
            }
        }
        assert_eq!(known.0.lock().valid.len(), MOST);
        let fresh = certificate(10, 40);
        known.add(&roots, Shown::new(0, &fresh, &[]), &fresh, &[], on(30));
        assert_eq!(known.0.lock().valid.len(), 1, "what has expired made room");
    }
}
