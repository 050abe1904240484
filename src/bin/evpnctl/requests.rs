//! From words to requests of the control socket.

use clap::CommandFactory;
use clap::error::ErrorKind as UsageKind;
use evpnd::base::{MacAddr, Vni};
use evpnd::control::{Request, VniAdd};

use crate::arguments::{Clear, Cli, Command, MacCommand, Show, VniCommand};

/// What has to be asked for a command: one request, or one for each of several VNIs.
pub(crate) fn requests(command: &Command) -> Vec<Request> {
    let (after, limit) = (None, None);
    let request = match command {
        Command::Show { what: Show::Status } => Request::ShowStatus {},
        Command::Show { what: Show::Neighbors { address } } => Request::ShowNeighbors { address: *address, after, limit },
        Command::Show { what: Show::Vnis { vni } } => Request::ShowVnis { vni: *vni, after, limit },
        Command::Show { what: Show::Vteps } => Request::ShowVteps { after, limit },
        Command::Show { what: Show::Macs { vni, mac, duplicates } } => {
            Request::ShowMacs { vni: *vni, mac: *mac, duplicates: *duplicates, after, limit: Some(10_000) }
        }
        Command::Show { what: Show::Routes { route_type, vni, rd, neighbor } } => {
            Request::ShowRoutes { route_type: *route_type, vni: *vni, rd: rd.clone(), neighbor: *neighbor, after, limit }
        }
        Command::Explain { words } => {
            let (vni, mac) = explained(words).unwrap_or_else(|message| usage(&message));
            Request::Explain { vni, mac }
        }
        Command::Diff => Request::Diff { after, limit },
        Command::Monitor => Request::Monitor {},
        Command::Drain => Request::Drain {},
        Command::Reload => Request::Reload {},
        Command::Vni {
            what: VniCommand::Add { ids, device, bridge, rd, import, export, neighbor_suppression, mtu, caller, existing, .. },
        } => {
            let add = |vni: &Vni| VniAdd {
                vni: *vni,
                device: device.clone(),
                bridge: bridge.clone(),
                rd: rd.clone(),
                import: import.clone(),
                export: export.clone(),
                neighbor_suppression: *neighbor_suppression,
                mtu: *mtu,
                existing: *existing,
                caller: caller.clone(),
                ..VniAdd::new(*vni)
            };
            return ids.iter().map(|vni| Request::VniAdd(add(vni))).collect();
        }
        Command::Vni { what: VniCommand::Del { ids, caller: Some(caller) } } if ids.is_empty() => {
            Request::CallerGone { caller: caller.clone() }
        }
        Command::Vni { what: VniCommand::Del { ids, caller } } => {
            return ids.iter().map(|vni| Request::VniDel { vni: *vni, caller: caller.clone() }).collect();
        }
        Command::Mac { what: MacCommand::Claim { macs, vni, port } } => {
            return macs.iter().map(|mac| Request::MacClaim { vni: *vni, mac: *mac, port: port.clone() }).collect();
        }
        Command::Mac { what: MacCommand::Release { macs, vni } } => {
            return macs.iter().map(|mac| Request::MacRelease { vni: *vni, mac: *mac }).collect();
        }
        // They ask by themselves.
        Command::LibvirtHook { .. }
        | Command::OpennebulaHook { .. }
        | Command::Doctor { .. }
        | Command::ImportFrr { .. }
        | Command::Migrate(_) => {
            return Vec::new();
        }
        Command::Clear { what: Clear::Neighbor { address } } => Request::ClearNeighbor { address: *address },
        Command::Clear { what: Clear::Duplicate { words } } => cleared(words).unwrap_or_else(|message| usage(&message)),
    };
    vec![request]
}

/// `vni N mac M`; the two words may be left out.
pub(crate) fn explained(words: &[String]) -> Result<(Vni, MacAddr), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (vni, mac) = match words.as_slice() {
        ["vni", vni, "mac", mac] | ["mac", mac, "vni", vni] | ["vni", vni, mac] | [vni, "mac", mac] | [vni, mac] => (vni, mac),
        _ => return Err("expected: evpnctl explain vni N mac M".to_owned()),
    };
    let vni = vni.parse().map_err(|error| format!("{error}"))?;
    let mac = mac.parse().map_err(|error| format!("{error}"))?;
    Ok((vni, mac))
}

/// Nothing, or one or both of `vni N` and `mac M` or `ip A`.
pub(crate) fn cleared(words: &[String]) -> Result<Request, String> {
    let expected = || "expected: evpnctl clear duplicate [vni N] [mac M | ip A]".to_owned();
    let (mut vni, mut mac, mut ip) = (None, None, None);
    for pair in words.chunks(2) {
        let [what, which] = pair else { return Err(expected()) };
        let wrong = |error: &dyn std::fmt::Display| format!("{which}: {error}");
        match what.as_str() {
            "vni" if vni.is_none() => vni = Some(which.parse().map_err(|error| wrong(&error))?),
            "mac" if mac.is_none() && ip.is_none() => mac = Some(which.parse().map_err(|error| wrong(&error))?),
            "ip" if mac.is_none() && ip.is_none() => ip = Some(which.parse().map_err(|error| wrong(&error))?),
            _ => return Err(expected()),
        }
    }
    Ok(Request::ClearDuplicate { vni, mac, ip })
}

/// Ends with a message about usage, exit code 2.
pub(crate) fn usage(message: &str) -> ! {
    Cli::command().error(UsageKind::ValueValidation, message).exit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn explain_takes_its_words_in_any_order() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let expected = ("100".parse().unwrap(), "02:00:00:00:00:01".parse().unwrap());
        for text in ["vni 100 mac 02:00:00:00:00:01", "mac 02:00:00:00:00:01 vni 100", "100 02:00:00:00:00:01"] {
            assert_eq!(explained(&words(text)), Ok(expected), "{text}");
        }
        assert!(explained(&words("vni 100 port x")).is_err());
        assert!(explained(&words("vni 0 mac 02:00:00:00:00:01")).is_err());
    }
}
