//! How each host runs a VNI: the ways of `docs/CONFIG.md`, as a run draws them, and what follows for everybody else. What is
//! said here is taken from that document, not from the daemon.
//!
//! The draws come from a stream of random numbers of their own, and half of the seeds run EVPN proper everywhere: these mean what
//! they meant before there were other ways. `EVPND_SIM_MODES=0` runs any seed so.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use evpnd::base::{MacAddr, Random, Time, Vni};

use super::faults::Fault;
use super::machines::{Fixed, Vm};
use super::world::{Happening, World};
use crate::tell;

/// Keeps the stream of the modes apart from that of everything else.
const STREAM: u64 = 0x006d_6f64_6573;

/// How a host runs a VNI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// MACs from type 2, the flood list from type 3.
    #[default]
    Proper,
    /// Known hosts: `flood = "none"`.
    Known,
    /// Flood list only: `learning = true`.
    Learning,
    /// Beside multicast: this group of the underlay.
    Multicast(u8),
    /// Rows that live for so many seconds: `install = "on-demand"`.
    OnDemand(u32),
    /// Known hosts, and the device is in no bridge.
    Bare,
}

/// What a host may change a VNI to by a reload of its file. Not to and from a device without a bridge: its guests would have to go.
const CHANGES: &[Mode] =
    &[Mode::Proper, Mode::Known, Mode::Learning, Mode::Multicast(1), Mode::Multicast(2), Mode::OnDemand(20), Mode::OnDemand(120)];

/// The hosts of a VNI: a way for each, drawn among these. Those of one line are a sensible deployment.
const DEPLOYMENTS: &[&[Mode]] = &[
    &[Mode::Proper],
    &[Mode::Known],
    &[Mode::Known, Mode::Proper],
    &[Mode::Learning],
    &[Mode::Multicast(1)],
    &[Mode::Multicast(1), Mode::Multicast(1), Mode::Multicast(2), Mode::Proper, Mode::Known],
    &[Mode::OnDemand(10), Mode::OnDemand(60), Mode::OnDemand(300)],
    &[Mode::OnDemand(20), Mode::OnDemand(60), Mode::Proper, Mode::Known],
    &[Mode::Bare, Mode::Bare, Mode::Known, Mode::OnDemand(60)],
    &[Mode::Bare, Mode::Proper],
];

impl Mode {
    /// Its lines of the file.
    pub fn keys(self, is_ipv6: bool) -> String {
        match self {
            Self::Proper => String::new(),
            Self::Known => "flood = \"none\"\n".to_owned(),
            Self::Learning => "learning = true\n".to_owned(),
            Self::Multicast(last) => format!("flood = \"multicast\"\ngroup = \"{}\"\n", group(last, is_ipv6)),
            Self::OnDemand(secs) => {
                format!("flood = \"none\"\ninstall = \"on-demand\"\ninstall-lifetime = {secs}\n")
            }
            Self::Bare => "flood = \"none\"\nbridge = \"none\"\n".to_owned(),
        }
    }

    /// MACs are announced, and those of others get rows.
    pub fn has_macs(self) -> bool {
        self != Self::Learning
    }

    /// Addresses are announced, and those of others are answered for.
    pub fn has_addresses(self) -> bool {
        !matches!(self, Self::Learning | Self::Multicast(_))
    }

    /// How long a row lives that nobody uses.
    pub fn lifetime(self) -> Option<Duration> {
        match self {
            Self::OnDemand(secs) => Some(Duration::from_secs(secs.into())),
            _ => None,
        }
    }

    /// It tells others that it wants what they flood (type 3).
    pub fn wants_floods(self) -> bool {
        matches!(self, Self::Proper | Self::Learning | Self::Multicast(_))
    }

    /// Whether it floods to a host that runs the VNI in this way.
    pub fn floods_to(self, other: Self) -> bool {
        // Who is in the same group hears it there.
        let together = matches!(self, Self::Multicast(_)) && self == other;
        self.wants_floods() && other.wants_floods() && !together
    }
}

/// The MAC of the device of a VNI at a host: by its name, as systemd has it.
pub fn device_mac(vtep: Option<IpAddr>, vni: Vni) -> MacAddr {
    let last = match vtep {
        Some(IpAddr::V4(ip)) => ip.octets()[3],
        Some(IpAddr::V6(ip)) => ip.octets()[15],
        None => 0,
    };
    MacAddr([2, 1, 0, 0, last, vni.get() as u8])
}

/// A group of the underlay.
pub fn group(last: u8, is_ipv6: bool) -> IpAddr {
    if is_ipv6 { Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, last.into()).into() } else { IpAddr::from([239, 1, 1, last]) }
}

