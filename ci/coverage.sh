#!/bin/bash
# What of the code that the series adds its tests run, by line and by branch: KUnit
# as user mode Linux, and the guest suite with a kernel that counts, by gcov.
#   ci/coverage.sh [--report] [PART...]
# A part is user, lib/phyr.c built as a program, which replays fuzz/corpus; unit, KUnit;
# or a mode of ci/guest-tests.sh. Without any it is all of them; what others have found
# of the same code is kept. --report runs nothing. The result is
# build/coverage/report.txt, with what was not run; build/coverage/added.info is for
# genhtml.
#
# The rule: each line of a .c or .h that the series adds or changes counts if it
# merges as code of the kernel and a compiler here has made code of it. Tests are no
# such code: KUnit suites, selftests, and drivers that are there for these only. Files
# that no guest has a device for are listed, but count neither way.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=ci/ktap.sh
. "$top/ci/ktap.sh"

out=$build/coverage
report=$out/report.txt
want_lines=95 want_branches=85
only_report=''
if [[ ${1-} == --report ]]; then
	only_report=1
	shift
fi

tests=(':!tools' ':!*kunit*' ':!lib/tests' ':!drivers/dma-buf/st-*' ':!mm/gup_test.*'
	':!drivers/iommu/iommufd/*test*')

# FILE:LINE for each line that counts.
added_lines() {
	lgit diff --no-renames --diff-filter=AM --unified=0 "$base..HEAD" -- '*.c' '*.h' "${tests[@]}" |
		awk '/^\+\+\+ / { file = substr($2, 3) }
			/^@@ / { split(substr($3, 2), at, ","); n = 2 in at ? at[2] : 1
				for (i = 0; i < n; i++) print file ":" at[1] + i
				delete at }'
}

# Each is named without its directory: that is enough, as only lines count that were added.
# atomic: two CPUs that count at once would lose something, and what is the difference of
# two such counters would be a branch that nothing has taken.
gcov_options() {
	local object
	series_objects | sed 's,.*/,GCOV_PROFILE_,; s/$/=y/' | sort -u
	say "CFLAGS_GCOV=-fprofile-arcs -ftest-coverage -fno-tree-loop-im -fprofile-update=atomic"
	while read -r object; do
		say "CFLAGS_${object##*/}=$(count_options "$object")"
	done < <(series_objects)
}

# capture NAME BUILD-DIRECTORY DIRECTORY: what the .gcda below DIRECTORY, which has the
# tree of BUILD-DIRECTORY, say.
capture() {
	local object
	while read -r object; do
		object=${object%.o}
		[[ ! -f $3/$object.gcda ]] || ln -sf "$2/$object.gcno" "$3/$object.gcno"
	done < <(series_objects)
	# others of the same name in other directories
	find "$3" -name '*.gcda' | while read -r object; do
		[[ -e ${object%.gcda}.gcno ]] || rm "$object"
	done
	run_logged "$logs/coverage-$1.log" lcov --rc lcov_branch_coverage=1 --capture --quiet \
		--directory "$3" --base-directory "$2" --test-name "${1//-/_}" --output-file "$out/$1.info" ||
		die "coverage: lcov cannot read what $1 has counted: see $(rel "$logs/coverage-$1.log")"
}

unit() {
	local object names
	rm -rf "$out/data"
	find "$build/um-gcov" -name '*.gcda' -delete 2>/dev/null || true
	mapfile -t names < <(series_objects)
	run_logged "$logs/coverage-kunit.log" "$top/ci/unit.sh" --coverage "${names[@]}" ||
		die "coverage: KUnit has failed: see $(rel "$logs/coverage-kunit.log")"
	while read -r object; do
		object=${object%.o}.gcda
		[[ ! -f $build/um-gcov/$object ]] || install -D "$build/um-gcov/$object" "$out/data/$object"
	done < <(series_objects)
	capture unit "$build/um-gcov" "$out/data"
}

# guests MODE...: with one kernel, which counts.
guests() {
	PHYR_KBUILD=$(gcov_options) "$top/ci/build.sh" guest-gcov "${guest_config[@]}" gcov
	"$top/ci/initramfs.sh"
	"$top/ci/guest-tests.sh" --debug gcov "$@"
}

# counted MODE: takes over what a guest has counted, which comes with its results, below
# the absolute name of its build.
counted() {
	local log=$logs/guest-gcov-$1.log.out
	rm -rf "$out/data" "$out/$1.info"
	mkdir -p "$out/data"
	if ! tr -d '\r' <"$log" | sed -n 's/^# gcov //p' | base64 -d | tar -xz -C "$out/data"; then
		say "the guest has not said what was run: see $(rel "$log")"
		return 1
	fi
	capture "$1" "$build/guest-gcov" "$out/data$build/guest-gcov"
}

# What was found with other code or configurations is of other lines and branches.
forget_others() {
	local now
	now=$({
		lgit diff --no-renames "$base..HEAD" -- '*.c' '*.h' "${tests[@]}"
		cat "$top"/kernel-config/*
	} | sha256sum)
	[[ -f $out/code && $(<"$out/code") == "$now" ]] || find "$out" -name '*.info' -delete
	say "$now" >"$out/code"
}

# gate WHAT WANTED: from the last lines of the report.
gate() {
	local what percent good
	read -r what percent good < <(grep "^$1 " "$report")
	say "$what: $percent %, at least $2 % wanted"
	((good))
}

merge() {
	local info infos=()
	for info in "$out"/*.info; do
		[[ ! -s $info || $info == "$out/added.info" ]] || infos+=("$info")
	done
	((${#infos[@]})) || die "coverage: nothing was counted yet: run ci/coverage.sh without --report"
	added_lines >"$out/added"
	awk -v tree="$linux" -v lines="$want_lines" -v branches="$want_branches" -v info="$out/added.info" \
		-f "$top/ci/coverage.awk" "$out/added" "${infos[@]}" >"$report"
}

command -v lcov >/dev/null || die "no lcov: install what ci/packages-gates names"
lock_build
mkdir -p "$out" "$ktap" "$logs"
"$top/ci/tree.sh"
base=$(base_commit)
forget_others
parts=() modes=()
if [[ ! $only_report ]]; then
	parts=("$@")
	(($#)) || read -ra parts <<<"user unit $("$top/ci/guest-tests.sh" --list)"
	for part in "${parts[@]}"; do
		[[ $part == user || $part == unit ]] || modes+=("$part")
	done
fi
for part in "${parts[@]}"; do
	case $part in
	user) stage 1 4 "user" && "$top/ci/fuzz-coverage.sh" ;;
	unit) stage 2 4 "unit" && unit ;;
	esac
done
if ((${#modes[@]})); then
	stage 3 4 "guests: ${modes[*]}"
	guests "${modes[@]}"
fi
stage 4 4 "report: $(rel "$report")"
ktap_start coverage $((${#modes[@]} + 2))
for mode in "${modes[@]}"; do
	ok_if "$mode was counted" counted "$mode"
done
merge
cat "$report"
ok_if "lines" gate lines "$want_lines"
ok_if "branches" gate branches "$want_branches"
ktap_end
