//! What the thread does about the addresses of hosts: listens at the ports of VNIs that ask for it (`ears`), tells what was said
//! (`packets`), asks those that have been silent (`heard`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::heard::Due;
use super::links::LinkKind;
use super::packets;
use super::worker::{Worker, now};
use crate::base::{MacAddr, Vni};
use crate::fib::{KernelEvent, KernelNeighbor, LimitsMet, NeighborOwner};

/// A bridge that keeps stations for a shorter time, or for none, is asked as if it kept them for so long.
const SHORTEST_AGEING: Duration = Duration::from_secs(1);
/// What a bridge does where nobody says otherwise.
const AGEING: Duration = Duration::from_secs(300);
/// Questions sent in one turn; more wait for the next.
const QUESTIONS_PER_TURN: usize = 64;
/// Between two looks for hosts to ask.
const PAUSE: Duration = Duration::from_millis(20);
/// What was dropped and refused is looked at as often.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// Addresses that hosts asked for lately: each is told once in [`ASKED_AGAIN`], which is as often as a host repeats itself.
#[derive(Debug, Default)]
pub(super) struct Asked {
    told: BTreeSet<(Vni, IpAddr)>,
    since: Option<Instant>,
}

/// See [`Asked`].
const ASKED_AGAIN: Duration = Duration::from_millis(900);

impl Asked {
    fn begin(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now.duration_since(since) >= ASKED_AGAIN) {
            self.since = Some(now);
            self.told.clear();
        }
    }

    /// No more than frames are read in that time, so that its size needs no limit of its own.
    fn is_news(&mut self, vni: Vni, ip: IpAddr) -> bool {
        self.told.insert((vni, ip))
    }
}

impl Worker {
    /// Devices, ports or wishes changed: which ports are listened at.
    pub(super) fn tune(&mut self) {
        let mut wanted = BTreeMap::new();
        for (vni, managed) in self.managed.iter().filter(|(_, managed)| managed.spec.neighbor_learning || managed.spec.questions)
        {
            let Some(ready) = self.ready_device(*vni) else { continue };
            let ports = self.links.members(ready.bridge_ifindex).filter(|link| link.up);
            let ports = ports.map(|link| (link.ifindex, (*vni, link.ifindex == ready.ifindex)));
            // What others say is of use where addresses are announced (leases); elsewhere all that a group floods would come in.
            wanted.extend(ports.filter(|(_, (_, tunnel))| !tunnel || managed.spec.neighbor_suppression));
        }
        self.ears.tune(&wanted);
        if self.ears.over_limit > self.met.ports_not_heard {
            self.tell_limits();
        }
        let ready: Vec<Vni> = self.devices.values().copied().collect();
        for vni in ready {
            self.note_ageing(vni);
        }
    }

    /// Reads what hosts said.
    pub(super) fn listen(&mut self) {
        let now = now();
        let Self { ears, managed, links, out, asked, .. } = self;
        asked.begin(now);
        ears.read(now, |frame, octets| {
            if !frame.tunnel
                && managed.get(&frame.vni).is_some_and(|managed| managed.spec.questions)
                && let Some(ip) = packets::asked(&octets[..frame.len])
                && asked.is_news(frame.vni, ip)
            {
                out.push(KernelEvent::Asked { vni: frame.vni, ip });
            }
            let said = packets::parse(&octets[..frame.len], frame.tunnel);
            let Some(heard) = said.or_else(|| packets::leased(&octets[..frame.len])) else { return };
            // A host's own interface in the bridge is no host of the segment.
            if links.is_own_mac(heard.mac) {
                return;
            }
            let Some(managed) = managed.get_mut(&frame.vni).filter(|managed| managed.spec.neighbor_learning) else { return };
            if frame.tunnel && managed.stations.port(heard.mac).is_none() {
                return;
            }
            if said.is_none() {
                out.push(KernelEvent::Leased { vni: frame.vni, mac: heard.mac, ip: heard.ip });
                return;
            }
            let ageing = managed.ageing;
            // One that went to another host and comes back is no news here, where nobody knows that it went.
            let news = managed.addresses.heard(now, &heard, ageing);
            if news || packets::is_unasked(&octets[..frame.len]) {
                out.push(KernelEvent::LocalAddress { vni: frame.vni, mac: heard.mac, ip: heard.ip, router: heard.router });
            }
        });
    }

