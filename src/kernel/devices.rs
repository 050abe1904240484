//! From one wanted device and the table of interfaces to a verdict: ready, unusable in words, or steps to take.
//!
//! Pure, so that every refusal has a unit test. A device is adopted by its VNI and not by its name; what is made is marked
//! with the alias `evpnd`, so that a restart knows it again; what evpnd did not make is never removed. `setup` takes
//! the steps, `manage` decides when.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use super::departed::{self, Awaited};
use super::links::{Link, LinkKind, Links, PortFlags, VxlanInfo};
use super::regroup::Regroup;
use super::warnings::{Ipv6Off, warnings};
use crate::base::Vni;
use crate::fib::{DeviceSpec, ReadyDevice};

/// The longest name of an interface (`IFNAMSIZ` less the final zero).
const NAME_OCTETS: usize = 15;

/// One change to the kernel. Interfaces go by name: they may not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Make the VXLAN device, marked as ours.
    MakeVxlan(DeviceSpec),
    /// Make a bridge, marked as ours: no STP, no delay, not VLAN-aware, no snooping.
    MakeBridge { name: String },
    /// No IPv6 on it, so that a tenant cannot talk to the host.
    Quiet { name: String },
    /// Put a device into a bridge.
    Enslave { name: String, bridge: String },
    /// Set the flags of a bridge port.
    SetPort { name: String, flags: PortFlags },
    /// Set whether a guest's port is isolated.
    Isolate { name: String, on: bool },
    /// Set learning on the VXLAN device itself.
    SetLearning { name: String, on: bool },
    /// Set the local address.
    SetLocal { name: String, local: IpAddr },
    /// Set it down, take its group (or default destination) away, and set it up.
    ClearGroup { name: String, group: IpAddr },
    /// Change the group of a device of ours while guests talk.
    Regroup { name: String, what: Regroup },
    /// Set the MTU.
    SetMtu { name: String, mtu: u32 },
    /// Set it up.
    Up { name: String },
    /// Remove a device that we made.
    Delete { name: String },
}

/// Steps that may fail: the device is usable without, with a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Soft {
    /// [`Step::Quiet`].
    Quiet,
    /// [`Step::SetPort`].
    Port,
    /// [`Step::Isolate`].
    Isolated,
    /// [`Step::SetLearning`].
    Learning,
    /// [`Step::SetLocal`].
    Local,
    /// [`Step::SetMtu`].
    Mtu,
    /// [`Step::ClearGroup`], [`Step::Regroup`].
    Group,
}

impl Step {
    /// Whether, and as what, its failure may be lived with.
    pub(super) fn soft(&self) -> Option<Soft> {
        match self {
            Self::Quiet { .. } => Some(Soft::Quiet),
            Self::SetPort { .. } => Some(Soft::Port),
            Self::Isolate { .. } => Some(Soft::Isolated),
            Self::SetLearning { .. } => Some(Soft::Learning),
            Self::SetLocal { .. } => Some(Soft::Local),
            Self::SetMtu { .. } => Some(Soft::Mtu),
            Self::ClearGroup { .. } | Self::Regroup { .. } => Some(Soft::Group),
            Self::MakeVxlan(_) | Self::MakeBridge { .. } | Self::Enslave { .. } | Self::Up { .. } | Self::Delete { .. } => None,
        }
    }
}

impl Step {
    /// The port whose isolation it sets, and how.
    pub(super) fn isolates(&self) -> Option<(&str, bool)> {
        match self {
            Self::Isolate { name, on } => Some((name, *on)),
            _ => None,
        }
    }
}

