//! The draft as a whole: what groups say stands with each neighbor, the tunnel address is found, VNIs are named. What cannot be
//! known is left for the operator to fill in, in a way that `evpnd check` refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::{Asn, Vni};

use super::draft::{Draft, MaxRoutes, Options, RemoteAs};
use super::finding::{Finding, Verdict, carried, not_carried, not_needed};
use super::{Device, Host};

/// What stands where only the operator knows what should: no address, and no number.
pub(super) const FILL_IN: &str = "FILL IN";
/// The most ranges of neighbors that are carried.
const RANGES: usize = 1000;
/// VNIs that `[limits]` allows unless told otherwise.
const VNIS: usize = 4096;
/// What `autort rfc8365-compatible` puts before the VNI: type 1 (VXLAN), domain 0 (RFC 8365 §5.1.2.1).
const RFC8365_VXLAN: u32 = 1 << 28;

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Number(u32),
    Truth(bool),
    Text(String),
    List(Vec<String>),
}

/// A key with its value, and a remark.
pub(super) type Key = (&'static str, Value, String);

/// A section to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub header: &'static str,
    pub keys: Vec<Key>,
}

impl Section {
    fn new(header: &'static str) -> Self {
        Self { header, keys: Vec::new() }
    }

    fn key(&mut self, key: &'static str, value: Value) {
        self.keys.push((key, value, String::new()));
    }

    fn number(&mut self, key: &'static str, value: Option<u32>) {
        if let Some(value) = value {
            self.key(key, Value::Number(value));
        }
    }
}

/// The sections of the new file, and what became of each line.
pub(super) fn finish(mut draft: Draft, host: &Host) -> (Vec<Section>, Vec<Finding>) {
    let here = is_here(&draft, host);
    let vtep = draft.all_vnis.map(|_| vtep(&draft, host, here));
    let address = vtep.as_ref().and_then(|(address, _)| *address);

    let mut router = Section::new("[router]");
    router.number("asn", draft.asn.map(|asn| asn.0));
    if let Some(id) = draft.router_id {
        router.key("router-id", Value::Text(id.to_string()));
    } else if !address.is_some_and(|address| address.is_ipv4()) {
        let remark = "the router-id that FRR chose: vtysh -c 'show bgp l2vpn evpn summary'".to_owned();
        router.keys.push(("router-id", Value::Text(FILL_IN.to_owned()), remark));
    }
    if let Some((address, remark)) = vtep {
        let text = address.map_or_else(|| FILL_IN.to_owned(), |address| address.to_string());
        router.keys.push(("vtep", Value::Text(text), remark));
    }
    cluster_id(&mut draft, address);

    let mut sections = vec![router];
    if draft.all_vnis.is_some() {
        let mut vxlan = Section::new("[vxlan]");
        vxlan.key("adopt", Value::Text("all".to_owned()));
        if !draft.l3_vnis.is_empty() {
            let all = all_but(draft.l3_vnis.keys().copied());
            vxlan.keys.push(("adopt-vnis", Value::Text(all), "not the L3 VNIs of VRFs".to_owned()));
        }
        sections.push(vxlan);
    }
    neighbors(&mut draft, host, address, &mut sections);
    let vnis = segments(&mut draft, host, here, &mut sections);
    timers_and_limits(&mut draft, vnis, &mut sections);
    (sections, draft.findings)
}

/// Whether a host can have it as its own, and others name it by it.
fn is_of_a_host(address: IpAddr) -> bool {
    let special = match address {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().is_some() || v6.is_unicast_link_local(),
    };
    !(special || address.is_unspecified() || address.is_multicast())
}

/// Whether the file is of this very host: an address of its is one of ours.
fn is_here(draft: &Draft, host: &Host) -> bool {
    let own: BTreeSet<IpAddr> = host.addresses.iter().map(|(_, address)| *address).filter(|ip| !ip.is_loopback()).collect();
    let id = draft.router_id.map(|id| IpAddr::V4(id.0));
    let set = draft.addresses.values().flatten().map(|net| net.addr());
    let sources = draft.peers.iter().filter_map(|peer| peer.options.source.as_ref()?.0.parse().ok());
    id.into_iter().chain(host.vtep).chain(set).chain(sources).any(|address| own.contains(&address))
}

