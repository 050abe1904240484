//! `evpnctl`: the command line client of a running evpnd. It turns words into a request of `evpnd::control`, follows the
//! pages of a long table, and shows the replies as text or JSON. Exit codes: 0 done, 1 refused, not found or a difference,
//! 2 usage, 3 daemon not reachable (docs/CONTROL.md).

mod arguments;
mod daemon;
mod doctor;
mod hooks;
mod import;
mod migrate;
mod printer;
mod requests;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use evpnd::control::{Reply, Request};

use arguments::{Cli, Command, Show, VniCommand};
use daemon::{Daemon, Failure};
use hooks::Hook;
use printer::Printer;
use requests::requests;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Command::LibvirtHook { map, driver, words } => {
            let hook = Hook::new(&cli, format!("libvirt-hook {driver}"), &map.file);
            return hooks::libvirt(&hook, driver, words);
        }
        Command::OpennebulaHook { map, stage, .. } => {
            return hooks::opennebula(&Hook::new(&cli, "opennebula-hook".to_owned(), &map.file), stage);
        }
        Command::ImportFrr { file, output, force, vtep } => {
            return import::run(&import::Wanted { file, output: output.as_deref(), force: *force, vtep: *vtep, json: cli.json });
        }
        Command::Doctor { ignore } => return doctor::run(&cli, ignore),
        Command::Migrate(what) => return migrate::run(&cli, what),
        _ => {}
    }
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // `evpnctl show macs | head` is no failure.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(error)) => {
            let _ = writeln!(io::stderr(), "evpnctl: cannot write: {error}");
            ExitCode::from(1)
        }
        Err(Failure::Daemon(message)) => {
            let _ = writeln!(io::stderr(), "evpnctl: {message}");
            ExitCode::from(3)
        }
    }
}

/// Whether everything that was asked for was done.
fn run(cli: &Cli) -> Result<bool, Failure> {
    let requests = requests(&cli.command);
    let detailed = matches!(
        cli.command,
        Command::Show { what: Show::Neighbors { address: Some(_) } } | Command::Show { what: Show::Vnis { vni: Some(_) } }
    );
    let mut daemon = Daemon::connect(cli, None)?;
    let (mut done, mut added) = (true, Vec::new());
    for request in requests {
        let mut printer = Printer::new(cli.json, detailed);
        let vni = if let Request::VniAdd(add) = &request { Some(add.vni) } else { None };
        let this = if matches!(request, Request::Monitor {}) {
            monitor(&mut daemon, &request, &mut printer)?
        } else {
            ask(&mut daemon, request, &mut printer)?
        };
        done &= this;
        added.extend(vni.filter(|_| this));
    }
    if let Command::Vni { what: VniCommand::Add { wait: Some(secs), .. } } = &cli.command {
        let wait = Duration::from_secs(*secs);
        let deadline = hooks::deadline(wait);
        // Why one was refused is said already.
        for vni in added {
            if let Err(why) = hooks::wait_until_ready(&mut daemon, vni, deadline, wait) {
                let _ = writeln!(io::stderr(), "evpnctl: {why}");
                done = false;
            }
        }
    }
    Ok(done)
}

/// Asks, and goes on asking while another page follows.
fn ask(daemon: &mut Daemon, mut request: Request, printer: &mut Printer) -> Result<bool, Failure> {
    let mut same = true;
    loop {
        let reply = daemon.ask(&request)?;
        let next = match &reply {
            Reply::Neighbors(page) => page.next.clone(),
            Reply::Vnis(page) => page.next.clone(),
            Reply::Vteps(page) => page.next.clone(),
            Reply::Macs(page) => page.next.clone(),
            Reply::Routes(page) => page.next.clone(),
            Reply::Diff(page) => {
                same &= page.items.is_empty();
                page.next.clone()
            }
            Reply::Refused { message } | Reply::NotFound { message } => {
                printer.refused(&reply)?;
                let _ = writeln!(io::stderr(), "evpnctl: {}", message.trim_end());
                return Ok(false);
            }
            _ => None,
        };
        printer.reply(&reply)?;
        let Some(next) = next else { break };
        match after(&mut request) {
            Some(cursor) if *cursor != Some(next.clone()) => *cursor = Some(next),
            _ => {
                return Err(Failure::Daemon(
                    "the daemon repeats a page: its version may not be the one of this evpnctl".to_owned(),
                ));
            }
        }
    }
    printer.end()?;
    Ok(same)
}

/// The cursor of a request whose reply has pages.
fn after(request: &mut Request) -> Option<&mut Option<String>> {
    match request {
        Request::ShowNeighbors { after, .. }
        | Request::ShowVnis { after, .. }
        | Request::ShowVteps { after, .. }
        | Request::ShowMacs { after, .. }
        | Request::ShowRoutes { after, .. }
        | Request::Diff { after, .. } => Some(after),
        _ => None,
    }
}

/// Prints events until the daemon ends or somebody stops us.
fn monitor(daemon: &mut Daemon, request: &Request, printer: &mut Printer) -> Result<bool, Failure> {
    match daemon.ask(request)? {
        Reply::Refused { message } | Reply::NotFound { message } => {
            let _ = writeln!(io::stderr(), "evpnctl: {message}");
            return Ok(false);
        }
        Reply::Event(line) => printer.event(&Reply::Event(line))?,
        _ => {}
    }
    loop {
        printer.event(&daemon.read(None)?)?;
    }
}
