//! The whole fabric with hand-written rows instead of daemons: proves the topology, the pings and the capture themselves,
//! and shows that the capture does notice flooding. Needs root: `cargo test --lib lab -- --ignored`.

use std::time::Duration;

use super::capture::{Capture, Tap};
use super::fabric::{Fabric, Names, Setting, vxlan_index};
use super::fdb;
use super::links::Links;
use super::netns::Namespace;
use super::plan::{LabOptions, Plan, UPLINK, Underlay, bridge, vxlan};
use super::state::State;
use super::{ping, reach};
use crate::base::MacAddr;

/// Builds a lab in which every hypervisor floods to every other, and knows the stations where `with_stations`.
fn build(name: &str, options: LabOptions, with_stations: bool) -> Fabric {
    let directory = std::env::temp_dir().join(format!("evpnd-lab-test-{name}-{}", std::process::id()));
    let setting = Setting { directory, evpnd: "/nonexistent".into(), names: Names::None };
    let mut fabric = Fabric::build(Plan::new(&options).unwrap(), setting).unwrap();
    for (index, host) in fabric.hypervisors.iter().enumerate() {
        let mut links = Links::open(&host.namespace).unwrap();
        for vni in fabric.plan.vnis.clone() {
            let (switch, tunnel) = (bridge(vni), vxlan(vni));
            links.add_bridge(&switch).unwrap();
            links.add_vxlan(&tunnel, vni, host.plan.address, 4789).unwrap();
            for device in [&switch, &tunnel] {
                host.namespace.set_sysctl(&format!("ipv6/conf/{device}/disable_ipv6"), "1").unwrap();
            }
            links.set_master(&tunnel, Some(&switch)).unwrap();
            links.set_up(&switch).unwrap();
            links.set_up(&tunnel).unwrap();
            let device = vxlan_index(host, vni).unwrap();
            for other in fabric.plan.hypervisors.iter().filter(|other| other.name != host.plan.name) {
                fdb::write(&host.namespace, device, MacAddr::ZERO, other.address).unwrap();
            }
            let remote = fabric.plan.guests.iter().filter(|guest| guest.home != index && guest.vni == vni && with_stations);
            for guest in remote {
                fdb::write(&host.namespace, device, guest.mac, fabric.plan.hypervisors[guest.home].address).unwrap();
            }
        }
    }
    for guest in 0..fabric.guests.len() {
        fabric.attach(guest).unwrap();
    }
    fabric
}

fn capture(fabric: &Fabric) -> Capture {
    let taps: Vec<_> = fabric.hypervisors.iter().map(|host| Tap { namespace: &host.namespace, interface: UPLINK }).collect();
    Capture::start(&taps, 4789).unwrap()
}

#[test]
#[ignore = "needs root"]
fn every_pair_reaches_every_other_without_flooding() {
    for underlay in [Underlay::V4, Underlay::V6] {
        let options = LabOptions { underlay, vnis: 2, ..LabOptions::default() };
        let fabric = build(&format!("clean-{underlay:?}"), options, true);
        let mut capture = capture(&fabric);
        for guest in &fabric.guests {
            let vtep = fabric.hypervisors[guest.place].plan.address;
            capture.place(guest.plan.vni.get(), guest.plan.mac, Some(vtep));
        }
        let matrix = reach::measure(&fabric.guests, Duration::from_secs(10)).unwrap();
        assert_eq!((matrix.len(), reach::failures(&matrix)), (2 * 6 * 5, 0));
        for counters in capture.stop().unwrap() {
            assert!(counters.is_clean(), "{counters:?}");
            assert!(counters.vxlan_unicast > 0 && counters.replicated > 0, "{counters:?}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn flooding_to_learn_is_noticed() {
    let fabric = build("flood", LabOptions { vms: 1, ..LabOptions::default() }, false);
    let mut capture = capture(&fabric);
    let target = fabric.guests[2].plan.ipv4.into();
    assert!(ping::ping(&fabric.guests[0].namespace, target, Duration::from_secs(2)).unwrap().is_some());
    let counters = capture.stop().unwrap();
    assert!(counters[0].flooded > 0 && !counters[0].is_clean(), "{:?}", counters[0]);
}

#[test]
#[ignore = "needs root"]
fn a_lab_with_names_is_kept_and_removed_whole() {
    let prefix = format!("evpndtest{}", std::process::id());
    let directory = std::env::temp_dir().join(format!("evpnd-lab-test-{prefix}"));
    let names = Names::System(prefix.clone());
    let setting = Setting { directory: directory.clone(), evpnd: "/bin/sleep".into(), names };
    let options = LabOptions { hypervisors: 2, vms: 1, ..LabOptions::default() };
    let mut fabric = Fabric::build(Plan::new(&options).unwrap(), setting).unwrap();
    fabric.start_holder(&["600".into()]).unwrap();
    fabric.keep().unwrap();

    let state = State::load(&directory).unwrap().unwrap();
    let nodes: Vec<_> = state.namespaces.iter().map(|record| record.node.as_str()).collect();
    assert_eq!(nodes, ["underlay", "rr", "hv1", "hv2", "vm1-1", "vm2-1"]);
    let holder = state.holder.unwrap();
    assert!(holder.is_alive() && state.is_complete);
    let again = Namespace::open(&state.namespaces[4].path).unwrap();
    let target = "192.168.1.11".parse().unwrap();
    assert!(ping::ping(&again, target, Duration::from_secs(1)).unwrap().is_some(), "the namespace lives by its name");

    state.tear_down(&directory).unwrap();
    assert!(!holder.is_alive() && !directory.exists());
    let left = std::fs::read_dir("/run/netns").unwrap().flatten();
    assert_eq!(left.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count(), 0);
}
