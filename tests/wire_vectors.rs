//! Messages captured from FRR and GoBGP (`tests/vectors/`): every one decodes to the values written here, and what is emitted
//! again is equivalent. A value is asserted as text, one line per thing on the wire, so that a difference can be read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fmt::Write as _;

use evpnd::wire::attribute::{AttributeError, Attributes};
use evpnd::wire::capability::Capability;
use evpnd::wire::evpn::{EvpnRoute, routes};
use evpnd::wire::header::{self, Frame, MessageType};
use evpnd::wire::notification::Notification;
use evpnd::wire::open::Open;
use evpnd::wire::update::{UpdateContext, UpdateView, emit_reach, emit_unreach, reach_overhead};
use proptest::prelude::*;

const IBGP: UpdateContext = UpdateContext { four_octet_as: true, external: false };
const EBGP: UpdateContext = UpdateContext { four_octet_as: true, external: true };

const FILES: [(&str, &str, UpdateContext); 4] = [
    ("frr", include_str!("vectors/frr.hex"), IBGP),
    ("frr-ebgp", include_str!("vectors/frr-ebgp.hex"), EBGP),
    ("gobgp", include_str!("vectors/gobgp.hex"), IBGP),
    ("gobgp6", include_str!("vectors/gobgp6.hex"), IBGP),
];

/// The messages of a file.
fn messages(text: &str) -> Vec<Vec<u8>> {
    let message = |line: &str| {
        let (number, hex) = line.split_once(' ').unwrap();
        let octets: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        assert_eq!(octets[18], number.parse::<u8>().unwrap());
        octets
    };
    text.lines().map(message).collect()
}

fn frame(message: &[u8]) -> Frame<'_> {
    let frame = header::frame(message, header::MAX_MESSAGE_LEN).unwrap().unwrap();
    assert_eq!(frame.len, message.len());
    frame
}

/// One route with what is not in its key.
fn route_text(route: &EvpnRoute<'_>) -> String {
    match route {
        EvpnRoute::EthernetAd(ad) => format!("{} {route} label {}", ad.rd, ad.label),
        EvpnRoute::MacIp(mac_ip) => {
            assert!(mac_ip.esi.is_zero());
            let second = mac_ip.label2.map(|label| format!(" label2 {label}")).unwrap_or_default();
            format!("{} {route} label {}{second}", mac_ip.rd, mac_ip.label1)
        }
        EvpnRoute::Imet(imet) => format!("{} {route}", imet.rd),
        EvpnRoute::EthernetSegment(segment) => format!("{} {route}", segment.rd),
        EvpnRoute::IpPrefix(prefix) => {
            assert!(prefix.esi.is_zero());
            format!("{} {route} gateway {} label {}", prefix.rd, prefix.gateway, prefix.label)
        }
        EvpnRoute::Unknown { .. } => route.to_string(),
    }
}

/// One message as text.
fn text(message: &[u8], context: &UpdateContext) -> String {
    let frame = frame(message);
    let mut text = String::new();
    match frame.message_type {
        MessageType::Open => {
            let open = Open::parse(frame.body).unwrap();
            write!(text, "OPEN AS {} id {} hold {}:", open.my_as, open.identifier, open.hold_time_secs).unwrap();
            open.capabilities.iter().for_each(|capability| write!(text, " [{capability}]").unwrap());
        }
        MessageType::Update => {
            let view = UpdateView::parse(frame.body).unwrap();
            assert!(view.withdrawn_ipv4.is_empty() && view.nlri_ipv4.is_empty() && view.end_of_rib().is_none());
            if let Some(reach) = view.reach {
                assert!(reach.is_evpn());
                let (a, mistakes) = view.parse_attributes(context).unwrap();
                assert_eq!(mistakes, []);
                write!(text, "REACH via {} {:?} path \"{}\"", a.next_hop.unwrap(), a.origin, a.as_path).unwrap();
                a.local_pref.iter().for_each(|number| write!(text, " pref {number}").unwrap());
                a.ext_communities.iter().for_each(|community| write!(text, " {community}").unwrap());
                a.pmsi.iter().for_each(|pmsi| write!(text, " {pmsi}").unwrap());
                routes(reach.nlri).for_each(|route| write!(text, "\n  {}", route_text(&route.unwrap())).unwrap());
            }
            if let Some(unreach) = view.unreach {
                assert!(unreach.is_evpn() && view.attributes.is_empty());
                text.push_str("UNREACH");
                routes(unreach.nlri).for_each(|route| write!(text, "\n  {}", route_text(&route.unwrap())).unwrap());
            }
        }
        MessageType::Notification => text = Notification::parse(frame.body).unwrap().to_string(),
        MessageType::Keepalive => text.push_str("KEEPALIVE"),
        MessageType::RouteRefresh => text.push_str("ROUTE-REFRESH"),
    }
    text
}

