#!/usr/bin/env bash
# Removes what was built. Keeps build/linux while it holds work that is in no
# patch, build/apply, where make apply leaves what a reader has to go on with, and
# build/cache, which costs a download.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Nothing to lose: HEAD is what the patches give or the bare base, all committed.
replaceable() {
	local tip
	tip=$(stamp_get tip)
	[[ -e $linux/.git && $(lgit rev-parse HEAD) == "${tip:-$(base_commit)}" ]] && ! tree_dirty
}

[[ -d $build ]] || exit 0
lock_build
keep=(-name cache -o -name .lock)
if [[ -e $linux ]] && ! replaceable; then
	keep+=(-o -name linux)
	say "clean: build/linux is kept: it has work that is not in patches/ (make refresh records it)"
fi
if [[ -e $build/apply ]]; then
	keep+=(-o -name apply)
	say "clean: build/apply is kept: make apply left patches there to go on with"
fi
find "$build" -mindepth 1 -maxdepth 1 ! \( "${keep[@]}" \) -exec rm -rf {} +
