//! Least privilege (docs/SECURITY.md): what a running daemon still may, whom the control socket obeys, and that passwords are
//! nowhere to be read.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::harness::evpnd::{Config, Evpnd, Manner, NOBODY, control_as_nobody, give_to, refused, refused_as};
use crate::harness::fabric::{Fabric, Family, Host, write_at};
use crate::harness::{ensure, need, wait_until};

use super::scenario::{ASN, Site, VNI};

/// CAP_NET_ADMIN and CAP_NET_RAW of linux/capability.h, as bits.
const KEPT: u64 = 1 << 12 | 1 << 13;
/// The group `users`: every Debian has it.
const USERS: (&str, u32) = ("users", 100);

/// The lines of `/proc/PID/task/*/status`, for each thread by its name.
fn threads(pid: u32) -> Vec<(String, BTreeMap<String, String>)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a daemon that runs");
    let status = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("status")).expect("a thread that runs");
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let lines: BTreeMap<String, String> = lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect();
        (lines["Name"].clone(), lines)
    };
    tasks.map(|task| status(task.unwrap())).collect()
}

/// Every thread of the daemon has `capabilities`, no other in any set, and no way to more.
#[track_caller]
fn expect_only(daemon: &Evpnd<'_>, capabilities: u64, names: &[&str]) {
    let threads = threads(daemon.id());
    for name in names {
        assert!(threads.iter().any(|(found, _)| found == name), "no thread {name}: {threads:?}");
    }
    for (name, status) in threads {
        let set = |key: &str| u64::from_str_radix(&status[key], 16).unwrap();
        assert_eq!([set("CapEff"), set("CapPrm")], [capabilities; 2], "{name}: {status:?}");
        assert_eq!([set("CapInh"), set("CapAmb")], [0, 0], "{name}: {status:?}");
        assert_eq!(status["NoNewPrivs"], "1", "{name}: {status:?}");
    }
}

fn bounding(daemon: &Evpnd<'_>) -> Vec<u64> {
    threads(daemon.id()).iter().map(|(_, status)| u64::from_str_radix(&status["CapBnd"], 16).unwrap()).collect()
}

/// Whether this kernel has landlock: asked of it, not of evpnd.
fn has_landlock() -> bool {
    // SAFETY: landlock_create_ruleset(2) with LANDLOCK_CREATE_RULESET_VERSION takes no memory and gives a number.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, 1) > 0 }
}

fn pair(a: &Host, b: &Host, more: &str) -> Config {
    Config::hypervisor(a, ASN, Family::V4).neighbor(b.v4(), more).vni(VNI, "")
}

#[test]
fn three_hypervisors_without_root() {
    need(&[("/usr/bin/setpriv", "util-linux")]);
    let site = Site::new();
    let manner = Manner { unprivileged: true, ..Manner::default() };
    let reflector = Evpnd::start_as(&site.middle, &Config::reflector(&site.middle, ASN), &manner);
    let middle = site.middle.address(Family::V4);
    let daemons = site.hosts.each_ref().map(|host| {
        let config = Config::hypervisor(host, ASN, Family::V4).neighbor(middle, "").vni(VNI, "");
        Evpnd::start_as(host, &config, &manner)
    });
    site.prove(&daemons, Family::V4);
    expect_only(&reflector, 0, &["evpnd"]);
    for daemon in &daemons {
        expect_only(daemon, KEPT, &["evpnd", "kernel"]);
        assert!(threads(daemon.id()).iter().all(|(_, status)| status["Uid"].starts_with(&NOBODY.to_string())));
    }
    // IPv6 stays off on what evpnd makes: the one thing that it writes outside of its directories.
    let off = site.hosts[0].namespace.output("cat", ["/proc/sys/net/ipv6/conf/br100/disable_ipv6"]);
    assert_eq!(off.trim(), "1");
    assert!(site.hosts[0].path("state/state.json").exists());
    for daemon in daemons {
        let log = daemon.log();
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
        assert!(daemon.stop().success());
    }
    assert!(site.hosts.iter().all(|host| !host.path("evpnd.sock").exists()), "the socket goes with the daemon");
}

