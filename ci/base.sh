#!/usr/bin/env bash
# ci/base.sh DIR: unpacks the base release into DIR, which must not exist yet.
# ci/base.sh --id: prints what identifies the base that PHYR_BASE asks for.
#
# The base comes from, in this order: PHYR_BASE (a tarball, a directory, or
# DIR:COMMIT of a git tree), a copy kept from before, the distribution's package.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=ci/apt.sh
. "$top/ci/apt.sh"
# shellcheck source=kernel-config/base
. "$top/kernel-config/base"

series_version=${version%.*}
package=linux-source-$series_version
suite=trixie-backports
need_gib=6

# Kept copies: this checkout's own, then the user's, which outlives it.
cache_dirs=("$build/cache" "${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/phyr")

work=
cleanup() {
	[[ -z $work ]] || rm -rf "$work"
}
trap cleanup EXIT

sha() {
	sha256sum <"$1" | cut -d' ' -f1
}

# PHYR_BASE is one of: tar, dir, git. A directory that is a git tree means its
# HEAD, so that what a build left there does not become part of the base.
base_kind() {
	local b=$PHYR_BASE
	if [[ -f $b ]]; then
		say tar
	elif [[ -d $b ]]; then
		if git_in "$b" rev-parse --git-dir >/dev/null && [[ -e $b/.git || -f $b/HEAD ]]; then
			say git
		else
			say dir
		fi
	elif [[ $b == *:* && -d ${b%:*} ]]; then
		say git
	else
		die "base: PHYR_BASE=$b is not there: give a tarball, a directory, or DIR:COMMIT of a git tree"
	fi
}

# The user's own git tree may belong to another user.
git_in() {
	local dir=$1
	shift
	git -C "$dir" -c safe.directory='*' "$@" 2>/dev/null
}

git_commit() {
	local dir=$PHYR_BASE commit=HEAD
	[[ -d $dir ]] || { dir=${PHYR_BASE%:*} commit=${PHYR_BASE##*:}; }
	git_in "$dir" rev-parse --verify --quiet "$commit^{commit}" ||
		die "base: PHYR_BASE=$PHYR_BASE: no such commit in that git tree: fetch it or name another"
}

base_id() {
	local kind
	kind=$(base_kind)
	case $kind in
	tar) say "tar $(sha "$PHYR_BASE")" ;;
	git) say "git $(git_commit)" ;;
	dir) say "dir $(cd "$PHYR_BASE" && pwd) $(tree_version "$PHYR_BASE")" ;;
	esac
}

# The release a kernel tree says it is, as in 7.3.4.
tree_version() {
	sed -n '1,6{
		s/^VERSION = *//p
		s/^PATCHLEVEL = *//p
		s/^SUBLEVEL = *//p
	}' "$1/Makefile" 2>/dev/null | paste -sd. || true
}

check_space() {
	local free dir=$1
	free=$(df -Pk "$dir" | awk 'NR == 2 { print int($4 / 1048576) }')
	((free >= need_gib)) ||
		die "base: no space: $free GiB free under $dir, the tree and its builds need $need_gib GiB: free some, or put the checkout on a larger disk"
}

# unpack TARBALL: into $work/tree, without the leading directory.
unpack() {
	mkdir "$work/tree"
	tar -xf "$1" -C "$work/tree" --strip-components=1 --no-same-owner 2>"$work/tar.err" ||
		die "base: $1 does not unpack ($(head -n 1 "$work/tar.err")): it is damaged, or the disk is full: get a new copy"
}

# The name of the directory in a tarball, read from its first entry.
tarball_top() {
	tar -tf "$1" 2>/dev/null | sed -n '1{s,^\./,,;s,/.*,,;p;q}' || true
}

# The pinned release passes in silence, another of the same series with a
# warning; anything else is refused. $1: where it is from, $2: pinned or not.
check_version() {
	local from=$1 pinned=$2 is
	is=$(tree_version "$work/tree")
	case $is in
	"$series_version".*) ;;
	*) die "base: $from is ${is:-not a kernel tree}, not $series_version.y: give PHYR_BASE a $series_version.y tree" ;;
	esac
	[[ $pinned == yes ]] ||
		say "warning: base: $from is Linux $is and not the pinned $package of $version: patches may not apply and figures may differ" >&2
}

# take_tarball FILE: checks and unpacks it.
take_tarball() {
	local file=$1 is pinned=no
	is=$(sha "$file") || die "base: $file cannot be read: check its permissions"
	if [[ $is == "$tar_sha256" ]]; then
		pinned=yes
	fi
	unpack "$file"
	# The distribution's tarball of the pinned release has one checksum.
	if [[ $pinned == no && $(tree_version "$work/tree") == "$version" && $(tarball_top "$file") == linux-source-* ]]; then
		die "base: wrong checksum: $file says it is $package $version but has sha256 $is, not $tar_sha256: get a new copy"
	fi
	check_version "$file" "$pinned"
}

