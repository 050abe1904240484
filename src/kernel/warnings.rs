//! What does not work as it should with a device that can be used, in words, each with the command that mends it. Pure; `devices` says what
//! cannot be used at all.

use std::net::IpAddr;

use super::devices::{Circumstances, Soft, make_again, port_flags, tells_misses};
use super::links::{Link, VxlanInfo};
use crate::fib::DeviceSpec;
use crate::fib::device::IPV6_OFF;

/// How a device is to be made that lets questions through.
const WITHOUT_PROXY: &str = "without proxy (of OpenStack's agent: arp_responder = false)";

/// Why IPv6 is off at a bridge that was to take neighbours of IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ipv6Off {
    /// Somebody turned it off (`disable_ipv6`).
    Setting,
    /// This kernel has none.
    Missing,
    /// It was not turned on because what tenants send to the host by it could not be blocked: the kernel's words.
    Unblocked(String),
}

/// Says so. A device without a bridge is the host's own, which needs no IPv6 neighbours where it has no IPv6.
pub(super) fn ipv6_off(spec: &DeviceSpec, bridge: &Link, why: &Ipv6Off) -> Option<String> {
    if spec.bare {
        return None;
    }
    let name = &bridge.name;
    let effect = if spec.questions {
        "so that it takes no neighbours of IPv6: ND for hosts elsewhere is neither answered nor flooded, and guests find none of them"
    } else {
        "so that it takes no neighbours of IPv6: ND for hosts elsewhere is flooded, not answered here"
    };
    let on = format!("sysctl -w net.ipv6.conf.{name}.disable_ipv6=0");
    Some(match why {
        Ipv6Off::Setting if bridge.made || spec.fix => format!("{IPV6_OFF}{name}, {effect}; {on}"),
        Ipv6Off::Setting => format!(
            "{IPV6_OFF}{name}, {effect}; `fix-devices = true` in [vxlan] turns it on, behind a filter that keeps tenants from this host; \
             or ip link set {name} addrgenmode none; {on}"
        ),
        Ipv6Off::Missing => format!("{IPV6_OFF}{name}, for this kernel has none, {effect}; boot it without ipv6.disable"),
        Ipv6Off::Unblocked(text) => format!(
            "{IPV6_OFF}{name}, for what its tenants would send to this host could not be blocked ({text}), {effect}; a kernel with \
             CONFIG_NET_CLS_BPF"
        ),
    })
}

/// Addresses of the bridge that our own filter keeps from guests, and how the host becomes their gateway all the same.
fn shut_off(bridge: &Link, addresses: &[IpAddr]) -> Option<String> {
    if addresses.is_empty() {
        return None;
    }
    let name = &bridge.name;
    let which = addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    let whose = if bridge.made { "evpnd made this bridge, and" } else { "evpnd turned IPv6 on at this bridge, and" };
    Some(format!(
        "guests do not reach {which} on {name}, and it is not announced: {whose} drops all IPv6 from it to this host; to be their gateway \
         by IPv6 as well, take the filter away, which evpnd then leaves so: tc filter del dev {name} ingress pref 1; or have the address on \
         a bridge of your own, which evpnd adopts"
    ))
}

