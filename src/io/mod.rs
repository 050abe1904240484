//! Floor 5, rim: tokio, TCP, the control socket, signals, files, and the only clock.
//!
//! One thread runs everything here; the [`Speaker`] decides, this room carries out. Read [`run`], then `pump` in
//! `core.rs`, then `connection.rs`.

mod clock;
mod connection;
mod control;
mod core;
mod files;
mod keys;
mod listener;
mod logging;
mod metrics;
mod panics;
mod privilege;
mod security;
mod supervisor;

use std::path::Path;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::config::Config;
use crate::speaker::{KeptState, Speaker};

pub use files::read_config;
use files::read_with_keys;
pub use logging::set_up as set_up_logging;

/// Runs the daemon in the foreground until it is told to stop. Errors are start-up refusals: one sentence that says
/// what to do; nothing was made by then.
pub fn run(config_path: &Path) -> anyhow::Result<()> {
    panics::end_process();
    // As `show status` tells it to who may be somewhere else.
    let config_path = &std::path::absolute(config_path).with_context(|| format!("no file is named {}", config_path.display()))?;
    let (config, keys) = read_with_keys(config_path, &keys::Keys::default())?;
    privilege::guard_memory(&config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the event loop")?;
    LocalSet::new().block_on(&runtime, serve(config_path, config, keys))
}

async fn serve(config_path: &Path, config: Config, keys: keys::Keys) -> anyhow::Result<()> {
    // What concerns one device only is no reason not to begin: as at run time, its VNI is unusable and the rest runs.
    let needs_kernel = config.router.vtep.is_some();
    if needs_kernel {
        crate::kernel::check_environment(config.router.vtep)?;
    }
    let control_socket = control::bind(&config.control).await?;
    let listeners = listener::bind(&config, &keys)?;
    let metrics_server = metrics::bind(&config.metrics)?;
    let _taken = files::take_state_directory(&config.router.state_directory)?;
    let kept = files::load_state(&config.router.state_directory);
    let mut supervisor = supervisor::Supervisor::from_environment();

    // The signal handlers stand before the first wish goes to the kernel, so that no signal ends us half-way.
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;

    // Nothing below opens a port or a file that is not its own; the kernel's thread inherits what is left.
    let fence = privilege::give_up(&config, &keys, config_path)?;
    let shared = core::Shared::new(config, keys, fence, config_path, kept)?;
    if needs_kernel {
        shared.start_kernel()?;
    }
    let control_task = control::serve(shared.clone(), control_socket);
    listener::serve(&shared, listeners);
    metrics::serve(&shared, metrics_server);
    shared.with(|core, now| {
        core.speaker.set_verbose(logging::is_verbose());
        core.speaker.start(now);
    });
    supervisor.ready(&shared.describe());

    let outcome: anyhow::Result<&str> = loop {
        let deadline = shared.next_deadline();
        tokio::select! {
            () = shared.kernel_woken() => shared.take_kernel_events()?,
            () = shared.timer_changed() => {}
            () = clock::sleep_until(deadline) => shared.with(|core, now| core.speaker.handle_timeout(now)),
            () = supervisor.watchdog_due() => supervisor.feed(),
            () = shared.work_left() => {
                shared.with(|core, now| core.speaker.handle_work(now));
                tokio::task::yield_now().await;
            }
            _ = terminate.recv() => break Ok("SIGTERM"),
            _ = interrupt.recv() => break Ok("SIGINT"),
            _ = hang_up.recv() => {
                supervisor.reloading();
                shared.reload(None);
                supervisor.ready(&shared.describe());
            }
            () = shared.exit_wanted() => break Ok("drain"),
        }
    };
    supervisor.stopping(outcome.as_ref().is_ok_and(|why| *why == "drain"));
    let why = outcome?;
    let words = if why == "drain" { "drained".to_owned() } else { format!("{why}: rows and devices stay as they are") };
    shared.with(|core, now| core.speaker.shutdown(now, &words));
    shared.connections_closed(std::time::Duration::from_secs(3)).await;
    control_task.abort();
    shared.stop_kernel();
    Ok(())
}

/// A speaker for `config` whose hashes and jitter are keyed by the operating system's randomness.
fn new_speaker(config: Config, kept: KeptState, now: crate::base::Time) -> anyhow::Result<Speaker> {
    let mut seed = [0; 8];
    // SAFETY: the buffer is 8 octets long and lives through the call.
    let got = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    if got != 8 {
        bail!("the kernel gives no random numbers (getrandom): {}", std::io::Error::last_os_error());
    }
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    Ok(Speaker::new(config, kept, host_name.filter(|name| !name.is_empty()), u64::from_ne_bytes(seed), now))
}
