//! Bridges of ours on which IPv6 is on, so that they hold the neighbours that ND is answered from: a filter drops whatever of IPv6 comes up
//! from them to this host. IPv6 is never on without it: it is looked for whenever the kernel tells of filters that went or changed,
//! and with each audit; where it cannot be put back, IPv6 is turned off again. Only a bridge that somebody gave an IPv6 address may be
//! without: it is a gateway.

use std::fs;
use std::net::IpAddr;

use super::codec::{self, Message};
use super::links::{Link, LinkKind};
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
/// `TCA_BPF_OPS_LEN`, `TCA_BPF_OPS`, `TCA_BPF_FLAGS` and `TCA_BPF_FLAG_ACT_DIRECT` (`include/uapi/linux/pkt_cls.h`).
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;
const TCA_BPF_FLAGS: u16 = 8;
const ACT_DIRECT: u32 = 1;
/// `TC_ACT_SHOT`: the frame is dropped.
const SHOT: u32 = 2;
/// Our filter: protocol IPv6, at the first place.
const FILTER_INFO: u32 = 1 << 16 | (libc::ETH_P_IPV6 as u16).to_be() as u32;
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

/// The one instruction of the filter: return SHOT.
fn instructions() -> Vec<u8> {
    let ret = [(libc::BPF_RET | libc::BPF_K) as u16, 0];
    let mut ops: Vec<u8> = ret.iter().flat_map(|half| half.to_ne_bytes()).collect();
    ops.extend_from_slice(&SHOT.to_ne_bytes());
    ops
}

/// Has all IPv6 dropped that comes up from a bridge to this host (what is bridged, and what `neigh_suppress` answers, is not
/// seen by this filter), then turns IPv6 on there, without an address and without router advertisements.
///
/// # Errors
/// What the kernel said; IPv6 is then as it was.
pub(super) fn open_to_nd(requests: &mut Requests, name: &str, ifindex: u32) -> Result<(), KernelSaid> {
    let qdisc = requests.change(libc::RTM_NEWQDISC, libc::NLM_F_CREATE | libc::NLM_F_EXCL, |out| {
        header(out, ifindex, CLSACT_HANDLE, CLSACT, 0);
        codec::text(out, libc::TCA_KIND, "clsact");
    });
    match qdisc {
        // From an earlier run, or somebody's with filters of its own.
        Err(said) if said.errno != libc::EEXIST => return Err(said),
        _ => {}
    }
    // Not exclusively: what somebody has put in its place gives way.
    requests.change(libc::RTM_NEWTFILTER, libc::NLM_F_CREATE, |out| {
        header(out, ifindex, FILTER_HANDLE, CLSACT_INGRESS, FILTER_INFO);
        codec::text(out, libc::TCA_KIND, "bpf");
        codec::nested(out, libc::TCA_OPTIONS, |out| {
            codec::attribute(out, TCA_BPF_OPS_LEN, &1u16.to_ne_bytes());
            codec::attribute(out, TCA_BPF_OPS, &instructions());
            codec::attribute(out, TCA_BPF_FLAGS, &ACT_DIRECT.to_ne_bytes());
        });
    })?;
    for (key, value) in [("accept_ra", "0"), ("forwarding", "0"), ("disable_ipv6", "0")] {
        write(name, key, value)?;
    }
    Ok(())
}

fn write(name: &str, key: &str, value: &str) -> Result<(), KernelSaid> {
    let path = format!("/proc/sys/net/ipv6/conf/{name}/{key}");
    fs::write(&path, value)
        .map_err(|error| KernelSaid { errno: error.raw_os_error().unwrap_or(libc::EIO), text: format!("{path}: {error}") })
}

/// Whether IPv6 is on at an interface.
fn has_ipv6(name: &str) -> bool {
    fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6")).is_ok_and(|text| text.trim() == "0")
}

/// Whether the filter stands as we write it. An answer that is none counts as no.
fn stands(requests: &mut Requests, ifindex: u32) -> bool {
    let body = |out: &mut Vec<u8>| {
        header(out, ifindex, FILTER_HANDLE, CLSACT_INGRESS, FILTER_INFO);
        codec::text(out, libc::TCA_KIND, "bpf");
    };
    requests.get(libc::RTM_GETTFILTER, body, |message| Some(is_ours(message.body))).ok().flatten().unwrap_or(false)
}

/// Whether the body of an `RTM_NEWTFILTER` describes our filter.
fn is_ours(body: &[u8]) -> bool {
    let find = |octets, wanted| codec::attributes(octets).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let Some(options) = find(body.get(TCMSG..).unwrap_or_default(), libc::TCA_OPTIONS) else { return false };
    let flags = find(options, TCA_BPF_FLAGS).and_then(codec::u32_of).unwrap_or(0);
    find(options, TCA_BPF_OPS) == Some(&instructions()) && flags & ACT_DIRECT != 0
}

/// Whether somebody gave the bridge an IPv6 address: it is the guests' gateway, and who took the filter away meant it.
fn is_gateway(requests: &mut Requests, ifindex: u32) -> bool {
    let global = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if !v6.is_unicast_link_local());
    setup::addresses(requests, libc::AF_INET6).unwrap_or_default().iter().any(|(index, ip)| *index == ifindex && global(ip))
}

impl Worker {
    /// A qdisc or a filter went, or another came: is it about a bridge of ours?
    pub(super) fn handle_filter(&mut self, message: &Message<'_>) {
        if let Some(ifindex) = codec::u32_at(message.body, 4).filter(|ifindex| self.bridges.contains_key(ifindex)) {
            self.unfiltered.insert(ifindex);
        }
    }

    /// Looks at the bridges whose filters changed, or (`all`) at every one.
    pub(super) fn keep_closed(&mut self, all: bool) {
        let mut concerned = std::mem::take(&mut self.unfiltered);
        if all {
            concerned.extend(self.bridges.keys());
        }
        for ifindex in concerned {
            let Some(&vni) = self.bridges.get(&ifindex) else { continue };
            let ours = |link: &&Link| link.made && matches!(link.kind, LinkKind::Bridge { .. });
            let Some(name) = self.links.link(ifindex).filter(ours).map(|link| link.name.clone()) else { continue };
            if has_ipv6(&name) && !stands(&mut self.requests, ifindex) && !is_gateway(&mut self.requests, ifindex) {
                self.close(vni, ifindex, &name);
            }
        }
    }

    fn close(&mut self, vni: Vni, ifindex: u32, name: &str) {
        let what = match open_to_nd(&mut self.requests, name, ifindex) {
            Ok(()) => format!("the filter that keeps IPv6 of {name} from this host put back"),
            Err(said) => {
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
        };
        self.out.push(KernelEvent::DeviceMended { vni, what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(is_ours(&message(&instructions(), ACT_DIRECT)));
        assert!(!is_ours(&message(&instructions(), 0)), "its result would be a class");
        let pass = [instructions()[..4].to_vec(), vec![0; 4]].concat();
        assert!(!is_ours(&message(&pass, ACT_DIRECT)), "it lets everything through");
        assert!(!is_ours(&[]) && !is_ours(&[0; TCMSG]));
    }
}
