//! What a run is about: how many hosts and reflectors, who speaks with whom over what, which VNIs and machines there are.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use evpnd::base::{MacAddr, Time, Vni};

use super::faults::Fault;
use super::machines::{Crowd, Fixed, Vm};
use super::node::NodeConfig;
use super::world::{Happening, World};

/// Who has sessions with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Hosts of one AS, each with each.
    Mesh,
    /// Hosts of one AS, clients of reflectors.
    Reflectors,
    /// An AS for each host, each with each.
    ExternalMesh,
    /// An AS for each host and one for the spines between them.
    Spines,
    /// Reflectors whose clients are of their AS, or of another each.
    Border,
}

/// What the nodes have in common.
struct Plan {
    shape: Shape,
    /// Sessions over IPv6.
    sessions_v6: bool,
    hosts: usize,
    reflectors: usize,
    /// Reflectors take whoever comes from the hosts' network.
    dynamic: bool,
    passive: bool,
    hold_secs: u64,
    retry_secs: u64,
    /// Pairs that are no peers, though the shape would have them so.
    apart: BTreeSet<(usize, usize)>,
    external: Vec<bool>,
    /// What of `[graceful-restart]` and `[duplicate-detection]` each node's file says.
    rules: Vec<String>,
}

impl Plan {
    fn draw(world: &mut World) -> Self {
        let hosts = 2 + world.random.below(2 + world.random.clone().below(4)) as usize;
        let shapes = [
            Shape::Mesh,
            Shape::Reflectors,
            Shape::Reflectors,
            Shape::Reflectors,
            Shape::ExternalMesh,
            Shape::Spines,
            Shape::Border,
        ];
        let shape = shapes[world.random.below(shapes.len() as u64) as usize];
        let reflectors = match shape {
            Shape::Mesh | Shape::ExternalMesh => 0,
            Shape::Spines => 1 + world.random.below(2),
            Shape::Reflectors | Shape::Border => 1 + world.random.below(3),
        } as usize;
        let mut plan = Self {
            shape,
            sessions_v6: world.random.below(4) == 0,
            hosts,
            reflectors,
            dynamic: shape == Shape::Reflectors && world.random.below(2) == 0,
            passive: world.random.below(4) == 0,
            hold_secs: [90, 9, 30, 90][world.random.below(4) as usize],
            retry_secs: [1, 5, 20][world.random.below(3) as usize],
            apart: BTreeSet::new(),
            external: Vec::new(),
            rules: Vec::new(),
        };
        plan.draw_rules(world);
        for host in 0..hosts {
            plan.external.push(match shape {
                Shape::Mesh | Shape::Reflectors => false,
                Shape::ExternalMesh | Shape::Spines => true,
                Shape::Border => world.random.below(2) == 0,
            });
            // Reflectors that know one another may each have clients of their own.
            if matches!(shape, Shape::Reflectors | Shape::Border) && reflectors > 1 && world.random.below(3) == 0 {
                let kept = world.random.below(reflectors as u64) as usize;
                plan.apart.extend((0..reflectors).filter(|r| *r != kept).map(|r| (host, hosts + r)));
            }
        }
        plan
    }

    /// How long routes outlive their sessions, and whether a MAC that moves too often is held fast.
    fn draw_rules(&mut self, world: &mut World) {
        let freeze = match world.random.below(5) {
            0 => {
                let (window, recovery) = (180, [60, 300][world.random.below(2) as usize]);
                world.model.frozen_for = Duration::from_secs(window + recovery);
                format!("[duplicate-detection]\naction = \"freeze\"\nseconds = {window}\nrecovery-seconds = {recovery}\n")
            }
            _ => String::new(),
        };
        for _ in 0..self.hosts + self.reflectors {
            let enabled = world.random.below(6) > 0;
            let hold = [120, 120, 0, 20][world.random.below(4) as usize];
            let long = if enabled { [0, 0, 300][world.random.below(3) as usize] } else { 0 };
            self.rules.push(format!(
                "[graceful-restart]\nenabled = {enabled}\nloss-hold-time = {hold}\nlong-lived-stale-time = {long}\n{freeze}"
            ));
        }
    }

