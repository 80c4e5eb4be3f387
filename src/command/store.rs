//! Where a control plane keeps what it must not lose: the data directory, or an etcd that several control planes share.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use citadel::ROOT;
use clap::Args;
use store::{Etcd, EtcdAddress, EtcdTls, Sled, Store, StoreError, Transaction};

use super::data_dir::DataDir;
use super::failure::{Exit, Failure};

#[derive(Clone, Debug, Default, Args)]
pub struct StoreOptions {
    /// Where configuration, tokens and registrations are kept: etcd://HOST:PORT,HOST:PORT[/PREFIX], or etcds:// with
    /// TLS [default: the data directory]
    #[arg(long, value_name = "URL")]
    store: Option<EtcdAddress>,
    /// The authorities in PEM that the store's certificate must come from
    #[arg(long, value_name = "FILE")]
    store_ca: Option<PathBuf>,
    /// The certificate in PEM that the store is shown
    #[arg(long, value_name = "FILE", requires = "store_key")]
    store_cert: Option<PathBuf>,
    /// The key of --store-cert
    #[arg(long, value_name = "FILE", requires = "store_cert")]
    store_key: Option<PathBuf>,
}

impl StoreOptions {
    pub async fn open(&self, data: &DataDir) -> anyhow::Result<Arc<dyn Store>> {
        let tls = self.tls()?;
        match &self.store {
            Some(address) => Ok(Arc::new(Etcd::open(address, tls).await?)),
            None => Ok(Arc::new(Sled::open(data.store())?)),
        }
    }

    fn tls(&self) -> anyhow::Result<Option<EtcdTls>> {
        let wrong = |words: &str| Err(Failure::new(Exit::Usage, words).into());
        match (self.store.as_ref().is_some_and(EtcdAddress::is_tls), &self.store_ca) {
            (false, None) if self.store_cert.is_none() => Ok(None),
            (false, _) => wrong("--store-ca, --store-cert and --store-key are for --store etcds://…"),
            (true, None) => wrong("--store etcds://… needs --store-ca, the authorities of etcd's certificate"),
            (true, Some(ca)) => {
                let identity = match (&self.store_cert, &self.store_key) {
                    (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
                    _ => None,
                };
                Ok(Some(EtcdTls { authorities: read(ca)?, identity }))
            }
        }
    }

    /// The same options as words of a command line.
    pub fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(store) = &self.store {
            words.extend(["--store".into(), store.to_string().into()]);
        }
        let files =
            [("--store-ca", &self.store_ca), ("--store-cert", &self.store_cert), ("--store-key", &self.store_key)];
        for (flag, file) in files {
            words.extend(file.iter().flat_map(|file| [flag.into(), file.into()]));
        }
        words
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// Control planes that share a store must share the authority's root: what one signs, the proxies of the other verify.
/// `before`: what it was before it got new dates.
pub async fn agree_on_root(store: &dyn Store, pin: &str, before: &[String], authority: &Path) -> anyhow::Result<()> {
    if !store.is_shared() {
        return Ok(());
    }
    match store.commit(Transaction::put(ROOT, pin.to_owned()).expecting(ROOT, 0)).await {
        Ok(_) => return Ok(()),
        Err(StoreError::Conflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let entry = store.get(ROOT).await?;
    let known = entry.as_ref().map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).unwrap_or_default();
    if let Some(entry) = entry.filter(|_| before.contains(&known)) {
        store.commit(Transaction::put(ROOT, pin.to_owned()).expecting(ROOT, entry.revision)).await?;
        return Ok(());
    }
    anyhow::ensure!(
        known == pin,
        "the mesh in this store has another root of trust ({known}) than this control plane ({pin}): copy the \
         directory {} of a control plane of that mesh here, or give --store another prefix",
        authority.display()
    );
    Ok(())
}
