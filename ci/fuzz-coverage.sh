#!/usr/bin/env bash
# What of lib/phyr.c and its header a replay of fuzz/corpus runs, as lcov has it:
# build/coverage/user.info, which ci/coverage.sh adds to what the kernel's tests run.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

source=$linux/tools/testing/phyr
out=$build/fuzz
info=$build/coverage/user.info
log=$logs/fuzz-coverage.log

# lcov 2 has another name for the option, and says so of the old one.
branches=lcov_branch_coverage=1
[[ $(lcov --version) == *"version 1."* ]] || branches=branch_coverage=1

# Counters of a program that was compiled before are those of other lines. tools/include
# has always_inline without the underscores.
count() {
	rm -f "$out"/phyr-coverage*
	make -C "$source" O="$out" CFLAGS="$(count_options lib/phyr.o) -Dalways_inline=__unused__" coverage
	"$out/phyr-coverage" "$top/fuzz/corpus"
	lcov --rc "$branches" --capture --directory "$out" --base-directory "$source" \
		--output-file "$info.all"
	lcov --rc "$branches" --extract "$info.all" '*/lib/phyr.c' '*/include/linux/phyr.h' \
		--output-file "$info"
	rm "$info.all"
}

# percent FOUND HIT: of lines or branches, by the sums that lcov wrote.
percent() {
	awk -F: -v found="$1" -v hit="$2" '
		$1 == found { n += $2 }
		$1 == hit { h += $2 }
		END { printf "%d of %d, %.1f%%", h, n, n ? 100 * h / n : 0 }' "$3"
}

command -v lcov >/dev/null || die "fuzz-coverage: no lcov: install it"
lock_build
"$top/ci/tree.sh"
[[ -f $source/fuzz.c ]] || die "fuzz-coverage: the series has no tools/testing/phyr: apply it"
mkdir -p "$out" "$(dirname "$info")" "$logs"
stage 1 1 "replaying fuzz/corpus, compiled for gcov (log: $(rel "$log"))"
run_logged "$log" count || die "fuzz-coverage: failed: see $(rel "$log")"
grep -q '^SF:.*/lib/phyr\.c$' "$info" || die "fuzz-coverage: $(rel "$info") has nothing of lib/phyr.c: see $(rel "$log")"
say "lines: $(percent LF LH "$info")"
say "branches: $(percent BRF BRH "$info")"
