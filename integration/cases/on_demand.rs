//! VNIs and MACs on demand, and the hooks of hypervisors as these call them: the arguments and documents that libvirt
//! sends, in the order of a start, a live migration, a crash and a stop. OpenNebula's are in `opennebula`, CloudStack's in `cloudstack`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Host};
use crate::harness::rows::remote_macs;
use crate::harness::{ensure, patience, stays_true, wait_until};

use super::scenario::{ASN, Site};

const EVPNCTL: &str = env!("CARGO_BIN_EXE_evpnctl");
const DOMAIN: &str = include_str!("documents/domain.xml");
const PORT: &str = include_str!("documents/networkport.xml");
const MAC: &str = "52:54:00:6b:3c:58";

/// Two hypervisors without a VNI, behind our reflector.
pub(super) fn with_pair(act: impl FnOnce(&Site, Evpnd<'_>, Evpnd<'_>)) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "");
    let [a, b, _] = &site.hosts;
    let (first, second) = (Evpnd::start(a, &config(a)), Evpnd::start(b, &config(b)));
    first.expect_established(site.middle.v4());
    second.expect_established(site.middle.v4());
    act(&site, first, second);
}

/// What a program said, and its exit code.
#[derive(Debug)]
pub(super) struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

pub(super) fn run(mut command: Command, document: &str) -> Said {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    // A hook that needs no document may not read it.
    let _ = child.stdin.take().unwrap().write_all(document.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A hook on `host`, with what follows `evpnctl`.
pub(super) fn hook(host: &Host, words: &str, document: &str) -> Said {
    let mut command = host.namespace.command(EVPNCTL, ["--socket".as_ref(), host.path("evpnd.sock").as_os_str()]);
    command.args(words.split(' '));
    run(command, document)
}

/// A script of `config/hooks` on `host`, which finds our evpnctl and its daemon.
pub(super) fn script(host: &Host, name: &str, words: &[&str]) -> Command {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = host.namespace.command(&format!("{}/config/hooks/{name}", top.display()), words);
    command.env("EVPNCTL", top.join("tests/vectors/hooks/evpnctl"));
    command.env("AS_TOLD", format!("exec {EVPNCTL} --socket {} \"$@\"", host.path("evpnd.sock").display()));
    command
}

/// A hook on `host`, where nothing may be complained of or printed.
#[track_caller]
pub(super) fn quietly(host: &Host, words: &str, document: &str) {
    let said = hook(host, words, document);
    assert!(said.code == Some(0) && said.out.is_empty() && said.err.is_empty(), "{words}: {said:?}");
}

/// The domain as libvirt sends it: before the start without a tap.
fn domain(tap: Option<&str>) -> String {
    DOMAIN.replace("{target}", &tap.map_or(String::new(), |tap| format!("<target dev='{tap}'/>")))
}

/// As QEMU or libvirt make a tap: a port of the bridge.
pub(super) fn plug_tap(host: &Host, tap: &str, bridge: &str) {
    host.namespace.ip_batch(&format!(
        "link add {tap} type veth peer name {tap}q\nlink set {tap} master {bridge}\nlink set {tap} up\nlink set {tap}q up\n"
    ));
}

#[track_caller]
pub(super) fn expect_macs(host: &Host, vni: u32, wanted: &[(&str, &Host)]) {
    let wanted: BTreeMap<String, _> = wanted.iter().map(|(mac, at)| ((*mac).to_owned(), at.v4())).collect();
    host.expect_rows(vni, &wanted);
}

#[test]
fn a_vni_stays_as_long_as_a_caller_wants_it_over_restarts_too() {
    with_pair(|site, first, second| {
        let [a, b, _] = &site.hosts;
        second.say(&["vni", "add", "300", "--for", "test", "--wait", "10"]);
        first.say(&["vni", "add", "300", "--for", "one", "--wait", "10"]);
        first.say(&["vni", "add", "300", "--for", "two"]);
        first.say(&["vni", "add", "300", "--for", "two"]);
        b.expect_flood_list(300, &[a.v4()]);
        let said = first.say(&["vni", "del", "300", "--for", "one"]);
        assert!(said.contains("stays") && said.contains("two"), "{said}");
        assert_eq!(first.control(&["vni", "del", "300", "--for", "one"]).status.code(), Some(1), "it left already");

        assert!(first.stop().success());
        let first = Evpnd::start_again(a);
        wait_until("the VNI is there after a restart", 10, || {
            let view = &first.json(&["show", "vnis", "300"])[0];
            ensure(view["state"] == "ready" && view["callers"] == serde_json::json!(["two"]), || view.to_string())
        });
        b.expect_flood_list(300, &[a.v4()]);
        // The file takes it, and gives it up: the caller's it stays.
        let plain = Config::hypervisor(a, ASN, Family::V4).neighbor(site.middle.v4(), "");
        first.rewrite(&plain.clone().vni(300, ""));
        first.say(&["reload"]);
        first.rewrite(&plain);
        first.say(&["reload"]);
        assert_eq!(first.json(&["show", "vnis", "300"])[0]["run_time"], true);
        first.say(&["vni", "del", "--for", "two"]);
        b.expect_flood_list(300, &[]);
        wait_until("its devices are removed", 10, || ensure(!a.has_interface("br300"), || "br300 is there".to_owned()));
        first.expect_no_difference();
    });
}

#[test]
fn a_claimed_mac_is_announced_before_its_guest_spoke_and_does_not_age() {
    with_pair(|site, first, second| {
        let [a, b, _] = &site.hosts;
        for daemon in [&first, &second] {
            daemon.say(&["vni", "add", "300", "--for", "test", "--wait", "10"]);
        }
        plug_tap(a, "vnet0", "br300");
        first.say(&["mac", "claim", "--vni", "300", "--port", "vnet0", MAC]);
        expect_macs(b, 300, &[(MAC, a)]);
        // In hundredths of a second. The kernel forgets the silent guest every second, and nobody hears of it.
        a.namespace.ip("link set br300 type bridge ageing_time 100");
        stays_true("the claim stands", 5, || {
            let rows = remote_macs(&b.namespace, "vxlan300")?;
            ensure(rows.contains_key(MAC), || format!("{rows:?}"))
        });
        a.namespace.ip("link set br300 type bridge ageing_time 30000");

        // The other host claims it: it has moved, and the first takes its claim for over.
        plug_tap(b, "vnet9", "br300");
        second.say(&["mac", "claim", "--vni", "300", "--port", "vnet9", MAC]);
        expect_macs(a, 300, &[(MAC, b)]);
        expect_macs(b, 300, &[]);
        second.say(&["mac", "release", "--vni", "300", MAC]);
        expect_macs(a, 300, &[]);

        // A port that goes takes its claims with it; one that is none is refused.
        first.say(&["mac", "claim", "--vni", "300", "--port", "vnet0", MAC]);
        expect_macs(b, 300, &[(MAC, a)]);
        a.namespace.ip("link del vnet0");
        expect_macs(b, 300, &[]);
        let refused = first.control(&["mac", "claim", "--vni", "300", "--port", "vnet0", MAC]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && said.contains("vnet0 is no port of br300"), "{said}");
        let gone = first.control(&["mac", "release", "--vni", "300", MAC]);
        assert_eq!(gone.status.code(), Some(1));
        [&first, &second].into_iter().for_each(|daemon| daemon.expect_no_difference());
    });
}

/// Hook calls in the order of libvirt 9: `prepare`, `start`, `started`; at a live migration `migrate`, `prepare` and `start` at the
/// destination, then `stopped` and `release` at the source; `stopped` and `release` after a crash as after a stop.
#[test]
fn libvirt_starts_migrates_crashes_and_stops_a_guest() {
    with_pair(|site, first, second| {
        let [a, b, _] = &site.hosts;
        // Somebody else's guest holds the same VNI at the destination already.
        second.say(&["vni", "add", "300", "--for", "other", "--wait", "10"]);
        let qemu = "libvirt-hook qemu web1";
        quietly(a, &format!("{qemu} prepare begin -"), &domain(None));
        // What the tap needs is there when the hook returns.
        assert!(a.has_interface("br300") && a.has_interface("vxlan300") && !a.has_interface("virbr0"));
        b.expect_flood_list(300, &[a.v4()]);
        plug_tap(a, "vnet0", "br300");
        quietly(a, &format!("{qemu} start begin -"), &domain(Some("vnet0")));
        quietly(a, &format!("{qemu} started begin -"), &domain(Some("vnet0")));
        expect_macs(b, 300, &[(MAC, a)]);
        // libvirtd is restarted: what is there stays, whatever is sent.
        quietly(a, &format!("{qemu} reconnect begin -"), &domain(Some("vnet0")));
        assert_eq!(hook(a, &format!("{qemu} reconnect begin -"), "<dom").code, Some(0));

        // The live migration: QEMU at the destination announces the guest by its first frame.
        quietly(b, &format!("{qemu} migrate begin -"), &domain(None));
        quietly(b, &format!("{qemu} prepare begin -"), &domain(None));
        plug_tap(b, "vnet5", "br300");
        quietly(b, &format!("{qemu} start begin -"), &domain(Some("vnet5")));
        expect_macs(b, 300, &[(MAC, a)]);
        a.namespace.ip("link del vnet0");
        quietly(a, &format!("{qemu} stopped end -"), &domain(Some("vnet0")));
        quietly(a, &format!("{qemu} release end migrated"), &domain(Some("vnet0")));
        expect_macs(b, 300, &[]);
        b.expect_flood_list(300, &[]);
        wait_until("the source has no device any more", 10, || ensure(!a.has_interface("br300"), || "br300 is there".to_owned()));

        // Back by a start of its own, and a crash: QEMU and its tap are gone, libvirt tells of it afterwards.
        quietly(a, &format!("{qemu} prepare begin -"), &domain(None));
        plug_tap(a, "vnet0", "br300");
        quietly(a, &format!("{qemu} started begin -"), &domain(Some("vnet0")));
        expect_macs(b, 300, &[(MAC, a)]);
        a.namespace.ip("link del vnet0");
        expect_macs(b, 300, &[]);
        quietly(a, &format!("{qemu} stopped end -"), &domain(Some("vnet0")));
        quietly(a, &format!("{qemu} release end crashed"), &domain(Some("vnet0")));
        wait_until("nothing is left of it", 10, || ensure(!a.has_interface("br300"), || "br300 is there".to_owned()));
        // Nobody's guest took the other's VNI with it.
        quietly(b, &format!("{qemu} release end shutdown"), &domain(None));
        assert_eq!(second.json(&["show", "vnis", "300"])[0]["callers"], serde_json::json!(["other"]));

        // A network whose ports are told of one by one, by its map.
        let network = "libvirt-hook network blue";
        quietly(a, &format!("{network} started begin -"), "<hookData><network><name>blue</name></network></hookData>");
        quietly(a, &format!("{network} port-created begin -"), PORT);
        assert!(a.has_interface("br400"));
        quietly(a, &format!("{network} port-deleted begin -"), PORT);
        wait_until("and is gone with its port", 10, || ensure(!a.has_interface("br400"), || "br400 is there".to_owned()));
        [&first, &second].into_iter().for_each(|daemon| daemon.expect_no_difference());
    });
}

#[test]
fn a_hook_that_cannot_help_harms_no_guest() {
    with_pair(|site, first, _| {
        let [a, _, _] = &site.hosts;
        let qemu = "libvirt-hook qemu web1";
        for document in ["", "<domain", "<network/>", "\u{0}\u{1}", &"<a>".repeat(100_000)] {
            let said = hook(a, &format!("{qemu} prepare begin -"), document);
            assert!(said.code == Some(0) && said.err.contains("cannot be read"), "{said:?}");
        }
        assert_eq!(hook(a, "libvirt-hook qemu", "").code, Some(0));
        quietly(a, &format!("{qemu} an-operation-of-tomorrow begin -"), "");
        // A bridge whose number is no VNI, and that somebody else made: the guest can work.
        a.namespace.ip("link add br99999999 type bridge");
        let said = hook(a, &format!("{qemu} prepare begin -"), &domain(None).replace("br300", "br99999999"));
        assert!(said.code == Some(0) && said.err.contains("99999999 is not a VNI"), "{said:?}");

        // A daemon that does not answer is waited for once, whatever is to be asked of it.
        // SAFETY: a child that was not waited for yet, so the id is still its own.
        let signal = |signal| unsafe { libc::kill(first.id() as i32, signal) };
        signal(libc::SIGSTOP);
        let begin = Instant::now();
        let said = hook(a, &format!("{qemu} prepare begin -"), &domain(None));
        let took = begin.elapsed();
        signal(libc::SIGCONT);
        assert!(said.code == Some(1) && said.err.contains("does not answer within 5 s"), "{said:?}");
        assert!(took < patience(9), "{took:?}");

        // Without the daemon and without the bridge it could not work at all; with the bridge it can.
        assert!(first.stop().success());
        let said = hook(a, &format!("{qemu} prepare begin -"), &domain(None));
        assert!(said.code == Some(1) && said.err.contains("no daemon") && said.err.contains("no bridge br300"), "{said:?}");
        let said = hook(a, &format!("{qemu} release end crashed"), &domain(None));
        assert!(said.code == Some(0) && said.err.contains("vni del"), "{said:?}");
        a.namespace.ip("link add br300 type bridge");
        assert_eq!(hook(a, &format!("{qemu} prepare begin -"), &domain(None)).code, Some(0));
        assert_eq!(hook(a, &format!("{qemu} reconnect begin -"), &domain(None)).code, Some(0));
    });
}
