//! What goes wrong, and what people and machines do: drawn from the seed before the run begins, carried out when due.
//!
//! Every kind has a switch in [`SWITCHES`]. Off are those that the present code does not promise to survive, and these parts
//! of others:
//!
//! - the VXLAN half of a row deleted while no daemon runs: the bridge's half, alone, is not found again;
//! - a device that a daemon made a moment before it died, of a VNI that nobody wants when the next starts: its state file does not name it;
//! - a machine that two bridges claim: the host that lost it may announce it again after a restart, until it speaks.

use std::time::Duration;

use evpnd::base::{MacAddr, Time, Vni};
use evpnd::control::{Request, VniAdd};
use evpnd::fib::Remote;

use super::machines::{Fixed, Vm};
use super::model::SETTLED;
use super::modes::Mode;
use super::net::pair;
use super::world::{Happening, World};
use crate::tell;

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Reset,
    Cut,
    Slow,
    DeafLoop,
    Crash,
    Stop,
    ReflectorCrash,
    ReflectorStop,
    KernelRefuses,
    KernelSlow,
    KernelSick,
    /// Notifications wait while writes are answered.
    KernelEchoesLate,
    RowDeleted,
    HalfDeleted,
    /// A row goes and no notification tells: only the audit can find it.
    RowForgotten,
    FloodDeleted,
    RowReplaced,
    Overflow,
    DeviceRemoved,
    ReloadVni,
    RunTimeVni,
    ClearNeighbor,
    Requests,
    /// Many machines change their host together.
    CrowdMoves,
    Drain,
    /// A host loses its power and boots.
    PowerLoss,
    VmAppears,
    VmMoves,
    VmMovesLate,
    VmBounces,
    VmSilent,
    VmPort,
    VmGone,
    VmTwice,
    ReloadNeighbor,
    /// Somebody speaks with the MAC of another who may not move.
    Spoof,
    /// An operator takes a static MAC elsewhere.
    StaticMoves,
}

/// Whether a kind is used, and how often beside the others.
pub const SWITCHES: &[(Kind, bool, u64)] = &[
    (Kind::Reset, true, 8),
    (Kind::Cut, true, 5),
    (Kind::Slow, true, 4),
    (Kind::DeafLoop, true, 3),
    (Kind::Crash, true, 6),
    (Kind::Stop, true, 5),
    (Kind::ReflectorCrash, true, 4),
    (Kind::ReflectorStop, true, 3),
    (Kind::KernelRefuses, true, 4),
    (Kind::KernelSlow, true, 5),
    (Kind::KernelSick, true, 3),
    (Kind::KernelEchoesLate, true, 4),
    (Kind::RowDeleted, true, 5),
    (Kind::HalfDeleted, true, 4),
    (Kind::RowForgotten, true, 4),
    (Kind::FloodDeleted, true, 4),
    (Kind::RowReplaced, true, 3),
    (Kind::Overflow, true, 4),
    (Kind::DeviceRemoved, true, 3),
    (Kind::ReloadVni, true, 4),
    (Kind::RunTimeVni, true, 3),
    (Kind::ClearNeighbor, true, 3),
    (Kind::Requests, true, 4),
    (Kind::CrowdMoves, true, 4),
    (Kind::Drain, true, 2),
    (Kind::PowerLoss, true, 2),
    (Kind::VmAppears, true, 12),
    (Kind::VmMoves, true, 14),
    (Kind::VmMovesLate, true, 14),
    (Kind::VmBounces, true, 6),
    (Kind::VmSilent, true, 3),
    (Kind::VmPort, true, 4),
    (Kind::VmGone, true, 6),
    (Kind::VmTwice, true, 6),
    (Kind::ReloadNeighbor, true, 3),
    (Kind::Spoof, true, 8),
    (Kind::StaticMoves, true, 3),
];

