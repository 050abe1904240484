//! The house rules as a test (docs/ARCHITECTURE.md): floors, what the core may not touch, file heads and lengths, no
//! panics, nothing of one machine in tracked files. Each rule is a function from files to complaints, and below each rule
//! stands the test that it does complain.
#![allow(clippy::unwrap_used, clippy::panic)]

mod tidy_support;

use std::path::Path;
use std::process::Command;

use tidy_support::{code, inside, paths, without_tests};

/// The rooms with their floors. A room imports lower floors only; rooms of one floor are strangers.
const FLOORS: &[(&str, u8)] = &[
    ("base", 0),
    ("wire", 1),
    ("control", 1),
    ("session", 2),
    ("rib", 2),
    ("fib", 2),
    ("config", 2),
    ("evpn", 3),
    ("import", 3),
    ("kernel", 3),
    ("speaker", 4),
    ("lab", 5),
    ("io", 5),
];

/// Imports that are narrower than the floors allow (house.md §2): who, and the only rooms it may know.
const NARROWER: &[(&str, &[&str])] =
    &[("control", &["base"]), ("fib", &["base"]), ("import", &["base", "wire", "config"]), ("kernel", &["base", "fib"])];

/// Rooms at the rim: they may own clocks, sockets, threads, files and randomness. The binaries may as well.
const RIM: &[&str] = &["io", "kernel", "lab", "bin", "main.rs"];

/// What only the rim may name.
const RIM_ONLY: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::os",
    "std::thread",
    "std::sync",
    "std::cell",
    "std::fs",
    "std::process",
    "std::env",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::hash::RandomState",
    "std::collections::hash_map",
    "tokio",
    "libc",
    "socket2",
    "rand",
    "rtnetlink",
    "netlink_sys",
    "netlink_packet_core",
    "netlink_packet_route",
    "sd_notify",
    "caps",
    "landlock",
];

/// Above this a file wants splitting.
const MAX_LINES: usize = 600;

/// What may stand at the top of the repository.
const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".config",
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
    "config",
    "docs",
    "integration",
    "rustfmt.toml",
    "src",
    "tests",
];

/// One tracked file.
struct File {
    /// Path from the top, with `/`.
    path: String,
    text: String,
    /// A file of tests inside a room.
    test: bool,
}

impl File {
    /// The room (or `bin`, `main.rs`, `lib.rs`) of a file under src/.
    fn room(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.split('/').next()
    }

    fn is_rust_source(&self) -> bool {
        self.path.starts_with("src/") && self.path.ends_with(".rs")
    }
}

/// Every tracked file that is text, and those not yet added.
fn files() -> Vec<File> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(top).output();
    let mut paths: Vec<String> = match listed {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect(),
        // Not a checkout (a packed crate): walk what is there.
        _ => walk(top, ""),
    };
    paths.sort();
    paths.dedup();
    let read = |path: String| Some(File { text: std::fs::read_to_string(top.join(&path)).ok()?, path, test: false });
    let mut files: Vec<File> = paths.into_iter().filter_map(read).collect();
    let tests: Vec<String> = files.iter().filter(|file| file.is_rust_source()).flat_map(test_modules).collect();
    for file in &mut files {
        let module = file.path.trim_end_matches(".rs");
        file.test = tests
            .iter()
            .any(|test| module.strip_prefix(test.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    }
    files
}

/// The modules that a file declares for tests only, as paths without `.rs`.
fn test_modules(file: &File) -> Vec<String> {
    let within = file.path.strip_suffix("mod.rs").map_or_else(|| file.path.replace(".rs", "/"), str::to_owned);
    let declared = file.text.split("#[cfg(test)]").skip(1).filter_map(|rest| {
        let item = rest.split([';', '{']).next()?.trim();
        item.rsplit_once("mod ").map(|(_, name)| format!("{within}{name}"))
    });
    declared.collect()
}

fn walk(top: &Path, under: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(top.join(under)).unwrap().map(Result::unwrap) {
        let name = format!("{under}{}", entry.file_name().to_string_lossy());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() && !matches!(name.as_str(), "target" | ".git") => found.extend(walk(top, &format!("{name}/"))),
            kind if kind.is_file() => found.push(name),
            _ => {}
        }
    }
    found
}

