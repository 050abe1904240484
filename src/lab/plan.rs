//! What a lab looks like, before anything of it exists: names, addresses, stations. Pure.
//!
//! ```text
//!   vm1-1 vm1-2       vm2-1 vm2-2                    192.168.N.0/24 and fd10:0:0:N::/64, one per VNI
//!      │     │           │     │
//!   ┌──┴─────┴──┐     ┌──┴─────┴──┐
//!   │ br100     │     │ br100     │   made by evpnd
//!   │ vxlan100  │     │ vxlan100  │
//!   │ hv1 evpnd │     │ hv2 evpnd │     ┌────┐
//!   └─────┬─────┘     └─────┬─────┘     │ rr │         route reflector: evpnd, frr or gobgp
//!         │ eth0            │ eth0      └──┬─┘ eth0
//!   ──────┴─────────────────┴──────────────┴──────     underlay: a switch, 10.0.0.0/24 or fd00::/64
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::base::{MacAddr, Vni};

/// The AS of everybody in a lab.
pub const ASN: u32 = 65000;
/// The first VNI; the others follow.
pub const FIRST_VNI: u32 = 100;
/// MTU of the underlay in octets: room for 1500 octets of a tenant over IPv6 (RFC 8365 §5.1; 70 octets of overhead).
pub const UNDERLAY_MTU: u32 = 1600;
/// MTU of the stations in octets.
pub const TENANT_MTU: u32 = 1500;
/// The interface towards the underlay in every hypervisor and in the reflector.
pub const UPLINK: &str = "eth0";
/// Host number of the reflector on the underlay.
const REFLECTOR_HOST: u8 = 254;

/// The options of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
pub struct LabOptions {
    /// How many hypervisors
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=200))]
    pub hypervisors: u8,
    /// How many VNIs, from 100 on; every hypervisor takes part in all of them
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=200))]
    pub vnis: u8,
    /// How many small "VMs" per hypervisor and VNI
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub vms: u8,
    /// IP version of the underlay
    #[arg(long, default_value = "4", value_name = "4|6")]
    pub underlay: Underlay,
    /// Who reflects the routes
    #[arg(long, default_value = "evpnd", value_name = "WHO")]
    pub reflector: ReflectorKind,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self { hypervisors: 3, vnis: 1, vms: 2, underlay: Underlay::V4, reflector: ReflectorKind::Evpnd }
    }
}

/// IP version of the underlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Underlay {
    /// 10.0.0.0/24
    #[value(name = "4")]
    V4,
    /// fd00::/64
    #[value(name = "6")]
    V6,
}

impl Underlay {
    /// The address of host number `host`.
    pub fn address(self, host: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 0, 0, host).into(),
            Self::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)).into(),
        }
    }

    /// Length of the prefix.
    pub fn prefix_len(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }

    /// The whole prefix, as a `listen-range`.
    pub fn prefix(self) -> String {
        format!("{}/{}", self.address(0), self.prefix_len())
    }
}

/// Who reflects the routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum ReflectorKind {
    /// This program
    Evpnd,
    /// FRR's bgpd, where installed
    Frr,
    /// GoBGP, where installed
    Gobgp,
    /// Refused: Debian's BIRD knows no EVPN, and the lab has no configuration for newer ones
    Bird,
}

impl std::fmt::Display for ReflectorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Evpnd => "evpnd",
            Self::Frr => "FRR bgpd",
            Self::Gobgp => "GoBGP",
            Self::Bird => "BIRD",
        })
    }
}

/// A machine on the underlay: a hypervisor, or the reflector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPlan {
    /// `hv1` …, or `rr`.
    pub name: String,
    /// Its address on the underlay; a hypervisor's VTEP.
    pub address: IpAddr,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
}

/// A station: a namespace that plays a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestPlan {
    /// `vm1-2`: the second on the first hypervisor. Also the name of its port there.
    pub name: String,
    /// Index of the hypervisor on which it starts.
    pub home: usize,
    /// Its network.
    pub vni: Vni,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IPv4 address, in a /24.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address, in a /64.
    pub ipv6: Ipv6Addr,
}

impl GuestPlan {
    /// Both addresses.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.ipv4.into(), self.ipv6.into()]
    }

    /// The bridge of its network, as evpnd names it.
    pub fn bridge(&self) -> String {
        bridge(self.vni)
    }
}

/// The bridge of a network, as evpnd names it by default.
pub fn bridge(vni: Vni) -> String {
    format!("br{vni}")
}

/// The VXLAN device of a network, as evpnd names it by default.
pub fn vxlan(vni: Vni) -> String {
    format!("vxlan{vni}")
}

