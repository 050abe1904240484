//! Virtual machines: where they are plugged in, when they speak, how they move.

use std::net::IpAddr;
use std::time::Duration;

use evpnd::base::{MacAddr, Time, Vni};

use super::faults::Fault;
use super::kernel::Place;
use super::world::{Happening, World};
use crate::tell;

/// Whether a machine may move by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixed {
    No,
    /// Its MAC is static at its port: only an operator moves it.
    AtPort,
    /// Its MAC is in the file of its host, and it speaks.
    InFile,
    /// Its MAC is in the file of its host, and it never says a word.
    Mute,
    /// It is a host itself, by a device without a bridge.
    Device,
}

/// Machines behind one port: a switch of the tenant's, a nested hypervisor.
#[derive(Debug, Clone)]
pub struct Crowd {
    pub members: std::ops::Range<usize>,
    /// Which attachment speaks.
    pub turn: u64,
}

/// A virtual machine.
#[derive(Debug, Clone, Copy)]
pub struct Vm {
    pub vni: Vni,
    pub mac: MacAddr,
    /// What it says to have, where it says so.
    pub ip: Option<IpAddr>,
    /// When its host last forgot that.
    pub unsaid: Time,
    /// Where it is attached.
    pub host: Option<usize>,
    pub port: u32,
    /// Since when it is there, or nowhere.
    pub since: Time,
    pub silent_until: Time,
    pub heard: Time,
    pub fixed: Fixed,
    /// When another machine last spoke with its MAC, at which host.
    pub spoofed: Option<(usize, Time)>,
    /// One of many behind one port, which come, go and speak together.
    pub crowd: bool,
    /// Which attachment speaks.
    pub turn: u64,
}

impl World {
    /// A machine is plugged in at a host, and speaks soon.
    pub fn attach(&mut self, vm: usize, host: usize) {
        if self.is_bare(host, self.model.vms[vm].vni) {
            return;
        }
        self.model.next_port += 1;
        let port = 1000 + self.model.next_port;
        let now = self.now;
        let machine = &mut self.model.vms[vm];
        machine.host = Some(host);
        machine.port = port;
        machine.since = now;
        machine.turn += 1;
        let Vm { vni, mac, turn, fixed, .. } = *machine;
        tell!(self, "{mac} comes to {} at port {port}, {fixed:?}", self.nodes[host].name);
        match fixed {
            Fixed::No | Fixed::Device => {}
            Fixed::AtPort => {
                self.nodes[host].kernel.set_static(now, vni, mac, port);
                self.wake_room(host);
            }
            Fixed::InFile | Fixed::Mute => {
                self.nodes[host].statics.entry(vni).or_default().insert(mac);
                self.reload(host, None);
            }
        }
        if fixed == Fixed::Mute {
            return;
        }
        let after = self.millis(500);
        self.schedule(after, Happening::Speaks(vm, turn));
    }

    /// A machine is unplugged: its port goes.
    pub fn detach(&mut self, vm: usize) {
        let now = self.now;
        let machine = &mut self.model.vms[vm];
        let Some(host) = machine.host.take() else { return };
        machine.turn += 1;
        machine.since = now;
        let Vm { vni, port, mac, fixed, .. } = *machine;
        tell!(self, "{mac} leaves {}", self.nodes[host].name);
        if matches!(fixed, Fixed::InFile | Fixed::Mute) {
            self.nodes[host].statics.entry(vni).or_default().remove(&mac);
            self.reload(host, None);
        }
        self.nodes[host].kernel.remove_port(vni, port);
        self.wake_room(host);
    }

