//! The checks of `evpnctl doctor`: from what was seen to findings. Nothing is asked or done here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use evpnd::control::counters::REFUSALS;
use evpnd::control::{VIOLATED, VniView};
use evpnd::fib::device::IPV6_OFF;

use super::Finding;
use super::facts::{Facts, Link, overhead};
use super::firewall::Way;
use super::firewall::sockets::Open;
use super::limits::refused;

/// Names shown of a long list.
const SHOWN: usize = 5;

/// Every check, in the order of docs/DOCTOR.md.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let checks: [fn(&Facts, &mut Vec<Finding>); 21] = [
        daemon,
        sessions,
        vnis,
        rows,
        duplicates,
        leftovers,
        vtep_address,
        routes,
        answers,
        mtu,
        port_mtu,
        rp_filter,
        learning,
        joined,
        ports,
        isolation,
        injection,
        nd,
        rivals,
        firewall,
        host,
    ];
    let mut findings = Vec::new();
    for check in checks {
        check(facts, &mut findings);
    }
    findings.dedup();
    findings
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match all.len() {
        more if more > SHOWN => format!("{} and {} more", all[..SHOWN].join(", "), more - SHOWN),
        _ => all.join(", "),
    }
}

fn daemon(facts: &Facts, found: &mut Vec<Finding>) {
    if let Some(why) = &facts.no_daemon {
        found.push(Finding::new("daemon", why, "systemctl start evpnd; journalctl -u evpnd says why it ended"));
    }
    if facts.status.as_ref().is_some_and(|status| status.overflows > 3) {
        let what = "the kernel lost notifications more than three times: its event queue is too short";
        found.push(Finding::new("overflow", what, "give evpnd CAP_NET_ADMIN, or raise net.core.rmem_max"));
    }
}

fn sessions(facts: &Facts, found: &mut Vec<Finding>) {
    for neighbor in &facts.neighbors {
        if neighbor.state == "established" || neighbor.state == "disabled" {
            continue;
        }
        let why = neighbor.last_error.as_ref().map_or(String::new(), |why| format!(": {why}"));
        let what = format!("the session to {} is not up ({}){why}", neighbor.address, neighbor.state);
        let remedy =
            format!("ip route get {0}; is a BGP speaker at {0}, does it know this host, is TCP port 179 open?", neighbor.address);
        found.push(Finding::new("session", what, remedy).at(neighbor.address));
    }
}

fn vnis(facts: &Facts, found: &mut Vec<Finding>) {
    // Those with a VNI are told of below; an `external` one has none.
    let told = |warning: &String| {
        let of = |vni: &VniView| vni.warnings.contains(warning) || vni.reason.as_ref().is_some_and(|why| warning.contains(why));
        facts.vnis.iter().any(of)
    };
    let not_taken = facts.status.iter().flat_map(|status| &status.warnings).filter(|warning| warning.contains(" is not taken: "));
    for (what, remedy) in not_taken.filter(|warning| !told(warning)).filter_map(|warning| warning.split_once("; ")) {
        found.push(Finding::new("vni", what.to_owned(), remedy.to_owned()));
    }
    for vni in &facts.vnis {
        let what = format!("VNI {} is {}", vni.vni, vni.state);
        let mut tell = |what: String, remedy: String| found.push(Finding::new("vni", what, remedy).at(vni.vni));
        match (&vni.reason, vni.state.as_str()) {
            (Some(reason), _) => {
                let remedy = vni.remedy.clone().unwrap_or_else(|| "see the log".to_owned());
                tell(format!("{what}: {reason}"), remedy);
            }
            (None, "ready") => {}
            (None, "down") => tell(what, format!("ip link set {} up; ip link set {} up", vni.device, vni.bridge)),
            (None, _) => tell(what, "the kernel is asked for it: look again; journalctl -u evpnd".to_owned()),
        }
        for warning in vni.warnings.iter().filter(|warning| !warning.starts_with(IPV6_OFF)) {
            tell(format!("VNI {}: {warning}", vni.vni), format!("evpnctl show vnis {}", vni.vni));
        }
    }
}