impl fmt::Display for Step {
    /// What was done, in the past tense: "vxlan100 put into br100".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on_off = |on: bool| if on { "on" } else { "off" };
        match self {
            Self::MakeVxlan(spec) => write!(f, "{} made again", spec.device),
            Self::MakeBridge { name } => write!(f, "bridge {name} made again"),
            Self::Quiet { name } => write!(f, "IPv6 turned off on {name}"),
            Self::Enslave { name, bridge } => write!(f, "{name} put into {bridge}"),
            Self::SetPort { name, flags } => {
                let (learning, suppress) = (on_off(flags.learning), on_off(flags.neighbor_suppression));
                write!(f, "port {name} set to learning {learning}, neigh_suppress {suppress}")
            }
            Self::Isolate { name, on } => write!(f, "isolation of port {name} turned {}", on_off(*on)),
            Self::SetLearning { name, on } => write!(f, "learning of {name} turned {}", on_off(*on)),
            Self::SetLocal { name, local } => write!(f, "local address of {name} set to {local}"),
            Self::ClearGroup { name, group } => write!(f, "destination {group} taken from {name}"),
            Self::Regroup { name, what: Regroup { to: Some(group), .. } } => write!(f, "group of {name} set to {group}"),
            Self::Regroup { name, .. } => write!(f, "group taken from {name}"),
            Self::SetMtu { name, mtu } => write!(f, "MTU of {name} set to {mtu}"),
            Self::Up { name } => write!(f, "{name} set up"),
            Self::Delete { name } => write!(f, "{name} removed"),
        }
    }
}

/// Why a device cannot be used, and what would mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// One sentence, without a full stop.
    pub reason: String,
    /// A command, or a change of configuration.
    pub remedy: String,
}

fn refuse<T>(reason: String, remedy: String) -> Result<T, Refusal> {
    Err(Refusal { reason, remedy })
}

/// What to do about a wanted device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Rows can be written.
    Ready(ReadyDevice),
    /// Take these, then ask again.
    Work(Vec<Step>),
    /// Somebody's device without a bridge, maybe being set up this moment: ask again later.
    Wait,
    /// This device does not say whether it tunnels over IPv6: find out, then ask again.
    AskFamily(u32),
}

/// What is known beside the table.
#[derive(Debug, Clone, Default)]
pub(super) struct Circumstances {
    /// Soft steps that failed, and the kernel's words.
    pub failed: BTreeMap<Soft, String>,
    /// A device without a bridge, or a VNI without a device, has been so for a while.
    pub settled: bool,
    /// The bridge that the last device of the VNI worked in: its number and name.
    pub home: Option<(u32, String)>,
    /// Somebody's device that is gone, and may be being made again.
    pub awaited: Option<Awaited>,
    /// Ports that we isolated, in this run or an earlier one of this boot.
    pub isolated: BTreeSet<u32>,
    /// Whether devices that do not say it tunnel over IPv6.
    pub over_ipv6: BTreeMap<u32, bool>,
    /// IPv6 is off at the bridge, which refused a neighbour for that.
    pub ipv6_off: Option<Ipv6Off>,
    /// Addresses that somebody gave the bridge and that our filter there keeps from guests.
    pub shut_off: Vec<IpAddr>,
}

/// Judges one wanted device. `wanted` tells whether a VNI is in the list.
///
/// # Errors
/// A [`Refusal`] where it cannot be used.
pub(super) fn judge(
    spec: &DeviceSpec,
    links: &Links,
    wanted: &dyn Fn(Vni) -> bool,
    known: &Circumstances,
) -> Result<Verdict, Refusal> {
    let found: Vec<&Link> = links.vxlans(spec.vni).collect();
    match found[..] {
        // Removed by whoever makes it, who lets go of the VNI in a moment.
        [] if spec.existing && !known.settled => Ok(Verdict::Wait),
        [] if spec.existing => refuse(
            format!("there is no VXLAN device of VNI {}, and whoever wants the VNI makes it", spec.vni),
            format!("look why it was not made; evpnctl vni add {} has evpnd make one", spec.vni),
        ),
        [] => match &known.awaited {
            Some(_) if !known.settled => Ok(Verdict::Wait),
            Some(awaited) => Err(departed::refusal(spec, awaited, links, known)),
            None => make(&departed::at_home(spec, links, known), links, wanted),
        },
        [link] => adopt(spec, link, links, wanted, known),
        _ => {
            let here: Vec<&&Link> =
                found.iter().filter(|link| link.master.is_some_and(|m| links.name(m) == spec.bridge)).collect();
            if let [link] = here[..] {
                return adopt(spec, link, links, wanted, known);
            }
            let names: Vec<&str> = found.iter().map(|link| link.name.as_str()).collect();
            refuse(
                format!("VNI {} has {} VXLAN devices: {}", spec.vni, names.len(), names.join(", ")),
                format!(
                    "keep one: ip link del {}; or put the one that is meant into bridge {}",
                    names[names.len() - 1],
                    spec.bridge
                ),
            )
        }
    }
}

