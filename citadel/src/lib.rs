//! The certificate authority: attests who asks, decides the SPIFFE ID, signs, rotates, and keeps the trust bundle.
//!
//! What must hold: the names in a request never matter, only what was attested; no private key leaves the CA's
//! directory; no secret is stored or logged; every certificate is in the ledger before anyone holds it.

mod access;
mod agreement;
mod anchor;
mod api_tokens;
mod attest;
mod authority;
mod chain;
mod csr;
mod decisions;
mod denials;
mod describe;
mod ended;
mod fair;
mod incoming;
mod jwt;
mod ledger;
mod members;
mod peer;
mod room;
mod rotation;
mod secret;
mod self_signed;
mod server_tls;
mod sessions;
mod signing;
mod spiffe_bundle;
#[cfg(test)]
mod test_kit;
mod tokens;
mod trust;

pub use access::{Access, Role, Scopes, Verb, Wish};
pub use agreement::{Agreement, Disagreement};
pub use api_tokens::{ApiToken, ApiTokenError, ApiTokens, LONGEST, MintedApiToken, NewApiToken};
pub use attest::{
    Attestation, Attestor, CurrentCertificate, Evidence, ExpiredCertificate, IdentityRule, IssuerConfig, IssuerToken,
    Issuers, JoinToken, KeySource, Refusal, RefusalKind, ServiceAccount, TokenReview, TokenReviews, identity,
};
pub use authority::{Authority, IssueError, IssueRequest, Issued, TrustBundle};
pub use chain::{CertificateDescription, certificates, describe, judge};
pub use csr::{CsrError, SubjectKey};
pub use decisions::{Decided, Decision, Decisions, Outcome, Sums, Told, Unseen, Wanted};
pub use denials::{Denial, DenialError, Denials, DeniedKind, NewDenial};
pub use describe::RootDescription;
pub use fair::{Client, Queue, Rates, TooMuch, Turn};
pub use incoming::{Connection, Rooms, incoming, server};
pub use jwt::{JwtAuthority, JwtError, JwtKeys, JwtService, MintedJwt};
pub use ledger::{Ledger, LedgerEntry};
pub use members::{Ended, Grant, Member, MemberError, Members};
pub use peer::{PeerCertificates, PeerError, peer_identity, verify_peer};
pub use room::{Capacity, TurnedAway};
pub use rotation::{Fault, Holder, Progress, Rotation, RotationError, Waiting};
pub use secret::sha256;
pub use self_signed::fuzz;
pub use self_signed::{
    OpenError, Phase, ROOT, RenewedRoot, SelfSigned, StepError, renew_expired_roots, replaced_roots,
};
pub use server_tls::{ServerTls, ServerTlsError, server_tls};
pub use sessions::{Session, SessionError, Sessions};
pub use signing::{Issuances, Signing};
pub use spiffe_bundle::SpiffeBundle;
pub use tokens::{CreatedToken, NewToken, Redeemed, TokenError, TokenStatus, Tokens};
pub use trust::Trust;
