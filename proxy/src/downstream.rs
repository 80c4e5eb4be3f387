//! What is known of a downstream connection for as long as it lasts.

use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::access_log::ConnectionInfo;
use crate::config::Direction;
use crate::identity::tls::peer_id;
use crate::worker::Worker;

pub struct Downstream {
    pub worker: Rc<Worker>,
    pub direction: Direction,
    pub info: Arc<ConnectionInfo>,
    /// Who the client proved to be.
    pub peer: Option<Peer>,
}

/// A client that proved its identity by its certificate.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its SPIFFE ID, shared by metrics.
    pub principal: Arc<str>,
}

impl Peer {
    /// `None` if the certificate carries no SPIFFE ID; the handshake's verifier has judged it already.
    pub fn of(certificates: &[CertificateDer<'_>]) -> Option<Self> {
        let id = peer_id(Some(certificates))?;
        Some(Self { principal: id.to_string().into() })
    }
}
