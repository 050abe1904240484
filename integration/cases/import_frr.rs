//! Off FRR by its own file: what `vtysh -c 'show running-config'` says of a running hypervisor goes through `evpnctl import-frr`, and
//! evpnd in FRR's place announces the same routes to the same neighbor.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::evpnd::{Evpnd, client};
use crate::harness::fabric::{Fabric, Host, write};
use crate::harness::{ensure, wait_until};
use crate::interop::frr::{Frr, Neighbor, Role};

use super::scenario::ASN;

/// Routes of `host` that FRR has: route distinguisher and key, with the route targets.
fn announced(frr: &Frr<'_>, host: &Host) -> BTreeMap<(String, String), BTreeSet<String>> {
    let table: Value = serde_json::from_str(&frr.show("show bgp l2vpn evpn route json")).unwrap_or_default();
    let mut found = BTreeMap::new();
    for (rd, routes) in table.as_object().into_iter().flatten() {
        for (key, route) in routes.as_object().into_iter().flatten() {
            let path = &route["paths"][0][0];
            if path["nexthops"][0]["ip"] == host.v4().to_string().as_str() {
                let communities = path["extendedCommunity"]["string"].as_str().unwrap_or_default();
                let targets = communities.split(' ').filter(|word| word.starts_with("RT:")).map(str::to_owned).collect();
                found.insert((rd.clone(), key.clone()), targets);
            }
        }
    }
    found
}

/// The same without the numbers of route distinguishers that each speaker chooses: only 10.0.0.1:77 is written down.
fn comparable(routes: &BTreeMap<(String, String), BTreeSet<String>>) -> BTreeSet<(String, String, BTreeSet<String>)> {
    let rd = |rd: &str| if rd.ends_with(":77") { rd.to_owned() } else { rd.split(':').next().unwrap_or_default().to_owned() };
    routes.iter().map(|((of, key), targets)| (rd(of), key.clone(), targets.clone())).collect()
}

#[test]
fn evpnd_with_the_imported_file_announces_what_frr_did() {
    let fabric = Fabric::new();
    let (ours, theirs) = (fabric.host(1), fabric.host(2));
    for host in [&ours, &theirs] {
        host.make_vxlan(100, host.v4());
        host.make_vxlan(200, host.v4());
    }
    let more = ["password s3cret", "description the other one", "timers 3 9"];
    let peer = |host: &Host| Neighbor { more: &more, ..Neighbor::new(host.v4(), ASN) };
    let by_rfc8365 = "address-family l2vpn evpn\n  advertise-all-vni\n  autort rfc8365-compatible\n  vni 100\n   \
                      route-target both 65000:100\n  exit-vni\n exit-address-family";
    let far = Frr::start_with(&theirs, Role::Hypervisor, ASN, &[peer(&ours)], &[by_rfc8365]);
    let family = "address-family l2vpn evpn\n  advertise-all-vni\n  autort rfc8365-compatible\n  dup-addr-detection max-moves 7 time 90\n  \
                  vni 100\n   rd 10.0.0.1:77\n   route-target import 65000:100\n   route-target export 65000:100\n   route-target export \
                  65000:7\n  exit-vni\n exit-address-family";
    let lines = ["bgp graceful-restart stalepath-time 700", "no bgp network import-check", family];
    let near = Frr::start_with(&ours, Role::Hypervisor, ASN, &[peer(&theirs)], &lines);
    let (mut here, mut here_too, mut there) = (fabric.guest(11), fabric.guest(12), fabric.guest(21));
    here.plug(&ours, 100);
    here_too.plug(&ours, 200);
    there.plug(&theirs, 100);
    // Two type 3, and a type 2 of each guest.
    let before = wait_until("FRR announces what it has", 30, || {
        here.speak();
        here_too.speak();
        let found = announced(&far, &ours);
        let macs = [&here, &here_too].iter().all(|guest| found.keys().any(|(_, key)| key.contains(&guest.mac())));
        ensure(macs && found.keys().filter(|(_, key)| key.starts_with("[3]")).count() == 2, || format!("{found:?}"))?;
        Ok(found)
    });

    let running = near.show("show running-config");
    let file = write(&ours, "frr.conf", &running);
    drop(near);
    let (written, file) = (ours.path("imported.toml"), file.display().to_string());
    let output = client(&ours, &["--json", "import-frr", &file, "--output", &written.display().to_string()]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert!(output.status.success() && told["accepted"] == true, "{told}");
    let lost: Vec<&str> = told["not_carried"].as_array().unwrap().iter().filter_map(|line| line["text"].as_str()).collect();
    assert_eq!(lost, Vec::<&str>::new(), "of {running}");
    assert_eq!(std::fs::metadata(&written).unwrap().permissions().mode() & 0o777, 0o600, "there is a password in it");

    let text = std::fs::read_to_string(&written).unwrap();
    let evpnd = Evpnd::start_with_text(&ours, &text);
    evpnd.expect_established(theirs.v4());
    let view = evpnd.neighbor(theirs.v4());
    assert_eq!((&view["hold_time_secs"], &view["description"]), (&9.into(), &"the other one".into()), "{view}");
    wait_until("evpnd announces what FRR did", 30, || {
        here.speak();
        here_too.speak();
        let after = announced(&far, &ours);
        let missing: Vec<_> = comparable(&before).difference(&comparable(&after)).cloned().collect();
        ensure(missing.is_empty(), || format!("missing {missing:?}\nof {before:?}\nin {after:?}"))
    });
    ours.expect_flood_list(100, &[theirs.v4()]);
    theirs.expect_remote_macs(100, &[(&here, ours.v4())]);
    theirs.expect_remote_macs(200, &[(&here_too, ours.v4())]);
    evpnd.expect_no_difference();
}
