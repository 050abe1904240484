//! From what stands to what is to be done about one VNI, in an order that loses no frame. Nothing is asked or done here.
//!
//! A VNI goes through three ways, and back: *as it was* (a group, or a list of VTEPs), *beside* (announced and heard by EVPN, and
//! flooding and learning as before), *proper* (by EVPN alone). A plan is made of what is seen, never of what an earlier run meant to
//! do: so an interrupted one is resumed by asking for the same again.
//!
//! Off the group: the copies to each VTEP stand before the group goes from the device, and the host stays in it until the others
//! have heard that they must send it copies. A host joins, stays in and leaves by a second device with the same group, whose socket
//! is the same: while a tunnel is up, a change of its group changes what the host has joined at once (Linux 6.15, and 6.1.0-56 and
//! 6.12.117 of Debian), which loses frames, or never (5.10), which has them come twice; and setting it down would lose frames and learned MACs
//! (`vxlan_changelink`, `vxlan_multicast_leave`, `vxlan_group_used`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use evpnd::base::{MacAddr, Vni};
use evpnd::config::NO_BRIDGE;

use super::fixed::{self, Macs, Neighbor, Row};
use super::held;
use super::record::{Before, Entry};
use super::step::{Membership, Step};

/// How a VNI runs by the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// EVPN, and the group for hosts without.
    BesideGroup(IpAddr),
    /// EVPN, and the list of VTEPs that somebody wrote for hosts without.
    BesideList,
    /// EVPN alone.
    Proper,
    /// EVPN for known hosts, and nothing is flooded; what somebody wrote for hosts without stands as long as there are any.
    Known,
}

/// Where a VNI is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// Beside hosts without EVPN; to EVPN alone where there is nobody to be beside of.
    Begin,
    /// EVPN alone.
    Finish,
    /// One step back.
    Undo,
}

/// How far a VNI has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Untouched,
    Beside,
    /// EVPN alone by the configuration, but the device still has something of before.
    Unfinished,
    Converted,
    /// The daemon runs it for others than the file: callers of `vni add`, or `adopt = "all"`.
    Held,
    /// The file says something else about it.
    Other,
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::Beside => "beside",
            Self::Unfinished => "unfinished",
            Self::Converted => "converted",
            Self::Held => "held",
            Self::Other => "other",
        }
    }
}

/// A VXLAN device of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tunnel {
    pub name: String,
    pub vni: Option<Vni>,
    pub bridge: Option<String>,
    pub vlan_aware: bool,
    /// The default destination: a group, or one VTEP.
    pub group: Option<IpAddr>,
    pub underlay: Option<String>,
    pub local: Option<IpAddr>,
    pub port: u16,
    pub zero_checksums: bool,
    pub learning: bool,
    pub external: bool,
    pub port_learning: bool,
    pub suppression: bool,
    /// It answers ARP and ND by its own neighbours, and floods no question.
    pub proxy: bool,
    /// Its bridge takes no neighbours of IPv6.
    pub ipv6_off: bool,
    /// VTEPs of the flood list that are not the control plane's by their mark.
    pub flood: Vec<IpAddr>,
    /// Those that are, and the default destination where it has their mark.
    pub copies: Vec<IpAddr>,
    /// MACs that somebody wrote, and neighbours.
    pub fixed: Vec<Row>,
    pub neighbors: Vec<Neighbor>,
    /// VTEPs behind which the kernel found MACs, and how many.
    pub learned: BTreeMap<IpAddr, usize>,
    /// MACs of a control plane.
    pub announced: Vec<MacAddr>,
}

/// What the daemon and its file say of a VNI.
#[derive(Debug, Clone, Default)]
pub(super) struct Here {
    /// The file has it.
    pub known: bool,
    /// It runs in this way; none: in another.
    pub way: Option<Way>,
    /// It stands in the part of the file that this command writes.
    pub ours: bool,
    /// The file has it without a bridge.
    pub bare: bool,
    /// evpnd made the device.
    pub made: bool,
    /// For whom the daemon runs it whatever the file says, in the words of `show vnis`.
    pub holders: Vec<String>,
}

/// What is known of the fabric.
#[derive(Debug, Clone, Default)]
pub(super) struct Fabric {
    /// Our own tunnel address.
    pub vtep: Option<IpAddr>,
    /// Why what others announce may not all be known.
    pub doubt: Option<String>,
    /// Who announces each VNI (type 3), and the group that it hears.
    pub vteps: BTreeMap<Vni, BTreeMap<IpAddr, Option<IpAddr>>>,
    /// What is known of MACs, where somebody wrote rows.
    pub macs: BTreeMap<Vni, Macs>,
}

