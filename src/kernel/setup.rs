//! Takes the steps that `devices` planned: each is one request, checked, and undone together where one fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::codec;
use super::devices::{Refusal, Soft, Step};
use super::links::{self, Link, LinkKind, Links, PortFlags};
use super::regroup;
use super::request::{KernelSaid, Requests};
use crate::fib::DeviceSpec;

/// What VXLAN adds over IPv4 and over IPv6: Ethernet 14, IP 20 or 40, UDP 8, VXLAN 8 (RFC 7348 §5).
const OVERHEAD_V4: u32 = 50;
const OVERHEAD_V6: u32 = 70;
/// `IFLA_INET6_ADDR_GEN_MODE` and `IN6_ADDR_GEN_MODE_NONE` (`include/uapi/linux/if_link.h`).
const ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_NONE: u8 = 1;

/// What came of a list of steps.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Soft steps that failed, and the kernel's words.
    pub failed: BTreeMap<Soft, String>,
    /// The step that ended it; everything made on the way was removed again.
    pub refusal: Option<Refusal>,
    /// It ended because something vanished meanwhile: the table of interfaces was old.
    pub vanished: bool,
}

/// Takes `steps` in order.
pub(super) fn carry_out(requests: &mut Requests, links: &Links, steps: &[Step]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut made: Vec<&str> = Vec::new();
    for step in steps {
        match (take(requests, links, step), step.soft()) {
            (Ok(()), _) => match step {
                Step::MakeVxlan(spec) => made.push(&spec.device),
                Step::MakeBridge { name } => made.push(name),
                _ => {}
            },
            (Err(said), Some(soft)) => {
                outcome.failed.insert(soft, said.text);
            }
            (Err(said), None) => {
                if let Step::MakeVxlan(DeviceSpec { device: name, .. }) | Step::MakeBridge { name } = step
                    && said.errno == MARK_FAILED
                {
                    made.push(name);
                }
                for name in made.iter().rev() {
                    // What cannot be removed is at least ours by its mark; the next try adopts it.
                    let _ = delete(requests, name);
                }
                outcome.vanished = said.errno == libc::ENODEV;
                outcome.refusal = Some(words(step, &said));
                return outcome;
            }
        }
    }
    outcome
}

/// Stands for an errno where a device was made and could not be marked as ours.
const MARK_FAILED: i32 = -1;

