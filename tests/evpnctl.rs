//! The client as people run it, against a daemon of a few lines: pages, JSON, messages and exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use evpnd::base::{MacAddr, Vni};
use evpnd::control::{DiffView, Event, Explanation, MonitorLine, Page, Reply, Request, VtepView};

static NEXT: AtomicU32 = AtomicU32::new(0);

fn socket() -> PathBuf {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("evpnctl-{}-{number}.sock", std::process::id()))
}

fn evpnctl(socket: &PathBuf, words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evpnctl")).arg("--socket").arg(socket).args(words.split(' ')).output().unwrap()
}

/// Runs evpnctl against a daemon that answers one connection with `answer`; `None` hangs up.
fn with_daemon(words: &str, mut answer: impl FnMut(Request) -> Option<Vec<Reply>> + Send + 'static) -> (i32, String, String) {
    let path = socket();
    let listener = UnixListener::bind(&path).unwrap();
    let daemon = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        for line in reader.lines() {
            let Some(replies) = answer(serde_json::from_str(&line.unwrap()).unwrap()) else { return };
            for reply in replies {
                writeln!(stream, "{}", serde_json::to_string(&reply).unwrap()).unwrap();
            }
        }
    });
    let output = evpnctl(&path, words);
    daemon.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn vteps(request: Request) -> Option<Vec<Reply>> {
    let Request::ShowVteps { after, .. } = request else { panic!("{request:?}") };
    let page: u8 = after.map_or(0, |after| after.parse().unwrap());
    let item = VtepView { address: [10, 0, 0, page].into(), vnis: vec![Vni::new(100).unwrap()], macs: 1 };
    Some(vec![Reply::Vteps(Page::new(vec![item], (page < 2).then(|| (page + 1).to_string())))])
}

#[test]
fn pages_are_followed_to_the_end() {
    let (code, out, _) = with_daemon("show vteps", vteps);
    assert_eq!((code, out.lines().count()), (0, 4), "{out}");
    let (code, out, _) = with_daemon("--json show vteps", vteps);
    let items: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, items.as_array().unwrap().len()), (0, 3));
    assert_eq!(items[2]["address"], "10.0.0.2");
}

#[test]
fn diff_is_silent_when_all_is_well_and_fails_when_not() {
    let same = |_| Some(vec![Reply::Diff(Page::last(Vec::new()))]);
    assert_eq!(with_daemon("diff", same), (0, String::new(), String::new()));
    assert_eq!(with_daemon("diff --json", same), (0, "[]\n".to_owned(), String::new()));
    let different = |_| {
        let item = DiffView {
            vni: Vni::new(100).unwrap(),
            mac: MacAddr::ZERO,
            ip: None,
            wanted: Some("10.0.0.2".to_owned()),
            found: None,
            nexthop: None,
            state: "to be written".to_owned(),
        };
        let found = Some("10.0.0.3".to_owned());
        let by_group = DiffView { mac: MacAddr([2; 6]), found, nexthop: Some(478_900_001), ..item.clone() };
        let theirs = DiffView { mac: MacAddr([4; 6]), nexthop: Some(7), ..item.clone() };
        Some(vec![Reply::Diff(Page::last(vec![item, by_group, theirs]))])
    };
    let (code, out, _) = with_daemon("diff", different);
    let lines: Vec<Vec<&str>> =
        out.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    let row = |mac, found| ["100", mac, "10.0.0.2", found, "to be written"];
    assert_eq!(code, 1);
    assert_eq!(lines[0], ["VNI", "MAC", "WANTED", "FOUND", "STATE"]);
    assert_eq!(lines[1], row("flood list", "-"));
    assert_eq!(lines[2], row("02:02:02:02:02:02", "10.0.0.3 nhid 478900001"));
    assert_eq!(lines[3], row("04:04:04:04:04:04", "nhid 7"));
}

