//! Devices of somebody else that flood to a multicast group, held by callers (`vni add --existing`). The kernel room is played by hand,
//! time is virtual.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod daemon_support;
mod device_support;

use std::net::IpAddr;

use daemon_support::{Daemon, NOW, vni};
use evpnd::control::{Request, VniAdd};
use evpnd::fib::{DeviceSpec, FoundDevice, KernelCommand, KernelEvent};
use evpnd::speaker::RequestId;

const GROUP: &str = "239.1.1.1";

/// A device of VNI 100 that somebody made.
fn device(name: &str, group: Option<&str>) -> FoundDevice {
    let group = group.map(|group| group.parse().unwrap());
    FoundDevice { vni: vni(), device: name.to_owned(), bridge: format!("br-{name}"), group }
}

fn found(daemon: &mut Daemon, devices: &[FoundDevice]) {
    daemon.kernel(KernelEvent::Found { devices: devices.to_vec(), unfit: Vec::new() });
}

fn ask(daemon: &mut Daemon, add: VniAdd) {
    daemon.speaker.handle_request(daemon.now, RequestId(1), Request::VniAdd(add));
}

/// As the hook of OpenNebula asks for it.
fn hold(daemon: &mut Daemon) {
    ask(daemon, VniAdd { caller: Some("opennebula:17".to_owned()), existing: true, ..VniAdd::new(vni()) });
}

/// The last wish for the device of VNI 100, if there is a new one.
fn wish(daemon: &mut Daemon) -> Option<DeviceSpec> {
    let commands = daemon.commands();
    let mut lists =
        commands.into_iter().filter_map(|command| if let KernelCommand::Devices(specs) = command { Some(specs) } else { None });
    lists.next_back().and_then(|specs| specs.into_iter().find(|spec| spec.vni == vni()))
}

/// Its group, and whether it may be mended.
fn wished(daemon: &mut Daemon) -> Option<(Option<IpAddr>, bool)> {
    wish(daemon).map(|spec| (spec.group, spec.fix))
}

fn group() -> Option<IpAddr> {
    Some(GROUP.parse().unwrap())
}

/// Whichever is told of first, the device or the caller: what floods to the group is run beside it, until it does no more.
#[test]
fn a_vni_on_a_device_with_a_group_runs_beside_it() {
    for caller_first in [false, true] {
        let mut daemon = Daemon::new("");
        if caller_first {
            hold(&mut daemon);
            assert_eq!(wished(&mut daemon), Some((None, false)));
            found(&mut daemon, &[device("eth0.7", Some(GROUP))]);
        } else {
            found(&mut daemon, &[device("eth0.7", Some(GROUP))]);
            hold(&mut daemon);
        }
        let spec = wish(&mut daemon).unwrap();
        assert!(spec.group == group() && spec.learning && spec.existing, "{spec:?}");
        // Its platform makes it again with another group; then without.
        found(&mut daemon, &[]);
        assert_eq!(wished(&mut daemon), None, "the group of a device that is gone for a moment is kept in mind");
        found(&mut daemon, &[device("eth0.7", Some("239.2.2.2"))]);
        assert_eq!(wished(&mut daemon), Some((Some("239.2.2.2".parse().unwrap()), false)));
        found(&mut daemon, &[device("eth0.7", None)]);
        let spec = wish(&mut daemon).unwrap();
        assert!(spec.group.is_none() && !spec.learning, "{spec:?}");
    }
}

/// What stands against it: another address family, defaults that say how to flood, two devices of which either may be meant, and a
/// caller who has evpnd make the device.
#[test]
fn a_group_that_is_not_meant_is_left_alone() {
    for (more, devices, existing) in [
        ("", vec![device("a", Some("ff05::100"))], true),
        ("[vni-defaults]\nflood = \"none\"\n", vec![device("a", Some(GROUP))], true),
        ("", vec![device("a", Some(GROUP)), device("b", Some(GROUP))], true),
        ("", vec![device("a", Some(GROUP))], false),
    ] {
        let mut daemon = Daemon::new(more);
        found(&mut daemon, &devices);
        ask(&mut daemon, VniAdd { existing, ..VniAdd::new(vni()) });
        assert_eq!(wish(&mut daemon).unwrap().group, None, "{more} {devices:?}");
        let mut second = devices.clone();
        second.push(FoundDevice { vni: evpnd::base::Vni::new(7).unwrap(), ..device("c", None) });
        found(&mut daemon, &second);
        assert!(wish(&mut daemon).is_none_or(|spec| spec.group.is_none()), "{more} {devices:?}");
    }
}

/// With `fix-devices` the group would be taken from the device before anybody knows that it has one.
#[test]
fn no_group_is_taken_away_before_it_is_known() {
    let mut daemon = Daemon::new("[vxlan]\nfix-devices = true\n");
    hold(&mut daemon);
    assert_eq!(wished(&mut daemon), Some((None, false)));
    found(&mut daemon, &[device("eth0.7", Some(GROUP))]);
    assert_eq!(wished(&mut daemon), Some((group(), true)));
    // One without a group is mended as soon as it is there.
    let mut daemon = Daemon::new("[vxlan]\nfix-devices = true\n");
    hold(&mut daemon);
    assert_eq!(wished(&mut daemon), Some((None, false)));
    found(&mut daemon, &[device("eth0.7", None)]);
    assert_eq!(wished(&mut daemon), Some((None, true)));
}

/// A restart has it beside its group from the first moment on, and a reload leaves it there; what the file declares goes by the file.
#[test]
fn the_group_is_kept_over_a_restart_and_a_reload() {
    let mut daemon = Daemon::new("");
    found(&mut daemon, &[device("eth0.7", Some(GROUP))]);
    hold(&mut daemon);
    daemon.commands();
    let kept = daemon.kept.clone().unwrap();
    let mut again = Daemon::with_kept("10.0.0.1", "", evpnd::speaker::KeptState { is_restart: true, ..kept });
    assert_eq!(wished(&mut again), Some((group(), false)));
    again.reload("[vni-defaults]\nmtu = 1400\n");
    assert_eq!(wished(&mut again), Some((group(), false)));
    again.speaker.reload(NOW, Ok(Daemon::config("10.0.0.1", "[[vni]]\nid = 100\n")), None);
    assert_eq!(wished(&mut again).unwrap().0, None);
    found(&mut again, &[device("eth0.7", Some("239.2.2.2"))]);
    assert!(wish(&mut again).is_none_or(|spec| spec.group.is_none()));
}