fn take(requests: &mut Requests, links: &Links, step: &Step) -> Result<(), KernelSaid> {
    match step {
        Step::MakeVxlan(spec) => {
            let underlay = match spec.group {
                Some(_) => Some(underlay_link(requests, links, spec.local)?),
                None => None,
            };
            let mtu = spec.mtu.unwrap_or_else(|| underlay_mtu(requests, links, spec.local).saturating_sub(overhead(spec.local)));
            make(requests, &spec.device, "vxlan", Some(mtu), |out| {
                codec::attribute(out, links::IFLA_VXLAN_ID, &spec.vni.get().to_ne_bytes());
                local(out, spec.local);
                codec::attribute(out, links::IFLA_VXLAN_PORT, &spec.port.to_be_bytes());
                codec::attribute(out, links::IFLA_VXLAN_LEARNING, &[u8::from(spec.learning)]);
                if spec.bare {
                    codec::attribute(out, links::IFLA_VXLAN_PROXY, &[1]);
                    codec::attribute(out, links::IFLA_VXLAN_L3MISS, &[1]);
                }
                if spec.on_demand {
                    codec::attribute(out, links::IFLA_VXLAN_L2MISS, &[1]);
                }
                if let Some(group) = spec.group {
                    regroup::destination(out, group, underlay);
                }
            })
        }
        Step::MakeBridge { name } => make(requests, name, "bridge", None, |out| {
            codec::attribute(out, links::IFLA_BR_FORWARD_DELAY, &0u32.to_ne_bytes());
            codec::attribute(out, links::IFLA_BR_STP_STATE, &0u32.to_ne_bytes());
            // No VLAN on its ports: it looks at none, but would double every entry of its database for each. A kernel without
            // CONFIG_BRIDGE_VLAN_FILTERING takes no notice.
            codec::attribute(out, links::IFLA_BR_VLAN_DEFAULT_PVID, &0u16.to_ne_bytes());
            // Not VLAN-aware is what a bridge is born as; a kernel without CONFIG_BRIDGE_VLAN_FILTERING refuses even the 0.
            // With snooping the bridge would guess at multicast listeners behind the tunnel, and queries of its own
            // would leave the host.
            codec::attribute(out, links::IFLA_BR_MCAST_SNOOPING, &[0]);
        }),
        Step::Quiet { name } => quiet(requests, name),
        Step::Enslave { name, bridge } => {
            let master = find(requests, bridge)?;
            set(requests, name, |out| codec::attribute(out, libc::IFLA_MASTER, &master.ifindex.to_ne_bytes()))
        }
        Step::SetPort { name, flags } => set_port(requests, name, *flags),
        Step::Isolate { name, on } => isolate(requests, name, *on),
        Step::SetLearning { name, on } => {
            change_vxlan(requests, name, |out| codec::attribute(out, links::IFLA_VXLAN_LEARNING, &[u8::from(*on)]))
        }
        Step::SetLocal { name, local: ip } => change_vxlan(requests, name, |out| local(out, *ip)),
        Step::ClearGroup { name, group } => {
            // Down first: it would not leave the group, and kernels such as 5.10 lock up for good when it is set down afterwards.
            let flags = |requests: &mut Requests, flags: u32| {
                requests.change(libc::RTM_SETLINK, 0, |out| {
                    codec::ifinfo(out, 0, 0, flags, libc::IFF_UP as u32);
                    codec::text(out, libc::IFLA_IFNAME, name);
                })
            };
            flags(requests, 0)?;
            let (kind, nowhere): (u16, IpAddr) = match group {
                IpAddr::V4(_) => (links::IFLA_VXLAN_GROUP, Ipv4Addr::UNSPECIFIED.into()),
                IpAddr::V6(_) => (links::IFLA_VXLAN_GROUP6, Ipv6Addr::UNSPECIFIED.into()),
            };
            let cleared = change_vxlan(requests, name, |out| codec::address(out, kind, nowhere));
            flags(requests, libc::IFF_UP as u32)?;
            cleared
        }
        Step::Regroup { name, what } => regroup::change(requests, links, name, what),
        Step::SetMtu { name, mtu } => set(requests, name, |out| codec::attribute(out, libc::IFLA_MTU, &mtu.to_ne_bytes())),
        Step::Up { name } => set_up(requests, name),
        Step::Delete { name } => delete(requests, name),
    }
}

/// Sets an interface up.
///
/// # Errors
/// What the kernel said.
pub(super) fn set_up(requests: &mut Requests, name: &str) -> Result<(), KernelSaid> {
    let up = libc::IFF_UP as u32;
    requests.change(libc::RTM_SETLINK, 0, |out| {
        codec::ifinfo(out, 0, 0, up, up);
        codec::text(out, libc::IFLA_IFNAME, name);
    })
}

/// Makes an interface and marks it as ours.
///
/// # Errors
/// What the kernel said.
pub(super) fn make(
    requests: &mut Requests,
    name: &str,
    kind: &str,
    mtu: Option<u32>,
    data: impl FnOnce(&mut Vec<u8>),
) -> Result<(), KernelSaid> {
    requests.change(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, |out| {
        codec::ifinfo(out, 0, 0, 0, 0);
        codec::text(out, libc::IFLA_IFNAME, name);
        if let Some(mtu) = mtu {
            codec::attribute(out, libc::IFLA_MTU, &mtu.to_ne_bytes());
        }
        codec::nested(out, libc::IFLA_LINKINFO, |out| {
            codec::text(out, libc::IFLA_INFO_KIND, kind);
            codec::nested(out, libc::IFLA_INFO_DATA, data);
        });
    })?;
    // The kernel takes no alias in the request that makes.
    set(requests, name, |out| codec::attribute(out, libc::IFLA_IFALIAS, links::MADE_ALIAS.as_bytes()))
        .map_err(|said| KernelSaid { errno: MARK_FAILED, text: said.text })
}

fn local(out: &mut Vec<u8>, ip: IpAddr) {
    codec::address(out, if ip.is_ipv4() { links::IFLA_VXLAN_LOCAL } else { links::IFLA_VXLAN_LOCAL6 }, ip);
}

