//! Telemetry of the mesh without anything else installed: takes the reports of proxies, and keeps them as a graph of
//! services and as time series, in memory and bounded.

mod ask;
mod edge;
mod export;
mod graph;
mod intake;
mod mixer;
mod names;
mod pool;
mod series;
mod service;
mod snapshot;
mod tap;
mod traces;
mod unplaced;

pub use ask::AskError;
pub use export::{InfluxAuth, InfluxDb, Otlp, Sink, SinkKind, SinkStatus, StatsD, TagStyle};
pub use graph::{EdgeView, FailingEdge, Graph, GraphQuery, Latency, NodeView, ReadyEndpoints, Reporting, namespace};
pub use intake::{Reporter, Seen};
pub use mixer::{Mixer, Options};
pub use names::{id, workload_id};
pub use series::{SeriesQuery, SeriesView, TrafficSeries};
pub use service::{Admission, TelemetryService};
pub use snapshot::Keeper;
pub use tap::{TapQuery, TapStream, TappedView};
pub use traces::{SpanView, TraceQuery, TraceSummary, TraceView};

#[cfg(test)]
mod tests;