/// What is to be done about one VNI, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub vni: Vni,
    pub device: String,
    pub bridge: String,
    pub stage: Stage,
    /// What stands now, in words.
    pub now: String,
    /// What will stand.
    pub then: String,
    /// Why it may not be done.
    pub refusals: Vec<String>,
    /// What to know about it.
    pub notes: Vec<String>,
    /// Before anything else; after it the others get time to notice, where the host joined a group.
    pub first: Vec<Step>,
    /// Before the configuration.
    pub second: Vec<Step>,
    /// The configuration: none, nothing changes; `Some(None)`, the VNI leaves it.
    pub way: Option<Option<Way>>,
    /// Once the daemon has done its part.
    pub third: Vec<Step>,
    /// After the others had time to notice.
    pub last: Vec<Step>,
    /// What is kept of it while this is done, and afterwards.
    pub entry: Option<Entry>,
    pub entry_after: Option<Entry>,
}

impl Plan {
    /// Whether anything would be done.
    pub(super) fn is_empty(&self) -> bool {
        self.way.is_none() && [&self.first, &self.second, &self.third, &self.last].iter().all(|steps| steps.is_empty())
    }

    /// Whether the daemon is to have no such VNI any more.
    pub(super) fn lets_go(&self) -> bool {
        self.way == Some(None) || self.entry.as_ref().is_some_and(|entry| entry.restoring)
    }

    /// Whether the others must be given time: before the second steps, before the last.
    pub(super) fn pauses(&self) -> (bool, bool) {
        let is = |steps: &[Step], kind: fn(&Step) -> bool| steps.iter().any(kind);
        (is(&self.first, |step| matches!(step, Step::Join(_))), is(&self.last, |step| matches!(step, Step::Leave(_))))
    }
}

/// Why a device is none that this command converts; none where it is. `bare`: it runs, or ran, without a bridge by this command.
pub(super) fn why_not(tunnel: &Tunnel, bare: bool) -> Option<String> {
    if let Some(owner) = evpnd::kernel::owner(&tunnel.name) {
        return Some(format!("it is {owner}'s, who makes it anew as it pleases"));
    }
    if tunnel.external || tunnel.vni.is_none() {
        return Some("it is a single device for many VNIs (external), which evpnd does not run".to_owned());
    }
    if tunnel.bridge.is_none() && !bare && !(fixed::any(tunnel) && fixed::is_silent(tunnel)) {
        let floods = if fixed::any(tunnel) { ", where evpnd floods nothing (bridge = \"none\"), and this floods" } else { "" };
        return Some(format!("it is in no bridge{floods}: ip link set {} master BRIDGE", tunnel.name));
    }
    tunnel.vlan_aware.then(|| "its bridge is VLAN-aware, which evpnd does not run".to_owned())
}

/// Whether a VNI of the file is nothing of this command's: an operator wrote it, and its device was never converted.
pub(super) fn is_foreign(here: &Here, entry: Option<&Entry>) -> bool {
    here.known && !here.ours && entry.is_none()
}

/// How far a VNI has come.
pub(super) fn stage(tunnel: &Tunnel, here: &Here, entry: Option<&Entry>) -> Stage {
    match (here.known, here.way) {
        (false, _) if !here.holders.is_empty() => Stage::Held,
        (false, _) => Stage::Untouched,
        (true, None) => Stage::Other,
        (true, Some(Way::BesideGroup(_) | Way::BesideList)) => Stage::Beside,
        (true, Some(Way::Known)) if entry.is_some() && fixed::any(tunnel) => Stage::Beside,
        (true, Some(Way::Known)) => Stage::Converted,
        (true, Some(Way::Proper)) => {
            let rows = entry.is_some() && (!tunnel.flood.is_empty() || fixed::any(tunnel));
            let left = tunnel.group.is_some() && !here.made || rows || entry.is_some_and(|entry| entry.leaving);
            if left { Stage::Unfinished } else { Stage::Converted }
        }
    }
}

pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// A device in words.
fn describe(tunnel: &Tunnel) -> String {
    let mut parts = Vec::new();
    match (tunnel.group, &tunnel.underlay) {
        (Some(group), Some(underlay)) if group.is_multicast() => parts.push(format!("floods to group {group} on {underlay}")),
        (Some(one), _) => parts.push(format!("floods to {one}")),
        (None, _) => {}
    }
    if !tunnel.flood.is_empty() {
        parts.push(format!("floods to a list of {} VTEPs", tunnel.flood.len()));
    }
    if !tunnel.fixed.is_empty() {
        parts.push(format!("{} MACs written by somebody", tunnel.fixed.iter().filter(|row| row.dst.is_some()).count()));
    }
    if tunnel.proxy || !tunnel.neighbors.is_empty() {
        let what = if tunnel.proxy { "answers ARP and ND from" } else { "has" };
        parts.push(format!("{what} {} neighbours written by somebody", tunnel.neighbors.len()));
    }
    parts.push(if tunnel.learning { "learns from tunnelled frames" } else { "does not learn" }.to_owned());
    let learned: usize = tunnel.learned.values().sum();
    if learned > 0 {
        parts.push(format!("found {learned} MACs behind {} VTEPs", tunnel.learned.len()));
    }
    if !tunnel.announced.is_empty() {
        parts.push(format!("{} MACs of a control plane", tunnel.announced.len()));
    }
    parts.join(", ")
}

fn describe_way(way: Option<Way>) -> String {
    match way {
        Some(Way::BesideGroup(group)) => {
            format!("EVPN, and group {group} for hosts without (flood = \"multicast\"): what EVPN knows goes to its VTEP alone")
        }
        Some(Way::BesideList) => "EVPN, and its list and learning for hosts without (learning = \"beside\")".to_owned(),
        Some(Way::Proper) => "EVPN alone".to_owned(),
        Some(Way::Known) => "EVPN for known hosts, and nothing flooded (flood = \"none\")".to_owned(),
        None => "as it was before EVPN".to_owned(),
    }
}

/// The way to begin with.
fn first_way(tunnel: &Tunnel) -> Way {
    match tunnel.group {
        Some(group) if group.is_multicast() => Way::BesideGroup(group),
        _ if fixed::is_silent(tunnel) => Way::Known,
        None if tunnel.flood.is_empty() && tunnel.fixed.is_empty() => Way::Proper,
        _ => Way::BesideList,
    }
}

/// A device as it stands, to be remembered.
fn before(tunnel: &Tunnel) -> Before {
    Before {
        device: tunnel.name.clone(),
        group: tunnel.group,
        underlay: tunnel.underlay.clone(),
        learning: tunnel.learning,
        port_learning: tunnel.port_learning,
        suppression: tunnel.suppression,
        local: tunnel.local,
        flood: tunnel.flood.clone(),
        fixed: tunnel.fixed.clone(),
        neighbors: tunnel.neighbors.clone(),
        bare: tunnel.bridge.is_none(),
    }
}

/// Who is seen on the segment and announces nothing.
fn strangers(tunnel: &Tunnel, announced: &BTreeMap<IpAddr, Option<IpAddr>>, own: Option<IpAddr>) -> BTreeSet<IpAddr> {
    let seen = tunnel.learned.keys().chain(&tunnel.flood).chain(tunnel.fixed.iter().filter_map(|row| row.dst.as_ref())).copied();
    let one = tunnel.group.filter(|group| !group.is_multicast());
    seen.chain(one).filter(|vtep| !announced.contains_key(vtep) && Some(*vtep) != own).collect()
}

/// Makes the plan for one VNI of this host.
pub(super) fn plan(
    (goal, force): (Goal, bool),
    vni: Vni,
    tunnel: &Tunnel,
    here: &Here,
    fabric: &Fabric,
    entry: Option<&Entry>,
) -> Plan {
    let bridge = tunnel.bridge.clone().unwrap_or_else(|| NO_BRIDGE.to_owned());
    let stage = stage(tunnel, here, entry);
    let mut plan = Plan {
        vni,
        device: tunnel.name.clone(),
        bridge,
        stage,
        now: describe(tunnel),
        then: String::new(),
        refusals: Vec::new(),
        notes: Vec::new(),
        first: Vec::new(),
        second: Vec::new(),
        way: None,
        third: Vec::new(),
        last: Vec::new(),
        entry: entry.cloned(),
        entry_after: entry.cloned(),
    };
    if stage == Stage::Other {
        plan.refusals.push(
            "the configuration runs it in a way that is no step of a migration: take its [[vni]] out of the file".to_owned(),
        );
        return plan;
    }
    if stage == Stage::Held {
        held::leave(&mut plan, goal, tunnel, here);
        return plan;
    }
    let none = BTreeMap::new();
    let announced = fabric.vteps.get(&vni).unwrap_or(&none);
    match goal {
        Goal::Begin => begin(&mut plan, tunnel, fabric),
        Goal::Finish => finish(&mut plan, force, tunnel, here, fabric, announced),
        Goal::Undo => undo(&mut plan, force, tunnel, here, fabric, announced),
    }
    if plan.way.is_some() && here.known && !here.ours {
        plan.refusals.push(match plan.way {
            Some(Some(way)) => {
                format!("its [[vni]] was not written by this command: change it there to {}, and ask again", keys(way))
            }
            _ => "its [[vni]] was not written by this command: take it out of the file by hand".to_owned(),
        });
    }
    plan
}

