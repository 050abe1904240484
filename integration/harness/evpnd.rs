//! Our daemon under test, and `evpnctl` beside it.

use std::ffi::OsStr;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::time::Duration;

use serde_json::Value;

use super::fabric::{Family, Host, write_at};
use super::netns::Process;
use super::{ensure, patience, wait_until};

const EVPND: &str = env!("CARGO_BIN_EXE_evpnd");
const EVPNCTL: &str = env!("CARGO_BIN_EXE_evpnctl");

/// A configuration being written. What a test is about it adds itself, as the text an operator would write.
#[derive(Debug, Clone)]
pub struct Config {
    router: String,
    control: String,
    tables: String,
}

impl Config {
    /// A hypervisor with its VTEP on the underlay address of a family.
    pub fn hypervisor(host: &Host, asn: u32, family: Family) -> Self {
        let router = format!("asn = {asn}\nrouter-id = \"{}\"\nvtep = \"{}\"\n", host.v4(), host.address(family));
        Self { router, control: String::new(), tables: String::new() }
    }

    /// No VTEP and no neighbour.
    pub fn router_only(host: &Host, asn: u32) -> Self {
        let router = format!("asn = {asn}\nrouter-id = \"{}\"\n", host.v4());
        Self { router, control: String::new(), tables: String::new() }
    }

    /// A reflector for whoever calls from the underlay.
    pub fn reflector(host: &Host, asn: u32) -> Self {
        Self::router_only(host, asn)
            .table("neighbor", "listen-range = \"10.0.0.0/24\"\nroute-reflector-client = true\n")
            .table("neighbor", "listen-range = \"fd00::/64\"\nroute-reflector-client = true\n")
    }

    /// A neighbour; `more` holds further lines of its table.
    pub fn neighbor(self, address: IpAddr, more: &str) -> Self {
        self.table("neighbor", &format!("address = \"{address}\"\nconnect-retry = 1\n{more}"))
    }

    /// A VNI; `more` holds further lines of its table.
    pub fn vni(self, vni: u32, more: &str) -> Self {
        self.table("vni", &format!("id = {vni}\n{more}"))
    }

    /// Another line in `[router]`.
    pub fn router(mut self, line: &str) -> Self {
        self.router.push_str(line);
        self.router.push('\n');
        self
    }

    /// Another line in `[control]`.
    pub fn control(mut self, line: &str) -> Self {
        self.control.push_str(line);
        self.control.push('\n');
        self
    }

    /// One `[[name]]` table.
    pub fn table(mut self, name: &str, lines: &str) -> Self {
        let _ = write!(self.tables, "\n[[{name}]]\n{lines}\n");
        self
    }

    /// Whole sections at the end.
    pub fn text_after(mut self, text: &str) -> Self {
        self.tables.push('\n');
        self.tables.push_str(text);
        self
    }

    /// A `[name]` section; none where there are no lines.
    pub fn section(mut self, name: &str, lines: &str) -> Self {
        if !lines.is_empty() {
            let _ = write!(self.tables, "\n[{name}]\n{lines}\n");
        }
        self
    }

    fn text(&self, host: &Host) -> String {
        let directory = host.directory.display();
        format!(
            "[router]\n{}state-directory = \"{directory}/state\"\n\n[control]\nsocket = \"{directory}/evpnd.sock\"\n{}{}",
            self.router, self.control, self.tables
        )
    }
}

/// A running evpnd. Killed when dropped; [`Evpnd::stop`] is the gentle way.
#[derive(Debug)]
pub struct Evpnd<'a> {
    host: &'a Host,
    process: Process,
}

impl<'a> Evpnd<'a> {
    /// Starts it and waits until it answers on its control socket.
    #[track_caller]
    pub fn start(host: &'a Host, config: &Config) -> Self {
        write_at(&config_path(host), &config.text(host));
        Self::start_again(host)
    }

    /// Starts it with a whole file, to which only the paths of a test are added: its `[router]` comes first.
    #[track_caller]
    pub fn start_with_text(host: &'a Host, text: &str) -> Self {
        let directory = host.directory.display();
        let text = text.replacen("[router]\n", &format!("[router]\nstate-directory = \"{directory}/state\"\n"), 1);
        write_at(&config_path(host), &format!("{text}\n[control]\nsocket = \"{directory}/evpnd.sock\"\n"));
        Self::start_again(host)
    }

