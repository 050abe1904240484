//! An adopted bridge with IPv6 off (`disable_ipv6`), as CloudStack's own script and careful operators make it: a known state with one
//! warning, mended by turning it on, or by evpnd where it may.

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Guest, Host};
use crate::harness::{ensure, wait_until};

use super::isolation::{expect_isolated, is_isolated};
use super::scenario::{ASN, Site, VNI, state};
use super::suppression::{expect_answers, expect_pings, questions, v6};

fn set_off(host: &Host, off: bool) {
    host.namespace.sysctl("net/ipv6/conf/br100/disable_ipv6", if off { "1" } else { "0" });
}

fn is_off(host: &Host) -> bool {
    host.namespace.output("cat", ["/proc/sys/net/ipv6/conf/br100/disable_ipv6"]).trim() == "1"
}

/// Waits until `show vnis` warns of it, and of nothing else, or no more.
#[track_caller]
fn expect_warned(daemon: &Evpnd<'_>, wanted: bool) {
    wait_until(&format!("a warning of IPv6: {wanted}"), 20, || {
        let vni = &daemon.json(&["show", "vnis", "100"])[0];
        let warnings: Vec<&str> = vni["warnings"].as_array().into_iter().flatten().filter_map(|text| text.as_str()).collect();
        let as_wanted = match warnings[..] {
            [] => !wanted,
            [one] => wanted && one.starts_with("IPv6 is off at br100, "),
            _ => false,
        };
        ensure(as_wanted && vni["state"] == "ready" && vni["suppressed"]["failed"] == 0, || vni.to_string())
    });
}

/// Guests with an address of IPv6 that have said so.
fn plug(site: &Site, host: &Host, number: u8) -> Guest {
    let mut guest = site.fabric.guest(number);
    guest.plug(host, VNI);
    guest.namespace.ip(&format!("addr add {}/64 dev eth0 nodad", v6(&guest)));
    guest.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", "fd01::ffff"]);
    guest
}

#[test]
fn an_adopted_bridge_with_ipv6_off_is_a_known_state() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    a.make_vxlan(VNI, a.v4());
    set_off(a, true);
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "");
    let (first, second) = (Evpnd::start(a, &config(a)), Evpnd::start(b, &config(b)));
    let (here, there) = (plug(&site, a, 11), plug(&site, b, 21));
    expect_answers(b, &here);
    expect_warned(&first, true);
    assert!(first.control(&["diff"]).status.success(), "what cannot stand is no difference");
    first.expect_no_difference();
    assert_eq!(first.status("/counters/fib_neighbors_failed"), 0);
    let doctor = String::from_utf8_lossy(&first.control(&["doctor"]).stdout).into_owned();
    assert!(doctor.contains("nd:br100: VNI 100: IPv6 is off at br100") && doctor.contains("`fix-devices = true`"), "{doctor}");
    assert!(!doctor.contains("rows: ") && !doctor.contains("vni:"), "{doctor}");
    // ND is flooded: guests do not suffer.
    expect_pings(&here, &there);

    set_off(a, false);
    expect_answers(a, &there);
    expect_warned(&first, false);
    let capture = site.fabric.capture(a);
    expect_pings(&here, &there);
    let (flooded, tunnelled) = questions(&capture.frames(), &[there.address().into(), v6(&there).parse().unwrap()]);
    assert!(flooded == 0 && tunnelled >= 4, "{flooded} questions among {tunnelled} frames");
    first.expect_no_difference();
    assert_eq!(first.log().matches("IPv6 is off at br100").count(), 1, "{}", first.log());

    // Off again: all of them go at once, and none of it is somebody's doing that is to be undone.
    let healed = first.json(&["show", "vnis", "100"])[0]["healed"].clone();
    set_off(a, true);
    expect_warned(&first, true);
    first.expect_no_difference();
    assert_eq!(first.json(&["show", "vnis", "100"])[0]["healed"], healed);

    // Mended by evpnd: behind the filter, and without an address. When it leaves the bridge is as it was.
    first.rewrite(&config(a).section("vxlan", "fix-devices = true"));
    first.say(&["reload"]);
    expect_answers(a, &there);
    expect_warned(&first, false);
    let filter = || a.namespace.output("tc", ["filter", "show", "dev", "br100", "ingress"]);
    assert!(!is_off(a) && filter().contains("protocol all pref 1 bpf"), "{}", filter());
    assert_eq!(a.namespace.output("ip", ["-6", "address", "show", "dev", "br100"]).trim(), "");
    expect_pings(&here, &there);
    [&first, &second].into_iter().for_each(Evpnd::expect_no_difference);
    first.say(&["drain"]);
    wait_until("the bridge is as it was", 20, || ensure(is_off(a) && filter().trim().is_empty(), filter));
}

/// The VNI is taken out of the file while evpnd is not running: what it had changed on interfaces of others is undone after the next start,
/// and what their owner did stays.
#[test]
fn what_a_vni_that_left_the_file_had_changed_is_undone() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    a.make_vxlan(VNI, a.v4());
    set_off(a, true);
    let bare =
        |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").section("vxlan", "fix-devices = true");
    let [here, theirs] = [11, 12].map(|number| {
        let mut guest = site.fabric.guest(number);
        guest.plug(a, VNI);
        guest
    });
    a.namespace.bridge_batch(&format!("link set dev {} isolated on\n", theirs.port));
    let first = Evpnd::start(a, &bare(a).vni(VNI, "isolated-ports = true\n"));
    let _second = Evpnd::start(b, &bare(b).vni(VNI, ""));
    let there = plug(&site, b, 21);
    expect_answers(a, &there);
    expect_isolated(a, &here.port, true);
    wait_until("it is kept", 20, || {
        let kept = state(a);
        ensure(kept["isolated"]["100"].is_array() && kept["opened"]["100"].is_number(), || kept.to_string())
    });
    drop(first);
    assert!(!is_off(a) && is_isolated(a, &here.port) == Some(true));

    let first = Evpnd::start(a, &bare(a).vni(200, ""));
    let filter = || a.namespace.output("tc", ["filter", "show", "dev", "br100", "ingress"]);
    wait_until("the bridge is as it was", 60, || ensure(is_off(a) && filter().trim().is_empty(), filter));
    expect_isolated(a, &here.port, false);
    assert_eq!(is_isolated(a, &theirs.port), Some(true), "the operator's");
    wait_until("nothing of it is kept", 20, || {
        let kept = state(a);
        ensure(kept["isolated"]["100"].is_null() && kept["opened"]["100"].is_null(), || kept.to_string())
    });
    first.expect_no_difference();
}

/// Where nothing is flooded, guests find nobody by IPv6 then: the warning says so.
#[test]
fn with_known_hosts_alone_the_warning_says_that_guests_find_nobody() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    a.make_vxlan(VNI, a.v4());
    set_off(a, true);
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "flood = \"none\"");
    let (first, _second) = (Evpnd::start(a, &config(a)), Evpnd::start(b, &config(b)));
    let _guests = (plug(&site, a, 11), plug(&site, b, 21));
    expect_warned(&first, true);
    let vni = first.json(&["show", "vnis", "100"])[0].to_string();
    assert!(vni.contains("guests find none of them"), "{vni}");
    first.expect_no_difference();
}
