#!/usr/bin/env bash
# Checks the series and the scripts without booting anything. Speaks KTAP, on
# stdout and in build/log/ktap/check.ktap; details are lines that start with #.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=ci/ktap.sh
. "$top/ci/ktap.sh"

scratch=$build/tmp/check
objects=$build/check

trap 'rm -rf "$scratch"' EXIT

# From inside a check: not possible here, and why.
skip() {
	say "$*"
	exit 77
}

series_is_complete() {
	diff <(series_patches) <(patch_files) ||
		die "series and patches/ differ: list every patch once, in the order of its number"
}

no_signed_off_by() {
	! grep -liE '^signed-off-by:' "$top"/patches/*.patch ||
		die "Signed-off-by in these: whoever submits the patch adds it"
}

# Somebody is asked for each patch.
every_patch_has_a_note() {
	local subject missing=0
	while read -r subject; do
		grep -qrF -- "| $subject" "$top/MAINTAINERS-notes" || { say "no note: $subject"; missing=1; }
	done < <(lgit log --reverse --format=%s "$base..HEAD")
	return "$missing"
}

# Without sign-offs: they are not kept here. FILE_PATH_CHANGES asks whether MAINTAINERS
# covers new files without looking: have_maintainers does look.
checkpatch() {
	local said status=0 found
	cd "$linux"
	said=$(perl scripts/checkpatch.pl --strict --no-signoff --terse --showfile --no-summary \
		--show-types --ignore FILE_PATH_CHANGES --color=never "$top/patches/$1") || status=$?
	# 1 is that it has found something
	((status <= 1)) || die "checkpatch failed with status $status: $said"
	found=$(grep -vE "$checkpatch_exceptions" <<<"$said") || true
	[[ -z $found ]] || die "$found"
}

# Each file that the series adds belongs to an entry that names a person, and not for
# all that nobody else wants.
have_maintainers() {
	local f nobody missing=0
	cd "$linux"
	while read -r f; do
		nobody='THE REST'
		# which has what is for all tests
		[[ $f != tools/testing/selftests/*/* ]] || nobody+='|KERNEL SELFTEST FRAMEWORK'
		perl scripts/get_maintainer.pl --no-git --no-git-fallback --no-l --no-r --no-n \
			-f "$f" | grep -vE "$nobody" | grep -q @ && continue
		say "no maintainer: $f"
		missing=1
	done < <(lgit diff --no-renames --diff-filter=A --name-only "$base..HEAD")
	return "$missing"
}

