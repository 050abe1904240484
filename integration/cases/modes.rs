//! The ways to run a segment, over IPv4 and IPv6: rows and traffic in each, and a reload from one to another under traffic.

use evpnd::lab::packet::{Frame, Outgoing};

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Capture, Family, Guest};
use crate::harness::raw::{self, PacketSocket, plain_frame};
use crate::harness::{ensure, wait_until};

use super::scenario::{ASN, Site, VNI};

/// Three hypervisors of ours whose VNI has `more` keys, behind our reflector.
fn with_site(family: Family, more: &str, act: impl FnOnce(&Site, &[Evpnd<'_>; 3])) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let daemons = site.hosts.each_ref().map(|host| {
        let config = Config::hypervisor(host, ASN, family).neighbor(site.middle.address(family), "").vni(VNI, more);
        Evpnd::start(host, &config)
    });
    daemons.iter().for_each(|daemon| daemon.expect_established(site.middle.address(family)));
    act(&site, &daemons);
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

/// Routes of a type in the table.
fn routes(daemon: &Evpnd<'_>, kind: &str) -> usize {
    daemon.json(&["show", "routes", "--type", kind]).as_array().map_or(0, Vec::len)
}

fn expect_routes(daemon: &Evpnd<'_>, kind: &str, wanted: impl Fn(usize) -> bool) {
    wait_until(&format!("routes of type {kind}"), 20, || {
        let found = routes(daemon, kind);
        ensure(wanted(found), || format!("{found} routes of type {kind}"))
    });
}

/// Lines of the VXLAN device's forwarding database.
fn rows(site: &Site, host: usize) -> Vec<String> {
    let shown = site.hosts[host].namespace.output("bridge", ["fdb", "show", "dev", "vxlan100"]);
    shown.lines().filter(|line| line.contains(" dst ")).map(str::to_owned).collect()
}

/// Tunnelled frames to a group, as the tenants see it.
pub(super) fn floods(capture: &Capture) -> usize {
    let frames = capture.frames();
    let inner = frames.iter().filter_map(|frame| match Frame::classify(frame, 4789) {
        Outgoing::Vxlan { inner, .. } => Some(inner[0] & 1 == 1),
        _ => None,
    });
    inner.filter(|group| *group).count()
}

fn flood_list_only(family: Family) {
    with_site(family, "learning = true\n", |site, daemons| {
        let [a, b, c] = site.hosts.each_ref().map(|host| host.address(family));
        site.hosts[0].expect_flood_list(VNI, &[b, c]);
        site.hosts[1].expect_flood_list(VNI, &[a, c]);
        site.hosts[2].expect_flood_list(VNI, &[a, b]);
        let [mut one, two, three] = site.guests();
        one.expect_ping(&two);
        two.expect_ping(&three);
        three.expect_ping(&one);
        daemons.iter().for_each(|daemon| assert_eq!((routes(daemon, "2"), routes(daemon, "3")), (0, 3)));
        // The kernel found out by itself, and its entries are not ours.
        let learned: Vec<String> = rows(site, 0).into_iter().filter(|line| line.contains(&two.mac())).collect();
        assert!(learned.len() == 1 && !learned[0].contains("extern_learn"), "{learned:?}");
        // A guest that moves is found where it speaks.
        one.plug(&site.hosts[2], VNI);
        two.expect_ping(&one);
    });
}

#[test]
fn flood_list_only_over_ipv4() {
    flood_list_only(Family::V4);
}

#[test]
fn flood_list_only_over_ipv6() {
    flood_list_only(Family::V6);
}

fn known_hosts(family: Family) {
    with_site(family, "flood = \"none\"\n", |site, daemons| {
        let captures = site.hosts.each_ref().map(|host| site.fabric.capture(host));
        let [mut one, two, three] = site.guests();
        // MAC and address of each.
        daemons.iter().for_each(|daemon| expect_routes(daemon, "2", |found| found == 6));
        one.expect_ping(&two);
        two.expect_ping(&three);
        three.expect_ping(&one);
        daemons.iter().for_each(|daemon| assert_eq!(routes(daemon, "3"), 0));
        assert!(rows(site, 0).iter().all(|line| !line.starts_with("00:00:00:00:00:00")), "{:?}", rows(site, 0));
        // Nobody has it: the question goes nowhere, and is counted where it was asked. For hosts that are known none was.
        let counted = |daemon: &Evpnd<'_>| daemon.status("/counters/fib_asked_unknown");
        let before = daemons.each_ref().map(counted);
        assert!(!one.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", "192.168.0.200"]));
        wait_until("the question is counted", 10, || {
            let now = daemons.each_ref().map(counted);
            ensure(now[0] > before[0] && now[1..] == before[1..], || format!("{before:?} {now:?}"))
        });
        one.plug(&site.hosts[2], VNI);
        two.expect_ping(&one);
        for capture in &captures {
            assert_eq!(floods(capture), 0, "nothing was flooded, not even for a host that nobody knows");
        }
    });
}

#[test]
fn known_hosts_over_ipv4() {
    known_hosts(Family::V4);
}

#[test]
fn known_hosts_over_ipv6() {
    known_hosts(Family::V6);
}

fn group(family: Family) -> &'static str {
    match family {
        Family::V4 => "239.1.1.1",
        Family::V6 => "ff05::100",
    }
}

/// One broadcast of a guest reaches each other guest once.
fn expect_once(from: &Guest, others: &[&Guest]) {
    let sockets: Vec<PacketSocket> = others
        .iter()
        .map(|guest| raw::in_namespace(guest.namespace.name(), || PacketSocket::open("eth0")).expect("a packet socket"))
        .collect();
    let frame = plain_frame([2, 0, 0, 0, 0, from.number], [0xff; 6]);
    from.send(vec![frame.clone()]);
    // What comes more than once comes with the first: the ping after it is behind all copies.
    others.iter().for_each(|other| from.expect_ping(other));
    for (socket, other) in sockets.iter().zip(others) {
        let (mut copies, mut buffer) = (0, vec![0; 65536]);
        while let Some((len, _)) = socket.try_receive(&mut buffer).expect("a packet socket that works") {
            copies += usize::from(buffer[..len.min(65536)] == frame[..]);
        }
        assert_eq!(copies, 1, "from guest {} to guest {}", from.number, other.number);
    }
}

/// Two hypervisors of ours beside a third that knows nothing of EVPN: multicast and learning, as it was before.
fn beside_multicast(family: Family) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, c] = &site.hosts;
    let more = format!("flood = \"multicast\"\ngroup = \"{}\"\n", group(family));
    let daemons = [a, b].map(|host| {
        let config = Config::hypervisor(host, ASN, family).neighbor(site.middle.address(family), "").vni(VNI, &more);
        Evpnd::start(host, &config)
    });
    c.namespace.ip_batch(&format!(
        "link add name br100 type bridge mcast_snooping 0\nlink set br100 addrgenmode none up\n\
         link add vxlan100 type vxlan id 100 local {} group {} dev eth0 dstport 4789\n\
         link set vxlan100 addrgenmode none master br100 up\n",
        c.address(family),
        group(family)
    ));
    let [mut one, two, three] = site.guests();
    daemons.iter().for_each(|daemon| expect_routes(daemon, "2", |found| found >= 2));
    for (from, others) in [(&one, [&two, &three]), (&two, [&one, &three]), (&three, [&one, &two])] {
        expect_once(from, &others);
    }
    // Known by EVPN, and found by its frames.
    let of = |guest: &Guest| rows(&site, 0).into_iter().filter(|line| line.contains(&guest.mac())).collect::<Vec<_>>();
    let (known, found) = (of(&two), of(&three));
    assert!(known.len() == 1 && known[0].contains("extern_learn"), "{known:?}");
    assert!(found.len() == 1 && !found[0].contains("extern_learn"), "{found:?}");
    let list: Vec<String> = rows(&site, 0).into_iter().filter(|line| line.starts_with("00:00:00:00:00:00")).collect();
    assert!(list.len() == 1 && list[0].contains(group(family)), "{list:?}");
    // From the old world to the new and back: it is found where it speaks.
    one.plug(c, VNI);
    two.expect_ping(&one);
    one.plug(a, VNI);
    two.expect_ping(&one);
    three.expect_ping(&one);
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn beside_multicast_over_ipv4() {
    beside_multicast(Family::V4);
}

