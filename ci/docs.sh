#!/usr/bin/env bash
# Checks what the series says: that the manual builds without a warning about it,
# that its examples are code which is compiled, how words are spelt, and that
# MAINTAINERS is in order. Speaks KTAP, on stdout and in build/log/ktap/docs.ktap; details start with #.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=ci/ktap.sh
. "$top/ci/ktap.sh"

scratch=$build/tmp/docs
html=$build/docs
log=$logs/docs-html.log
manual=Documentation/core-api/phyr.rst

trap 'rm -rf "$scratch"' EXIT

# The patches with empty lines for what is mainline's: line numbers stay.
own_words() {
	local p
	mkdir -p "$scratch/patches"
	for p in "$top"/patches/*.patch; do
		awk '/^diff --git / { diff = 1 } { print diff && !/^\+/ ? "" : $0 }' \
			"$p" >"$scratch/patches/${p##*/}"
	done
	cp -R "$top"/{cover-letter.txt,README.md,Makefile,MAINTAINERS-notes,ci,kernel-config,selftests} "$scratch"
}

# inflight is a file in sysfs.
spelling() {
	own_words
	(cd "$scratch" && codespell -L inflight .)
}

# All other code would be right on the day that it was written.
examples_are_compiled() {
	cd "$linux"
	grep -q '^\.\. literalinclude::' "$manual" || die "$manual has no examples"
	! grep -nE '(^|[^:])::$|^\.\. code' "$manual" ||
		die "$manual has code that is not of a test"
}

touched() {
	lgit diff --no-renames --diff-filter=AM --name-only "$base..HEAD" -- "$@"
}

# The documents that the series changes, and those that show its kernel-doc.
documents() {
	touched 'Documentation/*.rst'
	lgit grep -E '^\.\. kernel-doc:: ' -- 'Documentation/*.rst' |
		sed -nE 's/^([^:]*):\.\. kernel-doc:: *([^ ]*) *$/\2 \1/p' |
		awk 'NR == FNR { ours[$1]; next } $1 in ours { print $2 }' <(touched) -
}

# A document is found by way of the index of each directory that it is in.
with_index() {
	local doc dir
	while read -r doc; do
		say "$doc"
		dir=${doc%/*}
		while [[ $dir != Documentation ]]; do
			say "$dir/index.rst"
			dir=${dir%/*}
		done
	done
	say Documentation/index.rst
}

# Sphinx says nothing about what it has made before, so it has to make it anew.
build_html() {
	local patterns
	patterns=$(documents | with_index | sort -u | sed 's,^Documentation/,,' | paste -sd,)
	rm -rf "$html"
	make -C "$linux" O="$html" htmldocs DOCS_THEME=alabaster \
		SPHINXOPTS="-D include_patterns=$patterns -D exclude_patterns=netlink" >"$log" 2>&1
}

# is_elsewhere DIR LINE: is it only about a part of the manual that was left out?
is_elsewhere() {
	local dir=$1 name
	case $2 in
	*"toctree contains reference to "*" document '"* | *"unknown document: '"*)
		name=${2#* document*\'}
		name=${name%%\'*}
		[[ -f $linux/Documentation/$name.rst || -f $linux/$dir/$name.rst ]]
		;;
	*"undefined label: '"*)
		name=${2#*undefined label: \'}
		lgit grep -qiE "^\.\. _${name%%\'*}:" -- Documentation
		;;
	*) false ;;
	esac
}

# What is said of the documents and files that the series changes. Of an index,
# Sphinx has to say that it has what there is: all documents are in one.
html_warnings() {
	local line file
	touched | sed 's/\.rst$//' >"$scratch/ours"
	sed "s,$linux/,,g" "$log" | grep -E 'WARNING|ERROR|CRITICAL' | grep -F -f "$scratch/ours" |
		while read -r line; do
			file=${line%%:*}
			is_elsewhere "${file%/*}" "$line" || say "$line"
		done
}

no_html_warnings() {
	build_html || die "make htmldocs failed: $(tail -n 3 "$log")"
	html_warnings
	[[ -s $html/Documentation/output/core-api/phyr.html ]] ||
		die "make htmldocs did not make phyr.html: see $(rel "$log")"
}

# Names of documents that are not there, where mainline does not have them too.
no_broken_references() {
	local file name
	cd "$linux"
	tools/docs/documentation-file-ref-check 2>&1 | sed -n 's/^\([^:]*\): */\1 /p' |
		while read -r file name; do
			lgit grep -qF "$name" "$base" -- "$file" || say "$file: $name"
		done
}

# The entries of MAINTAINERS that are in file $2, as they are, but not in file $1.
entries_not_in() {
	awk -v RS= -v ORS='\n\n' 'NR == FNR { seen[$0]; next } !($0 in seen)' "$1" "$2"
}

# What the series adds to MAINTAINERS is in order, and leads to files. Mainline is not
# in order; so only the entries that the series changes are compared.
maintainers() {
	local pattern
	lgit show "$base:MAINTAINERS" >"$scratch/before"
	lgit show "HEAD:MAINTAINERS" >"$scratch/after"
	perl "$linux/scripts/parse-maintainers.pl" --order --input="$scratch/after" --output="$scratch/sorted"
	entries_not_in "$scratch/before" "$scratch/after" >"$scratch/changed"
	entries_not_in "$scratch/sorted" "$scratch/changed"
	# An entry, and those before and after it.
	awk -v RS= -F'\n' 'NR == FNR { ours[$0]; next } $0 in ours || prev in ours { if (name >= $1) print name " is before " $1 }
		{ prev = $0; name = $1 }' "$scratch/changed" "$scratch/after"
	(cd "$linux" && perl scripts/get_maintainer.pl --self-test=sections 2>&1) | grep -F -f <(awk -v RS= -F'\n' '{ print $1 }' "$scratch/changed") || true
	lgit diff --unified=0 "$base..HEAD" -- MAINTAINERS | sed -n 's/^+F:[[:space:]]*//p' |
		while read -r pattern; do
			[[ -n $(lgit ls-files -- "$pattern") ]] || say "MAINTAINERS: no file: $pattern"
		done
}

lock_build
rm -rf "$scratch"
mkdir -p "$scratch" "$ktap" "$logs"
"$top/ci/tree.sh"
base=$(base_commit)

ktap_start docs 5
ok_if codespell silent spelling
ok_if "examples-are-compiled: $manual" silent examples_are_compiled
ok_if maintainers-in-order silent maintainers
ok_if references-to-documents silent no_broken_references
ok_if htmldocs silent no_html_warnings

ktap_end
