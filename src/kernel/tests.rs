//! Parsers against octets that a kernel (6.18) sent, whole and mutated, and the planner's verdicts, each refusal by name.
//!
//! `captured.bin` holds notifications and dumps of a host with a VXLAN device of ours in a bridge, one over IPv6 with a
//! group, one `external`, a pair of veth, rows of every kind, and an error with its words.

use super::codec::{self, Message};
use super::departed::Awaited;
use super::devices::{self, Circumstances, Soft, Step, Verdict};
use super::fdb::Entry;
use super::links::{Link, LinkKind, Links, PortFlags, VxlanInfo};
use super::regroup::Regroup;
use crate::base::{MacAddr, Random, Vni};
use crate::fib::DeviceSpec;

const CAPTURED: &[u8] = include_bytes!("captured.bin");

fn messages() -> Vec<Message<'static>> {
    codec::messages(CAPTURED).collect()
}

/// The table as it stood before the last request, after which two devices were deleted.
fn table() -> Links {
    let mut links = Links::default();
    for message in messages() {
        if i32::from(message.kind) == libc::NLMSG_ERROR {
            break;
        }
        links.handle(message.kind, message.body);
    }
    links
}

#[test]
fn the_table_is_what_ip_link_shows() {
    let links = table();
    let vxlan = links.named("vxlan100").unwrap();
    assert_eq!(
        vxlan.kind,
        LinkKind::Vxlan(VxlanInfo {
            vni: Vni::new(100),
            local: Some("10.0.0.1".parse().unwrap()),
            port: 4789,
            learning: false,
            proxy: false,
            l2miss: false,
            external: false,
            group: None,
        })
    );
    assert_eq!(vxlan.port, Some(PortFlags { learning: false, neighbor_suppression: true, isolated: false }));
    let bridge = links.named("br100").unwrap();
    assert_eq!(bridge.kind, LinkKind::Bridge { vlan_filtering: false, ageing: std::time::Duration::from_secs(300) });
    assert!(bridge.made && !vxlan.made && vxlan.up && vxlan.master == Some(bridge.ifindex));
    let LinkKind::Vxlan(info) = &links.named("vx6").unwrap().kind else { panic!("vx6") };
    assert_eq!((info.local, info.group), (Some("fd00::1".parse().unwrap()), Some("ff05::6".parse().unwrap())));
    assert!(info.learning && info.port == 8472);
    assert!(matches!(&links.named("ext").unwrap().kind, LinkKind::Vxlan(VxlanInfo { external: true, vni: None, .. })));
    assert_eq!(links.named("t1").unwrap().kind, LinkKind::Other("veth".to_owned()));
    assert!(links.named("lo").unwrap().loopback);
    assert!(links.is_own_mac(links.named("p1").unwrap().mac.unwrap()));
    let ports: Vec<&str> = links.members(bridge.ifindex).map(|link| link.name.as_str()).collect();
    assert_eq!(ports, ["vxlan100", "t1"]);
    assert_eq!(links.vxlans(Vni::new(100).unwrap()).count(), 1);
}

#[test]
fn a_port_that_leaves_is_no_interface_that_goes() {
    let mut links = table();
    let port = links.named("t1").unwrap().clone();
    let mac = port.mac.unwrap();
    let mut seen_leaving = false;
    for message in messages().into_iter().skip_while(|message| message.kind != libc::RTM_DELLINK) {
        links.handle(message.kind, message.body);
        let about_port = message.kind == libc::RTM_DELLINK && codec::u32_at(message.body, 4) == Some(port.ifindex);
        if about_port && i32::from(message.body[0]) == libc::AF_BRIDGE {
            seen_leaving = true;
            assert_eq!(links.link(port.ifindex).unwrap().port, None);
        }
    }
    assert!(seen_leaving && links.named("t1").is_none() && links.named("vxlan100").is_none());
    assert!(!links.is_own_mac(mac));
    assert_eq!(links.vxlans(Vni::new(100).unwrap()).count(), 0);
}

