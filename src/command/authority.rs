//! Whose certificate authority it is: one that is made in the data directory, or one from files of the operator's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use citadel::{Agreement, Authority as _, SelfSigned, replaced_roots};
use clap::Args;
use runtime::Clock;
use store::Store;

use super::data_dir::DataDir;
use super::failure::{Exit, Failure};
use super::store::agree_on_root;
use ::api::TrustDomain;

#[derive(Clone, Debug, Default, Args)]
pub struct AuthorityOptions {
    /// An authority of your own, in the layout of Istio's cacerts: ca-cert.pem, ca-key.pem, root-cert.pem and
    /// cert-chain.pem; changed files are taken up [default: one that is made here]
    #[arg(long, value_name = "DIR")]
    ca_dir: Option<PathBuf>,
    /// Another name of the mesh's trust domain: workloads that have certificates of it are taken for ours, and policies
    /// mean them too; may be repeated
    #[arg(long = "trust-domain-alias", value_name = "NAME", value_parser = alias)]
    trust_domain_aliases: Vec<TrustDomain>,
}

impl AuthorityOptions {
    pub async fn open(
        &self,
        data: &DataDir,
        trust_domain: &TrustDomain,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> anyhow::Result<SelfSigned> {
        let agreement = Agreement::new(store.clone(), data.replica()?);
        let authority = match &self.ca_dir {
            Some(folder) => SelfSigned::plugged_in(folder, trust_domain, store, clock)?,
            None => {
                let authority = SelfSigned::open(&data.authority(), trust_domain, store.clone(), clock)?;
                authority.catch_up().await?;
                let pin = authority.trust_bundle().borrow().pin();
                agree_on_root(&*store, &pin, &replaced_roots(&data.authority())?, &data.authority()).await?;
                authority
            }
        };
        Ok(authority.agreeing(agreement).await?)
    }

    /// The other names of a trust domain; itself is none.
    pub fn aliases(&self, trust_domain: &TrustDomain) -> anyhow::Result<Vec<TrustDomain>> {
        if self.trust_domain_aliases.contains(trust_domain) {
            let words = format!("--trust-domain-alias {trust_domain}: it is the trust domain itself; leave it out");
            return Err(Failure::new(Exit::Usage, words).into());
        }
        Ok(self.trust_domain_aliases.clone())
    }

    /// The same options as words of a command line, for a process that may run elsewhere.
    pub fn words(&self) -> Vec<OsString> {
        let absolute = |folder: &Path| std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let folder = self.ca_dir.iter().flat_map(|folder| ["--ca-dir".into(), absolute(folder).into()]);
        let alias = |alias: &TrustDomain| ["--trust-domain-alias".into(), alias.to_string().into()];
        folder.chain(self.trust_domain_aliases.iter().flat_map(alias)).collect()
    }
}

/// For clap.
fn alias(text: &str) -> Result<TrustDomain, String> {
    TrustDomain::new(text).map_err(|error| format!("{error}; for example old.example.com"))
}
