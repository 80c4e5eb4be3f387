//! Distributed tracing (Envoy, HTTP connection manager `tracing`): whether a request is traced, whose trace it joins,
//! what is told of it, and how that reaches a collector without ever holding a request up.

mod b3;
mod context;
mod export;
mod otlp;
mod reason;
mod settings;
mod span;
mod w3c;
mod zipkin;

pub use export::{Exporters, is_taken, otlp_request};
pub use reason::RequestIds;
pub use settings::{
    Decorator, Destination, Otlp, Propagation, Provider, RouteTracing, Sampling, Tag, TagValue, Tracing, Zipkin,
};
pub use span::{Active, begin};

#[cfg(test)]
mod tests;
