#!/usr/bin/env bash
# ci/mbox.sh [DIR]: the series as mail. Writes phyr-vN.mbox to DIR, or to build/:
# cover letter and patches as one thread, addressed to whom get_maintainer.pl
# names. N is the first version in the file changelog. The same series, version
# and submitter give the same bytes.
#
# SIGNOFF=1            the mail to send: from the submitter, as git's user.name and
#                      user.email say, with their Signed-off-by; otherwise a preview
# REV=COMMIT           the series as it was in that commit of this repository
# PHYR_BASE=DIR:COMMIT a git tree: its commit is named as the base-commit, and what
#                      no tag or remote of that tree has as prerequisites

# Who submits is what the user has configured, and lib.sh turns that off.
here=$(dirname "${BASH_SOURCE[0]}")
user_name=$(git -C "$here" config user.name)
user_email=$(git -C "$here" config user.email)

# shellcheck source=ci/lib.sh
. "$here/lib.sh"

scratch=$build/tmp/mbox
log=$logs/mbox.log
src=$scratch/src
am=$scratch/am
mails=$scratch/mails
people=$build/maintainers
# What an SMTP server has to take in one mail (RFC 5321, 4.5.3.1.8).
most_recipients=100

trap 'rm -rf "$scratch"' EXIT

# Sets name and email: who the mails are from.
identity() {
	if [[ -z ${SIGNOFF-} ]]; then
		name=$GIT_COMMITTER_NAME email=$GIT_COMMITTER_EMAIL
		return
	fi
	name=$user_name email=$user_email
	[[ -n $name && -n $email ]] ||
		die "mbox: SIGNOFF=1 needs your name and address, and git has none: git config --global user.name and user.email"
	[[ $email == *@*.* && $email != *.invalid ]] ||
		die "mbox: SIGNOFF=1: no mail can come from $email: set git's user.email"
	export GIT_COMMITTER_NAME=$name GIT_COMMITTER_EMAIL=$email
}

# The series to send: what is here, or what REV has.
take_source() {
	mkdir -p "$src"
	if [[ -z ${REV-} ]]; then
		cp -r "$top"/{patches,series,cover-letter.txt,changelog} "$src"
		return
	fi
	git -C "$top" rev-parse --verify --quiet "$REV^{commit}" >/dev/null ||
		die "mbox: REV=$REV: no such commit here: name one, or a tag, that git log knows"
	git -C "$top" archive "$REV" patches series cover-letter.txt changelog | tar -x -C "$src" ||
		die "mbox: REV=$REV has no series with a changelog: name a later commit"
}

# The changes of the versions after the first, as the cover letter has them.
changes() {
	awk '
		/^#/ { next }
		/^v[0-9]+:$/ {
			n = substr($0, 2) + 0
			if (n > 1)
				print (any++ ? "\n" : "") "Changes since v" n - 1 ":\n"
			next
		}
		n > 1 && (NF || text[n]) { print; text[n] = 1 }' "$src/changelog" | cat -s
}

# Sets version.
read_changelog() {
	version=$(sed -n 's/^v\([1-9][0-9]*\):$/\1/p' "$src/changelog" | head -n 1)
	[[ -n $version ]] ||
		die "mbox: changelog names no version: it needs a line such as v1:"
	if ((version > 1)); then
		[[ -n $(sed "1,/^v$version:\$/d;/^v[0-9]*:\$/,\$d;/^#/d" "$src/changelog" | tr -d '[:space:]') ]] ||
			die "mbox: changelog says nothing about v$version: write what changed since v$((version - 1))"
	fi
}

# What was mailed as a version stays that version.
not_sent_before() {
	[[ -z ${REV-} ]] || return 0
	git -C "$top" rev-parse --verify --quiet "refs/tags/v$version" >/dev/null || return 0
	git -C "$top" diff --quiet "v$version" -- patches series cover-letter.txt ||
		die "mbox: the series is not what the tag v$version has, which was mailed: begin v$((version + 1)) in changelog, or REV=v$version to have v$version again"
}

# When the series was changed last, in seconds since 1970: the same for everyone.
series_date() {
	local date
	date=$(git -C "$top" log -1 --format=%ct "${REV:-HEAD}" -- patches series cover-letter.txt changelog 2>/dev/null) || date=
	say "${date:-1000684800}"
}

# Patches have a placeholder as author and no date. A patch that somebody else
# wrote keeps its author.
as_mail() {
	ME="$name <$email>" DATE="$2 +0000" perl -pe '
		$in_head = 1 if $. == 1;
		$in_head = 0 if /^$/;
		next unless $in_head;
		s/^From: phyr <phyr\@phyr\.invalid>$/From: $ENV{ME}/;
		s/^Subject: /Date: $ENV{DATE}\n$&/;' "$1"
}

