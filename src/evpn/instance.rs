//! [`Evpn`]: the instances of this host, how they come and go, and what they announce of themselves.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use smallvec::SmallVec;

use super::addresses::Addresses;
use super::config::{EvpnConfig, Flood, InstanceConfig};
use super::conflicts::Conflicts;
use super::duplicates::Duplicates;
use super::event::{Event, Events};
use super::facts::FactTable;
use super::flood::ImetUse;
use super::guests::Moves;
use super::import::{Targets, export_targets};
use super::imports::Imports;
use super::kept::{Kept, Last};
use super::local::Local;
use super::macs::{Macs, NONE};
use super::own_addresses::{Departed, Left, Own, Parked};
use super::pace::Pace;
use super::room::{Looks, Refused};
use super::view::EvpnStats;
use super::violations::Violations;
use crate::base::{InternId, Interner, MacAddr, Time, Vni};
use crate::fib::{Fib, HostStation, Remote};
use crate::rib::{DestId, Rib, RouteKey};
use crate::wire::attribute::Attributes;
use crate::wire::esi::Esi;
use crate::wire::ext_community::ExtCommunity;
use crate::wire::pmsi::PmsiTunnel;

/// The MAC-VRFs of this host.
#[derive(Debug)]
pub struct Evpn {
    pub(super) config: EvpnConfig,
    pub(super) instances: Vec<Option<Instance>>,
    pub(super) by_vni: BTreeMap<Vni, u16>,
    pub(super) targets: Targets,
    pub(super) facts: FactTable,
    /// By destination: the interned set of instances whose tables have it, plus one; 0: none.
    pub(super) imported: Vec<u32>,
    pub(super) macs: Macs,
    pub(super) addresses: Addresses,
    /// The addresses of each MAC of ours.
    pub(super) own_ips: BTreeMap<(u16, MacAddr), SmallVec<[IpAddr; 2]>>,
    /// Addresses of MACs that no port was told to have yet.
    pub(super) parked: Parked,
    pub(super) departed: Departed,
    pub(super) left: Left,
    pub(super) moves: Moves,
    /// Stations to be asked whether they have addresses.
    pub(super) to_ask: Vec<(Vni, MacAddr, IpAddr)>,
    /// The same, and when: not at once.
    pub(super) to_ask_later: VecDeque<(Time, (Vni, MacAddr, IpAddr))>,
    /// Stations of ours from which another MAC took an address, since they were asked for last.
    pub(super) taken: Vec<(Vni, MacAddr, IpAddr)>,
    pub(super) locals: BTreeMap<(u16, MacAddr), Local>,
    /// How many MACs stand at each port of each instance.
    pub(super) port_macs: BTreeMap<(u16, u32), u32>,
    pub(super) port_names: Interner<String>,
    /// It is not known whether a MAC still stands at its port: only the bridge can tell.
    pub(super) resync_locals: bool,
    pub(super) duplicates: Duplicates,
    pub(super) conflicts: Conflicts,
    pub(super) violations: Violations,
    pub(super) pace: Pace,
    pub(super) looks: Looks,
    pub(super) kept: Kept,
    pub(super) imports: Imports,
    pub(super) imets: BTreeMap<DestId, ImetUse>,
    pub(super) events: Events,
    pub(super) stats: EvpnStats,
}

/// What an instance that is made anew keeps: MACs of our bridge, addresses of theirs, and what this host is.
type Remembered = (Vec<(MacAddr, Local)>, Vec<(IpAddr, Own)>, Option<HostStation>);

/// One MAC-VRF.
#[derive(Debug)]
pub(super) struct Instance {
    pub config: InstanceConfig,
    /// There is a device that can take rows and send: we announce.
    pub ready: bool,
    /// What every route of it carries, but for MAC mobility.
    pub attributes: Attributes,
    /// Flood list with the number of type 3 routes that name each.
    pub flood: BTreeMap<Remote, u32>,
    pub remote_macs: usize,
    pub local_macs: usize,
    /// What its limits refused.
    pub refused: Refused,
    /// Its bridge was listed.
    pub listed: bool,
    /// Its device was gone, and its bridge was not listed since: hosts may have other addresses by now.
    pub was_away: bool,
    /// What this host itself is in its segment.
    pub host: Option<HostStation>,
}

impl Evpn {
    /// No instance.
    pub fn new(config: EvpnConfig) -> Self {
        Self {
            instances: Vec::new(),
            by_vni: BTreeMap::new(),
            targets: Targets::default(),
            facts: FactTable::new(config.seed),
            imported: Vec::new(),
            macs: Macs::new(config.seed),
            addresses: Addresses::new(),
            own_ips: BTreeMap::new(),
            parked: Parked::new(),
            departed: Departed::default(),
            left: Left::default(),
            moves: Moves::default(),
            to_ask: Vec::new(),
            to_ask_later: VecDeque::new(),
            taken: Vec::new(),
            locals: BTreeMap::new(),
            port_macs: BTreeMap::new(),
            port_names: Interner::new(config.seed),
            resync_locals: false,
            duplicates: Duplicates::new(config.duplicates),
            conflicts: Conflicts::new(config.duplicates),
            violations: Violations::default(),
            pace: Pace::default(),
            looks: Looks::default(),
            kept: Kept::default(),
            imports: Imports::default(),
            imets: BTreeMap::new(),
            events: Events::new(config.limits.events),
            stats: EvpnStats::default(),
            config,
        }
    }