impl World {
    /// Draws how each host runs each VNI of its file. `None`: as if there were no other way than EVPN proper.
    pub fn draw_modes(&mut self, seed: u64) -> Option<Random> {
        let mut random = Random::new(seed ^ STREAM);
        if random.below(2) == 0 || std::env::var_os("EVPND_SIM_MODES").is_some_and(|value| value == "0") {
            return None;
        }
        for vni in self.model.vnis.clone() {
            let deployment = DEPLOYMENTS[random.below(DEPLOYMENTS.len() as u64) as usize];
            for index in 0..self.nodes.len() {
                let mode = deployment[random.below(deployment.len() as u64) as usize];
                if self.model.home[index].contains(&vni) {
                    tell!(self, "{} runs VNI {vni} as {mode:?}", self.nodes[index].name);
                    self.nodes[index].modes.insert(vni, mode);
                    if mode == Mode::Bare {
                        self.add_device(index, vni);
                    }
                }
            }
        }
        Some(random)
    }

    /// What goes wrong in runs with other ways than EVPN proper: their hosts change their minds, and their addresses.
    pub fn draw_mode_faults(&mut self, random: &mut Random, secs: u64) {
        for vm in 0..self.model.vms.len() {
            if self.model.vms[vm].fixed == Fixed::Device && random.below(2) == 0 {
                let after = Duration::from_millis(random.below(secs * 1000));
                self.schedule(after, Happening::Fault(Fault::Renumber(vm)));
            }
        }
        for _ in 0..random.below(8) {
            let index = random.below(self.nodes.len() as u64) as usize;
            let vnis: Vec<Vni> = self.model.home[index].iter().copied().filter(|vni| !self.is_bare(index, *vni)).collect();
            let after = Duration::from_millis(random.below(secs * 1000));
            let mode = CHANGES[random.below(CHANGES.len() as u64) as usize];
            if let Some(vni) = vnis.get(random.below(vnis.len() as u64) as usize) {
                self.schedule(after, Happening::Fault(Fault::ChangeMode(index, *vni, mode)));
            }
        }
    }

    /// The file of a host says another way for a VNI, now or when it names the VNI again.
    pub fn change_mode(&mut self, index: usize, vni: Vni, mode: Mode) {
        tell!(self, "{}: VNI {vni} is to be {mode:?}", self.nodes[index].name);
        self.nodes[index].modes.insert(vni, mode);
        let now = self.now;
        self.disturb_vni(index, vni);
        self.trouble(index, now);
        self.reload(index, None);
    }

    /// The host itself is the one machine of a device without a bridge.
    fn add_device(&mut self, index: usize, vni: Vni) {
        let (mac, number) = (device_mac(self.nodes[index].vtep, vni), self.model.vms.len());
        self.model.numbers.insert((vni, mac), number);
        self.model.vms.push(Vm {
            vni,
            mac,
            ip: Some(IpAddr::from([172, 16, number as u8, index as u8])),
            unsaid: Time::ZERO,
            host: Some(index),
            port: 0,
            since: Time::ZERO,
            silent_until: Time::ZERO,
            heard: Time::ZERO,
            fixed: Fixed::Device,
            spoofed: None,
            crowd: false,
            turn: 0,
        });
    }

    /// Whether a host runs a VNI of its file without a bridge: no machine can come there.
    pub fn is_bare(&self, index: usize, vni: Vni) -> bool {
        self.nodes[index].modes.get(&vni) == Some(&Mode::Bare)
    }

    /// The network configuration of a host with a device without a bridge sees to its address.
    pub fn give_addresses(&mut self) {
        for Vm { vni, ip, host, fixed, .. } in self.model.vms.clone() {
            if let (Fixed::Device, Some(host)) = (fixed, host) {
                self.nodes[host].kernel.set_addresses(vni, ip.into_iter().collect());
            }
        }
    }

    /// The host of a device without a bridge gets another address there, at once or with the next look of its network configuration.
    pub fn renumber(&mut self, number: usize) {
        let now = self.now;
        let vm = &mut self.model.vms[number];
        vm.unsaid = now;
        if let Some(IpAddr::V4(ip)) = vm.ip {
            let [a, b, c, d] = ip.octets();
            vm.ip = Some(IpAddr::from([a, b ^ 1, c, d]));
        }
        tell!(self, "{} has {:?} now", self.model.vms[number].mac, self.model.vms[number].ip);
        if now.micros().is_multiple_of(2) {
            self.give_addresses();
            self.wake_rooms();
        }
    }

    /// How a node runs a VNI.
    pub fn mode(&self, index: usize, vni: Vni) -> Mode {
        self.nodes[index].mode(vni)
    }
}
