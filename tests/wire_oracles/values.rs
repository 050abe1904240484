//! Values of everything that goes over the wire, as proptest strategies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use evpnd::base::{Asn, BgpIdentifier, MacAddr};
use evpnd::wire::as_path::{AsPath, AsPathSegment, AsPathSegmentKind};
use evpnd::wire::attribute::{Attributes, Origin, UnknownAttribute};
use evpnd::wire::capability::{Capability, GracefulRestart};
use evpnd::wire::esi::Esi;
use evpnd::wire::evpn::{EthernetAd, EthernetSegment, EvpnRoute, Imet, IpPrefix, MacIp};
use evpnd::wire::ext_community::{ExtCommunity, RouteTarget};
use evpnd::wire::open::Open;
use evpnd::wire::pmsi::PmsiTunnel;
use evpnd::wire::rd::Rd;
use evpnd::wire::update::UpdateContext;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub const INTERNAL: UpdateContext = UpdateContext { four_octet_as: true, external: false };

pub fn v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<[u8; 4]>().prop_map(Ipv4Addr::from)
}

pub fn v6() -> impl Strategy<Value = Ipv6Addr> {
    any::<[u8; 16]>().prop_map(Ipv6Addr::from)
}

pub fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![v4().prop_map(IpAddr::V4), v6().prop_map(IpAddr::V6)]
}

pub fn identifier() -> impl Strategy<Value = BgpIdentifier> {
    v4().prop_map(BgpIdentifier)
}

pub fn rd() -> impl Strategy<Value = Rd> {
    prop_oneof![
        any::<(u16, u32)>().prop_map(|(asn, number)| Rd::from_as2(asn, number)),
        (identifier(), any::<u16>()).prop_map(|(identifier, number)| Rd::from_ipv4(identifier, number)),
        any::<(u32, u16)>().prop_map(|(asn, number)| Rd::from_as4(Asn(asn), number)),
    ]
}

pub fn label() -> impl Strategy<Value = u32> {
    0..=0x00ff_ffffu32
}

fn esi() -> impl Strategy<Value = Esi> {
    prop_oneof![Just(Esi::ZERO), any::<[u8; 10]>().prop_map(Esi)]
}

pub fn mac_ip() -> impl Strategy<Value = EvpnRoute<'static>> {
    (rd(), esi(), any::<u32>(), any::<[u8; 6]>(), option::of(ip()), label(), option::of(label())).prop_map(
        |(rd, esi, tag, mac, ip, label1, label2)| EvpnRoute::MacIp(MacIp { rd, esi, tag, mac: MacAddr(mac), ip, label1, label2 }),
    )
}

pub fn imet() -> impl Strategy<Value = EvpnRoute<'static>> {
    (rd(), any::<u32>(), ip()).prop_map(|(rd, tag, originator)| EvpnRoute::Imet(Imet { rd, tag, originator }))
}

pub fn segment() -> impl Strategy<Value = EvpnRoute<'static>> {
    (rd(), esi(), ip()).prop_map(|(rd, esi, originator)| EvpnRoute::EthernetSegment(EthernetSegment { rd, esi, originator }))
}

fn ethernet_ad() -> impl Strategy<Value = EvpnRoute<'static>> {
    (rd(), esi(), any::<u32>(), label())
        .prop_map(|(rd, esi, tag, label)| EvpnRoute::EthernetAd(EthernetAd { rd, esi, tag, label }))
}

/// Prefixes without bits behind their length: netgauze clears those, we leave them as they came.
fn ip_prefix() -> impl Strategy<Value = EvpnRoute<'static>> {
    let v4 = (0..=32u8, any::<u32>(), v4()).prop_map(|(len, prefix, gateway)| {
        let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
        (len, IpAddr::V4((prefix & mask).into()), IpAddr::V4(gateway))
    });
    let v6 = (0..=128u8, any::<u128>(), v6()).prop_map(|(len, prefix, gateway)| {
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        (len, IpAddr::V6((prefix & mask).into()), IpAddr::V6(gateway))
    });
    (rd(), esi(), any::<u32>(), prop_oneof![v4, v6], label()).prop_map(|(rd, esi, tag, (prefix_len, prefix, gateway), label)| {
        EvpnRoute::IpPrefix(IpPrefix { rd, esi, tag, prefix_len, prefix, gateway, label })
    })
}