    pub fn vm_speaks(&mut self, vm: usize, turn: u64) {
        let Vm { vni, mac, ip, host, port, silent_until, .. } = self.model.vms[vm];
        let Some(host) = host.filter(|_| turn == self.model.vms[vm].turn) else { return };
        let now = self.now;
        if self.nodes[host].off {
            self.schedule(Duration::from_secs(5), Happening::Speaks(vm, turn));
            return;
        }
        self.excuse(vm);
        if silent_until <= now {
            self.model.vms[vm].heard = now;
            self.nodes[host].kernel.hear(now, vni, mac, port);
            if let Some(ip) = ip {
                self.nodes[host].kernel.say(vni, mac, ip);
            }
            self.wake_room(host);
        }
        let after = Duration::from_millis(500) + self.millis(9000);
        self.schedule(after, Happening::Speaks(vm, turn));
    }

    /// A host asks a machine at one of its ports whether it has an address: it answers where it is there and speaks.
    pub fn is_asked(&mut self, host: usize, vni: Vni, mac: MacAddr, ip: IpAddr) {
        let Some(&number) = self.model.numbers.get(&(vni, mac)) else { return };
        let (vm, now) = (self.model.vms[number], self.now);
        if vm.host != Some(host) || vm.ip != Some(ip) || vm.silent_until > now || self.nodes[host].off {
            return;
        }
        self.excuse(number);
        self.model.vms[number].heard = now;
        self.nodes[host].kernel.hear(now, vni, mac, vm.port);
        self.nodes[host].kernel.say(vni, mac, ip);
        self.wake_room(host);
    }

    pub fn any_vm(&mut self, attached: bool) -> Option<usize> {
        let vms: Vec<usize> = self.which_vms(|vm| vm.fixed == Fixed::No && !vm.crowd && vm.host.is_some() == attached);
        vms.get(self.random.below(vms.len() as u64) as usize).copied()
    }

    /// One whose MAC only an operator moves.
    pub fn any_fixed_vm(&mut self) -> Option<usize> {
        let vms = self.which_vms(|vm| vm.fixed != Fixed::No && vm.host.is_some());
        vms.get(self.random.below(vms.len() as u64) as usize).copied()
    }

    fn which_vms(&self, which: impl Fn(&Vm) -> bool) -> Vec<usize> {
        (0..self.model.vms.len()).filter(|vm| which(&self.model.vms[*vm])).collect()
    }

    /// A machine whose place may be mistaken for a while is not taken for settled.
    fn excuse(&mut self, vm: usize) {
        let Vm { vni, mac, host, heard, fixed, .. } = self.model.vms[vm];
        let (Some(host), now) = (host, self.now) else { return };
        // Another bridge still believes to have it: whoever lost it may claim it again after a restart.
        let elsewhere = |(index, node): (usize, &super::node::Node)| {
            index != host && matches!(node.kernel.bridges.get(&vni).and_then(|bridge| bridge.get(&mac)), Some(Place::Port(..)))
        };
        let forgotten = heard + Duration::from_secs(250) < now;
        if fixed == Fixed::No && (forgotten || self.nodes.iter().enumerate().any(elsewhere)) {
            self.model.vms[vm].since = now;
        }
    }

    /// Many machines, behind one port, leave together and come to this host.
    pub fn crowd_moves(&mut self, crowd: usize, host: usize) {
        if self.is_bare(host, self.model.vnis[0]) {
            return;
        }
        self.crowd_leaves(crowd);
        self.model.next_port += 1;
        let (port, now) = (1000 + self.model.next_port, self.now);
        let Crowd { members, turn } = self.model.crowds[crowd].clone();
        tell!(self, "crowd {crowd} of {} comes to {} at port {port}", members.len(), self.nodes[host].name);
        for machine in &mut self.model.vms[members] {
            (machine.host, machine.port, machine.since) = (Some(host), port, now);
        }
        let after = self.millis(2000);
        self.schedule(after, Happening::CrowdSpeaks(crowd, turn));
    }

