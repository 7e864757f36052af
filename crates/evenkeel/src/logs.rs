//! The log, on standard error: events with fields, as lines for people or as objects for programs. Spans are not logged;
//! they go to whoever collects [traces](crate::traces).

use crate::configuration::{Configuration, LogFormat};
use crate::traces::Traces;
use anyhow::Context;
use evenkeel_engine::SPAN_TARGET;
use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// What is logged of a server, and its traces where somebody collects them.
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    traces: Option<Traces>,
}

/// A filter in the syntax of `tracing_subscriber`'s `EnvFilter`, but for words that are neither a level nor `target=level`:
/// there they would be targets, and a level that is misspelled would log nothing.
///
/// # Errors
/// What it takes instead.
pub fn filter(text: &str) -> Result<EnvFilter, String> {
    const TAKES: &str = "it takes a level, or levels by target such as info,evenkeel_wire=debug";
    for word in text.split(',').map(str::trim) {
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        if !is_level && !word.contains(['=', '[']) {
            let near = evenkeel_model::did_you_mean(word, LEVELS);
            return Err(near.map_or_else(|| TAKES.to_string(), |near| format!("did you mean {near}?")));
        }
    }
    EnvFilter::builder().parse(text).map_err(|error| format!("{error}; {TAKES}"))
}

impl Logs {
    /// Logs as the configuration wants it, for the rest of the process.
    ///
    /// # Errors
    /// When traces can't be exported, or there is a log already.
    pub fn start(configuration: &Configuration) -> anyhow::Result<Self> {
        let wanted = filter(&configuration.log_level).map_err(anyhow::Error::msg)?;
        let (filter, handle) = reload::Layer::new(wanted);
        let no_spans = filter_fn(|metadata| metadata.target() != SPAN_TARGET).with_max_level_hint(LevelFilter::TRACE);
        let written: AnyLayer = match configuration.log_format {
            LogFormat::Text => text().with_filter(filter.and(no_spans)).boxed(),
            LogFormat::Json => {
                let json = layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
                json.with_writer(std::io::stderr).with_filter(filter.and(no_spans)).boxed()
            }
        };
        let mut layers = vec![written];
        let traces = match &configuration.otlp_endpoint {
            Some(endpoint) => {
                let (traces, spans) = Traces::start(endpoint)?;
                let only_spans =
                    filter_fn(|metadata| metadata.target() == SPAN_TARGET).with_max_level_hint(LevelFilter::TRACE);
                layers.push(spans.with_filter(only_spans).boxed());
                Some(traces)
            }
            None => None,
        };
        Registry::default().with(layers).try_init().context("there is a log already")?;
        if configuration.log_format == LogFormat::Json {
            log_panics();
        }
        Ok(Self { filter: handle, traces })
    }

    /// Logs something else from now on.
    pub fn change(&self, filter: EnvFilter) {
        if let Err(error) = self.filter.reload(filter) {
            tracing::error!(%error, "the log's filter could not be changed");
        }
    }

    /// Sends what is left of the traces, and waits for that, but not for long.
    pub fn end(self) {
        if let Some(traces) = self.traces {
            traces.end();
        }
    }
}

/// What may not be missed goes to standard error, for commands that serve nobody.
pub fn warnings() {
    // A log that is there already has more.
    let _ = Registry::default().with(text().with_filter(LevelFilter::WARN)).try_init();
}

fn text<S>() -> impl Layer<S> + Send + Sync
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr)
}

/// A panic is a line of the log like any other, where every line is an object.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload_as_str().unwrap_or_default();
        let place = panic.location().map(ToString::to_string);
        tracing::error!(payload, place, "panic");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_level_is_no_target() {
        for right in ["info", "INFO", "off", "info,evenkeel_wire=debug", "evenkeel_http=trace"] {
            assert!(filter(right).is_ok(), "{right}");
        }
        assert_eq!(filter("inof").unwrap_err(), "did you mean info?");
        for wrong in ["", "loud", "info,,", "evenkeel_wire=loud"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }
}