/// No device has the VNI: make one, and its bridge where there is none.
fn make(spec: &DeviceSpec, links: &Links, wanted: &dyn Fn(Vni) -> bool) -> Result<Verdict, Refusal> {
    for (name, key) in [(&spec.device, "device"), (&spec.bridge, "bridge")] {
        if spec.bare && key == "bridge" {
            continue;
        }
        if name.is_empty() || name.len() > NAME_OCTETS || name.contains(['/', ':', ' ']) || name == "." || name == ".." {
            return refuse(
                format!("\"{name}\" cannot be the name of an interface"),
                format!("set `{key}` of VNI {} to a name of 1 to {NAME_OCTETS} octets without spaces, `/` and `:`", spec.vni),
            );
        }
    }
    if spec.device == spec.bridge {
        return refuse(
            format!("the VXLAN device and the bridge of VNI {} have the same name, {}", spec.vni, spec.bridge),
            format!("set another `device` or `bridge` for VNI {}", spec.vni),
        );
    }
    if let Some(link) = links.named(&spec.device) {
        let other = format!("rename or remove {}, or set another `device` for VNI {}", link.name, spec.vni);
        return match &link.kind {
            LinkKind::Vxlan(VxlanInfo { external: true, .. }) => refuse(
                format!("{} is a single VXLAN device for many VNIs (`external`), which is not supported", link.name),
                other,
            ),
            LinkKind::Vxlan(VxlanInfo { vni: Some(vni), .. }) => {
                refuse(format!("{} is the VXLAN device of VNI {vni}, not of {}", link.name, spec.vni), other)
            }
            _ => refuse(format!("an interface {} exists that is not VXLAN", link.name), other),
        };
    }
    if spec.bare {
        // The host's own: IPv4 and IPv6 stay on it.
        return Ok(Verdict::Work(vec![Step::MakeVxlan(spec.clone()), Step::Up { name: spec.device.clone() }]));
    }
    let mut steps = vec![Step::MakeVxlan(spec.clone()), Step::Quiet { name: spec.device.clone() }];
    let ups = bridge_steps(spec, &spec.device, links, wanted, &mut steps)?;
    steps.push(Step::Up { name: spec.device.clone() });
    steps.extend(ups);
    Ok(Verdict::Work(steps))
}

/// Steps that put `name` into the bridge of `spec`, made where there is none. Returns what is to be set up last.
fn bridge_steps(
    spec: &DeviceSpec,
    name: &str,
    links: &Links,
    wanted: &dyn Fn(Vni) -> bool,
    steps: &mut Vec<Step>,
) -> Result<Option<Step>, Refusal> {
    let bridge = spec.bridge.clone();
    let up = match links.named(&bridge) {
        Some(link) => {
            check_bridge(spec, link, links, wanted)?;
            link.made && !link.up
        }
        None => {
            steps.push(Step::MakeBridge { name: bridge.clone() });
            steps.push(Step::Quiet { name: bridge.clone() });
            true
        }
    };
    steps.push(Step::Enslave { name: name.to_owned(), bridge: bridge.clone() });
    steps.push(Step::SetPort { name: name.to_owned(), flags: port_flags(spec, None) });
    Ok(up.then_some(Step::Up { name: bridge }))
}

