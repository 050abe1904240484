//! The log: to stderr for people, to journald with its fields under systemd. `EVPND_LOG` (or `RUST_LOG`) sets the level.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::control::{Event, Level};

/// Starts logging. Without `EVPND_LOG`: information and worse.
pub fn set_up() {
    let filter = EnvFilter::try_from_env("EVPND_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    // systemd tells with JOURNAL_STREAM that stderr is the journal; the native protocol keeps levels and fields.
    if std::env::var_os("JOURNAL_STREAM").is_some()
        && let Ok(journald) = tracing_journald::layer()
    {
        registry.with(journald).init();
        return;
    }
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    registry.with(layer).init();
}

/// Whether events of debug level are written.
pub fn is_verbose() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// Writes one event of the speaker.
pub fn event(event: &Event) {
    match event.level() {
        Level::Error => tracing::error!("{event}"),
        Level::Warn => tracing::warn!("{event}"),
        Level::Info => tracing::info!("{event}"),
        Level::Debug => tracing::debug!("{event}"),
    }
}