/// The keys of a way, in words.
pub(super) fn keys(way: Way) -> String {
    match way {
        Way::BesideGroup(group) => format!("flood = \"multicast\", group = \"{group}\""),
        Way::BesideList => "flood = \"ingress-replication\", learning = \"beside\"".to_owned(),
        Way::Proper => "flood = \"ingress-replication\", learning = false".to_owned(),
        Way::Known => "flood = \"none\", learning = false".to_owned(),
    }
}

fn begin(plan: &mut Plan, tunnel: &Tunnel, fabric: &Fabric) {
    if plan.stage != Stage::Untouched {
        return;
    }
    let way = first_way(tunnel);
    plan.then = describe_way(Some(way));
    match (fabric.vtep, tunnel.local) {
        (None, _) => plan.refusals.push("the daemon has no VTEP: write vtep = \"…\" into [router] and restart it".to_owned()),
        (Some(vtep), Some(local)) if vtep != local => plan.refusals.push(format!(
            "it sends from {local}, and evpnd would tell others {vtep}: set vtep = \"{local}\" in [router], or \
             ip link set {} type vxlan local {vtep}",
            tunnel.name
        )),
        (Some(vtep), None) => plan.first.push(Step::Ip(format!("link set {} type vxlan local {vtep}", tunnel.name))),
        _ => {}
    }
    if way == Way::Known && !tunnel.learned.is_empty() {
        plan.refusals.push(format!(
            "it floods to nobody and learns where {} MACs are, which would be forgotten: write a row for each on every host, and \
             ip link set {} type vxlan nolearning",
            tunnel.learned.values().sum::<usize>(),
            tunnel.name
        ));
    }
    // A device that was being given back is not yet as it was.
    let given_back = plan.entry.take().filter(|entry| entry.restoring).map(|entry| entry.before);
    plan.entry = Some(Entry { before: given_back.unwrap_or_else(|| before(tunnel)), ..Entry::default() });
    plan.entry_after = plan.entry.clone();
    plan.way = Some(Some(way));
}

