# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Shared by the tests here: real I/O on a real (or emulated) disk, in the shapes
# that a driver's DMA mapping has to get right. fio writes and verifies all data.
#
# The tests OVERWRITE the disk. They only take a disk whose serial number says
# that it is meant for them (phyr-*), or one of scsi_debug. With QEMU, for example:
#	-drive if=none,id=d,file=disk.img,format=raw,discard=unmap
#	-device nvme,drive=d,serial=phyr-nvme
#
# Environment, each optional:
#   PHYR_MODE	 what the disk's DMA has to be: strict, lazy, passthrough, direct,
#		 swiotlb; or noncoherent, which is passthrough for a disk that does not
#		 see the caches of the CPUs
#   PHYR_PROBE	 the function that walks each request of more than one segment
#   PHYR_SLOW	 how many times the usual time anything may take, on a kernel that
#		 checks much

PHYR_PROBE=${PHYR_PROBE:-phyr_iter_fill}
PHYR_SLOW=${PHYR_SLOW:-1}

kprobe_events=/sys/kernel/tracing/kprobe_events

# probe_start NAME FUNCTION [ARGS]: counts the calls of FUNCTION from now on. ARGS is
# what is known of each, as Documentation/trace/kprobetrace.rst has it.
probe_start()
{
	probe_stop "$1"
	{ echo "p:phyr/$1 $2 $3" >>$kprobe_events &&
		echo 1 >"/sys/kernel/tracing/events/phyr/$1/enable"; } 2>/dev/null ||
		ktap_exit_fail_msg "cannot count the calls of $2: no such function, or no kprobes"
}

probe_stop()
{
	[ -e "/sys/kernel/tracing/events/phyr/$1" ] || return 0
	# what has none does not take this
	echo '!hist:keys=size' 2>/dev/null >"/sys/kernel/tracing/events/phyr/$1/trigger"
	echo 0 >"/sys/kernel/tracing/events/phyr/$1/enable"
	echo "-:phyr/$1" >>$kprobe_events
}

# probe_hits NAME: the number of calls since probe_start.
probe_hits()
{
	awk -v name="$1" '$1 == name { n = $2 } END { print n + 0 }' \
		/sys/kernel/tracing/kprobe_profile
}

# code_of FUNCTION...: from where the first of them starts to where the last one ends.
code_of()
{
	sort /proc/kallsyms | awk -v names=" $* " '
		tolower($2) != "t" { next }
		last != "" && $1 != last { end = $1; last = "" }
		index(names, " " $3 " ") { start = start ? start : $1; last = $1 }
		END { print start ? "0x" start " 0x" end : "0 0" }'
}

# ended PID SECONDS: has it ended, or does so soon?
ended()
{
	left=$(($2 * PHYR_SLOW))
	while kill -0 "$1" 2>/dev/null; do
		[ "$left" -gt 0 ] || return
		left=$((left - 1))
		sleep 1
	done
}

# within SECONDS COMMAND...: is that true by then?
within()
{
	read -r now _ </proc/uptime
	last=$((${now%.*} + $1 * PHYR_SLOW))
	shift
	until "$@"; do
		read -r now _ </proc/uptime
		[ "${now%.*}" -lt "$last" ] || return
		sleep 0.1
	done
}