#[test]
fn refusals_exit_with_1() {
    let refuse = |_| Some(vec![Reply::Refused { message: "evpnd.toml:1:1: asn is missing".to_owned() }]);
    assert_eq!(with_daemon("reload", refuse), (1, String::new(), "evpnctl: evpnd.toml:1:1: asn is missing\n".to_owned()));
    let (code, out, _) = with_daemon("--json reload", refuse);
    assert_eq!((code, serde_json::from_str::<serde_json::Value>(&out).unwrap()["reply"].as_str()), (1, Some("refused")));
    let missing = |_| Some(vec![Reply::NotFound { message: "no neighbor ::1".to_owned() }]);
    assert_eq!(with_daemon("clear neighbor ::1", missing).0, 1);
}

#[test]
fn several_vnis_are_added_one_by_one() {
    let (code, out, _) = with_daemon("vni add 100 101 --bridge x{vni} --import auto,*:7", |request| {
        let Request::VniAdd(add) = request else { panic!("{request:?}") };
        assert_eq!(add.bridge.as_deref(), Some("x{vni}"));
        assert_eq!(add.import.unwrap(), ["auto", "*:7"]);
        Some(vec![Reply::Done { message: format!("VNI {} added", add.vni) }])
    });
    assert_eq!((code, out.as_str()), (0, "VNI 100 added\nVNI 101 added\n"));
}

/// Why it was refused is all there is to say: it is not waited for.
#[test]
fn a_vni_that_was_refused_is_not_waited_for() {
    let refuse = |request| match request {
        Request::VniAdd(_) => Some(vec![Reply::Refused { message: "a name of a bridge has 1 to 15 octets".to_owned() }]),
        other => panic!("{other:?}"),
    };
    let (code, out, err) = with_daemon("vni add 601 --bridge aaaaaaaaaaaaaaaa --wait 10", refuse);
    assert_eq!((code, &*out, &*err), (1, "", "evpnctl: a name of a bridge has 1 to 15 octets\n"));
}

#[test]
fn monitor_prints_until_the_daemon_ends() {
    let (code, out, err) = with_daemon("monitor", |request| {
        // The second "request" never comes: the daemon hangs up after the events.
        assert_eq!(request, Request::Monitor {});
        None
    });
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    let path = socket();
    let listener = UnixListener::bind(&path).unwrap();
    let daemon = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        for reply in [Reply::Done { message: String::new() }, Reply::Event(MonitorLine::new(0, Event::Overflow { times: 2 }))] {
            writeln!(stream, "{}", serde_json::to_string(&reply).unwrap()).unwrap();
        }
    });
    let output = evpnctl(&path, "--json monitor");
    daemon.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (line["event"].as_str(), line["times"].as_u64(), line["level"].as_str()),
        (Some("overflow"), Some(2), Some("warn"))
    );
}

#[test]
fn nobody_there_exits_with_3_and_says_what_to_do() {
    let output = evpnctl(&socket(), "show status");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stderr).unwrap().contains("systemctl status evpnd"));
    let path = socket();
    drop(UnixListener::bind(&path).unwrap());
    let output = evpnctl(&path, "show status");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stderr).unwrap().contains("nobody answers"));
    std::fs::remove_file(&path).unwrap();
    let (code, _, err) = with_daemon("show status", |_| None);
    assert_eq!((code, err.contains("hung up")), (3, true));
}

#[test]
fn usage_exits_with_2() {
    for words in [
        "",
        "show",
        "show vnis x",
        "show macs --mac zz",
        "explain vni 1 port 2",
        "vni add",
        "vni add 0",
        "clear neighbor x",
        "frobnicate",
    ] {
        assert_eq!(evpnctl(&socket(), words).status.code(), Some(2), "{words}");
    }
    assert_eq!(evpnctl(&socket(), "--help").status.code(), Some(0));
}

