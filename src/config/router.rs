//! `[router]`, `[vxlan]`, `[control]`, `[metrics]`, `[duplicate-detection]` and `[limits]`: what a file says once.

use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use toml::Spanned;

use crate::base::{Asn, BgpIdentifier};

use super::model::{Control, DuplicateDetection, Limits, Metrics, Neighbor, NeighborAddress, Router, Vxlan};
use super::names::{BRIDGE_DEFAULT, DEVICE_DEFAULT, template};
use super::reader::{Section, parsed};
use super::report::Mistakes;

/// The MTUs that can be asked for, in octets: from what every IPv4 host accepts (RFC 1122 §3.3.2) to what a 16-bit IP
/// length leaves after the 50 octets of VXLAN over IPv4 (RFC 7348 §5).
pub(super) const MTU: RangeInclusive<u32> = 576..=65485;
/// Room for a path in `sockaddr_un`, less the closing zero (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// An AS number, as a number or in the notation of RFC 5396.
pub(super) fn asn(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Spanned<Asn>> {
    if section.is_string("asn") {
        return section.parsed("asn", "an AS number", "write asn = 65000", mistakes);
    }
    let number = section.integer("asn", 1..=u32::MAX, "an AS number", mistakes)?;
    Some(Spanned::new(number.span(), Asn(*number.get_ref())))
}

/// An MTU in octets.
pub(super) fn mtu(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<u32> {
    section.integer("mtu", MTU, "an MTU in octets", mistakes).map(Spanned::into_inner)
}

/// Notes an address that no single host can have as its own.
pub(super) fn host_address(key: &str, address: &Spanned<IpAddr>, mistakes: &mut Mistakes) {
    let why = match address.get_ref() {
        address if address.is_unspecified() => "stands for any address",
        address if address.is_multicast() => "is a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "is the broadcast address",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "is an IPv4 address written as IPv6",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "is a link-local address, which means nothing without an interface",
        _ => return,
    };
    let message = format!("{key} = \"{}\" {why}", address.get_ref());
    mistakes.add(address.span(), message, "expected the address of one host", "write a global or private unicast address");
}

/// What `[router]` says, before it is known what the rest of the file needs of it.
pub(super) struct RouterDraft {
    pub asn: Option<Asn>,
    pub router_id: Option<BgpIdentifier>,
    pub vtep: Option<Spanned<IpAddr>>,
    /// There is a `[router]`, and no `vtep` in it.
    pub vtep_missing: bool,
    listen: Option<Spanned<Vec<IpAddr>>>,
    listen_port: u16,
    state_directory: PathBuf,
    span: Range<usize>,
}

impl RouterDraft {
    /// Where no `[router]` is.
    pub fn missing() -> Self {
        Self {
            asn: None,
            router_id: None,
            vtep: None,
            vtep_missing: false,
            listen: None,
            listen_port: 179,
            state_directory: PathBuf::from("/var/lib/evpnd"),
            span: 0..0,
        }
    }

    /// Reads the section.
    pub fn read(section: &Section<'_>, mistakes: &mut Mistakes) -> Self {
        let mut draft = Self { span: section.span(), vtep_missing: section.has("vtep").is_none(), ..Self::missing() };
        // A misspelt key is one mistake, not two.
        if section.has("asn").is_none() && mistakes.is_empty() {
            mistakes.add(
                section.span(),
                "asn is missing in [router]",
                "expected asn in this section",
                "write asn = 65000, the AS number of this host",
            );
        }
        draft.asn = asn(section, mistakes).map(Spanned::into_inner);
        let help = "write an IPv4 address of this host, such as router-id = \"10.0.0.1\"";
        draft.router_id =
            section.parsed("router-id", "a router-id (four octets, not 0.0.0.0)", help, mistakes).map(Spanned::into_inner);
        let help = "write the tunnel address of this host, such as vtep = \"10.0.0.1\"";
        draft.vtep = section.parsed("vtep", "an IP address", help, mistakes);
        if let Some(vtep) = &draft.vtep {
            host_address("vtep", vtep, mistakes);
            if vtep.get_ref().is_loopback() {
                mistakes.add(
                    vtep.span(),
                    "the VTEP cannot be a loopback address",
                    "expected an address that other hosts reach",
                    "write the tunnel address of this host, such as vtep = \"10.0.0.1\"",
                );
            }
        }
        if let Some(list) = section.strings("listen", "IP addresses", true, mistakes) {
            let span = list.span();
            let help = "write addresses of this host, or \"0.0.0.0\" and \"::\" for all of them";
            let mut addresses = Vec::new();
            for text in list.get_ref() {
                let Some(address) = parsed::<IpAddr>("listen", text, "an IP address", help, mistakes) else { continue };
                if addresses.contains(address.get_ref()) {
                    mistakes.add(
                        address.span(),
                        format!("listen names {} twice", address.get_ref()),
                        "already in the list",
                        "take one away",
                    );
                } else {
                    addresses.push(address.into_inner());
                }
            }
            draft.listen = Some(Spanned::new(span, addresses));
        }
        if let Some(port) = section.integer("listen-port", 1..=65535, "a TCP port", mistakes) {
            draft.listen_port = port.into_inner() as u16;
        }
        if let Some(path) = section.path("state-directory", mistakes) {
            draft.state_directory = path.into_inner();
        }
        draft
    }

    /// The section with what the neighbors need, checked against them. `places` says where each neighbor stands.
    pub fn finish(self, neighbors: &[Neighbor], places: &[Range<usize>], mistakes: &mut Mistakes) -> Option<Router> {
        let vtep = self.vtep.as_ref().map(|vtep| *vtep.get_ref());
        let router_id = self.router_id.or(match vtep {
            Some(IpAddr::V4(v4)) => Some(BgpIdentifier(v4)),
            _ => None,
        });
        if router_id.is_none() && mistakes.is_empty() {
            let (span, why) = match &self.vtep {
                Some(vtep) => (vtep.span(), "router-id is missing, and cannot be taken from an IPv6 VTEP"),
                None => (self.span.clone(), "router-id is missing, and there is no VTEP to take it from"),
            };
            let help = "write router-id = \"10.0.0.1\" in [router]: four octets, unique in the AS";
            mistakes.add(span, why, "expected a router-id in [router]", help);
        }
        let wants = |v6: bool| neighbors.iter().any(|neighbor| is_ipv6(&neighbor.who) == v6);
        let listen = match &self.listen {
            Some(given) => {
                for (neighbor, place) in neighbors.iter().zip(places) {
                    let heard = given.get_ref().iter().any(|address| address.is_ipv6() == is_ipv6(&neighbor.who));
                    if neighbor.passive && !heard {
                        let family = if is_ipv6(&neighbor.who) { "IPv6" } else { "IPv4" };
                        mistakes.add_pair(
                            place.clone(),
                            format!("neighbor {} can never come up: it has to connect to us over {family}", neighbor.who),
                            "only accepted, never connected to",
                            format!("add an {family} address to listen in [router], or take passive away"),
                            (given.span(), &format!("no {family} address here")),
                        );
                    }
                }
                given.get_ref().clone()
            }
            None => {
                let any = [("::", wants(true)), ("0.0.0.0", wants(false))];
                any.iter().filter(|(_, wanted)| *wanted).filter_map(|(text, _)| text.parse().ok()).collect()
            }
        };
        Some(Router {
            asn: self.asn?,
            router_id: router_id?,
            vtep,
            listen,
            listen_port: self.listen_port,
            state_directory: self.state_directory,
        })
    }
}

fn is_ipv6(who: &NeighborAddress) -> bool {
    match who {
        NeighborAddress::Address(address) => address.is_ipv6(),
        NeighborAddress::ListenRange(range) => range.addr().is_ipv6(),
    }
}

/// Reads `[vxlan]`.
pub(super) fn vxlan(section: Option<&Section<'_>>, mistakes: &mut Mistakes) -> Vxlan {
    let (device, bridge) = (DEVICE_DEFAULT.to_owned(), BRIDGE_DEFAULT.to_owned());
    let mut vxlan = Vxlan {
        port: 4789,
        device,
        bridge,
        mtu: None,
        audit_interval_secs: 60,
        nexthop_groups: false,
        adopt: super::adopt::Adopt::default(),
    };
    let Some(section) = section else { return vxlan };
    if let Some(port) = section.integer("port", 1..=65535, "a UDP port", mistakes) {
        vxlan.port = port.into_inner() as u16;
    }
    if let Some(name) = template(section, "device", mistakes) {
        vxlan.device = name;
    }
    if let Some(name) = template(section, "bridge", mistakes) {
        vxlan.bridge = name;
    }
    vxlan.mtu = mtu(section, mistakes);
    if let Some(seconds) = section.integer("audit-interval", 0..=86_400, "a number of seconds, or 0 for never", mistakes) {
        vxlan.audit_interval_secs = seconds.into_inner();
    }
    vxlan.nexthop_groups = section.boolean("nexthop-groups", mistakes).is_some_and(Spanned::into_inner);
    vxlan.adopt = super::adopt::adopt(section, mistakes);
    vxlan
}

/// Reads `[control]`.
pub(super) fn control(section: Option<&Section<'_>>, mistakes: &mut Mistakes) -> Control {
    let mut control = Control { socket: PathBuf::from("/run/evpnd/evpnd.sock"), group: None };
    let Some(section) = section else { return control };
    if let Some(path) = section.path("socket", mistakes) {
        if path.get_ref().as_os_str().len() > SOCKET_PATH_MAX {
            let expected = format!("expected at most {SOCKET_PATH_MAX} octets");
            mistakes.add(path.span(), "the path of the socket is too long for the kernel", expected, "write a shorter path");
        }
        control.socket = path.into_inner();
    }
    if let Some(group) = section.string("group", "the name of a group", mistakes) {
        let name = *group.get_ref();
        if name.is_empty() || name.len() > 64 || name.contains(|c: char| c.is_control() || c == ':' || c == '/') {
            let message = format!("group = {name:?} is not the name of a group");
            mistakes.add(
                group.span(),
                message,
                "expected the name of a group of this host",
                "leave it out to let root only use the socket",
            );
        }
        control.group = Some(name.to_owned());
    }
    control
}

/// Reads `[metrics]`.
pub(super) fn metrics(section: Option<&Section<'_>>, mistakes: &mut Mistakes) -> Metrics {
    let mut metrics = Metrics::default();
    let what = "addresses with ports";
    let Some(list) = section.and_then(|section| section.strings("listen", what, true, mistakes)) else { return metrics };
    let help = "write listen = \"127.0.0.1:9179\", or \"[::]:9179\" for every address of this host";
    for text in list.get_ref() {
        let Some(at) = parsed::<SocketAddr>("listen", text, "an address with a port", help, mistakes) else { continue };
        let at = *at.get_ref();
        let twice = metrics.listen.contains(&at);
        if twice || at.port() == 0 {
            let why = if twice { "stands in the list already" } else { "names no port" };
            mistakes.add(text.span(), format!("listen = \"{at}\" {why}"), format!("expected {what}"), help);
        }
        metrics.listen.push(at);
    }
    metrics
}

/// Reads `[duplicate-detection]`.
pub(super) fn duplicates(section: Option<&Section<'_>>, mistakes: &mut Mistakes) -> DuplicateDetection {
    let mut rule = DuplicateDetection::default();
    let Some(section) = section else { return rule };
    // Each move is remembered with its time, so their number bounds what is kept of a MAC.
    if let Some(moves) = section.integer("moves", 0..=1000, "a number of moves, 0 for no detection", mistakes) {
        rule.moves = moves.into_inner();
    }
    if let Some(seconds) = section.integer("seconds", 1..=86_400, "a number of seconds", mistakes) {
        rule.window_secs = seconds.into_inner();
    }
    if let Some(action) = section.string("action", "what to do with a duplicate", mistakes) {
        match *action.get_ref() {
            "warn" => rule.freeze = false,
            "freeze" => rule.freeze = true,
            other => mistakes.add(
                action.span(),
                format!("action = {other:?} is not an action"),
                "expected \"warn\" or \"freeze\"",
                "write \"warn\" to be told of duplicates, or \"freeze\" to keep them where they are as well",
            ),
        }
    }
    let what = "a number of seconds, 0 for until an operator clears it";
    if let Some(seconds) = section.integer("recovery-seconds", 0..=604_800, what, mistakes) {
        rule.recovery_secs = Some(seconds.into_inner()).filter(|seconds| *seconds > 0);
    }
    rule
}

impl Default for DuplicateDetection {
    /// N = 5 and M = 180 s (RFC 7432 §15.1), told of, for three times M: long enough that a loop or a clone is no flood of
    /// lines, short enough that a mistake that was mended needs nobody to remember what it froze.
    fn default() -> Self {
        Self { moves: 5, window_secs: 180, freeze: false, recovery_secs: Some(540) }
    }
}

/// Reads `[limits]`.
pub(super) fn limits(section: Option<&Section<'_>>, mistakes: &mut Mistakes) -> Limits {
    let mut limits = Limits::default();
    let Some(section) = section else { return limits };
    let mut set = |key: &str, most: u32, what: &str, to: &mut u32| {
        if let Some(value) = section.integer(key, 1..=most, what, mistakes) {
            *to = value.into_inner();
        }
    };
    set("dynamic-neighbors", 60_000, "a number of neighbors", &mut limits.dynamic_neighbors);
    set("pending-connections", 60_000, "a number of connections", &mut limits.pending_connections);
    let octets = "a number of octets";
    set("attribute-octets-per-neighbor", u32::MAX, octets, &mut limits.attribute_octets_per_neighbor);
    set("routes-per-neighbor", u32::MAX, "a number of routes", &mut limits.routes_per_neighbor);
    set("local-macs-per-vni", u32::MAX, "a number of MACs", &mut limits.local_macs_per_vni);
    set("local-macs-per-port", u32::MAX, "a number of MACs", &mut limits.local_macs_per_port);
    set("remote-macs-per-vni", u32::MAX, "a number of MACs", &mut limits.remote_macs_per_vni);
    // The number of a route distinguisher has 16 bits, and every VNI needs its own (RFC 7432 §7.9).
    set("vnis", 65535, "a number of VNIs", &mut limits.vnis);
    set("control-connections", 10_000, "a number of connections", &mut limits.control_connections);
    set("on-demand-rows", u32::MAX, "a number of rows", &mut limits.on_demand_rows);
    // A better one must fit beside the one that it replaces.
    for (key, what, to) in [
        ("ips-per-mac", "a number of routes", &mut limits.ips_per_mac),
        ("paths-per-route", "a number of paths", &mut limits.paths_per_route),
    ] {
        if let Some(value) = section.integer(key, 2..=65_535, what, mistakes) {
            *to = value.into_inner();
        }
    }
    if let Some(value) = section.integer("event-buffer", 4096..=1 << 30, "a number of octets", mistakes) {
        limits.event_buffer = value.into_inner();
    }
    limits
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            dynamic_neighbors: 4096,
            pending_connections: 1024,
            routes_per_neighbor: 4_000_000,
            attribute_octets_per_neighbor: 256 << 20,
            local_macs_per_vni: 100_000,
            // A port may lead to a whole network of switches, but never fill the VNI alone.
            local_macs_per_port: 50_000,
            // As many as were measured (docs/PERFORMANCE.md).
            remote_macs_per_vni: 1 << 20,
            // A router or a host of containers has hundreds; each costs a comparison whenever the MAC changes.
            ips_per_mac: 256,
            // One from each reflector and from the host itself; thousands can only be an attack.
            paths_per_route: 64,
            vnis: 4096,
            control_connections: 64,
            event_buffer: 128 << 20,
            on_demand_rows: 1 << 16,
        }
    }
}
