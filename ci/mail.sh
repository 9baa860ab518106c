#!/usr/bin/env bash
# Tests what make mbox and make apply make: with b4, without a network, and on trees
# that have moved on. Speaks KTAP, on stdout and in build/log/ktap/mail.ktap.
#
# ci/mail.sh TEST...: just these. Most need the mails that "signed" makes.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=ci/ktap.sh
. "$top/ci/ktap.sh"

scratch=$build/tmp/mail
my_name='Mail Test' my_email=mail@phyr.test
submitter="$my_name <$my_email>"
remove=

trap 'rm -rf "$scratch" ${remove:+"$remove"}' EXIT

# With this git identity, whatever is configured.
as_submitter() {
	env GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0="$my_name" \
		GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1="$my_email" HOME="$scratch/home" \
		XDG_CACHE_HOME="$scratch/home/cache" XDG_DATA_HOME="$scratch/home/data" "$@"
}

# b4 would ask lore.kernel.org for replies, if it could.
b4_offline() {
	local cut=() option=()
	! unshare -rn true 2>/dev/null || cut=(unshare -rn)
	! b4 --help | grep -q -- --offline-mode || option=(--offline-mode)
	as_submitter "${cut[@]}" b4 "${option[@]}" "$@"
}

# mbox DIR [VARIABLE=VALUE...]: make mbox, into DIR.
mbox() {
	local dir=$scratch/$1
	shift
	as_submitter "$@" "$top/ci/mbox.sh" "$dir"
	git mailsplit -o"$dir" "$dir"/phyr-v*.mbox >/dev/null
}

# The mails of DIR: the cover letter, or the patches.
cover() {
	say "$scratch/$1/0001"
}

patch_mails() {
	find "$scratch/$1" -name '[0-9]*' ! -name 0001 | sort
}

# header NAME FILE: its value, on one line.
header() {
	sed '/^$/q' "$2" | perl -0pe 's/\n[ \t]+/ /g' | sed -n "s/^$1: //ip"
}

preview() {
	local m
	mbox preview SIGNOFF=
	[[ $(patch_mails preview | wc -l) == "$n_patches" ]] || die "there are not $n_patches patches"
	for m in $(cover preview) $(patch_mails preview); do
		[[ $(header From "$m") == 'phyr <phyr@phyr.invalid>' ]] || die "$m: not from phyr"
		! grep -i '^signed-off-by:' "$m" || die "$m: signed off by nobody"
	done
}

signed() {
	local m
	mbox signed SIGNOFF=1
	for m in $(cover signed) $(patch_mails signed); do
		[[ $(header From "$m") == "$submitter" ]] || die "$m: not from the submitter"
		[[ $m == "$(cover signed)" || $(sed '/^---$/q' "$m" | grep -xc "Signed-off-by: $submitter") == 1 ]] ||
			die "$m: not signed off once"
	done
	! grep -r 'phyr@phyr\.invalid' "$scratch/signed" || die "the author is still phyr"
}

same_bytes() {
	mbox again SIGNOFF=1
	cmp "$scratch"/{signed,again}/phyr-v*.mbox
}

needs_identity() {
	! my_name='' my_email='' as_submitter SIGNOFF=1 "$top/ci/mbox.sh" "$scratch/none" >"$scratch/none.out" 2>&1 ||
		die "mails without a submitter"
	grep -qx 'error: mbox: SIGNOFF=1 needs your name and address.*' "$scratch/none.out" ||
		die "$(<"$scratch/none.out")"
}

one_thread() {
	local m i=0 root number
	root=$(header Message-ID "$(cover signed)")
	for m in $(cover signed) $(patch_mails signed); do
		number=$(printf "%0${#n_patches}d/%d" "$i" "$n_patches")
		[[ $(header Subject "$m") == "[PATCH"*" $number] "* ]] || die "$m: subject is not number $number"
		[[ $i == 0 || $(header In-Reply-To "$m") == "$root" ]] || die "$m: no reply to the cover letter"
		i=$((i + 1))
	done
	[[ $(cat "$scratch"/signed/[0-9]* | grep -c '^Message-ID: ') == $((n_patches + 1)) ]] || die "Message-IDs are missing"
	[[ -z $(cat "$scratch"/signed/[0-9]* | grep '^Message-ID: ' | sort | uniq -d) ]] || die "two mails have the same Message-ID"
}

