//! Plans for hosts that somebody made up: what is refused, what is done, and in which order.

use std::collections::BTreeMap;
use std::net::IpAddr;

use evpnd::base::Vni;

use super::fixed::{Known, Neighbor, Row};
use super::plan::{Fabric, Goal, Here, Plan, Stage, Tunnel, Way, plan, why_not};
use super::record::{Before, Entry};
use super::step::Step;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn vni() -> Vni {
    Vni::new(100).unwrap()
}

/// On a group, as libvirt's users have it.
fn on_a_group() -> Tunnel {
    Tunnel {
        name: "vxlan100".to_owned(),
        vni: Some(vni()),
        bridge: Some("br100".to_owned()),
        group: Some(ip("239.1.1.1")),
        underlay: Some("eth0".to_owned()),
        port: 8472,
        learning: true,
        port_learning: true,
        ..Tunnel::default()
    }
}

fn on_a_list() -> Tunnel {
    Tunnel { group: None, underlay: None, flood: vec![ip("10.0.0.2"), ip("10.0.0.3")], ..on_a_group() }
}

fn not_known() -> Here {
    Here::default()
}

fn runs(way: Way) -> Here {
    Here { known: true, way: Some(way), ours: true, ..Here::default() }
}

/// Who announces VNI 100, and the group of each.
fn fabric(vteps: &[(&str, Option<&str>)]) -> Fabric {
    let announced = vteps.iter().map(|(vtep, group)| (ip(vtep), group.map(ip))).collect();
    Fabric { vtep: Some(ip("10.0.0.1")), doubt: None, vteps: BTreeMap::from([(vni(), announced)]), macs: BTreeMap::new() }
}

fn make(goal: Goal, tunnel: &Tunnel, here: &Here, fabric: &Fabric, entry: Option<&Entry>) -> Plan {
    plan((goal, false), vni(), tunnel, here, fabric, entry)
}

