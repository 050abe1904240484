//! What VNIs leave behind that nobody wants any more: after a restart with another file, a deletion, a drain. The kernel room is played by
//! hand, time is virtual.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod daemon_support;
mod device_support;

use std::collections::BTreeMap;
use std::time::Duration;

use daemon_support::{Daemon, MAC, NOW, to};
use device_support::ready_device;
use evpnd::base::{MacAddr, Vni};
use evpnd::control::{Reply, Request, VniAdd};
use evpnd::fib::{
    BatchDone, Binding, DeviceState, KernelCommand, KernelEvent, KernelNeighbor, KernelRow, MarkedLink, NeighborOwner, OpKind,
    StoodDevice,
};
use evpnd::speaker::{Action, KeptDevice, KeptState, RequestId};

const RESTART_TIME: Duration = Duration::from_secs(121);
const FILE: &str = "[[vni]]\nid = 100\n";

fn number(vni: u32) -> Vni {
    Vni::new(vni).unwrap()
}

/// The state of an earlier run of this boot that had these VNIs, in devices that evpnd made or not.
fn kept(vnis: &[(u32, bool)]) -> KeptState {
    let device = |(vni, made): &(u32, bool)| {
        let device = format!("vxlan{vni}");
        let device = KeptDevice { device, ifindex: *vni, bridge_ifindex: 1000 + vni, made: *made, made_bridge_only: false };
        (number(*vni), device)
    };
    KeptState { devices: vnis.iter().map(device).collect(), boot: "this".to_owned(), is_restart: true, ..KeptState::default() }
}

/// A row to 10.0.0.2, one of the flood list, and a neighbour, as an earlier run wrote them.
fn standing() -> (Vec<KernelRow>, Vec<KernelNeighbor>) {
    let flood = KernelRow { permanent: true, ..KernelRow::new(MacAddr::ZERO, to("10.0.0.2")) };
    let binding = Some(Binding { mac: MAC, router: false });
    let neighbor = KernelNeighbor { ip: "192.0.2.1".parse().unwrap(), binding, owner: NeighborOwner::Ours };
    (vec![KernelRow::new(MAC, to("10.0.0.2")), flood], vec![neighbor])
}

/// What the kernel holds of each VNI, and what was done to it.
#[derive(Default)]
struct Kernel {
    rows: BTreeMap<Vni, (Vec<KernelRow>, Vec<KernelNeighbor>)>,
    /// Why something stays of a VNI that is removed.
    uses: BTreeMap<Vni, String>,
    asked: Vec<Vni>,
    deleted: usize,
    removed: Vec<Vni>,
    replies: Vec<Reply>,
}

impl Kernel {
    fn with(vnis: &[u32]) -> Self {
        Self { rows: vnis.iter().map(|vni| (number(*vni), standing())).collect(), ..Self::default() }
    }

    /// Answers everything until nothing more is asked.
    fn serve(&mut self, daemon: &mut Daemon) {
        loop {
            let mut events = Vec::new();
            while let Some(action) = daemon.speaker.poll_action() {
                match action {
                    Action::Save(kept) => daemon.kept = Some(kept),
                    Action::Reply(_, reply) => self.replies.push(*reply),
                    Action::Kernel(command) => events.extend(self.answer(command)),
                    _ => {}
                }
            }
            if events.is_empty() {
                return;
            }
            events.into_iter().for_each(|event| daemon.kernel(event));
        }
    }