fn check(rule: fn(&File) -> Vec<String>) {
    let complaints: Vec<String> = files().iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn complaints(rule: fn(&File) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&File { path: path.to_owned(), text: text.to_owned(), test: false }).len()
}

#[test]
fn code_is_read_as_code() {
    let text = "use crate::{base::X, /* rib::Y, */ wire::{a, b::c}}; // crate::io\nlet s = \"crate::lab\"; let l: &'a str = r#\"tokio \"x\" \"#; 'y' '\\'' z";
    let found: Vec<String> = paths(&code(text)).into_iter().map(|(_, path)| path).collect();
    for path in ["crate::base::X", "crate::wire::a", "crate::wire::b::c", "z"] {
        assert!(found.iter().any(|found| found == path), "{path} in {found:?}");
    }
    for word in ["io", "lab", "tokio", "Y", "y"] {
        assert!(!found.iter().any(|found| found.contains(word)), "{word} in {found:?}");
    }
    assert_eq!(paths("a\n\nb::c\n").last().unwrap(), &(3, "b::c".to_owned()));
    let room = File { path: "src/lab/mod.rs".to_owned(), text: "mod a;\n#[cfg(test)]\nmod b;\n".to_owned(), test: false };
    assert_eq!(test_modules(&room), ["src/lab/b"]);
    let kept = without_tests("fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\n#[cfg(test)]\nuse d;\nfn c() {}");
    assert!(kept.contains("fn c") && !kept.contains("fn b") && !kept.contains("use d"));
}

// ---- the rules ----

/// A room knows rooms of lower floors only.
fn floors(file: &File) -> Vec<String> {
    let Some(room) = file.room().filter(|_| file.is_rust_source()) else { return Vec::new() };
    if matches!(room, "lib.rs" | "main.rs" | "bin") {
        return Vec::new();
    }
    let floor_of = |name: &str| FLOORS.iter().find(|(room, _)| *room == name).map(|(_, floor)| *floor);
    let Some(floor) = floor_of(room) else { return vec![format!("{}: {room} is no room of the house (src/lib.rs)", file.path)] };
    // mod.rs is one module below the crate, other files two or more.
    let depth = file.path.matches('/').count() - usize::from(file.path.ends_with("/mod.rs"));
    let mut found = Vec::new();
    for (line, path) in paths(&without_tests(&code(&file.text))) {
        let above = "super::".repeat(depth);
        let Some(rest) = path.strip_prefix("crate::").or_else(|| path.strip_prefix(&above)) else { continue };
        let other = rest.split("::").next().unwrap_or(rest);
        let Some(other_floor) = floor_of(other).filter(|_| other != room) else { continue };
        let narrow = NARROWER.iter().find(|(who, _)| *who == room).is_some_and(|(_, only)| !only.contains(&other));
        if other_floor >= floor || narrow {
            found.push(format!("{}:{line}: {room} (floor {floor}) may not know {other} (floor {other_floor})", file.path));
        }
    }
    found
}

