//! The scripts of `config/hooks` that platforms call, and what becomes of their guests where evpnctl is gone, dies or hangs: a platform
//! takes a failure of the script for the guest's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use evpnd::control::{Page, Reply, Request};
use socket2::{Domain, SockAddr, Socket, Type};

const TOP: &str = env!("CARGO_MANIFEST_DIR");

/// What a script ended with.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn finish(mut command: Command, document: &str) -> Said {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // What needs no document may not read it.
    let _ = child.stdin.take().unwrap().write_all(document.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Runs one of the scripts with `evpnctl` in the place of ours, which does `as_told` where it is the one for tests.
fn run(script: &str, words: &[&str], evpnctl: &Path, as_told: &str) -> Said {
    let mut command = Command::new(format!("{TOP}/config/hooks/{script}"));
    command.args(words).env("EVPNCTL", evpnctl).env("AS_TOLD", as_told);
    finish(command, "<domain/>")
}

fn for_tests() -> PathBuf {
    Path::new(TOP).join("tests/vectors/hooks/evpnctl")
}

/// Every script and call of ours, and whether it may say that a guest cannot start.
const CALLS: [(&str, &[&str], bool); 15] = [
    ("libvirt/qemu", &["web1", "prepare", "begin", "-"], true),
    ("libvirt/qemu", &["web1", "start", "begin", "-"], false),
    ("libvirt/qemu", &["web1", "started", "begin", "-"], false),
    ("libvirt/qemu", &["web1", "stopped", "end", "-"], false),
    ("libvirt/qemu", &["web1", "release", "end", "crashed"], false),
    ("libvirt/qemu", &["web1", "migrate", "begin", "-"], false),
    ("libvirt/qemu", &["web1", "restore", "begin", "-"], false),
    ("libvirt/qemu", &["web1", "reconnect", "begin", "-"], false),
    ("libvirt/qemu", &["web1", "attach", "begin", "-"], false),
    ("libvirt/network", &["blue", "port-created", "begin", "-"], true),
    ("libvirt/network", &["blue", "port-deleted", "begin", "-"], false),
    ("libvirt/network", &["blue", "started", "begin", "-"], false),
    ("opennebula/pre", &[], false),
    ("opennebula/post", &["one-17", "host-1"], false),
    ("opennebula/clean", &["host-1"], false),
];

#[test]
fn no_guest_ends_where_evpnctl_is_gone_or_dies() {
    for (script, words, may_fail) in CALLS {
        for gone in [Path::new("/nowhere/evpnctl"), Path::new("/etc/passwd")] {
            let said = run(script, words, gone, "");
            assert!(said.code == Some(0) && said.out.is_empty(), "{script} {words:?}: {said:?}");
            assert!(said.err.contains(&format!("there is no {}", gone.display())), "{script} {words:?}: {said:?}");
        }
        // A panic, words it does not know, no daemon, a signal.
        for dies in ["exit 101", "exit 2", "exit 3", "kill -SEGV $$"] {
            let said = run(script, words, &for_tests(), dies);
            assert!(said.code == Some(0) && said.out.is_empty(), "{script} {words:?}: {dies}: {said:?}");
            assert!(said.err.contains("evpnctl failed"), "{script} {words:?}: {dies}: {said:?}");
        }
        let said = run(script, words, &for_tests(), "exit 1");
        assert_eq!(said.code, Some(i32::from(may_fail)), "{script} {words:?}: {said:?}");
        let said = run(script, words, &for_tests(), "exit 0");
        assert_eq!(said, Said { code: Some(0), out: String::new(), err: String::new() }, "{script} {words:?}");
    }
}

/// Of `migrate` and `restore` what is printed would be taken for a domain; what evpnctl gets is what the platform gave.
#[test]
fn words_and_documents_pass_through_and_nothing_is_printed() {
    for (script, words, _) in CALLS {
        let said = run(script, words, &for_tests(), "echo \"$*:\" && cat");
        let (platform, stage) = script.split_once('/').unwrap();
        let mut wanted = vec![format!("{platform}-hook"), stage.to_owned(), "--".to_owned()];
        wanted.extend(words.iter().map(|word| (*word).to_owned()));
        assert_eq!((said.code, &*said.out), (Some(0), ""), "{script} {words:?}: {said:?}");
        assert_eq!(said.err, format!("{}:\n<domain/>", wanted.join(" ")), "{script} {words:?}");
    }
}

/// A guest may be called what evpnctl takes for an option.
#[test]
fn a_guest_by_the_name_of_an_option_is_a_guest() {
    for name in ["--help", "-h", "--version", "--json", "--socket=/x", "--map", "--"] {
        for operation in ["migrate", "restore", "reconnect"] {
            let said = run("libvirt/qemu", &[name, operation, "begin", "-"], Path::new(env!("CARGO_BIN_EXE_evpnctl")), "");
            assert_eq!((said.code, &*said.out), (Some(0), ""), "{name} {operation}: {said:?}");
            let read = said.err.contains("the document cannot be read");
            assert_eq!(read, operation != "restore", "{name} {operation}: {said:?}");
        }
    }
}

// ---- evpnctl as a hook of a guest, with a daemon of a few lines ----

/// A file of this test, which is not there yet.
fn own_file(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("evpnctl-hooks-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// A domain with an interface on each of these bridges.
fn domain(bridges: impl IntoIterator<Item = String>) -> String {
    let interface =
        |bridge| format!("<interface type='bridge'><source bridge='{bridge}'/><mac address='02:00:00:00:00:01'/></interface>");
    let interfaces: String = bridges.into_iter().map(interface).collect();
    format!("<domain><name>web1</name><devices>{interfaces}</devices></domain>")
}

/// `evpnctl libvirt-hook qemu web1 OPERATION`, with a map file.
fn hook(socket: &Path, map: &Path, operation: &str, part: &str, document: &str) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evpnctl"));
    command.arg("--socket").arg(socket).args(["libvirt-hook", "--map"]).arg(map);
    command.args(["qemu", "web1", operation, part, "-"]);
    finish(command, document)
}

/// Answers each request, or is silent; ends with [`requests`], which gives what was asked.
fn daemon(socket: &Path, answer: impl Fn(&Request) -> Option<Reply> + Send + 'static) -> JoinHandle<Vec<Request>> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let mut asked = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let Ok(request) = serde_json::from_str(&line.unwrap()) else { return asked };
                if let Some(reply) = answer(&request) {
                    writeln!(stream, "{}", serde_json::to_string(&reply).unwrap()).unwrap();
                }
                asked.push(request);
            }
        }
        asked
    })
}

