#!/usr/bin/env bash
# In the place of CloudStack's own modifyvxlan-evpn.sh, with its arguments: the KVM agent calls it for each VNI that its first guest
# needs or its last guest left. evpnd makes and removes the device and the bridge. See docs/platforms/cloudstack.md.
#
#   modifyvxlan-evpn.sh -o add|delete -v VNI -p PHYSICAL-INTERFACE -b BRIDGE [-6]
usage() { echo "usage: $0 -o add|delete -v VNI -p PHYSICAL-INTERFACE -b BRIDGE [-6]" >&2; exit 2; }

evpnctl=${EVPNCTL:-/usr/bin/evpnctl}
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
		$evpnctl vni add "$vni" --device "vxlan$vni" --bridge "$bridge" --for "cloudstack:$bridge" --wait 10
		# Without a bridge the guest could not work; with one it can, whatever was complained of.
		ip link show dev "$bridge" >/dev/null 2>&1 || exit 1
		;;
	delete) $evpnctl vni del "$vni" --for "cloudstack:$bridge" ;;
	*) usage ;;
esac
exit 0