/// A whole lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The options it was made from.
    pub options: LabOptions,
    /// The route reflector.
    pub reflector: HostPlan,
    /// The hypervisors.
    pub hypervisors: Vec<HostPlan>,
    /// The networks.
    pub vnis: Vec<Vni>,
    /// The stations, by hypervisor and network.
    pub guests: Vec<GuestPlan>,
}

impl Plan {
    /// Names and numbers everything. The error says which option is too large.
    pub fn new(options: &LabOptions) -> anyhow::Result<Self> {
        let per_network = usize::from(options.hypervisors) * usize::from(options.vms);
        anyhow::ensure!(per_network <= 250, "{per_network} VMs do not fit one network: --hypervisors times --vms is at most 250");
        let total = per_network * usize::from(options.vnis);
        anyhow::ensure!(total <= 1000, "{total} VMs are too many for one machine: 1000 at most");

        let host = |name: String, number: u8| HostPlan {
            name,
            address: options.underlay.address(number),
            router_id: Ipv4Addr::new(10, 0, 0, number),
        };
        let vnis: Vec<Vni> = (0..u32::from(options.vnis)).filter_map(|index| Vni::new(FIRST_VNI + index)).collect();
        let mut guests = Vec::with_capacity(total);
        for home in 0..options.hypervisors {
            for (network, vni) in (1..).zip(&vnis) {
                for number in 1..=options.vms {
                    guests.push(guest(options, home, network, *vni, number));
                }
            }
        }
        Ok(Self {
            options: options.clone(),
            reflector: host("rr".into(), REFLECTOR_HOST),
            hypervisors: (1..=options.hypervisors).map(|number| host(format!("hv{number}"), number)).collect(),
            vnis,
            guests,
        })
    }
}

/// The `number`th station of a network on a hypervisor: all from 1, but `home` from 0.
fn guest(options: &LabOptions, home: u8, network: u8, vni: Vni, number: u8) -> GuestPlan {
    // vm3-1 is .31 where one digit is enough for both; else they are simply counted.
    let fits = options.hypervisors <= 24 && options.vms <= 9;
    let host = if fits { (home + 1) * 10 + number } else { home * options.vms + number };
    let index = u16::from(network - 1) * u16::from(options.vms) + u16::from(number);
    GuestPlan {
        name: format!("vm{}-{index}", home + 1),
        home: usize::from(home),
        vni,
        mac: MacAddr([0x02, 0, 0, network, home + 1, number]),
        ipv4: Ipv4Addr::new(192, 168, network, host),
        // Written as people read it: fd10:0:0:1::31 beside 192.168.1.31.
        ipv6: Ipv6Addr::new(0xfd10, 0, 0, u16::from(network), 0, 0, 0, decimal_as_hex(host)),
    }
}

/// 31 becomes 0x31.
fn decimal_as_hex(number: u8) -> u16 {
    let number = u16::from(number);
    number / 100 * 0x100 + number / 10 % 10 * 0x10 + number % 10
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_lab_of_the_readme() {
        let plan = Plan::new(&LabOptions::default()).unwrap();
        assert_eq!(plan.reflector.address.to_string(), "10.0.0.254");
        assert_eq!(plan.hypervisors.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(), ["hv1", "hv2", "hv3"]);
        assert_eq!(plan.guests.len(), 6);
        let last = plan.guests.last().unwrap();
        assert_eq!((last.name.as_str(), last.vni.get(), last.home), ("vm3-2", 100, 2));
        assert_eq!(last.mac.to_string(), "02:00:00:01:03:02");
        assert_eq!(last.addresses().map(|a| a.to_string()), ["192.168.1.32", "fd10:0:0:1::32"]);
    }

    #[test]
    fn nothing_is_given_twice() {
        for (hypervisors, vnis, vms) in [(3, 2, 2), (24, 4, 9), (25, 1, 10), (200, 1, 1), (2, 5, 100), (1, 200, 2)] {
            let plan = Plan::new(&LabOptions { hypervisors, vnis, vms, ..LabOptions::default() }).unwrap();
            let names: BTreeSet<_> = plan.guests.iter().map(|g| g.name.as_str()).collect();
            let macs: BTreeSet<_> = plan.guests.iter().map(|g| g.mac).collect();
            let addresses: BTreeSet<_> = plan.guests.iter().flat_map(GuestPlan::addresses).collect();
            assert_eq!((names.len(), macs.len()), (plan.guests.len(), plan.guests.len()));
            assert_eq!(addresses.len(), 2 * plan.guests.len());
            assert!(names.iter().all(|name| name.len() < 16), "an interface name has at most 15 octets");
        }
        assert!(Plan::new(&LabOptions { hypervisors: 100, vms: 3, ..LabOptions::default() }).is_err());
    }
}