# Everyone is in the MAINTAINERS of the base.
addresses() {
	local m to who
	lgit show "$base:MAINTAINERS" >"$scratch/MAINTAINERS"
	for m in $(cover signed) $(patch_mails signed); do
		to=$(header To "$m") who="$to, $(header Cc "$m")"
		[[ $who == *@*linux-kernel@vger.kernel.org* ]] || die "$m: not to a maintainer and linux-kernel: $who"
		(($(grep -o @ <<<"$who" | wc -l) <= 100)) || die "$m: too many recipients"
		[[ $(sed '/^$/q' "$m" | LC_ALL=C grep -c '[^ -~	]') == 0 ]] || die "$m: a header that is not ASCII"
		! grep -oE '[^[:space:]<]+@[^[:space:]>,]+' <<<"$who" | grep -vxFf <(grep -oE '[^[:space:]<]+@[^[:space:]>,]+' "$scratch/MAINTAINERS" | sort -u) ||
			die "$m: nobody in MAINTAINERS has this address"
	done
}

# am DIR MBOX ARGUMENT...: b4 am, in a clone of the base, without complaints.
am() {
	local out=$scratch/$1 mbox=$2
	shift 2
	mkdir -p "$out"
	(cd "$tree" && b4_offline am --no-cache -m "$mbox" -o "$out" "$@") >"$out/log" 2>&1 || { cat "$out/log"; return 1; }
	! grep -E 'WARNING|CRITICAL|ERROR|NOTE:|✗|incomplete|missing' "$out/log" || die "b4 am complains"
}

# new_tree DIR COMMIT: a clone at a commit.
new_tree() {
	patch_clone "$linux" "$2" "$scratch/$1" /COPYING
}

