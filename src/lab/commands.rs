//! The commands of `evpnd lab`: demo, up, status, exec, down.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};

use super::client::Client;
use super::demo::Demo;
use super::fabric::{Fabric, Names, Setting};
use super::netns::{self, Namespace};
use super::plan::{LabOptions, Plan};
use super::reflector;
use super::screen::{Screen, Style};
use super::settle::{self, settle};
use super::signals;
use super::state::{State, base_directory, lab_directory};
use crate::control::render::many;

/// A fabric of network namespaces on this machine
#[derive(Debug, Clone, Subcommand)]
pub enum LabCommand {
    /// Build a lab, show what happens, move a VM, prove that nothing was multicast, remove everything
    Demo(DemoArgs),
    /// Build a lab and leave it running
    Up(UpArgs),
    /// Show a running lab: namespaces, daemons, sessions
    Status(NameArgs),
    /// Run a command inside a running lab: `evpnd lab exec hv1 -- evpnctl show macs` (its socket is found)
    Exec(ExecArgs),
    /// Remove a lab: exactly what `up` (or `demo --keep`) made
    Down(NameArgs),
    /// Keep a user namespace open
    #[command(hide = true)]
    Hold,
}

/// Arguments of `lab demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// How large, and what with.
    #[command(flatten)]
    pub options: LabOptions,
    /// Leave everything running at the end, whatever the end is; `evpnd lab down --name demo` removes it
    #[arg(long)]
    pub keep: bool,
    /// Name of the lab, with --keep
    #[arg(long, default_value = "demo")]
    pub name: String,
}

/// Arguments of `lab up`.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// How large, and what with.
    #[command(flatten)]
    pub options: LabOptions,
    /// Name of the lab: several may run
    #[arg(long, default_value = "lab")]
    pub name: String,
}

/// Which lab.
#[derive(Debug, Clone, Args)]
pub struct NameArgs {
    /// Name of the lab
    #[arg(long, default_value = "lab")]
    pub name: String,
}