fn finish(
    plan: &mut Plan,
    force: bool,
    tunnel: &Tunnel,
    here: &Here,
    fabric: &Fabric,
    announced: &BTreeMap<IpAddr, Option<IpAddr>>,
) {
    match plan.stage {
        Stage::Untouched => {
            plan.refusals.push("it is not beside EVPN yet: first without --finish, on every host of the segment".to_owned());
            return;
        }
        Stage::Converted | Stage::Held | Stage::Other => return,
        Stage::Beside | Stage::Unfinished => {}
    }
    let silent = here.way == Some(Way::Known);
    plan.then = describe_way(Some(if silent { Way::Known } else { Way::Proper }));
    let macs = fabric.macs.get(&plan.vni).cloned().unwrap_or_default();
    if !force {
        if let Some(doubt) = &fabric.doubt {
            plan.refusals.push(format!("who else announces this VNI is not known for sure: {doubt}"));
        }
        plan.refusals.extend(fixed::missing(tunnel, &macs));
        // Where nothing is flooded nobody asks for copies: a host is known by its MACs.
        let strangers = if silent { BTreeSet::new() } else { strangers(tunnel, announced, fabric.vtep) };
        if !strangers.is_empty() {
            plan.refusals.push(format!(
                "{} on this segment without announcing it: convert {} first (evpnctl migrate there), or, where it is gone for \
                 good, --force",
                list(&strangers) + if strangers.len() == 1 { " is" } else { " are" },
                if strangers.len() == 1 { "that host" } else { "those hosts" },
            ));
        }
        if announced.is_empty() && plan.refusals.is_empty() && !silent {
            plan.refusals.push("nobody else announces this VNI: this host would be alone in it (--force where it is)".to_owned());
        }
    }
    let mut entry = plan.entry.take().unwrap_or_else(|| Entry { before: before(tunnel), ..Entry::default() });
    if plan.stage == Stage::Beside && !silent {
        plan.way = Some(Some(Way::Proper));
        plan.notes.push(format!("announced by {}: compare with the hosts that should be", list(announced.keys())));
    }
    if here.made && tunnel.group.is_some() {
        plan.notes.push("evpnd made this device: it takes the group from it 3 s after it has told the others".to_owned());
    }
    if !here.made {
        if let Some(membership) = membership(tunnel, &entry.before).filter(|_| tunnel.group.is_some() || entry.leaving) {
            entry.leaving = true;
            plan.third.extend(tunnel.group.map(|_| Step::Join(membership.clone())));
            plan.last.push(Step::Leave(membership));
        }
        if let Some(group) = tunnel.group {
            let any = if group.is_ipv4() { "0.0.0.0" } else { "::" };
            plan.third.push(Step::Ip(format!("link set {} type vxlan remote {any}", tunnel.name)));
        }
        if !tunnel.flood.is_empty() {
            // Taken over in one go: each of them by EVPN's mark from now on, so that it goes with its host.
            let mut lines = vec![format!("fdb del {FLOOD} dev {}", tunnel.name)];
            lines.extend(
                announced.keys().map(|vtep| format!("fdb append {FLOOD} dev {} dst {vtep} self extern_learn", tunnel.name)),
            );
            plan.third.push(Step::BridgeMaybe(lines));
        }
        plan.third.extend(fixed::take_over(tunnel, &macs));
    }
    plan.entry_after = Some(Entry { leaving: false, ..entry.clone() });
    plan.entry = Some(entry);
}

/// The address under which a VXLAN device keeps its flood list.
const FLOOD: &str = "00:00:00:00:00:00";

/// What the host joined for a device.
fn membership(tunnel: &Tunnel, before: &Before) -> Option<Membership> {
    let group = tunnel.group.or(before.group).filter(IpAddr::is_multicast)?;
    let underlay = tunnel.underlay.clone().or_else(|| before.underlay.clone())?;
    Some(Membership { group, underlay, port: tunnel.port, zero_checksums: tunnel.zero_checksums })
}

