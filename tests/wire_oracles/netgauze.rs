//! netgauze-bgp-pkt 0.13 reads what we emit, and we read what it emits.

use std::net::IpAddr;

use evpnd::base::{Asn, BgpIdentifier, MacAddr};
use evpnd::wire::as_path::{AsPath, AsPathSegment, AsPathSegmentKind};
use evpnd::wire::attribute::{Attributes, Origin, UnknownAttribute};
use evpnd::wire::capability::{Capability, GracefulRestart};
use evpnd::wire::esi::Esi;
use evpnd::wire::evpn::{EthernetAd, EthernetSegment, EvpnRoute, Imet, IpPrefix, MacIp, routes};
use evpnd::wire::ext_community::ExtCommunity;
use evpnd::wire::header;
use evpnd::wire::notification::Notification;
use evpnd::wire::open::Open;
use evpnd::wire::pmsi::PmsiTunnel;
use evpnd::wire::rd::Rd;
use evpnd::wire::route_refresh::RouteRefresh;
use evpnd::wire::update::{UpdateContext, UpdateView, emit_end_of_rib, emit_reach, emit_unreach};
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::capabilities::BgpCapability;
use netgauze_bgp_pkt::nlri::{self, L2EvpnAddress, L2EvpnIpPrefixRoute, L2EvpnRoute, MplsLabel, RouteDistinguisher};
use netgauze_bgp_pkt::path_attribute::{self as theirs, AsPathSegmentType, MpReach, MpUnreach, PathAttributeValue};
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::values::{self, INTERNAL, emit_routes};

fn their_parse(message: &[u8], asn4: bool) -> BgpMessage {
    let mut context = BgpParsingContext::default();
    context.set_asn4(asn4);
    let message = BgpMessage::parse(&mut SliceReader::new(message), &mut context).unwrap();
    assert_eq!(context.parsing_errors().path_attr_errors().len(), 0);
    message
}

fn their_bytes(message: &BgpMessage) -> Vec<u8> {
    let mut out = Vec::new();
    message.write(&mut out).unwrap();
    out
}

fn their_update(message: &[u8], asn4: bool) -> BgpUpdateMessage {
    match their_parse(message, asn4) {
        BgpMessage::Update(update) => update,
        other => panic!("{other:?}"),
    }
}

fn label(label: &MplsLabel) -> u32 {
    let [a, b, c] = *label.value();
    u32::from_be_bytes([0, a, b, c])
}

fn rd(rd: RouteDistinguisher) -> Rd {
    match rd {
        RouteDistinguisher::As2Administrator { asn2, number } => Rd::from_as2(asn2, number),
        RouteDistinguisher::Ipv4Administrator { ip, number } => Rd::from_ipv4(BgpIdentifier(ip), number),
        RouteDistinguisher::As4Administrator { asn4, number } => Rd::from_as4(Asn(asn4), number),
        RouteDistinguisher::LeafAdRoutes => panic!("no such RD was made"),
    }
}

fn esi(esi: &nlri::EthernetSegmentIdentifier) -> Esi {
    Esi(*esi.value())
}

/// Their route as ours.
fn route(address: &L2EvpnAddress) -> EvpnRoute<'_> {
    match address.route() {
        L2EvpnRoute::EthernetAutoDiscovery(r) => EvpnRoute::EthernetAd(EthernetAd {
            rd: rd(r.rd()),
            esi: esi(r.segment_id()),
            tag: r.tag().value(),
            label: label(r.mpls_label()),
        }),
        L2EvpnRoute::MacIpAdvertisement(r) => EvpnRoute::MacIp(MacIp {
            rd: rd(r.rd()),
            esi: esi(r.segment_id()),
            tag: r.tag().value(),
            mac: MacAddr(*r.mac().value()),
            ip: r.ip(),
            label1: label(r.mpls_label1()),
            label2: r.mpls_label2().map(label),
        }),
        L2EvpnRoute::InclusiveMulticastEthernetTagRoute(r) => {
            EvpnRoute::Imet(Imet { rd: rd(r.rd()), tag: r.tag().value(), originator: r.ip() })
        }
        L2EvpnRoute::EthernetSegmentRoute(r) => {
            EvpnRoute::EthernetSegment(EthernetSegment { rd: rd(r.rd()), esi: esi(r.segment_id()), originator: r.ip() })
        }
        L2EvpnRoute::IpPrefixRoute(L2EvpnIpPrefixRoute::V4(r)) => EvpnRoute::IpPrefix(IpPrefix {
            rd: rd(r.rd()),
            esi: esi(r.segment_id()),
            tag: r.tag().value(),
            prefix_len: r.prefix().prefix_len(),
            prefix: IpAddr::V4(r.prefix().addr()),
            gateway: IpAddr::V4(r.gateway()),
            label: label(r.label()),
        }),
        L2EvpnRoute::IpPrefixRoute(L2EvpnIpPrefixRoute::V6(r)) => EvpnRoute::IpPrefix(IpPrefix {
            rd: rd(r.rd()),
            esi: esi(r.segment_id()),
            tag: r.tag().value(),
            prefix_len: r.prefix().prefix_len(),
            prefix: IpAddr::V6(r.prefix().addr()),
            gateway: IpAddr::V6(r.gateway()),
            label: label(r.label()),
        }),
        L2EvpnRoute::Unknown { code, value } => EvpnRoute::Unknown { route_type: *code, value },
    }
}

