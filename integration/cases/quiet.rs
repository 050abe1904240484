//! What crosses the underlay: tunnelled unicast to the right host, and nothing else.

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::Family;

use super::scenario::{ASN, Site, VNI};

#[test]
fn known_unicast_reaches_one_host_and_no_multicast_leaves() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    // From before the first daemon: devices and sessions that come up send no multicast either.
    let at_first = site.fabric.capture(&site.hosts[0]);
    let daemons = site.hypervisors(Family::V4, |_| ASN, ASN);
    let [a, b, c] = &site.hosts;
    let guests = site.guests();
    a.expect_remote_macs(VNI, &[(&guests[1], b.v4()), (&guests[2], c.v4())]);
    b.expect_remote_macs(VNI, &[(&guests[0], a.v4()), (&guests[2], c.v4())]);
    guests[0].expect_ping(&guests[1]);
    let at_third = site.fabric.capture(c);
    for _ in 0..10 {
        guests[0].expect_ping(&guests[1]);
        guests[1].expect_ping(&guests[0]);
    }
    let strays = at_third.frames().iter().filter(|frame| is_vxlan(frame)).count();
    assert_eq!(strays, 0, "frames between hosts 1 and 2 reached host 3");
    let frames = at_first.frames();
    assert!(frames.iter().any(|frame| is_vxlan(frame)), "the capture sees the tunnel");
    let groups: Vec<_> = frames.iter().filter(|frame| frame[0] & 1 == 1 && !is_of_the_underlay(frame)).collect();
    assert!(groups.is_empty(), "frames to a group: {groups:02x?}");
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

/// What hosts say to find one another on the underlay: ARP for its addresses, and the ICMPv6 of neighbour discovery and of the
/// groups that it needs.
fn is_of_the_underlay(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x06]) => frame.get(38..41) == Some(&[10, 0, 0]),
        // Router and neighbour discovery (133 to 137); reports of groups (131, 132, 143) stand behind a hop-by-hop header.
        Some([0x86, 0xdd]) => match frame.get(20) {
            Some(58) => matches!(frame.get(54), Some(131..=137 | 143)),
            Some(0) => frame.get(54) == Some(&58) && matches!(frame.get(62), Some(131 | 132 | 143)),
            _ => false,
        },
        _ => false,
    }
}

/// UDP to port 4789 over IPv4 (no options).
fn is_vxlan(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x00]) && frame.get(23) == Some(&17) && frame.get(36..38) == Some(&4789u16.to_be_bytes())
}