#[test]
fn beside_multicast_over_ipv6() {
    beside_multicast(Family::V6);
}

/// The last step of the way off: hosts that have left the group and hosts that have not share the segment.
fn hosts_in_a_group_and_hosts_that_replicate_share_a_segment(family: Family) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let more = format!("flood = \"multicast\"\ngroup = \"{}\"\n", group(family));
    let config = |number: usize, more: &str| {
        let host = &site.hosts[number];
        Config::hypervisor(host, ASN, family).neighbor(site.middle.address(family), "").vni(VNI, more)
    };
    let daemons = [0, 1, 2].map(|n| Evpnd::start(&site.hosts[n], &config(n, if n < 2 { &more } else { "" })));
    let [one, two, three] = site.guests();
    let all_once = || {
        daemons.iter().for_each(|daemon| expect_routes(daemon, "3", |found| found == 3));
        for (from, others) in [(&one, [&two, &three]), (&two, [&one, &three]), (&three, [&one, &two])] {
            from.expect_ping(others[0]);
            expect_once(from, &others);
        }
    };
    let [a, b, c] = site.hosts.each_ref().map(|host| host.address(family));
    let joined: std::net::IpAddr = group(family).parse().expect("an address");
    site.hosts[2].expect_flood_list(VNI, &[a, b]);
    site.hosts[0].expect_flood_list(VNI, &[c, joined]);
    site.hosts[1].expect_flood_list(VNI, &[c, joined]);
    all_once();
    // The others follow, by a reload each.
    for n in [0, 1] {
        daemons[n].rewrite(&config(n, ""));
        daemons[n].say(&["reload"]);
        // Its device is made anew without the group.
        wait_until("its device has no group", 20, || {
            let show = ["-d", "link", "show", "dev", "vxlan100"];
            let there = site.hosts[n].namespace.succeeds("ip", show);
            let shown = if there { site.hosts[n].namespace.output("ip", show) } else { String::new() };
            ensure(shown.contains("vxlan id 100") && !shown.contains(group(family)), || shown.clone())
        });
        let others = site.hosts.iter().filter(|host| host.number != site.hosts[n].number);
        let others: Vec<_> = others.map(|host| host.address(family)).collect();
        site.hosts[n].expect_flood_list(VNI, &others);
        if n == 0 {
            // The one that is still in the group has to hear that the other is not.
            site.hosts[1].expect_flood_list(VNI, &[a, c, joined]);
        }
        all_once();
    }
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn hosts_in_a_group_and_hosts_that_replicate_share_a_segment_over_ipv4() {
    hosts_in_a_group_and_hosts_that_replicate_share_a_segment(Family::V4);
}

