//! `install = "on-demand"`: nothing stands until somebody talks, over IPv4 and IPv6, with guests that only ask, guests that only send,
//! a guest that tries every MAC there is, a restart, and devices that cannot tell of misses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use evpnd::lab::packet::{Frame, Outgoing};

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Capture, Family, Guest, Host};
use crate::harness::raw::{self, PacketSocket, plain_frame};
use crate::harness::{ensure, patience, rows, wait_until};

use super::scenario::{ASN, Site, VNI};

const LIFETIME: u64 = 10;
const MORE: &str = "flood = \"none\"\ninstall = \"on-demand\"\ninstall-lifetime = 10\n";

fn config(host: &Host, middle: &Host, family: Family, more: &str) -> Config {
    Config::hypervisor(host, ASN, family).neighbor(middle.address(family), "").vni(VNI, more)
}

fn start(site: &Site, family: Family) -> [Evpnd<'_>; 3] {
    let daemons = site.hosts.each_ref().map(|host| Evpnd::start(host, &config(host, &site.middle, family, MORE)));
    daemons.iter().for_each(|daemon| daemon.expect_established(site.middle.address(family)));
    daemons
}

/// Waits until a daemon knows the MACs and addresses of other hosts' guests, none of which is in the kernel.
fn expect_known(daemon: &Evpnd<'_>, guests: &[&Guest]) {
    wait_until("the guests are announced", 20, || {
        for guest in guests {
            let mac = daemon.mac(&guest.mac());
            let (ips, row) = (&mac["ips"], &mac["row"]);
            ensure(*ips == serde_json::json!([guest.address().to_string()]) && *row == "on_demand", || mac.to_string())?;
        }
        Ok(())
    });
}

