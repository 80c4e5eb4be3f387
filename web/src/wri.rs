//! One name for one thing, wherever it is written down: `wri:virtualservice:default:reviews`. The API leads from it to
//! the path of the thing; whether that is there, and for the caller to see, is found out at that path.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use galley::Kind;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::At;
use crate::problem::Problem;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(resolve))
}

/// The name of a thing. The word of its kind is in small letters.
pub fn of(kind: &str, namespace: &str, name: &str) -> String {
    format!("wri:{}:{namespace}:{name}", kind.to_ascii_lowercase())
}

/// Leads to what a name stands for: `wri:KIND:NAMESPACE:NAME`, where KIND is one of configuration, `service` or `proxy`.
#[utoipa::path(get, path = "/_wri/{id}",
    params(("id" = String, Path, description = "`wri:virtualservice:default:reviews`")),
    responses((status = 307, description = "It is there", headers(("location" = String)))))]
async fn resolve(At(id): At<String>) -> Result<Response, Problem> {
    let location = [(header::LOCATION, path(&id)?)];
    Ok((StatusCode::TEMPORARY_REDIRECT, location).into_response())
}

fn path(id: &str) -> Result<String, Problem> {
    let wrong = || Problem::malformed(format!("{id:?} is no name; write wri:KIND:NAMESPACE:NAME"));
    let mut parts = id.splitn(4, ':');
    if parts.next() != Some("wri") {
        return Err(wrong());
    }
    let (Some(kind), Some(namespace), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let is_plain =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._*".contains(&b));
    // A part that is all dots would lead elsewhere.
    if ![namespace, name].iter().all(|word| is_plain(word) && word.bytes().any(|b| b != b'.')) {
        return Err(wrong());
    }
    match kind {
        "service" => Ok(format!("/api/v1/services/{namespace}/{name}")),
        "proxy" => Ok(format!("/api/v1/proxies/{name}.{namespace}")),
        kind => {
            let unknown =
                || Problem::not_found(format!("there is no kind {kind:?}; there are configuration, service and proxy"));
            let kind = Kind::named(kind).ok_or_else(unknown)?;
            Ok(format!("/api/v1/{}/{namespace}/{name}", kind.plural()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_the_path_of_its_thing_and_nowhere_else() {
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
