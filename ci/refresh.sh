#!/usr/bin/env bash
# Turns the branch in build/linux back into patches/ and series, the same bytes
# every time, and the selftests patch from selftests/. Says what changed.
#
# ci/refresh.sh --check: changes nothing; fails, and says why, if it would.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scratch=$build/tmp/refresh
selftests_subject='selftests: phyr: add selftests'

trap 'rm -rf "$scratch"' EXIT

# selftests/ as a git tree in the object store of build/linux. Its own
# .gitignore and the repository's keep what was built there out of it.
selftests_tree() {
	export GIT_INDEX_FILE=$scratch/selftests.index
	git --git-dir="$linux/.git" --work-tree="$top/selftests" -C "$top/selftests" \
		-c core.excludesFile="$top/.gitignore" -c core.untrackedCache=false add -A .
	lgit write-tree
}

# The tip's tree with the selftests replaced by those of selftests/.
tip_with_selftests() {
	local tree
	tree=$(selftests_tree)
	export GIT_INDEX_FILE=$scratch/tip.index
	lgit read-tree HEAD
	lgit rm -rq --cached --ignore-unmatch "$selftests_dir"
	lgit read-tree --prefix="$selftests_dir/" "$tree"
	lgit write-tree
}

# The commit of the branch that holds the selftests, if there is one.
selftests_commit() {
	lgit log --format='%H %s' "$base..HEAD" | sed -n 's/^\([0-9a-f]*\) selftests: phyr: .*/\1/p' | head -n 1
}

# Prints the commit that the branch should end with: HEAD if selftests/ is in
# it already, or else the selftests commit written anew.
wanted_tip() {
	local head tree have
	head=$(lgit rev-parse HEAD)
	if [[ ! -d $top/selftests || -z $(find "$top/selftests" -type f -print -quit) ]]; then
		say "$head"
		return
	fi
	tree=$(tip_with_selftests)
	if [[ $tree == "$(lgit rev-parse 'HEAD^{tree}')" ]]; then
		say "$head"
		return
	fi
	have=$(selftests_commit)
	if [[ -z $have ]]; then
		say "$selftests_subject" | lgit commit-tree "$tree" -p HEAD
	elif [[ $have == "$head" ]]; then
		lgit log -1 --format=%B HEAD |
			GIT_AUTHOR_NAME=$(lgit log -1 --format=%an HEAD) \
				GIT_AUTHOR_EMAIL=$(lgit log -1 --format=%ae HEAD) \
				lgit commit-tree "$tree" -p HEAD^
	else
		die "refresh: selftests/ changed, but its commit ${have:0:12} is not the last of the branch: move it there with git rebase -i"
	fi
}

format() {
	local tip=$1 out=$2 p
	mkdir -p "$out"
	format_patch "$linux" -o "$out" "$base..$tip"
	for p in "$out"/*.patch; do
		[[ -f $p ]] || continue
		# Whoever applies it gets the date of that day.
		sed -i '1,/^$/{/^Date: /d}' "$p"
		! sed '/^---$/q' "$p" | grep -qi '^signed-off-by:' ||
			die "refresh: ${p##*/} has a Signed-off-by: whoever submits the patch adds it, take it out of the commit message"
	done
	find "$out" -name '*.patch' -printf '%f\n' | sort >"$scratch/series"
}

# Compares what is there with what should be: sets changed, new, gone.
compare() {
	local p
	changed=() new=() gone=()
	while read -r p; do
		if [[ ! -f $top/patches/$p ]]; then
			new+=("$p")
		elif ! cmp -s "$scratch/patches/$p" "$top/patches/$p"; then
			changed+=("$p")
		fi
	done <"$scratch/series"
	while read -r p; do
		[[ -f $scratch/patches/$p ]] || gone+=("$p")
	done < <(patch_files)
}

summary() {
	local text=
	((${#changed[@]} == 0)) || text+="; ${#changed[@]} changed: ${changed[*]}"
	((${#new[@]} == 0)) || text+="; ${#new[@]} new: ${new[*]}"
	((${#gone[@]} == 0)) || text+="; ${#gone[@]} gone: ${gone[*]}"
	cmp -s "$scratch/series" "$top/series" || text+="; series"
	say "${text#; }"
}

write_patches() {
	local p
	mkdir -p "$top/patches"
	for p in "${changed[@]}" "${new[@]}"; do
		cp "$scratch/patches/$p" "$top/patches/$p"
	done
	for p in "${gone[@]}"; do
		rm "$top/patches/$p"
	done
	cmp -s "$scratch/series" "$top/series" || cp "$scratch/series" "$top/series"
}

mode=${1-}
[[ -e $linux/.git ]] || die "refresh: no build/linux: make shell makes it from the base and the series"
lock_build
rm -rf "$scratch"
mkdir -p "$scratch"

[[ $(lgit symbolic-ref -q HEAD) == refs/heads/phyr ]] ||
	die "refresh: build/linux is not on its branch phyr: finish the rebase, or git checkout phyr"
! tree_dirty ||
	die "refresh: build/linux has changes that are in no commit: commit them, or git stash -u"

base=$(base_commit)
head=$(lgit rev-parse HEAD)
[[ -z $(lgit rev-list --merges "$base..$head") ]] ||
	die "refresh: build/linux has a merge in its branch: a series is linear, git rebase it"
[[ $(wc -l <<<"$base") == 1 ]] ||
	die "refresh: build/linux has more than one first commit: git rebase the branch onto the base"

# The selftests of a --check are those of the branch, told apart from patches.
tip=$(wanted_tip)
format "$tip" "$scratch/patches"
compare
result=$(summary)

if [[ $mode == --check ]]; then
	[[ $tip == "$head" ]] || die "refresh: selftests/ is not what the selftests commit has: make refresh"
	[[ -z $result ]] || die "refresh: patches/ is not what the branch is ($result): make refresh, or git -C build/linux reset --hard"
	exit 0
fi

if [[ $tip != "$head" ]]; then
	lgit reset -q --hard "$tip"
	say "refresh: the selftests commit was made anew from selftests/"
fi
write_patches
stamp_put "series=$(series_hash)" "tip=$tip"
say "refresh: ${result:-nothing changed}"
