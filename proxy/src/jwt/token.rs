//! A token taken apart and checked in its form; whether its signature holds is another question.

use api::prost_types::{Struct, Value, value::Kind};
use base64::Engine as _;

use super::{Algorithm, BASE64URL, Status, json};

/// Header, payload and signature (RFC 7515 section 7.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub algorithm: Algorithm,
    /// Empty where the header has none, here and in the others.
    pub key_id: String,
    pub issuer: String,
    pub subject: String,
    pub audiences: Vec<String>,
    /// Seconds since 1970; zero is none, here and in `expires`.
    pub not_before: u64,
    pub expires: u64,
    pub header: Struct,
    pub payload: Struct,
    /// The payload as it came, base64url.
    pub payload_text: String,
    pub(super) signed: String,
    pub(super) signature: Vec<u8>,
}

impl Token {
    /// Stricter than Envoy, which skips empty sections and ignores `crit`.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let mut sections = text.split('.').map(|section| Some(section).filter(|section| !section.is_empty()));
        let (Some(Some(header_text)), Some(Some(payload_text)), Some(Some(signature)), None) =
            (sections.next(), sections.next(), sections.next(), sections.next())
        else {
            return Err(Status::BadFormat);
        };
        let header = BASE64URL.decode(header_text).map_err(|_| Status::HeaderBase64)?;
        let header = json::parse(&header).ok_or(Status::HeaderJson)?;
        let algorithm = text_of(&header, "alg").ok().flatten().ok_or(Status::NoAlgorithm)?;
        let algorithm = Algorithm::parse(algorithm).ok_or(Status::UnknownAlgorithm)?;
        // No extension is understood (RFC 7515 section 4.1.11).
        if header.fields.contains_key("crit") {
            return Err(Status::CriticalHeader);
        }
        let key_id = text_of(&header, "kid").map_err(|_| Status::KeyIdNotText)?.unwrap_or_default().to_owned();

        let payload = BASE64URL.decode(payload_text).map_err(|_| Status::PayloadBase64)?;
        let payload = json::parse(&payload).ok_or(Status::PayloadJson)?;
        let claim = |name, status| text_of(&payload, name).map_err(|_| status).map(Option::unwrap_or_default);
        let issuer = claim("iss", Status::IssuerNotText)?.to_owned();
        let subject = claim("sub", Status::SubjectNotText)?.to_owned();
        time_of(&payload, "iat", Status::IssuedAtNotNumber, Status::IssuedAtRange)?;
        let not_before = time_of(&payload, "nbf", Status::NotBeforeNotNumber, Status::NotBeforeRange)?;
        let expires = time_of(&payload, "exp", Status::ExpiryNotNumber, Status::ExpiryRange)?;
        claim("jti", Status::IdNotText)?;
        let audiences = audiences(&payload)?;
        Ok(Self {
            algorithm,
            key_id,
            issuer,
            subject,
            audiences,
            not_before,
            expires,
            header,
            payload_text: payload_text.to_owned(),
            signed: format!("{header_text}.{payload_text}"),
            signature: BASE64URL.decode(signature).map_err(|_| Status::SignatureBase64)?,
            payload,
        })
    }

    /// Whether it may be used at this moment, give or take the skew of clocks (all in seconds).
    pub fn check_time(&self, now: u64, skew: u64) -> Result<(), Status> {
        if now.saturating_add(skew) < self.not_before {
            return Err(Status::NotYetValid);
        }
        if self.expires != 0 && now > self.expires.saturating_add(skew) {
            return Err(Status::Expired);
        }
        Ok(())
    }

    /// The claim that a path of names leads to.
    pub fn claim<'p>(&self, path: impl IntoIterator<Item = &'p str>) -> Option<&Value> {
        let mut path = path.into_iter();
        let mut value = self.payload.fields.get(path.next()?)?;
        for name in path {
            let Some(Kind::StructValue(inner)) = &value.kind else { return None };
            value = inner.fields.get(name)?;
        }
        Some(value)
    }
}

struct NotText;

pub(super) fn text(object: &Struct, name: &str) -> Option<String> {
    text_of(object, name).ok().flatten().map(str::to_owned)
}

fn text_of<'a>(object: &'a Struct, name: &str) -> Result<Option<&'a str>, NotText> {
    match object.fields.get(name).map(|value| &value.kind) {
        None => Ok(None),
        Some(Some(Kind::StringValue(text))) => Ok(Some(text)),
        Some(_) => Err(NotText),
    }
}

fn time_of(payload: &Struct, name: &str, not_number: Status, range: Status) -> Result<u64, Status> {
    match payload.fields.get(name).map(|value| &value.kind) {
        None => Ok(0),
        Some(Some(Kind::NumberValue(number))) if (0.0..u64::MAX as f64).contains(number) => Ok(*number as u64),
        Some(Some(Kind::NumberValue(_))) => Err(range),
        Some(_) => Err(not_number),
    }
}

fn audiences(payload: &Struct) -> Result<Vec<String>, Status> {
    let text = |value: &Value| match &value.kind {
        Some(Kind::StringValue(text)) => Ok(text.clone()),
        _ => Err(Status::AudienceNotText),
    };
    match payload.fields.get("aud") {
        None => Ok(Vec::new()),
        Some(Value { kind: Some(Kind::ListValue(list)) }) => list.values.iter().map(text).collect(),
        Some(one) => text(one).map(|text| vec![text]),
    }
}
