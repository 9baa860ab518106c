#!/bin/bash
# The guest suite with a kernel that checks itself: wrong memory accesses and lost
# memory, undefined behaviour and locking (kasan), or data races (kcsan). Any
# report of theirs is a failure.
#   ci/debug.sh [kasan|kcsan] [MODE...]
# The modes are those of ci/guest-tests.sh, which takes hours with all of them;
# results are build/log/ktap/guest-kasan-MODE.ktap.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

kinds=(kasan kcsan)
if [[ ${1-} == kasan || ${1-} == kcsan ]]; then
	kinds=("$1")
	shift
fi

# KCSAN stops at one access of thousands to see if there is another meanwhile: only at those
# of the series, and not of all the kernel. What writes meanwhile need not be watched, as
# the value is then another one; of what the series writes, only what it reads itself is
# seen to race. KCSAN's own test says for itself that it is to be watched.
kbuild_options() {
	[[ $1 == kcsan ]] || return 0
	say KCSAN_SANITIZE=n
	series_objects | sed 's,.*/,KCSAN_SANITIZE_,; s/$/=y/' | sort -u
}

lock_build
"$top/ci/tree.sh"
failed=0 n=0
for kind in "${kinds[@]}"; do
	stage $((++n)) $((3 * ${#kinds[@]})) "kernel: build/guest-$kind"
	options=$(kbuild_options "$kind")
	PHYR_KBUILD=$options "$top/ci/build.sh" "guest-$kind" "${guest_config[@]}" "$kind"
	stage $((++n)) $((3 * ${#kinds[@]})) "initramfs: build/initramfs.cpio"
	"$top/ci/initramfs.sh"
	stage $((++n)) $((3 * ${#kinds[@]})) "guests with $kind (log: $(rel "$logs")/guest-$kind-MODE.log)"
	rm -f "$ktap/guest-$kind"-*.ktap
	"$top/ci/guest-tests.sh" --debug "$kind" "$@"
	for result in "$ktap/guest-$kind"-*.ktap; do
		! grep -H '^not ok' "$result" >&2 || failed=$((failed + 1))
	done
done
((failed == 0)) || die "debug: $failed modes have failed: the lines before each \"not ok\" in these files say why"
say "debug: no report (${kinds[*]})"
