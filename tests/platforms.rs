//! The files in `config/platforms/` and the pages that explain them say the same: `integration/platforms/run` tries what stands in the pages, people
//! copy the files, and the Debian package brings both.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const LIST: &str = include_str!("../config/platforms/README.md");
const MANIFEST: &str = include_str!("../Cargo.toml");

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names(directory: &str) -> BTreeSet<String> {
    let found = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap();
    found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A file of the list: directory, name, the path that it goes to, its page.
struct Row<'a> {
    directory: &'a str,
    name: &'a str,
    path: String,
    page: String,
}

fn rows() -> Vec<Row<'static>> {
    let rows = LIST.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [file, to, page] = cells[..] else { panic!("not three columns: {line}") };
        let (directory, name) = file.split_once('/').unwrap();
        let page = page.split_once("](../../docs/platforms/").unwrap().1.trim_end_matches(')');
        Row { directory, name, path: format!("{to}{name}"), page: page.to_owned() }
    });
    rows.collect()
}

/// The files that a page shows: a line with nothing but a path, then lines set in by four, as `copy_from_docs` of `integration/systemd/machine` reads them.
fn blocks(page: &str) -> BTreeMap<String, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if let Some(path) = line.strip_prefix("`/").and_then(|rest| rest.strip_suffix('`')).filter(|path| !path.contains('`')) {
            found.push((format!("/{path}"), String::new()));
            inside = true;
        } else if let Some((_, text)) = found.last_mut().filter(|_| inside && (line.is_empty() || line.starts_with("    "))) {
            text.push_str(line.strip_prefix("    ").unwrap_or_default());
            text.push('\n');
        } else {
            inside = false;
        }
    }
    found.into_iter().map(|(path, text)| (path, format!("{}\n", text.trim_matches('\n')))).collect()
}

#[test]
fn pages_and_files_say_the_same() {
    let rows = rows();
    for page in names("docs/platforms") {
        let text = read(&format!("docs/platforms/{page}"));
        let of_page: Vec<&Row<'_>> = rows.iter().filter(|row| row.page == page).collect();
        let blocks = blocks(&text);
        let listed: BTreeSet<&String> = of_page.iter().map(|row| &row.path).collect();
        assert_eq!(blocks.keys().collect::<BTreeSet<_>>(), listed, "{page}: its files, and those of config/platforms/README.md");
        for Row { directory, name, path, .. } in of_page {
            let file = read(&format!("config/platforms/{directory}/{name}"));
            assert_eq!(file, blocks[path], "config/platforms/{directory}/{name} and {path} of {page}");
            assert!(
                text.contains(&format!("](../../config/platforms/{directory}/)")),
                "{page} does not name config/platforms/{directory}/"
            );
            if *name == "evpnd.toml" {
                evpnd::config::parse(path, &file).unwrap();
            }
        }
    }
}

#[test]
fn every_file_is_listed_and_in_the_package() {
    let rows = rows();
    let mut directories = names("config/platforms");
    assert!(directories.remove("README.md"));
    assert_eq!(directories, ["incus", "netplan", "networkd", "proxmox"].map(str::to_owned).into());
    for directory in directories {
        let listed = rows.iter().filter(|row| row.directory == directory).map(|row| row.name.to_owned());
        assert_eq!(names(&format!("config/platforms/{directory}")), listed.collect(), "config/platforms/{directory}");
        let asset =
            format!("[\"config/platforms/{directory}/*\", \"usr/share/doc/evpnd/examples/platforms/{directory}/\", \"644\"]");
        assert!(MANIFEST.contains(&asset), "Cargo.toml has no {asset}");
    }
}

#[test]
fn blocks_are_read_as_they_stand() {
    let page = "Say `/a/b`.\n\n`/etc/one`\n\n    x\n\n      y\n\nWords.\n\n    no file\n\n`/etc/two`\n\n    z\n\n`/etc/three`\n\n    w\n";
    let wanted = [("/etc/one", "x\n\n  y\n"), ("/etc/two", "z\n"), ("/etc/three", "w\n")];
    assert_eq!(blocks(page), wanted.map(|(path, text)| (path.to_owned(), text.to_owned())).into());
}
