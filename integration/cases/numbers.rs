//! Numbers that do not fit where they used to: VNIs of 24 bits, AS numbers of 32, messages of 64 KiB.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::Family;
use crate::harness::raw::plain_frame;
use crate::harness::{ensure, wait_until};

use super::scenario::{ASN, Site, VNI};

/// An RD has 16 bits of its own (RFC 7432 §7.9): two VNIs that share them need two numbers, and keep them over a restart.
#[test]
fn vnis_that_share_their_low_16_bits_stay_apart() {
    const OTHER: u32 = VNI + 65536;
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "").vni(OTHER, "");
    let (first, second) = (Evpnd::start(a, &config(a)), Evpnd::start(b, &config(b)));
    let [mut g1, mut g2, mut g3, mut g4] = [11, 21, 12, 22].map(|number| site.fabric.guest(number));
    g1.plug(a, VNI);
    g2.plug(b, VNI);
    g3.plug(a, OTHER);
    g4.plug(b, OTHER);
    for (vni, here, there) in [(VNI, &g1, &g2), (OTHER, &g3, &g4)] {
        a.expect_remote_macs(vni, &[(there, b.v4())]);
        b.expect_remote_macs(vni, &[(here, a.v4())]);
        a.expect_flood_list(vni, &[b.v4()]);
        here.expect_ping(there);
    }
    let rds = |daemon: &Evpnd<'_>| -> BTreeSet<String> {
        let vnis = daemon.json(&["show", "vnis"]);
        vnis.as_array().into_iter().flatten().map(|vni| vni["rd"].to_string()).collect()
    };
    let before = rds(&first);
    assert_eq!(before.len(), 2, "one RD each: {before:?}");
    assert!(first.stop().success());
    let first = Evpnd::start_again(a);
    assert_eq!(rds(&first), before, "the same after a restart");
    first.expect_established(site.middle.v4());
    [first, second].iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn a_fabric_with_a_four_octet_as() {
    const LARGE: u32 = 4_200_000_000;
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, LARGE));
    site.prove(&site.hypervisors(Family::V4, |_| LARGE, LARGE), Family::V4);
}

/// RFC 8654: with the capability on both sides a table travels in few large messages.
#[test]
fn extended_messages_are_negotiated_and_used() {
    const MACS: u16 = 2000;
    let site = Site::new();
    let reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "");
    let first = Evpnd::start(a, &config(a));
    let mut guest = site.fabric.guest(11);
    guest.plug(a, VNI);
    guest.send((0..MACS).map(|n| plain_frame(mac(n), [0xff; 6])).collect());
    wait_until("the reflector has all of them", 20, || {
        let routes = reflector.status("/routes");
        ensure(routes > u64::from(MACS), || format!("it has {routes} routes"))
    });
    // Who comes now hears the whole table at once.
    let second = Evpnd::start(b, &config(b));
    let mut wanted: BTreeMap<String, _> = (0..MACS).map(|n| (text(mac(n)), a.v4())).collect();
    wanted.insert(guest.mac(), a.v4());
    b.expect_rows(VNI, &wanted);
    let neighbor = second.neighbor(site.middle.v4());
    let capabilities = neighbor["capabilities"].to_string();
    assert!(capabilities.contains("extended message"), "{capabilities}");
    let updates = neighbor["messages_in"]["update"].as_u64().unwrap();
    assert!(updates < 10, "{MACS} routes of 35 octets fit in a few messages of 64 KiB, they came in {updates}");
    [first, second].iter().for_each(Evpnd::expect_no_difference);
}

fn mac(number: u16) -> [u8; 6] {
    let [high, low] = number.to_be_bytes();
    [0x02, 0x30, 0, 0, high, low]
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}
