#!/usr/bin/env bash
# Builds the series for arm64 and runs its tests there, behind an SMMUv3, with devices
# that see the caches of the CPUs and with devices that don't:
#   ci/arm64.sh [MODE...]
# ci/guest.sh says what the modes are; without MODE, all that start with arm64. The
# results are build/log/ktap/guest-MODE.ktap.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

modes=("$@")
(($#)) || modes=(arm64 arm64-noncoherent arm64-noncoherent-pt)

stage 1 5 "packages"
"$top/ci/install-packages.sh" packages packages-arm64
lock_build
stage 2 5 "base and patches: build/linux"
"$top/ci/tree.sh"
stage 3 5 "kernel: build/arm64"
"$top/ci/build.sh" --arch arm64 arm64 guest dma-buf users kunit debug
stage 4 5 "initramfs: build/initramfs-arm64.cpio"
"$top/ci/initramfs.sh" --arch arm64
stage 5 5 "tests in ${#modes[@]} boots"
"$top/ci/guest-tests.sh" "${modes[@]}"
files=()
for mode in "${modes[@]}"; do
	files+=("$ktap/guest-$mode.ktap")
done
! grep '^not ok' "${files[@]}" || die "arm64: these tests failed: see $(rel "$ktap")"
say "arm64: PASS ${modes[*]}"
