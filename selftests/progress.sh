#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# I/O gets on while memory is used up, and while every allocation fails that the
# NVMe driver and all below it ask for: direct I/O on the disk phyr-nvme, and swap on
# the disk phyr-swap. These are OVERWRITTEN, see lib.sh. Without an IOMMU direct I/O
# that repeats has no such allocation at all, but for those of mempools.

# The cases are run by name.
# shellcheck disable=SC2317
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ../kselftest/ktap_helpers.sh

# What the driver does from a request to a command, and at its end, where the mapping
# goes. Without an IOMMU only the first, and without mempools, which have something
# aside: then nothing is left. At the end of a request the slabs may ask for memory.
functions="nvme_queue_rq nvme_queue_rqs"
spared=mempool_alloc_noprof
if [ "$PHYR_MODE" != passthrough ]; then
	functions="$functions nvme_irq nvme_pci_complete_batch nvme_pci_complete_rq"
	spared=
fi
debugfs=/sys/kernel/debug
often=1000000000

# fail TIMES: no memory any more, or that often, for what is called from there.
fail()
{
	times=$1
	read -r start end spared_start spared_end <"$tmp/code"
	for kind in failslab fail_page_alloc; do
		dir=$debugfs/$kind
		echo "$start" >$dir/require-start
		echo "$end" >$dir/require-end
		echo "$spared_start" >$dir/reject-start
		echo "$spared_end" >$dir/reject-end
		echo N >$dir/ignore-gfp-wait
		echo 0 >$dir/verbose
		echo "$times" >$dir/times
	done
	echo 0 >$debugfs/fail_page_alloc/min-order
	echo 100 >$debugfs/failslab/probability
	echo 100 >$debugfs/fail_page_alloc/probability
}

fail_no_more()
{
	echo 0 >$debugfs/failslab/probability
	echo 0 >$debugfs/fail_page_alloc/probability
}

# failed KIND: how often.
failed()
{
	echo $((times - $(cat $debugfs/"$1"/times)))
}

all_failed()
{
	echo $(($(failed failslab) + $(failed fail_page_alloc)))
}

# vmstat NAME
vmstat()
{
	awk -v name="$1" '$1 == name { print $2 }' /proc/vmstat
}

# direct_io NAME: writes and verifies, once, with results in NAME.out
direct_io()
{
	fio --eta=never --output-format=terse --terse-version=3 --allow_file_create=0 \
		--output="$tmp/$1.out" progress.fio >"$tmp/$1.log" 2>&1
}

direct_io_ok()
{
	jobs_ok "$1.small:512" "$1.large:8192" "$1.merged:1024"
}

# More memory than there is, by 96 MiB: all of it is read again, twice.
swap_io()
{
	size=$(awk '/^MemAvailable:/ { print int($2 / 1024 + 96) }' /proc/meminfo)
	./phyr_swap "$size" 2 2>"$tmp/swap.log" &
	swapper=$!
}

# Direct I/O as often as it takes until the program has ended.
do_swap()
{
	out=$(vmstat pswpout) in=$(vmstat pswpin) runs=0
	swap_io
	while ! ended $swapper 0; do
		direct_io "run" || break
		direct_io_ok "run" || break
		runs=$((runs + 1))
	done
	wait $swapper
	echo $? >"$tmp/swap"
	out=$((($(vmstat pswpout) - out) / 256))
	in=$((($(vmstat pswpin) - in) / 256))
}

# Direct I/O while allocations fail.
try_failing_direct_io()
{
	fail $often
	direct_io during &
	pid=$!
	ended $pid 20
	waits=$?
	fail_no_more
	direct_failed=$(all_failed)
	ended $pid 60
	echo $? >"$tmp/direct"
}

# What is had once is kept, descriptors and IOVA. Where nothing is to be allocated, there
# are a few runs, until as many descriptors were had as are ever in use at a time; and
# where something is, there is but this one.
do_failing_direct_io()
{
	if [ "$PHYR_MODE" != passthrough ]; then
		try_failing_direct_io
		return
	fi
	for _ in 1 2 3 4 5; do
		direct_io before
		try_failing_direct_io
		[ "$direct_failed" -ne 0 ] || return
	done
}

# A discard does allocate: it has a page aside for when that fails. Behind an IOMMU it
# waits for IOVA, as long as that fails.
do_failing_discard()
{
	if [ "$PHYR_MODE" = passthrough ]; then
		fail $often
	else
		fail 1000
	fi
	blkdiscard -o $((32 * mib)) -l "$mib" "$DEV" 2>"$tmp/discard.log"
	fail_no_more
	discard_failed=$(all_failed)
}

# written: requests to write that the swap disk has completed.
written()
{
	awk '{ print $5 }' "/sys/block/$swap/stat"
}

