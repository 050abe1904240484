//! Who reaches whom: every pair of stations of a network, over IPv4 and IPv6.

#![allow(clippy::disallowed_methods, reason = "a lab waits in real time")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::fabric::Guest;
use super::links::Links;
use super::ping::Pinger;
use super::plan::{GuestPlan, UPLINK};
use super::signals;

/// The round trips of one ordered pair: IPv4, IPv6; `None` where no reply came.
pub type RoundTrips = [Option<Duration>; 2];

/// Every ordered pair (index of the pinging station, index of the other) of one network.
pub type Matrix = BTreeMap<(usize, usize), RoundTrips>;

/// Neighbours that the stations may hold at once per family. The kernel's tables are one for all namespaces and hold 1024
/// (`gc_thresh3` of the first namespace, not ours to change).
const NEIGHBOURS: usize = 400;

/// Pings every pair of stations that share a network until all have answered over both families, or `timeout` is over.
/// Each that answered is measured once more by itself, without the resolution of addresses. A pair that never answered
/// stays `None`.
pub fn measure(guests: &[Guest], timeout: Duration) -> anyhow::Result<Matrix> {
    let mut pingers = open_all(guests)?;
    let mut missing: Vec<(usize, usize, usize)> =
        pairs(guests).into_iter().flat_map(|(from, to)| [(from, to, 0), (from, to, 1)]).collect();
    let mut matrix: Matrix = missing.iter().map(|(from, to, _)| ((*from, *to), [None; 2])).collect();
    let mut resolved = 0;
    let deadline = Instant::now() + timeout;
    while !missing.is_empty() && Instant::now() < deadline {
        let mut still = Vec::new();
        for ((from, family), group) in &group(&missing) {
            signals::check()?;
            // Each pair leaves an entry at both ends.
            resolved += group.len();
            if resolved > NEIGHBOURS {
                forget_neighbours(guests)?;
                resolved = group.len();
            }
            let targets: Vec<_> = group.iter().map(|to| guests[*to].plan.addresses()[*family]).collect();
            let pinger = &mut pingers[*from][*family];
            let answers = pinger.sweep(&targets, Duration::from_millis(300))?;
            for ((to, target), answer) in group.iter().zip(targets).zip(answers) {
                let again = if answer.is_some() { pinger.ping(target, Duration::from_millis(1000))? } else { None };
                match (again, matrix.get_mut(&(*from, *to))) {
                    (Some(_), Some(cell)) => cell[*family] = again,
                    _ => still.push((*from, *to, *family)),
                }
            }
        }
        missing = still;
    }
    Ok(matrix)
}

fn forget_neighbours(guests: &[Guest]) -> anyhow::Result<()> {
    for guest in guests {
        Links::open(&guest.namespace)?.forget_neighbours(UPLINK)?;
    }
    Ok(())
}

/// How many of the pairs and families did not answer.
pub fn failures(matrix: &Matrix) -> usize {
    matrix.values().flatten().filter(|trip| trip.is_none()).count()
}

fn pairs(guests: &[Guest]) -> Vec<(usize, usize)> {
    let share = |a: &GuestPlan, b: &GuestPlan| a.vni == b.vni && a.name != b.name;
    let all = 0..guests.len();
    all.clone()
        .flat_map(|from| all.clone().map(move |to| (from, to)))
        .filter(|(a, b)| share(&guests[*a].plan, &guests[*b].plan))
        .collect()
}

fn group(missing: &[(usize, usize, usize)]) -> BTreeMap<(usize, usize), Vec<usize>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (from, to, family) in missing {
        groups.entry((*from, *family)).or_default().push(*to);
    }
    groups
}

fn open_all(guests: &[Guest]) -> anyhow::Result<Vec<[Pinger; 2]>> {
    guests.iter().map(|guest| Ok([Pinger::open(&guest.namespace, false)?, Pinger::open(&guest.namespace, true)?])).collect()
}
