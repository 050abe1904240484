//! What each peer hears: by whom, in which words, in which order. Read `rib_support/mod.rs` first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rib_support;

use evpnd::base::Asn;
use evpnd::rib::PeerKind::{Client, External, Local, NonClient};
use evpnd::rib::{PeerId, RibConfig, RibPeer};
use evpnd::wire::attribute::{Attributes, UnknownAttribute};
use evpnd::wire::evpn::EvpnRoute;
use evpnd::wire::ext_community::ExtCommunity;
use evpnd::wire::header::HEADER_LEN;
use evpnd::wire::update::{RawAttributes, UpdateView};
use rib_support::*;

// ---- who hears what ----

#[test]
fn every_kind_hears_what_it_may_of_every_kind() {
    for source in [Local, External, Client, NonClient] {
        let mut lab = Lab::with(&[External, Client, NonClient, source]);
        let route = mac_ip(1);
        let path = Attributes { as_path: if source == External { path(&[65104]) } else { path(&[]) }, ..attributes(1) };
        if source == Local {
            lab.originate(&path, &route);
        } else {
            lab.announce(4, &path, &[route]);
        }
        lab.settle();
        // RFC 4271 §9.2, RFC 4456 §6.
        let heard: Vec<bool> = (1..=3).map(|n| lab.hears(n, &route).is_some()).collect();
        assert_eq!(heard, [true, true, source != NonClient], "of {source:?}");
        assert!(lab.hears(4, &route).is_none() || source == Local, "never back to its source");
        // eBGP: our AS in front, nothing of ours inside.
        let out = lab.hears(1, &route).unwrap();
        let wanted = if source == External { vec![65000, 65104] } else { vec![65000] };
        assert_eq!(out.as_path, rib_support::path(&wanted));
        assert_eq!((out.local_pref, out.originator_id, out.cluster_list.len()), (None, None, 0));
        assert_eq!(out.next_hop, attributes(1).next_hop, "the VTEP's, untouched");
        // iBGP: reflected where it came from inside.
        let out = lab.hears(2, &route).unwrap();
        let reflected = matches!(source, Client | NonClient);
        assert_eq!(out.originator_id, reflected.then_some(id(4)));
        assert_eq!(out.cluster_list, if reflected { vec![our_id()] } else { vec![] });
        assert_eq!((out.local_pref, out.next_hop), (Some(100), attributes(1).next_hop));
    }
}

#[test]
fn a_second_reflector_keeps_the_originator_and_puts_its_cluster_in_front() {
    let mut lab = Lab::with(&[Client, Client]);
    let once = Attributes { originator_id: Some(id(7)), cluster_list: vec![id(8)], local_pref: Some(70), ..attributes(1) };
    lab.announce(1, &once, &[imet(1)]);
    lab.settle();
    let out = lab.hears(2, &imet(1)).unwrap();
    assert_eq!((out.originator_id, &out.cluster_list[..]), (Some(id(7)), &[our_id(), id(8)][..]));
    assert_eq!(out.local_pref, Some(70));
}

#[test]
fn unknown_route_types_are_passed_on_unchanged() {
    let mut lab = Lab::with(&[Client, Client]);
    let route = EvpnRoute::Unknown { route_type: 11, value: &[7; 255] };
    lab.announce(1, &attributes(1), &[route, EvpnRoute::Unknown { route_type: 0, value: &[] }]);
    lab.settle();
    assert_eq!(lab.heard[&2].keys().len(), 2);
    assert!(lab.hears(2, &route).is_some());
    assert_eq!(lab.rib.stats().unknown_types, 2);
}

#[test]
fn unknown_attributes_go_on_where_they_are_transitive_with_the_partial_bit() {
    let mut lab = Lab::with(&[Client, Client]);
    let unknown = |flags, code| UnknownAttribute { flags, code, value: vec![1, 2] };
    let octets = {
        let mut nlri = Vec::new();
        mac_ip(1).emit(&mut nlri);
        nlri
    };
    let whole = reach(&attributes(1), &context(Client), &[mac_ip(1)]);
    let mut view = UpdateView::parse(&whole[HEADER_LEN..]).unwrap();
    view.reach.as_mut().unwrap().nlri = &octets;
    let pieces: [&[u8]; 3] = [&[0x40, 1, 1, 0, 0x40, 2, 0], &[0xc0, 200, 2, 1, 2], &[0x80, 201, 2, 1, 2]];
    view.attributes = RawAttributes { pieces };
    lab.rib.handle_update(lab.now, PeerId(1), &view).unwrap();
    lab.settle();
    assert_eq!(lab.hears(2, &mac_ip(1)).unwrap().unknown, [unknown(0xe0, 200)]);
}

