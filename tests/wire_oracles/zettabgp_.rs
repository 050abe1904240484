//! zettabgp 0.6.0, the second opinion: property tests where it is right, and its known differences pinned one by one.
//!
//! A pinned difference that fails here is good news: upstream has mended it, and the line can move to the other half.

use std::net::IpAddr;

use evpnd::base::{Asn, BgpIdentifier};
use evpnd::wire::as_path::AsPath;
use evpnd::wire::attribute::Attributes;
use evpnd::wire::capability::{Capability, GracefulRestart};
use evpnd::wire::evpn::{EvpnRoute, MacIp};
use evpnd::wire::header::{HEADER_LEN, MAX_MESSAGE_LEN};
use evpnd::wire::open::Open;
use evpnd::wire::pmsi::PmsiTunnel;
use evpnd::wire::rd::Rd;
use evpnd::wire::route_refresh::RouteRefresh;
use evpnd::wire::update::{emit_end_of_rib, emit_reach, emit_unreach};
use proptest::collection::vec;
use proptest::prelude::*;
use zettabgp::afi::{BgpAddr, BgpAddrs, BgpEVPN};
use zettabgp::message::open::BgpOpenMessage;
use zettabgp::message::routerefresh::BgpRouterefreshMessage;
use zettabgp::message::update::BgpUpdateMessage;
use zettabgp::prelude::{
    BgpASitem, BgpASpath, BgpAttrItem, BgpAttrOrigin, BgpCapability, BgpError, BgpMessage, BgpOrigin, BgpRD, BgpSessionParams,
    BgpTransportMode,
};

use crate::values::{self, INTERNAL, emit_routes};

fn session() -> BgpSessionParams {
    BgpSessionParams::new(65000, 90, BgpTransportMode::IPv4, [10, 0, 0, 1].into(), vec![])
}

/// Their reading of a whole UPDATE that we made.
fn their_update(message: &[u8]) -> Result<BgpUpdateMessage, BgpError> {
    let mut update = BgpUpdateMessage::new();
    update.decode_from(&session(), &message[HEADER_LEN..]).map(|()| update)
}

