//! A guest that has its address by DHCP, with real programs (dnsmasq, udhcpc): the answer of the server is all that evpnd hears of it, for
//! the guest says nothing else. Other hosts answer for it by then; a lease that goes to another guest takes them along, and
//! one that its guest does not live by ends.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Guest, Host, write};
use crate::harness::netns::Process;
use crate::harness::{ensure, wait_until};

use super::scenario::{ASN, Site};

/// All that the server has to give.
const LEASE: &str = "192.168.0.50";

/// The server, in a guest.
fn serve(guest: &Guest, files: &Host) -> Process {
    let leases = format!("--dhcp-leasefile={}", files.path("leases").display());
    let range = format!("--dhcp-range={LEASE},{LEASE},2m");
    let words = ["--conf-file=/dev/null", "--no-daemon", "--port=0", "--user=root", "--interface=eth0", "--bind-interfaces"];
    let more = ["--dhcp-authoritative", "--no-ping", "--log-dhcp", "--pid-file=", &range, &leases];
    guest.namespace.spawn("dnsmasq", words.into_iter().chain(more), &files.path("dnsmasq.log"))
}

/// A guest without an address, and a client that asks for one without end, gives it back when it is told to end (`-R`), and
/// leaves the address to `script`.
fn ask(guest: &mut Guest, host: &Host, script: &str) -> Process {
    guest.attach(host, "br100");
    guest.namespace.ip("addr flush dev eth0");
    let script = write(host, "lease", &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("a file of ours");
    let words = ["-i", "eth0", "-f", "-R", "-t", "20", "-T", "1", "-s", script.to_str().expect("a path of ours")];
    guest.namespace.spawn("udhcpc", words, &host.path("udhcpc.log"))
}

/// Waits until `host` answers for the leased address, with this MAC; `None`: for nobody.
#[track_caller]
fn expect_answer(host: &Host, mac: Option<String>) {
    wait_until(&format!("whom host {} answers {LEASE} with: {mac:?}", host.number), 40, || {
        let known = host.namespace.output("ip", ["neigh", "show", "dev", "br100"]);
        let found = known.lines().find_map(|line| line.strip_prefix(&format!("{LEASE} lladdr "))?.split(' ').next());
        ensure(found == mac.as_deref(), || known.clone())
    });
}

#[test]
fn a_lease_is_announced_before_its_guest_says_anything_else_and_moves_and_ends() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let daemons = site.hypervisors(Family::V4, |_| ASN, ASN);
    daemons.iter().for_each(|daemon| daemon.expect_established(site.middle.v4()));
    let [a, b, c] = &site.hosts;
    let [mut server, mut first, mut second] = [11, 21, 31].map(|number| site.fabric.guest(number));
    server.plug(a, 100);
    let _dnsmasq = serve(&server, a);

    // Its own end of the lease is left unused: it says not even that it is there.
    let client = ask(&mut first, b, "exit 0");
    [a, c].into_iter().for_each(|host| expect_answer(host, Some(first.mac())));
    assert!(!first.namespace.output("ip", ["-4", "addr", "show", "dev", "eth0"]).contains(LEASE));
    drop(client);

    // The same guest as guests are: it takes the address, and is reached by it.
    let mut client = ask(&mut first, b, "test $1 != bound || ip addr replace $ip/24 dev $interface");
    wait_until("the server reaches it", 30, || {
        ensure(server.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", LEASE]), || "no answer".to_owned())
    });
    // It gives the address back, and another guest on another host is given it.
    client.signal(libc::SIGTERM);
    assert!(client.wait(Duration::from_secs(20)).is_some(), "{}", client.log());
    first.namespace.ip("addr flush dev eth0");
    // The server's word alone does not take it from the first, whose lease is still announced: the guest's own does.
    let _client = ask(&mut second, c, "test $1 != bound || ip addr replace $ip/24 dev $interface");
    [a, b].into_iter().for_each(|host| expect_answer(host, Some(second.mac())));
    second.namespace.ip("addr flush dev eth0");

    // It does not live by it: what nobody answers for ages out. In hundredths of a second.
    c.namespace.ip("link set br100 type bridge ageing_time 500");
    [a, b].into_iter().for_each(|host| expect_answer(host, None));
    daemons.iter().for_each(Evpnd::expect_no_difference);
}
