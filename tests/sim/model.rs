//! What the fabric's history says: where each machine is, and so what every kernel must hold. A few hundred lines that
//! know nothing of BGP, against which the daemons are judged: after quiet in all things, and at any time for machines
//! that never moved and whose path stayed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evpnd::base::{MacAddr, Time, Vni};
use evpnd::control::{Reply, Request, RouteView};
use evpnd::fib::{KernelNeighbor, Remote};

use super::kernel::{Answer, Place, Written};
use super::machines::{Crowd, Fixed, Vm};
use super::net::pair;
use super::owed::Owed;
use super::talks::Talk;
use super::world::World;
use crate::tell;

/// A session or a place that has stood for so long is taken for settled.
pub const SETTLED: Duration = Duration::from_secs(40);

/// The history.
#[derive(Debug, Default)]
pub struct Model {
    pub vms: Vec<Vm>,
    pub vnis: Vec<Vni>,
    /// The machines by VNI and MAC.
    pub numbers: BTreeMap<(Vni, MacAddr), usize>,
    pub crowds: Vec<Crowd>,
    pub talks: Vec<Talk>,
    /// Hosts whose kernels were meddled with, and until when that is an excuse.
    pub troubled: BTreeMap<usize, Time>,
    /// The VNIs that each node has in the end.
    pub home: Vec<BTreeSet<Vni>>,
    /// When a VNI last came, went or lost its device at a node.
    pub vni_disturbed: BTreeMap<(usize, Vni), Time>,
    /// Rows whose VXLAN half an operator took: the bridge's half, alone, may be left.
    pub halved: BTreeSet<(usize, Vni, MacAddr)>,
    /// A MAC that moves too often is frozen where it is, and for how long that makes it doubtful where it is held to be.
    pub frozen_for: Duration,
    /// What must stay though a daemon is away.
    pub owed: Owed,
    /// No more faults.
    pub quiet: bool,
    pub next_port: u32,
}

impl World {
    fn session_settled(&self, a: usize, b: usize) -> bool {
        let up = |from: usize, to: usize| {
            self.nodes[from].sessions.get(&self.nodes[to].address).is_some_and(|since| *since + SETTLED <= self.now)
        };
        up(a, b) && up(b, a) && self.is_calm(a, b)
    }

    /// Nothing old can be on its way between two nodes any more.
    fn is_calm(&self, a: usize, b: usize) -> bool {
        self.disturbed.get(&pair(a, b)).is_none_or(|(_, until)| *until + SETTLED <= self.now)
    }

    /// Whether somebody may yet hear that a machine is where it was before: where something was wrong since then, what
    /// was said meanwhile comes late, and what is kept for a session that was lost comes when the next one is up.
    pub fn may_be_old_news(&self, vm: &Vm) -> bool {
        let during = |(pair, (from, until)): (&(usize, usize), &(Time, Time))| {
            *from <= vm.since + SETTLED && self.now < self.met_again(*pair).max(*until) + SETTLED
        };
        self.disturbed.iter().any(during)
    }

    /// Since when two peers have a session again: they have none yet.
    pub fn met_again(&self, (a, b): (usize, usize)) -> Time {
        if !self.nodes[a].peers.contains(&b) {
            return Time::ZERO;
        }
        let since = |from: usize, to: usize| self.nodes[from].sessions.get(&self.nodes[to].address).copied();
        since(a, b).zip(since(b, a)).map_or(self.now, |(here, there)| here.max(there))
    }

    /// Whether `host` has no excuse to forget where `vm` is.
    pub fn is_steady(&self, vm: &Vm, host: usize) -> bool {
        let Some(owner) = vm.host else { return false };
        let thawed = |since: Time| self.has_been_calm(since + self.model.frozen_for);
        // A row that was written late, where notifications waited, may have taken the operator's mark along: it may move then.
        // And a VNI that left the file and came back by request knows nothing of the file's MACs.
        let is_held = match vm.fixed {
            Fixed::No => true,
            Fixed::AtPort => self.nodes[owner].kernel.statics.contains(&(vm.vni, vm.mac)),
            Fixed::InFile | Fixed::Mute | Fixed::Device => self.nodes[owner].vnis.contains(&vm.vni),
        };
        if !is_held || !self.tells_macs(owner, host, vm.vni) {
            return false;
        }
        let spoofed = vm.spoofed.is_some_and(|(at, when)| at == host && !thawed(when));
        thawed(vm.since) && self.has_spoken(vm) && !self.may_be_old_news(vm) && self.is_steady_host(owner, host, vm.vni, !spoofed)
    }

