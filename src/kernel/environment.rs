//! What must be so before evpnd starts: looked at before anything is made, said in one sentence with what to do.

use std::net::IpAddr;

use super::KernelError;
use super::codec;
use super::links;
use super::request::{KernelSaid, Requests};
use super::setup;

/// Looks whether this host can carry VXLAN for `vtep`: permission, the VXLAN and bridge drivers, the address. Makes
/// nothing. `None` is a pure reflector, which needs none of it.
///
/// # Errors
/// The first thing that is missing, and what to do.
pub fn check_environment(vtep: Option<IpAddr>) -> Result<(), KernelError> {
    let Some(vtep) = vtep else { return Ok(()) };
    let fail = |reason: String, remedy: &str| Err(KernelError { reason, remedy: remedy.to_owned() });
    let mut requests = match Requests::open() {
        Ok(requests) => requests,
        Err(error) => return fail(format!("no netlink socket can be opened: {error}"), "allow AF_NETLINK to evpnd"),
    };
    // Permission is looked at before anything else: an interface that cannot exist is not found, or not permitted.
    if let Err(KernelSaid { errno: libc::EPERM | libc::EACCES, .. }) = setup::delete_index(&mut requests, i32::MAX as u32) {
        return fail(
            "evpnd may not change the network of this host".to_owned(),
            "run it as root or give it CAP_NET_ADMIN in this network namespace",
        );
    }
    // A request that the driver must refuse (a VNI of 32 bits, a multicast address for a bridge) tells whether there is one.
    let vxlan = probe(&mut requests, "vxlan", |out| codec::attribute(out, links::IFLA_VXLAN_ID, &u32::MAX.to_ne_bytes()), |_| {});
    if vxlan == Some(libc::EOPNOTSUPP) {
        return fail("this kernel has no VXLAN".to_owned(), "modprobe vxlan; or run a kernel with CONFIG_VXLAN");
    }
    let group = [1, 0, 0, 0, 0, 1];
    let bridge = probe(&mut requests, "bridge", |_| {}, |out| codec::attribute(out, libc::IFLA_ADDRESS, &group));
    if bridge == Some(libc::EOPNOTSUPP) {
        return fail("this kernel has no bridge".to_owned(), "modprobe bridge; or run a kernel with CONFIG_BRIDGE");
    }
    match setup::addresses(&mut requests, 0) {
        Ok(addresses) if addresses.iter().any(|(_, ip)| *ip == vtep) => Ok(()),
        Ok(addresses) => {
            let mut has: Vec<IpAddr> = addresses
                .into_iter()
                .map(|(_, ip)| ip)
                .filter(|ip| ip.is_ipv4() == vtep.is_ipv4() && !ip.is_loopback())
                .collect();
            has.sort_unstable();
            has.dedup();
            let list: Vec<String> = has.iter().map(IpAddr::to_string).collect();
            let len = if vtep.is_ipv4() { 32 } else { 128 };
            let list = if list.is_empty() { "none of its family".to_owned() } else { list.join(", ") };
            fail(
                format!("the VTEP address {vtep} is not on this host (it has {list})"),
                &format!("set `vtep` to an address of this host, or add it: ip addr add {vtep}/{len} dev lo"),
            )
        }
        Err(said) => {
            fail(format!("the addresses of this host cannot be read: {}", said.text), "look at the log of the kernel: dmesg")
        }
    }
}

/// Asks for an interface of a kind in a way that its driver refuses. The errno; `None` would be a device made, which is
/// then removed again.
fn probe(
    requests: &mut Requests,
    kind: &str,
    data: impl FnOnce(&mut Vec<u8>),
    attributes: impl FnOnce(&mut Vec<u8>),
) -> Option<i32> {
    const NAME: &str = "evpnd-probe";
    let made = requests.change(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, |out| {
        codec::ifinfo(out, 0, 0, 0, 0);
        codec::text(out, libc::IFLA_IFNAME, NAME);
        attributes(out);
        codec::nested(out, libc::IFLA_LINKINFO, |out| {
            codec::text(out, libc::IFLA_INFO_KIND, kind);
            codec::nested(out, libc::IFLA_INFO_DATA, data);
        });
    });
    match made {
        Err(said) => Some(said.errno),
        Ok(()) => {
            let _ = requests.change(libc::RTM_DELLINK, 0, |out| {
                codec::ifinfo(out, 0, 0, 0, 0);
                codec::text(out, libc::IFLA_IFNAME, NAME);
            });
            None
        }
    }
}