# phyr_find ROLE: the name of the disk with that serial number, or nothing.
phyr_find()
{
	for dir in /sys/block/*; do
		[ -e "$dir/device" ] || continue
		case $(phyr_serial "$dir") in
		"$1" | "$1"/*) basename "$dir"; return ;;
		esac
	done
}

# SCSI disks have it after the four bytes of a page header. The namespaces of one
# NVMe controller share its number: the size of their blocks tells them apart.
phyr_serial()
{
	if grep -qs '^scsi_debug' "$1/device/model"; then
		echo scsi_debug
		return
	fi
	{
		cat "$1/serial" || cat "$1/device/serial" ||
			tail -c +5 "$1/device/vpd_pg80"
	} 2>/dev/null | tr -cd 'a-z0-9-'
	echo "/$(cat "$1/queue/logical_block_size")"
}

# phyr_group DISK: the domain type of the IOMMU group that its device is in.
phyr_group()
{
	dir=$(readlink -f "/sys/block/$1/device")
	while [ "$dir" != / ]; do
		if [ -e "$dir/iommu_group" ]; then
			cat "$dir/iommu_group/type"
			return
		fi
		dir=$(dirname "$dir")
	done
	echo none
}

# phyr_dma DISK: what its DMA is, after some I/O: without an IOMMU group the
# probe "bounce" tells.
phyr_dma()
{
	case $(phyr_group "$1") in
	DMA | DMA-FQ) echo iommu ;;
	identity) echo direct ;;
	none) [ "$(probe_hits bounce)" -gt 0 ] && echo swiotlb || echo direct ;;
	*) phyr_group "$1" ;;
	esac
}

mib=$((1024 * 1024))

# stat_of FIELD: a counter of the disk, see Documentation/block/stat.rst.
stat_of()
{
	awk -v n="$1" '{ print $n }' "/sys/block/$disk/stat"
}

queue()
{
	cat "/sys/block/$disk/queue/$1"
}

# longest_bounce: in mode noncoherent, how long the longest range was that bounced. One
# that may be a small kmalloc(), of less than twice ARCH_DMA_MINALIGN, has to.
longest_bounce()
{
	sed -n 's/^{ size: *\([0-9]*\) .*/\1/p' \
		/sys/kernel/tracing/events/phyr/bounce/hist | sort -n | tail -n 1 | grep . || echo 0
}

# The counters that tell whether a shape was what it says.
count()
{
	echo "walks=$(probe_hits walk) bounces=$(probe_hits bounce)" \
		"integrity=$(probe_hits integrity) merges=$(stat_of 6)" \
		"discards=$(stat_of 12) flushes=$(stat_of 16)"
}

# counted NAME: how often since before the first job.
counted()
{
	tr ' ' '\n' <"$tmp/counts" | awk -F= -v name="$1" '
		$1 == name && seen++ { n = $2 - first }
		$1 == name && seen == 1 { first = $2 }
		END { print n + 0 }'
}

# fio_jobs NAME: runs NAME.fio. Its exit status says nothing that the results of
# the single jobs do not say.
fio_jobs()
{
	fio --eta=never --output-format=terse --terse-version=3 --allow_file_create=0 \
		--output="$tmp/$1.out" "$1.fio" >"$tmp/$1.log" 2>&1
}

