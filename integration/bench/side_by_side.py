"""What the scripts of this directory share: namespaces, the load generator, and the two daemons."""

import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BGPD, ZEBRA = "/usr/lib/frr/bgpd", "/usr/lib/frr/zebra"
ASN = 65000
# Where the binaries are; scripts change it before they begin.
BIN = os.path.join(ROOT, "target/release")


def evpnd_binary():
    return os.path.join(BIN, "evpnd")


def loadgen_binary():
    return os.path.join(BIN, "examples/loadgen")


def sh(*words, text=None):
    result = subprocess.run(words, input=text, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"bench: {' '.join(words)}: {result.stderr.strip()}")
    return result.stdout


class Place:
    """The namespaces, files and processes of one run; gone when it ends, however it ends."""

    count = 0

    def __enter__(self):
        Place.count += 1
        self.tag = f"ei-{os.getpid()}-b{Place.count}"
        self.directory = tempfile.mkdtemp(prefix=self.tag + "-")
        os.chmod(self.directory, 0o777)
        self.names, self.processes = [], []
        return self

    def namespace(self, what):
        name = f"{self.tag}-{what}"
        sh("ip", "netns", "add", name)
        self.names.append(name)
        self.ip(name, "link set lo up")
        sh("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        return name

    def ip(self, name, lines):
        sh("ip", "-n", name, "-batch", "-", text=lines + "\n")

    def cable(self, a, a_interface, a_address, b, b_interface, b_address):
        self.ip(a, f"link add {a_interface} mtu 1600 type veth peer name {b_interface} mtu 1600 netns {b}\n"
                   f"addr add {a_address} dev {a_interface}\nlink set {a_interface} up")
        self.ip(b, f"addr add {b_address} dev {b_interface}\nlink set {b_interface} up")

    def devices(self, name, vnis, local):
        self.ip(name, "\n".join(
            f"link add name br{v} type bridge mcast_snooping 0\nlink set br{v} addrgenmode none up\n"
            f"link add vxlan{v} type vxlan id {v} local {local} dstport 4789 nolearning\n"
            f"link set vxlan{v} addrgenmode none master br{v} up" for v in vnis))
        sh("bridge", "-n", name, "-batch", "-",
           text="\n".join(f"link set dev vxlan{v} learning off neigh_suppress on" for v in vnis) + "\n")

    def guest(self, host, name, bridge, interface="vm0"):
        """A guest with a cable from its eth0 to a bridge of `host`."""
        guest = self.namespace(name)
        self.ip(host, f"link add {interface} type veth peer name eth0 netns {guest}\n"
                      f"link set {interface} addrgenmode none master {bridge} up")
        self.ip(guest, "link set eth0 addrgenmode none up")
        return guest

    def start(self, name, *words, talk=False):
        log = open(os.path.join(self.directory, "log"), "a")
        pipe = subprocess.PIPE if talk else None
        process = subprocess.Popen(["ip", "netns", "exec", name, *words], stdin=pipe or subprocess.DEVNULL,
                                   stdout=pipe or log, stderr=log, text=True, bufsize=1)
        self.processes.append(process)
        return process

    def __exit__(self, kind, *rest):
        for process in reversed(self.processes):
            process.kill()
        for process in self.processes:
            process.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        if kind is None:
            shutil.rmtree(self.directory)
        else:
            print(f"bench: logs are kept in {self.directory}", file=sys.stderr)


class Tool:
    """loadgen in a namespace: commands in, reports out."""

    def __init__(self, place, name, mode, **arguments):
        words = [f"{key.replace('_', '-')}={value}" for key, value in arguments.items()]
        self.mode = mode
        self.process = place.start(name, loadgen_binary(), mode, *words, talk=True)

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self, event):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"loadgen {self.mode} ended while waited for {event!r}")
        report = json.loads(line)
        if report["event"] != event:
            raise RuntimeError(f"loadgen {self.mode}: waited for {event!r}, got {report}")
        return report