#[test]
fn rooms_know_lower_floors_only() {
    check(floors);
    assert_eq!(complaints(floors, "src/rib/x.rs", "use crate::base::Asn;\nuse crate::{wire::rd::Rd, base};"), 0);
    assert_eq!(complaints(floors, "src/rib/x.rs", "use crate::{base::Asn, session::State};"), 1, "siblings");
    assert_eq!(complaints(floors, "src/wire/x.rs", "fn a(b: crate::rib::Rib) {}"), 1, "upwards");
    assert_eq!(complaints(floors, "src/wire/mod.rs", "use super::rib::Rib;"), 1, "through super");
    assert_eq!(complaints(floors, "src/wire/mod.rs", "use self::evpn::Route;"), 0, "a file of the room");
    assert_eq!(complaints(floors, "src/wire/x.rs", "use super::evpn::Route;"), 0, "a file of the room");
    assert_eq!(complaints(floors, "src/fib/x.rs", "use crate::wire::rd::Rd;"), 1, "fib speaks no BGP");
    assert_eq!(complaints(floors, "src/attic/x.rs", ""), 1, "no such room");
    assert_eq!(complaints(floors, "src/wire/x.rs", "#[cfg(test)]\nmod tests { use crate::rib::Rib; }"), 0, "tests may look up");
}

/// The core owns no clock, socket, thread, file or chance.
fn rim(file: &File) -> Vec<String> {
    let Some(room) = file.room().filter(|_| file.is_rust_source()) else { return Vec::new() };
    if RIM.contains(&room) || file.test {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (line, path) in paths(&without_tests(&code(&file.text))) {
        let path = path.trim_start_matches("::");
        if let Some(banned) = RIM_ONLY.iter().find(|banned| inside(path, banned)) {
            found.push(format!("{}:{line}: {banned} belongs to the rim ({})", file.path, RIM.join(", ")));
        }
    }
    found
}

#[test]
fn the_core_is_pure() {
    check(rim);
    for line in [
        "use std::time::Instant;",
        "use std::{fmt, time::{Duration, SystemTime}};",
        "fn a() { std::thread::spawn(b); }",
        "use std::collections::{BTreeMap, HashMap};",
        "use ::tokio::select;",
        "let x = libc::AF_BRIDGE;",
        "use std::net::{IpAddr, TcpStream};",
        "use std::fs;",
        "use std::sync::Mutex;",
        "use std::cell::RefCell;",
    ] {
        assert_eq!(complaints(rim, "src/rib/x.rs", line), 1, "{line}");
        assert_eq!(complaints(rim, "src/io/x.rs", line), 0, "{line}");
    }
    assert_eq!(
        complaints(
            rim,
            "src/rib/x.rs",
            "use std::time::Duration; use std::net::IpAddr; use hashbrown::HashTable; let random = 1;"
        ),
        0
    );
}

/// Where errors may be words alone (docs/decisions/0007-errors.md).
const WORDS_ALONE: &[&str] = &["io", "lab", "bin", "main.rs"];

/// Everywhere else an error is a type that names what it costs.
fn errors(file: &File) -> Vec<String> {
    let Some(room) = file.room().filter(|_| file.is_rust_source()) else { return Vec::new() };
    if WORDS_ALONE.contains(&room) {
        return Vec::new();
    }
    let named = paths(&code(&file.text)).into_iter().filter(|(_, path)| inside(path.trim_start_matches("::"), "anyhow"));
    named.map(|(line, _)| format!("{}:{line}: anyhow is for {}", file.path, WORDS_ALONE.join(", "))).collect()
}

#[test]
fn errors_are_types_but_at_the_rim() {
    check(errors);
    assert_eq!(complaints(errors, "src/kernel/x.rs", "use anyhow::bail;"), 1);
    assert_eq!(complaints(errors, "src/config/x.rs", "fn a() -> ::anyhow::Result<()> {}"), 1);
    assert_eq!(complaints(errors, "src/io/x.rs", "use anyhow::bail;"), 0);
    assert_eq!(complaints(errors, "src/config/x.rs", "// anyhow"), 0);
}

/// What the documentation names is there: files by their path, or by room and name as in `session/fsm`.
fn documented_paths(file: &File) -> Vec<String> {
    if !file.path.ends_with(".md") || file.path == "CHANGELOG.md" {
        return Vec::new();
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let in_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '*' | '{' | '}' | ',');
        for word in line.split(|c| !in_path(c)).map(|word| word.trim_end_matches(['.', ',', '-'])) {
            let Some((first, rest)) = word.split_once('/') else { continue };
            let room = FLOORS.iter().any(|(room, _)| *room == first);
            if rest.is_empty() || !(room || matches!(first, "src" | "tests" | "integration" | "docs" | "config" | ".ci")) {
                continue;
            }
            let there = |path: &str| {
                let near = Path::new(&file.path).parent().unwrap_or(Path::new("")).join(path);
                let exists = |path: &Path| path.exists() || path.with_extension("rs").exists();
                let in_room = room && exists(&top.join("src").join(path));
                exists(&top.join(path)) || exists(&top.join(near)) || in_room
            };
            for path in spelt_out(word).iter().filter(|path| !there(path)) {
                found.push(format!("{}:{}: there is no {path}", file.path, number + 1));
            }
        }
    }
    found
}