b4_am() {
	am am "$(echo "$scratch"/signed/phyr-v*.mbox)"
	[[ $(git mailsplit -o"$(mktemp -d -p "$scratch")" "$scratch"/am/*.mbx) == "$n_patches" ]] || die "b4 am has lost patches"
}

am_on_base() {
	git -C "$tree" am -q -3 "$scratch"/am/*.mbx
	git -C "$tree" diff --exit-code --stat "$tip" HEAD
	git -C "$tree" log --format='%an <%ae>' "$base.." | sort -u | diff - <(say "$submitter")
}

# The number of the patch nearest to the middle that needs none before it.
lone_patch() {
	local p i=0 files
	while read -r p; do
		i=$((i + 1))
		files=$(sed -n 's,^diff --git a/\(.*\) b/.*,\1,p' "$top/patches/$p")
		grep -qxFf <(say "$files") "$scratch/seen" || say "$((i < n_patches / 2 ? n_patches / 2 - i : i - n_patches / 2)) $i"
		say "$files" >>"$scratch/seen"
	done < <(series_patches) | sort -n | sed -n '1s/.* //p'
}

# change DIR FROM TO: files and blobs; a patch-id would not see whitespace.
change() {
	git -C "$1" diff --raw --no-abbrev --no-renames "$2" "$3"
}

b4_am_one() {
	local n
	: >"$scratch/seen"
	n=$(lone_patch)
	new_tree one "$base"
	am am-one "$(echo "$scratch"/signed/phyr-v*.mbox)" -P "$n"
	git -C "$scratch/one" am -q -3 "$scratch"/am-one/*.mbx
	diff <(change "$scratch/one" HEAD^ HEAD) <(change "$linux" "$tip~$((n_patches - n + 1))" "$tip~$((n_patches - n))")
}

b4_am_some() {
	local first=$((n_patches / 2)) last
	last=$((first + 5))
	new_tree some "$tip~$((n_patches - first + 1))"
	am am-some "$(echo "$scratch"/signed/phyr-v*.mbox)" -P "$first-$last"
	git -C "$scratch/some" am -q -3 "$scratch"/am-some/*.mbx
	git -C "$scratch/some" diff --exit-code --stat "$tip~$((n_patches - last))" HEAD
}

# A git tree as base: a tag, and one commit more that nobody else has.
base_commit_named() {
	local head id
	patch_clone "$linux" "$base" "$scratch/named" /COPYING
	git -C "$scratch/named" remote remove origin
	git -C "$scratch/named" tag v1.0
	say own >>"$scratch/named/COPYING"
	git -C "$scratch/named" commit -qam own
	head=$(git -C "$scratch/named" rev-parse HEAD)
	mbox with-base SIGNOFF=1 PHYR_BASE="$scratch/named:$head"
	id=$(git -C "$scratch/named" show "$head" | git patch-id --stable | cut -d' ' -f1)
	grep -qx "base-commit: $base" "$(cover with-base)" || die "no base-commit: $base"
	grep -qx "prerequisite-patch-id: $id" "$(cover with-base)" || die "no prerequisite-patch-id: $id"
	am am-base "$(echo "$scratch"/with-base/phyr-v*.mbox)"
	grep -q "using specified base-commit $base\|git checkout -b .* $base" "$scratch/am-base/log" ||
		{ cat "$scratch/am-base/log"; die "b4 does not take the base-commit"; }
}

# The next version: the last patch is gone, and one in the middle is another. In a
# repository of its own, which REV= can see.
b4_diff() {
	local repo=$scratch/next n p rev
	mkdir "$repo"
	cp -r "$top"/{patches,series,cover-letter.txt,changelog} "$repo"
	n=$(sed -n 's/^v\([1-9][0-9]*\):$/\1/p' "$top/changelog" | head -n 1)
	sed -i "0,/^v$n:\$/s//v$((n + 1)):\n- A patch less.\n\n&/" "$repo/changelog"
	sed -i "$(sed -n '/^[^#]/=' "$repo/series" | tail -n 1)d" "$repo/series"
	p=$(cd "$repo" && grep -l '^+MODULE_DESCRIPTION("' patches/* | head -n 1)
	sed -i 's/^+MODULE_DESCRIPTION("/&The /' "$repo/$p"
	git -C "$repo" init -q
	git -C "$repo" add .
	git -C "$repo" commit -qm "next version"
	rev=$(git -C "$repo" rev-parse HEAD)
	GIT_ALTERNATE_OBJECT_DIRECTORIES=$repo/.git/objects mbox v2 SIGNOFF=1 REV="$rev"
	[[ $(header Subject "$(cover v2)") == "[PATCH v$((n + 1)) "* ]] || die "no v$((n + 1)) in the subject"
	grep -qx "Changes since v$n:" "$(cover v2)" || die "no changes in the cover letter"
	# b4 makes worktrees of it, which must not be sparse.
	git clone -q --shared --no-checkout --template= "$linux" "$scratch/plain"
	(cd "$scratch/plain" && b4_offline diff --no-cache -o "$scratch/range-diff" -m "$scratch"/signed/phyr-v*.mbox "$scratch"/v2/phyr-v*.mbox)
	# The patch is changed, the last is gone, all else is as it was.
	grep -E '^ *[0-9]+: .* (!|<) ' "$scratch/range-diff"
	[[ $(grep -cE '^ *[0-9]+: .* = ' "$scratch/range-diff") == $((n_patches - 2)) ]] || die "more patches differ, or less"
	grep -qE "^ *$(series_patches | grep -nxF "${p#patches/}" | cut -d: -f1): .* ! " "$scratch/range-diff" || die "$p is not different"
	grep -qE "^ *$n_patches: .* < +-: " "$scratch/range-diff" || die "the last patch is not gone"
	grep -q '^ *++MODULE_DESCRIPTION("The ' "$scratch/range-diff" || die "the line that differs is not there"
}

# As b4 checks a patch, but --strict: a Signed-off-by is wanted here.
checkpatch() {
	local bad=$scratch/checkpatch
	cd "$linux"
	patch_mails signed | xargs -P "$jobs" -n 1 perl scripts/checkpatch.pl -q --strict --terse --no-summary \
		--showfile --show-types --ignore FILE_PATH_CHANGES --color=never >"$bad" 2>&1 || true
	! grep -vE "$checkpatch_exceptions" "$bad"
}

# Files of the base that one patch changes and no other: "N FILE", N the patch.
files_of_one_patch() {
	local p i=0
	while read -r p; do
		i=$((i + 1))
		sed -n "s,^diff --git a/\\(.*\\) b/.*,$i \\1,p" "$top/patches/$p"
	done < <(series_patches) | awk '{ n[$2]++; line[$2] = $0 } END { for (f in n) if (n[f] == 1) print line[f] }' |
		sort -n | while read -r i p; do
		! lgit cat-file -e "$base:$p" 2>/dev/null || say "$i $p"
	done
}

# small_tree DIR: the files that the series changes, as the base has them.
small_tree() {
	local dir=$scratch/$1
	git init -q --template= -b main "$dir"
	{
		say MAINTAINERS
		lgit diff --no-renames --diff-filter=M --name-only "$base" "$tip"
	} | xargs -d '\n' git -C "$linux" archive "$base" -- | tar -x -C "$dir"
}

# commit_tree DIR MESSAGE
commit_tree() {
	git -C "$scratch/$1" add -f .
	git -C "$scratch/$1" commit -qm "$2"
}

# state DIR: all that must stay as it is.
state() {
	git -C "$1" for-each-ref
	git -C "$1" symbolic-ref HEAD
	git -C "$1" status --porcelain --ignored
	git -C "$1" config --local --list
}

# apply DIR: make apply onto it.
apply() {
	TREE=$scratch/$1 "$top/ci/apply.sh"
}

apply_pristine() {
	small_tree pristine
	commit_tree pristine base
	state "$scratch/pristine" >"$scratch/before"
	apply pristine
	diff <(change "$scratch/pristine" main phyr) <(change "$linux" "$base" "$tip")
	state "$scratch/pristine" | grep -v 'refs/heads/phyr$' | diff "$scratch/before" -
	[[ ! -e $build/apply ]] || die "the clone is still there"
	! apply pristine || die "a branch was made twice"
}

# drift DIR: in each file that one patch changes, a line more between the lines that
# its first hunk has before what it changes. It does not apply then, but merges.
drift() {
	local i f p line
	while read -r i f; do
		p=$top/patches/$(series_patches | sed -n "${i}p")
		line=$(awk -v f="$f" '
			/^diff --git / { here = $3 == "a/" f }
			here && /^@@ / { split($2, at, /[-,]/); n = at[2]; context = 0; next }
			here && n && /^ / { context++; next }
			here && n { if (context == 3 && n > 1) print n; exit }' "$p")
		[[ -z $line ]] || sed -i "${line}a /* drift */" "$scratch/$1/$f"
	done <"$scratch/lone"
}

apply_drifted() {
	small_tree drifted
	commit_tree drifted base
	drift drifted
	commit_tree drifted drift
	git -C "$scratch/drifted" show --stat | tail -n 1
	apply drifted | tee "$scratch/drifted.out"
	grep -q '^apply: not as they are, but merged' "$scratch/drifted.out" || die "nothing had to be merged: the test tests nothing"
	# What was there before is still there.
	[[ $(git -C "$scratch/drifted" grep -c '^/\* drift \*/$' phyr | wc -l) == "$(git -C "$scratch/drifted" grep -c '^/\* drift \*/$' main | wc -l)" ]] ||
		die "the drift is lost"
}

# Sets number, file, hunk and line of a line that a patch in the middle takes away
# in the last of several hunks.
place_of_conflict() {
	read -r number file hunk line < <(while read -r i f; do
		awk -v i="$i" -v f="$f" '
			/^diff --git / { here = $3 == "a/" f }
			here && /^@@ / { split($2, at, /[-,]/); l = at[2]; hunk++; gone = 0; next }
			here && hunk && /^-/ { if (!gone) gone = l; l++; next }
			here && hunk && /^ / { l++ }
			END { if (hunk > 1 && gone) print i, f, hunk, gone }' "$top/patches/$(series_patches | sed -n "${i}p")"
	done <"$scratch/lone" | awk -v half="$((n_patches / 3))" '$1 >= half' | head -n 1)
	[[ -n ${line-} ]] || die "no patch is fit for this test"
}

# Changes the line that the patch takes away.
put_in_the_way() {
	place_of_conflict
	sed -i "${line}s,.*,/* in the way */," "$scratch/$1/$file"
	commit_tree "$1" "in the way"
	state "$scratch/$1" >"$scratch/before"
}

# The report of apply in $1 names patch, file and hunk, and the tree is as it was.
reported() {
	local patch
	patch=$(series_patches | sed -n "${number}p")
	! apply "$1" >"$scratch/$1.out" 2>&1 || die "it applied: the test tests nothing"
	cat "$scratch/$1.out"
	grep -qx "apply: patch $number of $n_patches does not apply: $patch" "$scratch/$1.out"
	grep -q "^    $file: hunk $hunk of $hunk: @@ " "$scratch/$1.out"
	[[ $(grep -c "^    [^ ]*: hunk " "$scratch/$1.out") == 1 ]]
	[[ $(tail -n 1 "$scratch/$1.out") == "error: apply: $patch does not apply to "* ]]
	state "$scratch/$1" | diff "$scratch/before" -
	[[ -f $build/apply/.git/rebase-apply/next ]]
	! apply "$1" || die "what there is to go on with was thrown away"
}

# And what it says how to go on, goes.
apply_conflict() {
	small_tree conflict
	commit_tree conflict base
	put_in_the_way conflict
	reported conflict
	grep -q "^    $file: conflict in lines [0-9]" "$scratch/conflict.out"
	git -C "$build/apply" checkout -q --theirs "$file"
	git -C "$build/apply" add "$file"
	git -C "$build/apply" am --continue
	git -C "$scratch/conflict" fetch -q "$build/apply" phyr:phyr
	[[ $(git -C "$scratch/conflict" rev-list --count main..phyr) == "$n_patches" ]]
	diff <(git -C "$scratch/conflict" show "phyr:$file") <(lgit show "$tip:$file")
}

# The same where the base is not in the history, so that git can't merge.
apply_without_blobs() {
	small_tree blobless
	put_in_the_way blobless
	reported blobless
	grep -q 'git apply --reject' "$scratch/blobless.out"
	# As it says: the other hunks go in, and this one is for the reader.
	(cd "$build/apply" && git apply --reject .git/rebase-apply/patch) || true
	[[ -s $build/apply/$file.rej ]]
	rm "$build/apply/$file.rej"
	git -C "$build/apply" add .
	git -C "$build/apply" am --continue
	git -C "$scratch/blobless" fetch -q "$build/apply" phyr:phyr
	[[ $(git -C "$scratch/blobless" rev-list --count main..phyr) == "$n_patches" ]]
}

command -v b4 >/dev/null || die "mail: no b4 on this machine: install what ci/packages names"
lock_build
[[ ! -e $build/apply ]] ||
	die "mail: build/apply is left from a series that did not apply: go on there, or remove it"
remove=$build/apply
rm -rf "$scratch"
mkdir -p "$scratch"/home "$ktap" "$logs"
"$top/ci/tree.sh"
base=$(base_commit)
tip=$(stamp_get tip)
tree=$scratch/tree
n_patches=$(series_patches | wc -l)
new_tree tree "$base"
files_of_one_patch >"$scratch/lone"

all=(preview signed same_bytes needs_identity one_thread addresses b4_am am_on_base b4_am_one b4_am_some
	base_commit_named b4_diff checkpatch apply_pristine apply_drifted apply_conflict apply_without_blobs)
((!$#)) || all=("$@")
ktap_start mail "${#all[@]}"
for t in "${all[@]}"; do
	ok_if "${t//_/-}" "$t"
	# What it left there is in the way of the next.
	rm -rf "$build/apply"
done

ktap_end
