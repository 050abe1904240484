//! Somebody changes what is ours behind our back: it is put back at once, and counted; what is theirs is left alone.

use std::time::{Duration, Instant};

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Guest, Host};
use crate::harness::raw::plain_frame;
use crate::harness::rows::{self, text};
use crate::harness::watch::{Pings, RowWatch};
use crate::harness::{ensure, wait_until};

use super::scenario::{ASN, Site, VNI};

fn mac(number: u32) -> [u8; 6] {
    rows::mac(0x60, number)
}

/// Two hypervisors and a reflector, a guest at each; that of the second has a hundred MACs more.
fn with_hundred(lines: &str, act: impl FnOnce(&Host, &Host, &Evpnd<'_>, [&Guest; 2])) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let config = |host, lines: &str| {
        Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "").section("vxlan", lines)
    };
    let (first, _second) = (Evpnd::start(a, &config(a, lines)), Evpnd::start(b, &config(b, "")));
    let [mut here, mut there] = [11, 21].map(|number| site.fabric.guest(number));
    here.plug(a, VNI);
    there.plug(b, VNI);
    there.send((0..100).map(|n| plain_frame(mac(n), [0xff; 6])).collect());
    all_stand(a);
    act(a, b, &first, [&here, &there]);
    all_stand(a);
    first.expect_no_difference();
}

fn all_stand(host: &Host) {
    wait_until("101 rows", 20, || {
        let rows = rows::remote_macs(&host.namespace, "vxlan100")?;
        ensure(rows.len() == 101, || format!("{} rows", rows.len()))
    });
}

#[test]
fn a_hundred_of_a_hundred_rows_deleted_are_healed() {
    with_hundred("", |a, _, first, [here, there]| {
        let macs: Vec<String> = (0..99).map(|n| text(mac(n))).chain([there.mac()]).collect();
        let lines = |half: &str| macs.iter().map(|mac| format!("fdb del {mac} dev vxlan100 {half}\n")).collect::<String>();
        let pings = Pings::between(here, there, a);
        let mut watch = RowWatch::new(a, VNI);
        // What goes within seconds of its writing is put back, too, but may be the echo of a write, and is not counted.
        for (half, counted) in [("self", false), ("master", true), ("self master", true)] {
            if counted {
                std::thread::sleep(Duration::from_secs(6));
            }
            let before = first.status("/counters/fib_healed_rows");
            let deletes: String = half.split(' ').map(lines).collect();
            let start = Instant::now();
            a.namespace.bridge_batch(&deletes);
            all_stand(a);
            println!("100 of 100 rows ({half}) healed {:.0?} after the first was deleted", start.elapsed());
            if counted {
                wait_until("they are counted", 5, || {
                    let healed = first.status("/counters/fib_healed_rows") - before;
                    ensure(healed >= 100, || format!("{healed}"))
                });
            }
        }
        pings.expect_no_loss();
        let seen = watch.seen();
        println!("{} notifications of deletions, {} of writes", seen.deleted, seen.written);
        assert!(seen.deleted >= 400 && seen.written >= 400, "{} {}", seen.deleted, seen.written);
        wait_until("they are told of in one line a burst", 10, || {
            let log = first.log();
            let lines = log.lines().filter(|line| line.contains("kernel rows right again")).count();
            ensure((1..=20).contains(&lines), || format!("{lines} lines: {log}"))
        });
        assert_eq!(first.json(&["show", "vnis", "100"])[0]["healed"].as_u64(), Some(first.status("/counters/fib_healed_rows")));
    });
}

#[test]
fn devices_ports_and_the_flood_list_are_put_back() {
    with_hundred("", |a, b, first, _| {
        let port = || a.namespace.output("bridge", ["-d", "link", "show", "dev", "vxlan100"]);
        let right = || port().contains("learning off") && port().contains("neigh_suppress on") && port().contains("master br100");
        let up = |name: &str| a.namespace.output("ip", ["link", "show", "dev", name]).contains(",UP");
        let changes = [
            ("bridge", "link set dev vxlan100 learning on"),
            ("bridge", "link set dev vxlan100 neigh_suppress off"),
            ("ip", "link set vxlan100 type vxlan learning"),
            ("ip", "link set vxlan100 down"),
            ("ip", "link set br100 down"),
            ("ip", "link set vxlan100 nomaster"),
            ("bridge", "fdb del 00:00:00:00:00:00 dev vxlan100 dst 10.0.0.2 self"),
            ("ip", "link del vxlan100"),
            ("ip", "link del br100"),
        ];
        for (program, words) in changes {
            let start = Instant::now();
            a.namespace.output(program, words.split(' '));
            wait_until(words, 10, || {
                let there = a.has_interface("vxlan100") && a.has_interface("br100");
                ensure(there && right() && up("vxlan100") && up("br100"), || if there { port() } else { "gone".to_owned() })?;
                ensure(rows::flood_list(&a.namespace, "vxlan100").contains(&b.v4()), || "the flood list".to_owned())?;
                let rows = rows::remote_macs(&a.namespace, "vxlan100")?;
                ensure(rows.len() == 101, || format!("{} rows", rows.len()))
            });
            println!("{program} {words}: put back after {:.0?}", start.elapsed());
        }
        assert!(first.status("/counters/speaker_devices_mended") >= 6);
    });
}

#[test]
fn what_an_operator_made_is_left_alone() {
    with_hundred("audit-interval = 1", |a, _, first, _| {
        let theirs = "02:70:00:00:00:01";
        a.namespace.output("bridge", ["fdb", "add", theirs, "dev", "vxlan100", "dst", "10.0.0.88", "self", "static"]);
        let audits = || first.json(&["show", "status"])["counters"]["speaker_audits"].as_u64().unwrap_or(0);
        let before = audits();
        wait_until("three audits", 20, || {
            let now = audits();
            ensure(now >= before + 3, || format!("{now}"))
        });
        let text = a.namespace.output("bridge", ["fdb", "show", "dev", "vxlan100"]);
        assert!(text.contains(&format!("{theirs} dst 10.0.0.88")), "{text}");
        a.namespace.output("bridge", ["fdb", "del", theirs, "dev", "vxlan100", "dst", "10.0.0.88", "self"]);
    });
}

/// A rewrite by another control plane is not told (its mark is ours): the audit finds it.
#[test]
fn the_audit_finds_what_is_not_told() {
    with_hundred("audit-interval = 2", |a, b, first, [_, there]| {
        let before = first.status("/counters/fib_differences");
        let mac = there.mac();
        a.namespace.output("bridge", ["fdb", "replace", &mac, "dev", "vxlan100", "dst", "10.0.0.99", "self", "extern_learn"]);
        wait_until("it leads where it should", 20, || {
            let rows = rows::remote_macs(&a.namespace, "vxlan100")?;
            ensure(rows.get(&mac) == Some(&b.v4()), || format!("{:?}", rows.get(&mac)))
        });
        assert!(first.status("/counters/fib_differences") > before);
    });
}
