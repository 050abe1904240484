//! What each daemon of a lab is started with: the ten lines of an evpnd on a hypervisor, and a route reflector by evpnd,
//! FRR, GoBGP or BIRD.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::plan::{ASN, HostPlan, Plan, ReflectorKind, Underlay};

/// A program with its arguments, and the control socket where it is an evpnd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What to run.
    pub path: PathBuf,
    /// With what.
    pub args: Vec<String>,
    /// Its control socket.
    pub socket: Option<PathBuf>,
}

/// Writes the configuration of a hypervisor's evpnd into `directory` and says how to start it. `evpnd` is the program.
pub fn hypervisor(plan: &Plan, host: &HostPlan, directory: &Path, evpnd: &Path) -> anyhow::Result<Program> {
    let mut text = head(host, directory, true);
    let _ = write!(text, "\n[[neighbor]]\naddress = \"{}\"\ndescription = \"route reflector\"\n", plan.reflector.address);
    for vni in &plan.vnis {
        let _ = write!(text, "\n[[vni]]\nid = {vni}\n");
    }
    evpnd_with(directory, evpnd, &text)
}

/// Writes the configuration of the reflector into `directory` and says how to start it; an error in words where the
/// program is not installed.
pub fn reflector(plan: &Plan, directory: &Path, evpnd: &Path) -> anyhow::Result<Program> {
    let host = &plan.reflector;
    match plan.options.reflector {
        ReflectorKind::Evpnd => {
            let range = plan.options.underlay.prefix();
            let text = head(host, directory, false)
                + &format!("\n[[neighbor]]\nlisten-range = \"{range}\"\nroute-reflector-client = true\n");
            evpnd_with(directory, evpnd, &text)
        }
        ReflectorKind::Frr => frr(plan, directory),
        ReflectorKind::Gobgp => gobgp(plan, directory),
        ReflectorKind::Bird => find(ReflectorKind::Bird, plan.options.underlay).and_then(|_| bail!("no configuration for BIRD")),
    }
}

/// Where the program of a foreign reflector is (evpnd: nothing to look for); an error in words where it is not installed.
/// Cheap: to be asked before anything is built.
pub fn find(kind: ReflectorKind, underlay: Underlay) -> anyhow::Result<PathBuf> {
    let (candidates, words) = match kind {
        ReflectorKind::Evpnd => return Ok(PathBuf::new()),
        ReflectorKind::Frr => (
            ["/usr/lib/frr/bgpd", "/usr/libexec/frr/bgpd", "/usr/sbin/bgpd"],
            "FRR's bgpd is not installed (Debian: apt install frr); the default --reflector evpnd needs nothing",
        ),
        ReflectorKind::Gobgp => (
            ["/usr/bin/gobgpd", "/usr/sbin/gobgpd", "/usr/local/bin/gobgpd"],
            "gobgpd is not installed (Debian: apt install gobgpd); the default --reflector evpnd needs nothing",
        ),
        ReflectorKind::Bird => bail!(
            "BIRD cannot be the reflector: bird2 2.0.12 of Debian 12 knows no EVPN, and for newer ones the lab has no \
             configuration yet. Choose evpnd, frr or gobgp"
        ),
    };
    let path = candidates.iter().map(PathBuf::from).find(|path| path.exists()).context(words)?;
    if kind == ReflectorKind::Frr && underlay == Underlay::V6 && frr_major(&path).is_some_and(|major| major <= 8) {
        bail!(
            "FRR before 9 takes a type 3 route with an IPv6 tunnel endpoint for malformed (8.4.4: it wants 9 octets of PMSI \
             tunnel attribute) and resets the session. Choose --reflector evpnd or gobgp, or --underlay 4"
        );
    }
    Ok(path)
}

/// The first number of `bgpd version 8.4.4`.
fn frr_major(bgpd: &Path) -> Option<u32> {
    let output = Command::new(bgpd).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_ascii_whitespace().nth(2)?.split('.').next()?.parse().ok()
}

/// The sections that every evpnd of a lab has.
fn head(host: &HostPlan, directory: &Path, is_vtep: bool) -> String {
    let directory = directory.display();
    let vtep = if is_vtep { format!("vtep = \"{}\"\n", host.address) } else { String::new() };
    format!(
        "# {} of an evpnd lab\n[router]\nasn = {ASN}\nrouter-id = \"{}\"\n{vtep}state-directory = \"{directory}/state\"\n\n\
         [control]\nsocket = \"{directory}/evpnd.sock\"\n",
        host.name, host.router_id
    )
}

fn evpnd_with(directory: &Path, evpnd: &Path, text: &str) -> anyhow::Result<Program> {
    let config = directory.join("evpnd.toml");
    fs::create_dir_all(directory.join("state"))?;
    write(&config, text)?;
    Ok(Program {
        path: evpnd.into(),
        args: vec!["--config".into(), config.display().to_string()],
        socket: Some(directory.join("evpnd.sock")),
    })
}

/// bgpd alone: without zebra (`-n -Z`: no_kernel, no_zebra) it reflects L2VPN EVPN all the same.
fn frr(plan: &Plan, directory: &Path) -> anyhow::Result<Program> {
    let path = find(ReflectorKind::Frr, plan.options.underlay)?;
    let config = directory.join("bgpd.conf");
    let range = plan.options.underlay.prefix();
    let text = format!(
        "hostname {name}\nrouter bgp {ASN}\n bgp router-id {id}\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
         neighbor hypervisors peer-group\n neighbor hypervisors remote-as {ASN}\n \
         bgp listen limit 500\n bgp listen range {range} peer-group hypervisors\n \
         address-family l2vpn evpn\n  neighbor hypervisors activate\n  neighbor hypervisors route-reflector-client\n \
         exit-address-family\nexit\n",
        name = plan.reflector.name,
        id = plan.reflector.router_id,
    );
    write(&config, &text)?;
    let directory = directory.display();
    // -S: it keeps the user it is started as, who alone may write here; its vty socket stays in the lab's directory.
    let args = format!(
        "--skip_runas --no_kernel --no_zebra --log stdout --vty_port 0 --vty_socket {directory} \
         --pid_file {directory}/bgpd.pid --config_file {directory}/bgpd.conf"
    );
    Ok(Program { path, args: args.split(' ').map(String::from).collect(), socket: None })
}

fn gobgp(plan: &Plan, directory: &Path) -> anyhow::Result<Program> {
    let path = find(ReflectorKind::Gobgp, plan.options.underlay)?;
    let config = directory.join("gobgpd.toml");
    let id = plan.reflector.router_id;
    let mut text = format!("[global.config]\nas = {ASN}\nrouter-id = \"{id}\"\n");
    for host in &plan.hypervisors {
        let _ = write!(
            text,
            "\n[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {ASN}\n\
             [neighbors.transport.config]\npassive-mode = true\n\
             [neighbors.route-reflector.config]\nroute-reflector-client = true\nroute-reflector-cluster-id = \"{id}\"\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"l2vpn-evpn\"\n",
            host.address
        );
    }
    write(&config, &text)?;
    let args = ["--config-file", &config.display().to_string(), "--config-type", "toml", "--api-hosts", "127.0.0.1:50051"];
    Ok(Program { path, args: args.map(String::from).to_vec(), socket: None })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
