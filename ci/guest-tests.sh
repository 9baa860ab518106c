#!/bin/bash
# Run the selftests and the built-in KUnit suites in the guest, one boot for each
# kind of DMA: all of them in the modes of $full, in the others those that see a
# difference (ci/guest.sh says which, and what the modes are). The results are
# build/log/ktap/guest-MODE.ktap, for kunit.py parse.
#   ci/guest-tests.sh [--list] [--debug kasan|kcsan|gcov] [MODE...]
# Without MODE, those of x86: ci/arm64.sh has the others. --debug: with the kernel
# build/guest-kasan, and so on; guest-kasan-MODE.ktap. --list: says what the modes are.
# Wants a kernel and an initramfs: ci/build.sh and ci/initramfs.sh make them.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

all=(strict passthrough swiotlb lazy nocm scalable amd virtio high mm movable vfio
	p2p p2p-refused p2p-iommu p2p-amd progress progress-pt faults faults-pt xen)
if [[ ${1-} == --list ]]; then
	say "${all[*]}"
	exit
fi
name=guest debug=()
if [[ ${1-} == --debug ]]; then
	debug=("$1" "$2") name=guest-$2
	shift 2
fi
full='strict passthrough swiotlb'
modes=("$@")
(($#)) || modes=("${all[@]}")
# Mainline's KASAN can't start in a PV guest of Xen: xen_start_kernel() and all that it
# calls is compiled to look at the shadow memory, which kasan_early_init() maps, which
# only x86_64_start_kernel() calls, where a PV guest never comes.
if ((!$#)) && [[ ${debug[1]-} == kasan ]]; then
	for mode in "${!modes[@]}"; do
		[[ ${modes[mode]} != xen ]] || unset "modes[mode]"
	done
fi
mkdir -p "$ktap"

# skipped MODE: what was skipped although it can be had here. Not to be had are
# AHCI behind QEMU's VT-d (see ci/guest.sh), more than one metadata segment on
# QEMU's NVMe, half pages where a block is a page, parts of a block where the disk
# has none, and of KUnit what a device can't
# do by its nature: see physical addresses where everything bounces, bounce where
# there is no swiotlb, or be behind an IOMMU that is not on.
skipped() {
	local fine='several bios in one request|256 scattered half pages in one call'
	fine+='|read that faults in a block'
	local no_pool='no swiotlb that the test can use'
	local forced='DMA addresses are not physical ones|everything bounces: swiotlb=force'
	local no_iommu='is not behind an IOMMU|no PCI function without a driver is behind an IOMMU'
	local no_p2p='no peer-to-peer memory'
	local no_bounce='the device (reaches all of the memory, or none|has no need to bounce)'
	fine+='|this device (has no need to bounce|only has addresses for memory)'
	# x86 sees to its caches on its own; what can't be mapped QEMU says to virtio-iommu
	# later than Linux asks
	[[ $1 == arm64* ]] || fine+='|no cache maintenance, or no kprobes to see it with'
	[[ $1 != virtio ]] || fine+='|this IOMMU (takes any address|maps what is mapped)'
	# of iommufd without the objects for virtual machines; and what gup_range can't
	# migrate: a page from boot, zero pages, and a half of what may be one folio
	fine+='|Skipping test for variant no_viommu'
	fine+='|gup_range\.(hugetlb_gigantic|zero_page|huge_zero_page)\.longterm_(movable|busy)'
	fine+='|gup_range\.file_(shared|private)\.longterm_busy'
	# of the disks and the hypervisor that p2p.sh, progress.sh, removal.sh and xen.sh have
	# modes of their own for
	[[ " $full " != *" $1 "* ]] || fine+='|no disk phyr-(cmb|swap|gone-1)|no PV guest of Xen'
	# of what kernel-config/profile is for, which the test kernel is without
	fine+='|no memory allocation profiling'
	# KCSAN models weak memory only when it is strict
	[[ ${debug[1]-} != kcsan ]] || fine+='|test_barrier_nothreads # SKIP Test requires: reorder_access'
	case $1 in
	# memmap= is x86's
	arm64*)
		fine+="|$no_bounce|no memory without struct pages"
		[[ $1 != *-pt ]] || fine+="|$no_iommu"
		;;
	strict) fine+="|ahci\.sh|no disk phyr-ahci|$no_pool|$no_bounce" ;;
	passthrough) fine+="|$no_pool|$no_iommu|$no_bounce" ;;
	swiotlb) fine+="|$forced|$no_iommu|the device reaches all of the memory, or none" ;;
	lazy) fine+="|$forced|$no_bounce|IOVA that was freed waits for a flush" ;;
	high) fine+="|$no_iommu" no_p2p='' ;;
	xen) ;;
	*) fine+="|$no_pool|$no_bounce" ;;
	esac
	fine+=${no_p2p:+|$no_p2p}
	# the line that sums up the parameters of a case has no reason
	grep -E '^ *(ok|not ok|1\.\.0) .*# SKIP [^ ]' | grep -vE "$fine"
}

