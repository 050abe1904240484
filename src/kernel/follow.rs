//! What the thread does with notifications: MACs that come, move and go at local ports, rows that others touched,
//! interfaces that change; and what it does when notifications were lost.

use std::collections::BTreeSet;

use super::codec::{self, Message};
use super::dumper::{Finished, Job};
use super::fdb::Entry;
use super::links::{Change, Link, LinkKind, Links, VxlanInfo};
use super::nexthops;
use super::request::{KernelSaid, Requests};
use super::setup;
use super::socket::Received;
use super::stations::Station;
use super::worker::{Worker, now};
use super::writer;
use crate::base::{MacAddr, Vni};
use crate::fib::{KernelEvent, KernelRow, LocalMac};

/// System calls of one slice: about a thousand datagrams.
const BURSTS: usize = 16;
/// Rows of one device gone in one slice that make us ask whether the device itself is gone.
const MANY: usize = 32;
/// `RTEXT_FILTER_SKIP_STATS`: no counters in dumps of interfaces.
const SKIP_STATS: u32 = 8;

/// What is put off to the end of a slice.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Rows deleted by others: told unless their device turns out to be gone.
    rows_gone: Vec<(u32, Vni, KernelRow)>,
    /// A bridge's half deleted; its VXLAN half's notification follows at once where both went.
    half: Option<(u32, MacAddr)>,
    /// Halves whose other half stayed.
    halves: Vec<(u32, MacAddr)>,
    /// Bridge entries that point to the tunnel without the mark of a control plane.
    unmarked: Vec<(u32, MacAddr)>,
    /// Bridges that were looked at because neighbours of IPv6 went.
    pub(super) ipv6_looked_at: BTreeSet<u32>,
}

impl Worker {
    /// Reads a slice of notifications. Whether none is left.
    pub(super) fn read_events(&mut self) -> bool {
        let mut burst = std::mem::take(&mut self.burst);
        let mut drained = false;
        for _ in 0..BURSTS {
            match self.events.receive_burst(&mut burst) {
                Ok(Received::Octets(_)) => {
                    for (octets, cut) in burst.datagrams() {
                        if cut {
                            // What an interface has to say may grow for ever (virtual functions); none seen passed 64 KiB.
                            tracing::warn!("a notification of the kernel was too long: reading everything again");
                            self.resync = true;
                        }
                        for message in codec::messages(octets) {
                            self.handle_event(&message);
                        }
                    }
                }
                Ok(Received::Empty) => {
                    drained = true;
                    self.wrote = false;
                    break;
                }
                // Nothing more is queued until everything is read: the dump waits for that.
                Ok(Received::Lost) => {
                    self.lost += 1;
                    self.resync = true;
                    tracing::warn!(times = self.lost, "notifications of the kernel were lost: reading everything again");
                    self.out.push(KernelEvent::Overflow { lost: self.lost });
                }
                Err(error) => {
                    tracing::warn!(%error, "notifications of the kernel cannot be read: reading everything again");
                    self.resync = true;
                    drained = true;
                    break;
                }
            }
        }
        self.burst = burst;
        self.end_slice();
        drained
    }