fn set(requests: &mut Requests, name: &str, attributes: impl FnOnce(&mut Vec<u8>)) -> Result<(), KernelSaid> {
    requests.change(libc::RTM_SETLINK, 0, |out| {
        codec::ifinfo(out, 0, 0, 0, 0);
        codec::text(out, libc::IFLA_IFNAME, name);
        attributes(out);
    })
}

/// Changes what only the VXLAN driver knows; `RTM_SETLINK` ignores it, `RTM_NEWLINK` on a device that exists does not.
///
/// # Errors
/// What the kernel said.
pub(super) fn change_vxlan(requests: &mut Requests, name: &str, data: impl FnOnce(&mut Vec<u8>)) -> Result<(), KernelSaid> {
    requests.change(libc::RTM_NEWLINK, 0, |out| {
        codec::ifinfo(out, 0, 0, 0, 0);
        codec::text(out, libc::IFLA_IFNAME, name);
        codec::nested(out, libc::IFLA_LINKINFO, |out| {
            codec::text(out, libc::IFLA_INFO_KIND, "vxlan");
            codec::nested(out, libc::IFLA_INFO_DATA, data);
        });
    })
}

/// Whether a device that names neither a local address nor a group tunnels over IPv6. It does not say (`vxlan_fill_info`); but it refuses the
/// local address of IPv6 that stands for none where it is of IPv4, and is changed in nothing by it where it is of IPv6
/// (`vxlan_nl2conf`; Linux ≥ 5.0).
pub(super) fn is_over_ipv6(requests: &mut Requests, name: &str) -> bool {
    change_vxlan(requests, name, |out| local(out, Ipv6Addr::UNSPECIFIED.into())).is_ok()
}

/// Sets port flags and reads them back: a request for a port that ignores them is answered with success.
fn set_port(requests: &mut Requests, name: &str, flags: PortFlags) -> Result<(), KernelSaid> {
    let ifindex = find(requests, name)?.ifindex;
    requests.change(libc::RTM_SETLINK, 0, |out| {
        codec::ifinfo(out, libc::AF_BRIDGE as u8, ifindex, 0, 0);
        codec::nested(out, libc::IFLA_PROTINFO, |out| {
            codec::attribute(out, links::IFLA_BRPORT_LEARNING, &[u8::from(flags.learning)]);
            codec::attribute(out, links::IFLA_BRPORT_NEIGH_SUPPRESS, &[u8::from(flags.neighbor_suppression)]);
            codec::attribute(out, links::IFLA_BRPORT_ISOLATED, &[u8::from(flags.isolated)]);
        });
    })?;
    if find(requests, name)?.port == Some(flags) {
        return Ok(());
    }
    Err(KernelSaid { errno: libc::EOPNOTSUPP, text: "the kernel took the flags and did not set them".to_owned() })
}

/// Isolates a port, or no more, and reads that back.
///
/// # Errors
/// What the kernel said.
pub(super) fn isolate(requests: &mut Requests, name: &str, on: bool) -> Result<(), KernelSaid> {
    let port = |requests: &mut Requests| match find(requests, name) {
        // Gone with its guest: there is nothing to isolate.
        Err(said) if said.errno == libc::ENODEV => Ok(None),
        found => found.map(|link| link.port.map(|port| (link.ifindex, port.isolated))),
    };
    let Some((ifindex, _)) = port(requests)? else { return Ok(()) };
    let changed = requests.change(libc::RTM_SETLINK, 0, |out| {
        codec::ifinfo(out, libc::AF_BRIDGE as u8, ifindex, 0, 0);
        codec::nested(out, libc::IFLA_PROTINFO, |out| {
            codec::attribute(out, links::IFLA_BRPORT_ISOLATED, &[u8::from(on)]);
        });
    });
    if port(requests)?.is_none_or(|(_, isolated)| isolated == on) {
        return Ok(());
    }
    changed?;
    // Ports can be isolated since 4.18.
    Err(KernelSaid { errno: libc::EOPNOTSUPP, text: "the kernel took the flag and did not set it".to_owned() })
}