#[test]
fn med_and_non_transitive_communities_stay_in_the_as() {
    let mut lab = Lab::with(&[Client, External, Client]);
    let inside = ExtCommunity([0x43, 0x0b, 0, 0, 0, 0, 0, 1]);
    let path = Attributes { med: Some(5), ext_communities: vec![inside, ExtCommunity::vxlan()], ..attributes(1) };
    lab.announce(1, &path, &[mac_ip(1)]);
    lab.settle();
    let (out, within) = (lab.hears(2, &mac_ip(1)).unwrap(), lab.hears(3, &mac_ip(1)).unwrap());
    assert_eq!((out.med, &out.ext_communities[..]), (None, &[ExtCommunity::vxlan()][..]));
    assert_eq!((within.med, within.ext_communities.len()), (Some(5), 2));
}

#[test]
fn no_export_and_no_advertise_are_honoured_and_what_went_before_is_withdrawn() {
    let mut lab = Lab::with(&[Client, External, Client]);
    let with = |community: &[u32]| Attributes { communities: community.to_vec(), ..attributes(1) };
    let hearers = |lab: &Lab| -> Vec<u16> { (2..=3).filter(|n| lab.hears(*n, &mac_ip(1)).is_some()).collect() };
    for (communities, wanted) in [
        (&[][..], &[2, 3][..]),
        (&[0xffff_ff01], &[3]),
        (&[], &[2, 3]),
        (&[0xffff_ff03], &[3]),
        (&[7, 0xffff_ff02], &[]),
        (&[], &[2, 3]),
    ] {
        lab.announce(1, &with(communities), &[mac_ip(1)]);
        lab.settle();
        assert_eq!(hearers(&lab), wanted, "{communities:x?}");
    }
}

#[test]
fn a_four_octet_as_is_shown_to_an_old_speaker_as_as_trans() {
    let mut lab = Lab::new(RibConfig { asn: Asn(4_200_000_000), ..config() });
    let mut old = peer(External, 1);
    old.context.four_octet_as = false;
    lab.up(1, old);
    lab.originate(&attributes(1), &imet(9));
    lab.settle();
    assert_eq!(lab.hears(1, &imet(9)).unwrap().as_path, path(&[4_200_000_000]));
}

// ---- split horizon ----

