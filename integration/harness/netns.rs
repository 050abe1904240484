//! Network namespaces and the processes in them. Both end with the value that stands for them, also when a test panics.
//!
//! Names carry the process id (`ei-PID-N-what`), so that tests run side by side, and so that what a killed run left
//! behind is known for dead and cleared away by the next one.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use super::raw;

/// Every name of ours begins so.
pub const PREFIX: &str = "ei-";

/// A network namespace of our own, deleted on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes it, with loopback up and IPv6 addresses free of duplicate detection (a test cannot wait two seconds for each).
    pub fn new(name: String) -> Self {
        run("ip", ["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace.sysctl("net/ipv6/conf/all/accept_dad", "0");
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0");
        namespace
    }

    /// Its name for `ip -n`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `program` with `arguments`, to be run inside.
    pub fn command<S: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let file = File::open(format!("/run/netns/{}", self.name)).expect("a namespace that we made");
        // SAFETY: between fork and exec only system calls that are safe there: setns and prctl.
        unsafe {
            command.pre_exec(move || {
                raw::enter(&file)?;
                // Whatever kills the test ends its daemons too.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        command
    }

    /// Runs `ip WORDS` inside and fails the test where it fails.
    pub fn ip(&self, words: &str) {
        run("ip", ["-n", &self.name].into_iter().chain(words.split_whitespace()));
    }

    /// Runs `ip -batch` inside over `lines`: one process for many changes, which matters under emulation.
    pub fn ip_batch(&self, lines: &str) {
        batch(self, "ip", lines);
    }

    /// Runs `bridge -batch` inside over `lines`.
    pub fn bridge_batch(&self, lines: &str) {
        batch(self, "bridge", lines);
    }

    /// Runs a command inside and gives its standard output; fails the test where it fails.
    pub fn output<S: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = S>) -> String {
        let output = self.command(program, arguments).output().unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
        succeeded(program, &output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Whether the command ends with 0 (its words are dropped).
    pub fn succeeds<S: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = S>) -> bool {
        let status = self.command(program, arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    /// Sets a value under /proc/sys as seen inside.
    pub fn sysctl(&self, path: &str, value: &str) {
        let (path, value) = (PathBuf::from("/proc/sys").join(path), value.to_owned());
        let shown = path.clone();
        raw::in_namespace(&self.name, move || std::fs::write(path, value))
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", shown.display()));
    }

    /// Starts a process inside whose output goes to `log`.
    pub fn spawn<S: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = S>, log: &Path) -> Process {
        let out = File::options().create(true).append(true).open(log).expect("a log file in our directory");
        let err = out.try_clone().expect("a second handle of the log");
        let child = self
            .command(program, arguments)
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        Process { child, program: program.to_owned(), log: log.to_owned() }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).stderr(Stdio::null()).status();
    }
}

fn batch(namespace: &Namespace, program: &str, lines: &str) {
    use std::io::Write;
    let mut child = Command::new(program)
        .args(["-n", namespace.name(), "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("a child of ours");
    assert!(
        output.status.success(),
        "{program} -batch in {}: {}\n{lines}",
        namespace.name(),
        String::from_utf8_lossy(&output.stderr)
    );
    written.expect("a pipe to the child").expect("the child reads its input");
}

/// Runs a command outside any namespace of ours; fails the test where it fails.
pub fn run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    succeeded(&format!("{command:?}"), &output);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn succeeded(what: &str, output: &Output) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what} failed ({}): {words}", output.status);
}

/// A running daemon: killed on drop, and then, where the test has failed, the end of its log is shown.
#[derive(Debug)]
pub struct Process {
    child: Child,
    program: String,
    log: PathBuf,
}

impl Process {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its exit status once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: a child that was not waited for yet, so the id is still its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Waits for the end until a deadline.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            match self.ended() {
                Some(status) => return Some(status),
                None if Instant::now() > end => return None,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- the last lines of {} ({}):", self.program, self.log.display());
            tail.iter().rev().for_each(|line| eprintln!("    {line}"));
        }
    }
}

/// Deletes namespaces of runs whose process is gone (a run that was killed cannot tidy up).
pub fn clear_dead() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status();
        }
    }
}
