#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Direct I/O to and from the memory of a PCI device, which the disk reaches peer to
# peer: the controller memory buffer of an NVMe disk phyr-cmb, which user space
# allocates by way of sysfs. The disks that are to reach it are that one itself,
# phyr-p2p-switch and phyr-p2p-port; with QEMU, for example:
#	-device nvme,drive=d,serial=phyr-cmb,cmb_size_mb=16,bus=a-port-of-a-switch
#	-device nvme,drive=e,serial=phyr-p2p-switch,bus=another-port-of-it
#	-device nvme,drive=f,serial=phyr-p2p-port,bus=another-root-port
#
# The tests OVERWRITE these disks. PHYR_ROUTES in the environment says which of them
# are to be tested, and what way the kernel has to find for each: DISK=bus, bridge or
# refused. QEMU has no switch that routes by address: behind an IOMMU, bus addresses
# are for that to translate, which has no mapping for them. Only the disk that has the
# memory knows its own.

# The cases are run by name.
# shellcheck disable=SC2317
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ../kselftest/ktap_helpers.sh

PHYR_ROUTES=${PHYR_ROUTES:-phyr-cmb=bus phyr-p2p-switch=bus phyr-p2p-port=bridge}
shapes="block 4k 64k 1m unaligned vector vector-many mixed mixed-peer mixed-many"
events=/sys/kernel/tracing/events/phyr/route

# Reads what the kernel has found when it has looked, as enum pci_p2pdma_map_type.
route_start()
{
	probe_stop route
	echo "r:phyr/route pci_p2pdma_map_type type=\$retval:u32" >>$kprobe_events &&
		echo 1 >$events/enable
}

route()
{
	sed -n 's/.* type=//p' /sys/kernel/tracing/trace | sort -u |
		sed 's/^2$/refused/; s/^3$/bus/; s/^4$/bridge/' | tr '\n' ' ' | sed 's/ $//'
}

case_route()
{
	why="found: ${found:-nothing}"
	[ "$found" = "$1" ]
}

# case_shape SHAPE ROUTE: all data right, or an error. A mixed call can get around
# an error: what the first bio leaves goes through the page cache.
case_shape()
{
	why=$(cat "$tmp/$1.out")
	case $2:$(cat "$tmp/$1.status"):$1 in
	bus:0:* | bridge:0:* | refused:2:* | refused:0:mixed) ;;
	*) return 1 ;;
	esac
}

case_available()
{
	why="$(cat "$memory/available") of $available bytes"
	[ "$(cat "$memory/available")" -eq "$available" ]
}

# test_disk SERIAL ROUTE
test_disk()
{
	disk=$(phyr_find "$1")
	echo >/sys/kernel/tracing/trace
	for shape in $shapes; do
		./phyr_p2p "$shape" "$memory/allocate" "/dev/$disk" >"$tmp/$shape.out" 2>&1
		echo $? >"$tmp/$shape.status"
	done
	found=$(route)
	run "$1: the way is $2" case_route "$2"
	for shape in $shapes; do
		run "$1: $shape" case_shape "$shape" "$2"
	done
}

ktap_print_header
plan=2
for pair in $PHYR_ROUTES; do
	plan=$((plan + 11))
	[ -z "$(phyr_find "${pair%=*}")" ] || continue
	ktap_skip_all "no disk ${pair%=*}"
	exit "$KSFT_SKIP"
done
memory=$(readlink -f "/sys/block/$(phyr_find phyr-cmb)/device/device")/p2pmem
if [ ! -e "$memory/allocate" ]; then
	ktap_skip_all "the disk phyr-cmb has no memory, or the kernel no CONFIG_PCI_P2PDMA"
	exit "$KSFT_SKIP"
fi

tmp=$(mktemp -d)
trap 'probe_stop route; rm -rf "$tmp"' EXIT
ktap_set_plan $plan
route_start || ktap_exit_fail_msg "no kprobe on pci_p2pdma_map_type"
available=$(cat "$memory/available")
pins_before=$(pins)
for pair in $PHYR_ROUTES; do
	test_disk "${pair%=*}" "${pair#*=}"
done
run "no page stays pinned" case_pins
run "all memory of the device is free again" case_available
ktap_finished
