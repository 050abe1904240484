//! What must not come up from a bridge of ours, or from one of somebody's where we turned IPv6 on (`ipv6`), to this host, dropped by a filter. That is all of IPv6, which is on where a bridge holds the
//! neighbours that ND is answered from. And of IPv4 what is sent to everybody at a port of VXLAN: the kernel's VXLAN socket takes datagrams
//! from any interface, so that a tenant could have its frames come out in any other VNI.
//! The filter is looked for whenever the kernel tells of filters that went or changed or of a VXLAN device with another port, and with each
//! audit; where it cannot be put back, IPv6 is turned off. Only a bridge that somebody gave an IPv6 address may be without: it is a gateway.
//! While it has the filter that address is not announced (`host`).

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use super::bpf::{HEADER_LEN, IF_AT_LEAST, IF_EQUAL, IF_SET, LOAD_BYTE, LOAD_HALF, LOAD_HALF_AFTER, LOAD_WORD, RETURN};
use super::codec::{self, Message};
use super::links::LinkKind;
use super::request::{KernelSaid, Requests};
use super::setup;
use super::worker::Worker;
use crate::base::Vni;
use crate::fib::KernelEvent;

/// The group of notifications of qdiscs and filters.
pub(super) const RTNLGRP_TC: u32 = libc::RTNLGRP_TC;
/// `TC_H_CLSACT`, the number that its qdisc has, and where its filters on what comes in hang (`include/uapi/linux/pkt_sched.h`).
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const CLSACT_INGRESS: u32 = 0xffff_fff2;
const CLSACT_EGRESS: u32 = 0xffff_fff3;
/// `TCA_BPF_OPS_LEN`, `TCA_BPF_OPS`, `TCA_BPF_FLAGS` and `TCA_BPF_FLAG_ACT_DIRECT` (`include/uapi/linux/pkt_cls.h`).
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;
const TCA_BPF_FLAGS: u16 = 8;
const ACT_DIRECT: u32 = 1;
/// How an interface comes by its link-local address, and that it gets none (`IN6_ADDR_GEN_MODE_NONE`, `include/uapi/linux/if_link.h`).
const GEN_MODE: &str = "addr_gen_mode";
const GEN_MODE_NONE: &str = "1";
/// `TC_ACT_SHOT`: the frame is dropped.
const SHOT: u32 = 2;
/// `TC_ACT_UNSPEC`: the next filter says.
const GO_ON: u32 = u32::MAX;
/// Our filter: of all protocols, tagged with VLAN 0 as well, at the first place.
const FILTER_INFO: u32 = 1 << 16 | (libc::ETH_P_ALL as u16).to_be() as u32;
/// The one of an earlier version in its place: of IPv6 alone. A place has one protocol.
const OLD_FILTER_INFO: u32 = 1 << 16 | (libc::ETH_P_IPV6 as u16).to_be() as u32;
/// `SKF_AD_VLAN_TAG`: the tag that the kernel took out of the frame, or 0.
const VLAN_TAG: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG) as u32;
/// The ports that VXLAN has nearly everywhere (RFC 7348 §8, and Linux' own), and how many the filter has room for.
const USUAL_PORTS: [u16; 2] = [4789, 8472];
const PORTS: usize = 32;
/// The lines of its program before the first port.
const HEAD: usize = 15;
/// Its number.
const FILTER_HANDLE: u32 = 1;
/// `struct tcmsg`, in octets; its interface is at 4.
const TCMSG: usize = 20;

fn header(out: &mut Vec<u8>, ifindex: u32, handle: u32, parent: u32, info: u32) {
    out.extend_from_slice(&[0; 4]);
    for number in [ifindex, handle, parent, info] {
        out.extend_from_slice(&number.to_ne_bytes());
    }
}