/// `a/{b,c}.rs` is two paths; of `a/b_*.rs` the folder is looked at.
fn spelt_out(word: &str) -> Vec<String> {
    let word = match word.split_once('*') {
        Some((before, _)) => before.rsplit_once('/').map_or(before, |(folder, _)| folder),
        None => word,
    };
    match word.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (names, after))) => names.split(',').map(|name| format!("{before}{name}{after}")).collect(),
        None => word.split(',').map(str::to_owned).collect(),
    }
}

#[test]
fn what_the_documentation_names_is_there() {
    check(documented_paths);
    let complaints = |text: &str| complaints(documented_paths, "docs/X.md", text);
    assert_eq!(complaints("see `src/rib/decision.rs`, session/fsm, `src/evpn/{local,remote}.rs` and tests/wire_*.rs."), 0);
    assert_eq!(complaints("[there](decisions/0001-codec.md), `.ci/run`, 1/2, and/or, /etc/evpnd, RIB/FIB"), 0);
    assert_eq!(complaints("see `src/rib/attic.rs`, kernel/events and `src/evpn/{local,away}.rs`"), 3);
}

/// Every source file says why it exists, and is short enough to be read.
fn heads_and_lengths(file: &File) -> Vec<String> {
    if !file.path.ends_with(".rs") {
        return Vec::new();
    }
    let mut found = Vec::new();
    if !file.text.starts_with("//!") {
        found.push(format!("{}:1: does not begin with //! and why it exists", file.path));
    }
    let lines = file.text.lines().count();
    if lines > MAX_LINES {
        found.push(format!("{}: {lines} lines; more than {MAX_LINES} want splitting", file.path));
    }
    found
}

#[test]
fn files_have_heads_and_are_short() {
    check(heads_and_lengths);
    assert_eq!(complaints(heads_and_lengths, "src/rib/x.rs", "fn a() {}"), 1);
    assert_eq!(complaints(heads_and_lengths, "integration/cases/x.rs", "fn a() {}"), 1);
    assert_eq!(complaints(heads_and_lengths, "src/rib/x.rs", &format!("//! x\n{}", "\n".repeat(600))), 1);
    assert_eq!(complaints(heads_and_lengths, "src/rib/x.rs", &format!("//! x\n{}", "\n".repeat(599))), 0);
}

/// Nothing outside tests ends the daemon.
fn panics(file: &File) -> Vec<String> {
    if !file.is_rust_source() || file.test {
        return Vec::new();
    }
    let code = without_tests(&code(&file.text));
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        for banned in [".unwrap()", ".expect(", "panic!", "todo!", "unimplemented!"] {
            if line.contains(banned) {
                found.push(format!("{}:{}: {banned} outside tests", file.path, number + 1));
            }
        }
    }
    found
}

#[test]
fn nothing_panics_outside_tests() {
    check(panics);
    for line in ["a.unwrap();", "a.expect(\"b\");", "panic!(\"\")", "todo!()"] {
        assert_eq!(complaints(panics, "src/io/x.rs", line), 1, "{line}");
        assert_eq!(complaints(panics, "src/io/x.rs", &format!("#[cfg(test)]\nmod tests {{ {line} }}")), 0, "{line}");
        assert_eq!(complaints(panics, "src/io/x.rs", &format!("// {line}")), 0, "{line}");
    }
    assert_eq!(complaints(panics, "src/io/x.rs", "a.unwrap_or(1); let b = \"panic!\";"), 0);
}