/// A fault with whom it strikes.
#[derive(Debug, Clone)]
pub enum Fault {
    Kind(Kind),
    /// Part of a longer one.
    Start(usize),
    Stop(usize),
    Kill(usize, u64),
    EndOfKernel(usize),
    EndOfOverflow(usize),
    AddVni(usize, Vni),
    Attach(usize, usize),
    CrowdComes(usize, usize),
    Detach(usize, Vni, u32),
    RunTimeDelete(usize, Vni),
    RunTimeAdd(usize, Vni),
    /// Somebody asks this node everything.
    Ask(usize),
    /// A host hears a machine that is not there, or no more.
    Hear(usize, Vni, MacAddr, u32),
    /// A host hears somebody who says to be this machine, at a port.
    Spoof(usize, usize, u32),
    /// The host of a device without a bridge gets another address there.
    Renumber(usize),
    /// A host runs a VNI in another way from now on.
    ChangeMode(usize, Vni, Mode),
}

impl World {
    /// Draws the faults of a run that lasts `secs`.
    pub fn draw_faults(&mut self, count: u64, secs: u64) {
        let total: u64 = SWITCHES.iter().filter(|(_, on, _)| *on).map(|(_, _, weight)| weight).sum();
        for _ in 0..count {
            let mut draw = self.random.below(total);
            let kind = SWITCHES.iter().filter(|(_, on, _)| *on).find(|(_, _, weight)| {
                let hit = draw < *weight;
                draw = draw.wrapping_sub(*weight);
                hit
            });
            let Some((kind, _, _)) = kind else { continue };
            let at = Duration::from_secs(5) + self.millis(secs * 1000);
            self.schedule(at, Happening::Fault(Fault::Kind(*kind)));
            // Trouble comes in bundles.
            if self.random.below(4) == 0 {
                let at = at + self.millis(2000);
                self.schedule(at, Happening::Fault(Fault::Kind(*kind)));
            }
        }
    }

