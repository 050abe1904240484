//! Whether FRR does more on this host than EVPN: sessions of bgpd that exchange other routes, and routes that stand in the kernel by FRR.
//! Who ends it then takes this host's way to the others, or theirs to it. And what it does of EVPN: zebra is asked for its VNIs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use evpnd::base::Vni;
use serde_json::Value;

use crate::doctor::facts::json;

/// Who wrote a route, by number (rtnetlink(7), and FRR's `zebra/rt_netlink.h`).
const PROTOCOLS: [(&str, &str); 15] = [
    ("11", "zebra"),
    ("42", "Babel"),
    ("186", "BGP"),
    ("187", "IS-IS"),
    ("188", "OSPF"),
    ("189", "RIP"),
    ("190", "RIPng"),
    ("191", "NHRP"),
    ("192", "EIGRP"),
    ("193", "LDP"),
    ("194", "SHARP"),
    ("195", "PBR"),
    ("196", "static"),
    ("197", "OpenFabric"),
    ("198", "segment routing"),
];

/// What stands against ending FRR, one sentence each.
pub(super) fn refusals(bgpd_runs: bool) -> Vec<String> {
    let mut out = Vec::new();
    if bgpd_runs {
        match sessions() {
            Ok(unicast) if unicast.is_empty() => {}
            Ok(unicast) => {
                let said: Vec<String> = unicast.into_iter().map(|(family, peers)| format!("{family} with {peers}")).collect();
                out.push(format!(
                    "bgpd has sessions for more than EVPN ({}): without them this host may lose its way to the others, and they theirs; \
                     take EVPN out of FRR instead (vtysh: no advertise-all-vni), which costs a moment; or, where these routes are not \
                     needed, take the neighbors out of those families (no neighbor … activate), or --force",
                    said.join(", ")
                ));
            }
            Err(why) => out.push(format!(
                "whether bgpd routes the underlay of this host is not known ({why}): where it has sessions for EVPN alone, --force"
            )),
        }
    }
    match json("ip", &["-N", "-j", "route", "show", "table", "all"]) {
        Ok(routes) => out.extend(of_routes(&routes)),
        Err(why) => out.push(format!("whether routes of this host are FRR's is not known ({why}): where none are, --force")),
    }
    out
}

/// The routes of FRR that stand in the kernel.
fn of_routes(routes: &Value) -> Option<String> {
    let mut counts: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for route in routes.as_array().into_iter().flatten() {
        let Some((_, name)) = PROTOCOLS.iter().find(|(number, _)| route["protocol"] == *number) else { continue };
        let entry = counts.entry(name).or_insert((0, route["dst"].as_str().unwrap_or_default()));
        entry.0 += 1;
    }
    let said: Vec<String> = counts.iter().map(|(name, (count, first))| format!("{name} {count}, as {first}")).collect();
    (!said.is_empty()).then(|| {
        format!(
            "routes of this host are FRR's ({}): nobody would keep them; have the system bring them (ip route, netplan, networkd) and take \
             them out of FRR first, or --force",
            said.join("; ")
        )
    })
}

/// The sessions of all bgpds of this network namespace that are for more than EVPN, by family.
fn sessions() -> Result<BTreeMap<String, String>, String> {
    let answers = ask("bgpd", "show bgp vrf all summary json")?;
    Ok(answers.iter().flat_map(beside_evpn).collect())
}

/// The VNIs of all zebras of this network namespace, whether anything is heard in them or not.
///
/// # Errors
/// In words, where zebra cannot be asked.
pub(super) fn vnis() -> Result<BTreeSet<Vni>, String> {
    Ok(ask("zebra", "show evpn vni json")?.iter().flat_map(of_zebra).collect())
}

/// Those of bridges (`L2`) of `show evpn vni json`.
fn of_zebra(answer: &Value) -> BTreeSet<Vni> {
    let all = answer.as_object().into_iter().flatten();
    all.filter(|(_, vni)| vni["type"] != "L3").filter_map(|(number, _)| number.parse().ok()).collect()
}

/// What every `program` of FRR in this network namespace answers to a command.
fn ask(program: &str, command: &str) -> Result<Vec<Value>, String> {
    let directories = directories(&std::fs::read_to_string("/proc/self/net/unix").unwrap_or_default(), program);
    if directories.is_empty() {
        return Err("it has no vty socket".to_owned());
    }
    let answer = |directory: &PathBuf| {
        let mut vtysh = Command::new("vtysh");
        vtysh.arg("--vty_socket").arg(directory).args(["-d", program, "-c", command]);
        let output = vtysh.stdin(Stdio::null()).output().map_err(|error| format!("vtysh: {error}"))?;
        serde_json::from_slice(&output.stdout).map_err(|_| {
            let why = String::from_utf8_lossy(&output.stderr);
            format!("vtysh says: {}", why.lines().next().unwrap_or("nothing"))
        })
    };
    directories.iter().map(answer).collect()
}

