//! What the thread does about devices: judges them when interfaces changed, takes the steps, tells what came of it, and
//! does not fight for ever with whoever undoes them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::announce::Allowance;
use super::devices::{self, Circumstances, Refusal, Step, Verdict};
use super::dumper::Job;
use super::heard::Addresses;
use super::host::is_given;
use super::links::{Link, Links};
use super::setup;
use super::stations::Stations;
use super::worker::{Worker, now};
use crate::base::{MacAddr, Vni};
use crate::fib::{DeviceSpec, DeviceState, HostStation, KernelEvent, ReadyDevice};

/// How long somebody's VXLAN device may be without a bridge, while evpnd runs, before it is given one: platforms make the
/// device first and enslave it a moment later.
const BARE: Duration = Duration::from_secs(2);
/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(30);
/// So long after a device appeared udev has had its settings written (99-systemd.rules runs systemd-sysctl): then ours are
/// written again.
const SETTINGS: Duration = Duration::from_secs(3);
/// The same steps again after this time are no repetition.
const QUIET: Duration = Duration::from_secs(60);

/// One wanted device.
#[derive(Debug)]
pub(super) struct Managed {
    /// As it is wanted.
    pub spec: DeviceSpec,
    /// What was told last.
    pub told: Option<DeviceState>,
    /// The MACs behind its bridge's other ports.
    pub stations: Stations,
    /// What they said of their addresses.
    pub addresses: Addresses,
    /// How many frames may tell them of addresses that moved.
    pub announcements: Allowance,
    /// How long the bridge keeps a silent one.
    pub ageing: Duration,
    /// The addresses of a device without a bridge, as they were told.
    pub own_addresses: BTreeSet<IpAddr>,
    /// What this host itself is at the bridge, as it was told.
    pub host: Option<HostStation>,
    /// What is known beside the table of interfaces.
    pub known: Circumstances,
    /// The bridge of somebody's where we turned IPv6 on.
    pub opened: Option<u32>,
    /// The list of devices was just given: nobody is in the middle of setting this one up.
    fresh: bool,
    /// The device and the bridge that worked last, as it is wanted now: what is to be done about them from then on, somebody brought about.
    worked: Option<(u32, u32)>,
    bare_since: Option<Instant>,
    /// Until when none is made in the place of a device that somebody removed.
    pub awaited_until: Option<Instant>,
    /// When what we made is closed to tenants once more.
    close_at: Option<Instant>,
    last_steps: Vec<Step>,
    last_work: Option<Instant>,
    repeats: u32,
    not_before: Option<Instant>,
}

impl Managed {
    fn new(spec: DeviceSpec) -> Self {
        Self {
            spec,
            told: None,
            stations: Stations::default(),
            addresses: Addresses::default(),
            announcements: Allowance::default(),
            ageing: Duration::from_secs(300),
            own_addresses: BTreeSet::new(),
            host: None,
            known: Circumstances::default(),
            opened: None,
            fresh: true,
            worked: None,
            bare_since: None,
            awaited_until: None,
            close_at: None,
            last_steps: Vec::new(),
            last_work: None,
            repeats: 0,
            not_before: None,
        }
    }

    /// Whether a step undoes what somebody did to a device that worked. Not what one needs that somebody made anew or put into another
    /// bridge, nor a guest that is new.
    fn undoes(&self, step: &Step, links: &Links) -> bool {
        let Some((device, bridge)) = self.worked else { return false };
        let is_ours = |port: &str| links.named(port).is_some_and(|link| self.known.isolated.contains(&link.ifindex));
        if step.isolates().is_some_and(|(port, on)| on && !is_ours(port)) {
            return false;
        }
        match links.link(device) {
            Some(link) => device == bridge || link.master.is_none_or(|master| master == bridge),
            None => links.vxlans(self.spec.vni).next().is_none(),
        }
    }

    /// A station is here: where it says no address it is asked for one.
    pub(super) fn note_arrival(&mut self, mac: MacAddr) {
        self.addresses.is_back(mac);
        if self.spec.probe_silent && !self.addresses.knows(mac) {
            self.addresses.arrived(now(), mac, self.ageing);
        }
    }

    /// Somebody removed the device: what the next one needs is no repetition.
    pub(super) fn begin_anew(&mut self) {
        self.last_steps.clear();
        self.not_before = None;
    }

