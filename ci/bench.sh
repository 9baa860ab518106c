#!/usr/bin/env bash
# What mapping memory for a device costs, in instructions, on the base and with the
# series. QEMU's -icount makes a nanosecond of the guest an instruction, so the
# figures of the module are the same on every run, however busy the machine is.
# Prints "bench: <row> mainline=<n> phyr=<n> ratio=<r> floor=<n>" lines, writes
# build/bench.txt, build/bench.json, docs/bench.svg and the tables of cover-letter.txt,
# and fails if a row misses what ci/bench-contracts asks. The last line is "bench: PASS" or "bench: FAIL why".
#   ci/bench.sh [--check]
# --check: writes to build/ only.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

base_tree=$build/linux-base
fragments=(guest intel-iommu amd-iommu bench)
xen_fragments=(guest intel-iommu amd-iommu bench xen bench-xen)
modes=(vtd amd direct)
disk_image=
check=${1-}
trap 'rm -f "$disk_image"' EXIT

fail() {
	say "bench: FAIL $*"
	exit 1
}

# The base as a second working tree of build/linux.
make_base_tree() {
	if [[ $(git -C "$base_tree" rev-parse HEAD 2>/dev/null) == "$(base_commit)" &&
		-z $(git -C "$base_tree" status --porcelain --untracked-files=no) ]]; then
		return
	fi
	rm -rf "$base_tree"
	lgit worktree prune
	lgit worktree add --force --detach "$base_tree" "$(base_commit)"
}

# module TREE OBJECTS: first what modules and programs are built against, then the
# modules.
module() {
	local make=(make -C "$1" O="$2" ARCH=x86 LOCALVERSION=-phyr CC="ccache gcc" -j"$jobs")
	"${make[@]}" headers modules && "${make[@]}" M="$2/mod" modules
}

# kernel NAME TREE: the kernel and the module for it.
kernel() {
	local out=$build/bench-$1
	PHYR_TREE=$2 "$top/ci/build.sh" "bench-$1" "${fragments[@]}"
	mkdir -p "$out/mod"
	cp "$top/bench/"{Makefile,phyr_bench.c,phyr_pin.c,phyr_pin.h} "$out/mod"
	run_logged "$logs/bench-$1-module.log" module "$2" "$out" ||
		fail "the modules do not build for $1: see $(rel "$logs/bench-$1-module.log")"
}

# xen_kernel NAME TREE: the kernel for Xen's dom0, for which there are no modules. What
# programs are built against is that of the other kernel.
xen_kernel() {
	PHYR_TREE=$2 "$top/ci/build.sh" "bench-xen-$1" "${xen_fragments[@]}"
}

# install_program FILE ROOT: it and the libraries that it names.
install_program() {
	install -D "$1" "$2/bin/${1##*/}"
	ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
		install -D "$library" "$2$library"
	done
}

# initramfs NAME: what the guest runs, with the module of that kernel.
initramfs() {
	local out=$build/bench-$1 root=$build/bench-$1/root tool
	rm -rf "$root"
	mkdir -p "$root"/{bin,dev,proc,sys,tmp}
	install -D "$(command -v busybox)" "$root/bin/busybox"
	install_program "$(command -v fio)" "$root"
	for tool in busy direct_write folio_write fragment pin; do
		gcc -O2 -Wall -Wextra -static -isystem "$out/usr/include" -o "$root/bin/$tool" "$top/bench/$tool.c" ||
			fail "bench/$tool.c does not compile: mend the first error"
	done
	install "$out/mod/"phyr_{bench,pin}.ko "$root"
	install "$top/ci/bench-init" "$root/init"
	(cd "$root" && find . | sort | cpio --quiet -o -H newc) >"$out/initramfs.cpio"
}

# The disks hold nothing and take no time, so that what is measured is the guest. One
# takes long enough for whoever waits for it to be asleep, each time.
# AMD's IOMMU takes PCI slot 3 for itself.
boot() {
	local kernel=$build/bench-$1 mode=$2 log=$3 machine=() append='' disks=() disk
	for disk in d v s a; do
		disks+=(-blockdev "driver=null-co,node-name=$disk,size=1073741824,read-zeroes=off")
	done
	disks+=(-blockdev "driver=null-co,node-name=w,size=1073741824,read-zeroes=off,latency-ns=200000"
		-device "nvme,serial=no-time,drive=d,mdts=9,addr=9"
		-device "nvme,serial=some-time,drive=w,mdts=9,addr=12")
	disks+=(-device "virtio-blk-pci,drive=v,iommu_platform=on,disable-legacy=on,addr=10"
		-device "virtio-scsi-pci,id=scsi,iommu_platform=on,disable-legacy=on,addr=11"
		-device "scsi-hd,bus=scsi.0,drive=s")
	case $mode in
	vtd)
		machine=(-device "intel-iommu,intremap=on,caching-mode=on")
		append="intel_iommu=on iommu.strict=1"
		;;
	amd)
		# which has no interrupt remapping, and vfio wants that said
		machine=(-device amd-iommu)
		append="iommu.strict=1 iommufd.allow_unsafe_interrupts=1 vfio_iommu_type1.allow_unsafe_interrupts=1"
		;;
	direct) append="intel_iommu=off" ;;
	esac
	# Behind its VT-d, QEMU 7.2's AHCI ends in an assertion.
	[[ $mode == vtd ]] || disks+=(-device "ide-hd,drive=a,bus=ide.0")
	timeout -k 5 900 qemu-system-x86_64 -accel tcg -icount "shift=0,sleep=off" \
		-machine q35,kernel-irqchip=split -cpu max -smp 1 -m 3G \
		-nodefaults -display none -no-reboot -serial "file:$log" \
		"${machine[@]}" -device edu,addr=8 \
		"${disks[@]}" \
		-kernel "$kernel/arch/x86/boot/bzImage" -initrd "$kernel/initramfs.cpio" \
		-append "console=ttyS0 panic=-1 scsi_debug.add_host=0 phyr.name=$mode $append" </dev/null >"$log.qemu" 2>&1
}