/// The top of the repository stays a table of contents.
fn top_level(file: &File) -> Vec<String> {
    let name = file.path.split('/').next().unwrap_or_default();
    if TOP_LEVEL.contains(&name) {
        Vec::new()
    } else {
        vec![format!("{}: {name} is not expected at the top (tests/tidy.rs)", file.path)]
    }
}

#[test]
fn the_top_level_is_known() {
    check(top_level);
    assert_eq!(complaints(top_level, "notes.txt", ""), 1);
    assert_eq!(complaints(top_level, "src/lib.rs", ""), 0);
}

/// Hosts of package registries: whoever builds this has their own. Written in two pieces, so as not to be found here.
const REGISTRIES: &[&str] = &[
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("proxy.golang", ".org"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("deb.debian", ".org"),
    concat!("docker", ".io"),
    concat!("sparse", "+http"),
    concat!("artifact", "ory"),
];

/// Nothing of one machine is in a tracked file.
fn portable(file: &File) -> Vec<String> {
    portable_from(file, env!("CARGO_MANIFEST_DIR"))
}

fn portable_from(file: &File, checkout: &str) -> Vec<String> {
    let mut banned = vec![checkout.to_owned(), concat!("/ro", "ot/").to_owned(), concat!("/ho", "me/").to_owned()];
    // A checkout below a directory that only this machine has: nothing else of that directory either.
    let first = checkout.split('/').nth(1).unwrap_or_default();
    let common =
        ["tmp", "usr", "var", "etc", "run", "opt", "srv", "mnt", "dev", "proc", "sys", "lib", "bin", "sbin", "boot", "src", ""];
    if !common.contains(&first) {
        banned.push(format!("/{first}/"));
    }
    let in_path = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '}' | ')' | '~' | '$' | '<' | '>' | '*');
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let place = format!("{}:{}", file.path, number + 1);
        for path in &banned {
            // In the middle of another path it is something else.
            if line.match_indices(path.as_str()).any(|(at, _)| !line[..at].ends_with(in_path)) {
                found.push(format!("{place}: {path} is a path of one machine"));
            }
        }
        for built in [concat!("/target/", "debug"), concat!("/target/", "release")] {
            let absolute = |at: usize| line[..at].rsplit(|c| !in_path(c)).next().is_some_and(|before| before.starts_with('/'));
            if line.match_indices(built).any(|(at, _)| absolute(at)) {
                found.push(format!("{place}: an absolute path into a target directory"));
            }
        }
        if let Some(host) = REGISTRIES.iter().find(|host| line.contains(**host)) {
            found.push(format!("{place}: {host} is the host of a registry"));
        }
    }
    found
}

#[test]
fn nothing_belongs_to_one_machine() {
    check(portable);
    let complaints = |text: &str| {
        let file = File { path: "docs/x.md".to_owned(), text: text.to_owned(), test: false };
        portable_from(&file, "/strange/place/evpnd").len()
    };
    for bad in [
        concat!("cd /ro", "ot/x"),
        concat!("\"/ho", "me/joe/x\""),
        "see /strange/elsewhere",
        concat!("/build/target/", "debug/evpnd"),
        concat!("https://index.crates", ".io/"),
    ] {
        assert_eq!(complaints(bad), 1, "{bad}");
    }
    assert!(complaints("in /strange/place/evpnd/src") >= 1);
    for good in ["/etc/evpnd/evpnd.toml", "cargo run --release", concat!("./target/", "release/evpnd"), "$HOME/x", "a/strange/b"]
    {
        assert_eq!(complaints(good), 0, "{good}");
    }
}