fn announce(attributes: &Attributes, list: &[EvpnRoute<'_>]) -> Vec<u8> {
    let mut message = Vec::new();
    emit_reach(&mut message, attributes, &INTERNAL, &emit_routes(list));
    message
}

fn plain(next_hop: &str) -> Attributes {
    Attributes { next_hop: Some(next_hop.parse().unwrap()), ..Attributes::default() }
}

fn rd_octets(rd: &BgpRD) -> Rd {
    let mut octets = [0; 8];
    rd.encode_rd_to(&mut octets).unwrap();
    Rd(octets)
}

fn reach(update: &BgpUpdateMessage) -> (&BgpAddr, &[BgpEVPN]) {
    let reach = update.get_mpupdates().unwrap();
    let BgpAddrs::EVPN(list) = &reach.addrs else { panic!("{:?}", reach.addrs) };
    (&reach.nexthop, list)
}

proptest! {
    /// Types 3 and 4, RDs of three types, an IPv4 next hop, raw extended communities, large communities, unknown attributes.
    #[test]
    fn where_it_is_right(
        mut ours in values::attributes(),
        next_hop in values::v4(),
        path in values::sequences(),
        list in vec(prop_oneof![values::imet(), values::segment()], 1..10),
    ) {
        ours.next_hop = Some(IpAddr::V4(next_hop));
        ours.as_path = path;
        ours.pmsi = None;
        let message = announce(&ours, &list);
        prop_assume!(message.len() <= MAX_MESSAGE_LEN);
        let update = their_update(&message).unwrap();
        let (hop, routes) = reach(&update);
        prop_assert_eq!(hop, &BgpAddr::V4(next_hop));
        prop_assert_eq!(routes.len(), list.len());
        for (theirs, ours) in routes.iter().zip(&list) {
            match (theirs, ours) {
                (BgpEVPN::EVPN3(theirs), EvpnRoute::Imet(ours)) => {
                    prop_assert_eq!((rd_octets(&theirs.rd), theirs.ether_tag, theirs.ip), (ours.rd, ours.tag, ours.originator));
                }
                (BgpEVPN::EVPN4(theirs), EvpnRoute::EthernetSegment(ours)) => {
                    let esi = [&[theirs.esi_type], &theirs.esi.v[..]].concat();
                    prop_assert_eq!((rd_octets(&theirs.rd), esi.as_slice(), theirs.ip), (ours.rd, &ours.esi.0[..], ours.originator));
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let (mut communities, mut large, mut unknown, mut path) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for attribute in &update.attrs {
            match attribute {
                BgpAttrItem::ExtCommunityList(list) => {
                    for c in &list.value {
                        let octets = [&[c.ctype, c.subtype], &c.a.to_be_bytes()[..], &c.b.to_be_bytes()].concat();
                        communities.push(octets);
                    }
                }
                BgpAttrItem::LargeCommunityList(list) => large.extend(list.value.iter().map(|c| [c.ga, c.ldp1, c.ldp2])),
                BgpAttrItem::Unknown(attribute) => unknown.push((attribute.params.typecode, attribute.value.clone())),
                BgpAttrItem::ASPath(found) => { for item in &found.value {
                        let BgpASitem::Seq(sequence) = item else { panic!("{item:?}") };
                        path.extend(sequence.value.iter().map(|asn| Asn(asn.value)));
                    } }
                _ => {}
            }
        }
        let mut wanted: Vec<Vec<u8>> = ours.ext_communities.iter().map(|c| c.0.to_vec()).collect();
        // It keeps a set.
        wanted.sort();
        wanted.dedup();
        communities.sort();
        prop_assert_eq!(communities, wanted);
        large.sort_unstable();
        prop_assert_eq!(large, ours.large_communities);
        prop_assert_eq!(unknown, ours.unknown.into_iter().map(|a| (a.code, a.value)).collect::<Vec<_>>());
        prop_assert_eq!(AsPath::sequence(&path), ours.as_path);
    }

    #[test]
    fn withdrawals_where_it_is_right(list in vec(prop_oneof![values::imet(), values::segment()], 1..10)) {
        let mut message = Vec::new();
        emit_unreach(&mut message, &emit_routes(&list));
        let update = their_update(&message).unwrap();
        let BgpAddrs::EVPN(routes) = &update.get_mpwithdraws().unwrap().addrs else { panic!() };
        prop_assert_eq!(routes.len(), list.len());
    }

    #[test]
    fn capabilities_where_it_is_right(asn in any::<u32>(), secs in 0..4096u16, restarted: bool, kept: bool, stale in values::label()) {
        let families = vec![(25, 70, kept)];
        let capabilities = vec![
            Capability::EVPN,
            Capability::RouteRefresh,
            Capability::EnhancedRouteRefresh,
            Capability::FourOctetAs(asn),
            Capability::GracefulRestart(GracefulRestart { restarted, notification: false, restart_time_secs: secs, families }),
            Capability::LongLivedGracefulRestart(vec![(25, 70, u8::from(kept) << 7, stale)]),
        ];
        let (found, _) = their_open(capabilities).unwrap();
        prop_assert_eq!(&found[..4], &[BgpCapability::SafiEVPN, BgpCapability::CapRR, BgpCapability::CapEnhancedRR, BgpCapability::CapASN32(asn)]);
        match &found[4] {
            BgpCapability::CapGR { restart_time, restart_state, afis } => {
                prop_assert_eq!((*restart_time, *restart_state, afis.len()), (secs, restarted, 1));
            }
            other => prop_assert!(false, "{:?}", other),
        }
        prop_assert!(matches!(&found[5], BgpCapability::CapLLGR(list) if list.len() == 1));
    }
}

/// Capabilities and router-id as it reads them.
fn their_open(capabilities: Vec<Capability>) -> Result<(Vec<BgpCapability>, std::net::Ipv4Addr), BgpError> {
    let identifier = BgpIdentifier([10, 0, 0, 7].into());
    let mut message = Vec::new();
    Open { version: 4, my_as: 23456, hold_time_secs: 90, identifier, capabilities }.emit(&mut message);
    let mut open = BgpOpenMessage::new();
    open.decode_from(&session(), &message[HEADER_LEN..])?;
    Ok((open.caps, open.router_id))
}

#[test]
fn the_small_messages_where_it_is_right() {
    let mut message = Vec::new();
    RouteRefresh::evpn(2).emit(&mut message);
    let mut refresh = BgpRouterefreshMessage::new();
    refresh.decode_from(&session(), &message[HEADER_LEN..]).unwrap();
    assert_eq!((refresh.afi, refresh.subtype, refresh.safi), (25, 2, 70));
    let mut message = Vec::new();
    emit_end_of_rib(&mut message);
    let update = their_update(&message).unwrap();
    assert_eq!(update.get_mpwithdraws().unwrap().addrs, BgpAddrs::EVPN(vec![]));
}

fn mac_ip(label1: u32, label2: Option<u32>) -> EvpnRoute<'static> {
    let rd = Rd::from_ipv4(BgpIdentifier([10, 0, 0, 1].into()), 100);
    EvpnRoute::MacIp(MacIp {
        rd,
        esi: Default::default(),
        tag: 0,
        mac: "02:00:00:00:00:01".parse().unwrap(),
        ip: None,
        label1,
        label2,
    })
}

fn their_labels(route: EvpnRoute<'_>) -> Vec<u32> {
    let update = their_update(&announce(&plain("10.0.0.1"), &[route])).unwrap();
    let BgpEVPN::EVPN2(route) = &reach(&update).1[0] else { panic!() };
    route.labels.labels.clone()
}

#[test]
fn pinned_labels_are_20_bit_mpls() {
    assert_eq!(their_labels(mac_ip(10101, None)), [631]); // 10101 >> 4
    assert_eq!(their_labels(mac_ip(0x00ab_cdef, None)), [0x000a_bcde]);
    // The bottom-of-stack bit is bit 0 of a VNI: only where it is unset is the second label seen.
    assert_eq!(their_labels(mac_ip(10100, Some(50000))), [631, 3125]);
}

#[test]
fn pinned_two_labels_with_an_odd_vni_desynchronise_the_field() {
    let message = announce(&plain("10.0.0.1"), &[mac_ip(10101, Some(50000)), mac_ip(10101, None)]);
    assert!(their_update(&message).is_err());
}

#[test]
fn pinned_ipv6_next_hops_are_read_as_ipv4() {
    let imet = EvpnRoute::Imet(evpnd::wire::evpn::Imet { rd: Rd::default(), tag: 0, originator: "10.0.0.1".parse().unwrap() });
    let update = their_update(&announce(&plain("2001:db8::1"), &[imet])).unwrap();
    assert_eq!(reach(&update).0, &BgpAddr::V4([0x20, 0x01, 0x0d, 0xb8].into()));
}

#[test]
fn pinned_a_sequence_is_written_as_a_set() {
    let mut update = BgpUpdateMessage::new();
    update.attrs = vec![
        BgpAttrItem::Origin(BgpOrigin { value: BgpAttrOrigin::Igp }),
        BgpAttrItem::ASPath(BgpASpath::from(vec![65001u32, 65002])),
    ];
    let mut buffer = [0; 200];
    let len = update.encode_to(&session(), &mut buffer).unwrap();
    let block = &buffer[4..len];
    let path = block.windows(2).position(|pair| pair == [0x40, 2] || pair == [0x50, 2]).unwrap();
    let value = &block[path..];
    let head = if value[0] & 0x10 != 0 { 4 } else { 3 };
    assert_eq!(value[head], 1, "AS_SET");
    let read = AsPath::parse(&value[head..], true).unwrap();
    assert_eq!(read.to_string(), "{65001 65002}");
}

#[test]
fn pinned_unknown_route_types_fail_the_update() {
    let unknown = EvpnRoute::Unknown { route_type: 6, value: &[1, 2, 3] };
    let message = announce(&plain("10.0.0.1"), &[unknown]);
    assert!(their_update(&message).is_err());
}

#[test]
fn pinned_unknown_capabilities_vanish() {
    let capabilities =
        vec![Capability::Unknown { code: 99, value: vec![1, 2] }, Capability::ExtendedMessage, Capability::RouteRefresh];
    assert_eq!(their_open(capabilities).unwrap().0, [BgpCapability::CapRR]);
}

#[test]
fn pinned_a_host_name_with_a_domain_is_refused() {
    let fqdn = |domain: &str| vec![Capability::Fqdn { host: "vm".into(), domain: domain.into() }];
    assert!(their_open(fqdn("example")).is_err());
}

#[test]
fn pinned_a_pmsi_tunnel_cannot_be_written() {
    let mut ours = plain("10.0.0.1");
    ours.as_path = AsPath::sequence(&[Asn(65000)]);
    ours.pmsi = Some(PmsiTunnel::ingress_replication(10101, "10.0.0.1".parse().unwrap()));
    let imet = EvpnRoute::Imet(evpnd::wire::evpn::Imet { rd: Rd::default(), tag: 0, originator: "10.0.0.1".parse().unwrap() });
    let update = their_update(&announce(&ours, &[imet])).unwrap();
    let pmsi: Vec<_> = update.attrs.into_iter().filter(|attribute| matches!(attribute, BgpAttrItem::PMSITunnel(_))).collect();
    assert_eq!(pmsi.len(), 1);
    let written = std::panic::catch_unwind(|| pmsi[0].encode_to(&session(), &mut [0; 100]));
    assert!(written.is_err(), "unimplemented!()");
}
