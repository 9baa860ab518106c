#!/bin/bash
# Configure and build one kernel: ci/build.sh [--arch ARCH] NAME FRAGMENT...
# The result is what kernel_image of ci/lib.sh says, made from build/linux or the
# tree that PHYR_TREE names. The fragments are files of kernel-config/, merged onto
# allnoconfig, with the one that is called ARCH: x86, or arm64. PHYR_KBUILD has more
# for make's command line, as lines.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

arch=x86
if [[ ${1-} == --arch ]]; then
	arch=$2
	shift 2
fi
(($# >= 2)) || die "usage: ci/build.sh [--arch ARCH] NAME FRAGMENT...: nothing to build"
name=$1
shift
out=$build/$name
image=$(kernel_image "$arch" "$name")
cross=$(cross_compile "$arch")
tree=${PHYR_TREE:-$linux}
log=$logs/build-$name.log
mkdir -p "$out" "$logs"
lock_build

# With what lib.sh sets, the same source gives the same image, whoever builds it,
# where, when and how often. A LOCALVERSION, even an empty one, keeps the state of
# git out of uname -r.
export KBUILD_BUILD_VERSION=1

mapfile -t more < <(printf '%s' "${PHYR_KBUILD-}")
# kbuild COMMAND-LINE...: make in the tree, objects in $out.
kbuild() {
	make -C "$tree" O="$out" ARCH="$arch" CROSS_COMPILE="$cross" LOCALVERSION=-phyr \
		CC="ccache ${cross}gcc" -j"$jobs" "${more[@]}" "$@" </dev/null
}

# Always configured anew, because a patch can change any Kconfig file; but
# .config is only replaced by a different one, so that make sees no change.
configure() {
	local fragment missing new=$out/.config.new
	for fragment in "$@"; do
		[[ -f $top/kernel-config/$fragment ]] ||
			die "no kernel-config/$fragment: name a fragment that exists"
		cat "$top/kernel-config/$fragment"
	done >"$out/fragments"
	# Before the first patch there is nothing of the series to switch on.
	[[ -n $(lgit rev-list --max-count=1 --skip=1 HEAD) ]] ||
		sed -i '/^CONFIG_\(PHYR\|BLK_MQ_DMA\|DMA_PHYR\|DMA_EDU\|IOMMU_DMA\|INFINIBAND_RW\|INFINIBAND_UMEM\)_KUNIT_TEST/d' "$out/fragments"
	run_logged "$log" kbuild KCONFIG_CONFIG="$new" KCONFIG_ALLCONFIG="$out/fragments" allnoconfig ||
		die "cannot configure build/$name: see $(rel "$log")"
	missing=$(lost "$out/fragments" "$new")
	[[ -z $missing ]] ||
		die "kernel-config ($*): the kernel did not take ${missing% }: fix the name or add what it depends on"
	cmp -s "$new" "$out/.config" || mv "$new" "$out/.config"
	rm -f "$new"
}

# What is left to compile, from a dry run of make itself.
count() {
	kbuild -n -k "${image##*/}" 2>/dev/null | grep -cE "echo '  (CC|AS) +" || true
}

# Turns make's output into "i/n files built": on a terminal one line that is
# overwritten, else a line now and then. The dry run behind n cannot know what
# turns out to be unchanged, so the last line only says how many it was.
progress() {
	local n=$1 i=0 every=15 end=$'\n' clear='' line next
	[[ ! -t 1 ]] || { every=1 end=$'\r' clear=$'\e[K'; }
	next=$((SECONDS + every))
	while IFS= read -r line; do
		[[ $line == "  CC "* || $line == "  AS "* ]] || continue
		i=$((i + 1))
		((SECONDS >= next)) || continue
		printf '  %d/%d files built%s' "$i" "$n" "$end"
		next=$((SECONDS + every))
	done
	printf '%s  %d files built\n' "$clear" "$i"
}

configure "$arch" "$@"
run_logged "$log" kbuild prepare ||
	die "cannot prepare build/$name: see $(rel "$log")"
n=$(count)
if ! kbuild "${image##*/}" 2>&1 | tee "$log" | progress "$n"; then
	grep -nE 'error:|\*\*\*|undefined reference' "$log" | head -n 20 >&2 || true
	# or the next boot would be of an older series
	rm -f "$image"
	die "build/$name does not build: see $(rel "$log") and fix the first error in it"
fi
[[ -s $image ]] ||
	die "$(rel "$image") is not there although make succeeded: see $(rel "$log")"
