//! `[graceful-restart]`: how long routes outlive the session that brought them.

use std::time::Duration;

use super::reader::Section;
use super::report::Mistakes;

/// `[graceful-restart]` (RFC 4724, RFC 8538, RFC 9494).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GracefulRestart {
    /// Whether it is offered to neighbors at all.
    pub enabled: bool,
    /// How long neighbors shall keep our routes while we restart, in seconds, up to 4095 (12 bits); and how long we wait
    /// after a start for neighbors to say all they have.
    pub restart_time_secs: u16,
    /// The longest we keep the routes of a neighbor that restarts, and wait again for their confirmation once it is back.
    pub stale_time_secs: u32,
    /// How long routes stay after that as the last resort, in seconds, up to 2^24 - 1; 0: long-lived graceful restart is not
    /// offered.
    pub long_lived_stale_time_secs: u32,
    /// How long the routes of a neighbor stay that is lost without graceful restart, in seconds; 0: they go at once.
    pub loss_hold_time_secs: u32,
}

impl Default for GracefulRestart {
    fn default() -> Self {
        Self {
            enabled: true,
            restart_time_secs: 120,
            stale_time_secs: 360,
            long_lived_stale_time_secs: 0,
            loss_hold_time_secs: 120,
        }
    }
}

impl GracefulRestart {
    /// How long we wait after a start.
    pub fn restart_time(&self) -> Duration {
        Duration::from_secs(u64::from(self.restart_time_secs))
    }
}

/// Reads the section.
pub(super) fn read(section: Option<&Section<'_>>, mistakes: &mut Mistakes) -> GracefulRestart {
    let mut graceful = GracefulRestart::default();
    let Some(section) = section else { return graceful };
    if let Some(enabled) = section.boolean("enabled", mistakes) {
        graceful.enabled = enabled.into_inner();
    }
    // RFC 4724 §3: 12 bits. Ours: at least 1, because 0 would say that nothing is kept.
    if let Some(secs) = section.integer("restart-time", 1..=4095, "seconds", mistakes) {
        graceful.restart_time_secs = secs.into_inner() as u16;
    }
    let mut set = |key: &str, least: u32, most: u32, to: &mut u32| {
        if let Some(secs) = section.integer(key, least..=most, "seconds", mistakes) {
            *to = secs.into_inner();
        }
    };
    set("stale-time", 1, 86_400, &mut graceful.stale_time_secs);
    // RFC 9494 §3: 24 bits.
    set("long-lived-stale-time", 0, 0xff_ffff, &mut graceful.long_lived_stale_time_secs);
    set("loss-hold-time", 0, 86_400, &mut graceful.loss_hold_time_secs);
    if !graceful.enabled && graceful.long_lived_stale_time_secs > 0 {
        mistakes.add(
            section.has("long-lived-stale-time").unwrap_or(section.span()),
            "long-lived graceful restart goes with graceful restart (RFC 9494 §3), which is off here",
            "has no meaning without it",
            "take long-lived-stale-time away, or enabled = false",
        );
    }
    graceful
}