/// Settings of IPv4 that keep a tenant from the host's addresses, below `/proc/sys/net/ipv4/conf/NAME/`: without them Linux answers ARP
/// for any of its addresses on any interface, and takes packets to them from anywhere. On a bridge that has an address of
/// its own, as a gateway has, they let just that one through (Documentation/networking/ip-sysctl.rst).
const IPV4_SETTINGS: [(&str, &str); 3] = [("arp_ignore", "1"), ("rp_filter", "1"), ("drop_unicast_in_l2_multicast", "1")];

/// Turns IPv6 off on an interface, until `closed` lets it be turned on, and IPv4 toward what is not its own. A kernel without IPv6 has nothing to
/// turn off.
///
/// # Errors
/// What the kernel said.
pub(super) fn quiet(requests: &mut Requests, name: &str) -> Result<(), KernelSaid> {
    // A kernel that does not know the attribute has the setting.
    let _ = set(requests, name, |out| {
        codec::nested(out, libc::IFLA_AF_SPEC, |out| {
            codec::nested(out, libc::AF_INET6 as u16, |out| codec::attribute(out, ADDR_GEN_MODE, &[ADDR_GEN_NONE]));
        });
    });
    write_setting(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1")?;
    close_to_tenants(name)
}

/// The settings of IPv4 alone, which others write as well: systemd-sysctl for every interface that appears.
///
/// # Errors
/// What the kernel said.
pub(super) fn close_to_tenants(name: &str) -> Result<(), KernelSaid> {
    for (setting, value) in IPV4_SETTINGS {
        write_setting(&format!("/proc/sys/net/ipv4/conf/{name}/{setting}"), value)?;
    }
    Ok(())
}

/// Writes a setting; one that this kernel has not is left out.
fn write_setting(path: &str, value: &str) -> Result<(), KernelSaid> {
    match fs::write(path, value) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(KernelSaid { errno: error.raw_os_error().unwrap_or(libc::EIO), text: format!("{path}: {error}") })
        }
        _ => Ok(()),
    }
}

/// Removes an interface that we have just made.
///
/// # Errors
/// What the kernel said.
pub(super) fn delete(requests: &mut Requests, name: &str) -> Result<(), KernelSaid> {
    requests.change(libc::RTM_DELLINK, 0, |out| {
        codec::ifinfo(out, 0, 0, 0, 0);
        codec::text(out, libc::IFLA_IFNAME, name);
    })
}

/// Removes an interface that we made, by number: its name may be another's by now.
///
/// # Errors
/// What the kernel said.
pub(super) fn delete_index(requests: &mut Requests, ifindex: u32) -> Result<(), KernelSaid> {
    requests.change(libc::RTM_DELLINK, 0, |out| codec::ifinfo(out, 0, ifindex, 0, 0))
}

/// Whether an interface still exists; an answer that is no answer counts as yes.
pub(super) fn exists(requests: &mut Requests, ifindex: u32) -> bool {
    !matches!(requests.get(libc::RTM_GETLINK, |out| codec::ifinfo(out, 0, ifindex, 0, 0), |_| Some(())), Ok(None))
}

/// An interface as it stands now, as the body of the notification that tells it.
pub(super) fn read(requests: &mut Requests, ifindex: u32) -> Option<Vec<u8>> {
    let body = |out: &mut Vec<u8>| codec::ifinfo(out, 0, ifindex, 0, 0);
    // Where it cannot be read its notifications will tell.
    requests.get(libc::RTM_GETLINK, body, |message| Some(message.body.to_vec())).ok().flatten()
}

/// An interface by its name, as it stands now.
///
/// # Errors
/// What the kernel said.
pub(super) fn find(requests: &mut Requests, name: &str) -> Result<Link, KernelSaid> {
    let body = |out: &mut Vec<u8>| {
        codec::ifinfo(out, 0, 0, 0, 0);
        codec::text(out, libc::IFLA_IFNAME, name);
    };
    let link = requests.get(libc::RTM_GETLINK, body, |message| links::parse(message.body))?;
    link.ok_or_else(|| KernelSaid { errno: libc::ENODEV, text: format!("there is no interface {name}") })
}

fn overhead(local: IpAddr) -> u32 {
    if local.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 }
}