/// Where the sockets of a program are, by the namespace's list: they are somewhere else with `-N` or `--vty_socket`.
fn directories(sockets: &str, program: &str) -> BTreeSet<PathBuf> {
    let paths = sockets.lines().filter_map(|line| line.split_whitespace().nth(7));
    paths.filter_map(|path| path.strip_suffix(".vty")?.strip_suffix(program)?.strip_suffix('/')).map(PathBuf::from).collect()
}

/// Neighbors in other families than EVPN of `show bgp vrf all summary json`, by family. One that is shut down is none, nor one
/// with which nothing is exchanged: without `no bgp default ipv4-unicast` every neighbor is in that family.
fn beside_evpn(summary: &Value) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let vrfs = summary.as_object().into_iter().flatten();
    for (family, of_family) in vrfs.flat_map(|(_, families)| families.as_object().into_iter().flatten()) {
        if family == "l2VpnEvpn" {
            continue;
        }
        for (address, peer) in of_family["peers"].as_object().into_iter().flatten() {
            let state = peer["state"].as_str().unwrap_or_default();
            let nothing = state == "Established" && [&peer["pfxRcd"], &peer["pfxSnt"]].iter().all(|count| **count == 0);
            if !nothing && state != "NoNeg" && !state.starts_with("Idle (Admin") {
                found.entry(family.clone()).or_default().push(address);
            }
        }
    }
    found.into_iter().map(|(family, peers)| (family, peers.join(", "))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn peer(state: &str, received: u64, sent: u64) -> Value {
        json!({"state": state, "pfxRcd": received, "pfxSnt": sent})
    }

    #[test]
    fn a_session_for_more_than_evpn_is_seen() {
        let lazy = json!({"default": {
            "ipv4Unicast": {"peers": {
                "10.0.0.253": peer("Established", 0, 0), "10.0.0.254": peer("NoNeg", 0, 0), "10.0.0.252": peer("Idle (Admin)", 0, 0)
            }},
            "l2VpnEvpn": {"peers": {"10.0.0.254": peer("Established", 7, 3)}}
        }});
        assert_eq!(beside_evpn(&lazy), BTreeMap::new());
        assert_eq!(beside_evpn(&json!({})), BTreeMap::new());
        for one in [peer("Established", 0, 1), peer("Established", 1, 0), peer("Active", 0, 0), json!({"state": "Established"})] {
            let summary = json!({"default": {}, "red": {"ipv6Unicast": {"peers": {"fe80::1": one}}}});
            assert_eq!(beside_evpn(&summary), BTreeMap::from([("ipv6Unicast".to_owned(), "fe80::1".to_owned())]), "{summary}");
        }
    }

    #[test]
    fn the_vnis_of_zebra_are_those_of_bridges() {
        let answer = json!({
            "100": {"vni": 100, "type": "L2", "vxlanIf": "vxlan100", "numMacs": 0, "numRemoteVteps": 0},
            "4000": {"vni": 4000, "type": "L3", "vxlanIf": "vxlan4000", "numRemoteVteps": "none"}
        });
        assert_eq!(of_zebra(&answer), [Vni::new(100).unwrap()].into());
        assert_eq!(of_zebra(&json!({})), BTreeSet::new());
    }

    #[test]
    fn routes_of_frr_are_told_from_the_system_s() {
        let route = |dst: &str, protocol: &str| json!({"dst": dst, "protocol": protocol});
        assert_eq!(of_routes(&json!([route("10.0.0.0/24", "2"), route("default", "4"), route("fe80::/64", "16")])), None);
        let said = of_routes(&json!([route("10.7.0.0/24", "196"), route("10.8.0.0/24", "186"), route("10.9.0.0/24", "186")]));
        assert!(said.as_ref().is_some_and(|said| said.contains("(BGP 2, as 10.8.0.0/24; static 1, as 10.7.0.0/24)")), "{said:?}");
    }

    #[test]
    fn the_sockets_of_bgpd_are_found_wherever_they_are() {
        let text = "Num RefCount Protocol Flags Type St Inode Path\n\
            0: 00000002 00000000 00010000 0001 01 1 /var/run/frr/bgpd.vty\n0: 00000003 00000000 00000000 0001 03 2\n\
            0: 00000003 00000000 00000000 0001 03 3 /var/run/frr/bgpd.vty\n0: 00000002 00000000 00010000 0001 01 4 /run/frr/b/zebra.vty\n\
            0: 00000002 00000000 00010000 0001 01 5 /run/frr/b/bgpd.vty\n";
        assert_eq!(directories(text, "bgpd"), ["/run/frr/b", "/var/run/frr"].map(PathBuf::from).into());
        assert_eq!(directories(text, "zebra"), ["/run/frr/b"].map(PathBuf::from).into());
        assert_eq!(directories(text, "bra"), BTreeSet::new());
    }
}
