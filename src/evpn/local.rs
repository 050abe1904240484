//! MACs of our own bridge: heard on a port, set by the operator, or static in the configuration.
//!
//! A MAC is *owned* while it is ours by the rules of `mobility` and announced as a type 2. One that a remote host won is
//! remembered without being owned until the bridge says that it is gone, because the bridge may never have been told.
//! Its sequence number is above the highest that any route for it has, MAC-only or MAC/IP, of any host (RFC 9721).

use std::collections::BTreeSet;

use super::event::{Event, Place};
use super::instance::Evpn;
use super::kept::{Last, later};
use super::macs::NONE;
use super::room::Limit;
use crate::base::{InternId, MacAddr, Time, Vni, next_sequence};
use crate::fib::{Fib, LocalMac, Status};
use crate::rib::Rib;

/// Why a duplicate is one no more.
pub(super) const STATIC: &str = "it is static";

/// A MAC of our bridge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Local {
    pub port: u32,
    pub port_name: InternId,
    /// Set at the port by the operator.
    pub operator_static: bool,
    /// Static in the configuration.
    pub configured: bool,
    /// The bridge's own, with an address of this host (`host`).
    pub of_host: bool,
    /// Ours: announced while the device is ready.
    pub owned: bool,
    pub sequence: u32,
}

impl Local {
    /// Announced as sticky.
    pub fn is_static(&self) -> bool {
        self.operator_static || self.configured || self.of_host
    }

    /// Announced at all, where the host's own MACs are (`own`) or not.
    pub fn is_announced(&self, own: bool) -> bool {
        self.owned && (own || self.configured || !self.of_host)
    }
}

impl Evpn {
    /// A MAC was heard on a local port, moved to another one, or was set there.
    pub fn handle_local_mac(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, heard: &LocalMac) {
        let Some(&number) = self.by_vni.get(&heard.vni) else { return };
        if !heard.mac.is_station() {
            self.stats.martian_macs += 1;
            return;
        }
        match self.locals.get(&(number, heard.mac)).copied() {
            // What the kernel has for itself no port has.
            Some(local) if local.of_host => {}
            Some(local) if local.owned => self.refresh(now, rib, fib, number, heard, local),
            old => self.learn(now, rib, fib, number, heard, old),
        }
    }

    /// A MAC that is ours already: another port, or static and dynamic changed.
    fn refresh(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, number: u16, heard: &LocalMac, old: Local) {
        let from = self.place_of(&old);
        let port_name = self.port_names.acquire(heard.port_name.clone());
        self.port_names.release(old.port_name);
        let new = Local { port: heard.port, port_name, operator_static: heard.is_static, ..old };
        self.put_local(number, heard.mac, new);
        let to = self.place_of(&new);
        // The same port may have got another name.
        if from != to && old.port != 0 && old.port != new.port {
            // Within this host: no new sequence number (RFC 7432 §15 speaks of moves between hosts).
            self.stats.local_moves += 1;
            self.events.push(Event::MacMoved { vni: heard.vni, mac: heard.mac, from, to, sequence: new.sequence });
        }
        if old.is_static() != new.is_static() {
            if new.is_static() {
                self.thaw(now, (number, heard.mac), STATIC);
            }
            self.announce(now, rib, number, heard.mac);
            if let Some(id) = self.macs.find(number, heard.mac) {
                self.decide(now, rib, fib, id, None, None);
            }
        }
    }

