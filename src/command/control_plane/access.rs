//! Who may use the API: its TLS, the operator's own token, the first setup link, and what goes into the audit log that no
//! request tells.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use citadel::{ApiTokens, LONGEST, NewApiToken, Sessions, Tokens};
use clap::Args;
use runtime::{Clock, files};
use serde_json::Value;
use store::Store;
use tokio_stream::StreamExt as _;
use web::{ApiTls, Audit, AuditRecord, Door};

use crate::command::data_dir::DataDir;
use crate::command::output::tell;

#[derive(Debug, Args)]
pub struct ApiAccess {
    /// The certificate chain of the API in PEM; needed unless --listen-api is a loopback address
    #[arg(long, value_name = "FILE", requires = "api_key")]
    api_cert: Option<PathBuf>,
    /// The key of --api-cert
    #[arg(long, value_name = "FILE", requires = "api_cert")]
    api_key: Option<PathBuf>,
    /// Print no setup link on the first start
    #[arg(long, hide = true)]
    no_setup_link: bool,
}

/// How long before its end the operator's token is replaced.
const EARLY: Duration = Duration::from_secs(60 * 24 * 3600);
/// Written once somebody was shown the way in.
const SHOWN: &str = "control-plane/setup-shown";
const MEMBERS: &str = "member/";

impl ApiAccess {
    pub fn tls(&self) -> anyhow::Result<Option<ApiTls>> {
        match (&self.api_cert, &self.api_key) {
            (Some(certificate), Some(key)) => Ok(Some(ApiTls::open(certificate, key)?)),
            _ => Ok(None),
        }
    }

    pub fn door(&self, data: &DataDir, sessions: Sessions) -> anyhow::Result<Door> {
        let audit = Audit::open(data.audit())?;
        Ok(Door::new(sessions, audit, self.api_cert.is_some()))
    }

    /// Shows the way in, once in the life of a data directory.
    pub async fn show_setup_link(&self, data: &DataDir, sessions: &Sessions, api: &str) -> anyhow::Result<()> {
        let shown = data.path().join(SHOWN);
        if self.no_setup_link || shown.exists() {
            return Ok(());
        }
        let text = sessions.setup().await?;
        tell(format_args!("The console, for one browser, within an hour:\n  {api}/#setup={text}"));
        Ok(files::write_atomic(&shown, b"", files::PRIVATE)?)
    }
}

/// Keeps the operator's token file valid: made on the first start, when the file was lost, and before its end.
pub async fn keep_admin_token(data: &DataDir, tokens: &ApiTokens, clock: &Clock) -> anyhow::Result<()> {
    let known = std::fs::read_to_string(data.token_file()).unwrap_or_default();
    let known = tokens.verify(known.trim()).await.ok();
    let soon = clock.unix_seconds() + EARLY.as_secs();
    if known.as_ref().is_some_and(|token| token.expires.is_none_or(|expires| expires > soon)) {
        return Ok(());
    }
    let minted = tokens.mint(NewApiToken::admin("admin", LONGEST)).await?;
    files::write_atomic(&data.token_file(), format!("{}\n", minted.text).as_bytes(), files::PRIVATE)?;
    Ok(())
}

/// Forgets tokens and sessions that are of no use any more, and renews the operator's.
pub async fn housekeeping(data: DataDir, join: Tokens, api: ApiTokens, sessions: Sessions, clock: Clock) {
    let mut hourly = tokio::time::interval(Duration::from_secs(3600));
    loop {
        hourly.tick().await;
        if let Err(error) = join.prune().await {
            tracing::warn!(%error, "expired join tokens cannot be removed");
        }
        if let Err(error) = api.prune().await {
            tracing::warn!(%error, "expired API tokens cannot be removed");
        }
        if let Err(error) = sessions.prune().await {
            tracing::warn!(%error, "sessions that are over cannot be removed");
        }
        if let Err(error) = keep_admin_token(&data, &api, &clock).await {
            tracing::warn!(%error, "the operator's API token cannot be renewed");
        }
    }
}

/// Writes down which workloads join, by which token.
pub async fn audit_joins(store: Arc<dyn Store>, audit: Audit) {
    let mut changes = store.watch(MEMBERS);
    let listed = store.list(MEMBERS).await.map(|listing| listing.entries).unwrap_or_default();
    let mut known: std::collections::BTreeSet<String> = listed.into_iter().map(|entry| entry.key).collect();
    while let Some(change) = changes.next().await {
        let Some(value) = change.value.filter(|_| known.insert(change.key.clone())) else { continue };
        let member: Value = serde_json::from_slice(&value).unwrap_or_default();
        let text = |key: &str| member[key].as_str().unwrap_or_default();
        let record = AuditRecord {
            actor: format!("{}/{}", text("namespace"), text("service_account")),
            method: "join-token".into(),
            token: text("token").into(),
            verb: "join".into(),
            object: format!("member {}", change.key.trim_start_matches(MEMBERS)),
            result: "done".into(),
            ..AuditRecord::default()
        };
        audit.write(record).await;
    }
}