# jobs_ok FILE.JOB:KIB...: whether these jobs ended well and read back, and so
# verified, that much each. Terse output: name, error and KiB read.
jobs_ok()
{
	for want in "$@"; do
		file=${want%%.*}
		job=${want#*.}
		got=$(awk -F';' -v job="${job%:*}" \
			'$3 == job { print "error " $5 ", " $6 " KiB" }' \
			"$tmp/$file.out")
		[ "$got" != "error 0, ${job#*:} KiB" ] || continue
		why="$want: ${got:-no result}"
		grep -h 'verify:\|fio: ' "$tmp/$file.log" "$tmp/$file.out" |
			sed 's/^/# /' | head -n 5
		return 1
	done
}

# through LAYOUT POS UNALIGNED: 4 MiB of the file "from" to the disk, and from
# there to the file "to", through the buffers of phyr_vec.
through()
{
	./phyr_vec "$1" "$3" "$(($2 * mib))" $((4 * mib)) "$tmp/from" "$DEV" &&
		./phyr_vec "$1" "$3" "$(($2 * mib))" $((4 * mib)) "$DEV" "$tmp/to"
} 2>"$tmp/$1.log"

# As many hugetlb pages as the test needs, for as long as it needs them.
through_hugetlb()
{
	pages=/proc/sys/vm/nr_hugepages
	before=$(cat $pages)
	echo $((before + 1)) >$pages
	through hugetlb "$@"
	echo "$before" >$pages
}

# Changes one byte in the area of the job "detect".
change_byte()
{
	dd if="$DEV" of="$tmp/block" bs=4k skip=$((30 * 256 + 20)) count=1 iflag=direct
	byte=$(od -An -tu1 -j 1000 -N 1 "$tmp/block")
	printf '%b' "\\0$(printf %o $((byte ^ 255)))" |
		dd of="$tmp/block" bs=1 seek=1000 conv=notrunc
	dd if="$tmp/block" of="$DEV" bs=4k seek=$((30 * 256 + 20)) count=1 oflag=direct
} >"$tmp/change.log" 2>&1

# All I/O is done here, in two runs of fio, whose start takes longer than the
# I/O where the machine is emulated. The disk is wiped first: what another run
# has left there must not be taken for the data of this one.
do_io()
{
	dd if=/dev/zero of="$DEV" bs=1M count=52 oflag=direct 2>"$tmp/wipe.log" ||
		return
	truncate -s 52M "$tmp/from"
	truncate -s 52M "$tmp/to"

	count >"$tmp/counts"
	fio_jobs shapes
	count >>"$tmp/counts"

	through plain 32 "$UNALIGNED"
	walks=$(probe_hits walk)
	through scatter 36 0
	# four calls to write, and four to read, each of one request or more
	[ "$(probe_hits walk)" -ge $((walks + 8)) ] ||
		echo "not every request was walked" >>"$tmp/scatter.log"
	[ "$BLOCK" -gt 2048 ] || through gaps 40 "$UNALIGNED"
	through thp 44 0
	through_hugetlb 48 0
	[ "$UNALIGNED" -ge "$BLOCK" ] ||
		./phyr_torn "$DEV" "$BLOCK" "$UNALIGNED" 2>"$tmp/torn.log" ||
		echo "phyr_torn failed" >>"$tmp/torn.log"
	blkdiscard -o $((28 * mib)) -l "$mib" "$DEV" 2>"$tmp/discard.log"
	change_byte
	fio_jobs verify
	return 0
}

# The cases: each looks at what do_io has left. Returns 0, or 1 with the reason
# in $why, or 4 where the disk cannot do it.

# The disk phyr-nvme can do all of it.
skip()
{
	why=$*
	[ "$role" != phyr-nvme ] || [ -z "$PHYR_MODE" ] || return 1
	return 4
}

case_mode()
{
	group=$(phyr_group "$disk")
	bounces=$(counted bounces)
	why="IOMMU group $group, $bounces bounces"
	case $PHYR_MODE in
	strict) [ "$group" = DMA ] ;;
	lazy) [ "$group" = DMA-FQ ] ;;
	passthrough) [ "$group" = identity ] && [ "$bounces" -eq 0 ] ;;
	noncoherent)
		why="$why, of up to $(longest_bounce) B"
		[ "$group" = identity ] && [ "$(longest_bounce)" -lt 256 ]
		;;
	direct) [ "$group" = none ] && [ "$bounces" -eq 0 ] ;;
	swiotlb) [ "$group" = none ] && [ "$bounces" -gt 0 ] ;;
	*) skip "PHYR_MODE is not set: $why" ;;
	esac
}

# case_counted NAME FILE.JOB:KIB...: done, and counted at least once.
case_counted()
{
	name=$1
	shift
	jobs_ok "$@" || return
	why="no $name"
	[ "$(counted "$name")" -gt 0 ]
}

case_merged()
{
	[ "$(cat "/sys/block/$disk/integrity/format")" = none ] ||
		[ "$(queue max_integrity_segments)" -gt 1 ] ||
		skip "the disk takes the protection information of one bio only" ||
		return
	case_counted merges shapes.merged:1024
}

case_integrity()
{
	dir=/sys/block/$disk/integrity
	why="format, write_generate, read_verify: $(cd "$dir" &&
		cat format write_generate read_verify | tr '\n' ' ')"
	[ "${why#*: }" = "T10-DIF-TYPE1-CRC 1 1 " ] &&
		case_counted integrity shapes.merged:1024
}

# case_layout LAYOUT: phyr_vec had nothing to say, fio verified both ways.
case_layout()
{
	why=$(cat "$tmp/$1.log")
	[ -z "$why" ] && jobs_ok "verify.$1-disk:4096" "verify.$1-file:4096"
}

case_gaps()
{
	[ "$BLOCK" -le 2048 ] || skip "a block is larger than half a page" ||
		return
	case_layout gaps
}

case_torn()
{
	[ "$UNALIGNED" -lt "$BLOCK" ] ||
		skip "the disk takes no part of a block" || return
	why=$(cat "$tmp/torn.log")
	[ -z "$why" ]
}

# pins: pages that are pinned now, as all CPUs have counted.
pins()
{
	echo 1 >/proc/sys/vm/stat_refresh
	awk '/^nr_foll_pin_acquired / { n += $2 }
		/^nr_foll_pin_released / { n -= $2 }
		END { print n }' /proc/vmstat
}

case_pins()
{
	why="$(($(pins) - pins_before)) pages stay pinned"
	[ "$(pins)" -eq "$pins_before" ]
}