#[test]
fn duplicates_are_cleared_all_of_a_vni_or_one() {
    let forms = [
        ("clear duplicate", None, None, None),
        ("clear duplicate vni 100", Some(100), None, None),
        ("clear duplicate vni 100 mac 02:00:00:00:00:01", Some(100), Some("02:00:00:00:00:01"), None),
        ("clear duplicate mac 02:00:00:00:00:01", None, Some("02:00:00:00:00:01"), None),
        ("clear duplicate ip 192.0.2.1 vni 100", Some(100), None, Some("192.0.2.1")),
        ("clear duplicate ip 2001:db8::1", None, None, Some("2001:db8::1")),
    ];
    for (words, wanted_vni, wanted_mac, wanted_ip) in forms {
        let (code, out, _) = with_daemon(words, move |request| {
            let Request::ClearDuplicate { vni, mac, ip } = request else { panic!("{request:?}") };
            assert_eq!((vni.map(Vni::get), mac.map(|mac| mac.to_string())), (wanted_vni, wanted_mac.map(str::to_owned)));
            assert_eq!(ip.map(|ip| ip.to_string()), wanted_ip.map(str::to_owned));
            Some(vec![Reply::Done { message: "1 MAC is a duplicate no longer".to_owned() }])
        });
        assert_eq!((code, out.as_str()), (0, "1 MAC is a duplicate no longer\n"), "{words}");
    }
    let (code, _, err) = with_daemon("clear duplicate vni 7", |_| Some(vec![Reply::NotFound { message: "no VNI 7".to_owned() }]));
    assert_eq!((code, err.as_str()), (1, "evpnctl: no VNI 7\n"));
    for words in ["clear duplicate 100", "clear duplicate vni", "clear duplicate vni 100 mac 02:00:00:00:00:01 ip 192.0.2.1"] {
        let output = evpnctl(&socket(), words);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

/// `explain` for programs: one object with the words that people get.
#[test]
fn explain_gives_programs_the_conclusion() {
    let explanation = Explanation {
        vni: Vni::new(100).unwrap(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        local: None,
        candidates: Vec::new(),
        choice: "nobody announces it".to_owned(),
        wanted: None,
        installed: None,
        status: "no row is wanted".to_owned(),
        kernel: vec!["line".to_owned()],
        neighbors: Vec::new(),
        duplicates: Vec::new(),
        conclusion: "frames are flooded".to_owned(),
    };
    let answer = move |request| {
        assert_eq!(request, Request::Explain { vni: Vni::new(100).unwrap(), mac: MacAddr([2, 0, 0, 0, 0, 1]) });
        Some(vec![Reply::Explanation(explanation.clone())])
    };
    let (code, out, _) = with_daemon("--json explain vni 100 mac 02:00:00:00:00:01", answer.clone());
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, value["conclusion"].as_str(), value["kernel"][0].as_str()), (0, Some("frames are flooded"), Some("line")));
    let (code, out, _) = with_daemon("explain vni 100 mac 02:00:00:00:00:01", answer);
    assert!(code == 0 && out.contains("frames are flooded"), "{out}");
}

/// Editors and CI look for `file:line:column` where a line begins.
#[test]
fn what_evpnd_check_finds_begins_with_the_place() {
    let file = std::env::temp_dir().join(format!("evpnd-check-{}.toml", std::process::id()));
    std::fs::write(&file, "[router]\nasn = \"x\"\n").unwrap();
    let check = || Command::new(env!("CARGO_BIN_EXE_evpnd")).arg("check").arg(&file).output().unwrap();
    let output = check();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with(&format!("{}:2:7: ", file.display())), "{said}");
    std::fs::write(&file, "[router]\nasn = 65000\nvtep = \"10.0.0.1\"\n[[neighbor]]\naddress = \"10.0.0.254\"\n").unwrap();
    let said = String::from_utf8(check().stdout).unwrap();
    assert!(said.ends_with(": 1 neighbor, 0 VNIs, no mistakes\n"), "{said}");
    std::fs::remove_file(&file).unwrap();
    let output = check();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("No such file"), "and where there is none it says so");
}