#[test]
fn macs_of_the_host_are_counted() {
    let mut links = table();
    let body = messages().iter().find(|m| m.kind == libc::RTM_NEWLINK && m.body[0] == 0).unwrap().body.to_vec();
    let link = super::links::parse(&body).unwrap();
    assert!(links.handle(libc::RTM_DELLINK, &body).macs_gone.iter().eq(link.mac.iter()));
    assert_eq!(links.handle(libc::RTM_DELLINK, &body), super::links::Change::default());
    assert!(links.handle(libc::RTM_NEWLINK, &body).macs_new.iter().eq(link.mac.iter()));
}

#[test]
fn rows_are_what_bridge_fdb_shows() {
    let links = table();
    let shown: Vec<String> = messages()
        .iter()
        .filter(|message| message.kind == libc::RTM_NEWNEIGH)
        .filter_map(|message| Entry::parse(message.body))
        .map(|entry| entry.show(|index| links.name(index)))
        .collect();
    for line in [
        "02:00:00:00:00:01 dev t1 master br100 static",
        "02:00:00:00:00:02 dev vxlan100 dst 10.0.0.2 vni 777 self extern_learn permanent",
        "02:00:00:00:00:02 dev vxlan100 extern_learn master br100",
        "00:00:00:00:00:00 dev vxlan100 dst 10.0.0.3 self permanent",
        "02:00:00:00:00:06 dev vx6 dst fd00::2 self permanent",
    ] {
        assert!(shown.iter().any(|other| other == line), "{line}: {shown:#?}");
    }
}

#[test]
fn errors_come_with_the_words_of_the_kernel() {
    let answers: Vec<_> = messages()
        .iter()
        .filter(|m| i32::from(m.kind) == libc::NLMSG_ERROR)
        .map(codec::answer)
        .filter(|a| a.errno != 0)
        .collect();
    assert!(!answers.is_empty());
    assert!(answers.iter().all(|answer| answer.errno == libc::EINVAL && answer.text.is_some()), "{answers:?}");
}

#[test]
fn mutated_octets_are_no_panic() {
    let mut random = Random::new(7);
    let mut links = Links::default();
    let all = messages();
    for round in 0..60_000u32 {
        let message = all[random.below(all.len() as u64) as usize];
        let mut body = message.body.to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(body.len().max(1) as u64) as usize;
            match random.below(4) {
                0 => body.truncate(at),
                1 => body.insert(at.min(body.len()), random.next_u64() as u8),
                // Lengths, flags and numbers at their limits.
                2 if at < body.len() => body[at] = [0, 1, 3, 4, 0x7f, 0x80, 0xff][random.below(7) as usize],
                _ if at < body.len() => body[at] ^= 1 << random.below(8),
                _ => {}
            }
        }
        let kind = if random.below(8) == 0 { [16, 17, 28, 29, 2, 3][random.below(6) as usize] } else { message.kind };
        let mutated = Message { kind, flags: random.next_u64() as u16, sequence: 0, body: &body };
        links.handle(mutated.kind, mutated.body);
        let _ = codec::answer(&mutated);
        if let Some(entry) = Entry::parse(&body) {
            let _ = (entry.row(), entry.station(), entry.show(|index| links.name(index)));
        }
        let _ = codec::messages(&body).flat_map(|inner| codec::attributes(inner.body)).count();
        if round % 1000 == 0 {
            links = table();
        }
        // Whatever was told, the planner answers.
        let _ = devices::judge(&spec(100), &links, &|_| true, &Circumstances::default());
    }
}

// ---- the planner ---------------------------------------------------------------------------------------------------

fn spec(number: u32) -> DeviceSpec {
    DeviceSpec::new(Vni::new(number).unwrap(), [10, 0, 0, 1].into())
}

/// A table made by hand: each link goes through the octets of a notification.
#[derive(Default)]
struct Host(Links, u32);

