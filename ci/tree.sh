#!/usr/bin/env bash
# Makes build/linux: the base as the first commit, then one commit a patch.
# Changes nothing when nothing changed, and never overwrites work of its own.
#
# The stamp in build/linux/.git says what was made from what:
#   series  hash of the series that tip is made of (or was refreshed into)
#   tip     the commit of the branch at that time
#   base    what PHYR_BASE was, if it was set
#   pin     the pinned base at that time

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=kernel-config/base
. "$top/kernel-config/base"

branch=phyr
fixed_date='2001-09-17T00:00:00Z'
scratch=$build/tmp/tree

trap 'rm -rf "$scratch"' EXIT

# The same base gives the same commit on every machine.
make_base() {
	local new=$scratch/linux release
	say "tree: unpacking the base into build/linux"
	"$top/ci/base.sh" "$new"
	release=$(make -s -C "$new" kernelversion) ||
		die "tree: the base does not say its version: it is damaged: remove the copy it came from"
	git init -q --template= -b "$branch" "$new"
	git -C "$new" config core.compression 1
	git -C "$new" config core.untrackedCache true
	git -C "$new" config gc.auto 0
	git -C "$new" add -f .
	GIT_AUTHOR_DATE=$fixed_date GIT_COMMITTER_DATE=$fixed_date \
		git -C "$new" commit -q --no-verify -m "Linux $release" ||
		die "tree: cannot commit the base: is the disk full?"
	mv "$new" "$linux"
	stamp_put "series=$empty" "tip=$(lgit rev-parse HEAD)" "base=$("$top/ci/base.sh" --id)" "pin=$tar_sha256"
}

# The distribution's .gitignore hides every new file (it ignores /*), which
# would let make refresh miss one that was never added. The base commit keeps
# it; the copy in the working tree does without, and git is told not to look.
mend_ignore() {
	grep -qsx '/\*' "$linux/.gitignore" || return 0
	lgit update-index --skip-worktree .gitignore
	sed -i -e '/^\/\*$/d' -e '/^!\/debian\/$/d' "$linux/.gitignore"
}

# Patches carry no date; commits must, and always the same one.
with_date() {
	sed '1,/^$/s/^Subject: /Date: Mon, 17 Sep 2001 00:00:00 +0000\n&/' "$1"
}

# The series is tried in a clone, so that build/linux is touched only by one that
# applies.
apply_series() {
	local p n=0 am=$scratch/am log=$logs/am.log
	patch_clone "$linux" "$(base_commit)" "$am" /COPYING
	while read -r p; do
		with_date "$top/patches/$p" >"$scratch/mail"
		run_logged "$log" git -C "$am" am --quiet --no-3way --keep-non-patch --no-scissors \
			--committer-date-is-author-date --whitespace=nowarn "$scratch/mail" 2>/dev/null ||
			die "tree: patches/$p does not apply ($(grep -m1 -E '^error|^fatal' "$log" || echo 'no reason given')): mend it, or put the base right"
		n=$((n + 1))
	done < <(series_patches)
	lgit fetch -q --no-tags --no-write-fetch-head "$am" +HEAD:refs/phyr/applied
	# Touches only the files that differ between the two.
	lgit checkout -q -B "$branch" refs/phyr/applied
	stamp_put "series=$want" "tip=$(lgit rev-parse HEAD)"
	say "tree: $n patches applied to $(lgit log -1 --format=%s "$(base_commit)")"
}

# A base that is not the one asked for any more. A tree without a stamp was
# made by hand: its release has to do.
base_changed() {
	local id was pin
	pin=$(stamp_get pin)
	if [[ -z $pin && $(lgit log -1 --format=%s "$(base_commit)") == "Linux $version" ]]; then
		pin=$tar_sha256
	fi
	if [[ -z ${PHYR_BASE-} ]]; then
		[[ $pin != "$tar_sha256" ]]
		return
	fi
	id=$("$top/ci/base.sh" --id) || exit 1
	was=$(stamp_get base)
	[[ $id != "${was:-tar $pin}" ]]
}

own_work() {
	local tip
	tip=$(stamp_get tip)
	[[ $(lgit rev-parse HEAD) != "${tip:-$(base_commit)}" ]] || tree_dirty
}

empty=$(sha256sum </dev/null | cut -d' ' -f1)
want=$(series_hash)
lock_build
rm -rf "$scratch"
mkdir -p "$scratch"

[[ -e $linux/.git || ! -e $linux ]] ||
	die "tree: build/linux is not a git tree: it was not made here: move it away"
if [[ -e $linux ]] && base_changed; then
	! own_work ||
		die "tree: the base changed, and build/linux has work that is not in patches/: make refresh with the old base, or remove build/linux"
	say "tree: the base changed: making build/linux anew"
	rm -rf "$linux"
fi
[[ -e $linux ]] || make_base
mend_ignore

have=$(stamp_get series)
if own_work; then
	[[ ${have:-$empty} == "$want" ]] ||
		die "tree: series changed, and build/linux has work that is not in patches/: make refresh, or drop the work (git -C build/linux reset --hard $(stamp_get tip | grep . || base_commit))"
	say "tree: build/linux has work that is not in patches/ yet: used as it is"
elif [[ ${have:-$empty} != "$want" ]]; then
	apply_series
fi