fn requests(socket: &Path, daemon: JoinHandle<Vec<Request>>) -> Vec<Request> {
    UnixStream::connect(socket).unwrap().write_all(b"that is all\n").unwrap();
    let asked = daemon.join().unwrap();
    std::fs::remove_file(socket).unwrap();
    asked
}

/// Has no VNI, and takes none.
fn refuses(request: &Request) -> Option<Reply> {
    Some(match request {
        Request::ShowVnis { .. } => Reply::Vnis(Page::last(Vec::new())),
        _ => Reply::Refused { message: "not today".to_owned() },
    })
}

/// The platform waits for the hook: what a daemon that hangs was asked once it is not asked again, nor anything else.
#[test]
fn a_daemon_that_is_silent_is_waited_for_once() {
    let calls = [
        ("prepare", "begin"),
        ("started", "begin"),
        ("reconnect", "begin"),
        ("attach", "begin"),
        ("stopped", "end"),
        ("release", "end"),
    ];
    std::thread::scope(|scope| {
        for (operation, part) in calls {
            scope.spawn(move || {
                let socket = own_file(operation);
                let silent = daemon(&socket, |_| None);
                let said = hook(&socket, Path::new("/nowhere"), operation, part, &domain(["lo".to_owned(), "br300".to_owned()]));
                assert!(said.err.contains("does not answer within 5 s"), "{operation}: {said:?}");
                assert_eq!(said.code, Some(i32::from(operation == "prepare")), "{operation}: {said:?}");
                let asked = requests(&socket, silent);
                assert_eq!(asked.len(), 1, "{operation}: {asked:?}");
            });
        }
    });
}

