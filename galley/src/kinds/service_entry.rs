//! ServiceEntry: a service that no platform tells about (Istio `service_entry.proto`).

use ipnet::IpNet;
use registry::{Location, Protocol, Resolution};

use super::shared::{ExportTo, Labels};
use super::workload_entry::WorkloadEntry;

#[derive(Clone, Debug, PartialEq)]
pub struct ServiceEntry {
    /// Full names or wildcards, as written.
    pub hosts: Vec<String>,
    pub addresses: Vec<IpNet>,
    pub ports: Vec<EntryPort>,
    pub location: Location,
    pub resolution: Resolution,
    /// Given inline; empty when `workload_selector` is set.
    pub endpoints: Vec<WorkloadEntry>,
    /// WorkloadEntries of the same namespace that carry these labels are the endpoints.
    pub workload_selector: Option<Labels>,
    pub export_to: ExportTo,
    pub subject_alt_names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPort {
    pub number: u16,
    pub name: String,
    pub protocol: Protocol,
    /// Where endpoints listen unless they say otherwise; the port's number when not given.
    pub target_port: Option<u16>,
}