/// The program of the filter.
fn instructions(ports: &BTreeSet<u16>) -> Vec<u8> {
    let count = ports.len() as u8;
    // Where the two ends stand, for a jump from line `at`.
    let go_on = |at: u8| HEAD as u8 + count - at - 1;
    let drop = |at: u8| go_on(at) + 1;
    let mut lines = vec![
        (LOAD_WORD, 0, 0, VLAN_TAG),
        // A VLAN other than 0 is an interface of somebody's, not the bridge.
        (IF_SET, go_on(1), 0, 0x0fff),
        (LOAD_HALF, 0, 0, 12),
        (IF_EQUAL, drop(3), 0, libc::ETH_P_IPV6 as u32),
        // Behind a tag of VLAN 0 a second one: the stack would take that off as well.
        (IF_EQUAL, drop(4), 0, libc::ETH_P_8021Q as u32),
        (IF_EQUAL, drop(5), 0, libc::ETH_P_8021AD as u32),
        (IF_EQUAL, 0, go_on(6), libc::ETH_P_IP as u32),
        (LOAD_BYTE, 0, 0, 23),
        (IF_EQUAL, 0, go_on(8), libc::IPPROTO_UDP as u32),
        // To everybody by its address, or by its MAC. What one asks a gateway to pass on is its own affair.
        (LOAD_WORD, 0, 0, 30),
        (IF_AT_LEAST, 2, 0, 0xe000_0000),
        (LOAD_BYTE, 0, 0, 0),
        (IF_SET, 0, go_on(12), 1),
        (HEADER_LEN, 0, 0, 14),
        (LOAD_HALF_AFTER, 0, 0, 16),
    ];
    lines.extend(ports.iter().zip(HEAD as u8..).map(|(port, at)| (IF_EQUAL, drop(at), 0, u32::from(*port))));
    lines.extend([(RETURN, 0, 0, GO_ON), (RETURN, 0, 0, SHOT)]);
    let octets =
        |(code, yes, no, value): (u16, u8, u8, u32)| code.to_ne_bytes().into_iter().chain([yes, no]).chain(value.to_ne_bytes());
    lines.into_iter().flat_map(octets).collect()
}

/// Puts the filter at a bridge. What is bridged, and what `neigh_suppress` answers, is not seen by it.
///
/// # Errors
/// What the kernel said.
fn close(requests: &mut Requests, ifindex: u32, ports: &BTreeSet<u16>) -> Result<(), KernelSaid> {
    let qdisc = requests.change(libc::RTM_NEWQDISC, libc::NLM_F_CREATE | libc::NLM_F_EXCL, |out| {
        header(out, ifindex, CLSACT_HANDLE, CLSACT, 0);
        codec::text(out, libc::TCA_KIND, "clsact");
    });
    match qdisc {
        // From an earlier run, or somebody's with filters of its own.
        Err(said) if said.errno != libc::EEXIST => return Err(said),
        _ => {}
    }
    let program = instructions(ports);
    // Not exclusively: what somebody has put in its place gives way.
    let put = |requests: &mut Requests| {
        requests.change(libc::RTM_NEWTFILTER, libc::NLM_F_CREATE, |out| {
            header(out, ifindex, FILTER_HANDLE, CLSACT_INGRESS, FILTER_INFO);
            codec::text(out, libc::TCA_KIND, "bpf");
            codec::nested(out, libc::TCA_OPTIONS, |out| {
                codec::attribute(out, TCA_BPF_OPS_LEN, &((program.len() / 8) as u16).to_ne_bytes());
                codec::attribute(out, TCA_BPF_OPS, &program);
                codec::attribute(out, TCA_BPF_FLAGS, &ACT_DIRECT.to_ne_bytes());
            });
        })
    };
    match put(requests) {
        Err(said) if said.errno == libc::EINVAL => {
            requests.change(libc::RTM_DELTFILTER, 0, |out| header(out, ifindex, 0, CLSACT_INGRESS, OLD_FILTER_INFO))?;
            put(requests)
        }
        done => done,
    }
}