    fn answer(&mut self, command: KernelCommand) -> Option<KernelEvent> {
        Some(match command {
            KernelCommand::Leftovers(all) => {
                self.asked.extend(all.iter().map(|leftover| leftover.vni));
                return None;
            }
            KernelCommand::Dump { token, vni, .. } => {
                KernelEvent::Rows { token, vni, rows: Ok(self.rows.get(&vni).cloned().unwrap_or_default().0) }
            }
            KernelCommand::DumpNeighbors { token, vni } => {
                let neighbors = Ok(self.rows.get(&vni).cloned().unwrap_or_default().1);
                KernelEvent::Neighbors { token, vni, neighbors }
            }
            KernelCommand::Write(batch) => {
                for op in &batch.ops {
                    let vni = number(if op.ifindex > 1000 { op.ifindex - 1000 } else { op.ifindex });
                    let (rows, neighbors) = self.rows.get_mut(&vni).unwrap_or_else(|| panic!("{op:?}"));
                    match op.kind {
                        OpKind::DeleteUnicast { .. } => rows.retain(|row| row.mac != op.mac),
                        OpKind::DeleteFlood => rows.retain(|row| row.mac != MacAddr::ZERO || row.remote != op.remote),
                        OpKind::DeleteNeighbor => neighbors.retain(|neighbor| neighbor.ip != op.remote.ip),
                        _ => panic!("nothing is to be written: {op:?}"),
                    }
                    self.deleted += 1;
                }
                KernelEvent::BatchDone(BatchDone { id: batch.id, ..BatchDone::default() })
            }
            KernelCommand::Remove { vnis } => {
                self.removed.extend(&vnis);
                let kept = vnis.iter().filter_map(|vni| Some((*vni, self.uses.get(vni)?.clone()))).collect();
                KernelEvent::Removed { vnis, kept }
            }
            _ => return None,
        })
    }

    fn stands(&self, vni: u32) -> usize {
        self.rows.get(&number(vni)).map_or(0, |(rows, neighbors)| rows.len() + neighbors.len())
    }
}

fn marked(vni: Option<u32>, ifindex: u32, name: &str, ports: &[&str]) -> MarkedLink {
    let ports = ports.iter().map(|port| (*port).to_owned()).collect();
    MarkedLink { vni: vni.map(number), ifindex, name: name.to_owned(), ports }
}

/// What `show status` says of what is left over.
fn warnings(daemon: &mut Daemon) -> Vec<String> {
    match daemon.ask(Request::ShowStatus {}) {
        Reply::Status(status) => status.warnings.into_iter().filter(|line| line.starts_with("left over")).collect(),
        other => panic!("{other:?}"),
    }
}

fn devices(daemon: &Daemon) -> Vec<u32> {
    daemon.kept.iter().flat_map(|kept| kept.devices.keys()).map(|vni| vni.get()).collect()
}

/// VNI 301 was taken out of the file while the daemon was not running, 302 as well, in a device that somebody else made.
#[test]
fn a_vni_that_left_the_file_meanwhile_is_cleared_when_rows_are_swept() {
    let mut daemon = Daemon::with_kept("10.0.0.1", FILE, kept(&[(301, true), (302, false)]));
    let mut kernel = Kernel::with(&[301, 302]);
    kernel.serve(&mut daemon);
    daemon.pass(Duration::from_secs(60));
    kernel.serve(&mut daemon);
    assert_eq!((kernel.asked.len(), kernel.deleted), (0, 0), "its hook may add it again");
    daemon.pass(RESTART_TIME);
    kernel.serve(&mut daemon);
    assert_eq!(kernel.asked, [number(301), number(302)]);
    assert_eq!((kernel.stands(301), kernel.stands(302)), (0, 0));
    assert_eq!(kernel.removed, [number(301), number(302)]);
    daemon.pass(Duration::from_secs(1));
    kernel.serve(&mut daemon);
    assert_eq!(devices(&daemon), [0u32; 0], "the state file knows nothing of them any more");
    daemon.pass(Duration::from_secs(120));
    kernel.serve(&mut daemon);
    assert_eq!(kernel.asked.len(), 2, "once is enough");
}

