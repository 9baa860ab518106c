#!/usr/bin/env bash
# Builds and runs the KUnit suites of kernel-config/kunit as a user mode Linux:
# no QEMU, and seconds when little changed. SUITE=glob runs a part of them.

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
	done < <(grep '^CONFIG_' "$top/kernel-config/kunit")
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
	--make_options "CC=ccache gcc" --jobs "$jobs")
[[ -z ${SUITE-} ]] || args+=("$SUITE")
status=0
(cd "$linux" && ./tools/testing/kunit/kunit.py "${args[@]}" </dev/null) 2>&1 | tee "$log" || status=$?
[[ ! -f $out/test.log ]] || cp "$out/test.log" "$result"
((status == 0)) || die "unit: failed: see above, $(rel "$log") and the kernel's output in $(rel "$out/test.log")"
