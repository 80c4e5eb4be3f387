//! What a control plane does about its roots by itself: it takes up files once nobody would be cut off by them, tells the
//! other control planes of the store what is in force, and finds who is cut off already.

use std::time::Duration;

use store::StoreError;
use tokio::time::Instant;

use super::{Progress, Rotation, RotationError, Waiting, gate};
use crate::agreement::{BEAT, Disagreement};
use crate::anchor::Anchor;
use crate::ledger::pins;
use crate::self_signed::{Pending, Phase};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often it is seen who is cut off, once somebody is.
const AGAIN: Duration = Duration::from_secs(60);

/// What is wrong with the roots of trust here, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Files of the authority's are not in force, or a step that was taken for all control planes of the store.
    HeldBack(String),
    /// Holders have certificates that nobody takes any more.
    CutOff(String),
    /// Nothing is issued: another control plane of the store does not trust what signs here, or the other way round.
    AtOdds(String),
    /// Another process goes by this control plane's name.
    Twin(String),
}

/// What was found last.
#[derive(Default)]
pub(super) struct Found {
    held_back: Option<String>,
    cut_off: Option<String>,
}

/// Files that are not in force, and those who would be cut off by them.
pub(super) struct Weighed {
    pending: Pending,
    pub progress: Progress,
    /// The root that would sign is none of those that are told to the holders.
    is_untold: bool,
}

/// What was said of it, so that it is not said again.
#[derive(Default)]
struct Said {
    held_back: String,
    at_odds: Option<std::mem::Discriminant<Disagreement>>,
    twin: bool,
}

impl Rotation {
    /// For ever.
    pub async fn follow(self) {
        let (mut said, mut beat) = (Said::default(), Instant::now());
        let mut bundles = self.bundles();
        let mut seen = None;
        loop {
            self.look(&mut said).await;
            let due = seen.is_none_or(|seen: Instant| self.found().cut_off.is_some() && seen.elapsed() >= AGAIN);
            if due || bundles.has_changed().unwrap_or_default() {
                bundles.borrow_and_update();
                seen = Some(Instant::now());
                self.find_cut_off().await;
            }
            if beat.elapsed() >= BEAT {
                beat = Instant::now();
                self.beat(&mut said).await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What is wrong now.
    pub fn faults(&self) -> Vec<Fault> {
        let found = self.found();
        let own = [found.held_back.clone().map(Fault::HeldBack), found.cut_off.clone().map(Fault::CutOff)];
        let others = [self.authority.at_odds().map(Fault::AtOdds), self.authority.twin().map(Fault::Twin)];
        own.into_iter().chain(others).flatten().collect()
    }

    /// Takes up the files that are there, if they are others than those in force, nobody would be cut off by them or it is
    /// forced, and the other control planes agree. Whether there were any.
    pub(super) async fn take_up(&self, force: bool) -> Result<bool, RotationError> {
        let Some(weighed) = self.weigh().await? else { return Ok(false) };
        if !force && !weighed.progress.waiting.is_empty() {
            return Err(RotationError::Waits(weighed.words()));
        }
        self.authority.take_up(weighed.pending).await.map_err(RotationError::Files)?;
        self.found().held_back = None;
        Ok(true)
    }

    pub(super) async fn weigh(&self) -> Result<Option<Weighed>, RotationError> {
        let Some(pending) = self.authority.pending().map_err(RotationError::Files)? else { return Ok(None) };
        let (holders, told) = self.trusted().await?;
        let (now, next) = (self.bundles().borrow().clone(), pending.bundle());
        let waiting: Vec<Waiting> = gate::behind(&now, &next, &holders, &told);
        let signs = next.roots.first().map(Anchor::of);
        let is_untold = !now.roots.iter().any(|root| Some(Anchor::of(root)) == signs);
        let progress =
            Progress { phase: Phase::Idle, holders: holders.len(), waiting, plugged_in: true, pending: None };
        Ok(Some(Weighed { pending, progress, is_untold }))
    }

    /// Why the files were held back the last time, if they were.
    pub(super) fn held_back(&self) -> Option<String> {
        self.found().held_back.clone()
    }

    /// Tells the others what is in force, and says what came of it if that is another thing than before.
    async fn beat(&self, said: &mut Said) {
        let error = self.authority.beat().await.err();
        let kind = error.as_ref().map(std::mem::discriminant);
        if let Some(error) = error.filter(|_| kind != said.at_odds) {
            let issuing = self.authority.at_odds().is_none();
            tracing::error!(%error, issuing, "the control planes of the store do not agree on their roots");
        } else if kind.is_none() && said.at_odds.is_some() {
            tracing::info!("the control planes of the store agree on their roots again");
        }
        said.at_odds = kind;
        let twin = self.authority.twin();
        if let Some(error) = twin.as_ref().filter(|_| !said.twin) {
            tracing::error!(error, "two control planes go by one name");
        }
        said.twin = twin.is_some();
    }

    async fn look(&self, said: &mut Said) {
        let error = match self.authority.catch_up().await {
            Ok(_) => self.take_up(false).await.err(),
            Err(error) => Some(error.into()),
        };
        // While the store is away nothing is known anew.
        if error.as_ref().is_some_and(RotationError::is_of_store) {
            return;
        }
        let words = error.as_ref().map(ToString::to_string);
        // Who is waited for changes all the time, and is told where it is asked.
        let kind = match &error {
            Some(RotationError::Waits(_)) => "holders are behind".to_owned(),
            _ => words.clone().unwrap_or_default(),
        };
        if let Some(error) = words.as_ref().filter(|_| kind != said.held_back) {
            tracing::error!(error, "other roots are not put in force; the last ones stay");
        }
        said.held_back = kind;
        self.found().held_back = words;
    }

    async fn find_cut_off(&self) {
        let words = match self.cut_off().await {
            Ok(words) => words,
            Err(error) => return tracing::warn!(%error, "it cannot be told now who is cut off by the roots in force"),
        };
        let before = std::mem::replace(&mut self.found().cut_off, words.clone());
        if let Some(error) = words.filter(|_| before.is_none()) {
            tracing::error!(error, "holders of certificates are cut off");
        }
    }

    /// In words: who has a certificate under a root that is not trusted here.
    async fn cut_off(&self) -> Result<Option<String>, StoreError> {
        let mut trusted = pins(&self.bundles().borrow().roots);
        trusted.extend(self.authority.roots_before());
        let holders = self.holders().await?;
        let off = holders.iter().filter(|(_, entry)| !entry.root.is_empty() && !entry.is_under(&trusted));
        let off: Vec<_> = off.map(|(holder, entry)| (holder.to_string(), entry.root.clone())).collect();
        let Some((_, root)) = off.first() else { return Ok(None) };
        let advice = match self.authority.is_plugged_in() {
            true => "put that root into root-cert.pem again, beside those that are there, until nobody has one",
            false => "they join again with a new token",
        };
        let names: Vec<String> = off.iter().map(|(holder, _)| holder.clone()).collect();
        Ok(Some(format!(
            "{} of {} holders have certificates under a root that is not trusted here ({root}): {}; {advice}",
            off.len(),
            holders.len(),
            super::some_of(&names),
        )))
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Weighed {
    /// Why they are not in force.
    pub fn words(&self) -> String {
        let words = self.progress.words();
        match self.is_untold {
            true => format!(
                "nobody has been told of the root that would sign: put both roots into root-cert.pem first, beside the \
                 ca-cert.pem, ca-key.pem and cert-chain.pem in force; {words}"
            ),
            false => words,
        }
    }
}

#[cfg(test)]
mod tests;