#[test]
fn a_vni_that_is_added_again_in_time_keeps_its_rows() {
    let mut daemon = Daemon::with_kept("10.0.0.1", FILE, kept(&[(301, true)]));
    let mut kernel = Kernel::with(&[301]);
    kernel.serve(&mut daemon);
    daemon.ask(Request::VniAdd(VniAdd::new(number(301))));
    daemon.pass(RESTART_TIME);
    kernel.serve(&mut daemon);
    assert_eq!((kernel.asked.len(), kernel.stands(301)), (0, 3));
    assert!(kernel.removed.is_empty());
}

/// Its rows are being read when it is added again: what is read is looked at anew when its device is told of.
#[test]
fn a_vni_that_is_added_again_while_it_is_read_is_not_removed() {
    let mut daemon = Daemon::with_kept("10.0.0.1", FILE, kept(&[(301, true)]));
    let mut kernel = Kernel::with(&[301]);
    kernel.serve(&mut daemon);
    daemon.pass(RESTART_TIME);
    let asked = daemon.commands();
    assert!(asked.iter().any(|command| matches!(command, KernelCommand::Leftovers(_))), "{asked:?}");
    daemon.ask(Request::VniAdd(VniAdd::new(number(301))));
    asked.into_iter().filter_map(|command| kernel.answer(command)).for_each(|event| daemon.kernel(event));
    kernel.serve(&mut daemon);
    daemon.pass(Duration::from_secs(120));
    kernel.serve(&mut daemon);
    assert_eq!((kernel.stands(301), kernel.removed.len()), (3, 0));
}

/// What an earlier run changed on interfaces of others is told before any device, and kept until the kernel room says that it is undone.
#[test]
fn what_was_changed_on_interfaces_of_others_is_kept_until_it_is_undone() {
    let (isolated, opened) = (BTreeMap::from([(number(302), [7].into())]), BTreeMap::from([(number(302), 1302)]));
    let earlier = KeptState { isolated, opened, ..kept(&[(302, false)]) };
    let mut daemon = Daemon::with_kept("10.0.0.1", FILE, earlier.clone());
    let told: Vec<KernelCommand> = daemon.commands();
    let at = |what: &dyn Fn(&KernelCommand) -> bool| told.iter().position(what).unwrap();
    let ports = at(&|command| matches!(command, KernelCommand::Isolated(ports) if *ports == earlier.isolated));
    let bridges = at(&|command| matches!(command, KernelCommand::Opened(bridges) if *bridges == earlier.opened));
    let devices = at(&|command| matches!(command, KernelCommand::Devices(_)));
    assert!(ports < devices && bridges < devices, "{told:?}");
    daemon.kernel(KernelEvent::Opened { vni: number(100), bridge: Some(1100) });
    let mut kernel = Kernel::with(&[302]);
    let mut saved = |daemon: &mut Daemon| {
        daemon.pass(Duration::from_secs(2));
        kernel.serve(daemon);
        let kept = daemon.kept.clone().unwrap();
        (kept.isolated, kept.opened)
    };
    let both = BTreeMap::from([(number(100), 1100), (number(302), 1302)]);
    assert_eq!(saved(&mut daemon), (earlier.isolated.clone(), both));
    daemon.kernel(KernelEvent::Isolated { vni: number(302), ports: [].into() });
    daemon.kernel(KernelEvent::Opened { vni: number(302), bridge: None });
    assert_eq!(saved(&mut daemon), (BTreeMap::new(), BTreeMap::from([(number(100), 1100)])));
    // After a boot these numbers are others'.
    let mut after = Daemon::with_kept("10.0.0.1", FILE, KeptState { is_restart: false, ..earlier });
    let altered = |command: &KernelCommand| matches!(command, KernelCommand::Isolated(_) | KernelCommand::Opened(_));
    assert!(!after.commands().iter().any(altered));
}