    /// Whether the bridge of its host knows it well.
    pub fn has_spoken(&self, vm: &Vm) -> bool {
        vm.fixed != Fixed::No || (vm.heard > vm.since && vm.heard + Duration::from_secs(200) > self.now)
    }

    /// Whether its own host has long known its address, over restarts too: where the bridge went with what it had, it must be said
    /// again.
    pub fn has_said(&self, vm: &Vm, owner: usize) -> bool {
        let known = self.nodes[owner].kernel.neighbors(self.nodes[owner].kernel.neighbors_at(vm.vni));
        let mac = |neighbor: &KernelNeighbor| neighbor.binding.map(|binding| binding.mac);
        self.has_been_calm(vm.unsaid) && known.iter().any(|known| Some(known.ip) == vm.ip && mac(known) == Some(vm.mac))
    }

    /// Whether a VNI has long been at a node.
    pub fn is_calm_vni(&self, node: usize, vni: Vni) -> bool {
        let disturbed = self.model.vni_disturbed.get(&(node, vni));
        disturbed.is_none_or(|at| self.has_been_calm(*at)) && self.nodes[node].has(vni)
    }

    fn has_been_calm(&self, since: Time) -> bool {
        since + SETTLED + Duration::from_secs(20) <= self.now
    }

    /// Whether `host` has no excuse to forget that a VNI is at `owner`. `keeps`: what it found when it began stays for a while.
    pub fn is_steady_host(&self, owner: usize, host: usize, vni: Vni, keeps: bool) -> bool {
        let (here, there) = (&self.nodes[host], &self.nodes[owner]);
        let alive = there.speaker.is_some() && !there.stopping && !there.draining && self.has_been_calm(there.started);
        if owner == host || !alive || here.draining || !self.is_calm_vni(host, vni) || !self.is_calm_vni(owner, vni) {
            return false;
        }
        // A host that began a moment ago keeps what it found, until everybody has said everything.
        let adopting = keeps && here.lost_none && here.started + Duration::from_secs(110) > self.now;
        if !self.nodes.iter().any(|node| node.reflector) {
            return self.session_settled(host, owner) || (adopting && self.is_calm(host, owner));
        }
        let all_know = here.peers.iter().all(|peer| self.has_settled_path(owner, *peer) && self.is_calm(*peer, host));
        self.has_settled_path(owner, host) || (adopting && all_know)
    }

    /// What one node says has long been known at another: by one reflector or by two that speak with one another.
    fn has_settled_path(&self, from: usize, to: usize) -> bool {
        let reflectors = |of: usize| self.nodes[of].peers.iter().copied().filter(|peer| self.nodes[*peer].reflector);
        let direct = |a: usize, b: usize| self.nodes[a].peers.contains(&b) && self.session_settled(a, b);
        // What a reflector has from another it tells its clients alone (RFC 4456 §6).
        let by_two = |first: usize| reflectors(first).any(|second| direct(first, second) && direct(second, to));
        let leads = |first: usize| direct(first, to) || (!self.nodes[to].reflector && by_two(first));
        direct(from, to) || reflectors(from).any(|first| direct(from, first) && leads(first))
    }

    /// Whether tunnels between two hosts can be.
    pub fn can_tunnel(&self, a: usize, b: usize) -> bool {
        let family = |node: usize| self.nodes[node].vtep.map(|vtep| vtep.is_ipv6());
        family(a) == family(b)
    }

    /// Whether the MACs of one host are for the other to have.
    pub fn tells_macs(&self, owner: usize, host: usize, vni: Vni) -> bool {
        self.mode(owner, vni).has_macs() && self.mode(host, vni).has_macs()
    }

    /// Whether the addresses of one host are for the other to answer for.
    pub fn tells_addresses(&self, owner: usize, host: usize, vni: Vni) -> bool {
        self.mode(owner, vni).has_addresses() && self.mode(host, vni).has_addresses()
    }