# What the other IOMMU drivers say of an access to memory that is not mapped.
faults() {
	grep -E 'AMD-Vi: .*(Event logged|IO_PAGE_FAULT|COMMAND_HARDWARE_ERROR|timed out)|virtio_iommu .*(fault|error|failed)' "$1"
}

# The tests of vfio have edu reach for memory that is not mapped, in the third GiB.
without_wanted_faults() {
	if [[ $1 != vfio ]]; then
		cat
		return
	fi
	grep -vE 'DMAR: (DRHD: handling fault status|\[DMA (Read|Write) NO_PASID\] Request device \[0000:00:10\.0\] fault addr 0x[89ab][0-9a-f]{7} )' || true
}

# I/O errors are wanted of those disks that removal.sh has said it removes.
without_removed_disks() {
	local names
	names=$(sed -n 's/.*# removed \(nvme[0-9]*n1\), .*/\1/p' "$1.out" | paste -sd '|')
	grep -vE "I/O error(, dev| on dev) (${names:-none})," || true
}

# The functions of the .c files that the series changes, and those it adds to headers, by
# the lines of the source that start one: an object also has, static, the inline functions
# of all headers. What macros make is left out; who calls it is in the report as well.
functions() {
	{
		lgit diff --no-renames --diff-filter=AM --name-only "$(base_commit)..HEAD" -- '*.c' ':!tools' |
			(cd "$linux" && xargs cat)
		lgit diff "$(base_commit)..HEAD" -- '*.h' ':!tools' | sed -n 's/^+//p'
	} | sed -nE '/;$/!s/^([A-Za-z_][^(;=]*[ *])?([A-Za-z0-9_]+)\(.*/\2/p'
}

# Mainline has data races that nobody has marked yet. One is of the series if its
# report, which lies between two lines of 66 =, names a function of a file that the
# series changes: in its title, or on one of the two stacks. Of the others only the
# title goes: what else was said meanwhile stays. Never of the series is what folio_flags()
# sees, whoever calls it: DEBUG_VM has it look at a word that is the LRU list's as well.
without_other_races() {
	if [[ ${debug[1]-} != kcsan ]]; then
		cat "$1"
		return
	fi
	local ours
	ours=$(functions)
	[[ $ours ]] || die "guest-tests: the series changes no function: look at git diff in $(rel "$linux")"
	awk 'function flush(    i) {
			for (i = 1; i <= held; i++)
				if (keep && !known || hold[i] !~ /BUG: KCSAN:/) print hold[i]
			inside = held = known = 0
		}
		FNR == NR { ours[$1]; next }
		/ ==================================================================\r?$/ {
			if (inside) flush(); else { inside = 1; keep = 0 }
			next
		}
		!inside { print; next }
		/BUG: KCSAN: data-race in (.* \/ )?(const_)?folio_flags([.+ ]|\r?$)/ { known = 1 }
		{ hold[++held] = $0; n = split($0, word, /[^A-Za-z0-9_]+/)
			for (i = 1; i <= n; i++) if (word[i] in ours) keep = 1 }
		END { if (inside) { keep = 1; known = 0; flush() } }' <(say "$ours") "$1"
}

# without_report TITLE END SIGN: of a report that starts with a line like TITLE, ends with
# one like END and has one like SIGN, only the title goes.
without_report() {
	title=$1 end=$2 sign=$3 awk 'function flush(    i) {
			for (i = known ? 2 : 1; i <= held; i++) print hold[i]
			held = known = 0
		}
		$0 ~ ENVIRON["title"] { flush() }
		held || $0 ~ ENVIRON["title"] {
			hold[++held] = $0
			if ($0 ~ ENVIRON["sign"]) known = 1
			if ($0 ~ ENVIRON["end"]) flush()
			next
		}
		{ print }
		END { flush() }'
}

# A WARNING of mainline's scheduler, which the series does not touch: dl_server_timer(),
# the callback of a timer, has update_curr_dl_se() start that timer again if tasks have
# used up the server's time meanwhile, and then moves it, which hrtimer_forward() does
# not like for one that is queued. It takes a callback that is late by tens of
# milliseconds, as CPUs of an emulator are.
without_late_dl_server() {
	without_report 'WARNING: .*kernel/time/hrtimer\.c:[0-9]+ at hrtimer_forward\+' \
		'---\[ end trace' '^\[[^]]*\]  dl_task_timer\+'
}

