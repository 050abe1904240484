//! Ctrl-C, SIGTERM and SIGHUP end a lab in order: a handler only sets a flag, every wait of the lab looks at it, and the
//! ordinary way out then cleans up. Also the one place that sleeps.

#![allow(clippy::disallowed_methods, reason = "a lab waits in real time")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

static RECEIVED: AtomicI32 = AtomicI32::new(0);

extern "C" fn note(signal: libc::c_int) {
    RECEIVED.store(signal, Ordering::Relaxed);
}

/// Catches SIGINT, SIGTERM and SIGHUP from now on, and ignores SIGPIPE so that a closed pager ends in an error.
pub fn install() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: a zeroed sigaction is a valid one, the handler only stores to an atomic, and no SA_RESTART is asked,
        // so that a blocking call returns EINTR.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as *const () as libc::sighandler_t;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// The signal that asked the lab to end, if any did.
pub fn received() -> Option<i32> {
    Some(RECEIVED.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// An error where a signal asked the lab to end: for `?` in loops.
pub fn check() -> io::Result<()> {
    match received() {
        Some(signal) => Err(io::Error::new(io::ErrorKind::Interrupted, Interrupted { signal })),
        None => Ok(()),
    }
}

/// Why a lab ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped by signal {signal}")]
pub struct Interrupted {
    /// SIGINT, SIGTERM or SIGHUP.
    pub signal: i32,
}

/// Sleeps, and wakes early with an error where the lab was asked to end.
pub fn sleep(duration: Duration) -> io::Result<()> {
    let deadline = Instant::now() + duration;
    loop {
        check()?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(20)));
    }
}

/// Looks again every 5 ms until `ready` gives something; `None` after `timeout`.
pub fn wait_until<T>(timeout: Duration, mut ready: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<Option<T>> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = ready()? {
            return Ok(Some(value));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        sleep(Duration::from_millis(5))?;
    }
}

/// Waits until `socket` has something to read. False after `timeout`, or when a signal came.
pub fn wait_readable(socket: &impl AsFd, timeout: Duration) -> io::Result<bool> {
    wait_any(&[socket.as_fd().as_raw_fd()], timeout).map(|ready| ready.contains(&true))
}

/// Waits until one of the descriptors has something to read, and says which. All false after `timeout` or a signal.
pub fn wait_any(descriptors: &[libc::c_int], timeout: Duration) -> io::Result<Vec<bool>> {
    let mut list: Vec<libc::pollfd> =
        descriptors.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().min(3600) as libc::time_t,
        tv_nsec: libc::c_long::from(timeout.subsec_nanos().min(999_999_999) as i32),
    };
    // SAFETY: `list` holds `list.len()` entries and outlives the call; no signal mask is given.
    let ready = unsafe { libc::ppoll(list.as_mut_ptr(), list.len() as libc::nfds_t, &timeout, std::ptr::null()) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(vec![false; list.len()]) } else { Err(error) };
    }
    Ok(list.iter().map(|entry| entry.revents != 0).collect())
}
