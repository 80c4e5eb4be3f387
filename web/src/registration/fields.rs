//! The fields of a request's body, whatever form they come in.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header;
use axum::{Form, Json};
use serde_json::{Map, Value};

use crate::problem::Problem;

pub enum Fields {
    /// An HTML form. Of a name that comes twice the first counts.
    Form(Vec<(String, String)>),
    Json(Map<String, Value>),
}

impl Fields {
    /// A field that is there and not empty.
    pub fn text(&self, name: &str) -> Option<String> {
        let text = match self {
            Self::Form(pairs) => pairs.iter().find(|(key, _)| key == name)?.1.clone(),
            Self::Json(object) => match object.get(name)? {
                Value::String(text) => text.clone(),
                Value::Null => return None,
                other => other.to_string(),
            },
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// The tags; `None` when they are no JSON. Absent they are an empty object.
    pub fn tags(&self) -> Option<Value> {
        match self {
            Self::Form(pairs) => match pairs.iter().find(|(key, _)| key == "tags") {
                Some((_, text)) => serde_json::from_str(text).ok(),
                None => Some(Value::Object(Map::new())),
            },
            Self::Json(object) => match object.get("tags") {
                Some(Value::String(text)) => serde_json::from_str(text).ok(),
                Some(tags) => Some(tags.clone()),
                None => Some(Value::Object(Map::new())),
            },
        }
    }

    /// An address as this kind of body may give it.
    pub fn address(&self, text: &str) -> Option<IpAddr> {
        match self {
            Self::Form(_) => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Self::Json(_) => text.parse().ok(),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    /// A body of another type has no fields.
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/x-www-form-urlencoded" => {
                let form = Form::from_request(request, state).await.map_err(Problem::malformed)?;
                Ok(Self::Form(form.0))
            }
            "multipart/form-data" => {
                let parts = Multipart::from_request(request, state).await.map_err(Problem::malformed)?;
                Ok(Self::Form(read(parts).await.map_err(Problem::malformed)?))
            }
            "application/json" => {
                let object = Json::from_request(request, state).await.map_err(Problem::malformed)?;
                Ok(Self::Json(object.0))
            }
            _ => Ok(Self::Form(Vec::new())),
        }
    }
}

async fn read(mut parts: Multipart) -> Result<Vec<(String, String)>, axum::extract::multipart::MultipartError> {
    let mut pairs = Vec::new();
    while let Some(part) = parts.next_field().await? {
        let name = part.name().unwrap_or_default().to_owned();
        // A file is no field.
        if part.file_name().is_none() {
            pairs.push((name, part.text().await?));
        }
    }
    Ok(pairs)
}