impl Host {
    fn add(&mut self, name: &str, kind: &str, master: Option<u32>, data: impl FnOnce(&mut Vec<u8>)) -> u32 {
        self.1 += 1;
        let mut body = Vec::new();
        let up = (libc::IFF_UP | libc::IFF_RUNNING) as u32;
        codec::ifinfo(&mut body, 0, self.1, up, 0);
        codec::text(&mut body, libc::IFLA_IFNAME, name);
        codec::attribute(&mut body, libc::IFLA_ADDRESS, &[2, 0, 0, 0, 1, self.1 as u8]);
        codec::attribute(&mut body, libc::IFLA_MTU, &1450u32.to_ne_bytes());
        if let Some(master) = master {
            codec::attribute(&mut body, libc::IFLA_MASTER, &master.to_ne_bytes());
        }
        codec::nested(&mut body, libc::IFLA_LINKINFO, |out| {
            codec::text(out, libc::IFLA_INFO_KIND, kind);
            codec::nested(out, libc::IFLA_INFO_DATA, data);
            if master.is_some() {
                codec::text(out, libc::IFLA_INFO_SLAVE_KIND, "bridge");
                codec::nested(out, libc::IFLA_INFO_SLAVE_DATA, |out| codec::attribute(out, 8, &[1]));
            }
        });
        self.0.handle(libc::RTM_NEWLINK, &body);
        self.1
    }

    fn remove(&mut self, ifindex: u32) {
        let mut body = Vec::new();
        codec::ifinfo(&mut body, 0, ifindex, 0, 0);
        self.0.handle(libc::RTM_DELLINK, &body);
    }

    fn bridge(&mut self, name: &str, vlan_filtering: u8) -> u32 {
        self.add(name, "bridge", None, |out| codec::attribute(out, 7, &[vlan_filtering]))
    }

    fn vxlan(&mut self, name: &str, vni: u32, master: Option<u32>) -> u32 {
        self.add(name, "vxlan", master, |out| {
            codec::attribute(out, 1, &vni.to_ne_bytes());
            codec::attribute(out, 2, &[10, 0, 0, 9]);
            codec::attribute(out, 7, &[1]);
            codec::attribute(out, 15, &8472u16.to_be_bytes());
        })
    }

    fn refusal(&self, number: u32) -> (String, String) {
        let refusal = devices::judge(&spec(number), &self.0, &|_| true, &Circumstances::default()).unwrap_err();
        (refusal.reason, refusal.remedy)
    }
}

#[test]
fn steps_that_make_a_device() {
    let verdict = devices::judge(&spec(100), &Links::default(), &|_| true, &Circumstances::default()).unwrap();
    let name = || "vxlan100".to_owned();
    let bridge = || "br100".to_owned();
    assert_eq!(
        verdict,
        Verdict::Work(vec![
            Step::MakeVxlan(spec(100)),
            Step::Quiet { name: name() },
            Step::MakeBridge { name: bridge() },
            Step::Quiet { name: bridge() },
            Step::Enslave { name: name(), bridge: bridge() },
            Step::SetPort { name: name(), flags: PortFlags { learning: false, neighbor_suppression: true, isolated: false } },
            Step::Up { name: name() },
            Step::Up { name: bridge() },
        ])
    );
}

#[test]
fn refusals_that_not_every_kernel_can_show() {
    let mut host = Host::default();
    host.bridge("br1", 1);
    let bond = host.add("bond0", "bond", None, |_| {});
    host.add("br2", "bridge", Some(bond), |_| {});
    let vrf = host.add("vrf3", "vrf", None, |_| {});
    host.vxlan("vx3", 3, Some(vrf));
    host.add("br4", "bridge", Some(vrf), |_| {});
    let (reason, remedy) = host.refusal(1);
    assert_eq!(reason, "bridge br1 is VLAN-aware, which is not supported");
    assert!(remedy.starts_with("ip link set br1 type bridge vlan_filtering 0"), "{remedy}");
    let (reason, remedy) = host.refusal(2);
    assert_eq!(reason, "bridge br2 is enslaved to bond0");
    assert!(remedy.starts_with("ip link set br2 nomaster"), "{remedy}");
    let (reason, remedy) = host.refusal(3);
    assert_eq!(reason, "vx3 (VNI 3) is in vrf3, which is not a Linux bridge");
    assert!(remedy.contains("master <bridge>"), "{remedy}");
    // A bridge in a VRF is how gateways are built.
    assert!(devices::judge(&spec(4), &host.0, &|_| true, &Circumstances::default()).is_ok());
}