# It ends on its own: who ends it may have to be read from swap first. Where nothing
# is to be allocated, memory does not come back before. Else it has to, after a while:
# who is to bring it back may have to be read from swap as well.
do_failing_swap()
{
	out=$(vmstat pswpout)
	swap_io
	while [ "$(vmstat pswpout)" -lt $((out + 4096)) ] && ! ended $swapper 0; do
		sleep 1
	done
	before=$(written)
	if [ "$PHYR_MODE" = passthrough ]; then
		fail $often
		ended $swapper 200
	else
		fail 1000
		ended $swapper 10
	fi
	swap_failed=$(all_failed)
	swap_meanwhile=$(($(written) - before))
	fail_no_more
	ended $swapper 200 && wait $swapper
	echo $? >"$tmp/failing-swap"
}

case_swap()
{
	why="status $(cat "$tmp/swap"): $(cat "$tmp/swap.log")"
	[ "$(cat "$tmp/swap")" -eq 0 ]
}

case_swapped()
{
	why="$swapped_out MiB out, $swapped_in MiB in"
	[ "$swapped_out" -ge 64 ] && [ "$swapped_in" -ge 64 ]
}

case_beside()
{
	why="no run came to its end"
	[ "$runs" -gt 0 ] && direct_io_ok run
}

# Behind an IOMMU there are IOVA and page tables to allocate, else nothing.
case_failed()
{
	why="$1 failures, mode ${PHYR_MODE:-not set}"
	case $PHYR_MODE in
	passthrough) [ "$1" -eq 0 ] ;;
	*) [ "$1" -gt 0 ] ;;
	esac
}

case_failing_direct_io()
{
	why="it hangs"
	[ "$(cat "$tmp/direct")" -eq 0 ] || return
	why="it waits for memory that it should not need"
	[ "$waits" -eq 0 ] || [ "$PHYR_MODE" != passthrough ] || return
	direct_io_ok during
}

case_failing_swap()
{
	why="status $(cat "$tmp/failing-swap"): $(cat "$tmp/swap.log")"
	[ "$(cat "$tmp/failing-swap")" -eq 0 ]
}

case_discard_failed()
{
	why="$discard_failed failures: $(cat "$tmp/discard.log")"
	[ "$discard_failed" -gt 0 ] && [ ! -s "$tmp/discard.log" ]
}

case_swap_meanwhile()
{
	why="nothing was written"
	[ "$swap_meanwhile" -gt 0 ]
}

case_after()
{
	direct_io after
	direct_io_ok after
}

case_killed()
{
	why="$(($(vmstat oom_kill) - killed)) programs"
	[ "$(vmstat oom_kill)" -eq "$killed" ]
}

ktap_print_header
disk=$(phyr_find phyr-nvme)
swap=$(phyr_find phyr-swap)
if [ -z "$disk" ] || [ -z "$swap" ]; then
	ktap_skip_all "no disk phyr-swap to swap to, or no disk phyr-nvme beside it"
	exit "$KSFT_SKIP"
fi
if [ ! -e $debugfs/failslab/require-start ] || [ ! -e $debugfs/fail_page_alloc/require-start ]; then
	ktap_skip_all "no FAILSLAB, FAIL_PAGE_ALLOC or FAULT_INJECTION_STACKTRACE_FILTER"
	exit "$KSFT_SKIP"
fi
export DEV="/dev/$disk"
tmp=$(mktemp -d)
trap 'fail_no_more; swapoff "/dev/$swap" 2>/dev/null; rm -rf "$tmp"' EXIT
ktap_set_plan 12
pins_before=$(pins)
killed=$(vmstat oom_kill)
# shellcheck disable=SC2046,SC2086 # lists of words
echo $(code_of $functions) $(code_of $spared) >"$tmp/code"

do_failing_discard
if [ "$PHYR_MODE" = passthrough ]; then
	discards="a discard goes on while allocations fail"
	swaps="swap goes on while they fail"
else
	discards="a discard goes on after 1000 failures"
	swaps="swap goes on, after up to 1000 failures"
fi
run "$discards" case_discard_failed
do_failing_direct_io
run "direct I/O, allocations that failed" case_failed "$direct_failed"
run "direct I/O is right after that" case_failing_direct_io
[ "$waits" -eq 0 ] || ktap_print_msg "direct I/O has waited until there was memory"
# not before, or who ends the failures may have to be read from it first
mkswap "/dev/$swap" >/dev/null
swapon "/dev/$swap" || ktap_exit_fail_msg "no swap on /dev/$swap"
do_swap
swapped_out=$out
swapped_in=$in
run "memory that is used up goes to swap and comes back" case_swap
run "direct I/O beside it" case_beside
run "at least 64 MiB each way" case_swapped
do_failing_swap
run "$swaps" case_swap_meanwhile
run "swap is right after that" case_failing_swap
ktap_print_msg "$swap_failed allocations of swap failed; $swap_meanwhile requests were done"
run "direct I/O with memory again" case_after
run "no program was killed for memory" case_killed
run "no page stays pinned" case_pins
run "swap is given back" swapoff "/dev/$swap"
ktap_finished