/// Every address of the host: interface, address. `family`: `AF_INET` or `AF_INET6`, 0 for both.
///
/// # Errors
/// What the kernel said.
pub(super) fn addresses(requests: &mut Requests, family: i32) -> Result<Vec<(u32, IpAddr)>, KernelSaid> {
    addresses_without(requests, family, 0)
}

/// The addresses that work: not those of which it is not known yet, or known to be wrong, that nobody else has them (RFC 4862 §5.4).
///
/// # Errors
/// What the kernel said.
pub(super) fn working_addresses(requests: &mut Requests) -> Result<Vec<(u32, IpAddr)>, KernelSaid> {
    addresses_without(requests, 0, (libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) as u8)
}

fn addresses_without(requests: &mut Requests, family: i32, flags: u8) -> Result<Vec<(u32, IpAddr)>, KernelSaid> {
    const IFADDRMSG: usize = 8;
    requests.dump(
        libc::RTM_GETADDR,
        |out| out.extend_from_slice(&[family as u8, 0, 0, 0, 0, 0, 0, 0]),
        |message| {
            let ifindex = codec::u32_at(message.body, 4)?;
            if message.body.get(2)? & flags != 0 {
                return None;
            }
            // IFA_LOCAL is the host's own end; IFA_ADDRESS is the same but for point-to-point links, and all that IPv6 has.
            let (mut own, mut address) = (None, None);
            for (kind, value) in codec::attributes(message.body.get(IFADDRMSG..)?) {
                match kind {
                    libc::IFA_LOCAL => own = codec::ip_of(value),
                    libc::IFA_ADDRESS => address = codec::ip_of(value),
                    _ => {}
                }
            }
            Some((ifindex, own.or(address)?))
        },
    )
}

/// The MTU of the way to the other VTEPs: that of the device that carries the local address; where that is a loopback
/// or dummy (the address is announced into the fabric), the smallest among the devices of default routes, else of all
/// routes of the main table; 1500 where there is none.
fn underlay_mtu(requests: &mut Requests, links: &Links, local: IpAddr) -> u32 {
    const STANDARD: u32 = 1500;
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let virtual_only = |link: &Link| link.loopback || link.kind == LinkKind::Other("dummy".to_owned());
    let carrier = addresses(requests, family).unwrap_or_default().into_iter().find(|(_, ip)| *ip == local);
    if let Some(link) = carrier.and_then(|(ifindex, _)| links.link(ifindex)).filter(|link| !virtual_only(link)) {
        return link.mtu;
    }
    let smallest = |devices: &BTreeSet<u32>| {
        devices.iter().filter_map(|index| links.link(*index)).filter(|link| !virtual_only(link)).map(|link| link.mtu).min()
    };
    let (default, all) = routes(requests, family);
    smallest(&default).or_else(|| smallest(&all)).unwrap_or(STANDARD)
}

/// The interface on which a group is joined: that of the local address; where that is a loopback or dummy, that of the default
/// route.
///
/// # Errors
/// What the kernel said, or that there is none.
pub(super) fn underlay_link(requests: &mut Requests, links: &Links, local: IpAddr) -> Result<u32, KernelSaid> {
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let real = |index: &u32| {
        let virtual_only = |link: &Link| link.loopback || link.kind == LinkKind::Other("dummy".to_owned());
        links.link(*index).is_some_and(|link| !virtual_only(link))
    };
    let carrier =
        addresses(requests, family).unwrap_or_default().into_iter().find(|(_, ip)| *ip == local).map(|(index, _)| index);
    let found = carrier.filter(real).or_else(|| routes(requests, family).0.into_iter().find(real));
    found.ok_or_else(|| KernelSaid {
        errno: libc::EADDRNOTAVAIL,
        text: format!("no interface has {local} and there is no default route: on which one is the group to be joined?"),
    })
}

