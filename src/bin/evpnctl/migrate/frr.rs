//! `evpnctl migrate --stop-frr`: ends FRR once evpnd has taken over, so that the rows stay where they are. zebra removes its rows when
//! it is told to stop, and bgpd's withdraws have it remove them as well: so both are killed, after their watchdog and before they
//! can say a word.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use evpnd::control::{MAX_PAGE, Reply, Request};
use serde_json::json;

use super::facts::{Facts, Trouble};
use crate::arguments::Migrate;
use crate::daemon::{Daemon, Failure};

/// FRR's programs in the order in which they end: who restarts the others, who holds the rows, who speaks to others.
const PROGRAMS: [&str; 8] = ["watchfrr", "zebra", "bgpd", "mgmtd", "staticd", "bfdd", "pimd", "eigrpd"];
/// Those that route the underlay: without them this host may lose its way to the others.
const UNDERLAY: [&str; 5] = ["ospfd", "ospf6d", "isisd", "ripd", "babeld"];

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
    if let (Some(doubt), false) = (&facts.fabric.doubt, force) {
        out.push(format!("evpnd does not know all that FRR knows: {doubt}"));
    }
    for tunnel in facts.tunnels.iter().filter(|tunnel| !tunnel.announced.is_empty()) {
        let Some(vni) = tunnel.vni else { continue };
        match facts.vnis.iter().find(|view| view.vni == vni) {
            None => out.push(format!("VNI {vni} ({}) is FRR's alone: evpnctl migrate --vni {vni} --apply", tunnel.name)),
            Some(view) if view.state != "ready" => out.push(format!(
                "VNI {vni} is {}: {}; {}",
                view.state,
                view.reason.clone().unwrap_or_default(),
                view.remedy.clone().unwrap_or_default()
            )),
            Some(view) if view.remote_macs == 0 => {
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
        steps.push("systemctl disable frr; systemctl mask --runtime frr".to_owned());
    }
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
    // Before anything is killed: else the unit, told to restart always, would bring it back.
    for words in [["disable", "--quiet", "frr"], ["mask", "--runtime", "frr"]].iter().filter(|_| unit) {
        let ended = Command::new("systemctl").args(words).stdin(Stdio::null()).stdout(Stdio::null()).status();
        if !ended.as_ref().is_ok_and(std::process::ExitStatus::success) {
            return Err(Trouble::Words(format!("systemctl {} failed: nothing was killed", words.join(" "))));
        }
    }
    for process in &running {
        // SAFETY: kill(2) with a process id and a signal.
        if unsafe { libc::kill(process.id, libc::SIGKILL) } != 0 {
            let error = io::Error::last_os_error();
            return Err(Trouble::Words(format!("cannot kill {} ({}): {error}; be root", process.name, process.id)));
        }
    }
    Ok(true)
}

/// Whether FRR runs as a unit of systemd, in the machine's own network namespace.
fn unit() -> bool {
    let first = std::fs::read_link("/proc/1/ns/net").ok();
    Path::new("/run/systemd/system").exists()
        && first.is_some()
        && first == std::fs::read_link("/proc/self/ns/net").ok()
        && Command::new("systemctl").args(["is-active", "--quiet", "frr"]).status().is_ok_and(|status| status.success())
}