#[test]
fn root_keeps_the_network_and_nothing_else() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let hypervisor = Evpnd::start(&a, &pair(&a, &b, ""));
    let reflector = Evpnd::start(&b, &Config::router_only(&b, ASN).neighbor(a.v4(), ""));
    hypervisor.expect_established(b.v4());
    expect_only(&hypervisor, KEPT, &["evpnd", "kernel"]);
    expect_only(&reflector, 0, &["evpnd"]);
    assert!(bounding(&hypervisor).iter().all(|set| *set == KEPT));
    assert!(bounding(&reflector).iter().all(|set| *set == 0));
    assert_eq!(hypervisor.log().contains("no landlock"), !has_landlock(), "{}", hypervisor.log());

    // What a daemon does in its later life: devices come and go, numbers are kept, the session is opened again.
    hypervisor.rewrite(&pair(&a, &b, "").vni(200, ""));
    hypervisor.say(&["reload"]);
    hypervisor.expect_no_difference();
    assert!(a.has_interface("vxlan200"));
    let kept = std::fs::read_to_string(a.path("state/state.json")).unwrap();
    assert!(kept.contains("200"), "{kept}");
    reflector.say(&["clear", "neighbor", &a.v4().to_string()]);
    hypervisor.expect_established(b.v4());
    hypervisor.say(&["drain"]);
    wait_until("the devices are gone", 10, || ensure(!a.has_interface("vxlan100"), || "vxlan100 is there".to_owned()));
    wait_until("the socket is gone", 10, || ensure(!a.path("evpnd.sock").exists(), || "it is there".to_owned()));
}

/// Editors write a new file and rename it; tools of configuration management turn a link.
#[test]
fn a_reload_reads_what_was_put_in_the_place_of_the_old_file() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    write_at(&a.path("key"), "correct-horse\n");
    let with_key = format!("password-file = \"{}\"\n", a.path("key").display());
    let daemon = Evpnd::start(&a, &pair(&a, &b, &with_key));
    let other = Evpnd::start(&b, &pair(&b, &a, "password = \"correct-horse\"\n"));
    daemon.expect_established(b.v4());

    let text = std::fs::read_to_string(a.path("evpnd.toml")).unwrap();
    write_at(&a.path("evpnd.toml.new"), &format!("{text}\n[[vni]]\nid = 200\n"));
    std::fs::rename(a.path("evpnd.toml.new"), a.path("evpnd.toml")).unwrap();
    daemon.say(&["reload"]);
    daemon.expect_no_difference();
    assert!(a.has_interface("vxlan200"));

    std::fs::create_dir(a.path("release-2")).unwrap();
    write_at(&a.path("release-2/evpnd.toml"), &format!("{text}\n[[vni]]\nid = 300\n"));
    std::fs::remove_file(a.path("evpnd.toml")).unwrap();
    symlink("release-2/evpnd.toml", a.path("evpnd.toml")).unwrap();
    daemon.hang_up();
    wait_until("VNI 300 comes with the signal", 10, || ensure(a.has_interface("vxlan300"), || daemon.log()));

    // The key changes on both sides, in a new file on ours: a reload sees that, also for who connects to us.
    write_at(&a.path("key.new"), "battery staple\n");
    std::fs::rename(a.path("key.new"), a.path("key")).unwrap();
    let said = daemon.say(&["reload"]);
    assert!(said.contains("password changed"), "{said}");
    let before = daemon.neighbor(b.v4())["established_count"].as_u64();
    other.rewrite(&pair(&b, &a, "password = \"battery staple\"\npassive = true\n"));
    other.say(&["reload"]);
    wait_until("a session with the new key", 20, || {
        let neighbor = daemon.neighbor(b.v4());
        let anew = neighbor["established_count"].as_u64() > before;
        ensure(neighbor["state"] == "established" && anew, || neighbor.to_string())
    });
    // The other way round: only the listening socket's key counts.
    let passive = format!("{with_key}passive = true\n");
    write_at(&a.path("key"), "tr0ub4dor\n");
    daemon.rewrite(&pair(&a, &b, &passive));
    daemon.say(&["reload"]);
    write_at(&a.path("key"), "correct-horse\n");
    daemon.say(&["reload"]);
    other.rewrite(&pair(&b, &a, "password = \"correct-horse\"\n"));
    other.say(&["reload"]);
    daemon.expect_established(b.v4());
}

