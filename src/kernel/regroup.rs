//! The group of a device of ours changes while it stands and guests talk. What the host has joined is changed by a second device with the
//! same port, in no bridge, whose socket is the same: the kernel joins and leaves for a tunnel that is up in one version and not in
//! the next (`vxlan_changelink`; docs/platforms/migration.md), and where it never left, setting the tunnel down later hangs
//! kernels such as 5.10. While the second device is up the host is in both groups; nothing is set down, and no row is touched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::codec;
use super::links::{self, Links};
use super::request::{KernelSaid, Requests};
use super::setup;
use crate::base::Vni;

/// How the second devices are named; `evpnctl migrate` knows them by the beginning.
const HELPER: &str = "evpnd-grpd";

/// What is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Regroup {
    /// The group (or default destination) that it has.
    pub from: Option<IpAddr>,
    /// The one that it is to have.
    pub to: Option<IpAddr>,
    /// Its UDP port.
    pub port: u16,
    /// Its local address: it tells the interface on which groups are joined.
    pub local: IpAddr,
}

/// Changes the group of the device `name`.
///
/// # Errors
/// What the kernel said; the device is as it was, or has its new group already.
pub(super) fn change(requests: &mut Requests, links: &Links, name: &str, what: &Regroup) -> Result<(), KernelSaid> {
    let underlay = setup::underlay_link(requests, links, what.local)?;
    let mut helpers = Vec::new();
    let outcome = join_and_set(requests, links, name, what, underlay, &mut helpers);
    for helper in &helpers {
        // One that is gone already has nothing to hold.
        let _ = setup::delete(requests, helper);
    }
    outcome
}

fn join_and_set(
    requests: &mut Requests,
    links: &Links,
    name: &str,
    what: &Regroup,
    underlay: u32,
    helpers: &mut Vec<String>,
) -> Result<(), KernelSaid> {
    let mut free = (1..=Vni::MAX).rev().filter_map(Vni::new).filter(|vni| links.vxlans(*vni).next().is_none());
    for group in [what.from, what.to].into_iter().flatten().filter(IpAddr::is_multicast) {
        let vni = free.next().ok_or_else(|| KernelSaid { errno: libc::ENOSPC, text: "every VNI is in use".to_owned() })?;
        let helper = format!("{HELPER}{}", helpers.len());
        // Left over where a run ended in between.
        let _ = setup::delete(requests, &helper);
        helpers.push(helper.clone());
        setup::make(requests, &helper, "vxlan", None, |out| {
            codec::attribute(out, links::IFLA_VXLAN_ID, &vni.get().to_ne_bytes());
            codec::attribute(out, links::IFLA_VXLAN_PORT, &what.port.to_be_bytes());
            destination(out, group, Some(underlay));
        })?;
        setup::quiet(requests, &helper)?;
        setup::set_up(requests, &helper)?;
    }
    let nowhere = match what.from {
        Some(IpAddr::V6(_)) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    let underlay = what.to.map(|_| underlay);
    setup::change_vxlan(requests, name, |out| destination(out, what.to.unwrap_or(nowhere), underlay))
}

/// Where a device floods to by itself.
pub(super) fn destination(out: &mut Vec<u8>, ip: IpAddr, underlay: Option<u32>) {
    codec::address(out, if ip.is_ipv4() { links::IFLA_VXLAN_GROUP } else { links::IFLA_VXLAN_GROUP6 }, ip);
    if let Some(underlay) = underlay {
        codec::attribute(out, links::IFLA_VXLAN_LINK, &underlay.to_ne_bytes());
    }
}
