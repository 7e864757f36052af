//! Traces: spans on their way to a collector, as OTLP over HTTP.

use anyhow::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing_subscriber::{Layer, Registry};

/// What is left at the end is waited for so long.
const END_MAX: Duration = Duration::from_secs(3);
/// A collector answers within this.
const EXPORT_MAX: Duration = Duration::from_secs(10);

/// Spans are collected here and sent from a thread of its own, some at a time.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends what the layer sees to a collector at `http://HOST:PORT`.
    ///
    /// # Errors
    /// When there can be no exporter.
    pub fn start(endpoint: &str) -> anyhow::Result<(Self, impl Layer<Registry> + Send + Sync + use<>)> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_MAX)
            .build()
            .with_context(|| format!("traces can't be sent to {endpoint}"))?;
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("evenkeel");
        }
        let exporter = Told { exporter, failing: AtomicBool::new(false) };
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("evenkeel"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_context_activation(false);
        Ok((Self(provider), layer))
    }

    /// Sends what is left, from a thread that may block, and gives up after a while.
    pub fn end(self) {
        let sent = std::thread::Builder::new().name("traces".to_string()).spawn(move || {
            if let Err(error) = self.0.shutdown_with_timeout(END_MAX) {
                tracing::warn!(%error, "traces lost");
            }
        });
        match sent.map(std::thread::JoinHandle::join) {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::warn!("traces lost"),
            Err(error) => tracing::warn!(%error, "traces lost"),
        }
    }
}

/// An exporter that says in the log when it begins to fail, and when that is over.
#[derive(Debug)]
struct Told {
    exporter: opentelemetry_otlp::SpanExporter,
    failing: AtomicBool,
}

impl SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let outcome = self.exporter.export(batch).await;
        let failed_before = self.failing.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Err(error) if !failed_before => tracing::warn!(%error, "traces not sent"),
            Ok(()) if failed_before => tracing::info!("traces sent again"),
            _ => {}
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