    /// They are nowhere.
    pub fn crowd_leaves(&mut self, crowd: usize) {
        self.model.crowds[crowd].turn += 1;
        let (members, now) = (self.model.crowds[crowd].members.clone(), self.now);
        let mut left = None;
        for machine in &mut self.model.vms[members] {
            left = machine.host.take().map(|host| (host, machine.vni, machine.port)).or(left);
            machine.since = now;
        }
        if let Some((host, vni, port)) = left {
            tell!(self, "crowd {crowd} leaves {}", self.nodes[host].name);
            self.nodes[host].kernel.remove_port(vni, port);
            self.wake_room(host);
        }
    }

    /// Each of them says something.
    pub fn crowd_speaks(&mut self, crowd: usize, turn: u64) {
        if self.model.crowds[crowd].turn != turn {
            return;
        }
        let now = self.now;
        for vm in self.model.crowds[crowd].members.clone() {
            let Vm { vni, mac, ip, host, port, .. } = self.model.vms[vm];
            let Some(host) = host.filter(|host| !self.nodes[*host].off) else { continue };
            self.excuse(vm);
            self.model.vms[vm].heard = now;
            self.nodes[host].kernel.hear(now, vni, mac, port);
            if let Some(ip) = ip {
                self.nodes[host].kernel.say(vni, mac, ip);
            }
        }
        self.wake_rooms();
        let after = Duration::from_secs(20) + self.millis(100_000);
        self.schedule(after, Happening::CrowdSpeaks(crowd, turn));
    }

    /// Another machine speaks with the MAC of one that is fixed, for a few seconds, and goes.
    pub fn spoof(&mut self, vm: usize) {
        let Vm { vni, mac, .. } = self.model.vms[vm];
        let Some(host) = self.host_for(vm) else { return };
        self.model.next_port += 1;
        let port = 1000 + self.model.next_port;
        tell!(self, "{mac} is spoofed at {} port {port}", self.nodes[host].name);
        for _ in 0..1 + self.random.below(12) {
            let after = self.millis(8000);
            self.schedule(after, Happening::Fault(Fault::Spoof(host, vm, port)));
        }
        self.schedule(Duration::from_secs(9), Happening::Fault(Fault::Detach(host, vni, port)));
    }

    /// A host that has the VNI of a machine.
    pub fn host_for(&mut self, vm: usize) -> Option<usize> {
        let Vm { vni, host, fixed, .. } = self.model.vms[vm];
        // Where the VNI is added and deleted at run time, machines are all the same.
        let anywhere = fixed == Fixed::No && self.random.below(6) == 0;
        let hosts: Vec<usize> = (0..self.nodes.len())
            .filter(|node| !self.nodes[*node].reflector && Some(*node) != host)
            .filter(|node| anywhere || self.model.home[*node].contains(&vni))
            .filter(|node| !self.is_bare(*node, vni))
            .collect();
        hosts.get(self.random.below(hosts.len() as u64) as usize).copied()
    }

    pub fn move_vm(&mut self, vm: usize, late: bool) {
        let Some(host) = self.host_for(vm) else { return };
        if late {
            let (old, Vm { vni, port, .. }) = (self.model.vms[vm].host, self.model.vms[vm]);
            self.attach(vm, host);
            if let Some(old) = old {
                // The old host may hear it once more, and loses its port when it likes.
                if self.random.below(3) == 0 {
                    let mac = self.model.vms[vm].mac;
                    self.nodes[old].kernel.hear(self.now, vni, mac, port);
                    self.wake_room(old);
                }
                if self.random.below(4) > 0 {
                    let after = self.millis(20_000);
                    self.schedule(after, Happening::Fault(Fault::Detach(old, vni, port)));
                }
            }
        } else {
            self.detach(vm);
            let after = self.millis(1000);
            self.schedule(after, Happening::Fault(Fault::Attach(vm, host)));
        }
    }

    /// The port goes at once, or never: then the bridge forgets the machine in time.
    pub fn detach_later(&mut self, vm: usize) {
        if self.random.below(3) > 0 {
            self.detach(vm);
        } else {
            self.model.vms[vm].host = None;
            self.model.vms[vm].turn += 1;
            self.model.vms[vm].since = self.now;
        }
    }
}