fn segment(kind: AsPathSegmentType, asns: impl Iterator<Item = u32>) -> AsPathSegment {
    let kind = match kind {
        AsPathSegmentType::AsSet => AsPathSegmentKind::Set,
        AsPathSegmentType::AsSequence => AsPathSegmentKind::Sequence,
    };
    AsPathSegment { kind, asns: asns.map(Asn).collect() }
}

fn as_path(path: &theirs::AsPath) -> AsPath {
    let segments = match path {
        theirs::AsPath::As2PathSegments(list) => {
            list.iter().map(|s| segment(s.segment_type(), s.as_numbers().iter().map(|n| u32::from(*n)))).collect()
        }
        theirs::AsPath::As4PathSegments(list) => {
            list.iter().map(|s| segment(s.segment_type(), s.as_numbers().iter().copied())).collect()
        }
    };
    AsPath { segments }
}

/// Their attributes as ours, with the routes; `as_path` for a 2-octet session is left as it stands.
fn attributes(update: &BgpUpdateMessage) -> (Attributes, Vec<EvpnRoute<'_>>) {
    let (mut ours, mut found) = (Attributes::default(), Vec::new());
    for attribute in update.path_attributes() {
        match attribute.value() {
            PathAttributeValue::Origin(theirs::Origin::IGP) => ours.origin = Origin::Igp,
            PathAttributeValue::Origin(theirs::Origin::EGP) => ours.origin = Origin::Egp,
            PathAttributeValue::Origin(theirs::Origin::Incomplete) => ours.origin = Origin::Incomplete,
            PathAttributeValue::AsPath(path) => ours.as_path = as_path(path),
            PathAttributeValue::As4Path(_) => {}
            PathAttributeValue::MultiExitDiscriminator(med) => ours.med = Some(med.metric()),
            PathAttributeValue::LocalPreference(preference) => ours.local_pref = Some(preference.metric()),
            PathAttributeValue::Communities(list) => ours.communities = list.communities().iter().map(|c| c.value()).collect(),
            PathAttributeValue::ExtendedCommunities(list) => {
                for community in list.communities() {
                    let mut octets = Vec::new();
                    community.write(&mut octets).unwrap();
                    ours.ext_communities.push(ExtCommunity(octets.try_into().unwrap()));
                }
            }
            PathAttributeValue::LargeCommunities(list) => {
                ours.large_communities =
                    list.communities().iter().map(|c| [c.global_admin(), c.local_data1(), c.local_data2()]).collect();
            }
            PathAttributeValue::Originator(originator) => ours.originator_id = Some(BgpIdentifier(originator.id())),
            PathAttributeValue::ClusterList(list) => {
                ours.cluster_list = list.cluster_list().iter().map(|id| BgpIdentifier(id.id())).collect();
            }
            PathAttributeValue::MpReach(MpReach::L2Evpn { next_hop, nlri }) => {
                ours.next_hop = Some(*next_hop);
                found = nlri.iter().map(route).collect();
            }
            PathAttributeValue::MpUnreach(MpUnreach::L2Evpn { nlri }) => found = nlri.iter().map(route).collect(),
            // They do not know PMSI_TUNNEL.
            PathAttributeValue::UnknownAttribute(unknown) if unknown.code() == 22 => {
                let value = unknown.value();
                let label = u32::from_be_bytes([0, value[2], value[3], value[4]]);
                ours.pmsi = Some(PmsiTunnel { flags: value[0], tunnel_type: value[1], label, tunnel_id: value[5..].to_vec() });
            }
            PathAttributeValue::UnknownAttribute(unknown) => {
                assert!(attribute.optional() && attribute.transitive() && attribute.partial());
                ours.unknown.push(UnknownAttribute { flags: 0xe0, code: unknown.code(), value: unknown.value().to_vec() });
            }
            other => panic!("{other:?}"),
        }
    }
    (ours, found)
}

