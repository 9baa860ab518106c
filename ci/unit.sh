#!/usr/bin/env bash
# Builds and runs the KUnit suites of kernel-config/kunit, and those of the base
# that go through what the series changes, as a user mode Linux: no QEMU, and
# seconds when little changed. SUITE=glob runs a part of them.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

out=$build/um
log=$logs/unit.log
result=$ktap/unit.ktap

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
kunitconfig >"$build/um.kunitconfig"
if ! grep -q '_KUNIT_TEST=y' "$build/um.kunitconfig"; then
	say "unit: no KUnit suite in this tree"
	exit 0
fi

args=(run --arch=um --build_dir="$out" --kunitconfig="$build/um.kunitconfig"
	--kunitconfig="$linux/drivers/iommu/generic_pt/.kunitconfig"
	--make_options "CC=ccache gcc" --jobs "$jobs" --timeout 900)
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
! lines=$(grep -E '# SKIP [^ ]' "$result" | grep -vE "$fine") ||
	die "unit: skipped without need: $(head -n 1 <<<"$lines"): see $(rel "$result")"