fn assert_file(name: &str, wanted: &str) {
    let (_, file, context) = FILES.into_iter().find(|file| file.0 == name).unwrap();
    let found: Vec<String> = messages(file).iter().map(|message| text(message, &context)).collect();
    assert_eq!(found.join("\n"), wanted.trim());
}

#[test]
fn frr_ibgp() {
    assert_file(
        "frr",
        r#"
OPEN AS 65000 id 192.0.2.2 hold 180: [EVPN] [capability 128] [route refresh] [enhanced route refresh] [4-octet AS 65000] [extended message] [add-path] [host name vm] [graceful restart, 120 s] [long-lived graceful restart]
KEEPALIVE
REACH via 192.0.2.2 Igp path "" pref 100 ET:8 RT:65000:10101
  192.0.2.2:2 [2]:[0]:[48]:[02:00:00:00:01:01] label 10101
  192.0.2.2:2 [2]:[0]:[48]:[c6:b8:2d:2b:3b:9a]:[128]:[fe80::c4b8:2dff:fe2b:3b9a] label 10101
  192.0.2.2:2 [2]:[0]:[48]:[76:5e:34:7c:96:0e] label 10101
  192.0.2.2:2 [2]:[0]:[48]:[02:00:00:00:01:02]:[128]:[2001:db8::50] label 10101
  192.0.2.2:2 [2]:[0]:[48]:[02:00:00:00:01:02]:[32]:[10.1.1.50] label 10101
  192.0.2.2:2 [2]:[0]:[48]:[02:00:00:00:01:02] label 10101
REACH via 192.0.2.2 Igp path "" pref 100 ET:8 RT:65000:10101 ingress replication to 192.0.2.2, VNI 10101
  192.0.2.2:2 [3]:[0]:[32]:[192.0.2.2]
UNREACH
  192.0.2.2:2 [2]:[0]:[48]:[02:00:00:00:01:01] label 0
REACH via 192.0.2.2 Igp path "" pref 100 ET:8 RT:65000:10101
  192.0.2.2:2 [2]:[0]:[48]:[02:00:00:00:01:01] label 10101
KEEPALIVE
"#,
    );
}

#[test]
fn frr_ebgp() {
    assert_file(
        "frr-ebgp",
        r#"
OPEN AS 65000 id 192.0.2.2 hold 180: [EVPN] [capability 128] [route refresh] [enhanced route refresh] [4-octet AS 65000] [extended message] [add-path] [host name vm] [graceful restart, 120 s] [long-lived graceful restart]
KEEPALIVE
REACH via 192.0.2.2 Igp path "65000" ET:8 RT:65000:10101
  192.0.2.2:2 [2]:[0]:[48]:[02:00:00:00:01:01] label 10101
  192.0.2.2:2 [2]:[0]:[48]:[c6:b8:2d:2b:3b:9a]:[128]:[fe80::c4b8:2dff:fe2b:3b9a] label 10101
  192.0.2.2:2 [2]:[0]:[48]:[76:5e:34:7c:96:0e] label 10101
  192.0.2.2:2 [2]:[0]:[48]:[02:00:00:00:01:02]:[128]:[2001:db8::50] label 10101
  192.0.2.2:2 [2]:[0]:[48]:[02:00:00:00:01:02]:[32]:[10.1.1.50] label 10101
  192.0.2.2:2 [2]:[0]:[48]:[02:00:00:00:01:02] label 10101
REACH via 192.0.2.2 Igp path "65000" ET:8 RT:65000:10101 MM:0,sticky
  192.0.2.2:2 [2]:[0]:[48]:[02:00:00:00:01:09] label 10101
REACH via 192.0.2.2 Igp path "65000" ET:8 RT:65000:10101 ingress replication to 192.0.2.2, VNI 10101
  192.0.2.2:2 [3]:[0]:[32]:[192.0.2.2]
"#,
    );
}

