//! The daemons of a lab as processes: started inside a namespace with their output in a file, never left over, and
//! stopped only when they are surely the ones that were started.

#![allow(clippy::disallowed_methods, reason = "a lab waits in real time")]

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::failed;
use super::netns::Namespace;

/// How long a daemon may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// A process by its number and the time it started: numbers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since boot.
    pub started: u64,
}

impl ProcessId {
    /// Of a process that runs now.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may contain anything; what follows the last one is regular.
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some(Self { pid, started })
    }

    /// Whether this very process still runs.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal, only where it is still this very process.
    pub fn signal(self, signal: i32) {
        if self.is_alive() {
            // SAFETY: kill(2) takes two integers.
            unsafe { libc::kill(self.pid as libc::pid_t, signal) };
        }
    }
}

/// What to start.
#[derive(Debug)]
pub struct Launch<'a> {
    /// What people call it: the node's name.
    pub name: &'a str,
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub args: &'a [String],
    /// Where it runs.
    pub namespace: &'a Namespace,
    /// Where its output goes.
    pub log: &'a Path,
    /// Killed as soon as the thread that started it ends, and so with the lab, however that ends.
    pub dies_with_us: bool,
}

/// A process that was started by this one.
#[derive(Debug)]
pub struct Daemon {
    /// What people call it.
    pub name: String,
    /// Which process it is.
    pub id: ProcessId,
    /// Where its output goes.
    pub log: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts it. With `dies_with_us` the caller must be a thread that lives as long as the lab (PR_SET_PDEATHSIG of
    /// prctl(2) is about the thread and not about the process).
    pub fn start(launch: &Launch<'_>) -> io::Result<Self> {
        let context = |e| failed(format_args!("start {} for {}", launch.program.display(), launch.name), e);
        let log = File::create(launch.log).map_err(context)?;
        let mut command = Command::new(launch.program);
        command.args(launch.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        launch.namespace.enter_on_spawn(&mut command)?;
        let (dies, parent) = (launch.dies_with_us, std::process::id() as libc::pid_t);
        let host_name = launch.name.to_owned();
        // SAFETY: only async-signal-safe calls, on integers.
        unsafe {
            command.pre_exec(move || {
                // A session of its own: Ctrl-C is for the lab, which then ends its daemons in order.
                libc::setsid();
                super::netns::set_host_name(&host_name);
                if dies {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    if libc::getppid() != parent {
                        return Err(io::Error::from_raw_os_error(libc::ESRCH));
                    }
                }
                Ok(())
            });
        }
        let mut child = command.spawn().map_err(context)?;
        let Some(id) = ProcessId::of(child.id()) else {
            let status = child.wait()?;
            return Err(io::Error::other(format!("{} ended at once: {status}", launch.name)));
        };
        Ok(Self { name: launch.name.into(), id, log: launch.log.into(), child })
    }

    /// An error with the end of its log where it has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => anyhow::bail!("{} ended ({status}):\n{}", self.name, tail(&self.log, 12)),
            None => Ok(()),
        }
    }

    /// Asks it to end; [`Daemon::finish`] waits.
    pub fn terminate(&self) {
        self.id.signal(libc::SIGTERM);
    }

    /// Waits until it has ended, and kills it where it takes too long.
    pub fn finish(&mut self) {
        let deadline = Instant::now() + GRACE;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Ends processes that some other process started: SIGTERM, patience, SIGKILL.
pub fn end_all(processes: &[ProcessId]) {
    for process in processes {
        process.signal(libc::SIGTERM);
    }
    let deadline = Instant::now() + GRACE;
    while processes.iter().any(|process| process.is_alive()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    for process in processes {
        process.signal(libc::SIGKILL);
    }
}

/// The last lines of a file, each indented.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    let shown = &all[all.len().saturating_sub(lines)..];
    if shown.is_empty() {
        return format!("    ({} is empty)", path.display());
    }
    shown.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let me = ProcessId::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(!ProcessId { started: me.started + 1, ..me }.is_alive());
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        id.signal(libc::SIGKILL);
        child.wait().unwrap();
        assert!(!id.is_alive());
    }
}
