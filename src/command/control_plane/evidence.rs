//! By what workloads may show who they are when they ask for a certificate.

mod keys;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use citadel::{
    Attestor, CurrentCertificate, ExpiredCertificate, IssuerConfig, IssuerToken, Issuers, JoinToken, KeySource,
    ServiceAccount, TokenReviews, Tokens, TrustBundle,
};
use clap::Args;
use runtime::Clock;
use tokio::sync::watch;

use self::keys::Keys;
use crate::command::duration;
use crate::command::failure::{Exit, Failure};
use ::api::TrustDomain;

#[derive(Debug, Args)]
pub struct EvidenceOptions {
    /// How long after its end a certificate still gets its workload the next one, for the same key
    #[arg(long, default_value = "72h", value_parser = duration::parse)]
    pub rejoin_grace: Duration,
    /// The audience that tokens of Kubernetes service accounts must be for, with which workloads of the first cluster
    /// prove who they are
    #[arg(long, value_name = "NAME", default_value = "istio-ca")]
    token_audience: String,
    /// A file with the issuers whose JWTs prove who somebody is, and which claims are worth which identity: CI systems,
    /// clouds [default: none]
    #[arg(long, value_name = "FILE")]
    jwt_issuers: Option<PathBuf>,
}

impl EvidenceOptions {
    /// Join tokens come after the others that are bearers: they take every other bearer for one of theirs.
    pub fn attestors(
        &self,
        trust_domain: &TrustDomain,
        tokens: &Tokens,
        bundle: &watch::Receiver<Arc<TrustBundle>>,
        clock: &Clock,
        reviews: Option<Arc<dyn TokenReviews>>,
    ) -> anyhow::Result<Vec<Box<dyn Attestor>>> {
        let mut attestors: Vec<Box<dyn Attestor>> = Vec::new();
        if let Some(file) = &self.jwt_issuers {
            attestors.push(Box::new(issuers(file, trust_domain, clock)?));
        }
        if let Some(reviews) = reviews {
            attestors.push(Box::new(ServiceAccount::new(reviews, &self.token_audience)));
        }
        attestors.push(Box::new(JoinToken::new(tokens.clone())));
        attestors.push(Box::new(CurrentCertificate::new(bundle.clone(), clock.clone())));
        attestors.push(Box::new(ExpiredCertificate::new(bundle.clone(), clock.clone(), self.rejoin_grace)));
        Ok(attestors)
    }
}

fn issuers(file: &Path, trust_domain: &TrustDomain, clock: &Clock) -> anyhow::Result<IssuerToken> {
    let place = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("--jwt-issuers: {place} cannot be read"))?;
    let refused = |why: String| Failure::new(Exit::Rejected, format!("--jwt-issuers: {place}: {why}"));
    let issuers: Issuers = serde_saphyr::from_str(&text).map_err(|error| refused(error.to_string()))?;
    issuers.check(trust_domain).map_err(&refused)?;
    let with_keys = |(at, issuer): (usize, IssuerConfig)| match Keys::of(&issuer) {
        Ok(keys) => Ok((issuer, Arc::new(keys) as Arc<dyn KeySource>)),
        Err(why) => Err(refused(format!("issuers[{at}].{why}"))),
    };
    let issuers: Result<Vec<_>, _> = issuers.issuers.into_iter().enumerate().map(with_keys).collect();
    Ok(IssuerToken::new(issuers?, clock.clone()))
}