take_given() {
	local kind commit dir
	kind=$(base_kind)
	case $kind in
	tar) take_tarball "$PHYR_BASE" ;;
	git)
		commit=$(git_commit)
		dir=$PHYR_BASE
		[[ -d $dir ]] || dir=${PHYR_BASE%:*}
		mkdir "$work/tree"
		git_in "$dir" archive --format=tar "$commit" | tar -x -C "$work/tree" --no-same-owner ||
			die "base: git archive of PHYR_BASE=$PHYR_BASE failed: check that tree with git fsck, and the free space"
		check_version "$PHYR_BASE" no
		;;
	dir)
		# Look first: it may be a large directory of something else.
		[[ $(tree_version "$PHYR_BASE") == "$series_version".* ]] ||
			die "base: PHYR_BASE=$PHYR_BASE is not a $series_version.y kernel tree: give one"
		[[ ! -e $PHYR_BASE/.config ]] ||
			die "base: PHYR_BASE=$PHYR_BASE has been built in: give a tree as released (make mrproper cleans it)"
		cp -r --preserve=mode,timestamps,links --reflink=auto "$PHYR_BASE" "$work/tree" ||
			die "base: PHYR_BASE=$PHYR_BASE cannot be copied: check permissions and free space"
		check_version "$PHYR_BASE" no
		;;
	esac
}

# A copy of the pinned tarball, or else of one that the archive moved on to:
# that one was checked by apt when it came and has its checksum beside it.
take_cached() {
	local dir file
	for dir in "${cache_dirs[@]}"; do
		file=$dir/linux-source-$version.tar.xz
		if [[ -f $file ]]; then
			[[ $(sha "$file") == "$tar_sha256" ]] ||
				die "base: wrong checksum: $file is not the $package $version it was: remove it to have it fetched again"
			take_tarball "$file"
			return
		fi
	done
	for dir in "${cache_dirs[@]}"; do
		for file in "$dir/linux-source-$series_version".*.tar.xz; do
			[[ -f $file && -f $file.sha256 ]] || continue
			[[ $(sha "$file") == "$(<"$file.sha256")" ]] ||
				die "base: wrong checksum: $file is not what was fetched: remove it to have it fetched again"
			take_tarball "$file"
			return
		done
	done
	return 1
}

# Finds the package in one of the system's mirrors and downloads it.
download() {
	local mirror why=
	command -v apt-get >/dev/null ||
		die "base: no apt-get to fetch $package with: set PHYR_BASE to a $series_version.y tree"
	[[ -f $keyring ]] ||
		die "base: no $keyring to check $package with: install debian-archive-keyring, or set PHYR_BASE"
	while read -r mirror; do
		setup_apt "$mirror" "$suite"
		if ! apt_private apt-get update; then
			why="no lists of $suite ($(apt_reason)): check the network"
			continue
		fi
		if ! apt_private apt-cache show "$package"; then
			why="no package $package in $suite any more"
			continue
		fi
		say "base: fetching $package of $suite" >&2
		if (cd "$work" && apt_private apt-get download "$package"); then
			return
		fi
		why="the download failed ($(apt_reason)): check the network"
	done < <(mirrors)
	die "base: cannot fetch $package: ${why:-no Debian archive in the apt configuration of this machine}: or set PHYR_BASE to a tarball of it"
}

# Where to keep what was fetched: outside the checkout if that is possible.
keep() {
	local file=$1 name=$2 dir
	for dir in "${cache_dirs[1]}" "${cache_dirs[0]}"; do
		mkdir -p "$dir" 2>/dev/null || continue
		if cp "$file" "$dir/$name.part" 2>/dev/null; then
			sha "$file" >"$dir/$name.sha256"
			mv "$dir/$name.part" "$dir/$name"
			return
		fi
		rm -f "$dir/$name.part"
	done
}

take_package() {
	local deb tarball is deb_version upstream
	download
	deb=$(find "$work" -maxdepth 1 -name "$package*.deb")
	deb_version=$(dpkg-deb -f "$deb" Version)
	upstream=${deb_version%%-*}
	is=$(sha "$deb")
	[[ $upstream != "$version" || $is == "$deb_sha256" ]] ||
		die "base: wrong checksum: $package $deb_version has sha256 $is, not $deb_sha256: the archive changed it: set PHYR_BASE, or pin the new one in kernel-config/base"
	tarball=$work/$package.tar.xz
	dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$package.tar.xz" >"$tarball" ||
		die "base: $package $deb_version has no $package.tar.xz in it, or the disk is full: set PHYR_BASE"
	rm -f "$deb"
	take_tarball "$tarball"
	keep "$tarball" "linux-source-$upstream.tar.xz"
}

if [[ ${1-} == --id ]]; then
	[[ -z ${PHYR_BASE-} ]] || base_id
	exit 0
fi

dest=${1:?usage: ci/base.sh DIR}
[[ ! -e $dest ]] || die "base: $dest is there already: remove it"
mkdir -p "$(dirname "$dest")"
check_space "$(dirname "$dest")"
work=$(mktemp -d "$(cd "$(dirname "$dest")" && pwd)/base.XXXXXX")
if [[ -n ${PHYR_BASE-} ]]; then
	take_given
else
	take_cached || take_package
fi
mv "$work/tree" "$dest"