/// Devices of others that an earlier run worked with are told before any list: whoever makes one may be about to. After a boot only its
/// name means something.
#[test]
fn devices_of_others_that_an_earlier_run_had_are_told_before_any_list() {
    for is_restart in [true, false] {
        let mut earlier = KeptState { is_restart, ..kept(&[(100, false), (301, true)]) };
        let bare = KeptDevice { device: "vx7".to_owned(), ifindex: 7, bridge_ifindex: 7, ..KeptDevice::default() };
        earlier.devices.insert(number(7), bare);
        let bridge = KeptDevice { made: true, made_bridge_only: true, ..earlier.devices[&number(100)].clone() };
        earlier.devices.insert(number(101), bridge);
        let mut daemon = Daemon::with_kept("10.0.0.1", FILE, earlier);
        let told = daemon.commands();
        let devices = told.iter().position(|command| matches!(command, KernelCommand::Devices(_))).unwrap();
        let stood = told[..devices].iter().find_map(|command| match command {
            KernelCommand::Stood(stood) => Some(stood.clone()),
            _ => None,
        });
        let device = |name: &str, bridge_ifindex| StoodDevice { device: name.to_owned(), bridge_ifindex };
        let bridge = is_restart.then_some(1100);
        let both = [100, 101].map(|vni| (number(vni), device("vxlan100", bridge)));
        let expected = [(number(7), device("vx7", None))].into_iter().chain(both);
        assert_eq!(stood, Some(expected.collect()));
    }
}

/// After a boot, or with a state directory that is not its own, numbers of interfaces mean nothing.
#[test]
fn what_the_state_file_does_not_know_is_told_and_left() {
    let stranger = KeptState { is_restart: false, ..kept(&[(301, true)]) };
    let mut daemon = Daemon::with_kept("10.0.0.1", FILE, stranger);
    let mut kernel = Kernel::with(&[301]);
    let links = vec![marked(None, 1301, "br301", &["tap0"]), marked(Some(301), 301, "vxlan301", &[])];
    daemon.kernel(KernelEvent::Marked { links });
    daemon.pass(RESTART_TIME);
    kernel.serve(&mut daemon);
    assert_eq!((kernel.asked.len(), kernel.removed.len()), (0, 0));
    let said = warnings(&mut daemon);
    assert!(said.len() == 2 && said.iter().all(|line| line.contains("another evpnd on this host")), "{said:?}");
    assert!(said[1].contains("vxlan301 (VNI 301)") && said[1].contains("ip link del vxlan301"), "{said:?}");
    daemon.kernel(KernelEvent::Marked { links: Vec::new() });
    assert!(warnings(&mut daemon).is_empty());
}

#[test]
fn a_bridge_with_guests_stays_and_is_named_until_it_goes() {
    let mut daemon = Daemon::with_kept("10.0.0.1", FILE, kept(&[(301, true)]));
    let mut kernel = Kernel::with(&[301]);
    kernel.uses.insert(number(301), "bridge br301 stays: tap0 still in it".to_owned());
    daemon.kernel(KernelEvent::Marked { links: vec![marked(Some(301), 301, "vxlan301", &[])] });
    let said = warnings(&mut daemon);
    assert!(said.len() == 1 && said[0].contains("every neighbor has sent all it has"), "{said:?}");
    daemon.pass(RESTART_TIME);
    kernel.serve(&mut daemon);
    daemon.kernel(KernelEvent::Marked { links: vec![marked(None, 1301, "br301", &["tap0"])] });
    assert_eq!(kernel.stands(301), 0);
    let said = warnings(&mut daemon);
    assert!(said.len() == 1 && said[0].contains("br301") && said[0].contains("(tap0 in it)"), "{said:?}");
    daemon.pass(Duration::from_secs(1));
    kernel.serve(&mut daemon);
    // The next start tries again.
    let mut state = daemon.kept.take().unwrap_or_else(|| kept(&[(301, true)]));
    assert_eq!(state.devices.len(), 1);
    state.is_restart = true;
    let mut again = Daemon::with_kept("10.0.0.1", FILE, state);
    kernel.uses.clear();
    again.pass(RESTART_TIME);
    kernel.serve(&mut again);
    assert_eq!(kernel.removed.len(), 2);
    // Here, somebody removes it by hand.
    daemon.kernel(KernelEvent::Marked { links: Vec::new() });
    daemon.pass(Duration::from_secs(1));
    kernel.serve(&mut daemon);
    assert!(warnings(&mut daemon).is_empty() && devices(&daemon).is_empty());
}

