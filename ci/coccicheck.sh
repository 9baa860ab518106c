#!/usr/bin/env bash
# The kernel's coccicheck on the files that the series touches: each semantic patch
# of the kernel is a test, which fails if it reports what it does not on the base.
# Takes minutes. Speaks KTAP, on stdout and in build/log/ktap/coccicheck.ktap;
# COCCI=glob runs some of them: COCCI='*free*'.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=ci/ktap.sh
. "$top/ci/ktap.sh"

scratch=$build/tmp/coccicheck

trap 'rm -rf "$scratch"' EXIT

# The files that the series touches, and no other, as they are in the commit $1.
# The selftests are no kernel code.
files_of() {
	local f
	mkdir -p "$scratch/$1"
	lgit diff --no-renames --diff-filter=AM --name-only "$base..HEAD" -- '*.[ch]' ':!tools' |
		while read -r f; do
			! lgit cat-file -e "$1:$f" 2>/dev/null || say "$f"
		done | xargs -d '\n' git -C "$linux" archive "$1" -- | tar -x -C "$scratch/$1"
}

# reports COMMIT COCCI: without line numbers, which differ between two commits.
reports() {
	local log=${2##*/}
	log=$logs/coccicheck-${log%.cocci}.log
	make -s -C "$linux" coccicheck MODE=report M="$scratch/$1" COCCI="$2" J="$jobs" \
		DEBUG_FILE="$scratch/err" >"$log" 2>&1 </dev/null || die "coccicheck: $2 failed: see $(rel "$log")"
	rm -f "$scratch/err"
	grep -E '^[^ ]+:[0-9]+(:[0-9-]+)?: ' "$log" | sed -E 's/:[0-9]+(:[0-9-]+)?: /: /; s/(line|lines) [0-9, ]+/\1 N /g' | sort || true
}

# More of the same in one file is news as well: comm counts.
new_reports() {
	local after before
	after=$(reports HEAD "$1") || exit
	[[ -n $after ]] || return 0
	before=$(reports "$base" "$1") || exit
	comm -13 <(say "$before") <(say "$after")
}

# A script in OCaml has to be compiled, with a compiler of 280 MB.
needs_ocaml() {
	grep -q ':ocaml' "$linux/$1" && ! command -v ocamlopt >/dev/null
}

# Nothing that is new.
check() {
	if needs_ocaml "$1"; then
		say "needs an OCaml compiler"
		return 77
	fi
	new_reports "$linux/$1"
}

lock_build
rm -rf "$scratch"
mkdir -p "$scratch" "$ktap" "$logs"
"$top/ci/tree.sh"
base=$(base_commit)
files_of HEAD
files_of "$base"

mapfile -t semantic_patches < <(cd "$linux" &&
	grep -rlE --include="${COCCI:-*}.cocci" 'virtual[[:space:]]+report' scripts/coccinelle | sort)
((${#semantic_patches[@]})) || die "coccicheck: no semantic patch of the kernel is called ${COCCI:-*}.cocci"

ktap_start coccicheck "${#semantic_patches[@]}"
for s in "${semantic_patches[@]}"; do
	ok_if "$s" silent check "$s"
done

ktap_end
