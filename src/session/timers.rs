//! How long a session waits: the durations of RFC 4271 §10 and RFC 9687, and the jitter that keeps a fabric's sessions
//! from beating in step. The deadlines themselves stand in the states of `fsm.rs`; read that first.

use std::time::Duration;

use crate::base::Random;

/// Hold time while the peer's OPEN is awaited: 4 minutes (RFC 4271 §8.2.2, "large value").
pub const LARGE_HOLD: Duration = Duration::from_secs(240);
/// The same for a connection that the peer opened: it has nothing to wait for, and must not hold a place for long.
pub const INCOMING_HOLD: Duration = Duration::from_secs(60);
/// How long a connect attempt may stay without an answer: room for four SYNs (0, 1, 3 and 7 s).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest pause between two connect attempts, unless the configured one is longer.
pub const RETRY_LIMIT: Duration = Duration::from_secs(120);
/// A session that stood this long was a good one: the back-off starts over after it.
pub const STEADY: Duration = Duration::from_secs(60);
/// For so long after a connection was established the peer may still choose the other one of a collision: our KEEPALIVE is
/// on its way to it, and so may be what it sent before it arrived.
pub const YOUNG: Duration = Duration::from_secs(10);
/// The least send hold time: 8 minutes (RFC 9687 §6).
pub const SEND_HOLD_LEAST: Duration = Duration::from_secs(480);

/// The send hold time for a negotiated hold time: the greater of 8 minutes and twice the hold time; none where there
/// are no keepalives that would show a stuck peer (RFC 9687 §4.3, §6).
pub fn send_hold(hold_time_secs: u16) -> Option<Duration> {
    (hold_time_secs != 0).then(|| SEND_HOLD_LEAST.max(Duration::from_secs(2 * u64::from(hold_time_secs))))
}

/// The hold time as a duration; none where it is 0 (RFC 4271 §4.2).
pub fn hold(hold_time_secs: u16) -> Option<Duration> {
    (hold_time_secs != 0).then(|| Duration::from_secs(u64::from(hold_time_secs)))
}

/// The source of jitter and the memory of failed attempts of one peer.
#[derive(Debug, Clone)]
pub struct Timers {
    random: Random,
    failures: u32,
}

impl Timers {
    /// Timers whose jitter is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), failures: 0 }
    }

    /// The pause before the next KEEPALIVE: a third of the hold time, jittered; none where the hold time is 0
    /// (RFC 4271 §4.4, §10).
    pub fn keepalive(&mut self, hold_time_secs: u16) -> Option<Duration> {
        hold(hold_time_secs).map(|hold| self.jitter(hold / 3))
    }

    /// The pause before the next connect attempt: `connect_retry_secs` doubled with every failure in a row, at most
    /// [`RETRY_LIMIT`], jittered. 0 counts as 1 s, so that a peer that refuses is never asked in a busy loop.
    pub fn retry(&mut self, connect_retry_secs: u16) -> Duration {
        let base = Duration::from_secs(u64::from(connect_retry_secs.max(1)));
        let grown = base.saturating_mul(1 << self.failures.min(7));
        self.failures = self.failures.saturating_add(1);
        self.jitter(grown.min(RETRY_LIMIT.max(base)))
    }

    /// Starts the back-off over.
    pub fn reset_retry(&mut self) {
        self.failures = 0;
    }

    /// 75 % to 100 % of `whole` (RFC 4271 §10).
    fn jitter(&mut self, whole: Duration) -> Duration {
        let micros = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
        let quarter = micros / 4;
        Duration::from_micros(micros - quarter + self.random.below(quarter + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_double_up_to_the_limit_within_the_jitter() {
        let mut timers = Timers::new(1);
        for whole in [5, 10, 20, 40, 80, 120, 120, 120, 120, 120] {
            let pause = timers.retry(5);
            assert!(pause >= Duration::from_millis(whole * 750) && pause <= Duration::from_secs(whole), "{pause:?} of {whole}");
        }
        timers.reset_retry();
        assert!(timers.retry(5) <= Duration::from_secs(5));
    }

    #[test]
    fn a_longer_configured_pause_is_kept_and_zero_is_a_second() {
        let mut timers = Timers::new(2);
        assert!(timers.retry(300) >= Duration::from_secs(225));
        assert!(timers.retry(300) >= Duration::from_secs(225));
        timers.reset_retry();
        assert!(timers.retry(0) >= Duration::from_millis(750));
    }

    #[test]
    fn keepalives_are_a_third_of_the_hold_time_within_the_jitter() {
        let mut timers = Timers::new(3);
        for _ in 0..1000 {
            let pause = timers.keepalive(90);
            assert!(pause.is_some_and(|pause| pause >= Duration::from_millis(22_500) && pause <= Duration::from_secs(30)));
        }
        assert_eq!(timers.keepalive(0), None);
        assert_eq!(send_hold(90), Some(Duration::from_secs(480)));
        assert_eq!(send_hold(300), Some(Duration::from_secs(600)));
        assert_eq!(send_hold(0), None);
    }
}