/// At the destination of a live migration `started` comes before the guest does, on a bridge or on a network of libvirt, whose bridge no
/// document names before that; and also where no daemon answered at `migrate`. Later, or after a migration that came to nothing, it is a start.
#[test]
fn a_guest_that_is_coming_is_not_claimed() {
    let document = |nic: &str| {
        let mac = "<mac address='02:00:00:00:00:01'/><target dev='lo'/>";
        format!("<domain><uuid>u-{}</uuid><devices><interface {nic}{mac}</interface></devices></domain>", std::process::id())
    };
    let before = document("type='network'><source network='blue'/>");
    let network = document("type='network'><source network='blue' bridge='br300'/>");
    let bridge = document("type='bridge'><source bridge='br300'/>");
    let socket = own_file("coming");
    let call = |operation: &str, part: &str, document: &str| {
        let said = hook(&socket, Path::new("/nowhere"), operation, part, document);
        assert_eq!(said.code, Some(0), "{operation}: {said:?}");
        said
    };
    let claims = |document: &str| {
        let refusing = daemon(&socket, refuses);
        call("started", "begin", document);
        let asked = requests(&socket, refusing);
        asked.iter().filter(|request| matches!(request, Request::MacClaim { .. })).count()
    };
    for (before, at_start) in [(&before, &network), (&bridge, &bridge)] {
        assert_eq!(call("migrate", "begin", before).err, "", "nothing is asked, and no daemon is missed");
        assert_eq!(claims(at_start), 0, "it runs elsewhere");
        assert_eq!(claims(at_start), 1, "a start that no migration went before");
        call("migrate", "begin", before);
        call("release", "end", before);
        assert_eq!(claims(at_start), 1, "the migration failed");
    }
}