/// It cannot be said what stands: it is asked again, and nothing is taken for gone.
#[test]
fn a_leftover_that_cannot_be_read_is_read_again() {
    let mut daemon = Daemon::with_kept("10.0.0.1", FILE, kept(&[(302, false)]));
    daemon.pass(RESTART_TIME);
    for command in daemon.commands() {
        if let KernelCommand::Dump { token, vni, .. } = command {
            daemon.kernel(KernelEvent::Rows { token, vni, rows: Err("no buffer space".to_owned()) });
        }
    }
    let mut kernel = Kernel::with(&[302]);
    kernel.serve(&mut daemon);
    assert!(kernel.removed.is_empty());
    daemon.pass(Duration::from_secs(6));
    kernel.serve(&mut daemon);
    assert_eq!((kernel.stands(302), kernel.removed.len()), (0, 1));
}

/// The device of VNI 100 cannot be used any more, so that nothing is known of its rows; then VNI 100 is deleted.
#[test]
fn rows_of_a_device_that_cannot_be_used_go_with_its_vni() {
    let mut daemon = Daemon::new(FILE);
    daemon.pass(RESTART_TIME);
    let mut kernel = Kernel::with(&[100]);
    let device = evpnd::fib::ReadyDevice { made_device: false, made_bridge: false, ..ready_device(number(100), 100, 1100, None) };
    daemon.kernel(KernelEvent::Device(DeviceState::Ready(device)));
    let (reason, remedy) = ("bridge br100 is VLAN-aware".to_owned(), "vlan_filtering 0".to_owned());
    daemon.kernel(KernelEvent::Device(DeviceState::Unusable { vni: number(100), reason, remedy }));
    daemon.commands();
    daemon.reload("");
    kernel.serve(&mut daemon);
    assert_eq!((kernel.stands(100), kernel.deleted), (0, 3));
}

/// A VNI of `adopt = "all"` leaves with its device: nobody asked for that, and evpnd removed nothing.
#[test]
fn a_vni_that_leaves_with_somebodys_device_is_told_so() {
    let mut daemon = Daemon::new("[vxlan]\nadopt = \"all\"\n");
    daemon.pass(RESTART_TIME);
    let mut kernel = Kernel::default();
    let found = |vnis: &[u32]| {
        let device = |vni: &u32| {
            let (device, bridge) = (format!("vx{vni}"), format!("b{vni}"));
            evpnd::fib::FoundDevice { vni: number(*vni), device, bridge, group: None }
        };
        KernelEvent::Found { devices: vnis.iter().map(device).collect(), unfit: Vec::new() }
    };
    daemon.kernel(found(&[201]));
    let device = evpnd::fib::ReadyDevice { made_device: false, made_bridge: false, ..ready_device(number(201), 201, 1201, None) };
    daemon.kernel(KernelEvent::Device(DeviceState::Ready(device)));
    kernel.serve(&mut daemon);
    daemon.kernel(KernelEvent::DeviceGone { vni: number(201), reason: "the VXLAN device vx201 was removed".to_owned() });
    daemon.kernel(found(&[]));
    kernel.serve(&mut daemon);
    assert_eq!(kernel.removed, [number(201)]);
    let told: Vec<String> = std::iter::from_fn(|| daemon.speaker.poll_event()).map(|event| event.to_string()).collect();
    let gone: Vec<&String> = told.iter().filter(|line| line.contains("VNI 201 gone") || line.contains("removed")).collect();
    let expected =
        ["VNI 201 gone: the VXLAN device vx201 was removed", "VNI 201 gone: adopt = \"all\" finds no device of it any more"];
    assert_eq!(gone, expected, "{told:?}");
}