/// Our reading of a whole UPDATE.
fn our_parse<'a>(message: &'a [u8], context: &UpdateContext) -> (Attributes, Vec<EvpnRoute<'a>>) {
    let frame = header::frame(message, header::MAX_EXTENDED_MESSAGE_LEN).unwrap().unwrap();
    let view = UpdateView::parse(frame.body).unwrap();
    let (attributes, mistakes) = view.parse_attributes(context).unwrap();
    assert_eq!(mistakes, []);
    (attributes, routes(view.reach.unwrap().nlri).map(Result::unwrap).collect())
}

/// Their capability as ours.
fn capability(capability: &BgpCapability) -> Capability {
    use netgauze_iana::address_family::AddressType;
    let family =
        |address_type: AddressType| (address_type.address_family() as u16, address_type.subsequent_address_family() as u8);
    match capability {
        BgpCapability::MultiProtocolExtensions(c) => {
            let (afi, safi) = family(c.address_type());
            Capability::MultiProtocol { afi, safi }
        }
        BgpCapability::RouteRefresh => Capability::RouteRefresh,
        BgpCapability::EnhancedRouteRefresh => Capability::EnhancedRouteRefresh,
        BgpCapability::ExtendedMessage => Capability::ExtendedMessage,
        BgpCapability::FourOctetAs(c) => Capability::FourOctetAs(c.asn4()),
        BgpCapability::BgpRole(c) => Capability::Role(c.role() as u8),
        BgpCapability::GracefulRestartCapability(c) => Capability::GracefulRestart(GracefulRestart {
            restarted: c.restart(),
            notification: c.graceful_notification(),
            restart_time_secs: c.time(),
            families: c
                .address_families()
                .iter()
                .map(|f| {
                    let (afi, safi) = family(f.address_type());
                    (afi, safi, f.forwarding_state())
                })
                .collect(),
        }),
        BgpCapability::LongLivedGracefulRestart(c) => Capability::LongLivedGracefulRestart(
            c.address_families()
                .iter()
                .map(|f| {
                    let (afi, safi) = family(f.address_type());
                    (afi, safi, u8::from(f.forwarding_state()) << 7, f.stale_time())
                })
                .collect(),
        ),
        BgpCapability::AddPath(c) => Capability::AddPath(
            c.address_families()
                .iter()
                .map(|f| {
                    let (afi, safi) = family(f.address_type());
                    (afi, safi, u8::from(f.receive()) | u8::from(f.send()) << 1)
                })
                .collect(),
        ),
        BgpCapability::Fqdn(c) => Capability::Fqdn { host: c.hostname().to_owned(), domain: c.domain_name().to_owned() },
        BgpCapability::Unrecognized(c) => Capability::Unknown { code: *c.code(), value: c.value().to_vec() },
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn announcements(ours in values::attributes(), list in vec(values::route(), 1..20)) {
        let mut message = Vec::new();
        emit_reach(&mut message, &ours, &INTERNAL, &emit_routes(&list));
        let update = their_update(&message, true);
        prop_assert_eq!(attributes(&update), (ours.clone(), list.clone()));
        let theirs = their_bytes(&BgpMessage::Update(update.clone()));
        prop_assert_eq!(our_parse(&theirs, &INTERNAL), (ours, list));
        prop_assert_eq!(theirs, message);
    }

    #[test]
    fn announcements_of_two_octet_speakers(ours in values::attributes(), list in vec(values::route(), 1..5)) {
        let context = UpdateContext { four_octet_as: false, external: false };
        let mut message = Vec::new();
        emit_reach(&mut message, &ours, &context, &emit_routes(&list));
        let update = their_update(&message, false);
        // AS_PATH has AS_TRANS where a number does not fit, AS4_PATH the whole path.
        let short = attributes(&update).0.as_path;
        let asns = |path: &AsPath| path.segments.iter().flat_map(|s| s.asns.clone()).collect::<Vec<_>>();
        prop_assert_eq!(asns(&short), asns(&ours.as_path).iter().map(|asn| Asn(asn.in_two_octets().into())).collect::<Vec<_>>());
        let long = update.path_attributes().iter().find_map(|a| match a.value() {
            PathAttributeValue::As4Path(path) => Some(path.segments().iter().flat_map(|s| s.as_numbers().to_vec()).map(Asn).collect::<Vec<_>>()),
            _ => None,
        });
        prop_assert_eq!(long, (!ours.as_path.fits_two_octets()).then(|| asns(&ours.as_path)));
        // What they emit we read to the whole path again.
        let theirs = their_bytes(&BgpMessage::Update(update.clone()));
        prop_assert_eq!(our_parse(&theirs, &context), (ours, list));
    }

    #[test]
    fn withdrawals(list in vec(values::route(), 0..20)) {
        let (mut message, nlri) = (Vec::new(), emit_routes(&list));
        emit_unreach(&mut message, &nlri);
        let update = their_update(&message, true);
        prop_assert_eq!(attributes(&update).1, list.clone());
        prop_assert_eq!(update.end_of_rib().is_some(), list.is_empty());
        let theirs = their_bytes(&BgpMessage::Update(update.clone()));
        prop_assert_eq!(theirs, message);
    }

    #[test]
    fn opens(ours in values::open(0..6)) {
        // They do not read RFC 9072.
        let mut message = Vec::new();
        ours.emit(&mut message);
        prop_assume!(message.len() < 19 + 10 + 255);
        let BgpMessage::Open(open) = their_parse(&message, true) else { panic!() };
        prop_assert_eq!((open.my_as(), open.hold_time(), open.bgp_id()), (ours.my_as, ours.hold_time_secs, ours.identifier.0));
        prop_assert_eq!(open.capabilities().into_iter().map(capability).collect::<Vec<_>>(), ours.capabilities.clone());
        let theirs = their_bytes(&BgpMessage::Open(open));
        let frame = header::frame(&theirs, header::MAX_MESSAGE_LEN).unwrap().unwrap();
        prop_assert_eq!(Open::parse(frame.body).unwrap(), ours);
    }

    #[test]
    fn notifications(code in 1..=3u8, subcode in 1..=3u8, data in vec(any::<u8>(), 0..300)) {
        let mut message = Vec::new();
        let ours = Notification::new(code, subcode, data);
        ours.emit(&mut message);
        let theirs = their_bytes(&their_parse(&message, true));
        prop_assert_eq!(&theirs, &message);
        prop_assert_eq!(Notification::parse(&theirs[19..]).unwrap(), ours);
    }

    #[test]
    fn shutdowns(text in "\\PC{0,300}", subcode in prop_oneof![Just(2u8), Just(4u8)]) {
        let mut message = Vec::new();
        Notification::cease(subcode, &text).emit(&mut message);
        prop_assert_eq!(their_bytes(&their_parse(&message, true)), message);
    }
}

#[test]
fn the_small_messages() {
    let mut end = Vec::new();
    emit_end_of_rib(&mut end);
    assert_eq!(their_update(&end, true).end_of_rib(), Some(netgauze_iana::address_family::AddressType::L2VpnBgpEvpn));
    let mut keepalive = Vec::new();
    header::emit_keepalive(&mut keepalive);
    assert_eq!(their_parse(&keepalive, true), BgpMessage::KeepAlive);
    for subtype in 0..3 {
        let mut message = Vec::new();
        RouteRefresh::evpn(subtype).emit(&mut message);
        let theirs = their_parse(&message, true);
        let BgpMessage::RouteRefresh(refresh) = &theirs else { panic!() };
        assert_eq!(refresh.address_type(), netgauze_iana::address_family::AddressType::L2VpnBgpEvpn);
        assert_eq!(refresh.operation_type() as u8, subtype);
        assert_eq!(their_bytes(&theirs), message);
    }
}