/// What a reload cannot read it refuses whole, and says what evpnd gave up.
#[test]
fn a_reload_of_files_that_are_closed_by_now_is_refused_in_words() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let daemon = Evpnd::start(&a, &pair(&a, &b, ""));
    let refuses = |words: &[&str]| {
        let output = daemon.control(&["reload"]);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "not all of {words:?} in: {said}");
    };
    // Readable to everybody, but outside of the directories that the daemon began with.
    let elsewhere = fabric.host(3);
    write_at(&elsewhere.path("key"), "correct-horse\n");
    let outside = format!("password-file = \"{}\"\n", elsewhere.path("key").display());
    daemon.rewrite(&pair(&a, &b, &outside).vni(200, ""));
    if has_landlock() {
        refuses(&["10.0.0.2", "h3/key", "Permission denied", "reads only below", "h1"]);
        assert!(!a.has_interface("vxlan200"), "a refused file changes nothing");
    } else {
        daemon.say(&["reload"]);
    }
    daemon.rewrite(&pair(&a, &b, &format!("password-file = \"{}\"\n", a.path("none").display())));
    refuses(&["10.0.0.2", "none", "No such file"]);
    // Another user's: root without CAP_DAC_OVERRIDE is a user like others.
    daemon.rewrite(&pair(&a, &b, ""));
    give_to(&a.path("evpnd.toml"), NOBODY);
    std::fs::set_permissions(a.path("evpnd.toml"), std::fs::Permissions::from_mode(0o600)).unwrap();
    if has_landlock() {
        refuses(&["evpnd.toml", "Permission denied", "files of other users"]);
    } else {
        refuses(&["evpnd.toml", "Permission denied"]);
    }
    daemon.say(&["show", "status"]);
}

/// A daemon that starts with such a file says so at once.
#[test]
fn files_of_another_user_are_told_at_the_start() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let private = std::fs::Permissions::from_mode(0o600);
    write_at(&a.path("key"), "correct-horse\n");
    give_to(&a.path("key"), NOBODY);
    std::fs::set_permissions(a.path("key"), private.clone()).unwrap();
    let with_key = format!("password-file = \"{}\"\n", a.path("key").display());
    let daemon = Evpnd::start(&a, &pair(&a, &b, &with_key));
    let said = daemon.log();
    assert!(said.contains("a reload will be refused: neighbor 10.0.0.2") && said.contains("h1/key"), "{said}");
    assert_eq!(daemon.control(&["reload"]).status.code(), Some(1));
    drop(daemon);

    write_at(&a.path("evpnd.toml"), "");
    give_to(&a.path("evpnd.toml"), NOBODY);
    std::fs::set_permissions(a.path("evpnd.toml"), private).unwrap();
    let daemon = Evpnd::start(&a, &pair(&a, &b, ""));
    assert!(daemon.log().contains("a reload will be refused") && daemon.log().contains("evpnd.toml"), "{}", daemon.log());
}

