#!/usr/bin/env bash
# What mapping a request costs, in instructions, on the base and with the series.
# QEMU's -icount makes a nanosecond of the guest an instruction, so the figures
# are the same on every run, however busy the machine is.
# The last line is "bench: PASS" or "bench: FAIL why".

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

base_tree=$build/linux-base
# The most that anything may cost, of what it did before.
limit=1.02

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

# module TREE OBJECTS: first what modules are linked against, then the module.
module() {
	local make=(make -C "$1" O="$2" ARCH=x86 LOCALVERSION=-phyr CC="ccache gcc" -j"$jobs")
	"${make[@]}" modules && "${make[@]}" M="$2/mod" modules
}

# kernel NAME TREE: the kernel, and an initramfs that just loads the module.
kernel() {
	local out=$build/bench-$1 root=$build/bench-$1/root
	PHYR_TREE=$2 "$top/ci/build.sh" "bench-$1" guest intel-iommu bench
	mkdir -p "$root/bin" "$out/mod"
	cp "$top/selftests/bench/Makefile" "$top/selftests/bench/phyr_bench.c" "$out/mod"
	run_logged "$logs/bench-$1-module.log" module "$2" "$out" ||
		die "bench: the module does not build for $1: see build/log/bench-$1-module.log"
	cp "$(command -v busybox)" "$root/bin/busybox"
	cp "$out/mod/phyr_bench.ko" "$root"
	cat >"$root/init" <<-'INIT'
		#!/bin/busybox sh
		/bin/busybox insmod /phyr_bench.ko
		/bin/busybox poweroff -f
	INIT
	chmod +x "$root/init"
	(cd "$root" && find . | sort | cpio --quiet -o -H newc) >"$out/initramfs.cpio"
}

# measure NAME: "row instructions" lines.
measure() {
	local out=$build/bench-$1 log=$logs/bench-$1.log
	truncate -s 64M "$out/disk"
	timeout -k 5 300 qemu-system-x86_64 -accel tcg -icount shift=0,sleep=off \
		-machine q35,kernel-irqchip=split -cpu max -smp 1 -m 1G \
		-nodefaults -display none -no-reboot -serial "file:$log" \
		-device intel-iommu,intremap=on,caching-mode=on \
		-drive "if=none,id=d,file=$out/disk,format=raw" -device nvme,serial=d,drive=d \
		-kernel "$out/arch/x86/boot/bzImage" -initrd "$out/initramfs.cpio" \
		-append "console=ttyS0 panic=-1 intel_iommu=on iommu.strict=1" </dev/null ||
		die "bench: the guest with the $1 kernel failed: see $(rel "$log")"
	grep -q 'phyr_bench: done' "$log" ||
		die "bench: the module did not come to its end with the $1 kernel: see $(rel "$log")"
	tr -d '\r' <"$log" | sed -n 's/.*phyr_bench: \([^ ]*\) \([0-9][0-9]*\)$/\1 \2/p'
}

lock_build
stage 1 4 "base and patches: build/linux, build/linux-base"
"$top/ci/tree.sh"
make_base_tree
stage 2 4 "kernel: build/bench-base"
kernel base "$base_tree"
stage 3 4 "kernel: build/bench-phyr"
kernel phyr "$linux"
stage 4 4 "boot both and measure"
measure base >"$build/bench-base/rows"
measure phyr >"$build/bench-phyr/rows"
join <(sort "$build/bench-base/rows") <(sort "$build/bench-phyr/rows") | sort -V |
	awk '{ printf "bench: %s mainline=%d phyr=%d ratio=%.3f\n", $1, $2, $3, $3 / $2 }' |
	tee "$build/bench.txt"
size "$build"/bench-*/block/blk-mq-dma.o "$build/bench-phyr/lib/phyr.o"
worse=$(awk -F'[ =]' -v l="$limit" '$6 > l * $4 { print $2 }' "$build/bench.txt")
[[ -s $build/bench.txt ]] || die "bench: FAIL nothing was measured: see build/log/bench-base.log"
[[ -z $worse ]] || die "bench: FAIL more than $limit of mainline: ${worse//$'\n'/ }: see build/bench.txt"
say "bench: PASS"
