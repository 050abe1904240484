//! Hooks of hypervisors: `evpnctl libvirt-hook` and `evpnctl opennebula-hook`, called with the arguments and documents of
//! the platform (docs/platforms/). A VNI is held for as long as a guest is there, the guest's MACs are claimed when it
//! begins and released when it ends.
//!
//! A platform takes a hook's failure for the guest's. So whatever goes wrong is said on standard error and in the system's log,
//! and the exit code is 0, but where a guest would have no network at all.

mod incoming;
mod libvirt;
mod opennebula;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use evpnd::base::{MacAddr, Vni};
use evpnd::control::{Reply, Request, VniAdd};

use crate::arguments::Cli;
use crate::daemon::{Daemon, Failure};

use incoming::Mark;
pub(crate) use libvirt::libvirt;
pub(crate) use opennebula::opennebula;

/// How long one answer of the daemon may take: the platform waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a VNI may take until it is announced.
const READY: Duration = Duration::from_secs(10);
/// How long its device may be unusable before it counts as such: the platform may be at work at it.
const UNUSABLE: Duration = Duration::from_secs(3);
/// The longest document that is read, octets.
const DOCUMENT: u64 = 4 << 20;
/// How many complaints of one call are told: a guest may have thousands of interfaces, and the log may be slow.
const COMPLAINTS: u32 = 20;
/// How many names one complaint tells.
const NAMES: usize = 5;

/// One network interface of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Nic {
    pub mac: Option<MacAddr>,
    /// The bridge it is plugged into.
    pub bridge: Option<String>,
    /// The platform's name of the network.
    pub network: Option<String>,
    /// The guest's port, once it is there.
    pub port: Option<String>,
    /// Where the document says it.
    pub vni: Option<Vni>,
}

/// A hook under way.
pub(crate) struct Hook<'a> {
    cli: &'a Cli,
    /// What complaints begin with.
    name: String,
    /// The lines of the map file: bridge or network, and its VNI or that it has none.
    map: Vec<(String, Option<Vni>)>,
    /// The map file says that `br100` says nothing of a VNI.
    names_say_nothing: bool,
    /// The daemon did not answer once, in words: it is not waited for again.
    silence: RefCell<Option<String>>,
    /// How many complaints were told.
    complaints: Cell<u32>,
}

impl<'a> Hook<'a> {
    pub(crate) fn new(cli: &'a Cli, name: String, map: &Path) -> Self {
        let mut hook = Self {
            cli,
            name,
            map: Vec::new(),
            names_say_nothing: false,
            silence: RefCell::default(),
            complaints: Cell::default(),
        };
        match std::fs::read_to_string(map) {
            Ok(text) => hook.read_map(map, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => hook.complain(&format!("cannot read {}: {error}", map.display())),
        }
        hook
    }

    /// `NAME VNI` or `NAME none` on each line, `* none` for all that are not in it; `#` begins a remark.
    fn read_map(&mut self, path: &Path, text: &str) {
        for (number, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                ["*", "none"] => self.names_say_nothing = true,
                [name, "none"] => self.map.push(((*name).to_owned(), None)),
                [name, vni] if *name != "*" && vni.parse::<Vni>().is_ok() => {
                    self.map.push(((*name).to_owned(), vni.parse().ok()))
                }
                _ => {
                    let place = format!("{}:{}", path.display(), number + 1);
                    self.complain(&format!("{place}: expected a bridge or network and its VNI or none, or * none"));
                }
            }
        }
    }

    /// Says it to whoever called, and to the system's log.
    pub(crate) fn complain(&self, text: &str) {
        let told = self.complaints.get();
        self.complaints.set(told.saturating_add(1));
        let text = match told {
            ..COMPLAINTS => text,
            COMPLAINTS => "there is more to complain of, which is not told",
            _ => return,
        };
        let text = format!("evpnctl {}: {text}", self.name);
        let _ = writeln!(std::io::stderr(), "{text}");
        // daemon.warning (RFC 5424 §6.2.1: 3 × 8 + 4), under the name of the daemon, as the scripts have it: one place to look.
        let line = format!("<28>evpnd: {text}");
        let _ = UnixDatagram::unbound().and_then(|log| {
            log.set_write_timeout(Some(Duration::from_millis(200)))?;
            log.send_to(line.as_bytes(), "/dev/log")
        });
    }

    /// The document on standard input.
    pub(crate) fn document(&self) -> String {
        let mut octets = Vec::new();
        if let Err(error) = std::io::stdin().take(DOCUMENT).read_to_end(&mut octets) {
            self.complain(&format!("cannot read the document: {error}"));
        }
        String::from_utf8_lossy(&octets).into_owned()
    }

    fn daemon(&self) -> Result<Daemon, String> {
        if let Some(why) = &*self.silence.borrow() {
            return Err(why.clone());
        }
        Daemon::connect(self.cli, Some(PATIENCE)).map_err(words)
    }

    /// The daemon was asked all that was to be asked.
    fn leave(&self, daemon: &Daemon) {
        *self.silence.borrow_mut() = daemon.silence().map(str::to_owned);
    }

