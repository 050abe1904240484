//! OpenNebula as it is: the calls and documents in `documents/opennebula/` were taken from the `vxlan` driver of OpenNebula as of 2024 (without its
//! security groups) and from what its front-end makes of a machine for drivers of networks, and are played again here
//! around what the driver does to the host: the device and the bridge before `pre`, and their removal before `clean`.
//!
//! What the documents taught: each element that the front-end picks out of the machine stands in a `<TEMPLATE>` of its own; the words
//! differ by stage, and none is needed; with an interface that is unplugged from a running machine, or an alias of
//! one, comes a `clean` with the whole machine in its document.

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Host};
use crate::harness::{ensure, stays_true, wait_until};

use super::libvirt::{Call, calls};
use super::on_demand::{expect_macs, hook, plug_tap, run, script, with_pair};
use super::scenario::{ASN, Site};

const START: &str = include_str!("documents/opennebula/start");
const ATTACH: &str = include_str!("documents/opennebula/attach");
const DETACH: &str = include_str!("documents/opennebula/detach");
const ATTACH_ALIAS: &str = include_str!("documents/opennebula/attach-alias");
const DETACH_ALIAS: &str = include_str!("documents/opennebula/detach-alias");
const MIGRATE: &str = include_str!("documents/opennebula/migrate");
const FAILED_MIGRATION: &str = include_str!("documents/opennebula/failed-migration");
const SAVE: &str = include_str!("documents/opennebula/save");
const RESTORE: &str = include_str!("documents/opennebula/restore");
const STOP: &str = include_str!("documents/opennebula/stop");

/// The machine's interfaces in the two networks.
const FIRST: &str = "02:00:c0:00:11:00";
const SECOND: &str = "02:00:c0:00:11:02";

/// Base64 in one line, as the front-end sends it.
fn base64(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - three.len()));
        let digits = (0..4).map(|place| char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]));
        out.extend(digits.take(three.len() + 1));
        out.push_str(["", "==", "=", ""][three.len()]);
    }
    out + "\n"
}

fn names(vni: u32) -> (String, String) {
    (format!("eth0.{vni}"), format!("onebr.{vni}"))
}

/// The driver's part of `pre`, with `VXLAN_MODE = "evpn"`, `VXLAN_TEP = "local_ip"` and `IP_LINK_CONF = "nolearning=,dstport=4789"`.
fn activate(host: &Host, vni: u32) {
    let (device, bridge) = names(vni);
    if host.has_interface(&bridge) {
        return;
    }
    let local = host.v4();
    host.namespace.ip_batch(&format!(
        "link add name {bridge} type bridge\nlink set {bridge} up\n\
         link add {device} mtu 1400 type vxlan id {vni} ttl 16 local {local} nolearning dstport 4789\n\
         link set {device} up\nlink set {device} master {bridge}\n"
    ));
}

/// The driver's part of `clean`: whether the machine's port was the last.
fn deactivate(host: &Host, vni: u32) -> bool {
    let (device, bridge) = names(vni);
    let last = host.namespace.output("ip", ["-o", "link", "show", "master", &bridge]).lines().count() == 1;
    if last {
        host.namespace.ip(&format!("link delete {device}"));
        // evpnd makes none in its place: the next command would find what it does not expect.
        stays_true("the device is gone", 1, || ensure(!host.has_interface(&device), || "it is there again".to_owned()));
        host.namespace.ip(&format!("link delete {bridge}"));
    }
    last
}

/// Runs our hook as the driver does; nothing may be printed, or complained of.
#[track_caller]
fn play(call: &Call<'_>, host: &Host) {
    let [stage, words @ ..] = &call.words[..] else { panic!("a stage") };
    let said = run(script(host, &format!("opennebula/{stage}"), words), &base64(call.document.trim_end()));
    assert!(said.code == Some(0) && said.out.is_empty() && said.err.is_empty(), "{:?}: {said:?}", call.words);
}

/// A start on `host`, by the calls of a start, a restore or an interface that is plugged in.
fn begin(record: &str, host: &Host, vni: u32, port: &str) {
    let [pre, post] = &calls(record)[..] else { panic!("pre and post") };
    activate(host, vni);
    play(pre, host);
    plug_tap(host, port, &names(vni).1);
    play(post, host);
}

/// The machine, or one interface, leaves `host`.
fn end(record: &str, host: &Host, vni: u32, port: &str) {
    let [clean] = &calls(record)[..] else { panic!("clean") };
    host.namespace.ip(&format!("link del {port}"));
    deactivate(host, vni);
    play(clean, host);
}