    /// A daemon wrote or deleted a row.
    pub fn check_write(&mut self, host: usize, written: Written) {
        let Written { vni, mac, was, to, idle } = written;
        if mac == MacAddr::ZERO {
            return self.check_flood_delete(host, vni, was);
        }
        let Some(&number) = self.model.numbers.get(&(vni, mac)) else { return };
        let vm = self.model.vms[number];
        let Some(owner) = vm.host else { return };
        let Some(vtep) = self.nodes[owner].vtep else { return };
        let right = Remote { ip: vtep, vni: None };
        tell!(self, "{} wrote {mac} VNI {vni}: {was:?} → {to:?}", self.nodes[host].name);
        // A row on demand goes when it was not used for long.
        if to.is_none() && self.mode(host, vni).lifetime().is_some_and(|lifetime| idle >= lifetime) {
            return;
        }
        let here = &self.nodes[host];
        let stopped = here.stopping && here.left_standing.contains(&number);
        if was == right && to != Some(right) && (stopped || self.is_steady(&vm, host) || self.is_owed(host, number)) {
            if to.is_some_and(|to| self.explores_paths(vni, mac, to)) {
                return;
            }
            self.tell_routes(vni, mac);
            let (host, owner) = (&self.nodes[host].name, &self.nodes[owner].name);
            panic!("{host} lost {mac} of VNI {vni}, which never left {owner}: {was:?} → {to:?}");
        }
    }

    /// A daemon wrote or deleted what an address is answered with.
    pub fn check_answer(&mut self, host: usize, answer: Answer) {
        let Answer { ip, was, to, .. } = answer;
        let Some(number) = self.model.vms.iter().position(|vm| vm.ip == Some(ip)) else { return };
        let vm = self.model.vms[number];
        tell!(self, "{} answers for {ip}: {was:?} → {to:?}", self.nodes[host].name);
        let right = was.mac == vm.mac && to.map(|to| to.mac) != Some(vm.mac);
        if right && vm.host == Some(host) {
            self.model.vms[number].unsaid = self.now;
        }
        let can_reach = vm.host.is_some_and(|owner| {
            self.can_tunnel(host, owner) && self.tells_addresses(owner, host, vm.vni) && self.has_said(&vm, owner)
        });
        // One on demand goes when the row of its MAC has gone, or is about to go.
        let row = self.nodes[host].kernel.vxlans.get(&vm.vni).and_then(|vxlan| vxlan.used.get(&vm.mac));
        // Of one that an earlier run left nobody knows whether it is used.
        if let Some(lifetime) = self.mode(host, vm.vni).lifetime()
            && to.is_none()
            && (row.is_none_or(|used| used.told >= lifetime) || !self.is_grown_up(host))
        {
            return;
        }
        // A slow kernel may carry out only now what was right a minute ago.
        let late = self.nodes[host].slow_kernel_us > 0;
        if right && can_reach && !late && (self.is_steady(&vm, host) || self.is_owed(host, number)) {
            // One that its host has given up for what a reflector keeps of another is not this rule's business.
            if !self.routes_of(vm.host.unwrap_or(host), vm.vni, vm.mac).iter().any(|route| route.neighbor.is_none()) {
                return;
            }
            self.tell_routes(vm.vni, vm.mac);
            panic!("{} answers for {ip} of {} no more, which never left: {was:?} → {to:?}", self.nodes[host].name, vm.mac);
        }
    }

    /// What a node has of a MAC.
    fn routes_of(&mut self, index: usize, vni: Vni, mac: MacAddr) -> Vec<RouteView> {
        let request =
            Request::ShowRoutes { route_type: Some(2), vni: Some(vni), rd: None, neighbor: None, after: None, limit: None };
        let Some(Reply::Routes(page)) = self.request(index, request) else { return Vec::new() };
        page.items.into_iter().filter(|route| route.key.contains(&mac.to_string())).collect()
    }

    /// For the story of a failure.
    fn tell_routes(&mut self, vni: Vni, mac: MacAddr) {
        for index in 0..self.nodes.len() {
            for route in self.routes_of(index, vni, mac) {
                tell!(self, "{} has {route:?}", self.nodes[index].name);
            }
        }
    }

