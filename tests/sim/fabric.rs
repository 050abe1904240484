//! What a run is about: how many hosts and reflectors, who speaks with whom, which VNIs and machines there are.

use std::collections::BTreeSet;
use std::net::IpAddr;

use evpnd::base::{MacAddr, Time, Vni};

use super::faults::Fault;
use super::machines::{Fixed, Vm};
use super::world::{Happening, World};

pub fn build(world: &mut World) {
    world.latency_us = [20, 200, 5_000, 60_000][world.random.below(4) as usize];
    let hosts = 2 + world.random.below(2 + world.random.clone().below(4)) as usize;
    let reflectors = [0, 1, 2, 2][world.random.below(4) as usize];
    let dynamic = world.random.below(2) == 0;
    let passive = world.random.below(4) == 0;
    let hold = [90, 9, 30, 90][world.random.below(4) as usize];
    let retry = [1, 5, 20][world.random.below(3) as usize];
    let vnis: Vec<Vni> = (0..1 + world.random.below(3)).filter_map(|n| Vni::new(100 + n as u32)).collect();
    let host_address = |n: usize| IpAddr::from([10, 0, 0, n as u8 + 1]);
    let reflector_address = |n: usize| IpAddr::from([10, 0, 1, n as u8 + 1]);
    let neighbor = |address: IpAddr, more: &str| {
        format!("[[neighbor]]\naddress = \"{address}\"\nhold-time = {hold}\nconnect-retry = {retry}\n{more}")
    };
    for n in 0..hosts {
        let address = host_address(n);
        let mut head = format!("[router]\nasn = 65000\nvtep = \"{address}\"\n");
        if reflectors == 0 {
            for other in (0..hosts).filter(|other| *other != n) {
                head += &neighbor(host_address(other), "");
            }
        }
        for r in 0..reflectors {
            head += &neighbor(reflector_address(r), "");
        }
        let mine: BTreeSet<Vni> = vnis.iter().copied().filter(|vni| *vni == vnis[0] || world.random.below(4) > 0).collect();
        world.model.home.push(mine.clone());
        world.add_node(format!("host{}", n + 1), address, false, head, mine);
    }
    for r in 0..reflectors {
        let address = reflector_address(r);
        let mut head = format!("[router]\nasn = 65000\nrouter-id = \"{address}\"\n");
        if dynamic {
            head += &format!("[[neighbor]]\nlisten-range = \"10.0.0.0/24\"\nhold-time = {hold}\nroute-reflector-client = true\n");
        } else {
            for n in 0..hosts {
                let more = format!("route-reflector-client = true\npassive = {passive}\n");
                head += &neighbor(host_address(n), &more);
            }
        }
        for other in (0..reflectors).filter(|other| *other != r) {
            head += &neighbor(reflector_address(other), "");
        }
        world.model.home.push(BTreeSet::new());
        world.add_node(format!("reflector{}", r + 1), address, true, head, BTreeSet::new());
    }
    let machines = 1 + world.random.below(20);
    let some_fixed = world.random.below(2) == 0;
    for n in 0..machines {
        let vni = vnis[world.random.below(vnis.len() as u64) as usize];
        let mac = MacAddr([2, 0, 0, 0, (n >> 8) as u8, n as u8 + 1]);
        let fixed = if some_fixed { draw_fixed(world) } else { Fixed::No };
        world.model.vms.push(Vm {
            vni,
            mac,
            host: None,
            port: 0,
            since: Time::ZERO,
            silent_until: Time::ZERO,
            heard: Time::ZERO,
            fixed,
            spoofed: None,
            turn: 0,
        });
        let hosts: Vec<usize> = (0..hosts).filter(|host| world.model.home[*host].contains(&vni)).collect();
        if world.random.below(4) > 0 && !hosts.is_empty() {
            let host = hosts[world.random.below(hosts.len() as u64) as usize];
            let after = world.millis(40_000);
            world.schedule(after, Happening::Fault(Fault::Attach(n as usize, host)));
        }
    }
    world.model.vnis = vnis;
}

fn draw_fixed(world: &mut World) -> Fixed {
    match world.random.below(12) {
        0 => Fixed::AtPort,
        1 => Fixed::InFile,
        2 => Fixed::Mute,
        _ => Fixed::No,
    }
}
