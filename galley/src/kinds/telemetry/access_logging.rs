//! Which requests are written down, and where.

use super::{WorkloadMode, condition, mode, providers};
use crate::reader::{Object, Place};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccessLogging {
    pub mode: WorkloadMode,
    /// Empty: those of the next wider scope.
    pub providers: Vec<String>,
    pub disabled: Option<bool>,
    /// In CEL; what it is not true of is not written.
    pub filter: Option<String>,
}

pub(super) fn read(place: &Place<'_>) -> Option<AccessLogging> {
    place.object(|o| AccessLogging {
        mode: o.read("match", |place| place.object(mode)).unwrap_or_default(),
        providers: providers(o),
        disabled: o.flag_if_set("disabled"),
        filter: o.read("filter", filter).flatten(),
    })
}

fn filter(place: &Place<'_>) -> Option<Option<String>> {
    place.object(|o: &Object<'_>| o.required("expression").and_then(|place| condition(&place)))
}
