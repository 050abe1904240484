//! What a lab waits for, asked of the daemons and of the kernel themselves: sessions, flood lists, stations, rows. Each
//! condition says in words what is still missing, and that is the error where it never comes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::bail;

use super::fabric::{Fabric, Host, vxlan_index};
use super::fdb::{self, FdbRow};
use super::signals::wait_until;
use crate::base::{MacAddr, Vni};
use crate::control::VniView;

/// A condition: nothing, or what is still missing.
pub type Missing = anyhow::Result<Option<String>>;

/// Waits until `condition` misses nothing; `tick` runs each time in between (to show what happens meanwhile).
pub fn settle(
    fabric: &mut Fabric,
    timeout: Duration,
    mut tick: impl FnMut(&mut Fabric) -> anyhow::Result<()>,
    condition: impl Fn(&Fabric) -> Missing,
) -> anyhow::Result<()> {
    let mut last = None;
    let settled = wait_until(timeout, || {
        fabric.check()?;
        tick(fabric)?;
        last = condition(fabric)?;
        Ok(last.is_none().then_some(()))
    })?;
    match (settled, last) {
        (None, Some(missing)) => bail!("after {} s {missing}", timeout.as_secs()),
        _ => Ok(()),
    }
}

/// Every hypervisor has a session with the reflector.
pub fn sessions(fabric: &Fabric) -> Missing {
    first(&fabric.hypervisors, |host| {
        let Some(client) = &host.client else { return Ok(None) };
        let neighbors = client.neighbors()?;
        if neighbors.iter().any(|neighbor| neighbor.state == "established") {
            return Ok(None);
        }
        let why = neighbors.iter().find_map(|neighbor| neighbor.last_error.clone()).unwrap_or_default();
        let log = fabric.log_of(&host.plan.name);
        Ok(Some(format!("{} has no session with {}: {why}\n{log}", host.plan.name, fabric.reflector.plan.address)))
    })
}

/// Every VNI works on every hypervisor, and everybody is in everybody's flood list.
pub fn members(fabric: &Fabric) -> Missing {
    let others = fabric.hypervisors.len() as u64 - 1;
    each_vni(fabric, |host, view| {
        if view.state != "ready" {
            let why = view.reason.clone().unwrap_or_default();
            return Some(format!("VNI {} on {} is {}: {why}", view.vni, host.plan.name, view.state));
        }
        (view.vteps != others)
            .then(|| format!("VNI {} on {} floods to {} VTEPs and not to {others}", view.vni, host.plan.name, view.vteps))
    })
}

/// Every hypervisor knows every station.
pub fn stations(fabric: &Fabric) -> Missing {
    each_vni(fabric, |host, view| {
        let here = fabric.hypervisors.iter().position(|other| other.plan.name == host.plan.name);
        let of_vni = fabric.guests.iter().filter(|guest| guest.plan.vni == view.vni);
        let (local, remote): (Vec<_>, Vec<_>) = of_vni.partition(|guest| Some(guest.place) == here);
        let (local, remote) = (local.len() as u64, remote.len() as u64);
        (view.local_macs != local || view.remote_macs != remote).then(|| {
            format!(
                "VNI {} on {} knows {} of {local} local and {} of {remote} remote stations",
                view.vni, host.plan.name, view.local_macs, view.remote_macs
            )
        })
    })
}

/// The rows of every hypervisor's VXLAN devices, by hypervisor (index) and VNI: the kernel's own word.
pub type Rows = BTreeMap<(usize, Vni), Vec<FdbRow>>;

/// Reads them.
pub fn read_rows(fabric: &Fabric) -> anyhow::Result<Rows> {
    let mut all = Rows::new();
    for (index, host) in fabric.hypervisors.iter().enumerate() {
        for vni in &fabric.plan.vnis {
            let device = vxlan_index(host, *vni)?;
            all.insert((index, *vni), fdb::rows(&host.namespace, device)?);
        }
    }
    Ok(all)
}

/// The kernel forwards to every station, in both tables, and floods to every other VTEP and nobody else.
pub fn rows(fabric: &Fabric) -> Missing {
    for ((here, vni), rows) in &read_rows(fabric)? {
        let host = &fabric.hypervisors[*here].plan.name;
        let own = |mac: MacAddr| {
            let mut list: Vec<IpAddr> =
                rows.iter().filter(|row| row.is_own && row.mac == mac).filter_map(|row| row.destination).collect();
            list.sort_unstable();
            list
        };
        let mut others: Vec<IpAddr> = fabric.hypervisors.iter().map(|other| other.plan.address).collect();
        others.remove(*here);
        others.sort_unstable();
        if own(MacAddr::ZERO) != others {
            return Ok(Some(format!("{host} floods VNI {vni} to {:?} and not to {others:?}", own(MacAddr::ZERO))));
        }
        for guest in fabric.guests.iter().filter(|guest| guest.plan.vni == *vni) {
            let (mac, name) = (guest.plan.mac, &guest.plan.name);
            let is_remote = guest.place != *here;
            let wanted: Vec<IpAddr> = is_remote.then_some(fabric.hypervisors[guest.place].plan.address).into_iter().collect();
            if own(mac) != wanted {
                return Ok(Some(format!("{host} sends frames for {name} ({mac}) to {:?} and not to {wanted:?}", own(mac))));
            }
            if is_remote && !rows.iter().any(|row| !row.is_own && row.mac == mac) {
                return Ok(Some(format!("the bridge of {host} does not know {name} ({mac}) behind its VXLAN device")));
            }
        }
    }
    Ok(None)
}

fn each_vni(fabric: &Fabric, check: impl Fn(&Host, &VniView) -> Option<String>) -> Missing {
    first(&fabric.hypervisors, |host| {
        let Some(client) = &host.client else { return Ok(None) };
        let views = client.vnis()?;
        if views.len() != fabric.plan.vnis.len() {
            return Ok(Some(format!("{} shows {} VNIs of {}", host.plan.name, views.len(), fabric.plan.vnis.len())));
        }
        Ok(views.iter().find_map(|view| check(host, view)))
    })
}

/// What the first host misses that misses anything.
fn first(hosts: &[Host], check: impl Fn(&Host) -> Missing) -> Missing {
    for host in hosts {
        if let Some(missing) = check(host)? {
            return Ok(Some(missing));
        }
    }
    Ok(None)
}
