//! Devices that evpnd made are changed by a reload while guests talk, with every frame counted: a group comes and goes, and what no
//! kernel changes is said in the answer.

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Fabric, Family, Guest, Host};
use crate::harness::mesh::Mesh;
use crate::harness::watch::RowWatch;
use crate::harness::{ensure, wait_until};

use super::migrate::expect_nothing_lost;
use super::scenario::{ASN, VNI};

const GROUP: &str = "239.1.1.1";
const MULTICAST: &str = "flood = \"multicast\"\ngroup = \"239.1.1.1\"\n";

fn joined(host: &Host) -> bool {
    host.namespace.output("ip", ["maddr", "show", "dev", "eth0"]).contains(GROUP)
}

fn floods_to_group(host: &Host) -> bool {
    host.namespace.output("ip", ["-d", "link", "show", "dev", "vxlan100"]).contains(GROUP)
}

fn index(host: &Host) -> String {
    let line = host.namespace.output("ip", ["-o", "link", "show", "dev", "vxlan100"]);
    line.split(':').next().unwrap_or_default().to_owned()
}

/// From copies to a group and back, host by host: no frame is lost, no row of a guest is touched, no device made anew.
#[test]
fn a_group_comes_to_devices_of_ours_and_goes() {
    let fabric = Fabric::new();
    let hosts: Vec<Host> = (1..=3).map(|number| fabric.host(number)).collect();
    let middle = fabric.host(254);
    let _reflector = Evpnd::start(&middle, &Config::reflector(&middle, ASN));
    let config = |host: &Host, more: &str| Config::hypervisor(host, ASN, Family::V4).neighbor(middle.v4(), "").vni(VNI, more);
    let daemons: Vec<Evpnd<'_>> = hosts.iter().map(|host| Evpnd::start(host, &config(host, ""))).collect();
    for host in &hosts {
        wait_until("its device is made", 20, || ensure(host.has_interface("br100"), || "no br100".to_owned()));
    }
    let guests: Vec<Guest> = hosts.iter().map(|host| fabric.guest_at(host, VNI)).collect();
    let before: Vec<String> = hosts.iter().map(index).collect();
    let mut mesh = Mesh::start(&guests.iter().collect::<Vec<_>>());
    daemons.iter().for_each(Evpnd::expect_no_difference);
    let mut rows: Vec<RowWatch> = hosts.iter().map(|host| RowWatch::new(host, VNI)).collect();
    for (more, name, answer) in [
        (MULTICAST, "to the group", "VNI 100 joins its group now and announces some seconds later that it hears it"),
        ("", "from the group", "VNI 100 announces now that it wants copies and leaves its group some seconds later"),
    ] {
        for (host, daemon) in hosts.iter().zip(&daemons) {
            mesh.step(format!("host {}: {name}", host.number));
            daemon.rewrite(&config(host, more));
            let said = daemon.say(&["reload"]);
            assert!(said.contains(answer), "{said}");
            wait_until("it is there", 20, || {
                let now = (joined(host), floods_to_group(host));
                ensure(now == (!more.is_empty(), !more.is_empty()), || format!("{now:?}"))
            });
        }
        mesh.step(format!("all: {name}"));
        for host in &hosts {
            let others: Vec<_> = hosts.iter().filter(|other| other.number != host.number).map(Host::v4).collect();
            let group = [GROUP.parse().expect("an address")];
            host.expect_flood_list(VNI, if more.is_empty() { &others } else { &group });
        }
        daemons.iter().for_each(Evpnd::expect_no_difference);
    }
    expect_nothing_lost(&mesh.end());
    for (watch, host) in rows.iter_mut().zip(&hosts) {
        let seen = watch.seen();
        let strays: Vec<&String> = seen.macs.iter().filter(|mac| mac.starts_with("02:00:00:00:00")).collect();
        assert!(strays.is_empty(), "rows of guests on host {}: {seen:?}", host.number);
    }
    assert_eq!(hosts.iter().map(index).collect::<Vec<_>>(), before);
    daemons[0].rewrite(&config(&hosts[0], "bridge = \"other\"\n"));
    let said = daemons[0].say(&["reload"]);
    assert!(said.contains("VNI 100 keeps its device and bridge: other names are for what is made next"), "{said}");
    daemons[0].rewrite(&config(&hosts[0], "").section("vxlan", "port = 4790"));
    let said = daemons[0].say(&["reload"]);
    assert!(said.contains("VNI 100 loses frames for a moment: no kernel changes that on a device that stands"), "{said}");
    wait_until("the device is another", 20, || {
        ensure(hosts[0].has_interface("vxlan100") && index(&hosts[0]) != before[0], || "the same, or none".to_owned())
    });
}