shell_scripts() {
	local scripts=("$top"/ci/*.sh "$top/.ci/run" "$top/.quiltrc") s
	for s in guest-init guest-gup-test bench-init; do
		[[ ! -f $top/ci/$s ]] || scripts+=("$top/ci/$s")
	done
	for s in "$top"/selftests/*.sh; do
		[[ ! -f $s ]] || scripts+=("$s")
	done
	cd "$top"
	shellcheck -x -P "SCRIPTDIR:$linux/tools/testing/selftests/kselftest" -f gcc "${scripts[@]}"
}

# The files of the series: as they are in the commit $1.
files_of() {
	local f
	mkdir -p "$2"
	lgit diff --no-renames --name-only "$base..HEAD" | while read -r f; do
		! lgit cat-file -e "$1:$f" 2>/dev/null || say "$f"
	done >"$2.list"
	[[ ! -s $2.list ]] || xargs -d '\n' git -C "$linux" archive "$1" -- <"$2.list" | tar -x -C "$2"
}

same() {
	find "$1" "$2" -mindepth 1 -type d -empty -delete
	diff -r -x .pc "$1" "$2" || die "$3"
}

# On copies of just the files that the series touches.
quilt_works() {
	local tree=$scratch/quilt
	mkdir -p "$tree"
	files_of "$base" "$scratch/before"
	files_of HEAD "$scratch/after"
	cp -a "$scratch/before/." "$tree"
	cd "$tree"
	quilt --quiltrc "$top/.quiltrc" push -a
	same "$tree" "$scratch/after" "quilt push -a does not give what the branch has"
	quilt --quiltrc "$top/.quiltrc" pop -a
	same "$tree" "$scratch/before" "quilt pop -a does not give the base back"
}

# The .c and .h files that the series adds.
added() {
	lgit diff --no-renames --diff-filter=A --name-only "$base..HEAD" -- '*.[ch]' ":!$selftests_dir"
}

touched() {
	lgit diff --no-renames --diff-filter=AM --name-only "$base..HEAD" -- "$@" ":!$selftests_dir"
}

kernel_doc() {
	cd "$linux"
	./scripts/kernel-doc -none -Wall -Werror "$1"
}

# Warnings about file $2 as it is in the commit $1, without line numbers.
doc_warnings() {
	mkdir -p "$scratch/doc/$(dirname "$2")"
	lgit show "$1:$2" >"$scratch/doc/$2"
	(cd "$scratch/doc" && "$linux/scripts/kernel-doc" -none -Wall "$2" 2>&1) |
		sed -E 's/^([^ ]*: )?([^ :]*):[0-9]+/\1\2/' | sort
}

# The files that the series changes have warnings, but no new ones.
no_new_doc_warnings() {
	local f before new
	lgit diff --no-renames --diff-filter=M --name-only "$base..HEAD" -- '*.[ch]' | while read -r f; do
		before=$(doc_warnings "$base" "$f")
		new=$(doc_warnings HEAD "$f" | comm -13 <(say "$before") -)
		[[ -z $new ]] || die "$new"
	done
}

# A build directory for W=1 and sparse alone: other flags in build/guest would
# have the kernel there built anew.
configure_objects() {
	local name
	mkdir -p "$objects"
	for name in x86 "${guest_config[@]}" drivers; do
		cat "$top/kernel-config/$name"
	done >"$objects/fragments"
	kmake KCONFIG_CONFIG="$objects/.config.new" KCONFIG_ALLCONFIG="$objects/fragments" allnoconfig
	cmp -s "$objects/.config.new" "$objects/.config" || mv "$objects/.config.new" "$objects/.config"
	rm -f "$objects/.config.new"
	kmake -j"$jobs" prepare
}

kmake() {
	make -C "$linux" O="$objects" ARCH=x86 CC="ccache gcc" W=1 "$@"
}

# What gcc or sparse says about a file of the series, wherever it is included.
compiles_cleanly() {
	local object=${1%.c}.o log=$logs/check-compile.log
	rm -f "$objects/$object"
	if ! kmake C=1 CHECK="$sparse" "$object" >"$log" 2>&1; then
		! grep -q "No rule to make target '$object'" "$log" || skip "no configuration of ours builds $1"
		cat "$log"
		return 1
	fi
	grep -q "CHECK .*$1" "$log" || die "sparse did not run: see $(rel "$log")"
	! grep -E '(warning|error):' "$log" |
		grep -vE "$sparse_defects" |
		grep -F -f "$scratch/touched" | without_old_warnings "$1"
}

# Some drivers have their bytes in any order, or no header for what is global: that
# counts in the lines of file $1 that the series has changed.
without_old_warnings() {
	local lines
	lines=$(lgit diff --unified=0 "$base..HEAD" -- "$1" |
		sed -nE 's/^@@ -[^ ]* \+([0-9]+)(,([0-9]+))? .*/\1 \3/p' |
		while read -r first n; do seq "$first" $((first + ${n:-1} - 1)); done)
	awk -F: -v file="$1" -v lines="$lines" '
		BEGIN { n = split(lines, l, "\n"); for (i = 1; i <= n; i++) changed[l[i]] }
		/restricted __[lb]e|different base types|Should it be static/ &&
			index($1, file) && !($2 in changed) { next }
		{ print; found = 1 }
		END { exit !found }'
}

lock_build
rm -rf "$scratch"
mkdir -p "$scratch" "$ktap" "$logs"
"$top/ci/tree.sh"
base=$(base_commit)
mapfile -t patches < <(series_patches)
mapfile -t new_files < <(added)
# The programs among them are no objects of the kernel.
mapfile -t sources < <(touched '*.c' ':!tools/testing')
touched '*.[ch]' | sed 's/$/:/' >"$scratch/touched"

plan=$((7 + ${#patches[@]} + ${#new_files[@]}))
((${#patches[@]} == 0)) || plan=$((plan + 1))
((${#sources[@]} == 0)) || plan=$((plan + 1 + ${#sources[@]}))
ktap_start check "$plan"

ok_if shellcheck shell_scripts
ok_if series-lists-every-patch series_is_complete
ok_if no-signed-off-by no_signed_off_by
ok_if branch-patches-selftests-in-step "$top/ci/refresh.sh" --check
ok_if new-files-have-maintainers have_maintainers
ok_if every-patch-has-a-note every_patch_has_a_note
for p in "${patches[@]}"; do
	ok_if "checkpatch: ${p%.patch}" checkpatch "$p"
done
((${#patches[@]} == 0)) || ok_if quilt-push-pop quilt_works
ok_if "kernel-doc: no new warnings in changed files" no_new_doc_warnings
for f in "${new_files[@]}"; do
	ok_if "kernel-doc: $f" kernel_doc "$f"
done
if ((${#sources[@]})); then
	ok_if configure-for-sparse configure_objects
	for f in "${sources[@]}"; do
		ok_if "sparse, W=1: $f" compiles_cleanly "$f"
	done
fi

ktap_end