fn undo(
    plan: &mut Plan,
    force: bool,
    tunnel: &Tunnel,
    here: &Here,
    fabric: &Fabric,
    announced: &BTreeMap<IpAddr, Option<IpAddr>>,
) {
    let Some(mut entry) = plan.entry.take() else {
        if here.known {
            plan.refusals.push("how it was before is not known: it was not converted by evpnctl migrate".to_owned());
        }
        return;
    };
    if here.made {
        plan.refusals.push(format!("{} was made by evpnd: there is nothing that it was before", tunnel.name));
        return;
    }
    let before = entry.before.clone();
    let macs = fabric.macs.get(&plan.vni).cloned().unwrap_or_default();
    let rows = fixed::put_back(tunnel, &before, &macs);
    let back = match before.group {
        // Where none of them can come back yet there is but one step.
        _ if here.way == Some(Way::Known) => (!rows.is_empty() || plan.stage == Stage::Beside).then_some(Way::Known),
        Some(group) if group.is_multicast() => Some(Way::BesideGroup(group)),
        None if before.flood.is_empty() && before.fixed.is_empty() => None,
        _ => Some(Way::BesideList),
    };
    let one = |group: IpAddr| format!("link set {} type vxlan remote {group}", tunnel.name);
    match (plan.stage, back) {
        (Stage::Converted | Stage::Unfinished, Some(back)) => {
            plan.then = describe_way(Some(back));
            if let (Way::BesideGroup(group), true) = (back, tunnel.group != before.group || entry.leaving) {
                if let Some(membership) = membership(&Tunnel { group: Some(group), ..tunnel.clone() }, &before) {
                    plan.second
                        .push(Step::Ip(format!("link set {} type vxlan group {group} dev {}", tunnel.name, membership.underlay)));
                    plan.first.push(Step::Join(membership.clone()));
                    plan.last.push(Step::Release(membership));
                }
                // A daemon that was restarted meanwhile takes them for somebody's: all rows of the list share their mark.
                let hears = announced.iter().filter(|(_, joined)| **joined == Some(group));
                let copies: Vec<String> =
                    hears.map(|(vtep, _)| format!("fdb del {FLOOD} dev {} dst {vtep}", tunnel.name)).collect();
                plan.third.extend((!copies.is_empty()).then_some(Step::BridgeMaybe(copies)));
            } else if back == Way::BesideList {
                plan.second.extend((!before.flood.is_empty()).then(|| Step::Bridge(append(tunnel, &before))));
                plan.second.extend(before.group.filter(|_| tunnel.group.is_none()).map(|group| Step::Ip(one(group))));
            }
            plan.second.extend(rows);
            plan.way = Some(Some(back));
            entry.leaving = false;
            plan.entry_after = Some(Entry { stepping: false, ..entry.clone() });
            entry.stepping = true;
        }
        // That was interrupted at its end: it is not taken for a wish to go farther.
        (Stage::Beside, Some(back)) if entry.stepping => {
            plan.then = describe_way(Some(back));
            plan.way = Some(Some(back));
            plan.entry_after = Some(Entry { stepping: false, ..entry.clone() });
        }
        (Stage::Untouched, _) if !entry.restoring => return,
        _ => {
            plan.then = describe_way(None);
            let deaf: Vec<&IpAddr> = match before.group.filter(IpAddr::is_multicast) {
                Some(group) => announced.iter().filter(|(_, joined)| **joined != Some(group)).map(|(vtep, _)| vtep).collect(),
                None => Vec::new(),
            };
            if here.known && !deaf.is_empty() && !force {
                plan.refusals.push(format!(
                    "{} would not hear this host any more: take a step back there first (evpnctl migrate --undo), or --force",
                    list(deaf)
                ));
            } else if here.known && matches!(back, Some(Way::BesideList | Way::Known)) {
                let what =
                    "hosts that have dropped their list, or their rows, would not reach this one: first a step back on each";
                plan.notes.push(what.to_owned());
            }
            if !here.holders.is_empty() {
                plan.refusals.push(format!(
                    "it would leave the file and stay with the daemon, for {}: let go of it there first",
                    held::by(here, plan.vni, &plan.device)
                ));
            }
            plan.way = here.known.then_some(None);
            // Those that an interrupted last step had taken over stand before the daemon takes its own away.
            plan.second.extend(rows.into_iter().filter(|_| here.known));
            entry.restoring = true;
            plan.third = restore(tunnel, &before, announced);
            plan.entry_after = None;
        }
    }
    plan.entry = Some(entry);
}

fn append(tunnel: &Tunnel, before: &Before) -> Vec<String> {
    before.flood.iter().map(|vtep| format!("fdb append {FLOOD} dev {} dst {vtep}", tunnel.name)).collect()
}

/// A device as it was, once the daemon has let go of it.
fn restore(tunnel: &Tunnel, before: &Before, announced: &BTreeMap<IpAddr, Option<IpAddr>>) -> Vec<Step> {
    let (name, on_off) = (&tunnel.name, |on: bool| if on { "on" } else { "off" });
    let mut steps = Vec::new();
    if !before.flood.is_empty() {
        steps.push(Step::Bridge(append(tunnel, before)));
    }
    steps.extend(fixed::restore(tunnel, before));
    steps.extend(fixed::unmark(tunnel, before));
    // Those that came to the list by EVPN, and were left standing for who was beside it.
    let kept = |vtep: &&IpAddr| !before.flood.contains(vtep) && before.group != Some(**vtep);
    let came: BTreeSet<&IpAddr> = announced.keys().chain(&tunnel.flood).chain(&tunnel.copies).filter(kept).collect();
    let gone: Vec<String> = came.iter().map(|vtep| format!("fdb del {FLOOD} dev {name} dst {vtep}")).collect();
    if !gone.is_empty() {
        steps.push(Step::BridgeMaybe(gone));
    }
    steps.push(Step::Ip(format!("link set {name} type vxlan {}", if before.learning { "learning" } else { "nolearning" })));
    let (learning, suppression) = (on_off(before.port_learning), on_off(before.suppression));
    let port = tunnel.bridge.is_some().then(|| format!("link set dev {name} learning {learning} neigh_suppress {suppression}"));
    steps.extend(port.map(|line| Step::Bridge(vec![line])));
    steps
}