    /// When the next try may be: at once the first time, then 0.1 s, 0.4 s … 30 s while the same steps are needed again
    /// and again; from 1 s where they failed.
    fn note_work(&mut self, steps: Vec<Step>, failed: bool, now: Instant) {
        let again = self.last_steps == steps && self.last_work.is_some_and(|at| now.duration_since(at) < QUIET);
        self.repeats = if again { self.repeats.saturating_add(1) } else { 0 };
        let wait = match (failed, self.repeats) {
            (false, 0) => Duration::ZERO,
            (false, repeats) => Duration::from_millis(100) * 4u32.saturating_pow((repeats - 1).min(6)),
            (true, repeats) => Duration::from_secs(1) * 2u32.pow(repeats.min(6)),
        };
        self.last_steps = steps;
        self.last_work = Some(now);
        self.not_before = Some(now + wait.min(LONGEST));
    }
}

impl Worker {
    /// The whole list of wanted devices, anew.
    pub(super) fn want(&mut self, specs: Vec<DeviceSpec>) {
        let specs: BTreeMap<Vni, DeviceSpec> = specs.into_iter().map(|spec| (spec.vni, spec)).collect();
        let dropped: Vec<Vni> = self.managed.keys().filter(|vni| !specs.contains_key(vni)).copied().collect();
        for vni in dropped {
            self.lose(vni, "it is not configured any more".to_owned());
            self.forget(vni);
        }
        self.names.clear();
        for (vni, spec) in specs {
            for name in [&spec.device, &spec.bridge].into_iter().take(if spec.bare { 1 } else { 2 }) {
                self.names.entry(name.clone()).or_default().insert(vni);
            }
            let (isolated, opened) = (&mut self.isolated_before, &mut self.opened_before);
            let stood = self.stood_before.remove(&vni);
            let managed = self.managed.entry(vni).or_insert_with(|| {
                let mut managed = Managed::new(spec.clone());
                if let Some(stood) = stood {
                    managed.await_device_of_before(stood, self.stood_at);
                }
                managed.known.isolated = isolated.remove(&vni).unwrap_or_default();
                managed.opened = opened.remove(&vni);
                managed
            });
            managed.worked = managed.worked.filter(|_| managed.spec == spec);
            if managed.spec.bridge != spec.bridge {
                managed.known.home = None;
            }
            managed.spec = spec;
            managed.fresh = true;
            managed.known.failed.clear();
            managed.last_steps.clear();
            managed.not_before = None;
            self.dirty.insert(vni);
        }
        self.keep_leftovers();
        self.retune = true;
        // What may be mended may be another thing now.
        self.ipv6_at = self.ipv6_at.map(|_| now());
        self.want_nexthops();
        self.want_misses();
        self.want_addresses();
    }