case_flush()
{
	[ "$(queue write_cache)" = "write back" ] ||
		skip "the disk has no write cache" || return
	case_counted flushes shapes.flush:1024
}

case_trim()
{
	[ "$(queue discard_max_bytes)" -gt 0 ] ||
		skip "the disk cannot discard" || return
	case_counted discards shapes.trim:1024
}

case_discard()
{
	[ "$(queue discard_max_bytes)" -gt 0 ] ||
		skip "the disk cannot discard" || return
	why=$(cat "$tmp/discard.log")
	[ -z "$why" ] && jobs_ok verify.discard-before:1024 \
		verify.discard-after:1024 verify.discard-again:1024
}

case_detect()
{
	why="fio did not report it as what it is"
	grep -qs "crc32c: verify failed at file $DEV offset $((30 * mib + 65536))," \
		"$tmp/verify.out" "$tmp/verify.log"
}

# run DESCRIPTION FUNCTION ARGUMENT...: one case, one line.
run()
{
	description=$1
	shift
	why=
	"$@"
	case $? in
	0) ktap_test_pass "$description" ;;
	4)
		ktap_print_msg "$why"
		ktap_test_skip "$description"
		;;
	*)
		ktap_print_msg "$why"
		ktap_test_fail "$description"
		;;
	esac
}

# phyr_disk_test ROLE [INTEGRITY-FUNCTION]: all of it on one disk.
phyr_disk_test()
{
	. ../kselftest/ktap_helpers.sh
	ktap_print_header

	role=$1
	disk=$(phyr_find "$role")
	if [ -z "$disk" ]; then
		ktap_skip_all "no disk $1"
		exit "$KSFT_SKIP"
	fi
	tmp=$(mktemp -d)
	trap 'probe_stop walk; probe_stop bounce; probe_stop integrity; rm -rf "$tmp"' EXIT

	export DEV="/dev/$disk" TMP="$tmp"
	BLOCK=$(queue logical_block_size)
	UNALIGNED=$(($(queue dma_alignment) + 1))
	export BLOCK UNALIGNED

	plan=22
	[ -z "$2" ] || plan=$((plan + 1))
	[ "$1" != scsi_debug ] || plan=$((plan - 1))
	ktap_set_plan "$plan"
	probe_start walk "$PHYR_PROBE"
	if [ "$PHYR_MODE" = noncoherent ]; then
		# shellcheck disable=SC2016 # not a variable of the shell
		probe_start bounce swiotlb_tbl_map_single 'size=$arg3'
		echo 'hist:keys=size' >/sys/kernel/tracing/events/phyr/bounce/trigger
	else
		probe_start bounce swiotlb_tbl_map_single
	fi
	[ -z "$2" ] || probe_start integrity "$2"
	pins_before=$(pins)
	do_io || ktap_exit_fail_msg "cannot write to $DEV: $(cat "$tmp/wipe.log")"

	# There is no DMA in scsi_debug.
	[ "$1" = scsi_debug ] || run "DMA is ${PHYR_MODE:-as it is}" case_mode
	run "requests are walked by $PHYR_PROBE" case_counted walks
	[ -z "$2" ] || run "protection information, through $2" case_integrity
	run "one block of $BLOCK B" jobs_ok shapes.block:128
	run "4 KiB" jobs_ok shapes.4k:512
	run "64 KiB" jobs_ok shapes.64k:2048
	run "128 KiB" jobs_ok shapes.128k:4096
	run "1 MiB" jobs_ok shapes.1m:4096
	run "2 MiB" jobs_ok shapes.2m:8192
	run "64 KiB, $UNALIGNED B into a page" jobs_ok shapes.unaligned:2048
	run "1 MiB, $UNALIGNED B into a page" case_layout plain
	run "256 scattered pages in one call" case_layout scatter
	run "256 scattered half pages in one call" case_gaps
	run "transparent huge page" case_layout thp
	run "hugetlb page" case_layout hugetlb
	run "io_uring fixed buffers" jobs_ok shapes.fixed:2048
	run "several bios in one request" case_merged
	run "flush" case_flush
	run "trim, then write" case_trim
	run "discard between data" case_discard
	run "read that faults in a block" case_torn
	run "no page stays pinned" case_pins
	run "fio sees a changed byte" case_detect
	ktap_finished
}