    /// Adds an instance; [`Evpn::work`] imports what the RIB holds for it. One that exists already is replaced, where it differs.
    pub fn add_instance(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, config: InstanceConfig) {
        let vni = config.vni;
        let (mut ready, mut listed, mut was_away, mut replaces) = (false, false, false, false);
        let (mut locals, mut own, mut host, mut refused) = (Vec::new(), Vec::new(), None, Refused::default());
        if let Some(number) = self.by_vni.get(&vni).copied() {
            let Some(old) = self.slot(number) else { return };
            if old.config == config {
                return;
            }
            (ready, listed, was_away, refused, replaces) = (old.ready, old.listed, old.was_away, old.refused, true);
            host = old.host.clone();
            self.device_down(now, rib, vni);
            own = self.own_addresses(number);
            locals = self.take_locals(number);
            self.take_instance(now, rib, fib, vni);
        }
        self.add_new(now, rib, fib, config, (locals, own, host), (refused, replaces));
        if let Some(instance) = self.by_vni.get(&vni).copied().and_then(|number| self.slot_mut(number)) {
            instance.listed = listed;
            instance.was_away = was_away;
        }
        if ready {
            self.device_up(now, rib, vni);
        }
    }

    fn add_new(
        &mut self,
        now: Time,
        rib: &mut Rib,
        fib: &mut Fib,
        config: InstanceConfig,
        (locals, own, host): Remembered,
        (refused, replaces): (Refused, bool),
    ) {
        let free = self.instances.iter().position(Option::is_none);
        let number = free.unwrap_or(self.instances.len());
        if number >= usize::from(u16::MAX) {
            self.stats.instances_refused += 1;
            return;
        }
        let mut attributes = Attributes { next_hop: self.config.vtep, ..Attributes::default() };
        let targets = export_targets(self.config.asn, config.vni, &config.export);
        attributes.ext_communities = targets.into_iter().map(ExtCommunity::route_target).collect();
        attributes.ext_communities.push(ExtCommunity::vxlan());
        let number = number as u16;
        let static_macs = config.static_macs.clone();
        self.targets.add(number, config.vni, &config.import);
        self.by_vni.insert(config.vni, number);
        let (flood, remote_macs, local_macs) = (BTreeMap::new(), 0, 0);
        let instance = Instance {
            config,
            ready: false,
            attributes,
            flood,
            remote_macs,
            local_macs,
            refused,
            listed: false,
            was_away: false,
            host,
        };
        if usize::from(number) == self.instances.len() {
            self.instances.push(Some(instance));
        } else {
            self.instances[usize::from(number)] = Some(instance);
        }
        self.put_locals(number, locals);
        self.facts.clear();
        self.imports.begin(number, rib.dest_ids());
        if replaces {
            // At once: its rows are about to be deleted, and what is wanted again before the next batch stays untouched.
            while self.work_imports(now, rib, fib, usize::MAX) {}
        }
        for mac in static_macs {
            self.add_configured_mac(now, rib, fib, number, mac);
        }
        self.put_own(now, rib, fib, number, own);
        self.put_host(now, rib, fib, number);
    }

    /// Removes an instance: withdraws its routes, clears its rows. The flood list that hosts without EVPN are on stays for them.
    pub fn remove_instance(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, vni: Vni) {
        let Some(number) = self.by_vni.get(&vni).copied() else { return };
        if let Some(instance) = self.slot_mut(number).filter(|instance| instance.config.beside) {
            for remote in std::mem::take(&mut instance.flood).into_keys() {
                fib.leave_flood(now, vni, remote);
            }
        }
        self.take_instance(now, rib, fib, vni);
    }

    fn take_instance(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, vni: Vni) {
        let Some(number) = self.by_vni.get(&vni).copied() else { return };
        self.device_down(now, rib, vni);
        self.end_violations_in(number);
        for (mac, local) in self.take_locals(number) {
            self.port_names.release(local.port_name);
            // The VNI may be back in a moment, and its MACs with it.
            if local.owned {
                self.note_last_sequence(now, (vni, mac), Last::Own(local.sequence));
            }
        }
        self.leave_addresses(now, number, vni);
        self.forget_addresses(now, fib, number, vni);
        let ids: Vec<u32> = self.macs.iter().filter(|(_, entry)| entry.instance == number).map(|(id, _)| id).collect();
        for id in ids {
            let entry = *self.macs.entry(id);
            if entry.remote != NONE {
                fib.clear_unicast(now, vni, entry.mac, false);
                self.facts.remotes.release(InternId(entry.remote));
            }
            self.macs.remove(id);
        }
        if let Some(instance) = self.instances[usize::from(number)].take() {
            for remote in instance.flood.keys() {
                fib.clear_flood(now, vni, *remote);
            }
        }
        for imet in self.imets.values_mut() {
            imet.instances.retain(|other| *other != number);
        }
        self.imets.retain(|_, imet| !imet.instances.is_empty());
        for at in 0..self.imported.len() {
            let Some(set) = self.imported[at].checked_sub(1).map(InternId) else { continue };
            if self.facts.set(set).contains(&number) {
                let left: Vec<u16> = self.facts.set(set).iter().copied().filter(|other| *other != number).collect();
                self.facts.sets.release(set);
                self.imported[at] = if left.is_empty() { 0 } else { self.facts.sets.acquire(left.into()).0 + 1 };
            }
        }
        self.by_vni.remove(&vni);
        self.duplicates.forget_instance(number);
        self.conflicts.forget_instance(number);
        self.pace.forget_instance(number);
        self.imports.forget(number);
        self.targets.remove(number);
        self.facts.clear();
    }