/// The tunnel address, with how we know; `None`: we do not.
fn vtep(draft: &Draft, host: &Host, here: bool) -> (Option<IpAddr>, String) {
    if let Some(address) = host.vtep {
        return (Some(address), String::new());
    }
    if here {
        let of = |device: &Device| device.local.filter(|local| is_of_a_host(*local)).map(|local| (local, device.name.clone()));
        let locals: BTreeMap<IpAddr, String> = host.devices.iter().filter_map(of).collect();
        if let (1, Some((address, device))) = (locals.len(), locals.first_key_value()) {
            return (Some(*address), format!("the local address of {device}"));
        }
        if locals.len() > 1 {
            let all: Vec<String> = locals.keys().map(IpAddr::to_string).collect();
            return (None, format!("devices of this host have several local addresses ({}); evpnd has one", all.join(", ")));
        }
    }
    let id = draft.router_id.map(|id| IpAddr::V4(id.0));
    let of_loopbacks = draft.addresses.iter().filter(|(name, _)| *name == "lo" || name.starts_with("dummy"));
    let loopbacks: BTreeSet<IpAddr> = of_loopbacks
        .flat_map(|(_, nets)| nets)
        .map(|net| net.addr())
        .filter(|ip| !ip.is_loopback() && is_of_a_host(*ip))
        .collect();
    let found = if loopbacks.len() == 1 { loopbacks.first().copied() } else { id.filter(|id| loopbacks.contains(id)) };
    if let Some(address) = found {
        return (Some(address), "the address of the loopback".to_owned());
    }
    if let Some(id) = id.filter(|id| here && host.addresses.iter().any(|(_, address)| address == id)) {
        return (Some(id), "an address of this host, and the router-id".to_owned());
    }
    (None, "this host's tunnel address: the local address of its VXLAN devices (ip -d link show type vxlan)".to_owned())
}

/// evpnd's cluster id is its router-id.
fn cluster_id(draft: &mut Draft, vtep: Option<IpAddr>) {
    let own = draft.router_id.map(|id| IpAddr::V4(id.0)).or(vtep);
    if let Some((id, finding)) = draft.cluster_id.filter(|(id, _)| own != Some(IpAddr::V4(id.0))) {
        let why = format!("evpnd's cluster id is its router-id, and not {id}");
        let instead = "nothing: reflectors of one cluster then take one another's routes as well, which costs memory only";
        draft.change(finding, not_carried(why, instead));
    }
}

fn neighbors(draft: &mut Draft, host: &Host, vtep: Option<IpAddr>, sections: &mut Vec<Section>) {
    let mut groups_in_use = BTreeSet::new();
    for index in 0..draft.peers.len() {
        let peer = &draft.peers[index];
        if peer.is_group {
            continue;
        }
        let findings = peer.findings.clone();
        match neighbor(draft, host, vtep, index) {
            Ok(section) => {
                groups_in_use.extend(draft.peers[index].group.clone());
                sections.push(section);
            }
            Err(verdict) => draft.lose(&findings, &verdict),
        }
    }
    let ranges = std::mem::take(&mut draft.ranges);
    let mut taken = Vec::new();
    for range in &ranges {
        let overlaps = |other: &ipnet::IpNet| other.contains(&range.range) || range.range.contains(other);
        let outcome = if taken.iter().any(overlaps) || taken.len() == RANGES {
            Err(not_carried("it overlaps with another range, or there are too many", "write ranges that are disjoint"))
        } else {
            members(draft, host, &range.group, &range.range)
        };
        match outcome {
            Ok(section) => {
                taken.push(range.range);
                groups_in_use.insert(range.group.clone());
                sections.push(section);
            }
            Err(verdict) => draft.change(range.finding, verdict),
        }
    }
    for index in 0..draft.peers.len() {
        let peer = &draft.peers[index];
        if peer.is_group && !groups_in_use.contains(&peer.name) {
            let findings = peer.findings.clone();
            let verdict =
                not_carried("no neighbor for EVPN is in this group", "keep the group with FRR, where it has other neighbors");
            draft.lose(&findings, &verdict);
        }
    }
}

/// The options of a group, or why there are none.
fn group<'a>(draft: &'a Draft, name: &str) -> Result<&'a Options, Verdict> {
    let peer = draft.by_name.get(name).map(|index| &draft.peers[*index]).filter(|peer| peer.is_group);
    peer.map(|peer| &peer.options).ok_or_else(|| {
        not_carried(format!("there is no peer-group {:.40}", super::lines::tame(name)), "write a [[neighbor]] by hand")
    })
}