    /// Starts it with the configuration that stands.
    #[track_caller]
    pub fn start_again(host: &'a Host) -> Self {
        Self::answering(host, spawn(host, &Manner::default(), "evpnd.log"))
    }

    /// Starts it in another manner than as root with its words at the usual level.
    #[track_caller]
    pub fn start_as(host: &'a Host, config: &Config, manner: &Manner) -> Self {
        write_at(&config_path(host), &config.text(host));
        Self::answering(host, spawn(host, manner, "evpnd.log"))
    }

    #[track_caller]
    fn answering(host: &'a Host, process: Process) -> Self {
        let mut evpnd = Self { host, process };
        wait_until(&format!("evpnd on host {} answers", host.number), 15, || {
            if let Some(status) = evpnd.process.ended() {
                panic!("evpnd on host {} ended at once ({status}): {}", host.number, evpnd.process.log());
            }
            let output = evpnd.control(&["show", "status"]);
            ensure(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())
        });
        evpnd
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Puts another configuration in place (to be followed by a reload).
    pub fn rewrite(&self, config: &Config) {
        self.rewrite_text(&config.text(self.host));
    }

    /// Puts any text in place of the configuration.
    pub fn rewrite_text(&self, text: &str) {
        write_at(&config_path(self.host), text);
    }

    /// Runs `evpnctl` with these words.
    pub fn control(&self, words: &[&str]) -> Output {
        client(self.host, words)
    }

    /// Runs `evpnctl` with these words, which must succeed, and gives what it said.
    #[track_caller]
    pub fn say(&self, words: &[&str]) -> String {
        let output = self.control(words);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "evpnctl {words:?} on host {}: {} {out}{err}", self.host.number, output.status);
        out.into_owned()
    }

    /// The same with `--json`, parsed.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(words);
        let text = self.say(&all);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("evpnctl {all:?}: {error}: {text}"))
    }

    /// What `evpnctl --json show neighbors ADDRESS` says, or null where that neighbor is not known (yet).
    pub fn neighbor(&self, address: IpAddr) -> Value {
        self.one(&["--json", "show", "neighbors", &address.to_string()])
    }

    /// What `evpnctl --json show macs --mac MAC` says, or null where that MAC is not known (yet).
    pub fn mac(&self, mac: &str) -> Value {
        self.one(&["--json", "show", "macs", "--mac", mac])
    }

    fn one(&self, words: &[&str]) -> Value {
        let value: Value = serde_json::from_slice(&self.control(words).stdout).unwrap_or_default();
        value.get(0).cloned().unwrap_or_default()
    }

    /// Waits until the session to `address` is Established.
    #[track_caller]
    pub fn expect_established(&self, address: IpAddr) {
        wait_until(&format!("the session of host {} to {address}", self.host.number), 20, || {
            let neighbor = self.neighbor(address);
            ensure(neighbor["state"] == "established", || neighbor.to_string())
        });
    }

    /// Waits until the session to `address` is something else than Established.
    #[track_caller]
    pub fn expect_lost(&self, address: IpAddr) {
        wait_until(&format!("host {} sees the loss of {address}", self.host.number), 20, || {
            let neighbor = self.neighbor(address);
            ensure(neighbor["state"] != "established", || neighbor.to_string())
        });
    }

    /// A number of `evpnctl --json show status`, by its path such as `/macs/local`.
    #[track_caller]
    pub fn status(&self, path: &str) -> u64 {
        let status = self.json(&["show", "status"]);
        status.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number {path} in {status}"))
    }

    /// Waits until what it wants of the kernel and what the kernel has are one: `evpnctl diff` is empty and exits with 0.
    #[track_caller]
    pub fn expect_no_difference(&self) {
        wait_until(&format!("evpnctl diff on host {}", self.host.number), 15, || {
            let output = self.control(&["--json", "diff"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let empty = serde_json::from_str::<Value>(&text).is_ok_and(|value| value == Value::Array(Vec::new()));
            ensure(output.status.success() && empty, || format!("{} {text}", output.status))
        });
    }

    /// SIGTERM, and the exit status.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        self.process.signal(libc::SIGTERM);
        let limit = patience(10);
        self.process.wait(limit).unwrap_or_else(|| panic!("evpnd on host {} does not stop", self.host.number))
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.process.signal(libc::SIGHUP);
    }

    /// Waits for an end that something else brought about.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.process.wait(limit)
    }
}