    /// Where each host passes on what every other says (an AS for each, all with all), a route that is withdrawn goes round
    /// by ever longer ways before it is gone: BGP's path exploration. Its host has it no more, and nobody has it from there.
    fn explores_paths(&mut self, vni: Vni, mac: MacAddr, to: Remote) -> bool {
        let first = |route: &RouteView| route.next_hop == Some(to.ip) && route.as_path.split(' ').count() < 3;
        let external = self.nodes.iter().all(|node| !node.reflector) && self.nodes[0].head.contains("asn = 65001");
        external && !(0..self.nodes.len()).any(|index| self.routes_of(index, vni, mac).iter().any(first))
    }

    fn check_flood_delete(&self, host: usize, vni: Vni, was: Remote) {
        tell!(self, "{} floods VNI {vni} no more to {was:?}", self.nodes[host].name);
        let Some(owner) = self.nodes.iter().position(|node| node.vtep == Some(was.ip)) else { return };
        let wanted = self.mode(host, vni).floods_to(self.mode(owner, vni));
        if wanted && self.is_steady_host(owner, host, vni, true) {
            panic!("{} floods VNI {vni} no more to {}, which never left", self.nodes[host].name, self.nodes[owner].name);
        }
    }

    /// After quiet: everything is as the history says.
    pub fn check_end(&mut self) {
        let mut wrong = Vec::new();
        for host in 0..self.nodes.len() {
            self.check_daemon(host, &mut wrong);
            if !self.nodes[host].reflector {
                self.check_kernel(host, &mut wrong);
            }
        }
        assert!(wrong.is_empty(), "after quiet:\n  {}", wrong.join("\n  "));
    }

    fn check_daemon(&mut self, index: usize, wrong: &mut Vec<String>) {
        let name = self.nodes[index].name.clone();
        let Some(speaker) = &self.nodes[index].speaker else {
            wrong.push(format!("{name} does not run"));
            return;
        };
        if speaker.has_work() {
            wrong.push(format!("{name} has work left"));
        }
        if let Some((at, why)) = speaker.poll_timeout()
            && at + Duration::from_millis(2) < self.now
        {
            wrong.push(format!("{name}: the timer \"{why}\" is in the past"));
        }
        let Some(Reply::Status(status)) = self.request(index, Request::ShowStatus {}) else {
            wrong.push(format!("{name} does not tell its status"));
            return;
        };
        if status.neighbors.up != status.neighbors.configured || status.neighbors.up == 0 {
            wrong.push(format!(
                "{name}: {} of {} sessions are up; {:?}",
                status.neighbors.up, status.neighbors.configured, status.warnings
            ));
        }
        let before = wrong.len();
        self.check_sizes_at_end(index, &status, wrong);
        if wrong.len() > before && self.trace {
            let all = Request::ShowRoutes { route_type: None, vni: None, rd: None, neighbor: None, after: None, limit: None };
            tell!(self, "{name} has {:?}", self.request(index, all));
        }
        let rows = status.rows;
        if rows.dirty + rows.in_flight + rows.failed > 0 || rows.wanted != rows.in_sync + rows.on_demand {
            wrong.push(format!("{name}: rows are not settled: {rows:?}"));
        }
        if status.vnis.up != status.vnis.configured {
            wrong.push(format!("{name}: {} of {} VNIs are ready", status.vnis.up, status.vnis.configured));
        }
        if self.nodes[index].sessions.len() as u64 != status.neighbors.up {
            wrong.push(format!("{name}: told of {} sessions, has {}", self.nodes[index].sessions.len(), status.neighbors.up));
        }
        let expected = self.nodes[index].peers.len() as u64;
        if status.neighbors.up != expected {
            wrong.push(format!("{name}: {} sessions, {expected} expected", status.neighbors.up));
        }
    }