# And what lockdep says of mainline's pciehp, when the first device is gone by surprise:
# pciehp_unconfigure_device() lets go of reset_lock while it removes the driver, and takes
# it again below pci_rescan_remove_lock, which is otherwise taken below reset_lock.
without_pciehp_locks() {
	without_report 'WARNING: possible circular locking dependency detected' '</TASK>' \
		'\(&ctrl->reset_lock\).*, at: pciehp_unconfigure_device\+'
}

# without_known MODE: of a kernel that checks itself, what mainline is known for goes.
without_known() {
	case ${debug[1]-},$1 in
	,*) cat ;;
	*,faults*) without_late_dl_server | without_pciehp_locks ;;
	*) without_late_dl_server ;;
	esac
}

# assemble LOG STATUS REASON: the guest's results, as one complete KTAP stream.
# A test that was announced and did not come has failed; so has, after them, a
# guest that did not end well, and a kernel log that is not clean.
assemble() {
	local log=$1 status=$2 reason=$3 lines
	tr -d '\r' <"$log.out" | awk '
		# An unfinished nested test would swallow what follows it.
		function flush(    i) { for (i = 1; i <= held; i++) print hold[i]; held = 0 }
		/^# expect/ { for (n = 1; n < NF - 1; n++) name[n] = $(n + 2); n = NF - 2
			print "KTAP version 1"; print "1.." n + 3; next }
		/^    / { sub(/TAP version 13/, "KTAP version 1"); hold[++held] = $0; next }
		/^(not )?ok / { flush(); done++; print }
		END {
			if (!n) { print "KTAP version 1"; print "1..3" }
			for (i = done + 1; i <= n; i++) print "not ok " i " " name[i] " (did not end)"
		}'
	local n
	n=$(sed -n 's/^# expect//p' "$log.out" | wc -w)
	if ((status)); then
		tail -n 10 "$log" | tr -d '\r' | sed 's/^/# console: /'
		printf '# %s\nnot ok %d guest runs to its end\n' "$reason" $((n + 1))
	else
		printf 'ok %d guest runs to its end\n' $((n + 1))
	fi
	without_other_races "$log" | without_known "$4" >"$log.own"
	lines=$({ bad_lines "$log.own" || faults "$log" || true; } | without_wanted_faults "$4" |
		without_removed_disks "$log")
	if [[ $lines ]]; then
		printf '%s\n' "$lines" | head -n 20 | sed 's/^/# /'
		printf 'not ok %d kernel log is clean\n' $((n + 2))
	else
		printf 'ok %d kernel log is clean\n' $((n + 2))
	fi
	if lines=$(tr -d '\r' <"$log.out" | skipped "$4"); then
		printf '%s\n' "$lines" | head -n 20 | sed 's/^ */# /'
		printf 'not ok %d nothing is skipped that can be had\n' $((n + 3))
	else
		printf 'ok %d nothing is skipped that can be had\n' $((n + 3))
	fi
}

# run_mode MODE: one guest, and its results.
run_mode() {
	local mode=$1 log=$logs/$name-$1.log status=0 reason='' start=$SECONDS kernel options
	case $mode in
	arm64*) kernel=$(kernel_image arm64 arm64) ;;
	*) kernel=$(kernel_image x86 "$name") ;;
	esac
	# What an earlier run left is not this run's result.
	: >"$log" && : >"$log.out"
	options=(--mode "$mode" --run tests --timeout 900 "${debug[@]}")
	[[ " $full " == *" $mode "* ]] || options+=(--short)
	[[ $mode != xen ]] || reason=$("$top/ci/xen.sh" 2>&1) || status=$?
	((status)) || reason=$("$top/ci/guest.sh" "${options[@]}" "$kernel" "$log" 2>&1) || status=$?
	assemble "$log" "$status" "${reason##*$'\n'}" "$mode" >"$ktap/$name-$mode.ktap"
	say "  guest: $mode${debug[1]:+ (${debug[1]})}, $((SECONDS - start)) s"
}

# A guest has two CPUs, but seldom has work for both, and up to 6 GiB of memory.
lanes=$(awk -v cpus="$jobs" '/^MemAvailable:/ { n = int($2 / 6 / 2 ^ 20) }
	END { n = n < cpus ? n : cpus; print n < 1 ? 1 : n }' /proc/meminfo)
n=0 broken=0
for mode in "${modes[@]}"; do
	# until a lane is free
	((n < lanes)) || wait -n || broken=1
	n=$((n + 1))
	say "  guest: $mode${debug[1]:+ (${debug[1]})}, $n of ${#modes[@]}"
	run_mode "$mode" &
done
for ((n = n < lanes ? n : lanes; n > 0; n--)); do
	wait -n || broken=1
done
((!broken)) || die "guest-tests: the results of a guest could not be written: look for free space in build/"
