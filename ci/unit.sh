#!/usr/bin/env bash
# Builds and runs the KUnit suites of kernel-config/kunit, and those of the base
# that go through what the series changes: ci/unit.sh [MACHINE]. The machine is um,
# user mode Linux with KASAN and UBSAN, which needs no QEMU; or i386 or i386-pae, in
# QEMU. SUITE=glob runs a part of them, in seconds when little changed.
#   ci/unit.sh --coverage OBJECT...
# Does the same in build/um-gcov, where these count what of them is run, and leave it
# there for ci/coverage.sh. CONFIG_GCOV would have every object count; without it the
# linker wants to be told, and CC_FLAGS_LTO is what it is given and is empty here. The
# linker scripts of user mode Linux drop .fini_array.*, from where the counts are written.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

machine=${1:-um}
[[ $machine != --coverage ]] || shift
out=$build/um
log=$logs/unit.log
result=$ktap/unit.ktap
how=(--arch=um --make_options "CC=ccache gcc")
# Options of the suites that the machine can't have.
cannot=none
case $machine in
um) how+=(--kunitconfig="$top/kernel-config/kunit-um") ;;
--coverage)
	out=$build/um-gcov
	log=$logs/unit-gcov.log
	result=$ktap/unit-gcov.ktap
	how+=(--make_options "CC_FLAGS_LTO=--coverage -Wl,-fini=__gcov_exit")
	for object; do
		how+=(--make_options "CFLAGS_${object##*/}=--coverage $(count_options "$object")")
	done
	;;
i386 | i386-pae)
	out=$build/unit-$machine
	log=$logs/unit-$machine.log
	result=$ktap/unit-$machine.ktap
	how=(--arch=i386 --make_options "CC=ccache gcc" --kunitconfig="$top/kernel-config/kunit-i386")
	# QEMU's default CPU has no clflush, which the page tables of VT-d need.
	how+=(--qemu_args='-cpu max')
	# kunit.py tries KVM first, and there are hosts where QEMU hangs on that: see
	# kvm_works() in ci/guest.sh
	mkdir -p "$build/tmp/bin"
	cat >"$build/tmp/bin/qemu-system-i386" <<-EOF
		#!/bin/bash
		exec $(command -v qemu-system-i386) "\${@/#kvm/tcg}"
	EOF
	chmod +x "$build/tmp/bin/qemu-system-i386"
	PATH=$build/tmp/bin:$PATH
	if [[ $machine == i386-pae ]]; then
		how+=(--kconfig_add CONFIG_X86_PAE=y)
	else
		how+=(--kconfig_add CONFIG_X86_PAE=n)
		# its addresses have more than 32 bits
		cannot=CONFIG_DMA_PHYR_KUNIT_TEST
	fi
	;;
*) die "unit: no machine $machine: there are um, i386, i386-pae" ;;
esac

# Half of a series does not have the options of the other half.
in_tree() {
	grep -rqs --include='Kconfig*' -E "^(menu)?config $1$" "$linux/lib" "$linux/block" "$linux/drivers/iommu" \
		"$linux/kernel/dma" "$linux/mm"
}

kunitconfig() {
	local line name
	while read -r line; do
		name=${line#CONFIG_}
		name=${name%%=*}
		[[ ! CONFIG_$name =~ ^($cannot)$ ]] || continue
		if [[ $name == *PHYR* || $name == *_KUNIT_TEST ]] && ! in_tree "$name"; then
			[[ ! -s $top/series ]] || die "unit: CONFIG_$name is in no Kconfig of build/linux: apply the series, or mend kernel-config/kunit"
			continue
		fi
		say "$line"
	done < <(grep -h '^CONFIG_' "$top"/kernel-config/kunit{,-base})
}

lock_build
"$top/ci/tree.sh"
mkdir -p "$out" "$ktap"
rm -f "$out/test.log" "$result"
kunitconfig >"$out.kunitconfig"
if ! grep -q '_KUNIT_TEST=y' "$out.kunitconfig"; then
	say "unit: no KUnit suite in this tree"
	exit 0
fi

args=(run "${how[@]}" --build_dir="$out" --kunitconfig="$out.kunitconfig"
	--kunitconfig="$linux/drivers/iommu/generic_pt/.kunitconfig"
	--jobs "$jobs" --timeout 1800)
[[ -z ${SUITE-} ]] || args+=("$SUITE")
status=0
(cd "$linux" && ./tools/testing/kunit/kunit.py "${args[@]}" </dev/null) 2>&1 | tee "$log" || status=$?
[[ ! -f $out/test.log ]] || cp "$out/test.log" "$result"
((status == 0)) || die "unit: failed: see above, $(rel "$log") and the kernel's output in $(rel "$out/test.log")"
# A check of the kernel's own, such as PT_WARN_ON(), fails no test by itself.
! lines=$(bad_lines "$result") || die "unit: the kernel log is not clean: $(head -n 1 <<<"$lines"): see $(rel "$result")"
# What user mode Linux does not have, or a page table format, is all that may be
# skipped.
fine='PT_FEAT_DYNAMIC_TOP not set|no growth possible|incompatible psize|range is too small'
fine+='|Needs CONFIG_NEED_SG_DMA_FLAGS|no dma_map_ops: the kernel needs ARCH_HAS_DMA_OPS'
fine+='|no PCI function to (map for|own memory)|no swiotlb that the test can use|the kernel has no PCI_P2PDMA|no peer-to-peer memory'
fine+='|this device (has no need to bounce|only has addresses for memory)'
fine+='|no cache maintenance, or no kprobes to see it with'
[[ $machine != i386* ]] || fine+='|needs a 64-bit size_t|Unable to test on 32bit'
! lines=$(grep -E '# SKIP [^ ]' "$result" | grep -vE "$fine") ||
	die "unit: skipped without need: $(head -n 1 <<<"$lines"): see $(rel "$result")"