#[test]
fn when_the_source_changes_the_new_one_hears_a_withdrawal_and_the_old_one_the_path() {
    let mut lab = Lab::with(&[Client, Client, Client]);
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.settle();
    assert_eq!((1..=3).map(|n| lab.hears(n, &mac_ip(1)).is_some()).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!((lab.heard[&1].announcements, lab.heard[&1].withdrawals), (0, 0));
    lab.announce(2, &Attributes { local_pref: Some(200), ..attributes(2) }, &[mac_ip(1)]);
    lab.settle();
    assert_eq!((1..=3).map(|n| lab.hears(n, &mac_ip(1)).is_some()).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(lab.heard[&2].withdrawals, 1);
    assert_eq!((lab.heard[&3].announcements, lab.heard[&3].withdrawals), (2, 0), "others hear the change only");
    lab.withdraw(2, &[mac_ip(1)]);
    lab.settle();
    assert_eq!((1..=3).map(|n| lab.hears(n, &mac_ip(1)).is_some()).collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn when_a_clients_path_gives_way_to_a_non_clients_the_non_clients_hear_a_withdrawal() {
    let mut lab = Lab::with(&[Client, NonClient, NonClient, Client]);
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.settle();
    assert!(lab.hears(3, &mac_ip(1)).is_some());
    lab.announce(2, &Attributes { local_pref: Some(200), ..attributes(2) }, &[mac_ip(1)]);
    lab.settle();
    assert!(lab.hears(3, &mac_ip(1)).is_none());
    assert!(lab.hears(2, &mac_ip(1)).is_none());
    assert_eq!(lab.hears(4, &mac_ip(1)).unwrap().next_hop, attributes(2).next_hop);
}

// ---- who comes late, who is slow, who asks again ----

#[test]
fn a_late_joiner_hears_the_whole_table_and_then_end_of_rib() {
    let mut lab = Lab::with(&[Client]);
    let routes: Vec<_> = (0..5000).map(mac_ip).collect();
    for routes in routes.chunks(100) {
        lab.announce(1, &attributes(1), routes);
    }
    lab.settle();
    lab.withdraw(1, &routes[..100]);
    lab.settle();
    lab.up(2, peer(Client, 2));
    assert!(lab.rib.has_pending(PeerId(2)));
    lab.listen(2, 1000);
    assert_eq!(lab.heard[&2].end_of_rib, 0, "the first chunk is not all");
    lab.settle();
    let heard = &lab.heard[&2];
    assert_eq!((heard.routes.len(), heard.end_of_rib, heard.withdrawals), (4900, 1, 0));
    assert!(heard.longest > 4000 && heard.longest <= 4096, "packed: {}", heard.longest);
    assert_eq!(heard.updates, 4900_u32.div_ceil(115) + 1 + 1 + 1, "in full UPDATEs, a last one per chunk, End-of-RIB");
    assert!(!lab.rib.has_pending(PeerId(2)));
}

#[test]
fn an_empty_table_is_an_end_of_rib_at_once() {
    let lab = Lab::with(&[Client, External]);
    assert_eq!((lab.heard[&1].end_of_rib, lab.heard[&2].end_of_rib, lab.heard[&1].updates), (1, 1, 1));
}

#[test]
fn extended_messages_are_used_where_they_are_agreed_and_there_only() {
    let mut lab = Lab::new(config());
    lab.up(1, peer(Client, 1));
    lab.up(2, peer(Client, 2));
    lab.up(3, RibPeer { extended_message: true, ..peer(Client, 3) });
    lab.settle();
    let routes: Vec<_> = (0..1000).map(mac_ip).collect();
    for routes in routes.chunks(100) {
        lab.announce(1, &attributes(1), routes);
    }
    lab.settle();
    assert!(lab.heard[&2].longest <= 4096);
    assert!(lab.heard[&3].longest > 30_000);
    assert_eq!(lab.heard[&2].routes, lab.heard[&3].routes);
}

#[test]
fn attributes_too_long_for_a_peers_messages_are_not_sent_to_it_and_what_it_had_goes() {
    let mut lab = Lab::new(RibConfig { max_attribute_len: 60_000, ..config() });
    lab.up(1, RibPeer { extended_message: true, ..peer(Client, 1) });
    lab.up(2, peer(Client, 2));
    lab.up(3, RibPeer { extended_message: true, ..peer(Client, 3) });
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.settle();
    assert!(lab.hears(2, &mac_ip(1)).is_some());
    let long = Attributes { communities: (0..2000).collect(), ..attributes(1) };
    lab.announce(1, &long, &[mac_ip(1)]);
    lab.settle();
    assert_eq!((lab.hears(2, &mac_ip(1)), lab.hears(3, &mac_ip(1)).is_some()), (None, true));
    assert_eq!(lab.rib.stats().too_long_to_send, 1);
}

#[test]
fn equal_peers_share_what_is_encoded() {
    let mut lab = Lab::with(&[Client; 20]);
    let encoded = lab.rib.stats().chunks_encoded;
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.changes();
    for n in 1..=20 {
        lab.listen(n, 1 << 16);
    }
    assert_eq!(lab.rib.stats().chunks_encoded - encoded, 1);
    assert_eq!(lab.heard[&1].routes.len(), 0);
    assert!((2..=20).all(|n| lab.hears(n, &mac_ip(1)).is_some()));
}

#[test]
fn a_withdrawal_waits_for_a_peer_that_has_heard_the_route() {
    let mut lab = Lab::with(&[Client, Client, Client]);
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    lab.changes();
    lab.listen(2, 1000);
    lab.withdraw(1, &[mac_ip(1)]);
    lab.changes();
    assert!(lab.rib.memory().destinations == 1, "2 must hear of it");
    for n in [1, 2, 3] {
        lab.listen(n, 1000);
    }
    assert_eq!((lab.heard[&2].routes.len(), lab.changes()), (0, vec![]));
    assert_eq!(lab.rib.memory().destinations, 0);
    assert!((1..=3).all(|n| lab.heard[&n].routes.is_empty()));
}

#[test]
fn a_peer_that_never_reads_cannot_make_the_table_grow() {
    let mut lab = Lab::with(&[Client, Client]);
    for n in 0..50_000 {
        lab.announce(1, &attributes(1), &[mac_ip(n)]);
        lab.changes();
        lab.withdraw(1, &[mac_ip(n)]);
        lab.changes();
    }
    let memory = lab.rib.memory();
    assert!(memory.destinations < 3000, "{memory:?}");
    assert!(memory.export_octets < 300_000, "{memory:?}");
    lab.settle();
    assert_eq!((lab.heard[&2].routes.len(), lab.rib.memory().destinations), (0, 0));
}

#[test]
fn a_plain_vtep_pays_nothing_for_what_it_only_receives() {
    let mut lab = Lab::with(&[NonClient, NonClient]);
    let routes: Vec<_> = (0..1000).map(mac_ip).collect();
    for routes in routes.chunks(100) {
        lab.announce(1, &attributes(1), routes);
    }
    lab.changes();
    assert_eq!(lab.rib.memory().export_octets, 0);
    assert!(!lab.rib.has_pending(PeerId(2)));
    lab.originate(&attributes(9), &imet(9));
    lab.settle();
    assert_eq!((lab.heard[&1].keys().len(), lab.heard[&2].keys().len()), (1, 1));
}

#[test]
fn the_first_peer_of_a_kind_hears_what_nobody_could_hear_before() {
    let mut lab = Lab::with(&[NonClient]);
    let routes: Vec<_> = (0..1000).map(mac_ip).collect();
    for routes in routes.chunks(100) {
        lab.announce(1, &attributes(1), routes);
    }
    lab.changes();
    lab.up(2, peer(Client, 2));
    lab.listen(2, 1 << 20);
    assert_eq!(lab.heard[&2].end_of_rib, 0, "not before the table is entered");
    lab.rib.work(100);
    lab.listen(2, 1 << 20);
    assert_eq!((lab.heard[&2].routes.len(), lab.heard[&2].end_of_rib), (100, 0));
    lab.settle();
    assert_eq!((lab.heard[&2].routes.len(), lab.heard[&2].end_of_rib), (1000, 1));
    assert_eq!(lab.heard[&1].announcements, 0);
}

#[test]
fn a_refresh_sends_all_again_between_borr_and_eorr() {
    let mut lab = Lab::with(&[Client, Client]);
    lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2)]);
    lab.settle();
    lab.rib.refresh_export(PeerId(2), false);
    lab.settle();
    let heard = &lab.heard[&2];
    assert_eq!((heard.announcements, heard.begin_of_refresh, heard.end_of_refresh, heard.end_of_rib), (4, 0, 0, 1));
    lab.rib.refresh_export(PeerId(2), true);
    lab.settle();
    let heard = &lab.heard[&2];
    assert_eq!((heard.announcements, heard.begin_of_refresh, heard.end_of_refresh, heard.end_of_rib), (6, 1, 1, 1));
    assert_eq!(lab.heard[&1].announcements, 0);
}

#[test]
fn a_refresh_during_the_first_dump_waits_for_its_end() {
    let mut lab = Lab::new(RibConfig { export_chunk_octets: 1, ..config() });
    lab.up(1, peer(Client, 1));
    lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2), mac_ip(3)]);
    lab.settle();
    lab.up(2, peer(Client, 2));
    lab.listen(2, 1);
    lab.rib.refresh_export(PeerId(2), true);
    lab.listen(2, 1);
    assert_eq!((lab.heard[&2].begin_of_refresh, lab.heard[&2].announcements), (0, 2));
    lab.settle();
    let heard = &lab.heard[&2];
    assert_eq!((heard.announcements, heard.begin_of_refresh, heard.end_of_refresh, heard.end_of_rib), (6, 1, 1, 1));
}