#[test]
fn gobgp_over_ipv4() {
    assert_file(
        "gobgp",
        r#"
OPEN AS 65000 id 192.0.2.1 hold 90: [route refresh] [host name vm] [EVPN] [4-octet AS 65000] [capability 5]
KEEPALIVE
REACH via 127.0.0.1 Incomplete path "" pref 100 RT:65000:10100 ET:8 Rmac:02:11:22:33:44:55
  192.0.2.1:100 [2]:[0]:[48]:[02:00:00:00:00:04]:[32]:[10.1.1.4] label 10100 label2 50000
REACH via 127.0.0.1 Incomplete path "" pref 100 RT:65000:10100 ET:8 ingress replication to 192.0.2.1, VNI 10100
  192.0.2.1:100 [3]:[0]:[32]:[192.0.2.1]
REACH via 127.0.0.1 Incomplete path "" pref 100 RT:65000:50000 ET:8 Rmac:02:11:22:33:44:55
  192.0.2.1:5000 [5]:[0]:[24]:[10.9.0.0] gateway 0.0.0.0 label 50000
REACH via 127.0.0.1 Incomplete path "" pref 100 RT:65000:50000 ET:8
  192.0.2.1:5000 [5]:[0]:[64]:[2001:db8:9::] gateway :: label 50000
REACH via 127.0.0.1 Incomplete path "" pref 100 ES-import:02:00:00:aa:bb:cc
  192.0.2.1:1 [4]:[03:02:00:00:aa:bb:cc:00:00:64]:[32]:[192.0.2.1]
REACH via 127.0.0.1 Incomplete path "" pref 100 RT:65000:10100 ET:8
  192.0.2.1:100 [1]:[0]:[03:02:00:00:aa:bb:cc:00:00:64] label 10100
REACH via 127.0.0.1 Incomplete path "" pref 100 RT:65000:10100 ET:8
  192.0.2.1:100 [2]:[0]:[48]:[02:00:00:00:00:01] label 10100
KEEPALIVE
"#,
    );
}

#[test]
fn gobgp_over_ipv6() {
    assert_file(
        "gobgp6",
        r#"
OPEN AS 65000 id 192.0.2.1 hold 90: [route refresh] [host name vm] [EVPN] [4-octet AS 65000] [capability 5]
KEEPALIVE
REACH via 2001:db8:100::1 Incomplete path "" pref 100 RT:65000:10101 ET:8
  192.0.2.1:100 [2]:[0]:[48]:[02:00:00:00:00:03]:[128]:[2001:db8::3] label 10101
REACH via 2001:db8:100::1 Incomplete path "" pref 100 RT:65000:10101 ET:8 Rmac:02:11:22:33:44:55
  192.0.2.1:100 [2]:[0]:[48]:[02:00:00:00:00:04]:[32]:[10.1.1.4] label 10101 label2 50001
REACH via 2001:db8:100::1 Incomplete path "" pref 100 RT:65000:10101 ET:8 ingress replication to 2001:db8:100::1, VNI 10101
  192.0.2.1:100 [3]:[0]:[128]:[2001:db8:100::1]
REACH via 2001:db8:100::1 Incomplete path "" pref 100 RT:65000:10100 ESI-label:100
  192.0.2.1:1 [1]:[4294967295]:[03:02:00:00:aa:bb:cc:00:00:64] label 0
UNREACH
  192.0.2.1:100 [2]:[0]:[48]:[02:00:00:00:00:03]:[128]:[2001:db8::3] label 10101
cease: peer de-configured (6/3)
"#,
    );
}

#[test]
fn capabilities_of_frr() {
    let opens = messages(FILES[0].1);
    let open = Open::parse(frame(&opens[0]).body).unwrap();
    assert!(open.capabilities.contains(&Capability::EVPN));
    assert!(open.capabilities.contains(&Capability::AddPath(vec![(25, 70, 1)])));
    assert!(open.capabilities.contains(&Capability::LongLivedGracefulRestart(vec![(25, 70, 0x80, 0)])));
    assert!(open.capabilities.contains(&Capability::Unknown { code: 128, value: vec![] }));
    let Some(Capability::GracefulRestart(restart)) = open.capabilities.iter().find(|c| c.code() == 64) else {
        panic!("no graceful restart");
    };
    assert!(restart.restarted && restart.notification && restart.families.is_empty());
    assert_eq!(restart.restart_time_secs, 120);
}

/// The attributes of an UPDATE body as a set, without the extended length flag, which says nothing.
fn attribute_set(body: &[u8]) -> BTreeSet<(u8, u8, Vec<u8>)> {
    let mut set = BTreeSet::new();
    let mut rest = &body[4..];
    while !rest.is_empty() {
        let (head, len) = match rest[0] & 0x10 {
            0 => (3, usize::from(rest[2])),
            _ => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
        };
        assert!(set.insert((rest[0] & !0x10, rest[1], rest[head..head + len].to_vec())));
        rest = &rest[head + len..];
    }
    set
}