    /// The VNI of an interface: as its document says it, as the map has its bridge or network, as the daemon has its bridge, as
    /// the bridge is called (`br100`). `None`: none of ours.
    fn vni_of(&self, nic: &Nic, daemon: Option<&mut Daemon>) -> Option<Vni> {
        let mapped = |name: &Option<String>| {
            let name = name.as_deref()?;
            self.map.iter().find(|(known, _)| known == name).map(|(_, vni)| *vni)
        };
        if nic.vni.is_some() {
            return nic.vni;
        }
        if let Some(said) = mapped(&nic.bridge).or_else(|| mapped(&nic.network)) {
            return said;
        }
        let bridge = nic.bridge.as_deref()?;
        daemon.and_then(|daemon| vni_of_bridge(daemon, bridge)).or_else(|| self.vni_by_name(bridge))
    }

    /// `br100` is VNI 100. `br0` is the bridge of hosts that have one.
    fn vni_by_name(&self, bridge: &str) -> Option<Vni> {
        let number = bridge.strip_prefix("br").filter(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))?;
        if self.names_say_nothing || number.bytes().all(|b| b == b'0') {
            return None;
        }
        number.parse().map_err(|_| self.complain(&format!("bridge {bridge}: {number} is not a VNI (1 to 16777215)"))).ok()
    }

    /// The interfaces that are ours with their VNIs; of each bridge and network the daemon is asked once.
    fn ours<'n>(&self, nics: &'n [Nic], mut daemon: Option<&mut Daemon>) -> Vec<(&'n Nic, Vni)> {
        let mut known = BTreeMap::new();
        let found = nics.iter().filter_map(|nic| {
            let place = (nic.vni, nic.bridge.as_deref(), nic.network.as_deref());
            let vni: Option<Vni> = *known.entry(place).or_insert_with(|| self.vni_of(nic, daemon.as_deref_mut()));
            Some((nic, vni?))
        });
        found.collect()
    }

    /// Has the VNIs of a guest's interfaces there and announced, held by `caller`; with `existing` on the devices that the platform
    /// makes and removes. Whether the guest can work.
    pub(crate) fn hold(&self, caller: &str, nics: &[Nic], existing: bool) -> bool {
        let mut daemon = self.daemon();
        let ours = self.ours(nics, daemon.as_mut().ok());
        // Of two bridges the first. Where it is the platform's, its name is the platform's matter too.
        let wanted: BTreeMap<Vni, Option<&String>> =
            ours.iter().rev().map(|(nic, vni)| (*vni, nic.bridge.as_ref().filter(|_| !existing))).collect();
        match &mut daemon {
            Ok(daemon) => {
                self.hold_with(daemon, caller, &wanted, existing);
                self.leave(daemon);
            }
            Err(_) if wanted.is_empty() => {}
            Err(why) => self.complain(why),
        }
        let bridges: BTreeSet<&str> = ours.iter().filter_map(|(nic, _)| nic.bridge.as_deref()).collect();
        let missing: Vec<&str> = bridges.into_iter().filter(|bridge| !exists(bridge)).collect();
        if !missing.is_empty() {
            self.complain(&format!("there is no bridge {}: the guest would have no network", some_of(&missing)));
        }
        missing.is_empty()
    }

    fn hold_with(&self, daemon: &mut Daemon, caller: &str, wanted: &BTreeMap<Vni, Option<&String>>, existing: bool) {
        let mut held = Vec::new();
        for (vni, bridge) in wanted {
            let add = VniAdd { bridge: bridge.cloned(), caller: Some(caller.to_owned()), existing, ..VniAdd::new(*vni) };
            match ask(daemon, &Request::VniAdd(add)) {
                Ok(Reply::Refused { message } | Reply::NotFound { message }) => self.complain(&format!("VNI {vni}: {message}")),
                Ok(_) => held.push(*vni),
                Err(why) => return self.complain(&format!("VNI {vni}: {why}")),
            }
        }
        let deadline = deadline(READY);
        for vni in held {
            if let Err(why) = wait_until_ready(daemon, vni, deadline, UNUSABLE) {
                self.complain(&why);
            }
            if daemon.silence().is_some() {
                return;
            }
        }
    }

    /// Claims the MACs of a guest's interfaces for their ports, so that other hosts send here before the guest has spoken.
    pub(crate) fn claim(&self, nics: &[Nic]) {
        self.for_macs(nics, |nic, vni, mac| {
            let port = nic.port.clone().filter(|port| exists(port))?;
            Some(Request::MacClaim { vni, mac, port })
        });
    }

    /// Takes the MACs of a guest's interfaces back at once, not by ageing.
    pub(crate) fn release(&self, nics: &[Nic]) {
        self.for_macs(nics, |_, vni, mac| Some(Request::MacRelease { vni, mac }));
    }

    fn for_macs(&self, nics: &[Nic], request: impl Fn(&Nic, Vni, MacAddr) -> Option<Request>) {
        let mut daemon = match self.daemon() {
            Ok(daemon) => daemon,
            Err(_) if self.ours(nics, None).is_empty() => return,
            Err(why) => return self.complain(&why),
        };
        let ours = self.ours(nics, Some(&mut daemon));
        if let Some(why) = daemon.silence() {
            self.complain(why);
            return self.leave(&daemon);
        }
        for (nic, vni) in ours {
            let Some(request) = nic.mac.and_then(|mac| request(nic, vni, mac)) else { continue };
            match ask(&mut daemon, &request) {
                // Gone with its port already, or withdrawn by hand.
                Ok(Reply::Done { .. } | Reply::NotFound { .. }) => {}
                Ok(Reply::Refused { message }) => self.complain(&message),
                Ok(_) => {}
                Err(why) => {
                    self.complain(&why);
                    break;
                }
            }
        }
        self.leave(&daemon);
    }

    /// Lets go of one VNI that `caller` holds.
    pub(crate) fn let_go_of(&self, caller: &str, vni: Vni) {
        if let Err(why) = self.ask_once(&Request::VniDel { vni, caller: Some(caller.to_owned()) }) {
            self.complain(&format!("{why}; later: evpnctl vni del {vni} --for {caller}"));
        }
    }

    /// Lets go of every VNI that `caller` holds.
    pub(crate) fn let_go(&self, caller: &str) {
        let why = match self.ask_once(&Request::CallerGone { caller: caller.to_owned() }) {
            Ok(Reply::Done { .. } | Reply::NotFound { .. }) => return,
            Ok(other) => format!("{other:?}"),
            Err(why) => why,
        };
        self.complain(&format!("{why}; later: evpnctl vni del --for {caller}"));
    }

    /// What remembers that a guest is coming by live migration.
    fn mark(&self, caller: &str) -> Mark {
        Mark::of(&self.cli.socket, caller)
    }

    /// One question to a daemon of which more may be asked afterwards.
    fn ask_once(&self, request: &Request) -> Result<Reply, String> {
        let mut daemon = self.daemon()?;
        let reply = ask(&mut daemon, request);
        self.leave(&daemon);
        reply
    }
}