#[test]
fn what_was_written_to_is_kept_in_mind_when_the_daemon_is_stopped_at_once() {
    let mut daemon = Daemon::new(FILE);
    daemon.device_ready();
    daemon.speaker.shutdown(NOW, "SIGTERM");
    daemon.commands();
    assert_eq!(devices(&daemon), [100]);
}

// ---- drain ----

fn drain(daemon: &mut Daemon) {
    daemon.speaker.handle_request(daemon.now, RequestId(9), Request::Drain {});
}

fn drained(kernel: &Kernel) -> String {
    match &kernel.replies[..] {
        [Reply::Done { message }] => message.clone(),
        other => panic!("{other:?}"),
    }
}

/// A drain does not wait for the sweep.
#[test]
fn a_drain_takes_what_earlier_runs_left() {
    let mut daemon = Daemon::with_kept("10.0.0.1", "", kept(&[(301, true), (302, false)]));
    let mut kernel = Kernel::with(&[301, 302]);
    drain(&mut daemon);
    kernel.serve(&mut daemon);
    assert_eq!((kernel.stands(301), kernel.stands(302)), (0, 0));
    assert_eq!(kernel.removed, [number(301), number(302)]);
    assert!(drained(&kernel).contains("our rows are gone"), "{}", drained(&kernel));
    assert_eq!(devices(&daemon), [0u32; 0]);
}

/// Rows of an earlier run that no route has confirmed yet, and a device that is just being read.
#[test]
fn a_drain_right_after_a_start_leaves_no_row() {
    let mut daemon = Daemon::with_kept("10.0.0.1", FILE, kept(&[(100, false)]));
    let mut kernel = Kernel::with(&[100]);
    let device = ready_device(number(100), 100, 1100, None);
    let device = evpnd::fib::ReadyDevice { made_device: false, made_bridge: false, ..device };
    daemon.kernel(KernelEvent::Device(DeviceState::Ready(device)));
    drain(&mut daemon);
    kernel.serve(&mut daemon);
    assert_eq!((kernel.stands(100), kernel.deleted), (0, 3));
    assert!(drained(&kernel).contains("our rows are gone"), "{}", drained(&kernel));
}

/// A device that cannot be used is no excuse.
#[test]
fn a_drain_reads_the_rows_of_a_device_that_cannot_be_used() {
    let mut daemon = Daemon::with_kept("10.0.0.1", FILE, kept(&[(100, false)]));
    let mut kernel = Kernel::with(&[100]);
    let (reason, remedy) = ("bridge br100 is VLAN-aware".to_owned(), "vlan_filtering 0".to_owned());
    daemon.kernel(KernelEvent::Device(DeviceState::Unusable { vni: number(100), reason, remedy }));
    drain(&mut daemon);
    kernel.serve(&mut daemon);
    assert_eq!((kernel.asked.clone(), kernel.stands(100)), (vec![number(100)], 0));
}

/// The kernel does not say what stands: that is no "gone".
#[test]
fn a_drain_does_not_say_that_rows_are_gone_which_it_could_not_delete() {
    let mut daemon = Daemon::with_kept("10.0.0.1", "", kept(&[(302, false)]));
    drain(&mut daemon);
    daemon.commands();
    daemon.pass(Duration::from_secs(11));
    let mut kernel = Kernel::default();
    kernel.uses.insert(number(302), "vxlan302 was not made by evpnd".to_owned());
    for command in daemon.commands() {
        if let KernelCommand::Remove { vnis } = command {
            let kept = vec![(vnis[0], "vxlan302 was not made by evpnd".to_owned())];
            daemon.kernel(KernelEvent::Removed { vnis: Vec::new(), kept });
        }
    }
    kernel.serve(&mut daemon);
    assert!(drained(&kernel).contains("rows of VNI 302 could not all be deleted"), "{}", drained(&kernel));
}
