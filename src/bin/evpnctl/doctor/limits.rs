//! The words for each counter of `control::counters::REFUSALS`: what a limit refused, and what to do. A limit that stands in no file is not to
//! be raised: there is a cause to be found.

const GUEST: &str = "or find the guest that invents them: evpnctl show vnis, evpnctl show macs";

/// What was refused, and the remedy.
pub(super) fn refused(counter: &str) -> (&'static str, String) {
    let raise = |key: &str| format!("raise `{key}` in [limits], {GUEST}");
    match counter {
        "evpn_macs_over_limit" => ("MACs of other hosts beyond those of a VNI, without a row", raise("remote-macs-per-vni")),
        "evpn_local_macs_over_limit" => ("local MACs beyond those of a VNI, not announced", raise("local-macs-per-vni")),
        "evpn_port_macs_over_limit" => ("local MACs beyond those of a port, not announced", raise("local-macs-per-port")),
        "evpn_routes_over_limit" => ("MAC/IP routes beyond those of a MAC, not used", raise("ips-per-mac")),
        "evpn_local_ips_over_limit" => ("addresses beyond those of a local MAC, not announced", raise("ips-per-mac")),
        "evpn_address_routes_over_limit" => {
            ("routes beyond 64 of one address, not kept", "evpnctl show routes: find the guests that all claim it".to_owned())
        }
        "evpn_addresses_not_parked" => (
            "addresses of MACs that no bridge has told of yet, beyond 4,096 MACs and 4 of each: announced when they are heard again",
            "find the guest that invents them: evpnctl show macs".to_owned(),
        ),
        "evpn_questions_over_limit" => (
            "questions to hosts whether they have an address, beyond 16,384 that wait",
            "find the guest that invents addresses: evpnctl show macs".to_owned(),
        ),
        "evpn_flood_over_limit" => (
            "VTEPs that are on no flood list: broadcast of guests does not reach them",
            "find the neighbor that announces so many: evpnctl show routes".to_owned(),
        ),
        "evpn_instances_refused" => {
            ("VNIs beyond 65,534", "take VNIs out of the configuration that no guest here needs".to_owned())
        }
        "rib_paths_over_limit" => (
            "paths beyond those of a route, not kept",
            "raise `paths-per-route` in [limits], or have fewer reflectors".to_owned(),
        ),
        "rib_table_full" => (
            "routes beyond 10,000,000, not taken",
            "evpnctl show neighbors: find the one that announces so many, and give it `max-routes`".to_owned(),
        ),
        "rib_over_attribute_octets" | "speaker_attribute_octets_exceeded" => (
            "UPDATEs whose attributes take more memory than a neighbor may: their routes count as withdrawn, its session is closed",
            "raise `attribute-octets-per-neighbor` in [limits], or find who sends it such attributes: evpnctl show neighbors"
                .to_owned(),
        ),
        "rib_blocks_too_long" => (
            "UPDATEs with more than 4096 octets of attributes: their routes count as withdrawn",
            "find the policy that adds communities without end: evpnctl monitor shows the neighbor".to_owned(),
        ),
        "fib_awake_over_limit" => (
            "rows on demand beyond those that may stand, not written: frames to these MACs are flooded or lost",
            raise("on-demand-rows"),
        ),
        "fib_refused" => ("rows beyond 65,535 devices, not written", "take VNIs out that no guest here needs".to_owned()),
        "kernel_addresses_not_asked" => (
            "hosts or addresses that are not asked when they are silent, so that others lose them with the bridge's ageing",
            "evpnctl show macs: find the guest that invents addresses, 64 of a MAC are asked for".to_owned(),
        ),
        "kernel_ports_not_heard" => (
            "ports at which no addresses of hosts are heard, for evpnd may open no more files",
            "systemctl edit evpnd: raise LimitNOFILE to twice the number of guests' ports and more".to_owned(),
        ),
        "kernel_stations_refused" => (
            "MACs at local ports beyond 1,048,576 in a VNI, which are not announced",
            "bridge fdb show: find the guest that invents them".to_owned(),
        ),
        "kernel_nexthops_refused" => (
            "VTEPs without a nexthop group: their rows carry the address themselves, and are changed one by one when it moves",
            "ip nexthop show: are there very many, or does the kernel refuse them? journalctl -u evpnd".to_owned(),
        ),
        "kernel_frames_dropped" => (
            "frames of guests with their addresses (ARP, ND, DHCP) that came faster than they are read: heard with the next one",
            "find the guest that sends so many: tcpdump -ni BRIDGE 'arp or icmp6'".to_owned(),
        ),
        "speaker_max_routes_exceeded" => (
            "sessions closed because the neighbor announced more than `max-routes`",
            "evpnctl show neighbors; find what it announces, or raise its `max-routes`".to_owned(),
        ),
        "speaker_callers_refused" => (
            "callers of `evpnctl vni add --for` beyond 65,536",
            "evpnctl show vnis ID: find the program that adds and never lets go (evpnctl vni del --for)".to_owned(),
        ),
        "speaker_claims_refused" => (
            "MACs of `evpnctl mac claim` beyond 65,536",
            "find the program that claims and never releases (evpnctl mac release)".to_owned(),
        ),
        // A test keeps this arm from being of any use.
        _ => ("refused", "docs/CONTROL.md, counters of limits".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use evpnd::control::counters::{COUNTERS, REFUSALS};

    use super::refused;

    #[test]
    fn each_refusal_is_counted_and_has_words_of_its_own() {
        let unknown = refused("no such counter");
        for name in REFUSALS {
            assert!(COUNTERS.iter().any(|(counter, _)| *counter == name), "{name} is counted nowhere");
            assert_ne!(refused(name), unknown, "{name} has no words");
        }
    }
}