/// Runs `evpnctl` with these words on a host, whether or not a daemon runs there.
pub fn client(host: &Host, words: &[&str]) -> Output {
    let socket = host.path("evpnd.sock");
    let mut command = host.namespace.command(EVPNCTL, ["--socket".as_ref(), socket.as_os_str()]);
    command.args(words).output().expect("evpnctl runs")
}

/// Runs evpnd where it must refuse, and gives its exit status and its words.
#[track_caller]
pub fn refused(host: &Host, config: &Config) -> (ExitStatus, String) {
    refused_as(host, config, &Manner::default())
}

/// The same for a daemon that is started in another manner.
#[track_caller]
pub fn refused_as(host: &Host, config: &Config, manner: &Manner) -> (ExitStatus, String) {
    write_at(&config_path(host), &config.text(host));
    let _ = std::fs::remove_file(host.path("refused.log"));
    let mut process = spawn(host, manner, "refused.log");
    let status = process.wait(patience(10));
    let words = process.log();
    (status.unwrap_or_else(|| panic!("evpnd should have refused, but it runs: {words}")), words)
}

/// How a daemon is started. The default: as root, with everything that root may.
#[derive(Debug, Default)]
pub struct Manner {
    /// As the user `nobody` with the three capabilities that the unit gives, and no way to more (setpriv(1)).
    pub unprivileged: bool,
    /// `EVPND_LOG=trace`.
    pub talkative: bool,
}

fn spawn(host: &Host, manner: &Manner, log: &str) -> Process {
    let config = config_path(host);
    let mut words: Vec<&OsStr> = Vec::new();
    if manner.talkative {
        words.extend(["env", "EVPND_LOG=trace"].map(OsStr::new));
    }
    let copy = host.path("evpnd");
    if manner.unprivileged {
        // The build directory may be closed to others than its owner.
        std::fs::copy(EVPND, &copy).expect("a copy of evpnd");
        give_to(&host.directory, NOBODY);
        let three = "-all,+net_admin,+net_raw,+net_bind_service";
        words.extend(["setpriv", "--reuid", NOBODY_TEXT, "--regid", NOBODY_TEXT, "--clear-groups"].map(OsStr::new));
        words.extend(["--inh-caps", three, "--ambient-caps", three, "--bounding-set", three].map(OsStr::new));
        words.extend(["--no-new-privs", "--pdeathsig", "keep"].map(OsStr::new));
        words.push(copy.as_os_str());
    } else {
        words.push(EVPND.as_ref());
    }
    words.extend(["--config".as_ref(), config.as_os_str()]);
    let program = words.remove(0).to_string_lossy().into_owned();
    host.namespace.spawn(&program, words, &host.path(log))
}

/// The number of the user and group that own nothing, here without their names: not every machine has them.
pub const NOBODY: u32 = 65534;
const NOBODY_TEXT: &str = "65534";

/// Gives a file or directory to a user and the group of that number.
pub fn give_to(path: &Path, id: u32) {
    std::os::unix::fs::chown(path, Some(id), Some(id)).unwrap_or_else(|error| panic!("chown {}: {error}", path.display()));
}

/// Runs `evpnctl` with these words as a user of no name who is a member of `groups` (numbers).
pub fn control_as_nobody(host: &Host, groups: &[u32], words: &[&str]) -> Output {
    let copy = host.path("evpnctl");
    std::fs::copy(EVPNCTL, &copy).expect("a copy of evpnctl");
    let socket = host.path("evpnd.sock");
    let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
    let groups = if groups.is_empty() { "--clear-groups".to_owned() } else { format!("--groups={}", groups.join(",")) };
    let mut command = host.namespace.command("setpriv", ["--reuid", NOBODY_TEXT, "--regid", NOBODY_TEXT, &groups]);
    command.args(["--no-new-privs".as_ref(), copy.as_os_str(), "--socket".as_ref(), socket.as_os_str()]);
    command.args(words).output().expect("setpriv runs")
}

fn config_path(host: &Host) -> PathBuf {
    host.path("evpnd.toml")
}