#[test]
fn every_message_is_emitted_equivalently() {
    for (name, file, context) in FILES {
        for message in messages(file) {
            let (frame, mut out) = (frame(&message), Vec::new());
            match frame.message_type {
                MessageType::Open => {
                    let open = Open::parse(frame.body).unwrap();
                    open.emit(&mut out);
                    assert_eq!(Open::parse(self::frame(&out).body).unwrap(), open);
                    if name.starts_with("gobgp") {
                        assert_eq!(out, message); // FRR gives each capability a parameter of its own
                    }
                }
                MessageType::Update => {
                    let view = UpdateView::parse(frame.body).unwrap();
                    if let Some(reach) = view.reach {
                        let (attributes, _) = view.parse_attributes(&context).unwrap();
                        let mut nlri = Vec::new();
                        routes(reach.nlri).for_each(|route| route.unwrap().emit(&mut nlri));
                        assert_eq!(nlri, reach.nlri, "routes are emitted octet by octet as they came");
                        emit_reach(&mut out, &attributes, &context, &nlri);
                        let overhead = reach_overhead(&attributes, &context);
                        assert!((out.len()..=out.len() + 1).contains(&(overhead + nlri.len())));
                        let again = UpdateView::parse(self::frame(&out).body).unwrap();
                        assert_eq!(again.parse_attributes(&context).unwrap(), (attributes, vec![]));
                    } else if let Some(unreach) = view.unreach {
                        emit_unreach(&mut out, unreach.nlri);
                    }
                    assert_eq!(attribute_set(self::frame(&out).body), attribute_set(frame.body));
                    // GoBGP uses the short lengths that we use, only in another order; FRR uses long ones for two attributes.
                    assert_eq!(out.len() == message.len(), name.starts_with("gobgp"));
                }
                MessageType::Notification => {
                    Notification::parse(frame.body).unwrap().emit(&mut out);
                    assert_eq!(out, message);
                }
                MessageType::Keepalive => {
                    header::emit_keepalive(&mut out);
                    assert_eq!(out, message);
                }
                MessageType::RouteRefresh => unreachable!("none captured"),
            }
        }
    }
}

/// Decode, emit, decode: the second decode equals the first.
fn fixed_point(body: &[u8], context: &UpdateContext) {
    let Ok(view) = UpdateView::parse(body) else { return };
    let Ok::<(Attributes, Vec<AttributeError>), _>((attributes, _)) = view.parse_attributes(context) else { return };
    let (Some(reach), Some(_)) = (view.reach.filter(|reach| reach.is_evpn()), attributes.next_hop) else { return };
    let mut out = Vec::new();
    emit_reach(&mut out, &attributes, context, reach.nlri);
    let again = UpdateView::parse(header::frame(&out, 65535).unwrap().unwrap().body).unwrap();
    assert_eq!(again.reach.unwrap().nlri, reach.nlri);
    let (second, mistakes) = again.parse_attributes(context).unwrap();
    assert_eq!(mistakes, []);
    let mut onward = attributes.clone();
    onward.pass_on();
    assert_eq!(second, onward);
}

proptest! {
    /// Captured messages with octets changed, taken out and put in: never a panic, and what is accepted is emitted well.
    #[test]
    fn mutated_messages_are_survived(
        file in 0usize..4,
        index in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
        four_octet_as: bool,
        external: bool,
    ) {
        let messages = messages(FILES[file].1);
        let message = index.get(&messages);
        let mut body = frame(message).body.to_vec();
        for (at, octet, kind) in edits {
            if body.is_empty() {
                break;
            }
            let at = at.index(body.len());
            match kind {
                0 => body[at] = octet,
                1 => { body.remove(at); }
                _ => body.insert(at, octet),
            }
        }
        let _ = Open::parse(&body);
        let _ = Notification::parse(&body).map(|notification| notification.to_string());
        fixed_point(&body, &UpdateContext { four_octet_as, external });
        if let Ok(view) = UpdateView::parse(&body) {
            for nlri in [view.reach.map(|reach| reach.nlri), view.unreach.map(|unreach| unreach.nlri)].into_iter().flatten() {
                routes(nlri).flatten().for_each(|route| { let _ = route.to_string(); });
            }
        }
    }

    /// Octets of no origin, bare and with lengths before them that let the walk reach the attributes.
    #[test]
    fn random_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..400), four_octet_as: bool, external: bool) {
        let _ = header::frame(&octets, 65535);
        let _ = Open::parse(&octets);
        let _ = Notification::parse(&octets).map(|notification| notification.to_string());
        let _ = evpnd::wire::route_refresh::RouteRefresh::parse(&octets);
        routes(&octets).flatten().for_each(|route| { let _ = route.to_string(); });
        fixed_point(&octets, &UpdateContext { four_octet_as, external });
        let body = [&[0, 0], &(octets.len() as u16).to_be_bytes()[..], &octets].concat();
        fixed_point(&body, &UpdateContext { four_octet_as, external });
    }
}