/// The flags of the VXLAN port. Isolated as the guests' ports are, it would lead nobody anywhere; else that is somebody's matter.
pub(super) fn port_flags(spec: &DeviceSpec, found: Option<PortFlags>) -> PortFlags {
    let isolated = !spec.isolated_ports && found.is_some_and(|found| found.isolated);
    PortFlags { learning: spec.learning, neighbor_suppression: spec.neighbor_suppression, isolated }
}

/// Whether a port may be a guest's: a tap, one end of a veth pair. What leads to a network (hardware, a VLAN, a bond) is not.
fn is_guests(link: &Link) -> bool {
    matches!(&link.kind, LinkKind::Other(kind) if matches!(kind.as_str(), "tun" | "veth"))
}

/// Has guests' ports isolated, or no more, where that was us.
fn isolation(spec: &DeviceSpec, bridge: &Link, links: &Links, known: &Circumstances) -> Vec<Step> {
    let step = |member: &Link| {
        let isolated = member.port?.isolated;
        let on = spec.isolated_ports;
        let ours = on || known.isolated.contains(&member.ifindex);
        (isolated != on && ours && is_guests(member)).then(|| Step::Isolate { name: member.name.clone(), on })
    };
    links.members(bridge.ifindex).filter_map(step).collect()
}

/// Whether a bridge can carry the VNI.
fn check_bridge(spec: &DeviceSpec, bridge: &Link, links: &Links, wanted: &dyn Fn(Vni) -> bool) -> Result<(), Refusal> {
    let name = &bridge.name;
    let LinkKind::Bridge { vlan_filtering, .. } = bridge.kind else {
        return refuse(
            format!("{name} is not a bridge"),
            format!("rename or remove {name}, or set another `bridge` for VNI {}", spec.vni),
        );
    };
    if vlan_filtering {
        return refuse(
            format!("bridge {name} is VLAN-aware, which is not supported"),
            format!("ip link set {name} type bridge vlan_filtering 0; or set another `bridge` for VNI {}", spec.vni),
        );
    }
    if let Some(master) = bridge.master.and_then(|index| links.link(index))
        && master.kind != LinkKind::Other("vrf".to_owned())
    {
        return refuse(
            format!("bridge {name} is enslaved to {}", master.name),
            format!("ip link set {name} nomaster; or set another `bridge` for VNI {}", spec.vni),
        );
    }
    for member in links.members(bridge.ifindex) {
        let LinkKind::Vxlan(info) = &member.kind else { continue };
        if info.external {
            return refuse(
                format!(
                    "bridge {name} has {}, a single VXLAN device for many VNIs (`external`), which is not supported",
                    member.name
                ),
                format!("ip link set {} nomaster; or set another `bridge` for VNI {}", member.name, spec.vni),
            );
        }
        if let Some(other) = info.vni.filter(|other| *other < spec.vni && wanted(*other)) {
            return refuse(
                format!("bridge {name} already carries VNI {other}: two segments would become one"),
                format!("set another `bridge` for VNI {}", spec.vni),
            );
        }
    }
    Ok(())
}