    /// A MAC that was not ours: it is now, unless it is sticky at a remote host.
    fn learn(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, number: u16, heard: &LocalMac, old: Option<Local>) {
        let (vni, mac) = (heard.vni, heard.mac);
        let entry = self.macs.find(number, mac);
        let best = entry.and_then(|id| self.best_route(rib, vni, id));
        let configured = old.is_some_and(|old| old.configured);
        let (key, is_static) = ((number, mac), heard.is_static || configured);
        let claimed = || Place::Port(heard.port_name.clone());
        if let Some(best) = &best
            && best.claim.sticky
            && !is_static
        {
            // RFC 7432 §15.2: it may not move. The bridge took its entry over for the port: put ours back.
            self.violation(now, key, vni, Place::Vtep(best.claim.vtep), claimed());
            self.put_back(now, fib, key, vni);
            return;
        }
        let was = entry.and_then(|id| self.facts.remotes.value(InternId(self.macs.entry(id).remote))).map(|remote| remote.ip);
        let restored = self.restored_sequence(vni, mac);
        // What it was announced with before the restart still stands: no move.
        let refresh = restored.filter(|sequence| best.as_ref().is_none_or(|best| self.still_beats(*sequence, best)));
        if is_static {
            // What the operator says here is not counted against a limit, nor as a move.
            self.thaw(now, key, STATIC);
        } else if self.duplicates.is_frozen(&key) && was.is_some() {
            self.not_followed(key, true);
            self.put_back(now, fib, key, vni);
            return;
        } else if let Some(limit) = self.full(number, heard.port).filter(|_| old.is_none()) {
            self.refuse(number, limit);
            if was.is_some() {
                self.put_back(now, fib, key, vni);
            }
            return;
        } else if let Some(from) = was
            && refresh.is_none()
            && !self.follows(now, key, vni, Place::Vtep(from), claimed(), true)
        {
            self.put_back(now, fib, key, vni);
            return;
        }
        let last = self.take_last_sequence(now, (vni, mac));
        // One that a remote host had won must beat what beat it, also when that is gone.
        let sequence = refresh.unwrap_or_else(|| {
            let highest = entry.and_then(|id| self.highest_sequence(rib, vni, id));
            let beaten = highest.into_iter().chain(old.map(|old| old.sequence)).reduce(later);
            beaten.map(next_sequence).into_iter().chain(restored).chain(last).reduce(later).unwrap_or(0)
        });
        let port_name = self.port_names.acquire(heard.port_name.clone());
        if let Some(old) = old {
            self.port_names.release(old.port_name);
        }
        let local = Local {
            port: heard.port,
            port_name,
            operator_static: heard.is_static,
            configured,
            of_host: false,
            owned: true,
            sequence,
        };
        self.put_local(number, mac, local);
        self.note_sequence(vni, mac, sequence);
        let to = self.place_of(&local);
        // A static MAC of the configuration has no entry in the bridge that would have taken ours over.
        let became_local = heard.port != 0;
        let was = entry.and_then(|id| self.uninstall(now, fib, id, became_local));
        match was {
            Some(remote) if refresh.is_none() => {
                self.stats.moves += 1;
                self.events.push(Event::MacMoved { vni, mac, from: Place::Vtep(remote.ip), to, sequence });
            }
            was => {
                if was.is_none() {
                    // A row adopted at start that nobody has confirmed must not stay.
                    fib.clear_unicast(now, vni, mac, became_local);
                }
                self.events.push(Event::MacLearned { vni, mac, place: to, sequence, sticky: local.is_static() });
            }
        }
        self.announce(now, rib, number, mac);
        self.came_here(now, rib, fib, number, mac);
    }

    /// Whether the stations at local ports must be read again ([`KernelCommand::ResyncLocal`](crate::fib::KernelCommand));
    /// told once.
    pub fn take_resync(&mut self) -> bool {
        std::mem::take(&mut self.resync_locals)
    }

    /// The limit that one more MAC at a port would exceed.
    pub(super) fn full(&self, number: u16, port: u32) -> Option<Limit> {
        let limits = &self.config.limits;
        if self.slot(number)?.local_macs >= limits.local_macs_per_vni {
            return Some(Limit::LocalMacs);
        }
        let at_port = self.port_macs.get(&(number, port)).copied().unwrap_or_default();
        (at_port as usize >= limits.local_macs_per_port).then_some(Limit::PortMacs)
    }

    /// Puts a local MAC in place of what is known of it, and counts it for its VNI and port.
    pub(super) fn put_local(&mut self, number: u16, mac: MacAddr, local: Local) {
        match self.locals.insert((number, mac), local) {
            Some(old) if old.port == local.port => return,
            Some(old) => self.leave_port(number, old.port),
            None => {
                if let Some(instance) = self.slot_mut(number) {
                    instance.local_macs += 1;
                }
            }
        }
        if local.port != 0 {
            *self.port_macs.entry((number, local.port)).or_default() += 1;
        }
    }