/// Puts the filter at a bridge, then turns IPv6 on there, without an address and without router advertisements. On somebody's bridge
/// (not `made`) the latter are left to the filter.
///
/// # Errors
/// What the kernel said; IPv6 is then as it was.
pub(super) fn open_to_nd(
    requests: &mut Requests,
    name: &str,
    ifindex: u32,
    made: bool,
    ports: &BTreeSet<u16>,
) -> Result<(), KernelSaid> {
    close(requests, ifindex, ports)?;
    let ours = [("accept_ra", "0"), ("forwarding", "0")];
    // One of ours was made so.
    let theirs = [(GEN_MODE, GEN_MODE_NONE)];
    let before: &[(&str, &str)] = if made { &ours } else { &theirs };
    for (key, value) in before.iter().chain(&[("disable_ipv6", "0")]) {
        write(name, key, value)?;
    }
    Ok(())
}

/// Undoes that on somebody's bridge: IPv6 off, addresses made as on any new interface, our filter gone, its qdisc as well where nobody else
/// has a filter there. IPv6 stays on where somebody gave the bridge an address meanwhile, which would go with it.
///
/// # Errors
/// What the kernel said; the filter stays where IPv6 does.
pub(super) fn undo(requests: &mut Requests, name: &str, ifindex: u32) -> Result<(), KernelSaid> {
    if has_ipv6(name).is_none() {
        return Ok(());
    }
    if !is_gateway(requests, ifindex) {
        write(name, "disable_ipv6", "1")?;
        let usual = fs::read_to_string(setting("default", GEN_MODE)).unwrap_or_default();
        write(name, GEN_MODE, usual.trim())?;
    }
    // Somebody may have taken it away while evpnd was not running.
    if !stands_with_any_ports(requests, ifindex) {
        return Ok(());
    }
    requests.change(libc::RTM_DELTFILTER, 0, |out| header(out, ifindex, FILTER_HANDLE, CLSACT_INGRESS, FILTER_INFO))?;
    for parent in [CLSACT_INGRESS, CLSACT_EGRESS] {
        let others = requests.dump(libc::RTM_GETTFILTER, |out| header(out, ifindex, 0, parent, 0), |_| Some(()))?;
        if !others.is_empty() {
            return Ok(());
        }
    }
    requests.change(libc::RTM_DELQDISC, 0, |out| header(out, ifindex, CLSACT_HANDLE, CLSACT, 0))
}

/// A setting of IPv6 at an interface.
fn setting(name: &str, key: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{name}/{key}")
}

fn write(name: &str, key: &str, value: &str) -> Result<(), KernelSaid> {
    let path = setting(name, key);
    fs::write(&path, value)
        .map_err(|error| KernelSaid { errno: error.raw_os_error().unwrap_or(libc::EIO), text: format!("{path}: {error}") })
}

/// Whether IPv6 is on at an interface; `None`: there is no such interface, or no IPv6 in this kernel.
pub(super) fn has_ipv6(name: &str) -> Option<bool> {
    fs::read_to_string(setting(name, "disable_ipv6")).ok().map(|text| text.trim() == "0")
}

/// Whether the filter stands as we write it. An answer that is none counts as no.
fn stands(requests: &mut Requests, ifindex: u32, ports: &BTreeSet<u16>) -> bool {
    read(requests, ifindex, |body| is_ours(body, ports))
}

/// Whether a filter of ours stands, of any run.
pub(super) fn stands_with_any_ports(requests: &mut Requests, ifindex: u32) -> bool {
    read(requests, ifindex, |body| is_ours(body, &ports_of(body)))
}

fn read(requests: &mut Requests, ifindex: u32, judge: impl Fn(&[u8]) -> bool) -> bool {
    let body = |out: &mut Vec<u8>| {
        header(out, ifindex, FILTER_HANDLE, CLSACT_INGRESS, FILTER_INFO);
        codec::text(out, libc::TCA_KIND, "bpf");
    };
    requests.get(libc::RTM_GETTFILTER, body, |message| Some(judge(message.body))).ok().flatten().unwrap_or(false)
}

