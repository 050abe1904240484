//! `evpnctl migrate --stop-frr`: ends FRR once evpnd has taken over, so that the rows stay where they are. zebra removes its rows when
//! it is told to stop, and bgpd's withdraws have it remove them as well: so both are killed before they can say a word,
//! and before their watchdog or systemd can react.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use evpnd::base::Vni;
use evpnd::control::{MAX_PAGE, Reply, Request};
use serde_json::json;

use super::facts::{Facts, Trouble};
use super::plan::{self, Tunnel};
use crate::arguments::Migrate;
use crate::daemon::{Daemon, Failure};

/// Who starts FRR's programs again where one of them ended.
const WATCHDOG: &str = "watchfrr";
/// FRR's programs in the order in which they end: who holds the rows, who speaks to others, the rest; their watchdog is stopped before
/// and ends last. Its end is what systemd notices, and then it tells all that is left of the unit to stop: nothing is left.
const PROGRAMS: [&str; 8] = ["zebra", "bgpd", "mgmtd", "staticd", "bfdd", "pimd", "eigrpd", WATCHDOG];
/// Those that route the underlay: without them this host may lose its way to the others.
const UNDERLAY: [&str; 15] = [
    "ospfd", "ospf6d", "isisd", "fabricd", "ripd", "ripngd", "babeld", "eigrpd", "pimd", "pim6d", "nhrpd", "ldpd", "vrrpd",
    "pathd", "pbrd",
];

/// A process in our network namespace.
#[derive(Debug)]
struct Process {
    id: i32,
    name: String,
}

/// Those of these names, in the order of the names.
fn processes(names: &[&str]) -> Vec<Process> {
    let own = std::fs::read_link("/proc/self/ns/net").ok();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|id| id.parse().ok()) else { continue };
        let Ok(name) = std::fs::read_to_string(entry.path().join("comm")) else { continue };
        let name = name.trim().to_owned();
        if own.is_some() && names.contains(&name.as_str()) && std::fs::read_link(entry.path().join("ns/net")).ok() == own {
            found.push(Process { id, name });
        }
    }
    found.sort_by_key(|process| names.iter().position(|name| *name == process.name));
    found
}

/// Why FRR may not be ended yet.
fn refusals(facts: &Facts, daemon: &mut Daemon, force: bool) -> Result<Vec<String>, Failure> {
    let mut out = Vec::new();
    let routing = processes(&UNDERLAY);
    if !routing.is_empty() && !force {
        let names: Vec<&str> = routing.iter().map(|process| process.name.as_str()).collect();
        out.push(format!(
            "{} routes the underlay of this host and needs zebra: take EVPN out of FRR instead (vtysh: no advertise-all-vni), \
             which costs a moment, or --force",
            names.join(", ")
        ));
    }
    if !force {
        out.extend(super::underlay::refusals(!processes(&["bgpd"]).is_empty()));
    }
    if let (Some(doubt), false) = (&facts.fabric.doubt, force) {
        out.push(format!("evpnd does not know all that FRR knows: {doubt}"));
    }
    // One in which nothing is heard just now as well: this host and its guests are announced in it.
    let of_frr = super::underlay::vnis();
    let is_frrs = |tunnel: &Tunnel, vni: Vni| match &of_frr {
        Ok(vnis) => vnis.contains(&vni) || !tunnel.announced.is_empty(),
        // It may have any that EVPN can have.
        Err(_) => plan::why_not(tunnel, false).is_none() || !tunnel.announced.is_empty(),
    };
    for tunnel in &facts.tunnels {
        let Some(vni) = tunnel.vni.filter(|vni| is_frrs(tunnel, *vni)) else { continue };
        match facts.vnis.iter().find(|view| view.vni == vni) {
            None => out.push(format!("VNI {vni} ({}) is FRR's alone: evpnctl migrate --vni {vni} --apply", tunnel.name)),
            Some(view) if view.state != "ready" => out.push(format!(
                "VNI {vni} is {}: {}; {}",
                view.state,
                view.reason.clone().unwrap_or_default(),
                view.remedy.clone().unwrap_or_default()
            )),
            Some(view) if view.remote_macs == 0 && !tunnel.announced.is_empty() => {
                out.push(format!("VNI {vni} has {} MACs of FRR's, and evpnd has heard of none", tunnel.announced.len()));
            }
            Some(_) => {}
        }
    }
    if let Reply::Diff(page) = daemon.ask(&Request::Diff { after: None, limit: Some(MAX_PAGE) })?
        && !page.items.is_empty()
    {
        out.push(format!("{} rows are not as evpnd wants them (evpnctl diff)", page.items.len()));
    }
    Ok(out)
}