    fn leave_port(&mut self, number: u16, port: u32) {
        if let Some(count) = self.port_macs.get_mut(&(number, port)) {
            *count -= 1;
            if *count == 0 {
                self.port_macs.remove(&(number, port));
            }
        }
    }

    /// Forgets a local MAC; the name of its port is the caller's.
    fn take_local(&mut self, number: u16, mac: MacAddr) -> Option<Local> {
        let local = self.locals.remove(&(number, mac))?;
        self.leave_port(number, local.port);
        if let Some(instance) = self.slot_mut(number) {
            instance.local_macs -= 1;
        }
        Some(local)
    }

    /// A local MAC aged out or its port went. Where a remote host announces it, its row is installed.
    pub fn handle_local_mac_gone(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, vni: Vni, mac: MacAddr) {
        let Some(&number) = self.by_vni.get(&vni) else { return };
        let Some(local) = self.locals.get(&(number, mac)).copied().filter(|local| !local.of_host) else { return };
        let place = self.place_of(&local);
        if local.configured {
            self.port_names.release(local.port_name);
            let port_name = self.port_names.acquire(String::new());
            self.put_local(number, mac, Local { port: 0, port_name, operator_static: false, ..local });
            self.made_room(now, number, true);
            return;
        }
        self.take_local(number, mac);
        self.port_names.release(local.port_name);
        self.made_room(now, number, true);
        if !local.owned {
            return;
        }
        // RFC 7432 §15.1: frozen where it was; it is not there any more, and what remains of it is no duplicate.
        if self.duplicates.is_frozen(&(number, mac)) {
            self.thaw(now, (number, mac), "its port forgot it");
        }
        self.note_sequence(vni, mac, local.sequence);
        self.note_last_sequence(now, (vni, mac), Last::Own(local.sequence));
        self.withdraw(now, rib, fib, number, mac);
        match self.macs.find(number, mac) {
            Some(id) => self.decide(now, rib, fib, id, None, Some(place)),
            None => self.events.push(Event::MacGone { vni, mac, place }),
        }
    }

    /// The whole set of a VNI's local MACs, after a dump: what is not in it is gone.
    pub fn handle_local_macs(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, vni: Vni, macs: &[LocalMac]) {
        let Some(&number) = self.by_vni.get(&vni) else { return };
        self.offer_again(number, true);
        let first = self.slot_mut(number).is_some_and(|instance| !std::mem::replace(&mut instance.listed, true));
        let present: BTreeSet<MacAddr> = macs.iter().map(|heard| heard.mac).collect();
        let gone: Vec<MacAddr> = self.local_range(number).map(|(mac, _)| mac).filter(|mac| !present.contains(mac)).collect();
        for mac in gone {
            self.handle_local_mac_gone(now, rib, fib, vni, mac);
        }
        for heard in macs.iter().filter(|heard| heard.vni == vni) {
            // A dump may be older than the row that a remote host just won. Once the kernel has acknowledged that row, the
            // kernel room tells of the MAC only if a port heard it since: it moved back, and its event was lost.
            let lost = self.locals.get(&(number, heard.mac)).is_some_and(|local| !local.owned);
            let remote = self.macs.find(number, heard.mac).is_some_and(|id| self.macs.entry(id).remote != NONE);
            let written = || fib.unicast(vni, heard.mac).is_some_and(|row| row.status == Status::InSync);
            let news = !(lost || first) || !remote || written();
            if news || !lost && !self.left_while_away(now, rib, fib, number, heard) {
                self.handle_local_mac(now, rib, fib, heard);
            }
        }
        self.offered_again(number, true);
        if self.slot_mut(number).is_some_and(|instance| std::mem::take(&mut instance.was_away)) {
            self.ask_all(number, vni);
        }
    }

