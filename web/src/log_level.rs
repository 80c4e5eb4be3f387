//! How much the control plane that answers writes to its log. A change lasts until it ends.

use axum::Json;
use runtime::logging;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::Body;
use crate::problem::Problem;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(read, change))
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogLevel {
    /// A level for everything, and others for modules: `info`, `warn,pilot=debug`. Levels are `trace`, `debug`, `info`,
    /// `warn`, `error` and `off`.
    pub filter: String,
}

/// What the control plane writes to its log.
#[utoipa::path(get, path = "/control-plane/_log-level",
    responses((status = 200, description = "The filter in force", body = LogLevel)))]
async fn read() -> Json<LogLevel> {
    Json(LogLevel { filter: logging::filter() })
}

/// Changes what the control plane writes to its log, until it ends.
#[utoipa::path(put, path = "/control-plane/_log-level", request_body = LogLevel,
    responses((status = 200, description = "The filter in force", body = LogLevel)))]
async fn change(Body(wanted): Body<LogLevel>) -> Result<Json<LogLevel>, Problem> {
    if !logging::set_filter(&checked(&wanted)?) {
        return Err(Problem::unavailable("the log of this control plane is not its own to change"));
    }
    Ok(read().await)
}

/// The filter that is wanted, or which part of it is none.
pub(crate) fn checked(wanted: &LogLevel) -> Result<String, Problem> {
    let filter: Vec<&str> = wanted.filter.split(',').map(str::trim).collect();
    if let Some(wrong) = filter.iter().find(|directive| !is_directive(directive)) {
        let rule = format!("is no level ({}) and no module with one (pilot=debug)", LEVELS.join(", "));
        return Err(Problem::malformed(format!("filter: {wrong:?} {rule}")));
    }
    Ok(filter.join(","))
}

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];

fn is_directive(text: &str) -> bool {
    let (module, level) = text.rsplit_once('=').map_or((None, text), |(module, level)| (Some(module), level));
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b));
    LEVELS.contains(&level) && module.is_none_or(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_levels_and_modules_with_levels() {
        for good in ["info", "off", "pilot=debug", "pilot::discovery=trace"] {
            assert!(is_directive(good), "{good}");
        }
        for wrong in ["", "loud", "pilot", "pilot=", "=debug", "pilot=loud", "a b=info", "pilot[x]=info"] {
            assert!(!is_directive(wrong), "{wrong}");
        }
    }
}