/// A device with the VNI exists: use it, mend what may be mended, and say what will not work.
fn adopt(
    spec: &DeviceSpec,
    link: &Link,
    links: &Links,
    wanted: &dyn Fn(Vni) -> bool,
    known: &Circumstances,
) -> Result<Verdict, Refusal> {
    let LinkKind::Vxlan(info) = &link.kind else { return Ok(Verdict::Wait) };
    let name = link.name.clone();
    if let Some(owner) = super::found::owner(&name).filter(|_| !link.made) {
        return refuse(
            format!("{name} (VNI {}) is a device of {owner}, which writes its rows itself", spec.vni),
            format!("use another VNI than {}: devices of {owner} are never touched", spec.vni),
        );
    }
    let same_family = info.local.is_some_and(|local| local.is_ipv4() == spec.local.is_ipv4());
    if !link.made
        && let Some(verdict) = check_family(spec, link, info, links, known)?
    {
        return Ok(verdict);
    }
    let deaf = (spec.on_demand && !info.l2miss) || spec.bare != info.proxy;
    let regroup = link.made && info.group != spec.group;
    if link.made && (info.port != spec.port || !same_family || deaf || regroup && known.failed.contains_key(&Soft::Group)) {
        // None can be changed on a device that stands; it is ours, and the configuration changed.
        return Ok(Verdict::Work(vec![Step::Delete { name }]));
    }
    let mut steps = Vec::new();
    let mut soft = |step: Step| {
        if step.soft().is_none_or(|soft| !known.failed.contains_key(&soft)) {
            steps.push(step);
        }
    };
    if regroup {
        // First: whoever the group reaches must not be missed because something else took its time.
        let what = Regroup { from: info.group, to: spec.group, port: info.port, local: spec.local };
        soft(Step::Regroup { name: name.clone(), what });
    }
    if info.learning != spec.learning {
        soft(Step::SetLearning { name: name.clone(), on: spec.learning });
    }
    if link.made && info.local != Some(spec.local) {
        soft(Step::SetLocal { name: name.clone(), local: spec.local });
    }
    if spec.fix && !link.made {
        if info.local != Some(spec.local) {
            soft(Step::SetLocal { name: name.clone(), local: spec.local });
        }
        if let Some(group) = info.group.filter(|_| spec.group.is_none()) {
            soft(Step::ClearGroup { name: name.clone(), group });
        }
    }
    if let Some(mtu) = spec.mtu.filter(|mtu| link.made && *mtu != link.mtu) {
        soft(Step::SetMtu { name: name.clone(), mtu });
    }
    if spec.bare {
        return adopt_bare(spec, link, info, links, known, steps);
    }
    let Some(master) = link.master else {
        if !link.made && !known.settled {
            return Ok(Verdict::Wait);
        }
        if spec.existing && !link.made {
            return refuse(
                format!("{name} (VNI {}) is in no bridge, and whoever made it is to put it into one", spec.vni),
                format!("ip link set {name} master <bridge>"),
            );
        }
        let up = bridge_steps(&departed::at_home(spec, links, known), &name, links, wanted, &mut steps)?;
        if link.made && !link.up {
            steps.push(Step::Up { name });
        }
        steps.extend(up);
        return Ok(Verdict::Work(steps));
    };
    let Some(bridge) = links.link(master) else { return Ok(Verdict::Wait) };
    if !matches!(bridge.kind, LinkKind::Bridge { .. }) {
        return refuse(
            format!("{name} (VNI {}) is in {}, which is not a Linux bridge", spec.vni, bridge.name),
            format!("ip link set {name} master <bridge>; or drop VNI {} from the configuration", spec.vni),
        );
    }
    check_bridge(spec, bridge, links, wanted)?;
    if link.port != Some(port_flags(spec, link.port)) {
        soft(Step::SetPort { name: name.clone(), flags: port_flags(spec, link.port) });
    }
    isolation(spec, bridge, links, known).into_iter().for_each(&mut soft);
    for (made, up, name) in [(link.made, link.up, &link.name), (bridge.made, bridge.up, &bridge.name)] {
        if (made || spec.fix) && !up {
            steps.push(Step::Up { name: name.clone() });
        }
    }
    if !steps.is_empty() {
        return Ok(Verdict::Work(steps));
    }
    Ok(Verdict::Ready(ready(spec, link, info, bridge, known)))
}