fn rows(facts: &Facts, found: &mut Vec<Finding>) {
    let Some(status) = &facts.status else { return };
    if status.rows.failed > 0 {
        let what = format!("the kernel refuses {} rows: frames to these MACs are flooded or lost", status.rows.failed);
        found.push(Finding::new("rows", what, "evpnctl diff names them and the kernel's reason"));
    } else if facts.differences > 0 {
        let what = format!("the kernel differs from what it should hold in {} rows", facts.differences);
        found.push(Finding::new("rows", what, "evpnctl diff; who changes them? evpnd puts them back"));
    }
    let counter = |name: &str| status.counters.get(name).copied().unwrap_or_default();
    // Those of today, and not what the counter has seen since the daemon began.
    let fought = status.sizes.get("fib_rows_fought").copied().unwrap_or_default();
    if fought > 0 {
        let what = format!("somebody undoes rows of evpnd again and again ({fought} within the last two minutes)");
        let remedy = "journalctl -u evpnd names them; bridge monitor fdb and ip monitor neigh show when they are written, not by whom; \
                      find the program that writes them, and stop it";
        found.push(Finding::new("rivals", what, remedy));
    }
    for name in REFUSALS.into_iter().filter(|name| counter(name) > 0) {
        let (what, remedy) = refused(name);
        found.push(Finding::new("limits", format!("{} times so far: {what}: {name}", counter(name)), remedy).at(name));
    }
}

fn duplicates(facts: &Facts, found: &mut Vec<Finding>) {
    let warnings = facts.status.iter().flat_map(|status| &status.warnings);
    for warning in warnings.filter(|warning| warning.contains("at two hosts at once")) {
        found.push(Finding::new(
            "duplicates",
            warning.clone(),
            "find the cloned machine or the loop; then evpnctl clear duplicate",
        ));
    }
    let warnings = facts.status.iter().flat_map(|status| &status.warnings);
    for warning in warnings.filter(|warning| warning.starts_with("addresses of two MACs at once")) {
        let remedy = "give one of the two another address; then evpnctl clear duplicate";
        found.push(Finding::new("addresses", warning.clone(), remedy));
    }
    let warnings = facts.status.iter().flat_map(|status| &status.warnings);
    for warning in warnings.filter(|warning| warning.starts_with(VIOLATED)) {
        let remedy = "stop that guest, or give it another address: guests beside it may send to it what is for the other";
        found.push(Finding::new("addresses", warning.clone(), remedy));
    }
}

fn leftovers(facts: &Facts, found: &mut Vec<Finding>) {
    let warnings = facts.status.iter().flat_map(|status| &status.warnings);
    for (what, remedy) in warnings.filter_map(|warning| warning.strip_prefix("left over: ")?.rsplit_once("; ")) {
        found.push(Finding::new("leftovers", what, remedy));
    }
}

fn vtep_address(facts: &Facts, found: &mut Vec<Finding>) {
    let Some(vtep) = facts.local().filter(|_| !facts.links.is_empty()) else { return };
    match facts.links.iter().find(|link| link.addresses.contains(&vtep)) {
        None => found.push(Finding::new(
            "vtep-address",
            format!("the tunnel address {vtep} is on no interface of this host: others' tunnels end nowhere"),
            format!("ip address add {vtep} dev DEVICE, or mend `vtep` in [router]"),
        )),
        Some(link) if !link.up => found.push(
            Finding::new(
                "vtep-address",
                format!("{}, which has the tunnel address {vtep}, is down", link.name),
                format!("ip link set {} up", link.name),
            )
            .at(&link.name),
        ),
        Some(link) => {
            let name = &link.name;
            let (what, remedy) = match link.not_unique.get(&vtep) {
                Some(true) => (
                    format!(
                        "another host has the tunnel address {vtep} as well: {name} does not use it, and tunnels carry nothing"
                    ),
                    format!(
                        "find the other, give one of the two another address; where it is to stay here: ip address del {vtep} dev {name}, \
                         and add it again"
                    ),
                ),
                Some(false) => (
                    format!(
                        "the tunnel address {vtep} is tentative: {name} does not use it before it knows that nobody else has it"
                    ),
                    format!("look again in some seconds; where it stays so, has {name} a carrier? ip link show {name}"),
                ),
                None => return,
            };
            found.push(Finding::new("vtep-address", what, remedy).at(name));
        }
    }
}