def until(condition, seconds, every=0.2):
    """How long it took until `condition` held; None where it did not within `seconds`."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if condition():
            return time.monotonic() - started
        time.sleep(every)
    return None


def cpu_seconds(processes):
    total = 0
    for process in processes:
        with open(f"/proc/{process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def rss_mb(processes):
    total = 0
    for process in processes:
        with open(f"/proc/{process.pid}/status") as file:
            total += next((int(line.split()[1]) for line in file if line.startswith("VmHWM")), 0)
    return total / 1024


def alive(processes):
    for process in processes:
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(process.args[4:6])} ended with {process.returncode}")


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    return path


# --- the daemons: each starter gives the list of its processes -----------------------------------------------------

def start_frr(place, name, what, router_id, neighbors, vnis=(), clients=None, with_zebra=True, graceful=False):
    directory = os.path.join(place.directory, what)
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o777)
    for left in ("zserv.api", "bgpd.vty", "zebra.vty"):  # of a process that was killed
        if os.path.exists(os.path.join(directory, left)):
            os.remove(os.path.join(directory, left))
    common = ["-P", "0", "-z", f"{directory}/zserv.api", "--vty_socket", directory]
    lines = [f"router bgp {ASN}", f" bgp router-id {router_id}", " no bgp default ipv4-unicast"]
    lines += [" bgp graceful-restart", " bgp graceful-restart preserve-fw-state"] if graceful else []
    family = []
    for address, passive in neighbors:
        lines += [f" neighbor {address} remote-as {ASN}", f" neighbor {address} timers connect 1"]
        lines += [f" neighbor {address} passive"] if passive else []
        family.append(f"  neighbor {address} activate")
        family += [f"  neighbor {address} route-reflector-client"] if clients else []
    if clients:
        lines += [" neighbor RX peer-group", f" neighbor RX remote-as {ASN}", " bgp listen limit 1000",
                  f" bgp listen range {clients} peer-group RX"]
        family += ["  neighbor RX activate", "  neighbor RX route-reflector-client"]
    if vnis:
        family.append("  advertise-all-vni")
    text = "\n".join(["log stdout"] + lines + [" address-family l2vpn evpn"] + family + [" exit-address-family", ""])
    processes = []
    if with_zebra:
        config = write(f"{directory}/zebra.conf", "log stdout\n")
        # -s: Debian's own default (/etc/frr/daemons). With less, zebra exits when its netlink socket overruns.
        kept = ["-K", "60"] if graceful else []
        processes.append(place.start(name, ZEBRA, *common, *kept, "-s", "90000000", "-f", config, "-i", f"{directory}/zebra.pid"))
        while not os.path.exists(f"{directory}/zserv.api"):
            time.sleep(0.05)
    config = write(f"{directory}/bgpd.conf", text)
    processes.append(place.start(name, BGPD, *common, *([] if with_zebra else ["-Z"]), "-f", config, "-i", f"{directory}/bgpd.pid"))
    return processes


def start_evpnd(place, name, what, router_id, neighbors, vnis=(), clients=None, with_zebra=True, more=()):
    directory = os.path.join(place.directory, what)
    os.makedirs(directory, exist_ok=True)
    lines = ["[router]", f"asn = {ASN}", f'router-id = "{router_id}"', f'state-directory = "{directory}"']
    lines += [f'vtep = "{router_id}"'] if vnis else []
    lines += ["[control]", f'socket = "{directory}/evpnd.sock"', *more]
    for address, passive in neighbors:
        lines += ["[[neighbor]]", f'address = "{address}"', "connect-retry = 1"]
        lines += ["passive = true"] if passive else []
        lines += ["route-reflector-client = true"] if clients else []
    if clients:
        lines += ["[[neighbor]]", f'listen-range = "{clients}"', "route-reflector-client = true"]
    if vnis:
        lines += ["[[vni]]", f'ids = "{vnis[0]}-{vnis[-1]}"' if len(vnis) > 1 else f"id = {vnis[0]}"]
    # FRR has no such limits; here one port stands for a whole host.
    lines += ["[limits]", "local-macs-per-vni = 1000000", "local-macs-per-port = 1000000"]
    config = write(f"{directory}/evpnd.toml", "\n".join(lines) + "\n")
    return [place.start(name, evpnd_binary(), "--config", config)]


def start_evpnd_by_group(*arguments, **options):
    """evpnd whose rows name nexthop groups."""
    return start_evpnd(*arguments, **options, more=["[vxlan]", "nexthop-groups = true"])


def start_frr_graceful(*arguments, **options):
    """FRR with graceful restart."""
    return start_frr(*arguments, **options, graceful=True)


STARTERS = {"frr": start_frr, "frr-gr": start_frr_graceful, "evpnd": start_evpnd, "evpnd-by-group": start_evpnd_by_group}


def require(who, daemons):
    """Ends the script `who` in words where it cannot run."""
    if os.geteuid():
        sys.exit(f"{who}: run it as root: it makes network namespaces")
    unknown = set(daemons) - set(STARTERS)
    if unknown:
        sys.exit(f"{who}: no daemon {', '.join(sorted(unknown))}: there are {', '.join(STARTERS)}")
    needed = [(loadgen_binary(), "cargo build --release --example loadgen")]
    needed += [(BGPD, "install the package frr")] if any(daemon.startswith("frr") for daemon in daemons) else []
    needed += [(evpnd_binary(), "cargo build --release")] if any(daemon.startswith("evpnd") for daemon in daemons) else []
    for path, remedy in needed:
        if not os.path.exists(path):
            sys.exit(f"{who}: {path} is missing: {remedy}")


def describe(runs):
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    frr = subprocess.run([BGPD, "--version"], capture_output=True, text=True).stdout.split("\n")[0].replace("bgpd version ", "")
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return {"date": datetime.date.today().isoformat(), "commit": commit, "cpu": cpu, "cpus": os.cpu_count(),
            "kernel": platform.release(), "frr": frr, "runs": runs}


def headline(machine):
    return (f"{machine['date']}, commit {machine['commit']}, {machine['cpu']} ({machine['cpus']} CPUs), Linux {machine['kernel']}, "
            f"FRR {machine['frr']}")