/// libvirt says nothing more of a port that failed.
#[test]
fn a_port_that_fails_leaves_no_hold() {
    let socket = own_file("port");
    let takes = daemon(&socket, |request| {
        Some(match request {
            Request::ShowVnis { .. } => Reply::Vnis(Page::last(Vec::new())),
            Request::VniAdd { .. } => Reply::Refused { message: "not today".to_owned() },
            _ => Reply::Done { message: String::new() },
        })
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_evpnctl"));
    command.arg("--socket").arg(&socket).args([
        "libvirt-hook",
        "--map",
        "/nowhere",
        "network",
        "blue",
        "port-created",
        "begin",
        "-",
    ]);
    let port = "<networkport><uuid>p1</uuid><mac address='02:00:00:00:00:01'/><plug bridge='br3000001'/></networkport>";
    let said = finish(command, &format!("<hookData><network><name>blue</name></network>{port}</hookData>"));
    assert!(said.code == Some(1) && said.err.contains("there is no bridge br3000001"), "{said:?}");
    let asked = requests(&socket, takes);
    assert_eq!(asked.last(), Some(&Request::CallerGone { caller: "libvirt-port:p1".to_owned() }), "{asked:?}");
}

/// One that stands still, with all the connections before it that may wait.
#[test]
fn a_daemon_that_takes_no_connection_is_waited_for_once() {
    let socket = own_file("queue");
    let queue = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    queue.bind(&SockAddr::unix(&socket).unwrap()).unwrap();
    queue.listen(0).unwrap();
    let _first = UnixStream::connect(&socket).unwrap();
    for (operation, part, code) in [("prepare", "begin", 1), ("release", "end", 0)] {
        let said = hook(&socket, Path::new("/nowhere"), operation, part, &domain(["br300".to_owned()]));
        assert!(said.err.contains("takes no connection") && said.err.contains("within 5 s"), "{said:?}");
        assert_eq!(said.code, Some(code), "{operation}: {said:?}");
    }
    std::fs::remove_file(&socket).unwrap();
}

/// The VNIs that evpnctl asked for at `reconnect` of a guest on these bridges, and what it said.
fn asked_for(test: &str, map: &str, bridges: &[&str]) -> (Vec<u32>, String) {
    let (socket, file) = (own_file(&format!("{test}.sock")), own_file(&format!("{test}.map")));
    std::fs::write(&file, map).unwrap();
    let refusing = daemon(&socket, refuses);
    let said = hook(&socket, &file, "reconnect", "begin", &domain(bridges.iter().map(|name| (*name).to_owned())));
    assert!(said.code == Some(0) && said.out.is_empty(), "{said:?}");
    std::fs::remove_file(file).unwrap();
    let add = |request: &Request| match request {
        Request::VniAdd(add) => Some(add.vni.get()),
        _ => None,
    };
    (requests(&socket, refusing).iter().filter_map(add).collect(), said.err)
}

#[test]
fn only_a_number_is_a_vni_and_the_map_has_the_last_word() {
    let bridges = ["br0", "br00", "br", "bridge7", "br5.7", "br6-lan", "virbr0", "br10", "br300", "lan", "brx"];
    let (vnis, said) = asked_for("plain", "", &bridges);
    assert_eq!(vnis, [10, 300]);
    assert!(
        !said.contains("is not a VNI") && said.lines().count() == 3,
        "two refusals, and of br300 that it is not there: {said}"
    );
    let (vnis, _) = asked_for("mapped", "br10 none # VLAN 10\nlan 77\nbr0 78\n", &bridges);
    assert_eq!(vnis, [77, 78, 300]);
    let (vnis, said) = asked_for("nothing", "* none\nlan 77\n", &bridges);
    assert_eq!(vnis, [77], "{said}");
    let (vnis, said) = asked_for("wrong", "* 300\nbr10 nothing\nlan\nlan 0\n", &["lan"]);
    assert!(vnis.is_empty(), "{vnis:?}");
    assert_eq!(
        said.lines().filter(|line| line.contains("expected a bridge or network and its VNI or none, or * none")).count(),
        4
    );
    let (vnis, said) = asked_for("large", "", &["br99999999", "br99999999"]);
    assert!(vnis.is_empty() && said.contains("br99999999: 99999999 is not a VNI (1 to 16777215)"), "{said}");
    assert_eq!(said.lines().count(), 2, "once for the VNIs, once for the MACs: {said}");
}

#[test]
fn a_guest_without_a_network_of_ours_is_none_of_our_business() {
    for (operation, part) in [("prepare", "begin"), ("stopped", "end")] {
        let said =
            hook(Path::new("/nowhere"), Path::new("/nowhere"), operation, part, &domain(["br0".to_owned(), "virbr0".to_owned()]));
        assert_eq!(said, Said { code: Some(0), out: String::new(), err: String::new() }, "{operation}");
    }
}

/// A log is read by people, and may be slow.
#[test]
fn a_guest_of_many_interfaces_is_complained_of_in_few_words() {
    let prepare = |bridges: Vec<String>| hook(Path::new("/nowhere"), Path::new("/nowhere"), "prepare", "begin", &domain(bridges));
    let said = prepare((1..=20_000).map(|vni| format!("br{vni}")).collect());
    assert!(said.code == Some(1) && said.err.contains("and 19995 more: the guest would have no network"), "{:.2000}", said.err);
    assert!(said.err.len() < 1000, "{}", said.err.len());
    let said = prepare(vec!["br300".to_owned(); 20_000]);
    assert!(said.code == Some(1) && said.err.contains("there is no bridge br300: the guest"), "{:.2000}", said.err);

    let bridges: Vec<String> = (1..=2000).map(|vni| format!("br{vni}")).collect();
    let bridges: Vec<&str> = bridges.iter().map(String::as_str).collect();
    let (vnis, said) = asked_for("many", "", &bridges);
    assert!(vnis.len() == 2000 && said.lines().count() == 21 && said.contains("not today"), "{said}");
}