const OPAQUE: &[u8] = &[9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 255, 254, 253, 252, 251, 250];

fn unknown_route() -> impl Strategy<Value = EvpnRoute<'static>> {
    (prop_oneof![Just(0u8), 6..=255u8], 0..=OPAQUE.len())
        .prop_map(|(route_type, len)| EvpnRoute::Unknown { route_type, value: &OPAQUE[..len] })
}

pub fn route() -> impl Strategy<Value = EvpnRoute<'static>> {
    prop_oneof![ethernet_ad(), mac_ip(), imet(), segment(), ip_prefix(), unknown_route()]
}

pub fn emit_routes(routes: &[EvpnRoute<'_>]) -> Vec<u8> {
    let mut nlri = Vec::new();
    routes.iter().for_each(|route| route.emit(&mut nlri));
    nlri
}

/// Without the segments of RFC 5065: neither oracle reads them.
fn as_path() -> impl Strategy<Value = AsPath> {
    let kind = prop_oneof![3 => Just(AsPathSegmentKind::Sequence), 1 => Just(AsPathSegmentKind::Set)];
    let asn = prop_oneof![1..=65_535u32, 65_536..=u32::MAX].prop_map(Asn);
    let segment = (kind, prop_oneof![vec(asn.clone(), 1..5), vec(asn, 250..=255)]);
    vec(segment.prop_map(|(kind, asns)| AsPathSegment { kind, asns }), 0..4).prop_map(|segments| AsPath { segments })
}

pub fn sequences() -> impl Strategy<Value = AsPath> {
    vec((1..=u32::MAX).prop_map(Asn), 0..20).prop_map(|asns| AsPath::sequence(&asns))
}

pub fn ext_community() -> impl Strategy<Value = ExtCommunity> {
    let mac = || any::<[u8; 6]>().prop_map(MacAddr);
    prop_oneof![
        // Of types nobody knows: of those it knows netgauze does not keep the reserved octets.
        (0x90..=255u8, any::<[u8; 7]>()).prop_map(|(kind, [a, b, c, d, e, f, g])| ExtCommunity([kind, a, b, c, d, e, f, g])),
        any::<(u16, u32)>().prop_map(|(asn, number)| RouteTarget::As2 { asn, number }.into()),
        (v4(), any::<u16>()).prop_map(|(address, number)| RouteTarget::Ipv4 { address, number }.into()),
        any::<(u32, u16)>().prop_map(|(asn, number)| RouteTarget::As4 { asn, number }.into()),
        any::<u16>().prop_map(ExtCommunity::encapsulation),
        any::<(bool, u32)>().prop_map(|(sticky, sequence)| ExtCommunity::mac_mobility(sticky, sequence)),
        Just(ExtCommunity::default_gateway()),
        any::<u8>().prop_map(ExtCommunity::arp_nd),
        mac().prop_map(ExtCommunity::router_mac),
        mac().prop_map(ExtCommunity::es_import),
        (any::<bool>(), label()).prop_map(|(single_active, label)| ExtCommunity::esi_label(single_active, label)),
        (0..32u8, any::<u16>()).prop_map(|(algorithm, bitmap)| ExtCommunity::df_election(algorithm, bitmap)),
    ]
}

fn pmsi() -> impl Strategy<Value = PmsiTunnel> {
    prop_oneof![
        (label(), ip()).prop_map(|(label, endpoint)| PmsiTunnel::ingress_replication(label, endpoint)),
        (any::<u8>(), prop_oneof![0..6u8, 7..=255u8], label(), vec(any::<u8>(), 0..20))
            .prop_map(|(flags, tunnel_type, label, tunnel_id)| PmsiTunnel { flags, tunnel_type, label, tunnel_id }),
    ]
}

/// Unrecognized optional transitive attributes with the partial bit: what they look like after us.
fn unknown() -> impl Strategy<Value = Vec<UnknownAttribute>> {
    let value = prop_oneof![vec(any::<u8>(), 0..10), vec(any::<u8>(), 255..260)];
    proptest::collection::btree_map(200..=250u8, value, 0..3)
        .prop_map(|map| map.into_iter().map(|(code, value)| UnknownAttribute { flags: 0xe0, code, value }).collect())
}

pub fn attributes() -> impl Strategy<Value = Attributes> {
    let origin = prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)];
    let large = proptest::collection::btree_set(any::<[u32; 3]>(), 0..30).prop_map(|set| set.into_iter().collect());
    (
        (origin, as_path(), ip(), option::of(any::<u32>()), option::of(any::<u32>())),
        (vec(any::<u32>(), 0..80), option::of(identifier()), vec(identifier(), 0..5), vec(ext_community(), 0..40)),
        (option::of(pmsi()), large, unknown()),
    )
        .prop_map(
            |(
                (origin, as_path, next_hop, med, local_pref),
                (communities, originator_id, cluster_list, ext_communities),
                rest,
            )| {
                let (pmsi, large_communities, unknown) = rest;
                Attributes {
                    origin,
                    as_path,
                    next_hop: Some(next_hop),
                    med,
                    local_pref,
                    communities,
                    originator_id,
                    cluster_list,
                    ext_communities,
                    pmsi,
                    large_communities,
                    unknown,
                    partial: 0,
                }
            },
        )
}