/// One neighbor with its group's options.
fn neighbor(draft: &mut Draft, host: &Host, vtep: Option<IpAddr>, index: usize) -> Result<Section, Verdict> {
    let peer = &draft.peers[index];
    let options = match &peer.group {
        Some(name) => peer.options.clone().over(group(draft, name)?),
        None => peer.options.clone(),
    };
    if !options.activated.unwrap_or(draft.all_speak_evpn) {
        return Err(not_carried("it is not activated in l2vpn evpn: no neighbor for evpnd", "keep it with FRR"));
    }
    if peer.is_interface {
        return Err(not_carried(
            "BGP unnumbered: a neighbor by its interface",
            "name the other end by an address: give the link one, or take the loopback of the switch (address, asn, multihop)",
        ));
    }
    let Ok(address) = peer.name.parse::<IpAddr>() else {
        return Err(not_carried("it has no address", "write a [[neighbor]] with its address: names are not resolved"));
    };
    if !is_of_a_host(address) || Some(address) == vtep {
        return Err(not_carried(
            "no neighbor of evpnd's can have this address: it is link-local, this host's, or no host's",
            "name the neighbor by a global or private address",
        ));
    }
    let mut section = Section::new("[[neighbor]]");
    section.key("address", Value::Text(address.to_string()));
    keys(draft, host, &options, address.is_ipv6(), false, &mut section)?;
    Ok(section)
}

/// Whoever connects from a range.
fn members(draft: &mut Draft, host: &Host, name: &str, range: &ipnet::IpNet) -> Result<Section, Verdict> {
    let options = group(draft, name)?.clone();
    if !options.activated.unwrap_or(draft.all_speak_evpn) {
        return Err(not_carried("its group is not activated in l2vpn evpn: no neighbors for evpnd", "keep it with FRR"));
    }
    let mut section = Section::new("[[neighbor]]");
    section.key("listen-range", Value::Text(range.to_string()));
    keys(draft, host, &options, range.addr().is_ipv6(), true, &mut section)?;
    Ok(section)
}

/// What the options say, as keys.
fn keys(draft: &mut Draft, host: &Host, options: &Options, v6: bool, range: bool, section: &mut Section) -> Result<(), Verdict> {
    let own = draft.asn.unwrap_or(Asn(0));
    let mut internal = false;
    match options.asn {
        Some((RemoteAs::Internal, _)) => internal = true,
        Some((RemoteAs::Number(asn), _)) if asn == own => internal = true,
        Some((RemoteAs::Number(asn), _)) => section.key("asn", Value::Number(asn.0)),
        Some((RemoteAs::External, finding)) => {
            let remark = "its AS: vtysh -c 'show bgp l2vpn evpn summary'".to_owned();
            section.keys.push(("asn", Value::Text(FILL_IN.to_owned()), remark));
            let instead = "write the number where the new file says FILL IN";
            draft.change(finding, not_carried("evpnd wants the number of a neighbor's AS", instead));
        }
        None => return Err(not_carried("it has no remote-as", "write a [[neighbor]] with its asn")),
    }
    if let Some((source, finding)) = &options.source {
        match source_address(draft, host, source, v6) {
            Some(address) => section.key("local-address", Value::Text(address.to_string())),
            None => {
                let why = "which address of this family the interface has is not known here";
                draft.change(*finding, not_carried(why, "write local-address = \"…\" into [[neighbor]]"));
            }
        }
    }
    if !range {
        section.number("port", options.port.map(u32::from));
        section.number("connect-retry", options.connect_retry.map(u32::from));
        if options.passive == Some(true) {
            section.key("passive", Value::Truth(true));
        }
    }
    let hold_time = options.hold_time.or(draft.hold_time).or(draft.datacenter.then_some(9));
    section.number("hold-time", hold_time.map(u32::from));
    if let Some(password) = &options.password {
        section.key("password", Value::Text(password.clone()));
    }
    if let Some(hops) = options.ttl_security {
        section.number("ttl-security", Some(hops.into()));
    } else if !internal {
        section.number("multihop", options.multihop.map(u32::from));
    }
    if internal && options.client == Some(true) {
        section.key("route-reflector-client", Value::Truth(true));
    }
    if options.graceful == Some(false) {
        section.key("graceful-restart", Value::Truth(false));
    }
    if let Some(MaxRoutes::Close(most)) = options.max_routes {
        section.number("max-routes", Some(most));
    }
    if let Some(description) = options.description.as_ref().filter(|text| !text.is_empty()) {
        section.key("description", Value::Text(description.clone()));
    }
    if options.enabled == Some(false) || draft.shut_down {
        section.key("enabled", Value::Truth(false));
    }
    Ok(())
}

/// The address behind `update-source`.
fn source_address(draft: &Draft, host: &Host, source: &str, v6: bool) -> Option<IpAddr> {
    let fits = |address: &IpAddr| address.is_ipv6() == v6 && !address.is_loopback() && is_of_a_host(*address);
    if let Ok(address) = source.parse::<IpAddr>() {
        return Some(address).filter(fits);
    }
    let of_host = host.addresses.iter().filter(|(name, _)| name == source).map(|(_, address)| *address);
    draft.addresses_of(source).chain(of_host).find(|address| fits(address))
}

