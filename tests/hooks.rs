//! The scripts of `config/hooks` that platforms call, and what becomes of their guests where evpnctl is gone, dies or hangs: a platform
//! takes a failure of the script for the guest's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