    /// No notification waits: the table of interfaces is true. Judges devices until one needed work, whose own
    /// notifications must be read first.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.resync) {
            self.read_everything();
            self.recheck = false;
        }
        if std::mem::take(&mut self.recheck) {
            self.check_links();
        }
        self.keep_closed(false);
        self.look_at_ipv6();
        let now = now();
        let due: Vec<Vni> = self.later.iter().filter(|(_, at)| **at <= now).map(|(vni, _)| *vni).collect();
        for vni in due {
            self.later.remove(&vni);
            self.dirty.insert(vni);
        }
        for vni in std::mem::take(&mut self.worked) {
            self.read_again(vni);
        }
        if self.found.is_none() {
            // At the start, before any verdict: of what is gone nobody needs to hear that it cannot be used.
            self.tell_found();
        }
        while let Some(vni) = self.dirty.pop_first() {
            if self.judge(vni, now) {
                self.dirty.insert(vni);
                self.worked.insert(vni);
                return;
            }
        }
        if std::mem::take(&mut self.retune) {
            self.tune();
            self.tell_found();
            self.tell_marked();
        }
    }

    /// Reads the VXLAN devices of a VNI after steps were taken: what changes on a device that is down is notified to
    /// nobody (`netdev_state_change`, `net/core/dev.c`).
    fn read_again(&mut self, vni: Vni) {
        let found: Vec<u32> = self.links.vxlans(vni).map(|link| link.ifindex).collect();
        for ifindex in found {
            if let Some(body) = setup::read(&mut self.requests, ifindex) {
                let change = self.links.handle(libc::RTM_NEWLINK, &body);
                self.handle_change(&change);
            }
        }
    }

    /// Judges one. Whether steps were taken.
    fn judge(&mut self, vni: Vni, now: Instant) -> bool {
        if let Some(reason) = self.ready_device(vni).and_then(|ready| self.why_gone(ready)) {
            self.lose(vni, reason);
        }
        let there = self.links.vxlans(vni).next().is_some();
        let Some(managed) = self.managed.get_mut(&vni) else {
            self.later.remove(&vni);
            return false;
        };
        if let Some(until) = managed.awaits(there, now) {
            self.later.insert(vni, until);
        }
        let Some(managed) = self.managed.get(&vni) else { return false };
        let wanted = |vni: Vni| self.managed.contains_key(&vni);
        let verdict = devices::judge(&managed.spec, &self.links, &wanted, &managed.known);
        let Some(managed) = self.managed.get_mut(&vni) else { return false };
        match verdict {
            Ok(Verdict::Ready(ready)) => self.ready(ready),
            Err(refusal) => self.unusable(vni, refusal),
            Ok(Verdict::AskFamily(ifindex)) => {
                let over_ipv6 = setup::is_over_ipv6(&mut self.requests, &self.links.name(ifindex));
                managed.known.over_ipv6.insert(ifindex, over_ipv6);
                self.dirty.insert(vni);
                return false;
            }
            Ok(Verdict::Wait) => {
                let since = *managed.bare_since.get_or_insert(now);
                if managed.fresh || now.duration_since(since) >= BARE {
                    if !managed.known.settled {
                        managed.known.settled = true;
                        self.dirty.insert(vni);
                    }
                } else {
                    let at = self.later.entry(vni).or_insert(since + BARE);
                    *at = (*at).min(since + BARE);
                }
                return false;
            }
            Ok(Verdict::Work(steps)) => {
                if let Some(at) = managed.not_before.filter(|at| *at > now) {
                    self.later.insert(vni, at);
                    self.tell_down(vni);
                    return false;
                }
                let outcome = setup::carry_out(&mut self.requests, &self.links, &steps);
                let taken = |step: &&Step| step.soft().is_none_or(|soft| !outcome.failed.contains_key(&soft));
                let undone = |step: &&Step| managed.undoes(step, &self.links);
                let mended: Vec<String> = steps.iter().filter(taken).filter(undone).map(ToString::to_string).collect();
                if outcome.refusal.is_none() && !mended.is_empty() {
                    self.out.push(KernelEvent::DeviceMended { vni, what: mended.join(", ") });
                }
                let failed = outcome.failed.contains_key(&devices::Soft::Isolated);
                let before = managed.known.isolated.clone();
                for (name, on) in steps.iter().filter_map(Step::isolates).filter(|_| !failed) {
                    let Some(ifindex) = self.links.named(name).map(|link| link.ifindex) else { continue };
                    if on {
                        managed.known.isolated.insert(ifindex)
                    } else {
                        managed.known.isolated.remove(&ifindex)
                    };
                }
                if managed.known.isolated != before {
                    // Those that went with their guests are nobody's.
                    managed.known.isolated.retain(|ifindex| self.links.link(*ifindex).is_some());
                    self.out.push(KernelEvent::Isolated { vni, ports: managed.known.isolated.clone() });
                }
                managed.known.failed.extend(outcome.failed);
                // Something vanished meanwhile: its notification waits, and the next verdict will know. Once.
                let excused = outcome.vanished && managed.repeats == 0;
                managed.note_work(steps, outcome.refusal.is_some() && !excused, now);
                if let Some(refusal) = outcome.refusal.filter(|_| !excused) {
                    self.unusable(vni, refusal);
                }
                return true;
            }
        }
        if let Some(managed) = self.managed.get_mut(&vni) {
            managed.fresh = false;
            managed.bare_since = None;
            managed.known.settled = false;
        }
        false
    }

    /// A device that somebody sets down all the time is not set up again at once: meanwhile it is told to be down.
    fn tell_down(&mut self, vni: Vni) {
        let Some(ready) = self.ready_device(vni) else { return };
        let (link, bridge) = (self.links.link(ready.ifindex), self.links.link(ready.bridge_ifindex));
        if ready.up && link.zip(bridge).is_some_and(|(link, bridge)| !devices::is_up(link, bridge)) {
            let state = DeviceState::Ready(ReadyDevice { up: false, ..ready.clone() });
            if let Some(managed) = self.managed.get_mut(&vni) {
                managed.told = Some(state.clone());
            }
            self.out.push(KernelEvent::Device(state));
        }
    }

    fn why_gone(&self, ready: &ReadyDevice) -> Option<String> {
        match self.links.link(ready.ifindex) {
            None => Some(format!("the VXLAN device {} was removed", ready.device)),
            // Of one without a bridge its verdict tells.
            Some(link) if !ready.is_bare() && link.master != Some(ready.bridge_ifindex) => {
                Some(format!("{} is in bridge {} no more", link.name, ready.bridge))
            }
            Some(_) => None,
        }
    }

    fn ready(&mut self, ready: ReadyDevice) {
        let (vni, was_ready) = (ready.vni, self.ready_device(ready.vni).is_some());
        let Some(managed) = self.managed.get_mut(&vni) else { return };
        let now = now();
        // At once as well: an earlier version, or somebody since, may have left them open.
        if !was_ready || managed.close_at.is_some_and(|at| at <= now) {
            // One without a bridge is the host's own.
            let made = [(ready.made_device && !ready.is_bare(), &ready.device), (ready.made_bridge, &ready.bridge)];
            for (_, name) in made.iter().filter(|(made, _)| *made) {
                if let Err(said) = setup::close_to_tenants(name) {
                    tracing::warn!(%name, error = said.text, "guests may reach this host through a device that evpnd made");
                }
            }
            managed.close_at = (!was_ready && made.iter().any(|(made, _)| *made)).then(|| now + SETTINGS);
            if let Some(at) = managed.close_at {
                self.later.insert(vni, at);
            }
        }
        managed.worked = Some((ready.ifindex, ready.bridge_ifindex));
        let state = DeviceState::Ready(ready.clone());
        if managed.told.as_ref() == Some(&state) {
            self.set_form(vni);
            return;
        }
        managed.told = Some(state.clone());
        let home = (!ready.is_bare()).then(|| (ready.bridge_ifindex, ready.bridge.clone()));
        let before = std::mem::replace(&mut managed.known.home, home).map(|(bridge, _)| bridge);
        self.leave_bridge(before.filter(|bridge| *bridge != ready.bridge_ifindex));
        self.set_form(vni);
        self.out.push(KernelEvent::Device(state));
        self.retune = true;
        if !was_ready {
            self.devices.insert(ready.ifindex, vni);
            self.filter_echoes();
            self.bridges.insert(ready.bridge_ifindex, vni);
            self.own_changed.insert(vni);
            self.unfiltered.insert(ready.bridge_ifindex);
            self.recall_opened(vni, ready.bridge_ifindex);
            self.dumper.push(Job::Stations { vni });
        }
    }

    fn unusable(&mut self, vni: Vni, refusal: Refusal) {
        self.lose(vni, refusal.reason.clone());
        let Some(managed) = self.managed.get_mut(&vni) else { return };
        let state = DeviceState::Unusable { vni, reason: refusal.reason, remedy: refusal.remedy };
        if managed.told.as_ref() != Some(&state) {
            managed.told = Some(state.clone());
            self.out.push(KernelEvent::Device(state));
        }
    }

    /// A device that was ready is not: told, and everything known of it forgotten.
    fn lose(&mut self, vni: Vni, reason: String) {
        let Some((ifindex, bridge)) = self.ready_device(vni).map(|ready| (ready.ifindex, ready.bridge_ifindex)) else { return };
        self.retune = true;
        self.devices.remove(&ifindex);
        self.filter_echoes();
        self.nexthops.forget_device(ifindex);
        self.bridges.remove(&bridge);
        self.closed.remove(&bridge);
        if let Some(managed) = self.managed.get_mut(&vni) {
            managed.told = None;
            managed.stations = Stations::default();
            managed.addresses = Addresses::default();
            // Its own addresses stay: what it does not have any more when it is back is told then.
            if managed.host.take().is_some() {
                self.out.push(KernelEvent::Host { vni, station: None });
            }
            let Circumstances { isolated, home, awaited, .. } = std::mem::take(&mut managed.known);
            managed.known = Circumstances { isolated, home, awaited, ..Circumstances::default() };
        }
        self.out.push(KernelEvent::DeviceGone { vni, reason });
    }

    /// A device is wanted no more: the ports that we isolated, and the bridge where we turned IPv6 on, are as we found them.
    fn forget(&mut self, vni: Vni) -> Option<Managed> {
        let managed = self.managed.remove(&vni)?;
        self.undo(vni, &managed.known.isolated, managed.opened);
        Some(managed)
    }

    /// Undoes what this run, or an earlier one, did for a VNI to interfaces of others.
    fn undo(&mut self, vni: Vni, isolated: &BTreeSet<u32>, opened: Option<u32>) {
        for ifindex in isolated {
            // It may have gone with its guest, and its number is nobody's; or it is another VNI's by now.
            let is_anothers = self.managed.values().any(|other| other.known.isolated.contains(ifindex));
            let Some(name) = self.links.link(*ifindex).filter(|link| !is_anothers && link.port.is_some_and(|port| port.isolated))
            else {
                continue;
            };
            if let Err(said) = setup::isolate(&mut self.requests, &name.name, false) {
                tracing::warn!(
                    port = name.name,
                    error = said.text,
                    "a port that evpnd isolated stays so: bridge link set dev PORT isolated off"
                );
            }
        }
        if !isolated.is_empty() {
            self.out.push(KernelEvent::Isolated { vni, ports: BTreeSet::new() });
        }
        if let Some(bridge) = opened {
            // Unless another VNI has it by now, which answers ND there.
            if !self.bridges.contains_key(&bridge) {
                self.close_opened(bridge);
            }
            self.out.push(KernelEvent::Opened { vni, bridge: None });
        }
    }

    /// Removes what we made for these VNIs, where nothing else uses it; they are wanted no more.
    pub(super) fn remove(&mut self, vnis: Vec<Vni>) {
        let (mut gone, mut kept) = (Vec::new(), Vec::new());
        let addresses = setup::addresses(&mut self.requests, 0).unwrap_or_default();
        for vni in vnis {
            self.lose(vni, "evpnd leaves the fabric".to_owned());
            let spec = self.forget(vni).map(|managed| managed.spec);
            // What left the file while evpnd was not running was wanted by nobody in this run.
            let isolated = self.isolated_before.remove(&vni).unwrap_or_default();
            let opened = self.opened_before.remove(&vni);
            self.stood_before.remove(&vni);
            self.undo(vni, &isolated, opened);
            let found: Vec<Link> = self.links.vxlans(vni).cloned().collect();
            let mut bridges: Vec<u32> = found.iter().filter_map(|link| link.master).collect();
            bridges.extend(spec.and_then(|spec| self.links.named(&spec.bridge)).map(|link| link.ifindex));
            bridges.extend(self.close_leftover(vni));
            bridges.sort_unstable();
            bridges.dedup();
            let mut removed = Vec::new();
            for link in &found {
                if !link.made {
                    kept.push((vni, format!("{} was not made by evpnd", link.name)));
                } else if let Some((_, ip)) = in_use(&addresses, link).filter(|_| link.master.is_none()) {
                    kept.push((vni, format!("{} stays: it has the address {ip}", link.name)));
                } else if let Err(said) = setup::delete_index(&mut self.requests, link.ifindex)
                    && said.errno != libc::ENODEV
                {
                    kept.push((vni, format!("{} could not be removed: {}", link.name, said.text)));
                } else {
                    removed.push(link.ifindex);
                }
            }
            for bridge in bridges {
                if let Some(why) = self.remove_bridge(bridge, &removed) {
                    kept.push((vni, why));
                }
            }
            if removed.len() == found.len() {
                gone.push(vni);
            }
        }
        self.out.push(KernelEvent::Removed { vnis: gone, kept });
    }

    /// Removes a bridge that we made and nobody uses. Why not, in words; nothing where it is not ours to speak of.
    fn remove_bridge(&mut self, ifindex: u32, removed: &[u32]) -> Option<String> {
        let bridge = self.links.link(ifindex).filter(|link| link.made)?;
        let name = bridge.name.clone();
        let ports: Vec<&str> =
            self.links.members(ifindex).filter(|link| !removed.contains(&link.ifindex)).map(|link| link.name.as_str()).collect();
        if !ports.is_empty() {
            return Some(format!("bridge {name} stays: {} still in it", ports.join(", ")));
        }
        let addresses = setup::addresses(&mut self.requests, 0).unwrap_or_default();
        if let Some((_, ip)) = addresses.iter().find(|(index, _)| *index == ifindex) {
            return Some(format!("bridge {name} stays: it has the address {ip}"));
        }
        match setup::delete_index(&mut self.requests, ifindex) {
            Err(said) if said.errno != libc::ENODEV => Some(format!("bridge {name} could not be removed: {}", said.text)),
            _ => None,
        }
    }
}

/// An address that somebody gave an interface; not one that it gave itself.
fn in_use<'a>(addresses: &'a [(u32, IpAddr)], link: &Link) -> Option<&'a (u32, IpAddr)> {
    addresses.iter().find(|(index, ip)| *index == link.ifindex && is_given(ip))
}