fn routes(facts: &Facts, found: &mut Vec<Finding>) {
    let without: Vec<IpAddr> = facts.reach.iter().filter(|(_, reach)| reach.devices.is_empty()).map(|(vtep, _)| *vtep).collect();
    if !without.is_empty() {
        let what = format!("no route to the VTEPs {}: frames to their MACs are lost", list(&without));
        found.push(Finding::new("route", what, format!("ip route get {}; mend the underlay's routing", without[0])));
    }
}

fn answers(facts: &Facts, found: &mut Vec<Finding>) {
    let silent: Vec<IpAddr> =
        facts.reach.iter().filter(|(_, reach)| reach.answers == Some(false)).map(|(vtep, _)| *vtep).collect();
    if !silent.is_empty() {
        let what = format!("VTEPs {} are announced and do not answer a ping", list(&silent));
        found.push(Finding::new(
            "no-answer",
            what,
            "is the host down, or ICMP dropped on the way? Its routes go when its sessions do",
        ));
    }
}

fn mtu(facts: &Facts, found: &mut Vec<Finding>) {
    // One line for each underlay device, whatever the number of VNIs and VTEPs: what it carries, what is needed, what fits.
    let mut short: BTreeMap<&str, (u64, u64, u64, BTreeSet<&str>)> = BTreeMap::new();
    for (vtep, reach) in &facts.reach {
        for device in reach.devices.iter().filter_map(|name| facts.link(name)).filter(|link| link.name != "lo") {
            for tunnel in facts.tunnels().into_iter().filter(|tunnel| tunnel.mtu + overhead(*vtep) > device.mtu) {
                let fits = device.mtu.saturating_sub(overhead(*vtep));
                let (_, needs, room, names) = short.entry(&device.name).or_insert((device.mtu, 0, fits, BTreeSet::new()));
                *needs = tunnel.mtu.saturating_add(overhead(*vtep)).max(*needs);
                *room = fits.min(*room);
                names.insert(&tunnel.name);
            }
        }
    }
    for (device, (has, needs, room, tunnels)) in short {
        let names = list(&tunnels);
        let what =
            format!("packets of {names} may have {needs} octets, and {device} carries {has}: large frames of guests are lost");
        let lower = lower(facts, &tunnels, &room.to_string());
        let remedy = format!("ip link set {device} mtu {needs}, on every hop of the underlay as well; or {lower}");
        found.push(Finding::new("mtu", what, remedy).at(device));
    }
    for (vtep, reach) in &facts.reach {
        let device_too_small = reach.devices.iter().filter_map(|name| facts.link(name)).map(|link| link.mtu).min();
        let Some((size, false)) = reach.large else { continue };
        if device_too_small.is_some_and(|mtu| size > mtu) {
            continue;
        }
        let what =
            format!("packets of {size} octets do not get through to {vtep}, smaller ones do: large frames of guests are lost");
        let large = facts.tunnels().into_iter().filter(|tunnel| tunnel.mtu + overhead(*vtep) == size);
        let lower = lower(facts, &large.map(|tunnel| tunnel.name.as_str()).collect(), "N");
        let remedy = format!(
            "tracepath -n {vtep} names the hop; raise its MTU, or {lower} (N: what gets through, less {})",
            overhead(*vtep)
        );
        found.push(Finding::new("path-mtu", what, remedy).at(vtep));
    }
}

