//! systemd: readiness, status line and watchdog (sd_notify(3)). Without systemd nothing happens here.

use std::time::Duration;

use sd_notify::NotifyState;

/// The service manager, where there is one.
pub struct Supervisor {
    watchdog: Option<tokio::time::Interval>,
}

impl Supervisor {
    /// Reads `NOTIFY_SOCKET` and `WATCHDOG_USEC`. The watchdog is fed from the main loop at half its time, so that a
    /// loop that hangs is seen.
    pub fn from_environment() -> Self {
        let watchdog = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()).map(|limit| {
            let mut interval = tokio::time::interval((limit / 2).max(Duration::from_millis(100)));
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            interval
        });
        Self { watchdog }
    }

    /// Sessions may come, requests are answered.
    pub fn ready(&self, status: &str) {
        notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A reload begins; [`Supervisor::ready`] ends it. With the time, which `Type=notify-reload` wants (systemd ≥ 253).
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now, NotifyState::Status("reads its configuration again")]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
    }

    /// The end begins, after a drain or not.
    pub fn stopping(&self, drained: bool) {
        let words = if drained { "left the fabric: its rows are gone" } else { "closes its sessions; rows and devices stay" };
        notify(&[NotifyState::Stopping, NotifyState::Status(words)]);
    }

    /// Resolves when the watchdog wants to be fed.
    pub async fn watchdog_due(&mut self) {
        match &mut self.watchdog {
            Some(interval) => {
                interval.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    /// The loop turns.
    pub fn feed(&self) {
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("cannot notify the service manager: {error}");
    }
}