/// Arguments of `lab exec`.
#[derive(Debug, Clone, Args)]
pub struct ExecArgs {
    /// Name of the lab
    #[arg(long, default_value = "lab")]
    pub name: String,
    /// Where: hv1, vm1-1, rr, underlay
    pub node: String,
    /// What to run; a shell where nothing is given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// Runs a command of `evpnd lab`. To be called before the process has a second thread: without root it moves into a
/// user namespace of its own. The exit code is 0 only where everything went as it should.
pub fn run(command: LabCommand) -> anyhow::Result<ExitCode> {
    signals::install();
    let result = match &command {
        LabCommand::Demo(args) => demo(args),
        LabCommand::Up(args) => up(args),
        LabCommand::Status(args) => status(&args.name),
        LabCommand::Exec(args) => exec(args),
        LabCommand::Down(args) => down(&args.name),
        LabCommand::Hold => hold(),
    };
    match (result, signals::received()) {
        (Err(_), Some(signal)) => {
            eprintln!("evpnd lab: stopped by signal {signal}; everything is removed");
            Ok(ExitCode::from(128_u8.saturating_add(signal as u8)))
        }
        // Whoever read the output has gone: nothing more to say.
        (Err(error), None) if is_broken_pipe(&error) => Ok(ExitCode::FAILURE),
        (result, _) => result,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let plan = Plan::new(&args.options)?;
    reflector::find(args.options.reflector, args.options.underlay)?;
    let base = base_directory()?;
    let name = if args.keep { args.name.clone() } else { format!("demo-{}", std::process::id()) };
    sweep(&base);
    let is_root = netns::is_privileged();
    let setting = prepare(&base, &name, args.keep)?;
    let mut demo = Demo::build(plan, setting, is_root)?;
    let outcome = demo.run();
    if let (Err(error), None) = (&outcome, signals::received()) {
        demo.screen().line(format_args!("\n{} {error:#}", demo.screen().paint(Style::Bad, "✗")))?;
    }
    let (screen, fabric) = demo.into_parts();
    let is_good = matches!(&outcome, Ok(verdict) if verdict.is_good());
    let verdict = match &outcome {
        Ok(verdict) if verdict.is_good() => "Every VM reached every other, the move was followed, nothing was multicast.".into(),
        Ok(verdict) => {
            let parts = [
                (verdict.is_reached, "not every VM reached every other"),
                (verdict.is_followed, "the move was not followed"),
                (verdict.is_clean, "the capture is not clean"),
            ];
            let failed: Vec<_> = parts.iter().filter(|(good, _)| !good).map(|(_, words)| *words).collect();
            format!("Failed: {}.", failed.join(", "))
        }
        Err(_) => "Failed.".to_string(),
    };
    let style = if is_good { Style::Good } else { Style::Bad };
    let seconds = screen.elapsed().as_secs_f64();
    if args.keep && signals::received().is_none() {
        keep(fabric, is_root)?;
        screen.line(format_args!("\n{} {seconds:.1} s.", screen.paint(style, verdict)))?;
        hints(&screen, &args.name)?;
    } else {
        drop(fabric);
        signals::check()?;
        let seconds = screen.elapsed().as_secs_f64();
        screen.line(format_args!("\n{} {seconds:.1} s; all removed.", screen.paint(style, verdict)))?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn up(args: &UpArgs) -> anyhow::Result<ExitCode> {
    let plan = Plan::new(&args.options)?;
    reflector::find(args.options.reflector, args.options.underlay)?;
    let base = base_directory()?;
    let is_root = netns::is_privileged();
    let setting = prepare(&base, &args.name, true)?;
    let screen = Screen::new();
    let patience = Duration::from_secs(30);
    let mut fabric = Fabric::build(plan, setting)?;
    screen.event("", format_args!("{} built", many(fabric.hypervisors.len() + fabric.guests.len() + 2, "namespace")))?;
    fabric.start_reflector()?;
    fabric.start_hypervisors()?;
    settle(&mut fabric, patience, |_| Ok(()), settle::sessions)?;
    settle(&mut fabric, patience, |_| Ok(()), settle::members)?;
    screen.event("", format_args!("{} up, flood lists complete", many(fabric.hypervisors.len(), "session")))?;
    for guest in 0..fabric.guests.len() {
        fabric.attach(guest)?;
    }
    settle(&mut fabric, patience, |_| Ok(()), settle::stations)?;
    settle(&mut fabric, patience, |_| Ok(()), settle::rows)?;
    screen.event("", format_args!("{} known everywhere", many(fabric.guests.len(), "VM")))?;
    keep(fabric, is_root)?;
    hints(&screen, &args.name)?;
    Ok(ExitCode::SUCCESS)
}

fn hints(screen: &Screen, name: &str) -> anyhow::Result<()> {
    let option = if name == "lab" { String::new() } else { format!(" --name {name}") };
    screen.line(format_args!("\nThe lab {name} is up:"))?;
    let commands = [
        (format!("evpnd lab status{option}"), "namespaces, daemons, sessions"),
        (format!("evpnd lab exec{option} hv1 -- evpnctl show macs"), "ask a daemon"),
        (format!("evpnd lab exec{option} vm1-1"), "a shell inside"),
        (format!("evpnd lab down{option}"), "remove it"),
    ];
    let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    for (command, what) in &commands {
        screen.line(format_args!("  {command:<width$}  {}", screen.paint(Style::Dim, what)))?;
    }
    Ok(())
}

fn status(name: &str) -> anyhow::Result<ExitCode> {
    let (_, state) = load(name)?;
    let screen = Screen::new();
    let options = &state.options;
    let is_held = state.holder.is_none_or(|holder| holder.is_alive());
    screen.line(format_args!(
        "lab {name}: {}, {}, {} each, IPv{} underlay, reflector {}{}{}",
        many(usize::from(options.hypervisors), "hypervisor"),
        many(usize::from(options.vnis), "VNI"),
        many(usize::from(options.vms), "VM"),
        if options.underlay.address(1).is_ipv4() { 4 } else { 6 },
        options.reflector,
        if state.holder.is_some() { ", in a user namespace" } else { "" },
        if state.is_complete { "" } else { " (not complete)" },
    ))?;
    let mut is_good = is_held && state.is_complete;
    let addresses = addresses(&Plan::new(options)?);
    let daemons: BTreeMap<&str, _> = state.daemons.iter().map(|daemon| (daemon.node.as_str(), daemon)).collect();
    let width = state.namespaces.iter().filter_map(|record| Some(record.path.file_name()?.len())).max().unwrap_or(0) + 1;
    for record in &state.namespaces {
        let text = match daemons.get(record.node.as_str()) {
            None => String::new(),
            Some(daemon) if !daemon.process.is_alive() => {
                is_good = false;
                screen.paint(Style::Bad, format_args!("pid {} has ended: see {}", daemon.process.pid, daemon.log.display()))
            }
            Some(daemon) => {
                let program = daemon.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let sessions = daemon.socket.as_deref().map_or_else(String::new, sessions);
                let socket = daemon.socket.as_ref().map_or_else(String::new, |path| format!("  {}", path.display()));
                format!("{program} pid {}  {sessions}{}", daemon.process.pid, screen.paint(Style::Dim, socket))
            }
        };
        let namespace = record.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let address = addresses.get(&record.node).map_or("", String::as_str);
        screen.line(format!("  {:<9} {namespace:<width$} {address:<13} {text}", record.node).trim_end())?;
    }
    if !is_held {
        screen.line(screen.paint(Style::Bad, "The process that held the user namespace is gone: evpnd lab down"))?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The addresses of all nodes.
fn addresses(plan: &Plan) -> BTreeMap<String, String> {
    let hosts = plan.hypervisors.iter().chain([&plan.reflector]).map(|host| (host.name.clone(), host.address.to_string()));
    let guests = plan.guests.iter().map(|guest| (guest.name.clone(), format!("{}  {}", guest.ipv4, guest.ipv6)));
    hosts.chain(guests).collect()
}

/// The sessions of an evpnd in a few words.
fn sessions(socket: &Path) -> String {
    match Client::new(socket).neighbors() {
        Ok(neighbors) => {
            let up = neighbors.iter().filter(|neighbor| neighbor.state == "established").count();
            format!("{up} of {} up", many(neighbors.len(), "session"))
        }
        Err(error) => format!("does not answer: {error:#}"),
    }
}

fn exec(args: &ExecArgs) -> anyhow::Result<ExitCode> {
    let (_, state) = load(&args.name)?;
    let record = state.namespaces.iter().find(|record| record.node == args.node).with_context(|| {
        let nodes: Vec<_> = state.namespaces.iter().map(|record| record.node.as_str()).collect();
        format!("the lab {} has no {}: it has {}", args.name, args.node, nodes.join(", "))
    })?;
    if let Some(holder) = state.holder {
        ensure!(holder.is_alive(), "the process that held the lab's user namespace is gone: evpnd lab down --name {}", args.name);
        netns::enter_process(holder.pid)?;
    }
    let namespace = Namespace::open(&record.path)?;
    let shell = std::env::var("SHELL").ok().filter(|shell| Path::new(shell).exists()).unwrap_or_else(|| "/bin/sh".into());
    let words = if args.command.is_empty() { vec![shell] } else { args.command.clone() };
    let mut command = Command::new(&words[0]);
    // The node's own daemon is meant, without having to say where its socket is.
    let daemon = state.daemons.iter().find(|daemon| daemon.node == args.node);
    if let (Some(socket), "evpnctl") = (daemon.and_then(|daemon| daemon.socket.as_ref()), words[0].as_str()) {
        command.arg("--socket").arg(socket);
    }
    command.args(&words[1..]);
    // evpnctl lies beside evpnd.
    if let Some(beside) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", beside.display()));
    }
    let error = netns::exec_inside(&namespace, &args.node, &mut command);
    Err(error).with_context(|| format!("run {}", words[0]))
}

fn down(name: &str) -> anyhow::Result<ExitCode> {
    let (directory, state) = load(name)?;
    state.tear_down(&directory)?;
    Screen::new().line(format_args!(
        "lab {name}: {} and {} removed",
        many(state.daemons.len(), "daemon"),
        many(state.namespaces.len(), "namespace")
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Sleeps until it is killed: `lab down` does that.
fn hold() -> anyhow::Result<ExitCode> {
    loop {
        signals::sleep(Duration::from_secs(3600))?;
    }
}

fn load(name: &str) -> anyhow::Result<(PathBuf, State)> {
    let base = base_directory()?;
    let directory = lab_directory(&base, name)?;
    let state = State::load(&directory)?.with_context(|| format!("there is no lab {name} (looked in {})", base.display()))?;
    Ok((directory, state))
}

/// Decides how the lab lives, and enters a user namespace where the caller has not the rights itself.
fn prepare(base: &Path, name: &str, is_named: bool) -> anyhow::Result<Setting> {
    let directory = lab_directory(base, name)?;
    if directory.exists() {
        bail!("a lab {name} is there already: evpnd lab status --name {name}; evpnd lab down --name {name} removes it");
    }
    let is_privileged = netns::is_privileged();
    let evpnd = std::env::current_exe().context("find the program itself")?;
    if !is_privileged {
        netns::enter_user_namespace()?;
    }
    let names = match (is_named, is_privileged) {
        (false, _) => Names::None,
        (true, true) => Names::System(name.into()),
        (true, false) => Names::Private,
    };
    Ok(Setting { directory, evpnd, names })
}

/// Leaves the lab as it stands; in a user namespace a small process goes on holding that.
fn keep(mut fabric: Fabric, is_root: bool) -> anyhow::Result<State> {
    if !is_root {
        fabric.start_holder(&["lab".into(), "hold".into()])?;
    }
    fabric.keep()
}

/// Removes what demos left that were killed: only files, since everything else dies with the process.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("demo-")).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