/// Runs `evpnctl import-frr` in a directory of its own: what it is given, and the exit code with both outputs.
fn import(directory: &std::path::Path, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evpnctl"));
    let output = command.current_dir(directory).args(["--socket", "/nowhere", "import-frr"]).args(words).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn own_directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("evpnctl-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

const FRR: &str = "router bgp 65000\n bgp router-id 192.0.2.77\n neighbor 192.0.2.1 remote-as 65000\n neighbor 192.0.2.1 password s3cret\n \
                   neighbor 192.0.2.1 bfd\n address-family l2vpn evpn\n  neighbor 192.0.2.1 activate\n exit-address-family\nexit\n";

#[test]
fn an_import_is_written_for_its_owner_only_and_replaces_nothing_unasked() {
    use std::os::unix::fs::PermissionsExt;
    let directory = own_directory("import");
    std::fs::write(directory.join("frr.conf"), FRR).unwrap();
    let mode = |name: &str| std::fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;

    let (code, out, err) = import(&directory, &["frr.conf"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("password = \"s3cret\"") && !err.contains("s3cret"), "{out}{err}");
    assert!(
        err.contains("frr.conf:5: not carried over: neighbor 192.0.2.1 bfd")
            && out.contains("#   frr.conf:5: neighbor 192.0.2.1 bfd")
    );

    let (code, out, err) = import(&directory, &["frr.conf", "--output", "evpnd.toml"]);
    assert_eq!((code, &*out, mode("evpnd.toml")), (0, "", 0o600), "{err}");
    let written = std::fs::read_to_string(directory.join("evpnd.toml")).unwrap();
    evpnd::config::parse("evpnd.toml", &written).unwrap();

    let (code, _, err) = import(&directory, &["frr.conf", "--output", "evpnd.toml"]);
    assert!(code == 1 && err.contains("it exists") && err.contains("--force"), "{err}");
    std::fs::write(directory.join("evpnd.toml"), "").unwrap();
    std::fs::set_permissions(directory.join("evpnd.toml"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(import(&directory, &["frr.conf", "--output", "evpnd.toml", "--force"]).0, 0);
    assert_eq!(mode("evpnd.toml"), 0o640, "whoever's group could read it may; others not");
    assert_eq!(std::fs::read_to_string(directory.join("evpnd.toml")).unwrap(), written);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2, "nothing is left over");

    let (code, _, err) = import(&directory, &["frr.conf", "--output", ".", "--force"]);
    assert!(code == 1 && err.contains("no regular file"), "{err}");
    let (code, _, err) = import(&directory, &["frr.conf", "--output", "there/is/none.toml"]);
    assert!(code == 1 && err.contains("there/is/none.toml: No such file"), "{err}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn an_import_for_programs_is_one_object() {
    let directory = own_directory("json");
    std::fs::write(directory.join("frr.conf"), FRR).unwrap();
    let (code, out, err) = import(&directory, &["frr.conf", "--json"]);
    assert_eq!((code, &*err), (0, ""));
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["accepted"], &told["output"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(told["not_carried"][0]["line"], 5);
    assert_eq!(told["carried"][1]["keys"], "[router] router-id");
    evpnd::config::parse("x", told["toml"].as_str().unwrap()).unwrap();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_cannot_be_imported_is_said_with_its_file() {
    let directory = own_directory("refused");
    std::fs::write(directory.join("empty"), "").unwrap();
    std::fs::write(directory.join("octets"), [0xff, 0, 1, 0xfe].repeat(1000)).unwrap();
    std::fs::write(directory.join("large"), vec![b'x'; evpnd::import::MAX_OCTETS + 1]).unwrap();
    std::fs::write(directory.join("incomplete"), FRR.replace("remote-as 65000", "remote-as external")).unwrap();
    for (name, words) in [
        ("missing", "missing: No such file"),
        (".", ".: Is a directory"),
        ("empty", "empty: there is no line \"router bgp ASN\""),
        ("octets", "octets: there is no line"),
        ("large", "large: it is larger than 4 MiB"),
        ("incomplete", "asn = \"FILL IN\" is not an AS number"),
    ] {
        let (code, _, err) = import(&directory, &[name]);
        assert!(code == 1 && err.contains(words), "{name}: {code} {err}");
    }
    assert_eq!(import(&directory, &["empty", "--force"]).0, 2, "what should be replaced?");
    std::fs::remove_dir_all(directory).unwrap();
}
