//! A panic anywhere ends the process. Tokio would catch one in a task, and the others would go on with a core that was left
//! half-changed: a daemon that sends, withdraws and writes rows by a state that nobody can vouch for.
//!
//! Ended like this it is started again by its supervisor, and its neighbors take it for a restart: no NOTIFICATION goes out,
//! their graceful restart keeps our routes (RFC 4724 §4.2), rows and devices stand, and the next run adopts them.

use std::io::Write as _;

/// From here on a panic of any thread is told in the log and ends the process with SIGABRT: at once, so that no destructor
/// touches what was left, and with a core dump where [`guard_memory`](super::privilege::guard_memory) leaves one.
pub fn end_process() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name");
        let text = format!(
            "a mistake in evpnd, please report it: thread {name} {panic}\nthe process ends, so that nothing is done by a state that \
             may be wrong; rows and devices stay, and neighbors with graceful restart keep our routes until the next run"
        );
        if tracing::enabled!(tracing::Level::ERROR) {
            tracing::error!("{text}");
        } else {
            // Nothing is left to be done where this fails.
            let _ = writeln!(std::io::stderr(), "evpnd: {text}");
        }
        std::process::abort();
    }));
}