#[test]
fn of_several_devices_the_one_in_the_wanted_bridge_is_meant() {
    let mut host = Host::default();
    host.vxlan("a", 5, None);
    host.vxlan("b", 5, None);
    assert_eq!(host.refusal(5).0, "VNI 5 has 2 VXLAN devices: a, b");
    let bridge = host.bridge("br5", 0);
    let meant = host.vxlan("c", 5, Some(bridge));
    let failed = [Soft::Learning, Soft::Port].map(|soft| (soft, String::new())).into();
    match devices::judge(&spec(5), &host.0, &|_| true, &Circumstances { failed, ..Circumstances::default() }) {
        Ok(Verdict::Ready(ready)) => assert_eq!(ready.ifindex, meant),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_may_fail_becomes_a_warning_with_a_command() {
    let mut host = Host::default();
    let bridge = host.bridge("br5", 0);
    host.vxlan("vx", 5, Some(bridge));
    let judge = |known: &Circumstances| devices::judge(&spec(5), &host.0, &|_| true, known).unwrap();
    let Verdict::Work(steps) = judge(&Circumstances::default()) else { panic!("steps") };
    assert_eq!(steps.iter().filter_map(Step::soft).collect::<Vec<_>>(), [Soft::Learning, Soft::Port]);
    let failed = [Soft::Learning, Soft::Port, Soft::Quiet].map(|soft| (soft, "because".to_owned())).into();
    let Verdict::Ready(ready) = judge(&Circumstances { failed, ..Circumstances::default() }) else { panic!("ready") };
    for (warning, command) in ready.warnings.iter().zip([
        "(because): ip link set vx type vxlan nolearning",
        "(because): bridge link set dev vx learning off neigh_suppress on",
        "ip link set vx type vxlan local 10.0.0.1",
        "as well: ip link set vx down; ip link set vx type vxlan remote 0.0.0.0; ip link set vx up",
        "sysctl -w net.ipv6.conf.vx.disable_ipv6=1",
    ]) {
        assert!(warning.contains(command), "{command}: {warning}");
    }
    assert_eq!(ready.warnings.len(), 5);
}

#[test]
fn a_device_in_a_bridge_that_swallows_questions_is_told_of() {
    let mut host = Host::default();
    let bridge = host.bridge("br5", 0);
    let proxy = |out: &mut Vec<u8>| {
        codec::attribute(out, 1, &5u32.to_ne_bytes());
        codec::attribute(out, super::links::IFLA_VXLAN_PROXY, &[1]);
    };
    host.add("vx", "vxlan", Some(bridge), proxy);
    let failed = [Soft::Learning, Soft::Port].map(|soft| (soft, String::new())).into();
    let known = Circumstances { failed, ..Circumstances::default() };
    let Verdict::Ready(ready) = devices::judge(&spec(5), &host.0, &|_| true, &known).unwrap() else { panic!("ready") };
    assert!(ready.warnings.iter().any(|warning| warning.contains("(proxy)") && warning.contains("ip link del vx")), "{ready:?}");
}

#[test]
fn only_guests_ports_are_isolated_and_only_what_we_isolated_is_undone() {
    let mut host = Host::default();
    let bridge = host.bridge("br5", 0);
    host.vxlan("vx", 5, Some(bridge));
    let tap = host.add("vnet0", "tun", Some(bridge), |_| {});
    host.add("fw0", "veth", Some(bridge), |_| {});
    host.add("eno1", "", Some(bridge), |_| {});
    host.add("eno1.5", "vlan", Some(bridge), |_| {});
    let isolated = |on: bool, links: &Links, known: Circumstances| {
        let spec = DeviceSpec { isolated_ports: on, ..spec(5) };
        let Verdict::Work(steps) = devices::judge(&spec, links, &|_| true, &known).unwrap() else { panic!("steps") };
        steps.iter().filter_map(Step::isolates).map(|(name, on)| (name.to_owned(), on)).collect::<Vec<_>>()
    };
    let both = [("vnet0".to_owned(), true), ("fw0".to_owned(), true)];
    assert_eq!(isolated(true, &host.0, Circumstances::default()), both);
    assert_eq!(isolated(false, &host.0, Circumstances::default()), []);
    let ours = Circumstances { isolated: [tap].into(), ..Circumstances::default() };
    assert_eq!(isolated(false, &host.0, ours.clone()), [], "it is not isolated any more");
    let failed = [(Soft::Isolated, "because".to_owned())].into();
    assert_eq!(isolated(true, &host.0, Circumstances { failed, ..ours }), [], "it failed once, and is a warning");
}

#[test]
fn a_bare_device_of_somebody_else_is_waited_for() {
    let mut host = Host::default();
    host.vxlan("vx", 5, None);
    let judge = |known: &Circumstances| devices::judge(&spec(5), &host.0, &|_| true, known).unwrap();
    assert_eq!(judge(&Circumstances::default()), Verdict::Wait);
    let settled = Circumstances { settled: true, ..Circumstances::default() };
    assert!(matches!(judge(&settled), Verdict::Work(steps) if steps.contains(&Step::MakeBridge { name: "br5".to_owned() })));
}

#[test]
fn a_device_that_somebody_else_makes_is_not_made() {
    let mut host = Host::default();
    let spec = DeviceSpec { existing: true, ..spec(5) };
    let judge =
        |host: &Host, settled| devices::judge(&spec, &host.0, &|_| true, &Circumstances { settled, ..Circumstances::default() });
    assert_eq!(judge(&host, false), Ok(Verdict::Wait));
    let refusal = judge(&host, true).unwrap_err();
    assert!(refusal.reason.starts_with("there is no VXLAN device of VNI 5"), "{refusal:?}");
    assert!(refusal.remedy.contains("evpnctl vni add 5"), "{refusal:?}");
    host.vxlan("eth0.5", 5, None);
    assert_eq!(judge(&host, false), Ok(Verdict::Wait));
    assert_eq!(judge(&host, true).unwrap_err().remedy, "ip link set eth0.5 master <bridge>");
    let mut host = Host::default();
    let bridge = host.bridge("onebr.5", 0);
    host.vxlan("eth0.5", 5, Some(bridge));
    assert!(judge(&host, true).is_ok(), "whatever it is called");
}

#[test]
fn a_device_of_ours_follows_the_configuration() {
    let mut host = Host::default();
    let bridge = host.bridge("br5", 0);
    host.add("vxlan5", "vxlan", Some(bridge), |out| {
        codec::attribute(out, 1, &5u32.to_ne_bytes());
        codec::attribute(out, 4, &[10, 0, 0, 1]);
        codec::attribute(out, 15, &4789u16.to_be_bytes());
    });
    let link: &Link = host.0.named("vxlan5").unwrap();
    let mut body = Vec::new();
    codec::ifinfo(&mut body, 0, link.ifindex, 1, 0);
    codec::text(&mut body, libc::IFLA_IFNAME, "vxlan5");
    codec::text(&mut body, libc::IFLA_IFALIAS, "evpnd");
    codec::nested(&mut body, libc::IFLA_LINKINFO, |out| {
        codec::text(out, libc::IFLA_INFO_KIND, "vxlan");
        codec::nested(out, libc::IFLA_INFO_DATA, |out| {
            codec::attribute(out, 1, &5u32.to_ne_bytes());
            codec::attribute(out, 4, &[10, 0, 0, 1]);
            codec::attribute(out, 15, &4789u16.to_be_bytes());
        });
    });
    host.0.handle(libc::RTM_NEWLINK, &body);
    let judge = |spec: DeviceSpec| match devices::judge(&spec, &host.0, &|_| true, &Circumstances::default()) {
        Ok(Verdict::Work(steps)) => steps,
        other => panic!("{other:?}"),
    };
    let name = || "vxlan5".to_owned();
    assert_eq!(judge(DeviceSpec { port: 8472, ..spec(5) }), [Step::Delete { name: name() }]);
    assert_eq!(judge(DeviceSpec { local: "fd00::1".parse().unwrap(), ..spec(5) }), [Step::Delete { name: name() }]);
    let moved = judge(DeviceSpec { local: "10.0.0.7".parse().unwrap(), mtu: Some(1400), ..spec(5) });
    assert!(moved.contains(&Step::SetLocal { name: name(), local: "10.0.0.7".parse().unwrap() }));
    assert!(moved.contains(&Step::SetMtu { name: name(), mtu: 1400 }));
    // A group in place; only where the kernel does not let it be changed the device is made anew.
    let group: std::net::IpAddr = "239.1.1.1".parse().unwrap();
    let what = Regroup { from: None, to: Some(group), port: 4789, local: spec(5).local };
    assert!(judge(DeviceSpec { group: Some(group), ..spec(5) }).contains(&Step::Regroup { name: name(), what }));
    let failed = Circumstances { failed: [(Soft::Group, "no".to_owned())].into(), ..Circumstances::default() };
    let spec = DeviceSpec { group: Some(group), ..spec(5) };
    assert_eq!(devices::judge(&spec, &host.0, &|_| true, &failed), Ok(Verdict::Work(vec![Step::Delete { name: name() }])));
}

#[test]
fn a_device_of_the_other_family_is_refused_before_anything_is_done_to_it() {
    let mut host = Host::default();
    let (office, bridge) = (host.bridge("office", 0), host.bridge("br6", 0));
    host.vxlan("four", 5, Some(office));
    let mut plain = |name: &str, vni: u32, local: Option<&[u8]>| {
        host.add(name, "vxlan", Some(bridge), |out| {
            codec::attribute(out, 1, &vni.to_ne_bytes());
            codec::attribute(out, 7, &[1]);
            if let Some(local) = local {
                codec::attribute(out, 17, local);
            }
        })
    };
    let silent = plain("silent", 6, None);
    plain("six", 7, Some(&[0xfd; 16]));
    let over = |local: &str, number| DeviceSpec { local: local.parse().unwrap(), fix: true, ..spec(number) };
    let judge = |spec: &DeviceSpec, known: &Circumstances| devices::judge(spec, &host.0, &|_| true, known);
    let refusal = judge(&over("fd00::1", 5), &Circumstances::default()).unwrap_err();
    assert_eq!(refusal.reason, "four (VNI 5) tunnels over IPv4, and the VTEP fd00::1 is of IPv6");
    let remedy = "set `bridge` of VNI 5 to office; then ip link del four, and 30 s later evpnd makes vxlan5 in office";
    assert_eq!(refusal.remedy, remedy);
    let refusal = judge(&spec(7), &Circumstances::default()).unwrap_err();
    assert_eq!(refusal.reason, "six (VNI 7) tunnels over IPv6, and the VTEP 10.0.0.1 is of IPv4");
    // One that names no address does not say.
    assert_eq!(judge(&over("fd00::1", 6), &Circumstances::default()).unwrap(), Verdict::AskFamily(silent));
    let known = |over_ipv6| Circumstances { over_ipv6: [(silent, over_ipv6)].into(), ..Circumstances::default() };
    let refusal = judge(&over("fd00::1", 6), &known(false)).unwrap_err();
    assert_eq!(refusal.remedy, "ip link del silent, and 30 s later evpnd makes vxlan6 in br6");
    let local = Step::SetLocal { name: "silent".to_owned(), local: "fd00::1".parse().unwrap() };
    assert!(matches!(judge(&over("fd00::1", 6), &known(true)), Ok(Verdict::Work(steps)) if steps.contains(&local)));
}

/// Where a device is made whose predecessor worked in another bridge than the configuration names.
#[test]
fn a_device_is_made_where_the_last_one_was() {
    let into = |host: &Host, known: &Circumstances| -> String {
        match devices::judge(&spec(5), &host.0, &|_| true, known).unwrap() {
            Verdict::Work(steps) => {
                let enslaved = steps.iter().find_map(|step| match step {
                    Step::Enslave { bridge, .. } => Some(bridge.clone()),
                    _ => None,
                });
                enslaved.unwrap_or_default()
            }
            verdict => format!("{verdict:?}"),
        }
    };
    let mut host = Host::default();
    let office = host.bridge("office", 0);
    let at = |ifindex: u32| Circumstances { home: Some((ifindex, "office".to_owned())), ..Circumstances::default() };
    let known = at(office);
    assert_eq!((into(&host, &Circumstances::default()), into(&host, &known)), ("br5".to_owned(), "office".to_owned()));
    assert_eq!(into(&host, &at(99)), "office", "made again with another number");
    // It has lost its bridge.
    let lone = Circumstances { settled: true, ..known.clone() };
    let bare = host.vxlan("vx5", 5, None);
    assert_eq!(into(&host, &lone), "office");
    host.remove(bare);
    let own = host.bridge("br5", 0);
    assert_eq!(into(&host, &known), "office");
    host.add("tap5", "tun", Some(own), |_| {});
    assert_eq!(into(&host, &known), "br5", "the guests moved there");
    host.add("tap6", "tun", Some(office), |_| {});
    assert_eq!(into(&host, &known), "office");
    host.vxlan("vx6", 6, Some(office));
    assert_eq!(into(&host, &known), "br5", "another segment by now");
    host.remove(office);
    assert_eq!(into(&host, &known), "br5");
}

/// While somebody's device may be made again none of ours is; what is cut off meanwhile is named.
#[test]
fn a_device_that_may_be_made_again_is_waited_for() {
    let mut host = Host::default();
    let office = host.bridge("office", 0);
    let home = Some((office, "office".to_owned()));
    let gone =
        Circumstances { home, awaited: Some(Awaited { device: "vx5".to_owned(), of_before: false }), ..Circumstances::default() };
    let settled = Circumstances { settled: true, ..gone.clone() };
    let judge = |host: &Host, known: &Circumstances| devices::judge(&spec(5), &host.0, &|_| true, known);
    assert_eq!(judge(&host, &gone), Ok(Verdict::Wait));
    let reason = |host: &Host| judge(host, &settled).unwrap_err().reason;
    assert_eq!(reason(&host), "vx5, which evpnd did not make, was removed");
    let awaited = Some(Awaited { device: "vx5".to_owned(), of_before: true });
    let refusal = judge(&host, &Circumstances { awaited, ..settled.clone() }).unwrap_err();
    assert_eq!(refusal.reason, "vx5, which evpnd did not make, is there no more");
    assert!(refusal.remedy.ends_with("; 30 s from its start evpnd makes vxlan5 in office"), "{}", refusal.remedy);
    for name in ["tap1", "tap2", "tap3", "tap4"] {
        host.add(name, "tun", Some(office), |_| {});
    }
    assert_eq!(
        reason(&host),
        "vx5, which evpnd did not make, was removed; bridge office (tap1, tap2, tap3 and 1 more) has no tunnel"
    );
    host.vxlan("vx5", 5, Some(office));
    assert!(matches!(judge(&host, &settled), Ok(Verdict::Work(_))), "it is there");
}

#[test]
fn devices_that_nobody_declared_are_told_with_what_is_wrong_with_them() {
    let mut host = Host::default();
    let (bridge, vrf) = (host.bridge("b", 0), host.add("blue", "vrf", None, |_| {}));
    let external = |out: &mut Vec<u8>| codec::attribute(out, 25, &[1]);
    host.add("many", "vxlan", Some(bridge), external);
    // Somebody sends into it by a tunnel key; Open vSwitch's own; ours.
    host.add("keyed", "vxlan", None, external);
    host.add("vxlan_sys_4789", "vxlan", Some(bridge), external);
    host.vxlan("fits", 5, Some(bridge));
    host.vxlan("flannel.6", 6, None);
    host.vxlan("alone", 7, None);
    host.vxlan("routed", 8, Some(vrf));
    let (fit, unfit) = super::found::found(&host.0);
    let names: Vec<(&str, &str)> = fit.iter().map(|fit| (fit.device.as_str(), fit.bridge.as_str())).collect();
    assert_eq!(names, [("fits", "b")]);
    let told: Vec<(&str, &str)> = unfit.iter().map(|unfit| (unfit.reason.as_str(), unfit.remedy.as_str())).collect();
    let expected = [
        ("many is a single VXLAN device for many VNIs (`external`), which is not supported", "have a device made for each VNI"),
        ("alone (VNI 7) is in no bridge", "ip link set alone master <bridge>"),
        ("routed (VNI 8) is in blue, which is not a Linux bridge", "ip link set routed master <bridge>"),
    ];
    assert_eq!(told, expected);
    assert!(unfit[0].vni.is_none() && unfit[0].bridge.as_deref() == Some("b") && unfit[1].bridge.is_none());
}

#[test]
fn the_zero_mac_is_nobodys() {
    let mut host = Host::default();
    host.add("x", "", None, |_| {});
    assert!(!host.0.is_own_mac(MacAddr::ZERO));
}