/// The first few of many names.
fn some_of(names: &[&str]) -> String {
    let first = names[..names.len().min(NAMES)].join(", ");
    match names.len().checked_sub(NAMES) {
        None | Some(0) => first,
        Some(more) => format!("{first} and {more} more"),
    }
}

/// Whether an interface of that name exists, in the namespace of this process.
fn exists(name: &str) -> bool {
    // SAFETY: a C string that lives through the call.
    CString::new(name).is_ok_and(|name| unsafe { libc::if_nametoindex(name.as_ptr()) } != 0)
}

fn words(failure: Failure) -> String {
    match failure {
        Failure::Daemon(message) => message,
        Failure::Output(error) => error.to_string(),
    }
}

fn ask(daemon: &mut Daemon, request: &Request) -> Result<Reply, String> {
    daemon.ask(request).map_err(words)
}

fn vni_of_bridge(daemon: &mut Daemon, bridge: &str) -> Option<Vni> {
    let mut after = None;
    loop {
        let request = Request::ShowVnis { vni: None, after, limit: Some(evpnd::control::MAX_PAGE) };
        let Ok(Reply::Vnis(page)) = ask(daemon, &request) else { return None };
        if let Some(found) = page.items.iter().find(|view| view.bridge == bridge && view.is_here()) {
            return Some(found.vni);
        }
        after = Some(page.next?);
    }
}

/// The end of a wait that begins now.
pub(crate) fn deadline(wait: Duration) -> Instant {
    now() + wait
}

#[allow(clippy::disallowed_methods, reason = "a client has a clock")]
fn now() -> Instant {
    Instant::now()
}

/// Whether a wait is over.
pub(crate) fn is_over(end: Instant) -> bool {
    now() >= end
}

/// Waits until a VNI's device works: then its type 3 route is announced. Not on where the device is `unusable` for so long.
#[allow(clippy::disallowed_methods, reason = "a client may sleep")]
pub(crate) fn wait_until_ready(daemon: &mut Daemon, vni: Vni, end: Instant, unusable: Duration) -> Result<(), String> {
    let mut usable_at = now();
    loop {
        let view = match ask(daemon, &Request::ShowVnis { vni: Some(vni), after: None, limit: None })? {
            Reply::Vnis(page) => page.items.into_iter().next(),
            _ => None,
        };
        let Some(view) = view else { return Err(format!("there is no VNI {vni} any more")) };
        if view.state == "ready" {
            return Ok(());
        }
        if view.state != "unusable" {
            usable_at = now();
        }
        if is_over(end) || now() >= usable_at + unusable {
            let why = view.reason.map_or(String::new(), |reason| format!(": {reason}; {}", view.remedy.unwrap_or_default()));
            return Err(format!("VNI {vni} is {}{why}", view.state));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The exit code of a hook: 1 where the guest would have no network.
pub(crate) fn code(works: bool) -> ExitCode {
    if works { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