/// Whether a device that somebody else made carries the family of the VTEP: a device takes rows of one family only, told when it was made
/// (`vxlan_config_validate`, `vxlan_fdb_parse` in `drivers/net/vxlan`). `None`: it does.
fn check_family(
    spec: &DeviceSpec,
    link: &Link,
    info: &VxlanInfo,
    links: &Links,
    known: &Circumstances,
) -> Result<Option<Verdict>, Refusal> {
    let over_ipv6 = match (info.local.or(info.group), spec.local) {
        (Some(own), _) => own.is_ipv6(),
        // It says neither: made with `::` it is one of IPv6, and else one of IPv4, where nearly nobody writes `::`.
        (None, IpAddr::V4(_)) => false,
        (None, IpAddr::V6(_)) => match known.over_ipv6.get(&link.ifindex) {
            Some(over_ipv6) => *over_ipv6,
            None => return Ok(Some(Verdict::AskFamily(link.ifindex))),
        },
    };
    if over_ipv6 == spec.local.is_ipv6() {
        return Ok(None);
    }
    let (has, wants) = if over_ipv6 { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
    refuse(
        format!("{} (VNI {}) tunnels over {has}, and the VTEP {} is of {wants}", link.name, spec.vni, spec.local),
        make_again(spec, link, links.link(link.master.unwrap_or_default()), &format!("with local {}", spec.local)),
    )
}

/// What mends a device that is of the wrong sort, which none can change while it stands.
pub(super) fn make_again(spec: &DeviceSpec, link: &Link, bridge: Option<&Link>, how: &str) -> String {
    if spec.existing {
        return format!("ip link del {}, and have it made {how}", link.name);
    }
    let secs = spec.make_after.as_secs();
    let del = format!("ip link del {}, and {secs} s later evpnd makes {}", link.name, spec.device);
    match bridge.filter(|bridge| !spec.bare && bridge.name != spec.bridge) {
        Some(bridge) => format!("set `bridge` of VNI {} to {1}; then {del} in {1}", spec.vni, bridge.name),
        None if spec.bare => del,
        None => format!("{del} in {}", spec.bridge),
    }
}

/// A device that is to be in no bridge, with the steps found necessary so far.
fn adopt_bare(
    spec: &DeviceSpec,
    link: &Link,
    info: &VxlanInfo,
    links: &Links,
    known: &Circumstances,
    mut steps: Vec<Step>,
) -> Result<Verdict, Refusal> {
    let name = &link.name;
    if let Some(master) = link.master.and_then(|master| links.link(master))
        && master.kind != LinkKind::Other("vrf".to_owned())
    {
        return refuse(
            format!("{name} (VNI {}) is in {}, though bridge = \"none\"", spec.vni, master.name),
            format!("ip link set {name} nomaster; or set `bridge` of VNI {} to {}", spec.vni, master.name),
        );
    }
    if link.made && !link.up {
        steps.push(Step::Up { name: name.clone() });
    }
    if !steps.is_empty() {
        return Ok(Verdict::Work(steps));
    }
    let ready = ready(spec, link, info, link, known);
    Ok(Verdict::Ready(ReadyDevice { bridge: spec.bridge.clone(), made_bridge: false, ..ready }))
}

/// A device that works, in its bridge.
fn ready(spec: &DeviceSpec, link: &Link, info: &VxlanInfo, bridge: &Link, known: &Circumstances) -> ReadyDevice {
    ReadyDevice {
        vni: spec.vni,
        ifindex: link.ifindex,
        device: link.name.clone(),
        bridge_ifindex: bridge.ifindex,
        bridge: bridge.name.clone(),
        local: info.local,
        port: info.port,
        mtu: link.mtu,
        made_device: link.made,
        made_bridge: bridge.made,
        tells_misses: tells_misses(info),
        ipv6_off: known.ipv6_off.is_some(),
        up: is_up(link, bridge),
        warnings: warnings(spec, link, info, bridge, known),
    }
}

/// Whether frames can come in by `link` and go on by `bridge`.
pub(super) fn is_up(link: &Link, bridge: &Link) -> bool {
    link.up && link.running && bridge.up
}

/// Whether the kernel tells of frames that find no row. It does not where they are flooded.
pub(super) fn tells_misses(info: &VxlanInfo) -> bool {
    info.l2miss && info.group.is_none()
}
