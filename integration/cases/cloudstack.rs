//! CloudStack's KVM agent, by the calls of its `BridgeVifDriver` (as of 2026): `-v -p -b -o add` before each guest, at the destination of
//! a live migration too; and when the bridge has no port of a guest any more `-o delete -v -p -b`, with the `vx` of the bridge's name for
//! the interface. It looks for ports whose names have `vnet` in them. No call names a MAC: those are heard.

use std::path::Path;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Guest, Host};
use crate::harness::{ensure, wait_until};

use super::migration::{Segment, Stage, migrate_with, tell};
use super::on_demand::{Said, expect_macs, plug_tap, run, with_pair};
use super::scenario::ASN;

const EVPNCTL: &str = env!("CARGO_BIN_EXE_evpnctl");
const BRIDGE: &str = "brvx-600";
const ADD: &str = "-v 600 -p cloudbr1 -b brvx-600 -o add";
const DELETE: &str = "-o delete -v 600 -p vx -b brvx-600";

fn call(host: &Host, words: &str) -> Said {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/hooks/cloudstack/modifyvxlan-evpn.sh");
    let mut command = host.namespace.command("bash", [script.as_os_str()]);
    command.args(words.split(' '));
    command.env("EVPNCTL", format!("{EVPNCTL} --socket {}", host.path("evpnd.sock").display()));
    run(command, "")
}

/// Nothing may be complained of or printed.
#[track_caller]
fn quietly(host: &Host, words: &str) {
    let said = call(host, words);
    assert!(said.code == Some(0) && said.out.is_empty() && said.err.is_empty(), "{words}: {said:?}");
}

#[track_caller]
fn expect_gone(host: &Host) {
    wait_until("it is gone", 10, || {
        ensure(!host.has_interface(BRIDGE) && !host.has_interface("vxlan600"), || "it is there".to_owned())
    });
}

/// As the agent starts a guest: the network, then QEMU with its tap.
#[track_caller]
fn start(host: &Host, guest: &mut Guest) {
    quietly(host, ADD);
    assert!(host.has_interface("vxlan600") && host.has_interface(BRIDGE), "what the tap needs is there");
    guest.plug_into(host, BRIDGE);
}

/// A guest starts, moves while it runs, crashes and is started again, stops; another host talks to it all the time.
#[test]
fn a_guest_of_cloudstack_starts_migrates_crashes_and_stops() {
    with_pair(|site, first, second| {
        let [a, b, c] = &site.hosts;
        let config = Config::hypervisor(c, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(600, "");
        let third = Evpnd::start(c, &config);
        let (mut guest, mut other) = (site.fabric.guest(11), site.fabric.guest(31));
        other.plug(c, 600);
        start(a, &mut guest);
        let (mac, others) = (guest.mac(), other.mac());
        expect_macs(c, 600, &[(&mac, a)]);
        expect_macs(a, 600, &[(&others, c)]);
        guest.expect_ping(&other);
        other.expect_ping(&guest);

        // The agent of the destination prepares first; that of the source tells of the end when the guest's tap is gone there.
        let segment = Segment { fabric: &site.fabric, vni: 600, bridge: BRIDGE };
        let (mut guest, outcome) = migrate_with(&segment, &mut guest, b, &other, c, |stage, _| match stage {
            Stage::Coming => quietly(b, ADD),
            Stage::Copied => {}
            Stage::Gone => quietly(a, DELETE),
        });
        tell("by CloudStack", &outcome);
        outcome.expect_smooth(b);
        expect_gone(a);
        c.expect_flood_list(600, &[b.v4()]);
        expect_macs(b, 600, &[(&others, c)]);
        other.expect_ping(&guest);

        // QEMU dies and its tap with it: the agent calls nothing, and starts the guest again.
        guest.unplug();
        expect_macs(c, 600, &[]);
        assert!(b.has_interface(BRIDGE), "the network stays until it is told of");
        c.expect_flood_list(600, &[b.v4()]);
        start(b, &mut guest);
        expect_macs(c, 600, &[(&mac, b)]);
        guest.expect_ping(&other);
        assert_eq!(
            second.json(&["show", "vnis", "600"])[0]["callers"].as_array().map(Vec::len),
            Some(1),
            "one network, held once"
        );

        // A second guest comes and goes; the first one's network stays, as the agent does not call. Then a stop.
        let mut next = site.fabric.guest(22);
        start(b, &mut next);
        expect_macs(c, 600, &[(&mac, b), (&next.mac(), b)]);
        next.unplug();
        expect_macs(c, 600, &[(&mac, b)]);
        guest.expect_ping(&other);
        guest.unplug();
        quietly(b, DELETE);
        expect_gone(b);
        expect_macs(c, 600, &[]);
        c.expect_flood_list(600, &[]);
        [&first, &second, &third].into_iter().for_each(|daemon| daemon.expect_no_difference());
    });
}

#[test]
fn cloudstack_adds_and_deletes_a_network() {
    with_pair(|site, first, second| {
        let [a, b, _] = &site.hosts;
        for host in [a, b] {
            quietly(host, ADD);
            assert!(host.has_interface("vxlan600") && host.has_interface("brvx-600"));
        }
        // The agent calls again for each guest.
        assert_eq!(call(a, ADD).code, Some(0));
        b.expect_flood_list(600, &[a.v4()]);
        quietly(a, DELETE);
        expect_gone(a);
        b.expect_flood_list(600, &[]);
        assert_eq!(call(a, DELETE).code, Some(0), "twice is once");

        // What CloudStack's own script had made when ours came goes too, though not under a guest's port.
        let theirs = || {
            a.namespace.ip_batch(&format!(
                "link add vxlan600 type vxlan id 600 local {} dstport 4789 nolearning\nlink set vxlan600 up\n\
                 link add name brvx-600 type bridge\nlink set brvx-600 up\nlink set vxlan600 master brvx-600\n",
                a.v4()
            ));
        };
        theirs();
        plug_tap(a, "vnet3", "brvx-600");
        assert_eq!(call(a, DELETE).code, Some(0));
        assert!(a.has_interface("vxlan600") && a.has_interface("vnet3"));
        a.namespace.ip("link del vnet3");
        assert_eq!(call(a, DELETE).code, Some(0));
        expect_gone(a);
        theirs();
        assert_eq!(call(a, ADD).code, Some(0));
        b.expect_flood_list(600, &[a.v4()]);
        assert_eq!(call(a, DELETE).code, Some(0));
        expect_gone(a);
        b.expect_flood_list(600, &[]);

        assert_eq!(call(a, "-o add -v 600").code, Some(2));
        let bad = call(a, "-v 601 -p cloudbr1 -b a-name-that-is-too-long -o add");
        assert!(bad.code == Some(1) && bad.err.lines().count() == 1, "the reason, and nothing else: {bad:?}");
        let bad = call(a, "-v 99999999 -p cloudbr1 -b brvx-x -o add");
        assert!(bad.code == Some(1) && bad.err.contains("99999999"), "the guest could not work: {bad:?}");
        assert_eq!(call(a, "-o delete -v 99999999 -p vx -b brvx-x").code, Some(0));
        [&first, &second].into_iter().for_each(|daemon| daemon.expect_no_difference());
        assert!(first.stop().success());
        let said = call(a, ADD);
        assert!(said.code == Some(1) && said.err.contains("no daemon"), "{said:?}");
    });
}
