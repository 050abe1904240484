#!/usr/bin/env bash
# In the place of CloudStack's own modifyvxlan-evpn.sh, with its arguments: the KVM agent calls it before each guest of a network, and when
# the last one has left. evpnd makes and removes the device and the bridge. See docs/platforms/cloudstack.md.
#
#   modifyvxlan-evpn.sh -v VNI -p PHYSICAL-INTERFACE -b BRIDGE -o add|delete [-6]
usage() { echo "usage: $0 -v VNI -p PHYSICAL-INTERFACE -b BRIDGE -o add|delete [-6]" >&2; exit 2; }
complain() { echo "$0: $*" >&2; logger -p daemon.warning -t evpnd -- "$0: $*" 2>/dev/null; }
# The agent serves no other guest while it waits for this one.
evpnctl() { timeout -k 1 20 ${EVPNCTL:-/usr/bin/evpnctl} "$@" 2>&1; }
# Whether a device is there, and another than evpnd has made it.
foreign() { ip -o link show dev "$1" 2>/dev/null | grep -qv 'alias evpnd'; }

op= vni= bridge=
while getopts o:v:p:b:6 option; do
	case $option in
		o) op=$OPTARG ;;
		v) vni=$OPTARG ;;
		p | 6) ;; # the VTEP address of evpnd.toml says both: over which interface and which family
		b) bridge=$OPTARG ;;
		*) usage ;;
	esac
done
[ -n "$op" ] && [ -n "$vni" ] && [ -n "$bridge" ] || usage

case $op in
	add)
		said=$(evpnctl vni add "$vni" --device "vxlan$vni" --bridge "$bridge" --for "cloudstack:$bridge" --wait 10) ||
			complain "VNI $vni: ${said:-no answer from evpnd}"
		# Without a bridge the guest could not work; with one it can, whatever was complained of.
		ip link show dev "$bridge" >/dev/null 2>&1 || exit 1
		;;
	delete)
		said=$(evpnctl vni del "$vni" --for "cloudstack:$bridge") || complain "VNI $vni: ${said:-no answer from evpnd}"
		# What CloudStack's own script had made before this one was put in its place.
		if ! ip -o link show master "$bridge" 2>/dev/null | grep -qv ": vxlan$vni[:@]"; then
			foreign "vxlan$vni" && ip link delete dev "vxlan$vni"
			foreign "$bridge" && ip link delete dev "$bridge"
		fi
		;;
	*) usage ;;
esac
exit 0
