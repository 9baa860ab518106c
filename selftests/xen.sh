#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# dom0 of Xen, as a PV guest: memory that is contiguous for Linux is in pieces for
# the device, and NVMe is told so instead of having it bounced. The memory of this
# domain is torn to pieces for that, and stays so.
#
# OVERWRITES the disk with serial number phyr-nvme, and a file of the ext4 file
# system that is on phyr-ext4.

# The cases are run by name.
# shellcheck disable=SC2317
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ../kselftest/ktap_helpers.sh

memory=/sys/devices/system/xen_memory/xen_memory0
mib_file=32

has_kib()
{
	[ "$(cat "$memory/info/current_kb")" -eq "$1" ]
}

# balloon KIB: makes this domain that large.
balloon()
{
	echo "$1" >"$memory/target_kb"
	within 60 has_kib "$1"
	why="the domain has $(cat "$memory/info/current_kb") KiB, not $1"
	has_kib "$1"
}

# What comes back is not what has been given away, and in another order.
case_fragment()
{
	kib=$(cat "$memory/info/current_kb")
	kib=$((kib - kib % 4096))
	balloon $((kib / 2)) && balloon "$kib"
}

# probe_split: counts ranges of which there is more than one part.
probe_split()
{
	echo "r:phyr/split xen_swiotlb_map_vec ret=\$retval" 2>/dev/null >>$kprobe_events &&
		echo 'ret > 1 && ret < 0x80000000' >/sys/kernel/tracing/events/phyr/split/filter &&
		echo 1 >/sys/kernel/tracing/events/phyr/split/enable
}

# splits: how many, as far as the buffer of the trace has them.
splits()
{
	grep -c ' split: ' /sys/kernel/tracing/trace
}

# Large folios of the page cache, there and back.
case_folios()
{
	why=$({
		cp "$tmp/from" "$mnt/file" && sync && echo 3 >/proc/sys/vm/drop_caches &&
			cmp "$tmp/from" "$mnt/file"
	} 2>&1)
}

# The same pages as a buffer of user space.
case_direct()
{
	why=$({
		cat "$mnt/file" >/dev/null
		./phyr_vec "file=$mnt/file" 0 0 $((mib_file * mib)) \
			"$tmp/from" "$DEV" &&
			dd if="$DEV" of="$tmp/to" bs=1M count="$mib_file" 2>"$tmp/dd" &&
			cmp "$tmp/from" "$tmp/to"
	} 2>&1)
}

case_grant()
{
	why=$(./phyr_grant "$DEV" $((40 * mib)) 64 2>&1)
}

case_bounces()
{
	why="$(probe_hits bounce) buffers bounced"
	[ "$(probe_hits bounce)" -eq 0 ]
}

case_splits()
{
	why="no range was split"
	[ "$(splits)" -gt 0 ]
}

# used: slots of the swiotlb.
used()
{
	cat /sys/kernel/debug/swiotlb/io_tlb_used
}

case_used()
{
	why="$(used) slots of the swiotlb in use"
	[ "$(used)" -eq 0 ]
}

ktap_print_header
if [ "$(cat /sys/hypervisor/guest_type 2>/dev/null)" != PV ] || [ ! -d $memory ]; then
	ktap_skip_all "no PV guest of Xen"
	exit "$KSFT_SKIP"
fi
disk=$(phyr_find phyr-nvme)
fs=$(phyr_find phyr-ext4)
if [ -z "$disk" ] || [ -z "$fs" ]; then
	ktap_skip_all "no disks phyr-nvme and phyr-ext4"
	exit "$KSFT_SKIP"
fi
export DEV="/dev/$disk"
tmp=$(mktemp -d)
mnt=$tmp/mnt
mkdir "$mnt"
mount -t ext4 "/dev/$fs" "$mnt" || ktap_exit_fail_msg "cannot mount /dev/$fs"
trap 'umount "$mnt"; probe_stop bounce; probe_stop split; rm -rf "$tmp"' EXIT

ktap_set_plan 8
head -c $((mib_file * mib)) /dev/urandom >"$tmp/from"
pins_before=$(pins)
run "memory is torn to pieces" case_fragment
probe_start bounce swiotlb_tbl_map_single
probe_split
run "large folios of a file" case_folios
run "large folios in user space" case_direct
run "granted pages in user space" case_grant
run "ranges are split" case_splits
run "nothing is bounced" case_bounces
run "no slot of the swiotlb stays in use" case_used
run "no page stays pinned" case_pins
ktap_finished
