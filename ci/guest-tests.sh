#!/bin/bash
# Run the selftests and the built-in KUnit suites in the guest, one boot for each
# kind of DMA: all of them in the modes of $full, in the others those that see a
# difference (ci/guest.sh says which, and what the modes are). The results are
# build/log/ktap/guest-MODE.ktap, for kunit.py parse.
# Wants a kernel and an initramfs: ci/build.sh and ci/initramfs.sh make them.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

kernel=$build/guest/arch/x86/boot/bzImage
full='strict passthrough swiotlb'
modes=("$@")
(($#)) || modes=(strict passthrough swiotlb lazy nocm scalable amd virtio high mm movable vfio
	p2p p2p-refused p2p-iommu p2p-amd progress progress-pt xen)
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
	fine+='|this device (has no need to bounce|only has addresses for memory)|this IOMMU takes any address'
	# of iommufd without the objects for virtual machines; and what gup_range can't
	# migrate: a page from boot, zero pages, and a half of what may be one folio
	fine+='|Skipping test for variant no_viommu'
	fine+='|gup_range\.(hugetlb_gigantic|zero_page|huge_zero_page)\.longterm_(movable|busy)'
	fine+='|gup_range\.file_(shared|private)\.longterm_busy'
	# of the disks and the hypervisor that p2p.sh, progress.sh and xen.sh have modes of
	# their own for
	[[ " $full " != *" $1 "* ]] || fine+='|no disk phyr-(cmb|swap)|no PV guest of Xen'
	case $1 in
	strict) fine+="|ahci\.sh|no disk phyr-ahci|$no_pool|$no_bounce" ;;
	passthrough) fine+="|$no_pool|$no_iommu|$no_bounce" ;;
	swiotlb) fine+="|$forced|$no_iommu|the device reaches all of the memory, or none" ;;
	lazy) fine+="|$forced|$no_bounce" ;;
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
		printf '# %s\nnot ok %d guest runs to its end\n' "$reason" $((n + 1))
	else
		printf 'ok %d guest runs to its end\n' $((n + 1))
	fi
	lines=$({ bad_lines "$log" || faults "$log" || true; } | without_wanted_faults "$4")
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

for mode in "${modes[@]}"; do
	log=$logs/guest-$mode.log
	status=0
	say "  guest: $mode"
	# What an earlier run left is not this run's result.
	: >"$log" && : >"$log.out"
	options=(--mode "$mode" --run tests --timeout 900)
	[[ " $full " == *" $mode "* ]] || options+=(--short)
	reason=
	[[ $mode != xen ]] || reason=$("$top/ci/xen.sh" 2>&1) || status=$?
	((status)) || reason=$("$top/ci/guest.sh" "${options[@]}" "$kernel" "$log" 2>&1) || status=$?
	assemble "$log" "$status" "${reason##*$'\n'}" "$mode" >"$ktap/guest-$mode.ktap"
done
