#!/usr/bin/env bash
# Applies the series to a git tree of your own, as a new branch of it. Nothing else
# in that tree changes: the patches are applied in a clone that shares its objects,
# and the branch is made when all are. If one is not, the clone is left for you to
# go on in, and the tree is as it was.
#
# TREE=DIR or DIR:COMMIT  the tree, and what to apply to: HEAD if not given
# BRANCH=name             the branch to make: phyr if not given

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

log=$logs/apply.log
clone=$build/apply
scratch=$build/tmp/apply
branch=${BRANCH-phyr}
# The clone goes away in the end, unless there is something to go on with in it.
remove=

trap 'rm -rf "$scratch" ${remove:+"$remove"}' EXIT

# Git in the reader's tree, which may belong to another user.
tgit() {
	git -C "$tree" -c safe.directory='*' "$@"
}

cgit() {
	git -C "$clone" "$@"
}

# Sets tree and commit.
read_tree() {
	local rev=HEAD
	[[ -n ${TREE-} ]] || die "apply: no tree to apply to: TREE=DIR or TREE=DIR:COMMIT names one"
	tree=$TREE
	if [[ ! -d $tree && $tree == *:* ]]; then
		rev=${tree##*:} tree=${tree%:*}
	fi
	tree=$(realpath -- "$tree")
	tgit rev-parse --git-dir >/dev/null 2>&1 ||
		die "apply: TREE=$TREE is not a git tree: name one, as DIR or DIR:COMMIT"
	commit=$(tgit rev-parse --verify --quiet "$rev^{commit}") ||
		die "apply: TREE=$TREE: no such commit in that tree: fetch it or name another"
	tgit cat-file -e "$commit:MAINTAINERS" 2>/dev/null ||
		die "apply: TREE=$TREE is not a kernel tree: name one"
	tgit check-ref-format --branch "$branch" >/dev/null 2>&1 ||
		die "apply: BRANCH=$branch is no name for a branch: give another"
	! tgit rev-parse --verify --quiet "refs/heads/$branch" >/dev/null ||
		die "apply: $tree has a branch $branch already: remove it, or BRANCH= gives another name"
}

# The files that patches touch, as they follow a/ in them.
files_in() {
	sed -n 's,^diff --git a/\(.*\) b/.*,\1,p' "$@" | sort -u
}

make_clone() {
	local files
	[[ ! -e $clone ]] ||
		die "apply: $(rel "$clone") is left from a series that did not apply: go on there, or remove it"
	remove=$clone
	rm -rf "$scratch"
	mkdir -p "$scratch" "$logs"
	mapfile -t files < <(files_in "${patches[@]}" | sed 's,^,/,')
	patch_clone "$tree" "$commit" "$clone" "${files[@]}"
	cgit checkout -q -B "$branch"
}

# hunks PATCH FILE: their @@ lines, in order.
hunks() {
	awk -v file="$2" '
		/^diff --git / { here = index($0, "diff --git a/" file " b/") == 1 }
		here && /^@@ / { print }' "$1"
}

# What of the patch $1 does not apply to HEAD as it is: "FILE N", a line for each
# hunk, or "FILE why" for a whole file. Tried on copies.
rejects() {
	local f
	rm -rf "$scratch/try"
	mkdir "$scratch/try"
	while read -r f; do
		cgit cat-file -e "HEAD:$f" 2>/dev/null || continue
		mkdir -p "$scratch/try/$(dirname "$f")"
		cgit show "HEAD:$f" >"$scratch/try/$f"
	done < <(files_in "$1")
	(cd "$scratch/try" && GIT_CEILING_DIRECTORIES=$scratch git apply --reject --verbose "$1" 2>&1) |
		awk '
			sub(/^error: /, "") && match($0, /: (No such file or directory|already exists in working directory)$/) {
				why = /No such/ ? "is not in this tree" : "is in this tree already"
				print substr($0, 1, RSTART - 1) " " why
			}
			/^Applying patch .* with [0-9]+ reject/ { file = $3 }
			/^Rejected hunk #/ { n = $3; gsub(/[^0-9]/, "", n); print file " " n }'
}

# The lines of the file $1 in the clone that git has put both sides into.
conflicts() {
	awk '
		/^<<<<<<< / { from = NR }
		/^>>>>>>> / && from { printf "%s%d-%d", sep, from, NR; sep = ", "; from = 0 }' "$clone/$1"
}

# One line for each file and hunk that is in the way. With a merge, only files that
# git could not merge are.
explain() {
	local patch=$1 unmerged file what at
	unmerged=$(cgit diff --name-only --diff-filter=U)
	while read -r file what; do
		[[ -z $unmerged ]] || grep -qxF "$file" <<<"$unmerged" || continue
		if [[ $what == [0-9]* ]]; then
			at=$(hunks "$patch" "$file" | sed -n "${what}p")
			what="hunk $what of $(hunks "$patch" "$file" | wc -l): $at"
		fi
		say "    $file: $what"
	done < <(rejects "$patch")
	while read -r file; do
		[[ -z $file || ! -f $clone/$file ]] || say "    $file: conflict in lines $(conflicts "$file")"
	done <<<"$unmerged"
}

# The patch that stopped it, why, and how to go on.
report() {
	local next patch dir
	dir=$(rel "$clone")
	[[ -f $clone/.git/rebase-apply/next ]] || {
		tail -n 5 "$log" | sed 's/^/  | /'
		die "apply: git am did not even begin: see $(rel "$log")"
	}
	next=$(<"$clone/.git/rebase-apply/next")
	patch=${patches[next - 1]}
	remove=
	say "apply: patch $next of ${#patches[@]} does not apply: ${patch##*/}"
	explain "$patch"
	say "$tree is as it was. The $((next - 1)) patches before it are applied in $dir, and there you can go on:"
	say "    cd $dir"
	if [[ -n $(cgit diff --name-only --diff-filter=U) ]]; then
		say "    git diff                      shows what is in conflict: put these files right"
	else
		say "    git apply --reject .git/rebase-apply/patch"
		say "                                  applies what it can, and leaves the rest in .rej files"
		say "                                  (git can merge only in a tree that has v7.3.4 in its"
		say "                                  history, and so the blobs that the patch is made for)"
	fi
	say "    git add FILE...; git am --continue"
	say "                                  git am --skip leaves the patch out, git am --abort all of them"
	say "    git -C $tree fetch $clone $branch:$branch"
	say "                                  makes the branch, when all is done"
	say "error: apply: ${patch##*/} does not apply to $(tgit log -1 --format='%h (%s)' "$commit"): see above" >&2
	exit 1
}

# Which patches were merged, as git am says it.
merged() {
	awk '/^Applying: / { subject = substr($0, 11) } /^Falling back to patching base/ { print "    " subject }' "$log"
}

mapfile -t patches < <(series_patches | sed "s,^,$top/patches/,")
read_tree
lock_build
stage 1 3 "apply: a clone of $tree at $(tgit log -1 --format='%h (%s)' "$commit")"
make_clone
stage 2 3 "apply: ${#patches[@]} patches (log: $(rel "$log"))"
cgit am -3 --keep-non-patch --no-scissors --whitespace=nowarn "${patches[@]}" >"$log" 2>&1 </dev/null || report
stage 3 3 "apply: branch $branch"
tgit -c gc.auto=0 -c maintenance.auto=false fetch -q --no-tags --no-write-fetch-head "$clone" "refs/heads/$branch:refs/heads/$branch" ||
	die "apply: the patches apply, but $tree does not take the branch $branch: see above"
if [[ -n $(merged) ]]; then
	say "apply: not as they are, but merged by git without a conflict (worth a look):"
	merged
fi
say "apply: ${#patches[@]} patches applied: git -C $tree switch $branch"
