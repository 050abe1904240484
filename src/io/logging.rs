//! The log: to stderr for people, to journald with its fields under systemd. `EVPND_LOG` (or `RUST_LOG`) sets the level.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use serde_json::Value;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::control::{Event, Level};

/// The log goes to journald: events have fields there.
static JOURNAL: OnceLock<()> = OnceLock::new();

/// Starts logging. Without `EVPND_LOG`: information and worse.
pub fn set_up() {
    let filter = EnvFilter::try_from_env("EVPND_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    // systemd tells with JOURNAL_STREAM that stderr is the journal; the native protocol keeps levels and fields.
    if is_the_journal()
        && let Ok(journald) = tracing_journald::layer()
    {
        registry.with(journald.with_field_prefix(None)).init();
        let _ = JOURNAL.set(());
        return;
    }
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    registry.with(layer).init();
}

/// Whether stderr is the journal, and not only that of some parent: the variable is inherited also where stderr is not, so that it
/// says which file it means (systemd.exec(5)).
fn is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from);
    stderr.and_then(|file| file.metadata()).is_ok_and(|found| names(&stream, found.dev(), found.ino()))
}

/// Whether the `device:inode` of JOURNAL_STREAM is this file.
fn names(stream: &str, device: u64, inode: u64) -> bool {
    stream.split_once(':').is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

/// Whether events of debug level are written.
pub fn is_verbose() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// Writes one event of the speaker: a sentence, and for the journal what it is about in fields to search by.
pub fn event(event: &Event) {
    if JOURNAL.get().is_none() {
        return match event.level() {
            Level::Error => tracing::error!("{event}"),
            Level::Warn => tracing::warn!("{event}"),
            Level::Info => tracing::info!("{event}"),
            Level::Debug => tracing::debug!("{event}"),
        };
    }
    let Subject { name, neighbor, vni, mac } = &subject(event);
    let (neighbor, vni, mac) = (neighbor.as_deref(), vni.as_deref(), mac.as_deref());
    match event.level() {
        Level::Error => tracing::error!(evpnd_event = name, neighbor, vni, mac, "{event}"),
        Level::Warn => tracing::warn!(evpnd_event = name, neighbor, vni, mac, "{event}"),
        Level::Info => tracing::info!(evpnd_event = name, neighbor, vni, mac, "{event}"),
        Level::Debug => tracing::debug!(evpnd_event = name, neighbor, vni, mac, "{event}"),
    }
}

/// What an event is about, as `evpnctl monitor --json` has it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Subject {
    name: String,
    neighbor: Option<String>,
    vni: Option<String>,
    mac: Option<String>,
}

fn subject(event: &Event) -> Subject {
    let Ok(Value::Object(mut keys)) = serde_json::to_value(event) else { return Subject::default() };
    let mut text = |key| match keys.remove(key)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    Subject { name: text("event").unwrap_or_default(), neighbor: text("neighbor"), vni: text("vni"), mac: text("mac") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{MacAddr, Vni};

    #[test]
    fn the_journal_gets_what_an_event_is_about() {
        let event = Event::MacGone {
            vni: Vni::new(100).unwrap(),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            place: crate::control::Place::Port("tap1".to_owned()),
        };
        let wanted = Subject {
            name: "mac_gone".to_owned(),
            neighbor: None,
            vni: Some("100".to_owned()),
            mac: Some("02:00:00:00:00:01".to_owned()),
        };
        assert_eq!(subject(&event), wanted);
        let event = Event::EndOfRib { neighbor: [10, 0, 0, 2].into(), routes: 3 };
        assert_eq!(subject(&event).neighbor.as_deref(), Some("10.0.0.2"));
    }

    #[test]
    fn the_stream_of_a_parent_is_not_ours() {
        assert!(names("8:4711", 8, 4711));
        for other in ["8:4712", "9:4711", "4711", "8:", "", "a:b"] {
            assert!(!names(other, 8, 4711), "{other}");
        }
    }
}