    fn address(&self, node: usize) -> IpAddr {
        let (reflector, number) = if node < self.hosts { (0, node + 1) } else { (1, node - self.hosts + 1) };
        if self.sessions_v6 {
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, reflector, number as u16).into()
        } else {
            IpAddr::from([10, 0, reflector as u8, number as u8])
        }
    }

    fn asn(&self, node: usize) -> u32 {
        match self.shape {
            _ if node < self.hosts && self.external[node] => 65001 + node as u32,
            Shape::Spines => 65100,
            _ => 65000,
        }
    }

    fn are_peers(&self, a: usize, b: usize) -> bool {
        let (low, high) = (a.min(b), a.max(b));
        low != high
            && !self.apart.contains(&(low, high))
            && (self.reflectors == 0
                || (low < self.hosts && high >= self.hosts)
                || (low >= self.hosts && self.shape != Shape::Spines))
    }

    fn neighbors(&self, node: usize) -> String {
        let timers = format!("hold-time = {}\n", self.hold_secs);
        let mut text = String::new();
        if node >= self.hosts && self.dynamic {
            let range = if self.sessions_v6 { "fd00::/112" } else { "10.0.0.0/24" };
            text += &format!("[[neighbor]]\nlisten-range = \"{range}\"\nroute-reflector-client = true\n{timers}");
        }
        for other in (0..self.hosts + self.reflectors).filter(|other| self.are_peers(node, *other)) {
            let client = node >= self.hosts && other < self.hosts;
            if client && self.dynamic {
                continue;
            }
            text +=
                &format!("[[neighbor]]\naddress = \"{}\"\nconnect-retry = {}\n{timers}", self.address(other), self.retry_secs);
            if client {
                text += &format!("passive = {}\n", self.passive);
                if self.asn(node) == self.asn(other) {
                    text += "route-reflector-client = true\n";
                }
            }
            if self.asn(node) != self.asn(other) {
                text += &format!("asn = {}\n", self.asn(other));
            }
        }
        text
    }

    fn node(&self, node: usize, vtep: Option<IpAddr>, vnis: BTreeSet<Vni>) -> NodeConfig {
        let id = if node < self.hosts { format!("10.0.0.{}", node + 1) } else { format!("10.0.1.{}", node - self.hosts + 1) };
        let vtep_key = vtep.map_or(String::new(), |vtep| format!("vtep = \"{vtep}\"\n"));
        let asn = self.asn(node);
        let neighbors = self.neighbors(node);
        let name = if node < self.hosts { format!("host{}", node + 1) } else { format!("reflector{}", node - self.hosts + 1) };
        let all = 0..self.hosts + self.reflectors;
        NodeConfig {
            name,
            address: self.address(node),
            vtep,
            peers: all.filter(|other| self.are_peers(node, *other)).collect(),
            head: format!("[router]\nasn = {asn}\nrouter-id = \"{id}\"\n{vtep_key}{}{neighbors}", self.rules[node]),
            vnis,
        }
    }
}

/// Draws the fabric.
pub fn build(world: &mut World) {
    world.latency_us = [20, 200, 5_000, 60_000][world.random.below(4) as usize];
    let plan = Plan::draw(world);
    let vnis: Vec<Vni> = (0..1 + world.random.below(3)).filter_map(|n| Vni::new(100 + n as u32)).collect();
    let (tunnels_v6, mixed) = (world.random.below(4) == 0, world.random.below(12) == 0);
    for n in 0..plan.hosts {
        let v6 = if mixed { world.random.below(2) == 0 } else { tunnels_v6 };
        let vtep =
            if v6 { Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, n as u16 + 1).into() } else { IpAddr::from([10, 0, 0, n as u8 + 1]) };
        let mine: BTreeSet<Vni> = vnis.iter().copied().filter(|vni| *vni == vnis[0] || world.random.below(4) > 0).collect();
        world.add_node(plan.node(n, Some(vtep), mine));
    }
    for r in 0..plan.reflectors {
        world.add_node(plan.node(plan.hosts + r, None, BTreeSet::new()));
    }
    add_machines(world, &vnis, plan.hosts);
    world.model.vnis = vnis;
}

fn add_machines(world: &mut World, vnis: &[Vni], hosts: usize) {
    let machines = 1 + world.random.below(20);
    let some_fixed = world.random.below(2) == 0;
    for _ in 0..machines {
        let vni = vnis[world.random.below(vnis.len() as u64) as usize];
        let fixed = if some_fixed { draw_fixed(world) } else { Fixed::No };
        let vm = add_machine(world, vni, fixed, false);
        let hosts: Vec<usize> = (0..hosts).filter(|host| world.model.home[*host].contains(&vni)).collect();
        if world.random.below(4) > 0 && !hosts.is_empty() {
            let host = hosts[world.random.below(hosts.len() as u64) as usize];
            let after = world.millis(40_000);
            world.schedule(after, Happening::Fault(Fault::Attach(vm, host)));
        }
    }
    let crowds = [0, 0, 0, 0, 0, 0, 1, 2][world.random.below(8) as usize];
    for crowd in 0..crowds {
        let large = world.random.below(16) == 0;
        let count = if large { 1500 + world.random.below(2500) } else { 30 + world.random.below(120) };
        let first = world.model.vms.len();
        for _ in 0..count {
            add_machine(world, vnis[0], Fixed::No, true);
        }
        world.model.crowds.push(Crowd { members: first..first + count as usize, turn: 0 });
        let (host, after) = (world.random.below(hosts as u64) as usize, world.millis(60_000));
        world.schedule(after, Happening::Fault(Fault::CrowdComes(crowd, host)));
        // What is said on a narrow path with a long way must arrive within what counts as settled.
        world.least_capacity = if large { 64 << 10 } else { 4 << 10 };
    }
}

fn add_machine(world: &mut World, vni: Vni, fixed: Fixed, crowd: bool) -> usize {
    let number = world.model.vms.len();
    let [.., high, low] = (number as u32 + 1).to_be_bytes();
    let mac = MacAddr([2, 0, 0, 0, high, low]);
    // Two of three say which address they have, over IPv4 or IPv6; of a crowd a few.
    let ip = match number % 3 {
        _ if fixed == Fixed::Mute || (crowd && !number.is_multiple_of(8)) => None,
        0 => None,
        1 => Some(IpAddr::from([192, 168, high, low])),
        _ => Some(Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, high.into(), low.into()).into()),
    };
    world.model.numbers.insert((vni, mac), number);
    world.model.vms.push(Vm {
        vni,
        mac,
        ip,
        unsaid: Time::ZERO,
        host: None,
        port: 0,
        since: Time::ZERO,
        silent_until: Time::ZERO,
        heard: Time::ZERO,
        fixed,
        spoofed: None,
        crowd,
        turn: 0,
    });
    number
}

fn draw_fixed(world: &mut World) -> Fixed {
    match world.random.below(12) {
        0 => Fixed::AtPort,
        1 => Fixed::InFile,
        2 => Fixed::Mute,
        _ => Fixed::No,
    }
}