fn text(steps: &[Step]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

const GROUP: Option<&str> = Some("239.1.1.1");

#[test]
fn from_a_group_the_first_step_is_beside_it() {
    let begun = make(Goal::Begin, &on_a_group(), &not_known(), &fabric(&[]), None);
    assert_eq!((begun.stage, begun.way), (Stage::Untouched, Some(Some(Way::BesideGroup(ip("239.1.1.1"))))));
    assert_eq!(text(&begun.first), ["ip link set vxlan100 type vxlan local 10.0.0.1"]);
    assert!(begun.refusals.is_empty() && begun.second.is_empty() && begun.third.is_empty() && begun.last.is_empty(), "{begun:?}");
    let before = begun.entry.unwrap().before;
    assert_eq!((before.group, before.learning, before.local), (Some(ip("239.1.1.1")), true, None));
    // Asked for again, there is nothing to do.
    let again = make(Goal::Begin, &on_a_group(), &runs(Way::BesideGroup(ip("239.1.1.1"))), &fabric(&[]), None);
    assert!(again.is_empty() && again.stage == Stage::Beside, "{again:?}");
}

#[test]
fn from_a_list_the_first_step_is_beside_it_and_from_nothing_there_is_but_one() {
    let begun = make(Goal::Begin, &on_a_list(), &not_known(), &fabric(&[]), None);
    assert_eq!(begun.way, Some(Some(Way::BesideList)));
    // One VTEP as the default destination is a list, too.
    let one = Tunnel { group: Some(ip("10.0.0.2")), flood: vec![], ..on_a_list() };
    assert_eq!(make(Goal::Begin, &one, &not_known(), &fabric(&[]), None).way, Some(Some(Way::BesideList)));
    let frr = Tunnel { flood: vec![], learning: false, announced: vec![evpnd::base::MacAddr([2, 0, 0, 0, 0, 7])], ..on_a_list() };
    assert_eq!(make(Goal::Begin, &frr, &not_known(), &fabric(&[]), None).way, Some(Some(Way::Proper)));
}

#[test]
fn the_last_step_waits_for_everybody_who_is_seen() {
    let beside = runs(Way::BesideGroup(ip("239.1.1.1")));
    let seen = Tunnel { learned: BTreeMap::from([(ip("10.0.0.2"), 3), (ip("10.0.0.3"), 1)]), ..on_a_group() };
    let waits = make(Goal::Finish, &seen, &beside, &fabric(&[("10.0.0.2", GROUP)]), None);
    assert!(waits.refusals[0].contains("10.0.0.3 is on this segment without announcing it"), "{:?}", waits.refusals);
    let alone = make(Goal::Finish, &on_a_group(), &beside, &fabric(&[]), None);
    assert!(alone.refusals[0].contains("nobody else announces"), "{:?}", alone.refusals);
    let doubt = Fabric { doubt: Some("neighbor 10.0.0.254 is away".to_owned()), ..fabric(&[("10.0.0.2", GROUP)]) };
    assert!(make(Goal::Finish, &on_a_group(), &beside, &doubt, None).refusals[0].contains("10.0.0.254 is away"));
    let early = make(Goal::Finish, &on_a_group(), &not_known(), &fabric(&[]), None);
    assert!(early.refusals[0].contains("not beside EVPN yet"), "{:?}", early.refusals);
    for forced in [&doubt, &fabric(&[])] {
        assert!(plan((Goal::Finish, true), vni(), &seen, &beside, forced, None).refusals.is_empty());
    }
}

/// Copies to each first, then off the group, and out of it when the others have heard.
#[test]
fn off_the_group_in_an_order_that_loses_nothing() {
    let (tunnel, all) = (on_a_group(), fabric(&[("10.0.0.2", GROUP), ("10.0.0.3", None)]));
    let done = make(Goal::Finish, &tunnel, &runs(Way::BesideGroup(ip("239.1.1.1"))), &all, None);
    assert_eq!(done.way, Some(Some(Way::Proper)));
    assert!(done.first.is_empty() && done.second.is_empty() && done.pauses() == (false, true), "{done:?}");
    let [Step::Join(held), off] = &done.third[..] else { panic!("{done:?}") };
    assert_eq!(off.to_string(), "ip link set vxlan100 type vxlan remote 0.0.0.0");
    assert_eq!(done.last, [Step::Leave(held.clone())]);
    let (during, after) = (done.entry.unwrap(), done.entry_after.unwrap());
    assert!(during.leaving && !after.leaving);
    // Interrupted before the group went from the device, and after: the rest is done.
    let proper = runs(Way::Proper);
    let rest = make(Goal::Finish, &tunnel, &proper, &all, Some(&during));
    assert_eq!((rest.stage, rest.way, rest.third.len(), rest.last.len()), (Stage::Unfinished, None, 2, 1));
    let off = Tunnel { group: None, ..tunnel };
    let rest = make(Goal::Finish, &off, &proper, &all, Some(&during));
    assert_eq!((rest.stage, rest.way, rest.third.len(), rest.last.len()), (Stage::Unfinished, None, 0, 1));
    let rest = make(Goal::Finish, &off, &proper, &all, Some(&after));
    assert!(rest.is_empty() && rest.stage == Stage::Converted, "{rest:?}");
}

#[test]
fn a_list_is_taken_over_in_one_go() {
    let all = fabric(&[("10.0.0.2", None), ("10.0.0.3", None)]);
    let done = make(Goal::Finish, &on_a_list(), &runs(Way::BesideList), &all, None);
    let [Step::BridgeMaybe(lines)] = &done.third[..] else { panic!("{done:?}") };
    assert_eq!(lines[0], "fdb del 00:00:00:00:00:00 dev vxlan100");
    assert_eq!(lines[1], "fdb append 00:00:00:00:00:00 dev vxlan100 dst 10.0.0.2 self extern_learn");
    assert_eq!(lines.len(), 3);
    let one = make(Goal::Finish, &on_a_list(), &runs(Way::BesideList), &fabric(&[("10.0.0.2", None)]), None);
    assert!(one.refusals[0].contains("10.0.0.3"), "{:?}", one.refusals);
}

/// Joined first, then back on the group, and only then are the others told.
#[test]
fn back_to_the_group_and_from_there_to_what_was() {
    let (tunnel, group) = (on_a_group(), Way::BesideGroup(ip("239.1.1.1")));
    let entry = make(Goal::Begin, &tunnel, &not_known(), &fabric(&[]), None).entry.unwrap();
    let off = Tunnel { group: None, learning: false, ..tunnel.clone() };
    let back = make(Goal::Undo, &off, &runs(Way::Proper), &fabric(&[("10.0.0.2", None)]), Some(&entry));
    assert_eq!((back.way, back.pauses()), (Some(Some(group)), (true, false)));
    assert_eq!(text(&back.second), ["ip link set vxlan100 type vxlan group 239.1.1.1 dev eth0"]);
    assert!(matches!((&back.first[..], &back.last[..]), ([Step::Join(_)], [Step::Release(_)])), "{back:?}");
    // Interrupted at its end, asked for again: not a step farther.
    let rest = make(Goal::Undo, &tunnel, &runs(group), &fabric(&[]), back.entry.as_ref());
    assert_eq!((rest.way, rest.third.len()), (Some(Some(group)), 0));
    assert_eq!(rest.entry_after, back.entry_after);
    // Who replicates and hears no group would not be heard.
    let deaf = make(Goal::Undo, &tunnel, &runs(group), &fabric(&[("10.0.0.2", None), ("10.0.0.3", GROUP)]), Some(&entry));
    assert!(deaf.refusals[0].starts_with("10.0.0.2 would not hear this host"), "{:?}", deaf.refusals);
    let out = make(Goal::Undo, &tunnel, &runs(group), &fabric(&[("10.0.0.3", GROUP)]), Some(&entry));
    assert_eq!((out.way, out.refusals.len(), &out.entry_after), (Some(None), 0, &None));
    assert!(text(&out.third).contains(&"ip link set vxlan100 type vxlan learning".to_owned()), "{:?}", out.third);
    // Interrupted after the configuration: the rest of it.
    let rest = make(Goal::Undo, &tunnel, &not_known(), &fabric(&[]), out.entry.as_ref());
    assert_eq!((rest.way, &rest.third[..]), (None, &out.third[1..]), "but for a row that went with the daemon");
    let nothing = make(Goal::Undo, &tunnel, &not_known(), &fabric(&[]), None);
    assert!(nothing.is_empty(), "{nothing:?}");
}

#[test]
fn what_cannot_be_undone_or_is_not_ours_is_said() {
    let by_hand = Here { ours: false, ..runs(Way::BesideGroup(ip("239.1.1.1"))) };
    let said = make(Goal::Finish, &on_a_group(), &by_hand, &fabric(&[("10.0.0.2", GROUP)]), None);
    assert!(said.refusals[0].contains("was not written by this command: change it there"), "{:?}", said.refusals);
    let said = make(Goal::Undo, &on_a_group(), &by_hand, &fabric(&[]), None);
    assert!(said.refusals[0].contains("not converted by evpnctl migrate"), "{:?}", said.refusals);
    let other = Here { way: None, ..by_hand };
    assert!(make(Goal::Begin, &on_a_group(), &other, &fabric(&[]), None).refusals[0].contains("no step of a migration"));
    let elsewhere = Tunnel { local: Some(ip("10.0.0.9")), ..on_a_group() };
    let said = make(Goal::Begin, &elsewhere, &not_known(), &fabric(&[]), None);
    assert!(said.refusals[0].contains("sends from 10.0.0.9"), "{:?}", said.refusals);
    let made = Here { made: true, ..runs(Way::Proper) };
    let entry = Entry { before: Before::default(), ..Entry::default() };
    assert!(make(Goal::Undo, &on_a_group(), &made, &fabric(&[]), Some(&entry)).refusals[0].contains("made by evpnd"));
}

#[test]
fn what_others_than_the_file_hold_is_not_taken_from_them() {
    let holders = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let (group, all) = (Way::BesideGroup(ip("239.1.1.1")), fabric(&[("10.0.0.3", GROUP)]));
    let entry = make(Goal::Begin, &on_a_group(), &not_known(), &all, None).entry.unwrap();
    // The file's, and a hook's as well: the last step back would not bring it back.
    let both = Here { holders: holders(&["libvirt:web1", "adopt = \"all\""]), ..runs(group) };
    assert!(make(Goal::Finish, &on_a_group(), &both, &all, Some(&entry)).refusals.is_empty());
    let said = make(Goal::Undo, &on_a_group(), &both, &all, Some(&entry)).refusals;
    for words in ["libvirt:web1 (evpnctl vni del 100 --for libvirt:web1)", "(ignore-devices = [\"vxlan100\"] in [vxlan]"] {
        assert!(said[0].contains(words), "{words}: {said:?}");
    }
    // The hook's alone: it is not as it was, though the file does not know it.
    let held = Here { holders: holders(&["evpnctl vni add"]), ..not_known() };
    let plain = Tunnel { group: None, learning: false, ..on_a_group() };
    for goal in [Goal::Begin, Goal::Finish, Goal::Undo] {
        let done = make(goal, &plain, &held, &all, None);
        assert!(done.stage == Stage::Held && done.is_empty() && done.refusals.is_empty(), "{done:?}");
    }
    let said = make(Goal::Begin, &on_a_group(), &held, &all, None);
    assert!(said.is_empty() && said.refusals[0].contains("evpnctl vni add (evpnctl vni del 100)"), "{said:?}");
    // Interrupted, and held by somebody since.
    let said = make(Goal::Undo, &plain, &held, &all, Some(&Entry { restoring: true, ..entry }));
    assert!(said.is_empty() && said.refusals[0].contains("cannot be given back"), "{said:?}");
}

#[test]
fn devices_of_others_and_such_as_evpnd_cannot_run_are_left_alone() {
    assert_eq!(why_not(&on_a_group(), false), None);
    let with = |change: fn(&mut Tunnel)| {
        let mut tunnel = on_a_group();
        change(&mut tunnel);
        why_not(&tunnel, false).unwrap_or_default()
    };
    assert!(with(|tunnel| tunnel.name = "cilium_vxlan".to_owned()).contains("Cilium"));
    assert!(with(|tunnel| tunnel.name = "flannel.1".to_owned()).contains("flannel"));
    assert!(with(|tunnel| tunnel.name = "vx-001001-abcde".to_owned()).contains("Docker"));
    assert!(with(|tunnel| tunnel.name = "ovs-100".to_owned()).contains("Open vSwitch"));
    assert_eq!(with(|tunnel| tunnel.name = "vx-blue".to_owned()), "", "an operator may call it so");
    assert!(with(|tunnel| tunnel.external = true).contains("external"));
    assert!(with(|tunnel| tunnel.bridge = None).contains("in no bridge"));
    assert!(with(|tunnel| tunnel.vlan_aware = true).contains("VLAN-aware"));
}

/// Answered by what stands on the device, and flooded to nobody.
#[test]
fn what_floods_nothing_stays_so() {
    let mac = evpnd::base::MacAddr([2, 0, 0, 0, 0, 7]);
    let written = || Tunnel {
        group: None,
        underlay: None,
        local: Some(ip("10.0.0.1")),
        learning: false,
        proxy: true,
        fixed: vec![Row::to(mac, ip("10.0.0.2"))],
        neighbors: vec![Neighbor { ip: ip("192.168.0.7"), mac, router: false }],
        ..on_a_group()
    };
    let begun = make(Goal::Begin, &written(), &not_known(), &fabric(&[]), None);
    assert_eq!((begun.way, begun.refusals.len()), (Some(Some(Way::Known)), 0));
    let entry = begun.entry.unwrap();
    // Beside hosts without EVPN, and as long as one of them is not announced: nobody else announces anything of type 3.
    let known = runs(Way::Known);
    let early = make(Goal::Finish, &written(), &known, &fabric(&[]), Some(&entry));
    assert!(early.stage == Stage::Beside && early.refusals.len() == 2, "{:?}", early.refusals);
    let told = Known { remote: Some((ip("10.0.0.2"), None)), ips: vec![ip("192.168.0.7")] };
    let all = Fabric { macs: BTreeMap::from([(vni(), BTreeMap::from([(mac, told)]))]), ..fabric(&[]) };
    let done = make(Goal::Finish, &written(), &known, &all, Some(&entry));
    assert_eq!((done.way, done.refusals.len(), done.third.len()), (None, 0, 2));
    let empty = Tunnel { fixed: vec![], neighbors: vec![], ..written() };
    let back = make(Goal::Undo, &empty, &known, &all, Some(&entry));
    assert_eq!((back.stage, back.way, back.second.len()), (Stage::Converted, Some(Some(Way::Known)), 2));
    let out = make(Goal::Undo, &written(), &known, &all, Some(&entry));
    assert_eq!((out.stage, out.way, out.second.len()), (Stage::Beside, Some(None), 0));
    // What would be forgotten, and what cannot be in no bridge.
    let learns = Tunnel { learned: BTreeMap::from([(ip("10.0.0.2"), 3)]), ..written() };
    let said = make(Goal::Begin, &learns, &not_known(), &fabric(&[]), None).refusals;
    assert!(said[0].contains("learns where 3 MACs are") && said[0].contains("type vxlan nolearning"), "{said:?}");
    let bare = |flood: Vec<IpAddr>| Tunnel { bridge: None, flood, ..written() };
    assert_eq!(why_not(&bare(vec![]), false), None);
    assert!(why_not(&bare(vec![ip("10.0.0.2")]), false).unwrap().contains("(bridge = \"none\"), and this floods"));
    assert!(
        why_not(&Tunnel { bridge: None, ..empty.clone() }, false).is_some()
            && why_not(&Tunnel { bridge: None, ..empty }, true).is_none()
    );
}