/// Two hypervisors whose VNIs OpenNebula brings, a third that has them in its file.
fn with_three(act: impl FnOnce(&Site, [&Evpnd<'_>; 2])) {
    with_pair(|site, first, second| {
        let c = &site.hosts[2];
        let config = Config::hypervisor(c, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(500, "").vni(600, "");
        let third = Evpnd::start(c, &config);
        third.expect_established(site.middle.v4());
        act(site, [&first, &second]);
        [&first, &second, &third].into_iter().for_each(|daemon| daemon.expect_no_difference());
    });
}

fn expect_no_vni(daemon: &Evpnd<'_>) {
    wait_until("no VNI is left", 10, || {
        let vnis = daemon.json(&["show", "vnis"]);
        ensure(vnis.as_array().is_some_and(Vec::is_empty), || vnis.to_string())
    });
}

#[test]
fn opennebula_starts_migrates_saves_and_stops_a_machine() {
    with_three(|site, [first, second]| {
        let [a, b, c] = &site.hosts;
        begin(START, a, 500, "one-17-0");
        c.expect_flood_list(500, &[a.v4()]);
        expect_macs(c, 500, &[(FIRST, a)]);
        let view = &first.json(&["show", "vnis", "500"])[0];
        assert_eq!((view["device"].as_str(), view["made_device"].as_bool()), (Some("eth0.500"), Some(false)), "{view}");

        // A migration that fails is told to nobody at its destination; the next one finds it as it was left.
        for call in &calls(FAILED_MIGRATION) {
            activate(b, 500);
            play(call, b);
        }
        expect_macs(c, 500, &[(FIRST, a)]);
        let [pre, clean, post] = &calls(MIGRATE)[..] else { panic!("pre, clean, post") };
        assert_eq!((pre.at, clean.at, post.at), ("host-2", "host-1", "host-2"));
        activate(b, 500);
        play(pre, b);
        plug_tap(b, "one-17-0", "onebr.500");
        a.namespace.ip("link del one-17-0");
        assert!(deactivate(a, 500));
        play(clean, a);
        expect_no_vni(first);
        play(post, b);
        expect_macs(c, 500, &[(FIRST, b)]);
        c.expect_flood_list(500, &[b.v4()]);

        end(SAVE, b, 500, "one-17-0");
        c.expect_flood_list(500, &[]);
        expect_no_vni(second);
        begin(RESTORE, b, 500, "one-17-0");
        expect_macs(c, 500, &[(FIRST, b)]);
        end(STOP, b, 500, "one-17-0");
        expect_macs(c, 500, &[]);
        expect_no_vni(second);
    });
}

#[test]
fn opennebula_plugs_an_interface_into_a_running_machine_and_out_of_it() {
    with_three(|site, [first, _]| {
        let [a, _, c] = &site.hosts;
        begin(START, a, 500, "one-17-0");
        begin(ATTACH, a, 600, "one-17-2");
        expect_macs(c, 600, &[(SECOND, a)]);
        end(DETACH, a, 600, "one-17-2");
        c.expect_flood_list(600, &[]);
        // An alias is another address of an interface that is there, and stays: the driver does nothing for it either.
        for record in [ATTACH_ALIAS, DETACH_ALIAS] {
            calls(record).iter().for_each(|call| play(call, a));
        }
        assert_eq!(first.json(&["show", "vnis", "500"])[0]["callers"], serde_json::json!(["opennebula:17"]));
        expect_macs(c, 500, &[(FIRST, a)]);
        // The machine is destroyed after a crash: as it is stopped.
        end(STOP, a, 500, "one-17-0");
        expect_no_vni(first);
    });
}

#[test]
fn opennebula_is_not_harmed_by_a_hook_that_cannot_help() {
    with_pair(|site, first, _| {
        let a = &site.hosts[0];
        let machine = |text: &str| base64(&calls(text)[0].document.trim_end().replace("<![CDATA[500]]>", "<![CDATA[99999999]]>"));
        let good = base64(calls(START)[0].document.trim_end());
        for document in ["", "not base64!", &good[..good.len() / 2], &"A".repeat(10 << 20)] {
            for stage in ["pre", "post one-17 host-1", "clean host-1"] {
                let said = hook(a, &format!("opennebula-hook {stage}"), document);
                assert!(said.code == Some(0) && said.out.is_empty() && said.err.contains("cannot be read"), "{said:?}");
            }
        }
        let said = hook(a, "opennebula-hook pre", &machine(START));
        assert!(said.code == Some(0) && said.err.contains("99999999"), "{said:?}");
        assert!(first.stop().success());
        let said = hook(a, "opennebula-hook pre", &good);
        assert!(said.code == Some(0) && said.err.contains("no daemon"), "{said:?}");
    });
}