    /// The device of an instance is ready: it announces itself (type 3) and its MACs.
    pub fn device_up(&mut self, now: Time, rib: &mut Rib, vni: Vni) {
        let (Some(&number), Some(vtep)) = (self.by_vni.get(&vni), self.config.vtep) else { return };
        let Some(instance) = self.instances[usize::from(number)].as_mut() else { return };
        if std::mem::replace(&mut instance.ready, true) {
            return;
        }
        let tunnel = match instance.config.flood {
            Flood::IngressReplication => Some(PmsiTunnel::ingress_replication(vni.get(), vtep)),
            // RFC 6514 §5: who is in the group needs no copy of his own.
            Flood::Multicast(group) => Some(PmsiTunnel::multicast(vni.get(), vtep, group)),
            Flood::None => None,
        };
        if tunnel.is_some() {
            let attributes = Attributes { pmsi: tunnel, ..instance.attributes.clone() };
            let key = RouteKey::Imet { rd: instance.config.rd, tag: 0, originator: vtep };
            rib.originate(now, &key, &attributes, 0, None, Esi::default());
        }
        for mac in self.owned_macs(number) {
            self.announce(now, rib, number, mac);
        }
    }

    /// The device is gone or unusable: frames cannot reach us, so nothing is announced. Local MACs are remembered.
    pub fn device_down(&mut self, _now: Time, rib: &mut Rib, vni: Vni) {
        let (Some(&number), Some(vtep)) = (self.by_vni.get(&vni), self.config.vtep) else { return };
        let Some(instance) = self.instances[usize::from(number)].as_mut() else { return };
        if !std::mem::replace(&mut instance.ready, false) {
            return;
        }
        instance.was_away = true;
        let rd = instance.config.rd;
        rib.withdraw_local(&RouteKey::Imet { rd, tag: 0, originator: vtep });
        for mac in self.owned_macs(number) {
            rib.withdraw_local(&RouteKey::MacIp { rd, tag: 0, mac, ip: None });
            for ip in self.own_ips.get(&(number, mac)).into_iter().flatten() {
                rib.withdraw_local(&RouteKey::MacIp { rd, tag: 0, mac, ip: Some(*ip) });
            }
        }
    }

    /// Originates the type 2 of a local MAC, or changes it.
    pub(super) fn announce(&mut self, now: Time, rib: &mut Rib, number: u16, mac: MacAddr) {
        let Some(local) = self.locals.get(&(number, mac)) else { return };
        let Some(instance) = self.slot(number) else { return };
        if !instance.ready || !local.is_announced(instance.config.announce_own) || !instance.config.macs {
            return;
        }
        let mut attributes = instance.attributes.clone();
        if local.sequence > 0 || local.is_static() {
            attributes.ext_communities.push(ExtCommunity::mac_mobility(local.is_static(), local.sequence));
        }
        let key = RouteKey::MacIp { rd: instance.config.rd, tag: 0, mac, ip: None };
        rib.originate(now, &key, &attributes, instance.config.vni.get(), None, Esi::default());
        self.announce_addresses(now, rib, number, mac);
    }

    /// Withdraws the type 2 of a local MAC, and those of its addresses.
    pub(super) fn withdraw(&mut self, now: Time, rib: &mut Rib, fib: &mut Fib, number: u16, mac: MacAddr) {
        self.lose_addresses(now, rib, fib, number, mac);
        if let Some(instance) = self.slot(number).filter(|instance| instance.ready) {
            rib.withdraw_local(&RouteKey::MacIp { rd: instance.config.rd, tag: 0, mac, ip: None });
        }
    }

    /// Whether events of debug level (one for every MAC) are wanted; without, they cost nothing. They are at first.
    pub fn set_verbose(&mut self, verbose: bool) {
        self.events.verbose = verbose;
    }

    /// The next event for the log and the monitor.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    pub(super) fn slot(&self, number: u16) -> Option<&Instance> {
        self.instances.get(usize::from(number))?.as_ref()
    }

    pub(super) fn slot_mut(&mut self, number: u16) -> Option<&mut Instance> {
        self.instances.get_mut(usize::from(number))?.as_mut()
    }
}