    /// Asks hosts whose addresses have not been heard for long, and tells those that do not answer.
    pub(super) fn ask_silent(&mut self) {
        let now = now();
        if self.ask_at.is_some_and(|at| at > now) {
            return;
        }
        // Under load a turn is short, and this walks all VNIs.
        self.ask_at = Some(now + PAUSE);
        let mut asked = 0;
        let vnis: Vec<Vni> = self
            .managed
            .iter()
            .filter(|(_, m)| m.addresses.poll_timeout().is_some_and(|at| at <= now))
            .map(|(vni, _)| *vni)
            .collect();
        for vni in vnis {
            let Some(own) = self.bridge_of(vni).and_then(|bridge| self.links.link(bridge)).and_then(|link| link.mac) else {
                continue;
            };
            let Some(managed) = self.managed.get_mut(&vni) else { continue };
            let (ageing, stations) = (managed.ageing, &managed.stations);
            while asked < QUESTIONS_PER_TURN {
                match managed.addresses.poll(now, ageing, |mac| stations.port(mac).is_some()) {
                    Some(Due::Ask(mac, ip)) => {
                        asked += 1;
                        if let Some(port) = stations.port(mac).or_else(|| managed.addresses.lost_port(mac)) {
                            self.ears.send(port, &packets::probe(own, mac, ip));
                        }
                    }
                    Some(Due::Gone(mac, ip)) => self.out.push(KernelEvent::LocalAddressGone { vni, mac, ip }),
                    None => break,
                }
            }
        }
        if self.counted.is_none_or(|at| at <= now) {
            self.counted = Some(now + COUNT_EVERY);
            self.tell_limits();
        }
    }

    /// Tells what was met of the limits of this room, where it is more than before.
    fn tell_limits(&mut self) {
        let mut met = LimitsMet {
            frames_dropped: self.ears.count_dropped(),
            ports_not_heard: self.ears.over_limit,
            nexthops_refused: self.nexthops.failures(),
            ..self.met
        };
        for managed in self.managed.values_mut() {
            met.addresses_not_asked += std::mem::take(&mut managed.addresses.over_limit);
            met.stations_refused += managed.stations.take_refused();
        }
        if met != self.met {
            self.met = met;
            self.out.push(KernelEvent::LimitsMet(met));
        }
    }

    /// The core wants to know whether stations have addresses.
    pub(super) fn ask_addresses(&mut self, asked: &[(Vni, MacAddr, IpAddr)]) {
        let now = now();
        for (vni, mac, ip) in asked {
            // Without a device nobody can be asked; whoever is there when it is back is heard anew.
            if self.bridge_of(*vni).is_none() {
                continue;
            }
            if let Some(managed) = self.managed.get_mut(vni).filter(|managed| managed.spec.neighbor_learning) {
                managed.addresses.suspect(now, *mac, *ip);
            }
        }
    }

    /// Other MACs have the addresses of these stations now.
    pub(super) fn addresses_taken(&mut self, taken: &[(Vni, MacAddr, IpAddr)]) {
        for (vni, mac, ip) in taken {
            if let Some(managed) = self.managed.get_mut(vni) {
                managed.addresses.taken(*mac, *ip);
            }
        }
    }

    /// The bridge of a VNI knows addresses: an earlier run of ours wrote them, or this host spoke with who has them. The core believes
    /// that of stations at local ports, and they are asked like any that a port heard. What an operator says needs no answer.
    pub(super) fn found_addresses(&mut self, vni: Vni, neighbors: &[KernelNeighbor]) {
        let Some(managed) = self.managed.get_mut(&vni).filter(|managed| managed.spec.neighbor_learning) else { return };
        let found = neighbors.iter().filter(|neighbor| neighbor.owner != NeighborOwner::Operator);
        let found = found.filter_map(|neighbor| Some((neighbor.binding?.mac, neighbor.ip)));
        let here = found.filter(|(mac, _)| managed.stations.port(*mac).is_some()).collect();
        managed.addresses.found(now(), here, managed.ageing);
    }

    /// When one of them is to be asked.
    pub(super) fn next_question(&self) -> Option<Instant> {
        let due = self.managed.values().filter_map(|managed| managed.addresses.poll_timeout()).min();
        // Not before the pause that follows each round.
        due.map(|at| self.ask_at.map_or(at, |pause| at.max(pause)))
    }

    /// A station is at no local port any more: its addresses are not asked for.
    pub(super) fn forget_addresses(&mut self, vni: Vni, mac: MacAddr) {
        if let Some(managed) = self.managed.get_mut(&vni) {
            managed.addresses.forget(mac);
        }
    }

    /// How long the bridge of a VNI keeps a silent station.
    fn note_ageing(&mut self, vni: Vni) {
        let bridge = self.bridge_of(vni).and_then(|bridge| self.links.link(bridge));
        let ageing = match bridge.map(|link| &link.kind) {
            Some(LinkKind::Bridge { ageing, .. }) if !ageing.is_zero() => (*ageing).max(SHORTEST_AGEING),
            _ => AGEING,
        };
        if let Some(managed) = self.managed.get_mut(&vni) {
            managed.ageing = ageing;
        }
    }
}