# Xen takes the kernel, and its command line, as the first of its modules. To flush the
# disk could take the host as long as seems a timeout to the guest.
boot_xen() {
	local kernel=$build/bench-xen-$1/arch/x86/boot/bzImage log=$2
	disk_image=$(mktemp)
	truncate -s 96M "$disk_image"
	mkfs.ext4 -q "$disk_image"
	timeout -k 5 900 qemu-system-x86_64 -accel tcg -icount "shift=0,sleep=off" \
		-machine q35,kernel-irqchip=split -cpu max -smp 1 -m 1536M \
		-nodefaults -display none -no-reboot -serial "file:$log" \
		-blockdev driver=null-co,node-name=d,size=1073741824,read-zeroes=off \
		-blockdev "driver=file,node-name=f,filename=$disk_image,cache.no-flush=on" \
		-device nvme,serial=no-time,drive=d,mdts=9,addr=9 \
		-device nvme,serial=file-system,drive=f,mdts=9,addr=10 \
		-kernel "$build/xen/xen" \
		-initrd "$kernel console=hvc0 panic=-1 scsi_debug.add_host=0 phyr.name=xen,$build/bench-$1/initramfs.cpio" \
		-append "console=com1 com1=115200 dom0_mem=1G smap=0" </dev/null >"$log.qemu" 2>&1
	rm -f "$disk_image"
}

# measure NAME: build/bench-NAME/rows, "row instructions" lines.
measure() {
	local mode log lines who what how
	: >"$build/bench-$1/rows"
	initramfs "$1"
	for mode in "${modes[@]}" xen; do
		log=$logs/bench-$1-$mode.log
		how=(boot "$1" "$mode" "$log")
		what=(phyr_bench bench-init)
		if [[ $mode == xen ]]; then
			how=(boot_xen "$1" "$log")
			what=(bench-init)
		fi
		"${how[@]}" ||
			fail "the guest with the $1 kernel, $mode, did not end well: see $(rel "$log")"
		! lines=$(bad_lines "$log") ||
			fail "the $1 kernel, $mode, is not well: $(head -n 1 <<<"$lines"): see $(rel "$log")"
		for who in "${what[@]}"; do
			grep -q "$who: done" "$log" ||
				fail "$who did not come to its end with the $1 kernel, $mode: $(grep -m1 'phyr_bench:.*failed' "$log" || echo 'no reason given'): see $(rel "$log")"
		done
		tr -d '\r' <"$log" |
			sed -n 's/.*phyr_bench: \([^ ]*\) \([0-9][0-9]*\)$/\1 \2/p' >>"$build/bench-$1/rows"
	done
}

# The version of the tool that draws is no part of the picture.
plot() {
	(cd "$top" && gnuplot ci/bench.gnuplot) >"$build/bench.svg" 2>"$logs/bench-plot.log" ||
		fail "gnuplot cannot draw build/bench.dat: see $(rel "$logs/bench-plot.log")"
	[[ $check ]] || sed '/<desc>Produced by GNUPLOT/d' "$build/bench.svg" >"$top/docs/bench.svg"
}

cover_letter() {
	jq -r '.rows[] | "\(.row) \(.mainline // "-") \(.phyr // "-")"' "$build/bench.json" |
		awk -f "$top/ci/cover.awk" - "$top/cover-letter.txt" >"$build/cover-letter.txt"
	[[ $check ]] || cp "$build/cover-letter.txt" "$top/cover-letter.txt"
}

[[ -z $check || $check == --check ]] || fail "unknown option $check: --check is known"
mkdir -p "$logs"
lock_build
stage 1 6 "base and patches: build/linux, build/linux-base"
"$top/ci/tree.sh"
make_base_tree
"$top/ci/xen.sh"
stage 2 6 "kernels: build/bench-base, build/bench-xen-base"
kernel base "$base_tree"
xen_kernel base "$base_tree"
stage 3 6 "kernels: build/bench-phyr, build/bench-xen-phyr"
kernel phyr "$linux"
xen_kernel phyr "$linux"
stage 4 6 "mainline: boot ${modes[*]} xen and measure (logs: build/log/bench-base-*.log)"
measure base
stage 5 6 "series: boot ${modes[*]} xen and measure (logs: build/log/bench-phyr-*.log)"
measure phyr
stage 6 6 "compare: build/bench.json, docs/bench.svg, cover-letter.txt"
awk -v json="$build/bench.json" -v misses="$build/bench.misses" -v dat="$build/bench.dat" \
	-v base="$(make -s -C "$base_tree" kernelversion)" \
	-v instrument="$(qemu-system-x86_64 --version | sed -n 's/^QEMU emulator version \([^ ]*\).*/QEMU \1/p') TCG, -icount shift=0,sleep=off: instructions of the guest" \
	-f "$top/ci/bench.awk" "$top/ci/bench-contracts" "$build/bench-base/rows" "$build/bench-phyr/rows" |
	tee "$build/bench.txt"
[[ -s $build/bench.txt ]] || fail "nothing was measured: see build/log/bench-base-vtd.log"
if [[ -s $build/bench.misses ]]; then
	cat "$build/bench.misses"
	fail "$(wc -l <"$build/bench.misses") rows miss what ci/bench-contracts asks: see build/bench.misses"
fi
plot
cover_letter
say "bench: PASS $(wc -l <"$build/bench.txt") rows"