#[test]
fn hosts_in_a_group_and_hosts_that_replicate_share_a_segment_over_ipv6() {
    hosts_in_a_group_and_hosts_that_replicate_share_a_segment(Family::V6);
}

/// From EVPN proper to learning, to known hosts and back, by reloads: guests reach one another in each, and what the last way left
/// behind is gone.
#[test]
fn a_reload_changes_the_way() {
    with_site(Family::V4, "", |site, daemons| {
        let [one, two, _three] = site.guests();
        one.expect_ping(&two);
        for (more, type2, type3) in
            [("learning = true\n", false, 3), ("", true, 3), ("flood = \"none\"\n", true, 0), ("", true, 3)]
        {
            for (daemon, host) in daemons.iter().zip(&site.hosts) {
                let config = Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, more);
                daemon.rewrite(&config);
                daemon.say(&["reload"]);
            }
            for daemon in daemons {
                expect_routes(daemon, "3", |found| found == type3);
                expect_routes(daemon, "2", |found| (found >= 3) == type2);
            }
            // It speaks, as guests do: what was not listened to before is heard now.
            [&one, &two].into_iter().for_each(|guest| guest.speak());
            one.expect_ping(&two);
            two.expect_ping(&one);
            let ours = || rows(site, 0).into_iter().filter(|line| line.contains(&two.mac())).collect::<Vec<_>>();
            wait_until("the row of the other guest", 20, || {
                let found = ours();
                ensure(found.len() == 1 && found[0].contains("extern_learn") == type2, || format!("{more:?}: {found:?}"))
            });
            daemons.iter().for_each(Evpnd::expect_no_difference);
        }
    });
}