    fn check_kernel(&self, host: usize, wrong: &mut Vec<String>) {
        let node = &self.nodes[host];
        let name = &node.name;
        let has = |index: usize, vni: Vni| self.nodes[index].has(vni);
        for &vni in &self.model.vnis {
            let Some(vxlan) = node.kernel.vxlans.get(&vni) else {
                if has(host, vni) {
                    wrong.push(format!("{name}: VNI {vni} has no device"));
                }
                continue;
            };
            if !has(host, vni) {
                if node.orphans.contains(&vni) {
                    continue;
                }
                wrong.push(format!("{name}: the device of VNI {vni} was left behind"));
                continue;
            }
            let mut rows = BTreeMap::new();
            let mut bridged = BTreeSet::new();
            let mut answers = BTreeMap::new();
            for vm in self.model.vms.iter().filter(|vm| vm.vni == vni) {
                let Some(owner) = vm.host.filter(|owner| has(*owner, vni)) else { continue };
                if self.tells_addresses(owner, host, vni) && (owner == host || self.can_tunnel(host, owner)) {
                    answers.extend(vm.ip.map(|ip| (ip, vm.mac)));
                }
                if owner == host {
                    // Of one that never spoke the bridge knows nothing.
                    if matches!(vm.fixed, Fixed::Mute | Fixed::Device) {
                        continue;
                    }
                    let place = node.kernel.bridges.get(&vni).and_then(|bridge| bridge.get(&vm.mac));
                    if !matches!(place, Some(Place::Port(port, _)) if *port == vm.port) {
                        wrong.push(format!(
                            "{name}: VNI {vni} {} is here at port {}, but the bridge says {place:?}",
                            vm.mac, vm.port
                        ));
                    }
                } else if self.can_tunnel(host, owner)
                    && self.tells_macs(owner, host, vni)
                    && let Some(vtep) = self.nodes[owner].vtep
                {
                    // On demand a row may stand, or not.
                    if !vxlan.rows.contains_key(&vm.mac) && !self.must_stand(host, vni, vm.mac) {
                        continue;
                    }
                    if self.must_sleep(host, vni, vm.mac) {
                        wrong.push(format!("{name}: VNI {vni} {} is not used any more, and its row stands", vm.mac));
                    }
                    rows.insert(vm.mac, vtep);
                    if !vxlan.made.bare {
                        bridged.insert(vm.mac);
                    }
                }
            }
            for mac in rows.keys().chain(vxlan.rows.keys()).collect::<BTreeSet<_>>() {
                let (want, found) = (rows.get(mac), vxlan.rows.get(mac));
                if want != found.map(|row| &row.remote.ip) || found.is_some_and(|row| row.remote.vni.is_some()) {
                    wrong.push(format!("{name}: VNI {vni} {mac} must be at {want:?}, the kernel has {found:?}"));
                }
            }
            let tunnels = node.kernel.bridges.get(&vni).into_iter().flatten().filter(|(_, place)| **place == Place::Tunnel);
            let tunnels: BTreeSet<MacAddr> = tunnels.map(|(mac, _)| *mac).collect();
            for mac in tunnels.symmetric_difference(&bridged) {
                let (wanted, found) = (bridged.contains(mac), tunnels.contains(mac));
                if found && self.model.halved.contains(&(host, vni, *mac)) {
                    continue;
                }
                wrong.push(format!("{name}: VNI {vni} {mac} behind the tunnel in the bridge: wanted {wanted}, found {found}"));
            }
            let found: BTreeMap<_, _> = node
                .kernel
                .neighbors(node.kernel.neighbors_at(vni))
                .iter()
                .filter_map(|neighbor| Some((neighbor.ip, neighbor.binding?.mac)))
                .collect();
            for ip in answers.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
                let (want, found) = (answers.get(ip), found.get(ip));
                if let Some(mac) = want
                    .filter(|mac| self.model.numbers.get(&(vni, **mac)).is_some_and(|vm| self.model.vms[*vm].host != Some(host)))
                {
                    if found.is_none() && !self.answer_must_stand(host, vni, *mac) {
                        continue;
                    }
                    if found.is_some() && self.answer_must_sleep(host, vni, *mac) {
                        wrong.push(format!("{name}: VNI {vni} {ip} is not asked for any more, and is answered for"));
                    }
                }
                if want != found {
                    wrong.push(format!("{name}: VNI {vni} {ip} must be answered with {want:?}, the kernel has {found:?}"));
                }
            }
            let flood: BTreeSet<_> = vxlan.flood.keys().map(|remote| remote.ip).collect();
            let floods = |other: usize| self.mode(host, vni).floods_to(self.mode(other, vni)) && self.can_tunnel(host, other);
            let others = (0..self.nodes.len()).filter(|other| *other != host && has(*other, vni) && floods(*other));
            let want: BTreeSet<_> = others.filter_map(|other| self.nodes[other].vtep).collect();
            if flood != want {
                wrong.push(format!("{name}: VNI {vni} must flood to {want:?}, the kernel has {flood:?}"));
            }
        }
    }
}