fn reach(host: &Host, groups: &[u32]) -> (Option<i32>, String) {
    let output = control_as_nobody(host, groups, &["show", "status"]);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_control_socket_obeys_root_and_its_group() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let config = pair(&a, &b, "");
    let daemon = Evpnd::start(&a, &config.clone().control(&format!("group = \"{}\"", USERS.0)));
    let socket = std::fs::metadata(a.path("evpnd.sock")).unwrap();
    assert_eq!((socket.mode() & 0o777, socket.gid()), (0o660, USERS.1));
    assert_eq!(reach(&a, &[USERS.1]), (Some(0), String::new()), "a member of the group");
    let (code, said) = reach(&a, &[]);
    assert!(code == Some(3) && said.contains("not allowed") && said.contains("[control]"), "{code:?} {said}");
    drop(daemon);

    let daemon = Evpnd::start(&a, &config);
    assert_eq!(std::fs::metadata(a.path("evpnd.sock")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(reach(&a, &[USERS.1]).0, Some(3), "without a group, root only");
    drop(daemon);
}

#[test]
fn a_group_that_cannot_be_is_refused_in_words() {
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let (status, said) = refused(&a, &pair(&a, &b, "").control("group = \"no-such-group-here\""));
    assert!(!status.success() && said.contains("no-such-group-here") && said.contains("groupadd"), "{said}");
    // Without root only a group of one's own can be given.
    let users = pair(&a, &b, "").control(&format!("group = \"{}\"", USERS.0));
    let (status, said) = refused_as(&a, &users, &Manner { unprivileged: true, ..Manner::default() });
    assert!(!status.success() && said.contains("SupplementaryGroups"), "{said}");
    assert!(!a.path("evpnd.sock").exists() && !a.has_interface("vxlan100"), "nothing half made");
}

/// Whatever happens to a password, it is not written down: not by the log at its most talkative, not by `show` and the others,
/// not in the kept state.
#[test]
fn passwords_are_nowhere_to_be_read() {
    const SECRETS: [&str; 3] = ["correct-horse", "battery-staple", "tr0ub4dor"];
    let fabric = Fabric::new();
    let (a, b) = (fabric.host(1), fabric.host(2));
    let manner = Manner { unprivileged: true, talkative: true };
    write_at(&b.path("key"), "correct-horse\n");
    let daemon = Evpnd::start_as(&a, &pair(&a, &b, "password = \"correct-horse\"\n"), &manner);
    let other = Evpnd::start_as(&b, &pair(&b, &a, &format!("password-file = \"{}\"\n", b.path("key").display())), &manner);
    daemon.expect_established(b.v4());
    let mut guest = fabric.guest(11);
    guest.plug(&a, VNI);
    b.expect_remote_macs(VNI, &[(&guest, a.v4())]);
    // No core dump and no other process of its user: the kernel shows it by giving the files below /proc to root.
    assert_eq!(std::fs::metadata(format!("/proc/{}/environ", daemon.id())).unwrap().uid(), 0);
    assert_eq!(std::fs::metadata(format!("/proc/{}/status", daemon.id())).unwrap().uid(), 0);

    let address = b.v4().to_string();
    let mut said = String::new();
    let mut say = |words: &[&str]| {
        let output = daemon.control(words);
        said += &String::from_utf8_lossy(&output.stdout);
        said += &String::from_utf8_lossy(&output.stderr);
    };
    // Another key, which the other side has not: the session fails in every way that a wrong key makes it fail.
    daemon.rewrite(&pair(&a, &b, "password = \"battery-staple\"\n"));
    say(&["reload"]);
    daemon.expect_lost(b.v4());
    // Wrong files.
    daemon.rewrite(&pair(&a, &b, "pasword = \"tr0ub4dor\"\n"));
    say(&["reload"]);
    daemon.hang_up();
    daemon.rewrite(&pair(&a, &b, "password = tr0ub4dor\n"));
    say(&["reload"]);
    let check = Command::new(env!("CARGO_BIN_EXE_evpnd")).arg("check").arg(a.path("evpnd.toml")).output().unwrap();
    assert_eq!(check.status.code(), Some(1));
    say(&["show", "status"]);
    for words in [&["status"][..], &["neighbors"], &["neighbors", &address], &["vnis"], &["routes"], &["macs"], &["vteps"]] {
        say(&[&["--json", "show"], words].concat());
        say(&[&["show"], words].concat());
    }
    say(&["diff"]);
    assert!(said.contains(&address), "{said}");
    wait_until("the log tells of the refused file", 10, || ensure(daemon.log().contains("stays as it was"), String::new));
    let everything = [
        said,
        String::from_utf8_lossy(&check.stderr).into_owned(),
        daemon.log(),
        other.log(),
        std::fs::read_to_string(a.path("state/state.json")).unwrap(),
    ];
    assert!(everything[2].contains("DEBUG"), "a talkative log");
    for (place, text) in everything.iter().enumerate() {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} in {place}: {text}");
        }
    }
}

/// A range that is gone asks nobody for its key any more.
#[test]
fn a_key_leaves_with_its_range() {
    let fabric = Fabric::new();
    let (a, reflector) = (fabric.host(1), fabric.host(254));
    let range = "listen-range = \"10.0.0.0/24\"\nroute-reflector-client = true\n";
    let server =
        Evpnd::start(&reflector, &Config::router_only(&reflector, ASN).table("neighbor", &format!("{range}password = \"x\"\n")));
    let client = Evpnd::start(&a, &pair(&a, &reflector, ""));
    server.rewrite(&Config::router_only(&reflector, ASN).neighbor(a.v4(), "passive = true\nroute-reflector-client = true\n"));
    server.say(&["reload"]);
    client.expect_established(reflector.v4());
}

/// The unit, judged by systemd itself.
#[test]
fn the_unit_is_closed() {
    need(&[("/usr/bin/systemd-analyze", "systemd")]);
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/evpnd.service");
    let output = Command::new("systemd-analyze").args(["security", "--offline=true"]).arg(&unit).output().unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complaints}");
    assert!(complaints.is_empty(), "what systemd does not know it leaves open: {complaints}");
    let score = said.rsplit_once("level for evpnd.service: ").and_then(|(_, rest)| rest.split_whitespace().next());
    let score: f64 = score.and_then(|score| score.parse().ok()).unwrap_or_else(|| panic!("no score in {said}"));
    assert!(score <= 2.0, "{said}");
}
