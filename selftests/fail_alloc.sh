#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Direct I/O while an allocation fails, any one of them: there is no memory, or the
# data is right; nothing stays pinned, mapped or allocated. On the disks phyr-nvme,
# phyr-pi and phyr-virtio-blk, as many as there are. These are OVERWRITTEN, see
# lib.sh. What stays allocated is told by memory allocation profiling, if that is on.

# The cases are run by name.
# shellcheck disable=SC2317
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ../kselftest/ktap_helpers.sh

debugfs=/sys/kernel/debug
kinds="failslab fail_page_alloc"
layouts="scatter plain folios huge fresh fixed"

# only_in FUNCTION...: only what is called from there fails, or anything if none is
# named. What DMA-API debugging allocates for itself does not: it would turn itself off.
only_in()
{
	# shellcheck disable=SC2046 # a list of words
	set -- $(code_of "$@") $(code_of add_dma_entry dma_entry_alloc \
		debug_dma_mapping_error debug_dma_map_phys debug_dma_map_sg \
		debug_dma_alloc_coherent debug_dma_free_pages)
	[ "$2" != 0 ] || set -- 0 0xffffffffffffffff "$3" "$4"
	for kind in $kinds; do
		echo "$1" >"$debugfs/$kind"/require-start
		echo "$2" >"$debugfs/$kind"/require-end
		echo "$3" >"$debugfs/$kind"/reject-start
		echo "$4" >"$debugfs/$kind"/reject-end
	done
}

# allocated: the calls that have not been undone, for each place in what is tested.
allocated()
{
	awk '$3 ~ "^(block|io_uring|kernel/dma|drivers/(block|iommu|nvme|virtio))/" ||
		$3 ~ "^(lib/(phyr|iov_iter)|mm/(gup|dmapool|mempool))[.]c" {
			n[$3 "," $4] += $2 }
		END { for (place in n) print place, n[place] }' /proc/allocinfo
}

nothing_grown()
{
	! allocated | awk 'NR == FNR { n[$1] = $2; next }
		$2 > n[$1] { print $1, "+" $2 - n[$1] }' "$tmp/allocated" - | grep . >"$tmp/grown"
}

# grown: where more is allocated than before. That may be late, by RCU and the like.
grown()
{
	within 3 nothing_grown
	cat "$tmp/grown"
}

# sweep LAYOUT [FUNCTION...]: all failures on one disk, by one CPU.
sweep()
{
	layout=$1
	shift
	only_in "$@"
	taskset 1 ./phyr_fail "$layout" "$DEV" "$mib" "$function" 2>&1
}

# case_layout LAYOUT: whatever fails.
case_layout()
{
	why=$(sweep "$1") || return
	ktap_print_msg "$why"
	[ "${why#failed=0 }" = "$why" ]
}

# In a second round no more is allocated: the first has filled all caches.
case_memory()
{
	why="no memory allocation profiling"
	[ "$(cat /proc/sys/vm/mem_profiling 2>/dev/null)" = 1 ] || return 4
	allocated >"$tmp/allocated"
	why="/proc/allocinfo has nothing of what is tested"
	[ -s "$tmp/allocated" ] || return
	for layout in $layouts; do
		why=$(sweep "$layout") || return
	done
	why="still allocated: $(grown)"
	[ ! -s "$tmp/grown" ]
}

# case_in LAYOUT FUNCTION: failures in what the function calls, of which there are some.
case_in()
{
	why="no function $2"
	[ "$(code_of "$2")" != "0 0" ] || return
	why=$(sweep "$@") || return
	[ "${why#failed=0 }" = "$why" ]
}

# The driver starts anew, with pools that are empty.
rebind()
{
	driver=$(readlink -f "$function/driver")
	echo "${function##*/}" >"$driver/unbind"
	echo "${function##*/}" >"$driver/bind"
	within 10 find_disk
}

# case_pool LAYOUT: there is no page for a pool, and then there is.
case_pool()
{
	rebind
	why="no disk any more"
	[ -n "$disk" ] || return
	case_in "$1" dma_pool_alloc
}

case_debug()
{
	dma_api=/sys/kernel/debug/dma-api
	[ -e "$dma_api" ] || skip "no CONFIG_DMA_API_DEBUG" || return
	why="$(cat "$dma_api/error_count") errors, disabled: $(cat "$dma_api/disabled")"
	[ "$why" = "0 errors, disabled: N" ]
}

# The functions to look into: where memory is pinned, and mapped, if that takes memory.
functions_of()
{
	echo fresh:iov_iter_extract_bvecs
	case $1 in
	phyr-pi/*) echo plain:bio_integrity_prep ;;
	esac
	[ "$PHYR_MODE" = strict ] || return 0
	case $1 in
	phyr-virtio-blk) echo scatter:iommu_dma_map_sg ;;
	phyr-pi/*) echo scatter:dma_map_phyr ;;
	esac
}

# What NVMe needs a list for: of PRPs where segments are short. An IOMMU makes a long
# one of all of them, else there are lists of SGL entries as well.
pools_of()
{
	case $1 in
	phyr-nvme | phyr-pi/*) echo few ;;
	*) return 0 ;;
	esac
	[ "$PHYR_MODE" = strict ] || echo scatter folios
}

# The disk of the role, with all of a layout in one request.
find_disk()
{
	disk=$(phyr_find "$role")
	[ -n "$disk" ] || return
	DEV=/dev/$disk
	cat "/sys/block/$disk/queue/max_hw_sectors_kb" >"/sys/block/$disk/queue/max_sectors_kb"
}

ktap_print_header
if [ ! -e $debugfs/failslab/require-start ] || [ ! -e $debugfs/fail_page_alloc/require-start ]; then
	ktap_skip_all "no FAILSLAB, FAIL_PAGE_ALLOC or FAULT_INJECTION_STACKTRACE_FILTER"
	exit "$KSFT_SKIP"
fi
tmp=$(mktemp -d)
folios=/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled
folios_before=$(sed 's/.*\[\(.*\)\].*/\1/' $folios)
echo madvise >$folios
trap 'only_in; echo "$folios_before" >$folios; rm -rf "$tmp"' EXIT
roles=
cases=2
for role in phyr-nvme phyr-pi/512 phyr-virtio-blk; do
	[ -n "$(phyr_find $role)" ] || continue
	roles="$roles $role"
	# shellcheck disable=SC2046,SC2086 # lists of words
	cases=$((cases + 1 + $(echo $layouts $(functions_of $role) $(pools_of $role) | wc -w)))
done
ktap_set_plan $cases
pins_before=$(pins)
for role in $roles; do
	find_disk
	# the function that has the DMA pools, some steps up from the disk
	function=$(readlink -f "/sys/block/$disk/device")
	until [ -e "$function/vendor" ] && [ -e "$function/class" ]; do
		function=$(dirname "$function")
	done
	for layout in $layouts; do
		run "$role: $layout, any allocation fails" case_layout "$layout"
	done
	run "$role: nothing stays allocated" case_memory
	for place in $(functions_of "$role"); do
		run "$role: ${place%:*}, one in ${place#*:} fails" \
			case_in "${place%:*}" "${place#*:}"
	done
	for layout in $(pools_of "$role"); do
		run "$role: $layout, no page for a pool" case_pool "$layout"
	done
done
run "no page stays pinned" case_pins
run "DMA-API debugging has seen all of it" case_debug
ktap_finished
