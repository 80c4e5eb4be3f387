//! One workload behind the node proxy: kept running, whatever ends it, without touching the others.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use runtime::Backoff;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;

use super::NodeWorkload;
use crate::admin::Admin;
use crate::run::run_at_node;
use crate::settings::Settings;
use crate::workload_api::{Selectors, Source};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// A workload.
pub struct Member {
    pub uid: u32,
    pub settings: Settings,
    pub callers: Selectors,
    /// While it runs.
    shown: watch::Sender<Option<Arc<Admin>>>,
    /// Its identity as programs get it, and the run that it is of.
    handed_out: Mutex<Option<(Weak<Admin>, Arc<Source>)>>,
    /// Why it last ended.
    ended: Mutex<Option<String>>,
}

impl Member {
    pub fn new(workload: NodeWorkload) -> Self {
        let NodeWorkload { uid, settings, mut callers } = workload;
        callers.users = vec![uid];
        let shown = watch::Sender::new(None);
        Self { uid, settings, callers, shown, handed_out: Mutex::default(), ended: Mutex::default() }
    }

    /// `reviews-v1.default`
    pub fn name(&self) -> String {
        format!("{}.{}", self.settings.workload, self.settings.namespace)
    }

    /// How it is reached while it runs.
    pub fn admin(&self) -> Option<Arc<Admin>> {
        self.shown.borrow().clone()
    }

    /// Its identity as programs get it, while it has one.
    pub fn source(&self) -> Option<Arc<Source>> {
        let admin = self.admin()?;
        let mut handed_out = self.handed_out.lock();
        if let Some((run, source)) = &*handed_out
            && run.as_ptr() == Arc::as_ptr(&admin)
        {
            return Some(Arc::clone(source));
        }
        let source = Arc::new(Source::of(admin.identity.as_ref()?, &self.settings.control_plane).ok()?);
        *handed_out = Some((Arc::downgrade(&admin), Arc::clone(&source)));
        Some(source)
    }

    /// How it is reached while it has a configuration.
    pub fn ready(&self) -> Option<Arc<Admin>> {
        self.admin().filter(|admin| *admin.ready.borrow())
    }

    /// Why it is not ready.
    pub fn why_not(&self) -> String {
        let ended = self.ended.lock().clone();
        match self.admin() {
            Some(_) => "it waits for its configuration".to_owned(),
            None => ended.unwrap_or_else(|| "it waits for its identity".to_owned()),
        }
    }

    /// Returns once it has a configuration.
    pub async fn is_ready(&self) {
        let mut shown = self.shown.subscribe();
        loop {
            let Ok(admin) = shown.wait_for(Option::is_some).await.map(|admin| admin.clone()) else { return };
            let Some(mut ready) = admin.map(|admin| admin.ready.clone()) else { continue };
            // An error: it ended before, and comes again.
            if ready.wait_for(|ready| *ready).await.is_ok() {
                return;
            }
            let _ = shown.changed().await;
        }
    }

    /// Runs it until it is told to end, and again if it ends by itself.
    pub async fn keep(self: Arc<Self>, shutdown: Shutdown) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
        while !shutdown.is_draining() {
            let ended = run_at_node(self.settings.clone(), shutdown.clone(), self.shown.clone()).await;
            if self.shown.send_replace(None).is_some() {
                backoff.reset();
            }
            *self.handed_out.lock() = None;
            if shutdown.is_draining() {
                return;
            }
            let reason = ended.map_or_else(|error| error.to_string(), |()| "it was told to end".to_owned());
            tracing::error!(workload = self.name(), reason, "a workload's proxy ended; it is started again");
            *self.ended.lock() = Some(reason);
            tokio::select! {
                () = tokio::time::sleep(backoff.failed()) => {}
                () = shutdown.draining() => {}
            }
        }
    }
}
