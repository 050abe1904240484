//! A hypervisor of ours and one of FRR (zebra and bgpd) on one segment, in direct session.

use std::collections::BTreeSet;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Fabric, Family, Guest, Host};
use crate::harness::{ensure, rows, stays_true, wait_until};
use crate::interop::frr::{Frr, Neighbor, Role};

use super::scenario::{ASN, VNI};

struct Pair {
    fabric: Fabric,
    ours: Host,
    theirs: Host,
}

impl Pair {
    fn new() -> Self {
        let fabric = Fabric::new();
        let (ours, theirs) = (fabric.host(1), fabric.host(2));
        theirs.make_vxlan(VNI, theirs.v4());
        Self { fabric, ours, theirs }
    }

    /// Both daemons, with these AS numbers.
    fn start(&self, our_asn: u32, their_asn: u32) -> (Evpnd<'_>, Frr<'_>) {
        let frr = Frr::start(&self.theirs, Role::Hypervisor, their_asn, &[Neighbor::new(self.ours.v4(), our_asn)]);
        let config = Config::hypervisor(&self.ours, our_asn, Family::V4);
        let config = config.neighbor(self.theirs.v4(), &format!("asn = {their_asn}\n")).vni(VNI, "");
        let evpnd = Evpnd::start(&self.ours, &config);
        evpnd.expect_established(self.theirs.v4());
        (evpnd, frr)
    }

    fn guests(&self) -> (Guest, Guest) {
        let (mut here, mut there) = (self.fabric.guest(11), self.fabric.guest(21));
        here.plug(&self.ours, VNI);
        there.plug(&self.theirs, VNI);
        (here, there)
    }

    fn prove(&self, evpnd: &Evpnd<'_>) {
        let (mut here, there) = self.guests();
        let (ours, theirs) = (&self.ours, &self.theirs);
        ours.expect_flood_list(VNI, &[theirs.v4()]);
        theirs.expect_flood_list(VNI, &[ours.v4()]);
        ours.expect_remote_macs(VNI, &[(&there, theirs.v4())]);
        theirs.expect_remote_macs(VNI, &[(&here, ours.v4())]);
        here.expect_ping(&there);
        there.expect_ping(&here);
        here.unplug();
        theirs.expect_remote_macs(VNI, &[]);
        evpnd.expect_no_difference();
    }
}

#[test]
fn rows_and_traffic_both_ways() {
    let pair = Pair::new();
    let (evpnd, _frr) = pair.start(ASN, ASN);
    pair.prove(&evpnd);
}

#[test]
fn over_ebgp_rows_and_traffic_both_ways() {
    let pair = Pair::new();
    let (evpnd, _frr) = pair.start(65001, 65002);
    pair.prove(&evpnd);
}

#[test]
fn with_four_octet_as_numbers_rows_and_traffic_both_ways() {
    let pair = Pair::new();
    let (evpnd, _frr) = pair.start(4_200_000_000, 4_200_000_000);
    pair.prove(&evpnd);
}

#[test]
fn a_guest_moves_to_frr_and_back_and_once_more() {
    let pair = Pair::new();
    let (evpnd, _frr) = pair.start(ASN, ASN);
    let (mut mover, there) = pair.guests();
    let (ours, theirs) = (&pair.ours, &pair.theirs);
    theirs.expect_remote_macs(VNI, &[(&mover, ours.v4())]);
    for _ in 0..2 {
        mover.plug(theirs, VNI);
        ours.expect_remote_macs(VNI, &[(&mover, theirs.v4()), (&there, theirs.v4())]);
        theirs.expect_remote_macs(VNI, &[]);
        mover.expect_ping(&there);
        mover.plug(ours, VNI);
        theirs.expect_remote_macs(VNI, &[(&mover, ours.v4())]);
        ours.expect_remote_macs(VNI, &[(&there, theirs.v4())]);
        mover.expect_ping(&there);
    }
    evpnd.expect_no_difference();
}

/// A clone: the MAC speaks here while it still stands (and is remembered) there. The bridge takes the row over at once;
/// a sequence number above FRR's makes FRR follow.
#[test]
fn a_mac_that_speaks_here_while_frr_still_has_it_is_taken_over() {
    let pair = Pair::new();
    let (evpnd, _frr) = pair.start(ASN, ASN);
    let (here, there) = pair.guests();
    let (ours, theirs) = (&pair.ours, &pair.theirs);
    let mac = [2, 0, 0, 0, 0, 0x77];
    let frame = crate::harness::raw::plain_frame(mac, [0xff; 6]);
    there.send(vec![frame.clone()]);
    let both = |vtep| [("02:00:00:00:00:77".to_owned(), vtep), (there.mac(), theirs.v4())].into_iter().collect();
    ours.expect_rows(VNI, &both(theirs.v4()));
    here.send(vec![frame]);
    theirs.expect_rows(VNI, &[("02:00:00:00:00:77".to_owned(), ours.v4()), (here.mac(), ours.v4())].into_iter().collect());
    ours.expect_remote_macs(VNI, &[(&there, theirs.v4())]);
    evpnd.expect_no_difference();
}

/// RFC 7432 §15.2: a static MAC of FRR's is announced sticky, and nobody here takes it over.
#[test]
fn a_sticky_mac_of_frr_stays_where_it_is() {
    let pair = Pair::new();
    let (evpnd, _frr) = pair.start(ASN, ASN);
    let (here, there) = pair.guests();
    let (ours, theirs) = (&pair.ours, &pair.theirs);
    theirs.namespace.output("bridge", ["fdb", "replace", "02:00:00:00:00:66", "dev", &there.port, "master", "static", "sticky"]);
    let wanted = [("02:00:00:00:00:66".to_owned(), theirs.v4()), (there.mac(), theirs.v4())].into_iter().collect();
    ours.expect_rows(VNI, &wanted);
    let routes = evpnd.json(&["show", "macs", "--vni", "100", "--mac", "02:00:00:00:00:66"]);
    assert_eq!(routes[0]["sticky"], true, "{routes}");
    here.send(vec![crate::harness::raw::plain_frame([2, 0, 0, 0, 0, 0x66], [0xff; 6])]);
    ours.expect_rows(VNI, &wanted);
    stays_true("FRR keeps its sticky MAC", 2, || {
        let remote: BTreeSet<String> = rows::remote_macs(&theirs.namespace, "vxlan100")?.into_keys().collect();
        ensure(!remote.contains("02:00:00:00:00:66"), || format!("{remote:?}"))
    });
    evpnd.expect_no_difference();
}

/// And the other way: a static MAC of ours is sticky for FRR.
#[test]
fn a_sticky_mac_of_ours_stays_where_it_is() {
    let pair = Pair::new();
    let (evpnd, frr) = pair.start(ASN, ASN);
    let (here, there) = pair.guests();
    let (ours, theirs) = (&pair.ours, &pair.theirs);
    ours.namespace.output("bridge", ["fdb", "replace", "02:00:00:00:00:55", "dev", &here.port, "master", "static"]);
    let wanted = [("02:00:00:00:00:55".to_owned(), ours.v4()), (here.mac(), ours.v4())].into_iter().collect();
    theirs.expect_rows(VNI, &wanted);
    wait_until("FRR knows that it is sticky", 10, || {
        let text = frr.show("show evpn mac vni 100 mac 02:00:00:00:00:55");
        ensure(text.contains("Sticky") || text.contains("sticky"), || text.clone())
    });
    evpnd.expect_no_difference();
    drop(there);
}