/// The VNIs, and how many there are.
fn segments(draft: &mut Draft, host: &Host, here: bool, sections: &mut Vec<Section>) -> usize {
    let vnis = std::mem::take(&mut draft.vnis);
    let Some(all) = draft.all_vnis else {
        let verdict = not_needed("without advertise-all-vni FRR announces no VNI either");
        vnis.iter().for_each(|vni| draft.lose(&vni.findings, &verdict));
        return 0;
    };
    if draft.flooding_disabled {
        let mut defaults = Section::new("[vni-defaults]");
        defaults.key("flood", Value::Text("none".to_owned()));
        sections.push(defaults);
    }
    let mut count = 0;
    let mut seen = BTreeSet::new();
    let low = draft.asn.map_or(0, |asn| asn.0 & 0xffff);
    let automatic = |vni: Vni| vec![format!("{low}:{}", RFC8365_VXLAN | vni.get())];
    for vni in &vnis {
        if draft.l3_vnis.contains_key(&vni.vni) {
            draft.lose(&vni.findings, &not_carried("it is the L3 VNI of a VRF", "keep FRR on hosts that route"));
            continue;
        }
        let mut section = Section::new("[[vni]]");
        section.number("id", Some(vni.vni.get()));
        if let Some(rd) = &vni.rd {
            section.key("rd", Value::Text(rd.clone()));
        }
        if !vni.import.is_empty() {
            section.key("import", Value::List(vni.import.clone()));
        }
        if !vni.export.is_empty() {
            section.key("export", Value::List(vni.export.clone()));
        } else if draft.rfc8365_targets.is_some() {
            section.key("export", Value::List(automatic(vni.vni)));
        }
        seen.insert(vni.vni);
        count += 1;
        sections.push(section);
    }
    // The others are adopted as they are found, and have nothing of their own but this.
    let on_host: BTreeSet<Vni> = host.devices.iter().filter(|_| here).map(|device| device.vni).collect();
    let more: Vec<Vni> = on_host.into_iter().filter(|vni| !seen.contains(vni) && !draft.l3_vnis.contains_key(vni)).collect();
    count += more.len();
    if let Some(finding) = draft.rfc8365_targets {
        if !here {
            let why =
                "VNIs that are not named in the new file export the plain form, and which ones the host has is not in this file";
            draft.change(finding, not_carried(why, "run this on the host itself, or write a [[vni]] with export for each"));
        }
        for vni in &more {
            let mut section = Section::new("[[vni]]");
            section.number("id", Some(vni.get()));
            section.key("export", Value::List(automatic(*vni)));
            sections.push(section);
        }
    }
    draft.change(all, carried("[vxlan] adopt"));
    count
}

/// Every VNI but those of VRFs, as ranges.
fn all_but(vnis: impl Iterator<Item = Vni>) -> String {
    let (mut pieces, mut next) = (Vec::new(), 1);
    for vni in vnis.map(Vni::get).chain([Vni::MAX + 1]) {
        match vni.checked_sub(next) {
            Some(0) | None => {}
            Some(1) => pieces.push(next.to_string()),
            Some(_) => pieces.push(format!("{next}-{}", vni - 1)),
        }
        next = vni + 1;
    }
    pieces.join(",")
}

fn timers_and_limits(draft: &mut Draft, vnis: usize, sections: &mut Vec<Section>) {
    let graceful = draft.graceful;
    let mut section = Section::new("[graceful-restart]");
    if graceful.disabled {
        section.key("enabled", Value::Truth(false));
    }
    section.number("restart-time", graceful.restart_time);
    section.number("stale-time", graceful.stale_time);
    if let Some((seconds, finding)) = graceful.long_lived {
        if graceful.disabled {
            draft.change(finding, not_carried("long-lived graceful restart goes with graceful restart, which is off", "nothing"));
        } else {
            section.number("long-lived-stale-time", Some(seconds));
        }
    }
    let mut duplicates = Section::new("[duplicate-detection]");
    duplicates.number("moves", draft.duplicates.moves);
    duplicates.number("seconds", draft.duplicates.seconds);
    if let Some(seconds) = draft.duplicates.freeze {
        duplicates.key("action", Value::Text("freeze".to_owned()));
        duplicates.number("recovery-seconds", Some(seconds));
    }
    let mut limits = Section::new("[limits]");
    limits.number("dynamic-neighbors", draft.listen_limit);
    limits.number("vnis", (vnis > VNIS).then_some(vnis as u32));
    sections.extend([section, duplicates, limits].into_iter().filter(|section| !section.keys.is_empty()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vni_but_some() {
        let all_but = |vnis: &[u32]| super::all_but(vnis.iter().filter_map(|vni| Vni::new(*vni)));
        assert_eq!(all_but(&[]), "1-16777215");
        assert_eq!(all_but(&[1, 2, 4, 4001, 16_777_215]), "3,5-4000,4002-16777214");
    }
}
