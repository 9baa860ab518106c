#!/bin/bash
# make boot: from nothing to a kernel with the series that has moved real data
# through phyr. The last line is "boot: PASS ..." or "boot: FAIL why".
# ci/boot.sh KERNEL boots that one, which is built, with the initramfs that is there.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

log=$logs/boot.log
kernel=${1:-$build/guest/arch/x86/boot/bzImage}
mkdir -p "$logs"

# What a stage says about its failure is the reason here.
why=$(mktemp)
trap 'rm -f "$why"' EXIT
fail() {
	say "boot: FAIL $*"
	exit 1
}
step() {
	"$@" 2> >(tee "$why" >&2) || {
		wait
		fail "$(grep -m 1 '^error: ' "$why" | sed 's/^error: //' | grep . || echo "$1")"
	}
}

# result NAME: what the guest has reported under that name.
result() {
	sed -n "s/^$1=//p" "$log.out" | tail -n 1
}

# The guest is shown on failure only.
guest_failed() {
	tail -n 15 "$log" "$log.out" | sed 's/^/  | /' >&2
	fail "$* (console: $(rel "$log"))"
}

make_all() {
	stage 1 6 "packages"
	step "$top/ci/install-packages.sh"
	lock_build
	stage 2 6 "base and patches: build/linux"
	step "$top/ci/tree.sh"
	stage 3 6 "kernel: build/guest"
	step "$top/ci/build.sh" guest "${guest_config[@]}"
	stage 4 6 "initramfs: build/initramfs.cpio"
	step "$top/ci/initramfs.sh"
}

(($#)) || make_all
stage 5 6 "accelerator: a trial boot if there is /dev/kvm"
accel=$("$top/ci/guest.sh" --accel "$kernel") || fail "no accelerator was found: see ci/guest.sh --accel"
stage 6 6 "boot with $accel; write, read back and verify data on the NVMe disk"
"$top/ci/guest.sh" --run boot --timeout 120 "$kernel" "$log" 2>"$why" ||
	guest_failed "$(sed 's/^error: //' "$why" | tail -n 1)"

reason=$(result why)
[[ -z $reason ]] || guest_failed "$reason"
[[ $(result fio) == 0 && $(result errors) == 0 ]] ||
	guest_failed "fio did not verify what it wrote: status $(result fio), errors $(result errors)"
verified=$(($(result verified_kib) / 1024))
((verified > 0)) || guest_failed "fio ended well but verified nothing"
[[ $verified == "$(($(result wanted_kib) / 1024))" ]] ||
	guest_failed "fio verified $verified MiB, not all that it wrote"
! lines=$(bad_lines "$log") || guest_failed "the kernel log is not clean: $(head -n 1 <<<"$lines")"
(($(result hits) > 0)) ||
	guest_failed "the data did not go through ${PHYR_PROBE:-phyr_iter_fill}"
say "boot: PASS kernel=$(result kernel) accel=$accel dma=$(result dma) verified=$verified MiB"