fn find(octets: &[u8], wanted: u16) -> Option<&[u8]> {
    codec::attributes(octets).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// The ports that a program compares with, if it is ours: of each line the number at the end, between the head and the two ends.
fn ports_of(body: &[u8]) -> BTreeSet<u16> {
    let options = find(body.get(TCMSG..).unwrap_or_default(), libc::TCA_OPTIONS).unwrap_or_default();
    let lines: Vec<&[u8]> = find(options, TCA_BPF_OPS).unwrap_or_default().chunks_exact(8).collect();
    let compared = lines.get(HEAD..lines.len().saturating_sub(2)).unwrap_or_default();
    compared.iter().filter_map(|line| codec::u32_at(line, 4)?.try_into().ok()).take(PORTS).collect()
}

/// Whether the body of an `RTM_NEWTFILTER` describes our filter.
fn is_ours(body: &[u8], ports: &BTreeSet<u16>) -> bool {
    let Some(options) = find(body.get(TCMSG..).unwrap_or_default(), libc::TCA_OPTIONS) else { return false };
    let flags = find(options, TCA_BPF_FLAGS).and_then(codec::u32_of).unwrap_or(0);
    find(options, TCA_BPF_OPS) == Some(&instructions(ports)) && flags & ACT_DIRECT != 0
}

/// Whether somebody gave the bridge an IPv6 address: it is the guests' gateway, and who took the filter away meant it.
fn is_gateway(requests: &mut Requests, ifindex: u32) -> bool {
    let global = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if !v6.is_unicast_link_local());
    setup::addresses(requests, libc::AF_INET6).unwrap_or_default().iter().any(|(index, ip)| *index == ifindex && global(ip))
}

/// The usual ports and these, as many as the filter has room for.
fn ports(of_devices: impl Iterator<Item = u16>) -> BTreeSet<u16> {
    let mut ports = BTreeSet::from(USUAL_PORTS);
    for port in of_devices {
        if ports.len() < PORTS {
            ports.insert(port);
        }
    }
    ports
}

impl Worker {
    /// A qdisc or a filter went, or another came: is it about a bridge of ours?
    pub(super) fn handle_filter(&mut self, message: &Message<'_>) {
        if let Some(ifindex) = codec::u32_at(message.body, 4).filter(|ifindex| self.bridges.contains_key(ifindex)) {
            self.unfiltered.insert(ifindex);
            self.note_own(Some(ifindex));
        }
    }

    /// Whether the filter is kept at the bridge of a VNI: it is ours, or we turned IPv6 on there.
    pub(super) fn keeps_closed(&self, vni: Vni, bridge: u32) -> bool {
        let opened = self.managed.get(&vni).is_some_and(|managed| managed.opened == Some(bridge));
        self.links.link(bridge).is_some_and(|link| (link.made || opened) && matches!(link.kind, LinkKind::Bridge { .. }))
    }

    /// The ports of all VXLAN devices of this host, whoever's.
    pub(super) fn vxlan_ports(&self) -> BTreeSet<u16> {
        ports(self.links.all_vxlans().filter_map(|link| match &link.kind {
            LinkKind::Vxlan(info) => Some(info.port),
            _ => None,
        }))
    }

    /// A VXLAN device came or changed: its port may be one that no filter knows yet. One that goes is left in them until the next audit.
    pub(super) fn note_port(&mut self, port: u16) {
        self.ports_changed |= !self.ports.contains(&port);
    }

    /// Looks at the bridges that are new or whose filters changed, or at every one: where that is asked for (`all`), and where VXLAN has
    /// another port on this host than they know.
    pub(super) fn keep_closed(&mut self, all: bool) {
        let mut concerned = std::mem::take(&mut self.unfiltered);
        let changed = std::mem::take(&mut self.ports_changed);
        if concerned.is_empty() && !all && !changed {
            return;
        }
        let ports = self.vxlan_ports();
        if all || changed && ports != self.ports {
            concerned.extend(self.bridges.keys());
        }
        self.ports.clone_from(&ports);
        for ifindex in concerned {
            let Some(&vni) = self.bridges.get(&ifindex) else { continue };
            if !self.keeps_closed(vni, ifindex) {
                continue;
            }
            let name = self.links.name(ifindex);
            if !stands(&mut self.requests, ifindex, &ports) {
                let grown = stands_with_any_ports(&mut self.requests, ifindex);
                // Whoever makes the bridge a gateway takes the filter away; where it stands it is to know every port.
                if grown || !is_gateway(&mut self.requests, ifindex) {
                    self.close(vni, ifindex, &name, &ports, grown);
                }
            }
            // It stood, or was tried: from now on, with these ports, it is missed.
            self.closed.insert(ifindex, ports.clone());
        }
    }