# Git in the tree that PHYR_BASE names.
bgit() {
	git -c safe.directory='*' -C "$base_repo" "$@"
}

# Sets base_repo and base, and public: what reviewers have of that tree, which is
# what some tag or remote has, or all of it if there is neither. The commits of
# build/linux are of no use to anyone else.
find_base() {
	local id own
	base_repo=$linux base=$(base_commit) public=
	[[ -n ${PHYR_BASE-} ]] || return 0
	id=$("$top/ci/base.sh" --id) || exit 1
	[[ $id == git\ * ]] || return 0
	base=${id#git } base_repo=$PHYR_BASE
	[[ -d $base_repo ]] || base_repo=${PHYR_BASE%:*}
	public=$base
	[[ -n $(bgit for-each-ref --count=1 refs/tags refs/remotes) ]] || return 0
	own=$(bgit rev-list "$base" --not --tags --remotes | tail -n 1)
	[[ -z $own ]] || public=$(bgit rev-parse "$own^")
}

# One commit a patch, a second apart, so that mail readers keep the order.
make_commits() {
	local p n=0 date=$1
	patch_clone "$base_repo" "$base" "$am" /COPYING
	mkdir "$scratch/patches"
	while read -r p; do
		n=$((n + 1))
		as_mail "$src/patches/$p" "@$((date + n))" >"$scratch/patches/$(printf %04d "$n")"
	done < <(series_dir=$src series_patches)
	((n)) || die "mbox: series lists no patch: there is nothing to mail"
	run_logged "$log" git -C "$am" am --quiet --no-3way --keep-non-patch --no-scissors \
		--committer-date-is-author-date --whitespace=nowarn "$scratch"/patches/* ||
		die "mbox: the series does not apply to $(bgit log -1 --format='%h (%s)' "$base"): $(grep -m1 '^Patch failed' "$log"): rebase it, or name another base"
	git -C "$am" checkout -q -B phyr
}

# The cover letter's first paragraph is the subject; below it, what git adds.
description() {
	local text
	sed '1s/^Subject: *\(\[[^]]*\]\)\? *//' "$src/cover-letter.txt"
	text=$(changes)
	[[ -z $text ]] || printf '\n%s\n' "$text"
	[[ -n $public ]] || printf '\nThis applies to %s.\n' "$(bgit log -1 --format=%s "$base")"
}

# Git's message ids have the time in them; ours, what the mails are made of. Subject
# and From get one line, however long: b4 0.12 takes no other from a file. Git says
# what charset a text is in, but not if only the diff is more than ASCII.
finish_heads() {
	ID="v$version.$1" perl -MEncode -i -0pe '
		my ($head, $body) = split /\n\n/, $_, 2;
		$head =~ s/^((?:Message-I[Dd]|In-Reply-To|References): <\w+)\.\d+\.git\./$1.$ENV{ID}./mg;
		$head =~ s/^Message-Id:/Message-ID:/m;
		$head =~ s/\n[ \t]+/ /g;
		$head =~ s/^From: \K(.*[^\x00-\x7f].*)(?= <)/encode("MIME-Q", decode_utf8($1))/me;
		$head .= "\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit"
			if $body =~ /[^\x00-\x7f]/ && $head !~ /^Content-Type:/m;
		$_ = "$head\n\n$body";' "$mails"/*.patch
}

make_mails() {
	local args=(--cover-letter --cover-from-description=subject --thread=shallow --numbered --encode-email-headers)
	local date=$1
	((version == 1)) || args+=(--reroll-count="$version")
	[[ -z ${SIGNOFF-} ]] || args+=(--signoff)
	[[ -z $public ]] || args+=(--base="$public")
	git -C "$am" config branch.phyr.description "$(description)"
	GIT_COMMITTER_DATE="@$date +0000" format_patch "$am" "${args[@]}" -o "$mails" "$base..phyr"
	finish_heads "$({ git -C "$am" rev-parse phyr && description && say "$public"; } | sha256sum | cut -c1-12)"
	# A line of a text must not look like the beginning of the next mail.
	! grep -n '^From ' "$mails"/*.patch | grep -v ':1:From ' ||
		die "mbox: a line begins with \"From \", which ends a mail in an mbox: word it differently"
}

# maintainers_of FILE KEPT: names, with their roles. As it takes a second a patch,
# it is kept, under the hash of what it depends on.
maintainers_of() {
	[[ ! -s $2 ]] || return 0
	(cd "$linux" && perl scripts/get_maintainer.pl --no-git --no-git-fallback --no-fixes --roles "$1") >"$2.new"
	mv "$2.new" "$2"
}

# Links $scratch/people/N to what is kept for patch N.
ask_get_maintainer() {
	local p n=0 key rules
	mkdir -p "$people" "$scratch/people"
	rules=$(cat "$linux"/{MAINTAINERS,.mailmap,scripts/get_maintainer.pl} | sha256sum)
	while read -r p; do
		n=$((n + 1))
		key=$({ say "$rules" && cat "$src/patches/$p"; } | sha256sum | cut -d' ' -f1)
		ln -s "$people/$key" "$scratch/people/$(printf %04d "$n")"
		printf '%s\0' "$src/patches/$p" "$people/$key"
	done < <(series_dir=$src series_patches) >"$scratch/ask"
	export -f maintainers_of
	export linux
	# shellcheck disable=SC2016 # the inner shell expands it
	xargs -0 -a "$scratch/ask" -P "$jobs" -n 2 bash -c 'set -euo pipefail; maintainers_of "$@"' -
}

# To those who maintain it, Cc to who reviews it and to lists. Reads lines of
# get_maintainer.pl; names that are not ASCII are encoded.
address_headers() {
	perl -MEncode -ne '
		chomp;
		my ($who, $role) = /^(.*@\S+) \((.*)\)$/ or die "no address: $_\n";
		next if $seen{lc(($who =~ /<(.*)>/) ? $1 : $who)}++;
		if ($who =~ /[^\x00-\x7f]/ and my ($name, $rest) = $who =~ /^"?(.*?)"?( <.*)$/) {
			$who = encode("MIME-Q", decode_utf8($name)) . $rest;
		}
		push @{$to{$role =~ /^reviewer|\blist\b/ ? "Cc" : "To"}}, $who;
		END { for ("To", "Cc") { print "$_: ", join(",\n    ", @{$to{$_}}), "\n" if $to{$_} } }'
}

# The cover letter goes to all of them; if they are more than a mail may have, to
# those whom most of the patches go to.
cover_people() {
	cat "$scratch"/people/* | awk '
		{ match($0, /^.*@[^ ]+/); who = substr($0, 1, RLENGTH); n[who]++ }
		!(who in line) || line[who] ~ /\(reviewer/ { line[who] = $0 }
		END { for (who in n) print n[who] "\t" line[who] }' |
		sort -t $'\t' -k1,1nr -k2 | cut -f2 | head -n "$most_recipients"
}

add_addresses() {
	local file n headers
	run_logged "$log" ask_get_maintainer || die "mbox: get_maintainer.pl failed: see $(rel "$log")"
	cover_people >"$scratch/cover-people"
	mv "$scratch/cover-people" "$scratch/people/0000"
	for file in "$mails"/*.patch; do
		n=$(basename "$file" | sed -E 's/^(v[0-9]+-)?([0-9]{4}).*/\2/')
		headers=$(address_headers <"$scratch/people/$n")
		[[ -n $headers ]] ||
			die "mbox: get_maintainer.pl names nobody for $(basename "$file"): give its files an entry in MAINTAINERS"
		# MAINTAINERS itself is nobody's but the list's: who is in it gets the cover letter
		[[ $headers == To:* ]] || headers=$(address_headers <"$scratch/people/0000")
		HEADERS=$headers perl -i -0pe 's/\n\n/\n$ENV{HEADERS}\n\n/' "$file"
	done
}

dir=${1:-$build}
identity
lock_build
rm -rf "$scratch"
mkdir -p "$scratch" "$dir" "$logs"
stage 1 3 "mbox: the base"
# Who asks for another base here wants it named, not a new build/linux.
if [[ -e $linux ]]; then
	env -u PHYR_BASE "$top/ci/tree.sh"
else
	"$top/ci/tree.sh"
fi
find_base
take_source
read_changelog
not_sent_before
stage 2 3 "mbox: one commit and one mail a patch (log: $(rel "$log"))"
date=$(series_date)
make_commits "$date"
make_mails "$date"
stage 3 3 "mbox: who gets them, by get_maintainer.pl"
add_addresses
cat "$mails"/*.patch >"$scratch/mbox"
mv "$scratch/mbox" "$dir/phyr-v$version.mbox"
say "mbox: $(rel "$dir")/phyr-v$version.mbox: $(find "$mails" -name '*.patch' | wc -l) mails, v$version of the series"
if [[ -z ${SIGNOFF-} ]]; then
	say "mbox: a preview, from nobody: SIGNOFF=1 makes the mails to send, with your Signed-off-by"
elif [[ -z $public ]]; then
	say "mbox: without a base-commit: PHYR_BASE=DIR:v7.3.4 of a git tree names it"
fi