#[test]
fn a_route_withdrawn_during_a_refresh_is_withdrawn_from_the_peer_that_had_it() {
    let mut lab = Lab::new(RibConfig { export_chunk_octets: 1, export_quiet: 0, ..config() });
    lab.up(1, peer(Client, 1));
    lab.up(2, peer(Client, 2));
    lab.announce(1, &attributes(1), &[mac_ip(1), mac_ip(2), mac_ip(3)]);
    lab.settle();
    lab.rib.refresh_export(PeerId(2), true);
    lab.withdraw(1, &[mac_ip(3)]);
    lab.settle();
    assert_eq!(lab.heard[&2].routes.len(), 2);
}

#[test]
fn what_a_peer_has_been_told_is_known() {
    let mut lab = Lab::with(&[Client, Client, NonClient]);
    lab.announce(1, &attributes(1), &[mac_ip(1)]);
    let dest = lab.changes()[0];
    let told = |lab: &Lab| -> Vec<bool> { (1..=3).map(|n| lab.rib.is_advertised(dest, PeerId(n))).collect() };
    assert_eq!(told(&lab), [false, false, false]);
    lab.listen(2, 1000);
    assert_eq!(told(&lab), [false, true, false]);
    lab.settle();
    assert_eq!(told(&lab), [false, true, true]);
}

#[test]
fn a_budget_is_kept_to_about_a_chunk() {
    let mut lab = Lab::with(&[Client, Client]);
    for n in 0..100 {
        let routes: Vec<_> = (n * 100..n * 100 + 100).map(mac_ip).collect();
        lab.announce(1, &attributes(1), &routes);
    }
    lab.changes();
    let mut last = 0;
    while lab.rib.has_pending(PeerId(2)) {
        last = lab.listen(2, 100_000);
        assert!(last <= 100_000, "{last}");
    }
    assert!(last > 0);
    assert_eq!(lab.heard[&2].routes.len(), 10_000);
}

#[test]
fn sources_within_one_chunk_are_left_out_one_by_one() {
    let mut lab = Lab::with(&[Client; 4]);
    for n in 0..300_u32 {
        lab.announce(1 + (n % 3) as u16, &attributes(1), &[mac_ip(n)]);
    }
    lab.settle();
    assert_eq!((1..=4).map(|n| lab.heard[&n].routes.len()).collect::<Vec<_>>(), [200, 200, 200, 300]);
}