    /// Puts the filter at a bridge. Where one of ours stands there that knows other ports (`grown`), VXLAN has others than it had, and
    /// nobody took anything away.
    fn close(&mut self, vni: Vni, ifindex: u32, name: &str, ports: &BTreeSet<u16>, grown: bool) {
        let open = has_ipv6(name) == Some(true);
        let missed = self.closed.get(&ifindex) == Some(ports);
        let what = match close(&mut self.requests, ifindex, ports) {
            Ok(()) if missed || open && !grown => format!("the filter that keeps tenants of {name} from this host put back"),
            Ok(()) => return,
            Err(said) if open => {
                let off = write(name, "disable_ipv6", "1");
                tracing::warn!(
                    bridge = name,
                    error = said.text,
                    "the filter that keeps tenants from this host was taken away and cannot be put back: {}",
                    if off.is_ok() {
                        "IPv6 is turned off on the bridge, and ND is flooded"
                    } else {
                        "and IPv6 cannot be turned off"
                    }
                );
                format!("IPv6 turned off on {name}, for its filter cannot be put back ({})", said.text)
            }
            Err(said) => {
                if !missed {
                    tracing::warn!(
                        bridge = name,
                        error = said.text,
                        "what its tenants send to everybody at a port of VXLAN reaches this host's VXLAN socket: it cannot be \
                         dropped (a kernel with CONFIG_NET_CLS_BPF would do)"
                    );
                }
                return;
            }
        };
        self.out.push(KernelEvent::DeviceMended { vni, what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_known_however_many_devices_have_it() {
        let many = std::iter::repeat_n(4789, 4000).chain([60_300]);
        assert_eq!(ports(many), BTreeSet::from([4789, 8472, 60_300]));
        let all = ports(1..=1000);
        assert!(all.len() == PORTS && USUAL_PORTS.iter().all(|port| all.contains(port)));
    }

    #[test]
    fn another_program_in_its_place_is_not_ours() {
        let message = |ops: &[u8], flags: u32| {
            let mut body = Vec::new();
            header(&mut body, 7, FILTER_HANDLE, CLSACT_INGRESS, FILTER_INFO);
            codec::text(&mut body, libc::TCA_KIND, "bpf");
            codec::nested(&mut body, libc::TCA_OPTIONS, |out| {
                codec::attribute(out, TCA_BPF_OPS, ops);
                codec::attribute(out, TCA_BPF_FLAGS, &flags.to_ne_bytes());
            });
            body
        };
        let ports = BTreeSet::from(USUAL_PORTS);
        let ours = instructions(&ports);
        assert!(is_ours(&message(&ours, ACT_DIRECT), &ports));
        assert!(!is_ours(&message(&ours, 0), &ports), "its result would be a class");
        assert!(!is_ours(&message(&ours, ACT_DIRECT), &BTreeSet::from([4789])), "it knows other ports");
        let pass = [&ours[..ours.len() - 4], &[0; 4]].concat();
        assert!(!is_ours(&message(&pass, ACT_DIRECT), &ports), "it lets everything through");
        assert_eq!(ports_of(&message(&ours, ACT_DIRECT)), ports);
        assert!(!is_ours(&message(&pass, ACT_DIRECT), &ports_of(&message(&pass, ACT_DIRECT))));
        assert!(!is_ours(&[], &ports) && !is_ours(&[0; TCMSG], &ports));
    }
}
