//! Finds rules that no request can reach, because an earlier one takes all that they match.

use super::{HttpMatch, HttpRoute};
use crate::diagnostic::code;
use crate::reader::Object;

/// Warns of rules behind one that matches everything, and of matches that are there twice.
pub(super) fn check(o: &Object<'_>, routes: &[HttpRoute]) {
    let mut seen: Vec<&HttpMatch> = Vec::new();
    let mut taken = None;
    for (index, route) in routes.iter().enumerate() {
        if let Some(earlier) = taken {
            let message = format!("http[{index}] is never reached: http[{earlier}] matches every request");
            o.warn_at(code::UNREACHABLE_RULE, "http", message);
            return;
        }
        let repeated = route.matches.iter().filter(|condition| seen.iter().any(|other| same(other, condition))).count();
        if repeated > 0 && repeated == route.matches.len() {
            let message = format!("http[{index}] is never reached: earlier rules have the same matches");
            o.warn_at(code::UNREACHABLE_RULE, "http", message);
        }
        seen.extend(&route.matches);
        taken = route.matches.is_empty().then_some(index);
    }
}

/// Whether two conditions differ in nothing but their names.
fn same(a: &HttpMatch, b: &HttpMatch) -> bool {
    let anonymous =
        |condition: &HttpMatch| HttpMatch { name: String::new(), stat_prefix: String::new(), ..condition.clone() };
    anonymous(a) == anonymous(b)
}
