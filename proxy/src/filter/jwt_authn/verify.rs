//! Whether a request's tokens fulfil a requirement, and what verified tokens leave in the request.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use super::extract::Extracted;
use super::{JwtAuthn, KeySource, NAMESPACE, Needed, Places, Provider, Requirement, claims};
use crate::filter::Stream;
use crate::jwt::{Jwks, Status, Token};

/// One request against one filter.
struct Verification<'v, 's> {
    own: &'v JwtAuthn,
    stream: &'v mut Stream<'s>,
    /// Whether a claim came into the request that routes are to see.
    clear_route: bool,
}

/// Checks all that the requirement asks for. What verified tokens bring stays even if others fail.
pub async fn verify(own: &JwtAuthn, requirement: &Requirement, stream: &mut Stream<'_>) -> Result<(), Status> {
    let mut verification = Verification { own, stream, clear_route: false };
    verification.requirement(requirement).await?;
    if verification.clear_route {
        stream.clear_route();
    }
    Ok(())
}

type Checking<'c> = Pin<Box<dyn Future<Output = Result<(), Status>> + 'c>>;

impl Verification<'_, '_> {
    fn requirement<'c>(&'c mut self, requirement: &'c Requirement) -> Checking<'c> {
        Box::pin(async move {
            match requirement {
                Requirement::Nothing => Ok(()),
                Requirement::Provider(needed) => self.needed(needed).await,
                Requirement::Any(all) => self.any(all).await,
                Requirement::All(all) => {
                    for one in all {
                        self.requirement(one).await?;
                    }
                    Ok(())
                }
                Requirement::AllowMissing(places) => match self.tokens(places, None).await {
                    Err(Status::Missing) => Ok(()),
                    other => other,
                },
                Requirement::AllowMissingOrFailed(places) => {
                    for token in places.extract(self.stream.head).into_iter().rev() {
                        let _ = self.token(token, None).await;
                    }
                    Ok(())
                }
            }
        })
    }

    /// The most telling failure if all fail: that of a token of ours, before one of a stranger's, before none.
    async fn any(&mut self, all: &[Requirement]) -> Result<(), Status> {
        let telling = |status| match status {
            Status::Missing => 0,
            Status::UnknownIssuer => 1,
            _ => 2,
        };
        let mut failure = Status::Missing;
        for one in all {
            match self.requirement(one).await {
                Ok(()) => return Ok(()),
                Err(status) if telling(status) >= telling(failure) => failure = status,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    async fn needed(&mut self, needed: &Needed) -> Result<(), Status> {
        self.tokens(&needed.provider.places, Some(needed)).await
    }

    /// Every token there is must be valid: the application might take another one than was checked here.
    async fn tokens(&mut self, places: &Places, needed: Option<&Needed>) -> Result<(), Status> {
        let tokens = places.extract(self.stream.head);
        if tokens.is_empty() {
            return Err(Status::Missing);
        }
        for token in tokens.into_iter().rev() {
            self.token(token, needed).await?;
        }
        Ok(())
    }

    async fn token(&mut self, found: Extracted<'_>, needed: Option<&Needed>) -> Result<(), Status> {
        let mut provider = needed.map(|needed| Arc::clone(&needed.provider));
        let checked = self.check(&found, needed, &mut provider).await;
        let Some(provider) = provider else { return checked.map(drop) };
        match checked {
            Ok(token) => {
                self.accept(&provider, &token, &found);
                Ok(())
            }
            Err(status) => {
                if !provider.failure_in_metadata.is_empty() {
                    let metadata = self.stream.metadata();
                    metadata.set(NAMESPACE, &provider.failure_in_metadata, claims::failure(status));
                }
                Err(status)
            }
        }
    }

    /// The token, verified. The provider, where the requirement names none, is found by the issuer.
    async fn check(
        &self,
        found: &Extracted<'_>,
        needed: Option<&Needed>,
        provider: &mut Option<Arc<Provider>>,
    ) -> Result<Rc<Token>, Status> {
        let worker = self.stream.worker();
        let cached = provider.as_ref().and_then(|provider| worker.keys.cached(provider, &found.text));
        let token = match &cached {
            Some((token, _)) => Rc::clone(token),
            None => Rc::new(Token::parse(&found.text)?),
        };
        if !found.issuers.allow(&token.issuer) {
            return Err(Status::UnknownIssuer);
        }
        if provider.is_none() {
            *provider = self.own.of_issuer(&token.issuer).cloned();
        }
        let provider = provider.as_ref().ok_or(Status::UnknownIssuer)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        provider.check(&token, needed.and_then(|needed| needed.audiences.as_deref()), now)?;
        let keys = self.keys(provider).await?;
        if cached.is_some_and(|(_, verified_with)| Arc::ptr_eq(&verified_with, &keys)) {
            return Ok(token);
        }
        keys.verify(&token)?;
        worker.keys.remember(provider, &found.text, &token, &keys);
        Ok(token)
    }

    async fn keys(&self, provider: &Provider) -> Result<Arc<Jwks>, Status> {
        match &provider.keys {
            KeySource::Local(local) => local.keys.clone().ok_or(Status::NoValidKeys),
            KeySource::Remote(remote) => {
                let worker = self.stream.worker();
                worker.keys.remote(worker, remote).await.ok_or(Status::FetchFailed)
            }
        }
    }

    /// Passes on what the provider says of a verified token.
    fn accept(&mut self, provider: &Provider, token: &Token, found: &Extracted<'_>) {
        let head = &mut *self.stream.head;
        if let Some((name, padded)) = &provider.payload_header {
            let _ = head.headers.try_append(name.as_bytes(), claims::payload(token, *padded).as_bytes());
        }
        let mut told = false;
        for header in &provider.claim_headers {
            let claim = token.claim(header.path.iter().map(String::as_str));
            if let Some(value) = claim.and_then(claims::header_value) {
                told |= head.headers.try_append(header.name.as_bytes(), value.as_bytes()).is_ok();
            }
        }
        if !provider.forward {
            found.place.remove(head);
        }
        if !provider.header_in_metadata.is_empty() {
            let header = claims::object(token.header.clone());
            self.stream.metadata().set(NAMESPACE, &provider.header_in_metadata, header);
        }
        if !provider.payload_in_metadata.is_empty() {
            let payload = claims::normalized(&token.payload, &provider.space_delimited);
            self.stream.metadata().set(NAMESPACE, &provider.payload_in_metadata, claims::object(payload));
        }
        self.clear_route |= provider.clear_route_cache && (told || !provider.payload_in_metadata.is_empty());
    }
}

impl JwtAuthn {
    /// The first provider of an issuer, else the first that takes any.
    fn of_issuer(&self, issuer: &str) -> Option<&Arc<Provider>> {
        let named = self.providers.iter().find(|provider| provider.issuer == issuer);
        named.or_else(|| self.providers.iter().find(|provider| provider.issuer.is_empty()))
    }
}
