//! Who reaches whom: every pair of stations of a network, over IPv4 and IPv6.

#![allow(clippy::disallowed_methods, reason = "a lab waits in real time")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::fabric::Guest;
use super::ping::Pinger;
use super::plan::GuestPlan;
use super::signals;

/// The round trips of one ordered pair: IPv4, IPv6; `None` where no reply came.
pub type RoundTrips = [Option<Duration>; 2];

/// Every ordered pair (index of the pinging station, index of the other) of one network.
pub type Matrix = BTreeMap<(usize, usize), RoundTrips>;

/// Pings every pair of stations that share a network until all have answered over both families, or `timeout` is over.
/// Then measures each pair once more by itself. A pair that never answered stays `None`.
pub fn measure(guests: &[Guest], timeout: Duration) -> anyhow::Result<Matrix> {
    let mut matrix = Matrix::new();
    let mut pingers = open_all(guests)?;
    let deadline = Instant::now() + timeout;
    let mut missing: Vec<(usize, usize, usize)> =
        pairs(guests).into_iter().flat_map(|(from, to)| [(from, to, 0), (from, to, 1)]).collect();
    for (from, to, _) in &missing {
        matrix.insert((*from, *to), [None; 2]);
    }
    while !missing.is_empty() && Instant::now() < deadline {
        signals::check()?;
        let mut still = Vec::new();
        for (key, group) in &group(&missing) {
            let (from, family) = *key;
            let targets: Vec<_> = group.iter().map(|to| guests[*to].plan.addresses()[family]).collect();
            let answers = pingers[from][family].sweep(&targets, Duration::from_millis(300))?;
            for (to, answer) in group.iter().zip(answers) {
                match (answer, matrix.get_mut(&(from, *to))) {
                    (Some(_), Some(cell)) => cell[family] = answer,
                    _ => still.push((from, *to, family)),
                }
            }
        }
        missing = still;
    }
    // The first round trips contain the resolution of addresses; the second ones are what people call the round trip.
    for ((from, to), cell) in &mut matrix {
        let addresses = guests[*to].plan.addresses();
        for (family, slot) in cell.iter_mut().enumerate().filter(|(_, slot)| slot.is_some()) {
            *slot = pingers[*from][family].ping(addresses[family], Duration::from_millis(1000))?;
        }
    }
    Ok(matrix)
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
