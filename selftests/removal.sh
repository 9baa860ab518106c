#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# NVMe disks that are gone from one moment to the next, in the midst of I/O: that fails,
# nothing hangs, nothing stays pinned or mapped, and another disk goes on. The disks are
# phyr-gone-1, phyr-gone-2 and so on, each below a PCIe port of its own that has a power
# controller, and phyr-nvme. These are OVERWRITTEN, see lib.sh. With QEMU:
#	-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off
#	-device pcie-root-port,id=p1,chassis=1,slot=1
#	-device nvme,bus=p1,drive=d,serial=phyr-gone-1
#	-accel tcg,thread=single
# With more threads QEMU 7.2 writes to what it has freed, if another CPU is about to write
# to a register of the disk when that goes.

# The cases are run by name.
# shellcheck disable=SC2317
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ../kselftest/ktap_helpers.sh

# fio_at DISK NAME JOBS: in the background
fio_at()
{
	DEV=/dev/$1 RUNTIME=$((120 * PHYR_SLOW)) fio --eta=never --output-format=terse \
		--terse-version=3 --allow_file_create=0 --output="$tmp/$2.out" "$3.fio" \
		>"$tmp/$2.log" 2>&1 &
}

# Pages without a neighbour, until it fails; says how. There is a file "once" from when
# all was well once.
scattered()
{
	while ./phyr_vec scatter 0 $((48 * mib)) $((4 * mib)) "$tmp/from" "/dev/$gone"; do
		: >"$tmp/once"
	done
} 2>"$tmp/scattered"

# What a disk that is gone may end in, and its device node with it.
clean_errors="Input/output error|No such device|No such device or address"
clean_errors="$clean_errors|No space left on device|No such file or directory|short"

# ios: requests that the disk has done.
ios()
{
	awk '{ print $1 + $5 }' "/sys/block/$gone/stat"
}

# The first request of any of fio's jobs is done.
fio_began()
{
	[ "$(ios)" -ne "$before" ]
}

# remove N: the disk, after so many tenths of a second of I/O, or more if all is slow.
remove()
{
	gone=$(phyr_find "phyr-gone-$1")
	function=$(readlink -f "/sys/block/$gone/device/device")
	address=$(basename "$function")
	tenths=$(($1 * PHYR_SLOW))
	ktap_print_msg "removed $gone, $address, after $tenths tenths of a second of I/O"
	rm -f "$tmp/once"
	before=$(ios)
	fio_at "$gone" gone removal
	jobs=$!
	# what does I/O takes its time to start
	within 30 fio_began
	requests=$(($(ios) - before))
	scattered &
	scatter=$!
	within 30 [ -e "$tmp/once" ]
	sleep "$((tenths / 10)).$((tenths % 10))"
	early=$(grep -h 'fio: ' "$tmp/gone.log"; cat "$tmp/scattered")
	./phyr_eject "$(dirname "$function")" 2>"$tmp/eject"
	ended $jobs 60 && ended $scatter 10
	hangs=$?
}

is_gone()
{
	[ ! -e "/sys/block/$gone" ] && [ ! -e "$function" ]
}

# It went while there was I/O, of which nothing had failed, and without a word before.
case_gone()
{
	why="$requests requests of fio's when phyr_vec began, $(ls "$tmp")"
	why="$why, $(cat "$tmp/eject")$early"
	[ "$requests" -gt 0 ] && [ -e "$tmp/once" ] && [ ! -s "$tmp/eject" ] || return
	[ -z "$early" ] || return
	why="it is still there"
	within 30 is_gone
}

# Of fio's jobs, each of which has read or written before, and of phyr_vec: no such
# device, or no I/O with it, or no room on it.
case_errors()
{
	why="it hangs"
	[ "$hangs" -eq 0 ] || return
	errors=$(awk -F';' '$1 == 3 && $6 + $47 > 0 { print $5 }' "$tmp/gone.out" |
		sort | tr '\n' ' ')
	why="errors of the jobs: $errors, $(cat "$tmp/scattered")"
	ktap_print_msg "$why"
	[ "$(echo "$errors" | wc -w)" -eq 4 ] || return
	for error in $errors; do
		case $error in
		5 | 6 | 19 | 28) ;;
		*) return 1 ;;
		esac
	done
	grep -qE ": ($clean_errors)\$" "$tmp/scattered"
}

# DMA-API debugging has no mapping of it any more.
case_unmapped()
{
	dump=/sys/kernel/debug/dma-api/dump
	[ -e "$dump" ] || skip "no CONFIG_DMA_API_DEBUG" || return
	why=$(grep -c "$address" "$dump")
	[ "$why" -eq 0 ]
}

case_beside()
{
	fio_at "$disk" beside progress
	why="it hangs"
	ended $! 60 || return
	jobs_ok beside.small:512 beside.large:8192 beside.merged:1024
}

ktap_print_header
disk=$(phyr_find phyr-nvme)
number=0
while [ -n "$(phyr_find phyr-gone-$((number + 1)))" ]; do
	number=$((number + 1))
done
if [ -z "$disk" ] || [ $number -eq 0 ]; then
	ktap_skip_all "no disk phyr-gone-1 to lose, or no disk phyr-nvme beside it"
	exit "$KSFT_SKIP"
fi
tmp=$(mktemp -d)
huge=/sys/kernel/mm/transparent_hugepage/enabled
huge_before=$(sed 's/.*\[\(.*\)\].*/\1/' $huge)
echo always >$huge
trap 'echo "$huge_before" >$huge; rm -rf "$tmp"' EXIT
head -c $((52 * mib)) /dev/zero >"$tmp/from"
ktap_set_plan $((5 * number))
n=0
while [ $n -lt $number ]; do
	n=$((n + 1))
	pins_before=$(pins)
	remove $n
	run "disk $n: gone during I/O" case_gone
	run "disk $n: I/O fails, and ends" case_errors
	run "disk $n: nothing of it stays mapped" case_unmapped
	run "disk $n: I/O of another disk" case_beside
	run "disk $n: no page stays pinned" case_pins
done
ktap_finished