/// The devices of the default routes, and of all routes, of the main table.
fn routes(requests: &mut Requests, family: i32) -> (BTreeSet<u32>, BTreeSet<u32>) {
    const RTMSG: usize = 12;
    const RTNEXTHOP: usize = 8;
    let (mut default, mut all) = (BTreeSet::new(), BTreeSet::new());
    let body = |out: &mut Vec<u8>| out.extend_from_slice(&[family as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // A failure leaves the sets empty: the standard MTU is then taken.
    let _ = requests.dump(libc::RTM_GETROUTE, body, |message| {
        let (prefix_len, table) = (*message.body.get(1)?, *message.body.get(4)?);
        if table != libc::RT_TABLE_MAIN {
            return None::<()>;
        }
        for (kind, value) in codec::attributes(message.body.get(RTMSG..)?) {
            let mut devices = Vec::new();
            if kind == libc::RTA_OIF {
                devices.extend(codec::u32_of(value));
            } else if kind == libc::RTA_MULTIPATH {
                // struct rtnexthop: length 2, flags 1, hops 1, ifindex 4, then attributes.
                let mut rest = value;
                while let (Some(len), Some(ifindex)) = (codec::u16_at(rest, 0), codec::u32_at(rest, 4)) {
                    devices.push(ifindex);
                    rest = rest.get((usize::from(len).max(RTNEXTHOP) + 3) & !3..).unwrap_or_default();
                }
            }
            all.extend(&devices);
            if prefix_len == 0 {
                default.extend(devices);
            }
        }
        None
    });
    (default, all)
}

/// Says in words what failed and what would mend it.
fn words(step: &Step, said: &KernelSaid) -> Refusal {
    let what = match step {
        Step::MakeVxlan(spec) => format!("the VXLAN device {} could not be made", spec.device),
        Step::MakeBridge { name } => format!("the bridge {name} could not be made"),
        Step::Enslave { name, bridge } => format!("{name} could not be put into bridge {bridge}"),
        Step::Up { name } => format!("{name} could not be set up"),
        Step::Delete { name } => format!("{name} could not be removed to be made anew"),
        Step::Quiet { name } | Step::SetPort { name, .. } | Step::SetLearning { name, .. } | Step::Isolate { name, .. } => {
            format!("{name} could not be changed")
        }
        Step::SetLocal { name, .. } | Step::SetMtu { name, .. } | Step::ClearGroup { name, .. } | Step::Regroup { name, .. } => {
            format!("{name} could not be changed")
        }
    };
    let refusal = |why: &str, remedy: String| Refusal { reason: format!("{what}: {why}"), remedy };
    match (said.errno, step) {
        (libc::EPERM | libc::EACCES, _) => {
            refusal("no permission", "run evpnd as root or give it CAP_NET_ADMIN in this network namespace".to_owned())
        }
        (libc::EOPNOTSUPP, Step::MakeVxlan(_)) => {
            refusal("this kernel has no VXLAN", "modprobe vxlan; or a kernel with CONFIG_VXLAN".to_owned())
        }
        (libc::EOPNOTSUPP, Step::MakeBridge { .. }) => {
            refusal("this kernel has no bridge", "modprobe bridge; or a kernel with CONFIG_BRIDGE".to_owned())
        }
        (libc::EAFNOSUPPORT, Step::MakeVxlan(spec)) => refusal(
            &format!("this kernel has no {}", if spec.local.is_ipv4() { "IPv4" } else { "IPv6" }),
            "set `vtep` to an address of the other family".to_owned(),
        ),
        (libc::EEXIST, Step::MakeVxlan(spec)) => refusal(
            &format!("the kernel says that VNI {} on UDP port {} exists already ({})", spec.vni, spec.port, said.text),
            "find it: ip -d link show type vxlan; it may be in another network namespace".to_owned(),
        ),
        (libc::EADDRINUSE, Step::MakeVxlan(DeviceSpec { port, .. })) => refusal(
            &format!("UDP port {port} is in use"),
            format!("find who has it: ss -ulpn sport = :{port}; or set another `port` in [vxlan]"),
        ),
        (libc::EADDRINUSE, _) => {
            refusal("its UDP port is in use", "find who has it: ss -ulpn; or set another `port` in [vxlan]".to_owned())
        }
        (libc::EINVAL | libc::ERANGE, Step::MakeVxlan(spec)) => {
            refusal(&said.text, format!("look at `mtu`, `port` and `vtep` of VNI {}", spec.vni))
        }
        _ => refusal(&said.text, "it is tried again; `ip -d link` shows what stands in the way".to_owned()),
    }
}