    /// The last remote route of a MAC went. Where it had beaten ours and the bridge was never told, the MAC still stands at
    /// its port, without a further event: it is ours again.
    pub(super) fn restore_local(&mut self, now: Time, rib: &mut Rib, fib: &Fib, number: u16, mac: MacAddr) -> bool {
        let Some(local) = self.locals.get(&(number, mac)).copied().filter(|local| !local.owned) else { return false };
        let Some(vni) = self.slot(number).map(|instance| instance.config.vni) else { return false };
        if !fib.is_left_to_bridge(vni, mac) {
            if fib.may_be_left_to_bridge(vni, mac) {
                // Nobody can tell from here, and a port that kept the MAC all the time is not heard of again.
                self.resync_locals = true;
                return false;
            }
            // The row is in the kernel, or on its way: the bridge gave the port's entry up.
            self.take_local(number, mac);
            self.port_names.release(local.port_name);
            self.made_room(now, number, true);
            return false;
        }
        let sequence = next_sequence(local.sequence);
        self.locals.insert((number, mac), Local { owned: true, sequence, ..local });
        self.note_sequence(vni, mac, sequence);
        let place = self.place_of(&local);
        self.events.push(Event::MacLearned { vni, mac, place, sequence, sticky: local.is_static() });
        self.announce(now, rib, number, mac);
        true
    }

    /// The row of a MAC, which stood, is taken back because nobody uses it: the bridge gave the port's entry up when it was written,
    /// and one that a remote host won is not remembered any longer. A port that hears it tells of it.
    pub fn handle_row_asleep(&mut self, now: Time, vni: Vni, mac: MacAddr) {
        let Some(&number) = self.by_vni.get(&vni) else { return };
        if self.locals.get(&(number, mac)).is_some_and(|local| !local.owned)
            && let Some(local) = self.take_local(number, mac)
        {
            self.port_names.release(local.port_name);
            self.made_room(now, number, true);
        }
    }

    /// A static MAC of the configuration: ours though nobody spoke.
    pub(super) fn add_configured_mac(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, number: u16, mac: MacAddr) {
        let Some(vni) = self.slot(number).map(|instance| instance.config.vni) else { return };
        let owned = |evpn: &Self| evpn.locals.get(&(number, mac)).is_some_and(|local| local.owned);
        let heard_before = owned(self);
        if !heard_before {
            let heard = LocalMac { vni, mac, port: 0, port_name: String::new(), is_static: true };
            self.handle_local_mac(now, rib, fib, &heard);
        }
        if let Some(local) = self.locals.get_mut(&(number, mac)) {
            local.configured = true;
            local.operator_static &= heard_before;
        }
        if heard_before {
            self.announce(now, rib, number, mac);
        }
    }

    /// The local MACs of an instance that is made anew with another configuration.
    pub(super) fn put_locals(&mut self, number: u16, locals: Vec<(MacAddr, Local)>) {
        for (mac, local) in locals {
            if local.port == 0 {
                self.port_names.release(local.port_name);
                continue;
            }
            self.put_local(number, mac, Local { configured: false, ..local });
        }
    }

    pub(super) fn place_of(&self, local: &Local) -> Place {
        Place::Port(self.port_names.value(local.port_name).cloned().unwrap_or_default())
    }

    pub(super) fn local_range(&self, number: u16) -> impl Iterator<Item = (MacAddr, &Local)> {
        let range = (number, MacAddr::ZERO)..=(number, MacAddr([0xff; 6]));
        self.locals.range(range).map(|(&(_, mac), local)| (mac, local))
    }

    pub(super) fn owned_macs(&self, number: u16) -> Vec<MacAddr> {
        self.local_range(number).filter(|(_, local)| local.owned).map(|(mac, _)| mac).collect()
    }

    /// Takes the local MACs of an instance out, to be put back or released.
    pub(super) fn take_locals(&mut self, number: u16) -> Vec<(MacAddr, Local)> {
        let macs: Vec<MacAddr> = self.local_range(number).map(|(mac, _)| mac).collect();
        macs.into_iter().filter_map(|mac| Some((mac, self.take_local(number, mac)?))).collect()
    }
}
