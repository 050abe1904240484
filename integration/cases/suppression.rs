//! ARP and ND that stay on their host: addresses are heard, announced, installed, answered, and follow their guests.

use std::net::IpAddr;

use evpnd::lab::packet::{Frame, Outgoing};

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Guest, Host};
use crate::harness::{ensure, wait_until};

use super::scenario::{ASN, Site, VNI};

/// Questions that were flooded into tunnels (inner broadcast ARP, and neighbour solicitations to a group) for one of these
/// addresses, and all tunnelled frames.
pub fn questions(frames: &[Vec<u8>], asked: &[IpAddr]) -> (usize, usize) {
    let (mut flooded, mut tunnelled) = (0, 0);
    for frame in frames {
        let Outgoing::Vxlan { inner, .. } = Frame::classify(frame, 4789) else { continue };
        tunnelled += 1;
        let group = inner[0] & 1 == 1;
        let target = match &inner[12..14] {
            [8, 6] => inner.get(38..42).and_then(|octets| Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?))),
            [0x86, 0xdd] if inner.get(20) == Some(&58) && inner.get(54) == Some(&135) => {
                inner.get(62..78).and_then(|octets| Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?)))
            }
            _ => None,
        };
        flooded += usize::from(group && target.is_some_and(|target| asked.contains(&target)));
    }
    (flooded, tunnelled)
}

pub(super) fn v6(guest: &Guest) -> String {
    format!("fd01::{}", guest.number)
}

/// Waits until a host answers for both addresses of a guest.
pub(super) fn expect_answers(host: &Host, guest: &Guest) {
    wait_until(&format!("host {} answers for guest {}", host.number, guest.number), 30, || {
        let known = host.namespace.output("ip", ["neigh", "show", "dev", "br100"]);
        for address in [guest.address().to_string(), v6(guest)] {
            let line = format!("{address} lladdr {}", guest.mac());
            ensure(known.lines().any(|known| known.starts_with(&line) && known.contains("proto 179")), || known.clone())?;
        }
        Ok(())
    });
}

/// Pings both addresses of another guest, from an empty neighbour table.
pub(super) fn expect_pings(from: &Guest, to: &Guest) {
    from.namespace.output("ip", ["neigh", "flush", "dev", "eth0", "nud", "all"]);
    from.expect_ping(to);
    from.expect_ping_of(&v6(to));
}

fn stays(family: Family) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let daemons = site.hypervisors(family, |_| ASN, ASN);
    let [mut one, two, three] = site.guests();
    let [a, b, c] = &site.hosts;
    for guest in [&one, &two, &three] {
        guest.namespace.ip(&format!("addr add {}/64 dev eth0 nodad", v6(guest)));
        // A question for nobody tells who asks.
        guest.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", "fd01::ffff"]);
    }
    for (host, others) in [(a, [&two, &three]), (b, [&one, &three]), (c, [&one, &two])] {
        others.into_iter().for_each(|guest| expect_answers(host, guest));
    }
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let known: Vec<IpAddr> =
        [&one, &two, &three].iter().flat_map(|guest| [IpAddr::from(guest.address()), ip(&v6(guest))]).collect();
    let captures = site.hosts.each_ref().map(|host| site.fabric.capture(host));
    for (from, to) in [(&one, &two), (&two, &three), (&three, &one)] {
        expect_pings(from, to);
    }
    for capture in &captures {
        let (flooded, tunnelled) = questions(&capture.frames(), &known);
        assert_eq!(flooded, 0, "of {tunnelled} tunnelled frames");
        assert!(tunnelled >= 8, "the pings themselves were seen: {tunnelled}");
    }
    // The control: a host that nobody announced is asked for everywhere.
    one.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", "192.168.0.200"]);
    one.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", "fd01::200"]);
    let unknown = ["192.168.0.200", "fd01::200"].map(ip);
    wait_until("questions for nobody are flooded", 10, || {
        let (flooded, _) = questions(&captures[0].frames(), &unknown);
        ensure(flooded >= 2, || format!("{flooded}"))
    });
    daemons.iter().for_each(Evpnd::expect_no_difference);
    // It moves, says nothing of its addresses but that it is there, and is asked.
    one.attach(c, "br100");
    one.send(vec![crate::harness::raw::plain_frame([2, 0, 0, 0, 0, one.number], [0xff; 6])]);
    [a, b].into_iter().for_each(|host| expect_answers(host, &one));
    expect_pings(&two, &one);
    // It goes, and nobody answers for it.
    one.unplug();
    wait_until("nobody answers for what is gone", 30, || {
        let known = b.namespace.output("ip", ["neigh", "show", "dev", "br100"]);
        ensure(!known.contains(&one.mac()), || known.clone())
    });
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn arp_and_nd_for_known_hosts_stay_over_ipv4() {
    stays(Family::V4);
}

#[test]
fn arp_and_nd_for_known_hosts_stay_over_ipv6() {
    stays(Family::V6);
}

/// A daemon that starts again finds what it had heard in its bridge, though the guest says nothing.
#[test]
fn a_restart_remembers_what_silent_guests_said() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "");
    let first = Evpnd::start(a, &config(a));
    let second = Evpnd::start(b, &config(b));
    let mut guest = site.fabric.guest(11);
    guest.plug(a, VNI);
    let answers = || {
        let known = b.namespace.output("ip", ["neigh", "show", "dev", "br100"]);
        let line = format!("{} lladdr {}", guest.address(), guest.mac());
        ensure(known.contains(&line), || known.clone())
    };
    wait_until("host 2 answers for the guest", 30, answers);
    drop(first);
    let first = Evpnd::start(a, &config(a));
    first.expect_established(site.middle.v4());
    wait_until("it is announced again", 30, || {
        let macs = first.json(&["show", "macs", "--vni", "100"]);
        let ips = &macs[0]["ips"];
        ensure(ips[0] == guest.address().to_string(), || macs.to_string())
    });
    answers().expect("nothing was withdrawn that stands");
    second.expect_no_difference();
}