fn family() -> impl Strategy<Value = (u16, u8)> {
    prop_oneof![Just((25, 70)), Just((1, 1)), Just((2, 1)), Just((1, 128))]
}

pub fn capability() -> impl Strategy<Value = Capability> {
    let restart = (any::<(bool, bool)>(), 0..4096u16, vec((family(), any::<bool>()), 0..5)).prop_map(
        |((restarted, notification), time, list)| {
            let families = list.into_iter().map(|((afi, safi), kept)| (afi, safi, kept)).collect();
            Capability::GracefulRestart(GracefulRestart { restarted, notification, restart_time_secs: time, families })
        },
    );
    let stale = (family(), any::<bool>(), label()).prop_map(|((afi, safi), kept, secs)| (afi, safi, u8::from(kept) << 7, secs));
    prop_oneof![
        family().prop_map(|(afi, safi)| Capability::MultiProtocol { afi, safi }),
        Just(Capability::RouteRefresh),
        Just(Capability::ExtendedMessage),
        Just(Capability::EnhancedRouteRefresh),
        (0..5u8).prop_map(Capability::Role),
        any::<u32>().prop_map(Capability::FourOctetAs),
        restart,
        vec(stale, 0..5).prop_map(Capability::LongLivedGracefulRestart),
        vec((family(), 1..4u8).prop_map(|((afi, safi), mode)| (afi, safi, mode)), 1..5).prop_map(Capability::AddPath),
        ("[a-z0-9.-]{0,40}", "[a-z0-9.-]{0,40}").prop_map(|(host, domain)| Capability::Fqdn { host, domain }),
        (74..128u8, vec(any::<u8>(), 0..30)).prop_map(|(code, value)| Capability::Unknown { code, value }),
    ]
}

/// With an identifier that is a unicast address: netgauze holds to RFC 4271, we to RFC 6286.
pub fn open(capabilities: std::ops::Range<usize>) -> impl Strategy<Value = Open> {
    let identifier = (0x0100_0000..0x7f00_0000u32).prop_map(|number| BgpIdentifier(number.into()));
    (any::<u16>(), any::<u16>(), identifier, vec(capability(), capabilities)).prop_map(
        |(my_as, hold_time_secs, identifier, capabilities)| Open { version: 4, my_as, hold_time_secs, identifier, capabilities },
    )
}