/// How tunnels get a smaller MTU: `mtu` is of devices that evpnd makes (docs/CONFIG.md), others are their owner's.
fn lower(facts: &Facts, tunnels: &BTreeSet<&str>, mtu: &str) -> String {
    let made = |name: &&str| facts.vnis.iter().any(|vni| vni.made_device && vni.device == *name);
    let (ours, others): (Vec<&str>, Vec<&str>) = tunnels.iter().partition(|name| made(name));
    let ours = (!ours.is_empty()).then(|| format!("`mtu = {mtu}` in [vxlan]"));
    let others = others.split_first().map(|(first, rest)| match rest {
        [] => format!("ip link set {first} mtu {mtu}"),
        rest => format!("ip link set {first} mtu {mtu}, and so {}", list(rest)),
    });
    ours.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

/// The other ports of a tunnel's bridge.
fn tenant_ports<'a>(facts: &'a Facts, tunnel: &'a Link) -> impl Iterator<Item = &'a Link> {
    facts.links.iter().filter(|link| link.master.is_some() && link.master == tunnel.master && link.name != tunnel.name)
}

fn port_mtu(facts: &Facts, found: &mut Vec<Finding>) {
    for tunnel in facts.tunnels() {
        let large: Vec<&Link> =
            tenant_ports(facts, tunnel).filter(|port| port.kind != "vxlan" && port.mtu > tunnel.mtu).collect();
        if let Some(first) = large.first() {
            let names = list(large.iter().map(|port| &port.name));
            let what = format!(
                "{names}: MTU {} at the port, {} in the tunnel {}: large frames are lost",
                first.mtu, tunnel.mtu, tunnel.name
            );
            let remedy = format!("give the guests an MTU of {0} (ip link set {1} mtu {0})", tunnel.mtu, first.name);
            found.push(Finding::new("port-mtu", what, remedy).at(&tunnel.name));
        }
    }
}

fn rp_filter(facts: &Facts, found: &mut Vec<Finding>) {
    // There is none of IPv6. What comes by any device that a route back has is taken, so a host with the same way to all drops nothing.
    let ways = facts.reach.iter().filter(|(vtep, _)| vtep.is_ipv4()).map(|(_, reach)| &reach.devices);
    let ways: BTreeSet<BTreeSet<&String>> = ways.map(|devices| devices.iter().collect()).collect();
    let devices: BTreeSet<&String> = ways.iter().flatten().copied().collect();
    if ways.len() < 2 || devices.len() < 2 {
        return;
    }
    let strict: Vec<&String> = devices.iter().filter(|name| facts.rp_filter.get(**name) == Some(&1)).copied().collect();
    if !strict.is_empty() {
        let what = format!(
            "rp_filter is strict on {}, and VTEPs are reached over {}, not all the same way: what one sends by another way is dropped",
            list(&strict),
            list(&devices)
        );
        found.push(Finding::new("rp-filter", what, format!("sysctl net.ipv4.conf.{}.rp_filter=2", strict[0])));
    }
}

fn learning(facts: &Facts, found: &mut Vec<Finding>) {
    // A daemon that runs has it as `learning` of the VNI says.
    if facts.no_daemon.is_none() {
        return;
    }
    // One with a group, or a single remote, floods and learns, and cannot do otherwise: `evpnctl migrate` is for it.
    let floods = |link: &Link| ["group", "group6", "remote", "remote6"].iter().any(|key| link.data[*key].is_string());
    for tunnel in facts.tunnels().into_iter().filter(|link| !floods(link)) {
        let mut tell = |what: String, remedy: String| found.push(Finding::new("learning", what, remedy).at(&tunnel.name));
        if tunnel.data["learning"] == true {
            let what = format!("{} learns MACs from tunnelled frames: whoever sends may take any MAC", tunnel.name);
            tell(what, format!("ip link set {} type vxlan nolearning", tunnel.name));
        } else if tunnel.port.as_ref().is_some_and(|port| port["learning"] == true) {
            let what = format!("the bridge learns at the port {}: frames of others move MACs behind the tunnel", tunnel.name);
            tell(what, format!("bridge link set dev {} learning off", tunnel.name));
        }
    }
}

/// Bridges that join segments. What the daemon serves is to stay.
fn joined(facts: &Facts, found: &mut Vec<Finding>) {
    let served = |link: &&Link| facts.vnis.iter().any(|vni| vni.is_here() && vni.device == link.name);
    for bridge in facts.bridges() {
        let ports = facts.links.iter().filter(|link| link.kind == "vxlan" && link.master.as_ref() == Some(&bridge.name));
        let (ours, others): (Vec<&Link>, Vec<&Link>) = ports.partition(served);
        let all: Vec<&String> = ours.iter().chain(&others).map(|link| &link.name).collect();
        let [.., last] = &all[..] else { continue };
        if all.len() < 2 {
            continue;
        }
        let many = if all.len() == 2 { "two".to_owned() } else { all.len().to_string() };
        let what = format!("{} joins {many} tunnels, {}: their segments are one, with loops", bridge.name, list(&all));
        let remedy = match ours.len() {
            1 => others.iter().map(|link| format!("ip link set {} nomaster", link.name)).collect::<Vec<_>>().join("; "),
            _ => format!("ip link set {last} nomaster, or another of them: the one that does not belong there"),
        };
        found.push(Finding::new("bridge", what, remedy).at(last));
    }
}

fn ports(facts: &Facts, found: &mut Vec<Finding>) {
    for tunnel in facts.tunnels() {
        let name = &tunnel.name;
        let bridge = tunnel.master.as_deref().and_then(|name| facts.link(name));
        let mut complain = |what: String, remedy: String| found.push(Finding::new("bridge", what, remedy).at(name));
        if let Some(port) = &tunnel.port {
            for (flag, wanted, words) in [
                ("isolated", false, "isolated ports cannot reach it"),
                ("flood", true, "unknown unicast does not enter the tunnel"),
                ("bcast_flood", true, "broadcast, ARP with it, does not enter the tunnel"),
                ("mcast_flood", true, "multicast, ND with it, does not enter the tunnel"),
                ("hairpin", false, "frames go back into the tunnel they came from"),
                ("locked", false, "nothing is forwarded that is not authorised"),
            ] {
                if port[flag].as_bool().is_some_and(|is| is != wanted) {
                    let want = if wanted { "on" } else { "off" };
                    complain(format!("{flag} is wrong at {name}: {words}"), format!("bridge link set dev {name} {flag} {want}"));
                }
            }
            // Of a device that is down, or whose bridge is, the kernel takes no other state ("Network is down").
            let down: Vec<&Link> = [Some(tunnel), bridge].into_iter().flatten().filter(|link| !link.up).collect();
            match port["state"].as_str() {
                None | Some("forwarding") => {}
                Some(state) if down.is_empty() => complain(
                    format!("the bridge port {name} is {state}: nothing passes"),
                    format!("bridge link set dev {name} state forwarding; is STP on?"),
                ),
                Some(_) if facts.vnis.iter().any(|vni| vni.device == *name && tells_down(vni)) => {}
                Some(state) => {
                    let up: Vec<String> = down.iter().map(|link| format!("ip link set {} up", link.name)).collect();
                    let which = list(down.iter().map(|link| &link.name));
                    complain(
                        format!("the bridge port {name} is {state}, because {which} is down: nothing passes"),
                        up.join("; "),
                    );
                }
            }
        }
        if let Some(bridge) = bridge.filter(|bridge| bridge.data["vlan_filtering"] == 1) {
            let what = format!("the bridge {} filters VLANs, which this version does not serve", bridge.name);
            complain(what, format!("ip link set {} type bridge vlan_filtering 0", bridge.name));
        }
        let stopped: Vec<&Link> = tenant_ports(facts, tunnel).filter(|link| !link.up).collect();
        if let Some(first) = stopped.first() {
            let what = format!(
                "ports of {} are down: {}",
                tunnel.master.as_deref().unwrap_or_default(),
                list(stopped.iter().map(|link| &link.name))
            );
            complain(what, format!("ip link set {} up", first.name));
        }
    }
}

/// Whether the `vni` line of a VNI says that its device or bridge is down.
fn tells_down(vni: &VniView) -> bool {
    vni.is_here() && (vni.state == "down" || vni.warnings.iter().any(|warning| warning.contains(" is down: ")))
}

fn isolation(facts: &Facts, found: &mut Vec<Finding>) {
    // Frames of guests get to the host by the bridge alone: those that a port takes in never see the port's own addresses, and a
    // tunnel without a bridge has its addresses by right (docs/CONFIG.md).
    for bridge in facts.bridges() {
        let name = &bridge.name;
        let mut tell = |what: String, remedy: String| found.push(Finding::new("isolation", what, remedy).at(name));
        let (link_local, own): (Vec<IpAddr>, Vec<IpAddr>) = bridge.addresses.iter().copied().partition(|address| match address {
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
            IpAddr::V4(_) => false,
        });
        let closed = facts.closed_to_ipv6.contains(name);
        let reach = |addresses: &[IpAddr]| {
            let reached: Vec<&IpAddr> = addresses.iter().filter(|address| address.is_ipv4() || !closed).collect();
            match &reached[..] {
                [] => "nothing but evpnd's filter keeps guests from this host there".to_owned(),
                reached if reached.len() == addresses.len() => "guests reach this host by it".to_owned(),
                reached => format!("guests reach this host by {}", list(reached)),
            }
        };
        let is_gateway = facts.is_meant(name) && !own.is_empty();
        if facts.rp_filter.get(name).is_some_and(|mode| *mode != 1) {
            let what = match is_gateway {
                // By their own addresses they reach all of this host that its packet filter lets them.
                true => format!("{name} takes packets from guests in the name of any address (rp_filter)"),
                false => format!("{name} takes packets to any address of this host from guests that know its MAC (rp_filter)"),
            };
            let remedy = format!(
                "sysctl net.ipv4.conf.{name}.rp_filter=1 net.ipv4.conf.{name}.arp_ignore=1, with net.ipv4.conf.all.rp_filter at most 1"
            );
            tell(what, remedy);
        }
        if is_gateway {
            continue;
        }
        if !own.is_empty() {
            let what = format!("{name} has the address {}: {}", list(&own), reach(&own));
            let vni = facts.vnis.iter().find(|vni| vni.bridge == *name);
            let meant = vni
                .map_or_else(String::new, |vni| format!("`announce-own = true` for VNI {} or in [vni-defaults], or ", vni.vni));
            let remedy = format!(
                "ip address del {} dev {name}; where it is meant, as the guests' gateway is: {meant}--ignore isolation:{name}",
                own[0]
            );
            tell(what, remedy);
        } else if !link_local.is_empty() {
            let what = format!("IPv6 is on at {name} ({}): {}", list(&link_local), reach(&link_local));
            // Where the bridge answers ND it needs IPv6, and no address.
            let answers = facts.tunnels().iter().any(|tunnel| {
                tunnel.master.as_ref() == Some(name) && tunnel.port.as_ref().is_some_and(|port| port["neigh_suppress"] == true)
            });
            let remedy = if answers {
                format!(
                    "ip link set {name} addrgenmode none; ip -6 address flush dev {name} scope link; and so that they reach no other \
                     address of this host: {}",
                    guard(std::slice::from_ref(name), "meta nfproto ipv6")
                )
            } else {
                format!("sysctl net.ipv6.conf.{name}.disable_ipv6=1")
            };
            tell(what, remedy);
        }
    }
}

/// Commands that keep what matches from this host, where it comes from a bridge, by whichever of its names. What is bridged is not seen by
/// the rule.
fn guard(devices: &[String], matches: &str) -> String {
    format!(
        "nft add table inet guard; nft add chain inet guard input '{{ type filter hook input priority -10; }}'; \
         nft add rule inet guard input 'iifname {} {matches} drop'",
        set(devices.iter().map(|name| format!("\"{name}\"")))
    )
}

/// One item, or a set of them, as nft takes it.
fn set(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    match &items[..] {
        [one] => one.clone(),
        _ => format!("{{ {} }}", items.join(", ")),
    }
}

fn injection(facts: &Facts, found: &mut Vec<Finding>) {
    for Open { bridge, devices, ports, by, by_all } in &facts.open_sockets {
        let address = (!by.is_empty()).then(|| format!("by its address {}", list(by)));
        let all = by_all.then(|| "by what they send to everybody".to_owned());
        let how: Vec<String> = address.into_iter().chain(all).collect();
        let what = format!(
            "guests of {bridge} reach the sockets of this host's tunnels (UDP port {}) {}: frames of theirs come out in whichever VNI \
             they name",
            list(ports),
            how.join(" and ")
        );
        let matches = format!("udp dport {}", set(ports.iter().map(u16::to_string)));
        found.push(Finding::new("injection", what, guard(devices, &matches)).at(bridge));
    }
}

fn nd(facts: &Facts, found: &mut Vec<Finding>) {
    for vni in &facts.vnis {
        let off = vni.warnings.iter().filter(|warning| warning.starts_with(IPV6_OFF));
        for (what, remedy) in off.filter_map(|warning| warning.split_once("; ")) {
            found.push(Finding::new("nd", format!("VNI {}: {what}", vni.vni), remedy).at(&vni.bridge));
        }
    }
}

fn rivals(facts: &Facts, found: &mut Vec<Finding>) {
    if !facts.rivals.is_empty() {
        let what = format!("other control planes run beside evpnd: {}", list(&facts.rivals));
        found.push(Finding::new(
            "rivals",
            what,
            "let one of them own the tunnels: stop the other, or take l2vpn evpn out of its configuration; --ignore rivals, where it has none",
        ));
    }
}

fn firewall(facts: &Facts, found: &mut Vec<Finding>) {
    for obstacle in &facts.obstacles {
        let chain = &obstacle.by.chain;
        let who = obstacle.by.handle.map_or_else(|| "its policy".to_owned(), |handle| format!("its rule with handle {handle}"));
        let whom = if obstacle.all { "other hosts".to_owned() } else { list(&obstacle.vteps) };
        let port = obstacle.port;
        let (what, lost) = match obstacle.way {
            Way::In => (format!("drops UDP port {port} from {whom}"), "tunnels from there do not arrive"),
            Way::Out => (format!("drops UDP port {port} to {whom}"), "tunnels do not get there"),
            Way::Through => {
                let what = format!("frames between guests pass {chain}, which drops them ({who}; bridge-nf-call-iptables)");
                found.push(Finding::new("br-netfilter", what, "sysctl net.bridge.bridge-nf-call-iptables=0"));
                continue;
            }
            Way::Bridged => {
                let bridges = list(&obstacle.bridges);
                let what =
                    format!("{chain} drops ARP between guests of {bridges} and the tunnel ({who}): they reach nobody elsewhere");
                let remedy = format!(
                    "nft -a list chain {chain}; nft insert rule {chain} ether type arp accept, and so what else is to pass"
                );
                found.push(Finding::new("firewall", what, remedy));
                continue;
            }
        };
        let own = chain.rsplit(' ').next().unwrap_or_default();
        let remedy = match obstacle.by.handle {
            _ if chain.split(' ').nth(1) == Some("firewalld") && obstacle.way == Way::In => {
                format!("firewall-cmd --permanent --add-port={port}/udp, with the --zone of the underlay; firewall-cmd --reload")
            }
            _ if own.starts_with("ufw-") && obstacle.way == Way::In => format!("ufw allow {port}/udp"),
            Some(_) => format!("nft -a list chain {chain}; nft insert rule {chain} udp dport {port} accept"),
            None => format!("nft add rule {chain} udp dport {port} accept"),
        };
        found.push(Finding::new("firewall", format!("{chain} {what} ({who}): {lost}"), remedy));
    }
}

fn host(facts: &Facts, found: &mut Vec<Finding>) {
    if facts.bad_checksums > 0 {
        let what = format!("{} UDP datagrams came with a wrong checksum just now and were dropped", facts.bad_checksums);
        let remedy =
            "a sender's offload is broken: on it, ethtool -K DEVICE tx-udp_tnl-csum-segmentation off tx-udp_tnl-segmentation off";
        found.push(Finding::new("checksum", what, remedy));
    }
    if facts.clock == Some(false) {
        let what = "the clock is not synchronised: logs of two hosts cannot be compared";
        found.push(Finding::new("clock", what, "systemctl enable --now systemd-timesyncd, or chrony"));
    }
}
