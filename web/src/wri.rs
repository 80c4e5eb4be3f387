//! One name for one thing, wherever it is written down: `wri:virtualservice:default:reviews`. The API answers with the
//! thing itself, to whoever may see it at its own path.

use axum::extract::State as Shared;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use citadel::{Verb, Wish};
use galley::{Kind, ObjectKey};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::extract::At;
use crate::objects::ObjectView;
use crate::problem::Problem;
use crate::state::State;
use crate::{proxies, services};

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(resolve))
}

/// The name of a thing. The word of its kind is in small letters.
pub fn of(kind: &str, namespace: &str, name: &str) -> String {
    format!("wri:{}:{namespace}:{name}", kind.to_ascii_lowercase())
}

/// What a name stands for: `wri:KIND:NAMESPACE:NAME`, where KIND is one of configuration, `service` or `proxy`. The
/// answer is that of its own path, which `content-location` says.
#[utoipa::path(get, path = "/_wri/{id}",
    params(("id" = String, Path, description = "`wri:virtualservice:default:reviews`")),
    responses((status = 200, description = "The object, service or proxy", body = serde_json::Value,
        headers(("content-location" = String)))))]
async fn resolve(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    At(id): At<String>,
) -> Result<Response, Problem> {
    let parsed = Name::parse(&id)?;
    let place = parsed.path();
    let Name { kind, namespace, name } = parsed;
    let of_kind = if let Thing::Object(kind) = kind { Some(kind.as_str()) } else { None };
    let wish = Wish { verb: Verb::Read, kind: of_kind, namespace: Some(namespace) };
    known.access().check(&wish).map_err(Problem::forbidden)?;
    let thing = match kind {
        Thing::Object(kind) => {
            let key = ObjectKey::new(kind, namespace, name);
            let missing = || Problem::not_found(format!("there is no {key}"));
            let object = state.galley.get(kind, namespace, name).ok_or_else(missing)?;
            Json(ObjectView::of(&object)).into_response()
        }
        Thing::Service => Json(services::one(&state, namespace, name)?).into_response(),
        Thing::Proxy => Json(proxies::one(&state, &known, &format!("{name}.{namespace}"))?).into_response(),
    };
    let place = HeaderValue::from_str(&place).map_err(Problem::internal)?;
    Ok(([(header::CONTENT_LOCATION, place)], thing).into_response())
}

/// A name in its parts.
struct Name<'i> {
    kind: Thing,
    namespace: &'i str,
    name: &'i str,
}

enum Thing {
    Service,
    Proxy,
    Object(Kind),
}

impl<'i> Name<'i> {
    fn parse(id: &'i str) -> Result<Self, Problem> {
        let wrong = || Problem::malformed(format!("{id:?} is no name; write wri:KIND:NAMESPACE:NAME"));
        let mut parts = id.splitn(4, ':');
        let (Some("wri"), Some(kind), Some(namespace), Some(name)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let is_plain =
            |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._*".contains(&b));
        // A part that is all dots would lead elsewhere.
        if ![namespace, name].iter().all(|word| is_plain(word) && word.bytes().any(|b| b != b'.')) {
            return Err(wrong());
        }
        let unknown =
            || Problem::not_found(format!("there is no kind {kind:?}; there are configuration, service and proxy"));
        let kind = match kind {
            "service" => Thing::Service,
            "proxy" => Thing::Proxy,
            kind => Thing::Object(Kind::named(kind).ok_or_else(unknown)?),
        };
        Ok(Self { kind, namespace, name })
    }

    fn path(&self) -> String {
        let Self { kind, namespace, name } = self;
        match kind {
            Thing::Service => format!("/api/v1/services/{namespace}/{name}"),
            Thing::Proxy => format!("/api/v1/proxies/{name}.{namespace}"),
            Thing::Object(kind) => format!("/api/v1/{}/{namespace}/{name}", kind.plural()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_the_path_of_its_thing_and_nowhere_else() {
        let path = |id: &str| Name::parse(id).map(|name| name.path());
        assert_eq!(path(&of("VirtualService", "shop", "a")).unwrap(), "/api/v1/virtualservices/shop/a");
        assert_eq!(path("wri:service:default:api.example.com").unwrap(), "/api/v1/services/default/api.example.com");
        assert_eq!(path("wri:proxy:default:reviews-v1").unwrap(), "/api/v1/proxies/reviews-v1.default");
        for wrong in
            ["", "wri:service:a", "x:service:a:b", "wri:service:..:b", "wri:service:a:b/../c", "wri:nothing:a:b"]
        {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }
}