    fn any_node(&mut self, reflector: bool) -> Option<usize> {
        let nodes: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].reflector == reflector).collect();
        (!nodes.is_empty()).then(|| nodes[self.random.below(nodes.len() as u64) as usize])
    }

    fn any_session(&mut self) -> Option<(usize, usize)> {
        let a = self.random.below(self.nodes.len() as u64) as usize;
        let peers: Vec<_> = self.nodes[a].sessions.keys().copied().collect();
        let b = peers.get(self.random.below(peers.len() as u64) as usize)?;
        Some((a, self.node_at(*b)?))
    }

    fn any_row(&mut self, node: usize) -> Option<(Vni, MacAddr)> {
        let rows: Vec<(Vni, MacAddr)> =
            self.nodes[node].kernel.vxlans.iter().flat_map(|(vni, vxlan)| vxlan.rows.keys().map(|mac| (*vni, *mac))).collect();
        rows.get(self.random.below(rows.len() as u64) as usize).copied()
    }

    fn any_crowd(&mut self) -> Option<usize> {
        let crowds = self.model.crowds.len() as u64;
        (crowds > 0).then(|| self.random.below(crowds) as usize)
    }

    fn any_vni(&mut self, node: usize) -> Option<Vni> {
        let vnis: Vec<Vni> = self.nodes[node].vnis.iter().copied().collect();
        vnis.get(self.random.below(vnis.len() as u64) as usize).copied()
    }

    fn lasting(&mut self) -> Duration {
        let secs = [2, 20, 120, 300][self.random.below(4) as usize];
        Duration::from_millis(100) + self.millis(secs * 1000)
    }

    /// Carries out one fault.
    pub fn fault(&mut self, fault: Fault) {
        self.judge_promises(&fault);
        match fault {
            Fault::Kind(kind) => {
                if self.model.quiet {
                    return;
                }
                self.faults += 1;
                tell!(self, "*** {kind:?}");
                self.strike(kind);
            }
            Fault::Start(node) => self.start(node),
            Fault::Stop(node) => self.stop(node),
            Fault::Kill(node, life) => {
                if self.nodes[node].life == life {
                    self.finish_stop(node);
                }
            }
            Fault::EndOfKernel(node) => {
                // Where rows could not be written, two hosts may have gone on to take a machine from one another.
                for vni in self.model.vnis.clone() {
                    (0..self.nodes.len()).for_each(|other| self.disturb_vni(other, vni));
                }
                let node = &mut self.nodes[node];
                node.kernel.refuse_percent = 0;
                node.slow_kernel_us = 0;
                node.kernel.sick = false;
                node.kernel.lagging = false;
                self.wake_rooms();
            }
            Fault::EndOfOverflow(node) => {
                self.nodes[node].kernel.deaf = false;
                self.wake_room(node);
            }
            Fault::AddVni(node, vni) => {
                self.nodes[node].vnis.insert(vni);
                self.disturb_vni(node, vni);
                self.reload(node, None);
            }
            Fault::Attach(vm, host) => {
                if self.model.vms[vm].fixed != Fixed::No {
                    self.detach(vm);
                }
                self.attach(vm, host);
            }
            Fault::CrowdComes(crowd, host) => self.crowd_moves(crowd, host),
            Fault::Detach(host, vni, port) => {
                tell!(self, "{}: port {port} of VNI {vni} goes", self.nodes[host].name);
                self.nodes[host].kernel.remove_port(vni, port);
                self.wake_room(host);
            }
            Fault::Ask(node) => self.ask_everything(node),
            Fault::Hear(node, vni, mac, port) => {
                if !self.model.quiet {
                    self.nodes[node].kernel.hear(self.now, vni, mac, port);
                    self.wake_room(node);
                }
            }
            Fault::Spoof(node, vm, port) => {
                let Vm { vni, mac, host, .. } = self.model.vms[vm];
                if !self.model.quiet && host != Some(node) {
                    self.model.vms[vm].spoofed = Some((node, self.now));
                    self.nodes[node].kernel.hear(self.now, vni, mac, port);
                    self.wake_room(node);
                }
            }
            Fault::Renumber(vm) => {
                if !self.model.quiet {
                    self.renumber(vm);
                }
            }
            Fault::ChangeMode(node, vni, mode) => {
                if !self.model.quiet {
                    self.change_mode(node, vni, mode);
                }
            }
            Fault::RunTimeDelete(node, vni) => {
                self.disturb_vni(node, vni);
                self.nodes[node].run_time_vnis.remove(&vni);
                self.nodes[node].kept_modes.remove(&vni);
                tell!(self, "{}: vni del {vni}", self.nodes[node].name);
                self.request(node, Request::VniDel { vni, caller: None });
            }
            Fault::RunTimeAdd(node, vni) => {
                self.disturb_vni(node, vni);
                tell!(self, "{}: vni add {vni}", self.nodes[node].name);
                if !self.nodes[node].draining && !self.nodes[node].stopping && self.nodes[node].speaker.is_some() {
                    self.nodes[node].run_time_vnis.insert(vni);
                    self.request(node, Request::VniAdd(VniAdd::new(vni)));
                }
            }
        }
    }

    fn strike(&mut self, kind: Kind) {
        let lasting = self.lasting();
        match kind {
            Kind::Reset => {
                if let Some((a, b)) = self.any_session() {
                    tell!(self, "between {} and {}", self.nodes[a].name, self.nodes[b].name);
                    self.reset_between(a, b);
                }
            }
            Kind::Cut | Kind::Slow => {
                let Some((a, b)) = self.any_session() else { return };
                tell!(self, "between {} and {} for {lasting:?}", self.nodes[a].name, self.nodes[b].name);
                let until = self.now + lasting;
                let all = self.random.below(4) == 0;
                for other in 0..self.nodes.len() {
                    if other != a && (all || other == b) {
                        let map = if kind == Kind::Cut { &mut self.cut_until } else { &mut self.slow_until };
                        let end = map.entry(pair(a, other)).or_insert(until);
                        *end = until.max(*end);
                        self.disturb_pair(a, other, until);
                    }
                }
            }
            Kind::DeafLoop => {
                let node = self.random.below(self.nodes.len() as u64) as usize;
                let until = self.now + lasting.min(Duration::from_secs(150));
                self.deaf_until.insert(node, until);
                for other in 0..self.nodes.len() {
                    self.disturb_pair(node, other, until);
                }
            }
            Kind::Crash | Kind::ReflectorCrash => {
                let Some(node) = self.any_node(kind == Kind::ReflectorCrash) else { return };
                if self.nodes[node].speaker.is_some() {
                    self.kill(node);
                    self.schedule(lasting, Happening::Fault(Fault::Start(node)));
                }
            }
            Kind::Stop | Kind::ReflectorStop => {
                let Some(node) = self.any_node(kind == Kind::ReflectorStop) else { return };
                self.stop(node);
                self.schedule(lasting + Duration::from_secs(4), Happening::Fault(Fault::Start(node)));
            }
            Kind::KernelRefuses | Kind::KernelSlow | Kind::KernelSick | Kind::KernelEchoesLate => {
                let Some(node) = self.any_node(false) else { return };
                tell!(self, "at {} for {lasting:?}", self.nodes[node].name);
                let percent = [5, 30, 100][self.random.below(3) as usize];
                let slow = [1_000, 50_000, 1_000_000][self.random.below(3) as usize];
                let host = &mut self.nodes[node];
                match kind {
                    Kind::KernelRefuses => host.kernel.refuse_percent = percent,
                    Kind::KernelSlow => host.slow_kernel_us = slow,
                    Kind::KernelSick => host.kernel.sick = true,
                    _ => host.kernel.lagging = true,
                }
                self.trouble(node, self.now + lasting);
                if kind == Kind::KernelEchoesLate {
                    // Devices are not looked at meanwhile, and what is not ready is not announced.
                    for vni in self.model.vnis.clone() {
                        self.disturb_vni_until(node, vni, self.now + lasting);
                    }
                }
                self.schedule(lasting, Happening::Fault(Fault::EndOfKernel(node)));
            }
            Kind::RowDeleted | Kind::HalfDeleted => {
                let Some(node) = self.any_node(false) else { return };
                let Some((vni, mac)) = self.any_row(node) else { return };
                // A bridge's half that is left alone while nobody looks is not found again (see the head of this file).
                let alive = self.nodes[node].speaker.is_some();
                let vxlan_half = kind == Kind::RowDeleted || (alive && self.random.below(2) == 0);
                let bridge_half = kind == Kind::RowDeleted || !vxlan_half;
                tell!(self, "{}: VNI {vni} {mac}, vxlan {vxlan_half} bridge {bridge_half}", self.nodes[node].name);
                if !bridge_half {
                    self.model.halved.insert((node, vni, mac));
                }
                self.trouble(node, self.now);
                self.nodes[node].kernel.delete(vni, mac, vxlan_half, bridge_half);
                self.wake_room(node);
            }
            Kind::RowForgotten => {
                let Some(node) = self.any_node(false) else { return };
                let Some((vni, mac)) = self.any_row(node) else { return };
                tell!(self, "{}: VNI {vni} {mac}", self.nodes[node].name);
                self.trouble(node, self.now);
                let notes = self.nodes[node].kernel.notes.take();
                self.nodes[node].kernel.delete(vni, mac, true, true);
                self.nodes[node].kernel.notes = notes;
            }
            Kind::FloodDeleted => {
                let Some(node) = self.any_node(false) else { return };
                let Some(vni) = self.any_vni(node) else { return };
                let remote = self.nodes[node].kernel.vxlans.get(&vni).and_then(|vxlan| vxlan.flood.keys().next().copied());
                if let Some(remote) = remote {
                    tell!(self, "{}: VNI {vni} {remote:?}", self.nodes[node].name);
                    self.nodes[node].kernel.delete_flood(vni, remote);
                    self.wake_room(node);
                }
            }
            Kind::RowReplaced => {
                let Some(node) = self.any_node(false) else { return };
                let Some((vni, mac)) = self.any_row(node) else { return };
                tell!(self, "{}: VNI {vni} {mac}", self.nodes[node].name);
                self.model.halved.insert((node, vni, mac));
                self.trouble(node, self.now);
                self.nodes[node].kernel.operator_writes(vni, mac, Remote { ip: [192, 0, 2, 1].into(), vni: None });
                self.wake_room(node);
            }
            Kind::Overflow => {
                let Some(node) = self.any_node(false) else { return };
                tell!(self, "at {} for {lasting:?}", self.nodes[node].name);
                self.trouble(node, self.now + lasting);
                self.nodes[node].kernel.deaf = true;
                self.schedule(lasting, Happening::Fault(Fault::EndOfOverflow(node)));
            }
            Kind::DeviceRemoved => {
                let Some(node) = self.any_node(false) else { return };
                let Some(vni) = self.any_vni(node) else { return };
                tell!(self, "{}: VNI {vni}", self.nodes[node].name);
                self.trouble(node, self.now);
                self.nodes[node].kernel.remove(vni);
                self.disturb_vni(node, vni);
                self.wake_room(node);
            }
            Kind::ReloadVni => {
                let Some(node) = self.any_node(false) else { return };
                let Some(vni) = self.any_vni(node) else { return };
                tell!(self, "{}: VNI {vni} leaves the file for {lasting:?}", self.nodes[node].name);
                let mode = self.mode(node, vni);
                self.nodes[node].vnis.remove(&vni);
                if self.nodes[node].run_time_vnis.contains(&vni) {
                    self.nodes[node].kept_modes.insert(vni, mode);
                }
                self.disturb_vni(node, vni);
                self.reload(node, None);
                let short = self.random.below(2) == 0;
                let after = if short { self.millis(50) } else { lasting };
                self.schedule(after, Happening::Fault(Fault::AddVni(node, vni)));
            }
            Kind::RunTimeVni => {
                let Some(node) = self.any_node(false) else { return };
                let Some(vni) = self.model.vnis.iter().copied().find(|vni| !self.nodes[node].vnis.contains(vni)) else { return };
                if self.is_bare(node, vni) {
                    return;
                }
                let short = |world: &mut Self| if world.random.below(2) == 0 { world.millis(20) } else { world.millis(60_000) };
                let mut after = Duration::ZERO;
                let (rounds, stays) = (1 + self.random.below(3), self.random.below(2) == 0);
                for round in 0..rounds {
                    after += short(self);
                    let next = if round == 0 && self.nodes[node].run_time_vnis.contains(&vni) {
                        Fault::RunTimeDelete(node, vni)
                    } else {
                        Fault::RunTimeAdd(node, vni)
                    };
                    self.schedule(after, Happening::Fault(next));
                    after += short(self) + short(self);
                    self.schedule(after, Happening::Fault(Fault::RunTimeDelete(node, vni)));
                    after += short(self);
                    if stays || round + 1 < rounds {
                        self.schedule(after, Happening::Fault(Fault::RunTimeAdd(node, vni)));
                    }
                }
            }
            Kind::ClearNeighbor => {
                let Some((a, b)) = self.any_session() else { return };
                let address = self.nodes[b].address;
                tell!(self, "{}: clear neighbor {address}", self.nodes[a].name);
                self.request(a, Request::ClearNeighbor { address });
            }
            Kind::Requests => {
                let node = self.random.below(self.nodes.len() as u64) as usize;
                self.ask_everything(node);
            }
            Kind::ReloadNeighbor => {
                let node = self.random.below(self.nodes.len() as u64) as usize;
                let (from, to) = if self.nodes[node].head.contains("hold-time = 90") { ("90", "30") } else { ("30", "90") };
                let (from, to) = (format!("hold-time = {from}"), format!("hold-time = {to}"));
                tell!(self, "{}: {to}", self.nodes[node].name);
                self.nodes[node].head = self.nodes[node].head.replace(&from, &to);
                self.reload(node, None);
            }
            Kind::VmTwice => {
                let Some(vm) = self.any_vm(true) else { return };
                let Vm { vni, mac, port, host: Some(old), .. } = self.model.vms[vm] else { return };
                let Some(host) = self.host_for(vm) else { return };
                self.attach(vm, host);
                // A bridge that still hears the machine where it was, for a while.
                for _ in 0..1 + self.random.below(12) {
                    let after = self.millis(8000);
                    self.schedule(after, Happening::Fault(Fault::Hear(old, vni, mac, port)));
                }
                self.schedule(Duration::from_secs(9), Happening::Fault(Fault::Detach(old, vni, port)));
            }
            Kind::Drain => {
                let Some(node) = self.any_node(false) else { return };
                if self.nodes[node].speaker.is_some() && !self.nodes[node].stopping {
                    tell!(self, "{} drains", self.nodes[node].name);
                    self.nodes[node].draining = true;
                    self.request(node, Request::Drain {});
                    self.schedule(lasting + Duration::from_secs(30), Happening::Fault(Fault::Start(node)));
                }
            }
            Kind::CrowdMoves => {
                let Some(crowd) = self.any_crowd() else { return };
                let first = self.model.crowds[crowd].members.start;
                if self.random.below(4) == 0 {
                    self.crowd_leaves(crowd);
                } else if let Some(host) = self.host_for(first) {
                    self.crowd_moves(crowd, host);
                }
            }
            Kind::PowerLoss => {
                let of_reflectors = self.random.below(4) == 0;
                let Some(node) = self.any_node(of_reflectors) else { return };
                let mut guests: Vec<usize> =
                    (0..self.model.vms.len()).filter(|vm| self.model.vms[*vm].host == Some(node)).collect();
                self.power_off(node);
                guests.retain(|vm| self.model.vms[*vm].host.is_none());
                let boot = lasting + Duration::from_secs(5);
                self.schedule(boot, Happening::Fault(Fault::Start(node)));
                for crowd in 0..self.model.crowds.len() {
                    if guests.contains(&self.model.crowds[crowd].members.start) {
                        let after = boot + self.millis(10_000);
                        self.schedule(after, Happening::Fault(Fault::CrowdComes(crowd, node)));
                    }
                }
                guests.retain(|vm| !self.model.vms[*vm].crowd);
                for vm in guests {
                    // Started again with its host, or elsewhere, or not at all.
                    let (host, after) = match self.random.below(5) {
                        0 => continue,
                        1 => (self.host_for(vm), self.millis(20_000)),
                        _ => (Some(node), boot + self.millis(10_000)),
                    };
                    if let Some(host) = host {
                        self.schedule(after, Happening::Fault(Fault::Attach(vm, host)));
                    }
                }
            }
            Kind::VmAppears => {
                let Some(vm) = self.any_vm(false) else { return };
                if let Some(host) = self.host_for(vm) {
                    self.attach(vm, host);
                }
            }
            Kind::VmMoves | Kind::VmMovesLate => {
                let Some(vm) = self.any_vm(true) else { return };
                self.move_vm(vm, kind == Kind::VmMovesLate);
            }
            Kind::VmBounces => {
                let Some(vm) = self.any_vm(true) else { return };
                let Some(home) = self.model.vms[vm].host else { return };
                let late = self.random.below(2) == 0;
                self.move_vm(vm, late);
                let after = self.millis(3000);
                self.schedule(after, Happening::Fault(Fault::Attach(vm, home)));
            }
            Kind::Spoof => {
                if let Some(vm) = self.any_fixed_vm() {
                    self.spoof(vm);
                }
            }
            Kind::StaticMoves => {
                let Some(vm) = self.any_fixed_vm().filter(|vm| self.model.vms[*vm].fixed != Fixed::Device) else { return };
                let Some(host) = self.host_for(vm) else { return };
                self.detach(vm);
                let after = self.millis(3000);
                self.schedule(after, Happening::Fault(Fault::Attach(vm, host)));
            }
            Kind::VmSilent => {
                let Some(vm) = self.any_vm(true) else { return };
                let until = self.now + lasting * 2;
                tell!(self, "{} is silent until {until:?}", self.model.vms[vm].mac);
                self.model.vms[vm].silent_until = until;
            }
            Kind::VmPort => {
                let Some(vm) = self.any_vm(true) else { return };
                if let Some(host) = self.model.vms[vm].host {
                    self.detach_later(vm);
                    self.attach(vm, host);
                }
            }
            Kind::VmGone => {
                let Some(vm) = self.any_vm(true) else { return };
                tell!(self, "{} leaves", self.model.vms[vm].mac);
                self.detach_later(vm);
            }
        }
    }

    pub fn disturb_pair(&mut self, a: usize, b: usize, until: Time) {
        let now = self.now;
        let met = self.met_again(pair(a, b));
        let (from, last) = self.disturbed.entry(pair(a, b)).or_insert((now, until));
        if met.max(*last) + SETTLED < now {
            *from = now;
        }
        *last = until.max(*last);
    }

    fn disturb_vni_until(&mut self, node: usize, vni: Vni, until: Time) {
        let at = self.model.vni_disturbed.entry((node, vni)).or_insert(until);
        *at = until.max(*at);
    }

    pub fn disturb_vni(&mut self, node: usize, vni: Vni) {
        self.disturb_vni_until(node, vni, self.now);
    }
}