/// Shows, and with `--apply` does.
pub(super) fn stop(json: bool, what: &Migrate, daemon: &mut Daemon) -> Result<bool, Trouble> {
    let facts = Facts::gather(what, daemon)?;
    let running = processes(&PROGRAMS);
    if running.is_empty() {
        return Err(Trouble::Words("FRR does not run in this network namespace".to_owned()));
    }
    let refusals = refusals(&facts, daemon, what.force)?;
    let unit = unit();
    let mut steps: Vec<String> = Vec::new();
    if unit {
        steps.push("systemctl mask --runtime frr; systemctl disable frr".to_owned());
    }
    let watchdogs = running.iter().filter(|process| process.name == WATCHDOG);
    steps.extend(watchdogs.map(|process| format!("kill -STOP {} ({})", process.id, process.name)));
    steps.extend(running.iter().map(|process| format!("kill -9 {} ({})", process.id, process.name)));
    let done = what.apply && refusals.is_empty();
    if json {
        let said = json!({"applied": done, "steps": steps, "refusals": refusals});
        writeln!(io::stdout(), "{said}").map_err(Failure::Output)?;
    } else {
        for (number, step) in (1..).zip(&steps) {
            writeln!(io::stdout(), "{number}. {step}").map_err(Failure::Output)?;
        }
        for why in &refusals {
            let _ = writeln!(io::stderr(), "evpnctl: not now: {why}");
        }
        if !what.apply && refusals.is_empty() {
            writeln!(io::stdout(), "nothing was changed: --apply does it").map_err(Failure::Output)?;
        }
    }
    if !done {
        return Ok(refusals.is_empty());
    }
    if unit {
        forbid()?;
    }
    kill()?;
    if unit {
        // It would stand among the units that failed, and alarm who watches for them. Where systemd has not noticed yet there
        // is nothing to reset.
        let _ = systemctl(&["reset-failed", UNIT]);
    }
    Ok(true)
}

/// Before anything is killed: else the unit, told to restart, would bring it back.
fn forbid() -> Result<(), Trouble> {
    let words = |what: &str| Trouble::Words(format!("{what}: nothing was killed"));
    if !systemctl(&["mask", "--quiet", "--runtime", UNIT]).is_some_and(|(done, _)| done) {
        return Err(words("systemctl mask --runtime frr failed"));
    }
    // A unit's file below /etc goes before what stands below /run.
    if systemctl(&["show", "--property=LoadState", "--value", UNIT]).is_none_or(|(_, state)| state != "masked") {
        let _ = systemctl(&["unmask", "--quiet", "--runtime", UNIT]);
        let (_, path) = systemctl(&["show", "--property=FragmentPath", "--value", UNIT]).unwrap_or_default();
        return Err(words(&format!(
            "the unit frr is not masked, so systemd would start it again ({path} is stronger): move that file to \
             /usr/local/lib/systemd/system, systemctl daemon-reload, and ask again"
        )));
    }
    if !systemctl(&["disable", "--quiet", UNIT]).is_some_and(|(done, _)| done) {
        let _ = systemctl(&["unmask", "--quiet", "--runtime", UNIT]);
        return Err(words("systemctl disable frr failed"));
    }
    Ok(())
}

/// Ends all of them without a word.
fn kill() -> Result<(), Trouble> {
    let send = |process: &Process, signal: i32| {
        // SAFETY: kill(2) with a process id and a signal.
        match unsafe { libc::kill(process.id, signal) } {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                // It ended by itself.
                error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                error => Err(Trouble::Words(format!("cannot kill {} ({}): {error}; be root", process.name, process.id))),
            },
        }
    };
    // The watchdog may just have been starting one: looked for until none is left.
    for _ in 0..TRIES {
        for watchdog in processes(&[WATCHDOG]) {
            send(&watchdog, libc::SIGSTOP)?;
        }
        let running = processes(&PROGRAMS);
        if running.is_empty() {
            return Ok(());
        }
        for process in &running {
            send(process, libc::SIGKILL)?;
        }
        super::apply::sleep(Duration::from_millis(20));
    }
    let left: Vec<String> = processes(&PROGRAMS).iter().map(|process| format!("{} ({})", process.name, process.id)).collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(Trouble::Words(format!("{} runs again or still: something other than watchfrr and systemd starts FRR", left.join(", "))))
}

/// FRR's unit, by the name that all its packages give it.
const UNIT: &str = "frr";
/// How often is looked whether any of FRR still runs.
const TRIES: u32 = 50;

/// What systemctl said, and whether it did what it was asked; none where it cannot be run.
fn systemctl(words: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("systemctl").args(words).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    Some((output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

/// Whether FRR runs as a unit of systemd, in the machine's own network namespace.
fn unit() -> bool {
    let first = std::fs::read_link("/proc/1/ns/net").ok();
    Path::new("/run/systemd/system").exists()
        && first.is_some()
        && first == std::fs::read_link("/proc/self/ns/net").ok()
        && systemctl(&["is-active", "--quiet", UNIT]).is_some_and(|(active, _)| active)
}