/// What will not work although rows can be written, each with the command that mends it.
pub(super) fn warnings(spec: &DeviceSpec, link: &Link, info: &VxlanInfo, bridge: &Link, known: &Circumstances) -> Vec<String> {
    let name = &link.name;
    let mut out = Vec::new();
    let both = [link, bridge].into_iter().take(if spec.bare { 1 } else { 2 });
    for down in both.filter(|link| !link.up) {
        out.push(format!("{0} is down: ip link set {0} up", down.name));
    }
    let on_off = |on: bool| if on { "on" } else { "off" };
    if info.learning != spec.learning {
        let word = if spec.learning { "learning" } else { "nolearning" };
        out.push(format!(
            "{name} has learning {} and the kernel did not let it be changed{}: ip link set {name} type vxlan {word}",
            on_off(info.learning),
            said(known, Soft::Learning)
        ));
    }
    // Where there is no bridge, it is what answers.
    let swallows = info.proxy && !spec.bare;
    if swallows && !spec.questions {
        // `arp_reduce`, `neigh_reduce` (`drivers/net/vxlan`): what they cannot answer from a neighbour of the device itself they drop.
        out.push(format!(
            "{name} answers ARP and ND by neighbours that somebody writes on the device itself, and lets no other question through \
             (proxy), so that hosts whose address nobody announced are not found; it cannot be changed while it stands: {}",
            make_again(spec, link, Some(bridge), WITHOUT_PROXY)
        ));
    }
    let group_mends = match (info.learning && !spec.learning, swallows) {
        (true, _) => Some(("learning", format!("ip link set {name} type vxlan nolearning"))),
        (false, true) => Some(("proxy", make_again(spec, link, Some(bridge), WITHOUT_PROXY))),
        // So it is wanted: its rows carry their destination, as the manual says.
        (false, false) => None,
    };
    if let Some((what, remedy)) = group_mends.filter(|_| spec.nexthop_groups) {
        out.push(format!(
            "the rows of {name} carry their destination, because kernels before 6.17 fall over nexthop groups on a device with \
             {what}: {remedy}"
        ));
    }
    if let Some(text) = known.failed.get(&Soft::Isolated) {
        out.push(format!("guests' ports of {} could not be isolated ({text}): their guests reach one another", bridge.name));
    }
    if !spec.bare && link.port != Some(port_flags(spec, link.port)) {
        out.push(format!(
            "the flags of bridge port {name} could not be set{}: bridge link set dev {name} learning {} neigh_suppress {}",
            said(known, Soft::Port),
            on_off(spec.learning),
            on_off(spec.neighbor_suppression)
        ));
    }
    if spec.on_demand && !tells_misses(info) {
        let why = if info.l2miss { "floods what it has no row for" } else { "was made without l2miss" };
        out.push(format!(
            "rows are all written, and not on demand, because {name} {why}, so that the kernel does not tell of it; none can be \
             changed while it stands: {}; or install = \"always\"",
            make_again(spec, link, Some(bridge), "with l2miss and without a group")
        ));
    }
    match info.local {
        None => out.push(format!(
            "{name} has no local address, so its packets leave with whatever address the route gives, \
             while other hosts are told {0}: ip link set {name} type vxlan local {0}",
            spec.local
        )),
        Some(local) if local != spec.local => out.push(format!(
            "{name} sends from {local}, while other hosts are told {0}: ip link set {name} type vxlan local {0}{1}",
            spec.local,
            said(known, Soft::Local)
        )),
        Some(_) => {}
    }
    if let (Some(group), true) = (spec.group, info.group != spec.group) {
        let floods = info.group.map_or_else(|| "to no group".to_owned(), |other| format!("to {other}"));
        out.push(format!(
            "{name} floods {floods}, and not to {group}: hosts that only hear the group are not reached; \
             ip link set {name} down; ip link set {name} type vxlan group {group} dev <underlay>; ip link set {name} up"
        ));
    } else if let Some(group) = info.group.filter(|_| spec.group.is_none()) {
        let what = if group.is_multicast() { "multicast group" } else { "default destination" };
        // Not while it is up: it would not leave the group, and kernels such as 5.10 lock up for good when it is then set
        // down (vxlan_stop → ip_mc_drop_socket takes the RTNL that is held).
        out.push(format!(
            "{name} still floods to its {what} {group} as well: \
             ip link set {name} down; ip link set {name} type vxlan remote {}; ip link set {name} up",
            unset(group)
        ));
    }
    if let Some(text) = known.failed.get(&Soft::Quiet) {
        out.push(format!(
            "IPv6 could not be turned off on {name} and {} ({text}), so a tenant may reach this host: \
             sysctl -w net.ipv6.conf.{name}.disable_ipv6=1 net.ipv6.conf.{}.disable_ipv6=1",
            bridge.name, bridge.name
        ));
    }
    if let Some(text) = known.failed.get(&Soft::Mtu) {
        out.push(format!("the MTU of {name} could not be set ({text})"));
    }
    out.extend(known.ipv6_off.as_ref().and_then(|why| ipv6_off(spec, bridge, why)));
    out.extend(shut_off(bridge, &known.shut_off));
    out
}

fn said(known: &Circumstances, soft: Soft) -> String {
    known.failed.get(&soft).map_or_else(String::new, |text| format!(" ({text})"))
}

fn unset(group: IpAddr) -> &'static str {
    if group.is_ipv4() { "0.0.0.0" } else { "::" }
}
