//! A virtual address, as keepalived has it, goes from a guest of one host to a guest of another and back. Where ARP and ND are answered
//! on the spot its own announcements stay on its host: guests elsewhere hear of it from their own.

use std::time::Duration;

use evpnd::base::MacAddr;
use evpnd::kernel::announcement;
use evpnd::lab::packet::{Frame, Outgoing};

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Guest};
use crate::harness::watch::Pings;
use crate::harness::{ensure, patience, wait_until};

use super::scenario::{ASN, Site, VNI};

const V4: [u8; 4] = [192, 168, 0, 100];
const V6: &str = "fd01::64";

fn v4() -> String {
    std::net::Ipv4Addr::from(V4).to_string()
}

/// The guest takes the addresses and says so as keepalived does, once for each.
fn takes(guest: &Guest) {
    guest.namespace.ip_batch(&format!("addr add {}/24 dev eth0\naddr add {V6}/64 dev eth0 nodad\n", v4()));
    let mac = MacAddr([2, 0, 0, 0, 0, guest.number]);
    guest.send([v4(), V6.to_owned()].map(|ip| announcement(mac, ip.parse().expect("an address"), false)).into());
}

fn gives_up(guest: &Guest) {
    guest.namespace.ip_batch(&format!("addr del {}/24 dev eth0\naddr del {V6}/64 dev eth0\n", v4()));
}

/// What a daemon counts.
fn counter(daemon: &Evpnd<'_>, name: &str) -> u64 {
    daemon.json(&["show", "status"])["counters"][name].as_u64().expect("a counter")
}

#[test]
fn guests_everywhere_follow_an_address_to_another_mac() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let daemons = site.hypervisors(Family::V4, |_| ASN, ASN);
    daemons.iter().for_each(|daemon| daemon.expect_established(site.middle.v4()));
    let [far, first, second] = site.guests();
    let mut near = site.fabric.guest(22);
    near.plug(&site.hosts[1], VNI);
    for guest in [&far, &first, &second, &near] {
        guest.namespace.ip(&format!("addr add fd01::{}/64 dev eth0 nodad", guest.number));
    }
    takes(&first);
    let watchers = || [&far, &near].into_iter().flat_map(|guest| [v4(), V6.to_owned()].map(|target| (guest, target)));
    let pings: Vec<_> =
        watchers().map(|(guest, target)| (guest.number, target.clone(), Pings::to(guest, &target, &site.hosts[0]))).collect();
    let tunnelled = site.fabric.capture(&site.hosts[0]);
    for (from, to) in [(&first, &second), (&second, &first)] {
        // Answers are there, and a while passes in which caches are as they are in life.
        std::thread::sleep(Duration::from_secs(3));
        gives_up(from);
        takes(to);
    }
    std::thread::sleep(Duration::from_secs(3));
    for (guest, target, pings) in pings {
        let gap = pings.longest_gap();
        println!("guest {guest} to {target}: {gap:?} without an answer");
        assert!(gap < patience(2), "guest {guest} had no answer from {target} for {gap:?}");
    }
    let [a, b, c] = &daemons;
    // The host that gets it tells nobody: its guests heard it. Both families, both times; each frame twice, to the guests that are there.
    let told = || [a, b, c].map(|daemon| counter(daemon, "evpn_address_moves_told"));
    assert_eq!(told(), [4, 2, 2]);
    wait_until("frames sent to guests", 10, || {
        let sent =
            [(a, 4 + 4), (b, 2 * (2 + 2)), (c, 2 + 2)].map(|(daemon, most)| (counter(daemon, "kernel_announcements_sent"), most));
        ensure(sent.iter().all(|(sent, most)| *sent <= *most && *sent >= most / 2), || format!("{sent:?}"))
    });
    assert_eq!([a, b, c].map(|daemon| counter(daemon, "kernel_announcements_refused")), [0; 3]);
    // None of it crossed the fabric, and no bridge learned from it.
    let crossed = tunnelled.frames().into_iter().filter(|frame| match Frame::classify(frame, 4789) {
        Outgoing::Vxlan { inner, .. } => inner[12..14] == [8, 6] && inner.get(28..32) == Some(&V4[..]),
        _ => false,
    });
    assert_eq!(crossed.count(), 0, "announcements in tunnels");
    let rows = |guest: &Guest, host: &crate::harness::fabric::Host| (guest.mac(), host.v4());
    let [h1, h2, h3] = &site.hosts;
    for (host, others) in [
        (h1, vec![rows(&first, h2), rows(&near, h2), rows(&second, h3)]),
        (h2, vec![rows(&far, h1), rows(&second, h3)]),
        (h3, vec![rows(&far, h1), rows(&first, h2), rows(&near, h2)]),
    ] {
        host.expect_rows(VNI, &others.into_iter().collect());
    }
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

/// Guests keep the old owner's MAC while their daemon is away, and hear of the new one when it is back and knows: without a word of theirs.
#[test]
fn guests_are_told_of_an_address_that_moved_while_their_daemon_was_away() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [away, _there, _other] = site.hypervisors(Family::V4, |_| ASN, ASN);
    let [far, first, second] = site.guests();
    for guest in [&far, &first, &second] {
        guest.namespace.ip(&format!("addr add fd01::{}/64 dev eth0 nodad", guest.number));
    }
    let [a, b, _] = &site.hosts;
    let targets = [v4(), V6.to_owned()];
    let expect_known = |what: &str, shown: &dyn Fn(&str) -> String, owner: &Guest| {
        wait_until(what, 30, || {
            let shown = targets.each_ref().map(|target| shown(target));
            ensure(shown.iter().all(|line| line.contains(&owner.mac())), || format!("{shown:?}"))
        });
    };
    let of_guest = |target: &str| far.namespace.output("ip", ["neigh", "show", target, "dev", "eth0"]);
    let of_host = |host: &crate::harness::fabric::Host, target: &str| {
        host.namespace.output("ip", ["neigh", "show", target, "dev", "br100"])
    };
    takes(&first);
    expect_known("the host answers for it", &|target| of_host(a, target), &first);
    for target in &targets {
        wait_until("it answers", 20, || {
            ensure(far.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", target]), || of_guest(target))
        });
    }
    expect_known("a guest knows it", &of_guest, &first);
    assert!(away.stop().success());
    gives_up(&first);
    takes(&second);
    expect_known("the others have heard of it", &|target| of_host(b, target), &second);
    expect_known("nobody told this guest", &of_guest, &first);
    let away = Evpnd::start_again(a);
    expect_known("its guest is told", &of_guest, &second);
    assert_eq!(counter(&away, "evpn_address_moves_told"), 2);
    away.expect_no_difference();
}