/// Echo requests that were answered, of so many at such distances.
fn pings(from: &Guest, to: &Guest, count: u32, interval: &str) -> u32 {
    let (count, target) = (count.to_string(), to.address().to_string());
    let said = from.namespace.output("sh", ["-c", &format!("ping -n -q -c {count} -i {interval} -W 2 {target} || true")]);
    let received = said.split(", ").find_map(|part| part.strip_suffix(" received"));
    received.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

fn answers(host: &Host) -> String {
    let known = host.namespace.output("ip", ["neigh", "show", "dev", "br100"]);
    known.lines().filter(|line| line.contains("proto 179")).map(|line| format!("{line}\n")).collect()
}

/// Tunnelled frames to a group, as the tenants see it.
fn floods(capture: &Capture) -> usize {
    let frames = capture.frames();
    let groups = frames.iter().filter(|frame| match Frame::classify(frame, 4789) {
        Outgoing::Vxlan { inner, .. } => inner[0] & 1 == 1,
        _ => false,
    });
    groups.count()
}

/// The kernel holds what is talked to for a lifetime after the last frame, and nothing else.
fn lives(family: Family) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let daemons = start(&site, family);
    let captures = site.hosts.each_ref().map(|host| site.fabric.capture(host));
    let [mut one, two, three] = site.guests();
    let [a, b, c] = &site.hosts;
    let [va, vb, vc] = site.hosts.each_ref().map(|host| host.address(family));
    for (daemon, others) in daemons.iter().zip([[&two, &three], [&one, &three], [&one, &two]]) {
        expect_known(daemon, &others);
    }
    site.hosts.iter().for_each(|host| host.expect_remote_macs(VNI, &[]));
    let rows = daemons[0].json(&["show", "vnis", "100"])[0]["rows"].clone();
    assert_eq!((&rows["wanted"], &rows["on_demand"], &rows["in_sync"]), (&2.into(), &2.into(), &0.into()), "{rows}");
    let told = daemons[0].say(&["explain", "vni", "100", "mac", &two.mac()]);
    assert!(told.contains("on demand") && told.contains("nobody here talks to"), "{told}");
    daemons.iter().for_each(Evpnd::expect_no_difference);

    // A question has the neighbour and the row written, at both ends; the third is left alone.
    one.expect_ping(&two);
    a.expect_remote_macs(VNI, &[(&two, vb)]);
    b.expect_remote_macs(VNI, &[(&one, va)]);
    c.expect_remote_macs(VNI, &[]);
    assert!(answers(a).contains(&two.mac()) && !answers(a).contains(&three.mac()), "{}", answers(a));
    daemons.iter().for_each(Evpnd::expect_no_difference);

    // Used, it outlives its lifetime several times, without a loss.
    let began = Instant::now();
    let sent = 5 * (3 * LIFETIME as u32);
    assert_eq!(pings(&one, &two, sent, "0.2"), sent);
    assert!(began.elapsed() > Duration::from_secs(2 * LIFETIME));
    a.expect_remote_macs(VNI, &[(&two, vb)]);
    assert_eq!(daemons[0].status("/counters/fib_put_to_sleep"), 0);

    // Silent, it goes, and so does its neighbour.
    let patient = Instant::now() + patience(4 * LIFETIME);
    while Instant::now() < patient && daemons[0].status("/rows/on_demand") < 2 {
        std::thread::sleep(Duration::from_millis(200));
    }
    a.expect_remote_macs(VNI, &[]);
    b.expect_remote_macs(VNI, &[]);
    wait_until("the neighbour goes as well", 4 * LIFETIME, || ensure(!answers(a).contains(&two.mac()), || answers(a)));
    daemons.iter().for_each(Evpnd::expect_no_difference);

    // Without a question, because the guest remembers: the frame itself does it. The first is lost, no more.
    let entry = format!("neigh replace {} lladdr {} dev eth0 nud permanent", three.address(), three.mac());
    one.namespace.ip(&entry);
    let received = pings(&one, &three, 10, "0.5");
    assert!(received >= 8, "{received} of 10 answered");
    a.expect_remote_macs(VNI, &[(&three, vc)]);
    assert!(daemons[0].status("/counters/fib_misses") >= 1);

    // A guest comes up elsewhere while its port here still stands, as in a live migration: that is written though nobody talks
    // to it, for the bridge must give up its port.
    let mut moved = site.fabric.twin(&one);
    moved.plug(c, VNI);
    let leads_to =
        |host: &Host, guest: &Guest| rows::remote_macs(&host.namespace, "vxlan100").map(|rows| rows.get(&guest.mac()).copied());
    wait_until("the old host follows", 20, || {
        let found = leads_to(a, &moved)?;
        ensure(found == Some(vc), || format!("{found:?}"))
    });
    one.unplug();
    two.expect_ping(&moved);
    wait_until("a host that talks to it follows", 20, || {
        let found = leads_to(b, &moved)?;
        ensure(found == Some(vc), || format!("{found:?}"))
    });

    for capture in &captures {
        assert_eq!(floods(capture), 0, "nothing was flooded");
    }
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

#[test]
fn rows_live_while_they_are_used_over_ipv4() {
    lives(Family::V4);
}

#[test]
fn rows_live_while_they_are_used_over_ipv6() {
    lives(Family::V6);
}

/// A guest sends to MACs that nobody has, as fast as it can: the daemon goes on, others are served, nothing is written for it.
#[test]
fn a_guest_that_tries_every_mac_stalls_nobody() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let daemons = start(&site, Family::V4);
    let [one, two, three] = site.guests();
    expect_known(&daemons[0], &[&two, &three]);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (ending, namespace, number) = (stop.clone(), one.namespace.name().to_owned(), one.number);
    let scanner = std::thread::spawn(move || {
        let socket = raw::in_namespace(&namespace, || PacketSocket::open("eth0")).expect("a packet socket");
        let mut sent = 0u32;
        while !ending.load(std::sync::atomic::Ordering::Relaxed) {
            let target = rows::mac(0x66, sent % (1 << 24));
            let _ = socket.send(&plain_frame([2, 0, 0, 0, 0, number], target));
            sent += 1;
        }
        sent
    });
    let mut slowest = Duration::ZERO;
    let until = Instant::now() + Duration::from_secs(8);
    // Meanwhile another guest of the same host begins to talk.
    let mut fourth = site.fabric.guest(12);
    fourth.plug(&site.hosts[0], VNI);
    fourth.expect_ping(&three);
    while Instant::now() < until {
        let asked = Instant::now();
        daemons[0].say(&["show", "status"]);
        slowest = slowest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let sent = scanner.join().expect("the scanner");
    let [misses, unknown, dropped] =
        ["fib_misses", "fib_misses_unknown", "kernel_misses_dropped"].map(|name| daemons[0].status(&format!("/counters/{name}")));
    println!(
        "{sent} frames, {misses} misses read, {unknown} of nobody, the kernel dropped some {dropped} times; slowest answer {slowest:?}"
    );
    assert!(sent > 50_000 && unknown > 1000, "{sent} {unknown}");
    assert!(slowest < patience(2), "{slowest:?}");
    assert_eq!(daemons[0].status("/overflows"), 0, "notifications of the kernel are not lost by it");
    assert_eq!(daemons[0].neighbor(site.middle.v4())["dropped_count"], 0);
    let shown = rows::remote_macs(&site.hosts[0].namespace, "vxlan100").expect("rows");
    assert_eq!(shown, BTreeMap::from([(three.mac(), site.hosts[2].v4())]), "of those who were talked to, and no other");
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

/// A restart finds what is in use and leaves it, and writes nothing else.
#[test]
fn a_restart_keeps_what_is_in_use() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [first, second, third] = start(&site, Family::V4);
    let [one, two, three] = site.guests();
    expect_known(&first, &[&two, &three]);
    one.expect_ping(&two);
    let [a, b, _] = &site.hosts;
    a.expect_remote_macs(VNI, &[(&two, b.v4())]);
    let pinging = one.namespace.name().to_owned();
    let address = two.address().to_string();
    let traffic = std::thread::spawn(move || {
        let script = format!("ping -n -q -c 150 -i 0.1 -W 2 {address} || true");
        let output = std::process::Command::new("ip").args(["netns", "exec", &pinging, "sh", "-c", &script]).output();
        String::from_utf8_lossy(&output.expect("ping runs").stdout).into_owned()
    });
    assert!(first.stop().success());
    let again = Evpnd::start(a, &config(a, &site.middle, Family::V4, MORE));
    again.expect_established(site.middle.v4());
    expect_known(&again, &[&three]);
    let said = traffic.join().expect("the pings");
    assert!(said.contains(" 150 received"), "{said}");
    a.expect_remote_macs(VNI, &[(&two, b.v4())]);
    [&again, &second, &third].into_iter().for_each(Evpnd::expect_no_difference);
}

/// An adopted device that cannot tell of misses has all its rows, and says why; one of ours is made anew; and back.
#[test]
fn a_device_without_l2miss_gets_all_rows_or_is_made_anew() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, c] = &site.hosts;
    let middle = &site.middle;
    a.make_vxlan(VNI, a.v4());
    let first = Evpnd::start(a, &config(a, middle, Family::V4, MORE));
    let second = Evpnd::start(b, &config(b, middle, Family::V4, "flood = \"none\"\n"));
    let third = Evpnd::start(c, &config(c, middle, Family::V4, MORE));
    let [one, two, three] = site.guests();
    a.expect_remote_macs(VNI, &[(&two, b.v4()), (&three, c.v4())]);
    let warnings = first.json(&["show", "vnis", "100"])[0]["warnings"].to_string();
    assert!(warnings.contains("without l2miss") && warnings.contains("ip link del vxlan100"), "{warnings}");
    // What it says to do is what helps.
    a.namespace.ip("link del vxlan100");
    wait_until("evpnd makes one", 60, || ensure(a.has_interface("vxlan100"), || "no".to_owned()));
    expect_known(&first, &[&two, &three]);
    a.expect_remote_macs(VNI, &[]);
    one.expect_ping(&two);
    a.expect_remote_macs(VNI, &[(&two, b.v4())]);
    // One that evpnd made is made anew when that is wanted, and has all rows again when it is not.
    b.expect_remote_macs(VNI, &[(&one, a.v4()), (&three, c.v4())]);
    second.rewrite(&config(b, middle, Family::V4, MORE));
    second.say(&["reload"]);
    expect_known(&second, &[&three]);
    two.expect_ping(&three);
    second.rewrite(&config(b, middle, Family::V4, "flood = \"none\"\n"));
    second.say(&["reload"]);
    b.expect_remote_macs(VNI, &[(&one, a.v4()), (&three, c.v4())]);
    two.expect_ping(&one);
    [&first, &second, &third].into_iter().for_each(Evpnd::expect_no_difference);
}