    fn handle_event(&mut self, message: &Message<'_>) {
        match message.kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => {
                let change = self.links.handle(message.kind, message.body);
                self.handle_change(&change);
            }
            libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => {
                if let Some(mut entry) = Entry::parse(message.body) {
                    self.nexthops.resolve(&mut entry);
                    self.handle_entry(message.kind == libc::RTM_NEWNEIGH, &entry);
                } else {
                    self.handle_neighbor(message.kind == libc::RTM_NEWNEIGH, message.body);
                }
            }
            libc::RTM_NEWADDR | libc::RTM_DELADDR => self.handle_own_address(message.body),
            libc::RTM_NEWNETCONF => self.handle_setting(message),
            nexthops::RTM_NEWNEXTHOP | nexthops::RTM_DELNEXTHOP => self.handle_nexthop(message),
            libc::RTM_NEWTFILTER | libc::RTM_DELTFILTER | libc::RTM_DELQDISC => self.handle_filter(message),
            _ => {}
        }
    }

    pub(super) fn handle_entry(&mut self, new: bool, entry: &Entry) {
        let key = (entry.ifindex, entry.mac);
        if entry.is_self() {
            if !new && self.seen.half == Some(key) {
                self.seen.half = None;
            }
            // First, for it comes also where the device was given up meanwhile: an echo left over would hide the next one.
            let echo = !new && self.writer.is_echo(entry.ifindex, entry.mac);
            let Some(vni) = self.devices.get(&entry.ifindex).copied() else { return };
            let Some(row) = entry.row() else { return };
            if new {
                // Before our own delete, whose notification is yet to come, it is as gone as what was there before.
                if !self.writer.awaits_echo(entry.ifindex, entry.mac) {
                    self.out.push(KernelEvent::RowChanged { vni, row });
                }
            } else if !echo {
                self.seen.rows_gone.push((entry.ifindex, vni, row));
            }
            return;
        }
        let Some(vni) = entry.master.and_then(|bridge| self.bridges.get(&bridge)).copied() else { return };
        if entry.vlan.unwrap_or(0) != 0 {
            // A bridge whose ports have VLANs doubles every entry, though it looks at none of them.
            return;
        }
        if self.devices.get(&entry.ifindex) == Some(&vni) {
            if new {
                // The bridge believes that the MAC is behind the tunnel now.
                self.station_gone(vni, entry.mac, false);
                if entry.state & libc::NUD_PERMANENT == 0 {
                    self.seen.unmarked.push(key);
                }
            } else if entry.is_ext_learned() && !self.writer.awaits_echo(entry.ifindex, entry.mac) {
                self.seen.halves.extend(self.seen.half.replace(key));
            }
            return;
        }
        match entry.station().filter(|_| new) {
            Some(is_static) => {
                if self.wrote && self.is_old_news(vni, entry.mac) {
                    return;
                }
                let own = self.links.is_own_mac(entry.mac);
                let station = Station { port: entry.ifindex, is_static };
                let Some(managed) = self.managed.get_mut(&vni) else { return };
                if managed.stations.heard(entry.mac, station, own) {
                    managed.note_arrival(entry.mac);
                    let told = self.local_mac(vni, entry.mac, station);
                    self.out.push(KernelEvent::LocalMac(told));
                }
            }
            // Gone, or no station any more (set PERMANENT, say).
            None => self.station_gone(vni, entry.mac, !new),
        }
    }

    /// Whether the bridge has a MAC at no local port any more. What a port heard before we wrote the row of the MAC, or wrote
    /// and deleted it, is no news: the bridge's entry was ours in between, and no notification says that it went.
    fn is_old_news(&mut self, vni: Vni, mac: MacAddr) -> bool {
        let Some(device) = self.ready_device(vni).map(|ready| ready.ifindex) else { return false };
        match writer::entry(&mut self.requests, &self.nexthops, device, mac, libc::NTF_MASTER) {
            Ok(Some(entry)) => entry.ifindex == device,
            Ok(None) => {
                // The port took the bridge's half of a row and lost it since.
                self.seen.halves.push((device, mac));
                true
            }
            Err(_) => false,
        }
    }

    /// A MAC is at no local port any more. `forgotten`: its port lost it to nobody, and is asked whether it is there all the same.
    fn station_gone(&mut self, vni: Vni, mac: MacAddr, forgotten: bool) {
        let Some(managed) = self.managed.get_mut(&vni) else { return };
        let port = forgotten.then(|| managed.stations.port(mac)).flatten();
        if managed.stations.gone(mac) {
            match port {
                Some(port) => managed.addresses.lost(now(), mac, port),
                None => managed.addresses.forget(mac),
            }
            self.out.push(KernelEvent::LocalMacGone { vni, mac });
        }
    }

    fn local_mac(&self, vni: Vni, mac: MacAddr, station: Station) -> LocalMac {
        LocalMac { vni, mac, port: station.port, port_name: self.links.name(station.port), is_static: station.is_static }
    }

    /// An interface changed: which wanted devices may be concerned, and whose MACs are stations now or no more.
    pub(super) fn handle_change(&mut self, change: &Change) {
        self.retune |= !change.touched.is_empty();
        for link in &change.touched {
            let mut concerned: Vec<Vni> = self.names.get(&link.name).into_iter().flatten().copied().collect();
            concerned.extend(self.devices.get(&link.ifindex));
            concerned.extend(self.bridges.get(&link.ifindex));
            concerned.extend(link.master.and_then(|master| self.bridges.get(&master)));
            let bridge = match link.kind {
                LinkKind::Bridge { .. } => Some(link),
                _ => link.master.and_then(|master| self.links.link(master)),
            };
            // One that could not be used for what is in it, whatever the VNIs of its devices say that it is called.
            if let Some(bridge) = bridge {
                concerned.extend(self.names.get(&bridge.name).into_iter().flatten());
                for member in self.links.members(bridge.ifindex) {
                    if let LinkKind::Vxlan(VxlanInfo { vni: Some(vni), .. }) = &member.kind {
                        concerned.push(*vni);
                    }
                }
            }
            if let LinkKind::Vxlan(info) = &link.kind {
                self.note_port(info.port);
                self.note_departure(link);
                concerned.extend(info.vni);
            }
            self.note_own(Some(link.ifindex));
            self.note_name(link);
            if let Some(vni) = self.devices.get(&link.ifindex).copied().filter(|vni| self.is_bare(*vni)) {
                // Its MAC may be another one.
                self.dumper.push(Job::Stations { vni });
            }
            self.dirty.extend(concerned.into_iter().filter(|vni| self.managed.contains_key(vni)));
        }
        if change.macs_new.is_empty() && change.macs_gone.is_empty() {
            return;
        }
        let ready: Vec<Vni> = self.devices.values().copied().collect();
        for vni in ready {
            for mac in &change.macs_new {
                if self.managed.get_mut(&vni).is_some_and(|managed| managed.stations.became_own(*mac)) {
                    self.out.push(KernelEvent::LocalMacGone { vni, mac: *mac });
                }
            }
            for mac in &change.macs_gone {
                if let Some(station) = self.managed.get_mut(&vni).and_then(|managed| managed.stations.became_foreign(*mac)) {
                    let told = self.local_mac(vni, *mac, station);
                    self.out.push(KernelEvent::LocalMac(told));
                }
            }
        }
    }

    /// An interface that was called otherwise (`before`): those behind it are told again, by the name of their port.
    fn note_name(&mut self, before: &Link) {
        let Some(port) = self.links.link(before.ifindex).filter(|link| link.name != before.name) else { return };
        let Some(&vni) = port.master.and_then(|bridge| self.bridges.get(&bridge)) else { return };
        let Some(managed) = self.managed.get(&vni) else { return };
        let behind = managed.stations.iter().filter(|(_, station)| station.port == before.ifindex);
        let told: Vec<LocalMac> = behind.map(|(mac, station)| self.local_mac(vni, mac, station)).collect();
        self.out.extend(told.into_iter().map(KernelEvent::LocalMac));
    }

    /// Tells the rows that others deleted. Those of a device that was removed are not told one by one.
    fn end_slice(&mut self) {
        self.tell_lost();
        let mut seen = std::mem::take(&mut self.seen);
        seen.halves.extend(seen.half);
        let mut gone = Vec::new();
        let mut asked = Vec::new();
        for (ifindex, _, _) in &seen.rows_gone {
            if !asked.contains(ifindex) {
                asked.push(*ifindex);
                let many = seen.rows_gone.iter().filter(|(other, _, _)| other == ifindex).count() > MANY;
                if many && !setup::exists(&mut self.requests, *ifindex) {
                    gone.push(*ifindex);
                }
            }
        }
        for (ifindex, vni, row) in seen.rows_gone {
            if !gone.contains(&ifindex) {
                self.out.push(KernelEvent::RowGone { vni, row });
            }
        }
        for (ifindex, mac) in seen.unmarked {
            self.mark_again(ifindex, mac);
        }
        for (ifindex, mac) in seen.halves {
            let Some(vni) = self.devices.get(&ifindex).copied().filter(|_| !gone.contains(&ifindex)) else { continue };
            match writer::entry(&mut self.requests, &self.nexthops, ifindex, mac, libc::NTF_MASTER) {
                // It stands again, or a local port has it.
                Ok(Some(_)) => continue,
                Ok(None) => {}
                // The device is in no bridge any more: its going is told instead.
                Err(_) => {
                    gone.push(ifindex);
                    continue;
                }
            }
            let own = writer::entry(&mut self.requests, &self.nexthops, ifindex, mac, libc::NTF_SELF);
            if let Some(row) = own.ok().flatten().and_then(|entry| entry.row()) {
                self.out.push(KernelEvent::RowGone { vni, row });
            }
        }
    }

    /// Gives the bridge's half of a row its mark back, without which it would age out and its frames be flooded: once a
    /// port heard a MAC that netlink wrote, a later write moves the entry and leaves it unmarked
    /// (`br_fdb_external_learn_add` looks at BR_FDB_ADDED_BY_USER, which stays). Deleted and written anew it has it.
    pub(super) fn mark_again(&mut self, ifindex: u32, mac: MacAddr) {
        let learns = |vni: &Vni| self.managed.get(vni).is_none_or(|managed| managed.spec.learning);
        if self.devices.get(&ifindex).is_none_or(learns) {
            return;
        }
        let mut entry = |table| writer::entry(&mut self.requests, &self.nexthops, ifindex, mac, table).ok().flatten();
        let unmarked = entry(libc::NTF_MASTER).is_some_and(|entry| entry.ifindex == ifindex && !entry.is_ext_learned());
        if !unmarked || !entry(libc::NTF_SELF).is_some_and(|entry| entry.is_ext_learned()) {
            return;
        }
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let half = |out: &mut Vec<u8>, flags| {
            codec::ndmsg(out, ifindex, libc::NUD_REACHABLE | libc::NUD_NOARP, flags);
            codec::attribute(out, libc::NDA_LLADDR, &mac.0);
        };
        let done = self.requests.change(libc::RTM_DELNEIGH, 0, |out| half(out, libc::NTF_MASTER)).and_then(|()| {
            self.requests.change(libc::RTM_NEWNEIGH, flags, |out| half(out, libc::NTF_MASTER | libc::NTF_EXT_LEARNED))
        });
        if let Err(said) = done {
            tracing::warn!(%mac, error = said.text, "a bridge entry could not be marked as ours: it will age out");
        }
    }

    /// Reads the table of interfaces again and has every local MAC read again: at the start, and after notifications were lost.
    pub(super) fn read_everything(&mut self) {
        let mut links = Links::default();
        let result = read_links(&mut self.requests, &mut links);
        if let Err(said) = result {
            tracing::error!(error = said.text, "the interfaces of this host cannot be read");
            self.out.push(KernelEvent::Fatal(format!("the interfaces of this host cannot be read: {}", said.text)));
            return;
        }
        let before = std::mem::replace(&mut self.links, links);
        before.all_vxlans().for_each(|link| self.note_departure(link));
        self.writer.forget_echoes();
        self.read_nexthops();
        // What became of their filters meanwhile nobody told either.
        self.unfiltered.extend(self.bridges.keys());
        self.own_changed.extend(self.bridges.values());
        self.dirty.extend(self.managed.keys().copied());
        self.resync_stations();
    }

    /// Reads the table of interfaces again, and looks at what is not as it was told: for the audit.
    pub(super) fn check_links(&mut self) {
        let mut bodies = Vec::new();
        let result = ask_links(&mut self.requests, |kind, body| bodies.push((kind, body.to_vec())));
        if let Err(said) = result {
            tracing::warn!(error = said.text, "the interfaces of this host cannot be read for the audit");
            return;
        }
        let mut seen = BTreeSet::new();
        for (kind, body) in bodies {
            seen.extend(codec::u32_at(&body, 4));
            let change = self.links.handle(kind, &body);
            self.handle_change(&change);
        }
        let change = self.links.retain(&seen);
        self.handle_change(&change);
        self.own_changed.extend(self.bridges.values());
        self.keep_closed(true);
    }

    /// Has the local MACs of every VNI read again.
    pub(super) fn resync_stations(&mut self) {
        for vni in self.devices.values() {
            self.dumper.push(Job::Stations { vni: *vni });
        }
    }

    /// Begins the next dump where none is under way.
    pub(super) fn begin_jobs(&mut self) {
        while let Some(job) = self.dumper.next_job() {
            let finished = match job {
                Job::Stations { vni } if self.is_bare(vni) => {
                    let found = self.own_station(vni).into_iter().collect();
                    Some(Finished::Stations { vni, found, error: None })
                }
                Job::Stations { vni } => {
                    let Some(ready) = self.ready_device(vni) else { continue };
                    let (device, members) = (ready.ifindex, self.links.members(ready.bridge_ifindex));
                    let ports = members.map(|link| link.ifindex).filter(|port| *port != device).collect();
                    if let Some(managed) = self.managed.get_mut(&vni) {
                        managed.stations.dump_begins();
                    }
                    self.dumper.begin(job, ports)
                }
                Job::Neighbors { token, vni } => match self.bridge_of(vni) {
                    Some(bridge) => self.dumper.begin(job, [bridge].into()),
                    None => self.begin_leftover(Job::Neighbors { token, vni }),
                },
                Job::Rows { token, vni, at_most, .. } => match self.ready_device(vni).map(|ready| ready.ifindex) {
                    Some(ifindex) => self.dumper.begin(job, [ifindex].into()),
                    None => self.begin_leftover(Job::Rows { token, vni, at_most, ours: true }),
                },
            };
            self.finished(finished);
        }
    }

    /// Tells what a dump found.
    pub(super) fn finished(&mut self, finished: Option<Finished>) {
        match finished {
            Some(Finished::Rows { token, vni, mut rows, other_form }) => {
                if let (true, Ok(rows)) = (self.is_bare(vni) || self.is_bare_leftover(vni), &mut rows) {
                    rows.iter_mut().for_each(|row| row.bridged = true);
                }
                self.out.push(KernelEvent::Rows { token, vni, rows });
                if other_form {
                    self.out.push(KernelEvent::RowsOfOtherForm { vni });
                }
            }
            Some(Finished::Neighbors { token, vni, neighbors }) => {
                self.found_addresses(vni, neighbors.as_deref().unwrap_or_default());
                self.out.push(KernelEvent::Neighbors { token, vni, neighbors });
            }
            Some(Finished::TooMany { token, vni }) => self.out.push(KernelEvent::TooManyRows { token, vni }),
            Some(Finished::Stations { vni, found, error }) if self.ready_device(vni).is_some() => {
                if let Some(error) = &error {
                    tracing::warn!(%vni, error, "the local MACs could not all be read: those known before are kept");
                }
                let Some(managed) = self.managed.get_mut(&vni) else { return };
                let bare = managed.spec.bare;
                managed.stations.dump_ended(found, error.is_none(), |mac| !bare && self.links.is_own_mac(mac));
                let told: Vec<(MacAddr, Station)> = managed.stations.iter().collect();
                told.iter().for_each(|(mac, _)| managed.note_arrival(*mac));
                let host = managed.host.clone();
                let macs = told.into_iter().map(|(mac, station)| self.local_mac(vni, mac, station)).collect();
                self.out.push(KernelEvent::LocalMacs { vni, macs });
                if bare {
                    // Their MAC is known now.
                    self.own_changed.insert(vni);
                } else {
                    self.out.push(KernelEvent::Host { vni, station: host });
                }
                self.tell_own();
            }
            Some(Finished::Stations { .. }) | None => {}
        }
    }
}

/// Reads the table of interfaces.
///
/// # Errors
/// What the kernel said.
pub(super) fn read_links(requests: &mut Requests, links: &mut Links) -> Result<(), KernelSaid> {
    ask_links(requests, |kind, body| {
        links.handle(kind, body);
    })
}

fn ask_links(requests: &mut Requests, mut each: impl FnMut(u16, &[u8])) -> Result<(), KernelSaid> {
    let body = |out: &mut Vec<u8>| {
        codec::ifinfo(out, 0, 0, 0, 0);
        codec::attribute(out, libc::IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes());
    };
    requests.dump(libc::RTM_GETLINK, body, |message| {
        each(message.kind, message.body);
        None::<()>
    })?;
    Ok(())
}
