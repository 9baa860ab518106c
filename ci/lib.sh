# shellcheck shell=bash
# Shared by every script in ci/: where things are, how to speak, how to fail.
# Usage, first thing in a script:  . "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

set -euo pipefail
shopt -s inherit_errexit

# The scripts read the output of tools: keep it plain and in one language.
export LC_ALL=C

# The programs that ci/packages names, before others of the same name.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$top/build
linux=$build/linux
logs=$build/log
ktap=$logs/ktap
jobs=$(nproc)
# The directory where the selftests live in the kernel tree.
selftests_dir=tools/testing/selftests/phyr
# What the kernel of the guest is configured with, of kernel-config/.
guest_config=(guest intel-iommu amd-iommu virtio-iommu dma-buf users mm vfio xen faults kunit debug x86-debug)
# Debian 12 and 13 have sparse 0.6.4, which does not know __typeof_unqual__ and
# which kbuild therefore turns down; __typeof__ is as good to it. It also takes
# every module_param() for a "bad constant expression", and gives up on trace
# events that are not short: "too long token expansion".
sparse="sparse -D__typeof_unqual__=__typeof__"
sparse_defects='error: bad constant expression|include/trace/events/.* too long token expansion'
# What can't be done as checkpatch --strict wants it: TRACE_EVENT(), which no event of the
# kernel lays out like a call; the variants and the data of a fixture, which are macros of
# kselftest_harness.h that define something, and are types; a driver of selftests/vfio,
# as all of them are declared where they are listed; the members of struct_group_tagged().
checkpatch_exceptions='^$|^include/trace/events/[^ ]* CHECK:(OPEN_ENDED_LINE|PARENTHESIS_ALIGNMENT):'
checkpatch_exceptions+='|^tools/testing/selftests/vfio/vfio_dma_[a-z_]*test\.c:[0-9]+: (ERROR:COMPLEX_MACRO:|CHECK:SPACING: .*[*].*ctx:WxV)'
checkpatch_exceptions+='|^include/linux/phyr\.h:[0-9]+: CHECK:PARENTHESIS_ALIGNMENT:'
checkpatch_exceptions+='|^tools/testing/selftests/vfio/lib/vfio_pci_driver\.c:[0-9]+: WARNING:AVOID_EXTERNS:'
# Where series_patches looks.
series_dir=$top
# shellcheck disable=SC2034 # these are for the scripts that source this file
readonly top build linux logs ktap jobs selftests_dir guest_config sparse sparse_defects \
	checkpatch_exceptions

# Nothing that the user has configured may change a hash, a date or a diff.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=phyr GIT_AUTHOR_EMAIL=phyr@phyr.invalid
export GIT_COMMITTER_NAME=phyr GIT_COMMITTER_EMAIL=phyr@phyr.invalid
export GIT_PAGER=cat GIT_EDITOR=true
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_EXTERNAL_DIFF GIT_DIFF_OPTS

# Python must not leave its caches in the tree.
export PYTHONDONTWRITEBYTECODE=1

# The kernel's make is not a sub-make of ours: our command line is not for it.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

# Lets ccache hit from any checkout, and makes builds the same on any machine.
export CCACHE_BASEDIR=$top CCACHE_NOHASHDIR=1
export KBUILD_BUILD_USER=phyr KBUILD_BUILD_HOST=phyr
export KBUILD_BUILD_TIMESTAMP='2001-09-17 00:00:00 +0000'

say() {
	printf '%s\n' "$*"
}

# One line that says what failed, why, and what to do about it.
die() {
	printf '%s\n' "error: $*" >&2
	exit 1
}

# stage 2 6 "build: 17 files (log: build/log/build.log)"
stage() {
	local n=$1 m=$2
	shift 2
	printf '[%s/%s] %s\n' "$n" "$m" "$*"
}

# The name of a file for the reader: relative to the top of the repository.
rel() {
	printf '%s\n' "${1#"$top"/}"
}

# run_logged LOG COMMAND...: all output goes to LOG. A failure is one line and
# the end of the log; the caller decides whether it is fatal.
run_logged() {
	local log=$1 status=0
	shift
	mkdir -p "$(dirname "$log")"
	"$@" >"$log" 2>&1 </dev/null || status=$?
	if ((status)); then
		printf '%s\n' "failed with status $status: ${1##*/}; the end of $(rel "$log"):" >&2
		tail -n 20 "$log" | sed 's/^/  | /' >&2
	fi
	return "$status"
}

# Git in build/linux.
lgit() {
	git -C "$linux" "$@"
}

# One at a time may change build/linux. Held until the script ends; what it
# starts runs under the same lock.
lock_build() {
	[[ ${PHYR_LOCKED-} != "$build" ]] || return 0
	mkdir -p "$build/tmp"
	exec 9>"$build/.lock"
	if ! flock -n 9; then
		say "waiting for another run that works in build/"
		flock 9
	fi
	export PHYR_LOCKED=$build
}

# The caller holds the lock and waits: a guest that was started here, hangs and
# cannot be killed must not go on holding it.
[[ -z ${PHYR_LOCKED-} ]] || exec 9>&-

# kernel_image ARCH NAME: what ci/build.sh makes, in build/NAME.
kernel_image() {
	case $1 in
	x86) say "$build/$2/arch/x86/boot/bzImage" ;;
	arm64) say "$build/$2/arch/arm64/boot/Image" ;;
	*) die "no architecture $1: x86 and arm64 are known" ;;
	esac
}

# cross_compile ARCH: what the names of its compiler and binutils start with.
cross_compile() {
	case $1 in
	x86) ;;
	arm64) say aarch64-linux-gnu- ;;
	*) die "no architecture $1: x86 and arm64 are known" ;;
	esac
}

# The patches that series lists, in order.
series_patches() {
	sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$series_dir/series"
}

# The patches that are there but perhaps not listed.
patch_files() {
	find "$top/patches" -maxdepth 1 -type f -name '*.patch' -printf '%f\n' | sort
}

# patch_clone REPO COMMIT DIR PATTERN...: a clone that shares REPO's objects, at
# COMMIT, with none of its files but those of the patterns. Patches are applied
# there without touching REPO.
patch_clone() {
	local repo=$1 commit=$2 dir=$3
	shift 3
	git -c safe.directory='*' clone -q --shared --no-checkout --template= "$repo" "$dir"
	git -C "$dir" update-ref --no-deref HEAD "$commit"
	git -C "$dir" config core.sparseCheckout true
	git -C "$dir" config gc.auto 0
	mkdir -p "$dir/.git/info"
	printf '%s\n' "$@" >"$dir/.git/info/sparse-checkout"
	git -C "$dir" read-tree -m -u HEAD
}

# format_patch REPO OPTION...: git format-patch with every option given that
# shapes a patch, so that no git version, terminal or configuration does. No
# renames: quilt does not know them.
format_patch() {
	local repo=$1
	shift
	git -C "$repo" -c core.quotePath=true -c diff.suppressBlankEmpty=false \
		-c i18n.logOutputEncoding=UTF-8 -c format.useAutoBase=false \
		format-patch --quiet --suffix=.patch --filename-max-length=64 \
		--subject-prefix=PATCH --no-numbered --start-number=1 --no-encode-email-headers \
		--zero-commit --full-index --no-signature --no-attach --no-thread --no-base \
		--no-cover-letter --no-notes --no-to --no-cc --no-add-header \
		-p --stat=72 --summary --unified=3 --inter-hunk-context=0 --diff-algorithm=histogram \
		--indent-heuristic --no-renames --src-prefix=a/ --dst-prefix=b/ --binary \
		--no-ext-diff --no-textconv --no-color --no-relative --submodule=short "$@"
}

# What the series is: changes with the order and with any byte of a patch.
series_hash() {
	local p
	while read -r p; do
		[[ -f $top/patches/$p ]] ||
			die "series: patches/$p is listed but not there: add it or take it out of series"
		printf '%s ' "$p"
		sha256sum <"$top/patches/$p"
	done < <(series_patches) | sha256sum | cut -d' ' -f1
}

# The first commit of build/linux: the base.
base_commit() {
	lgit rev-list --max-parents=0 HEAD
}

# The objects of each file of the series, tests too, as they call what headers have; and
# of each page table format, which is compiled from a header.
series_objects() {
	lgit diff --no-renames --diff-filter=AM --name-only "$(base_commit)..HEAD" -- '*.c' ':!tools' |
		sed 's/\.c$/.o/'
	find "$linux/drivers/iommu/generic_pt/fmt" -name 'iommu_*.c' -printf 'drivers/iommu/generic_pt/fmt/%f\n' |
		sed 's/\.c$/.o/'
}

# What build/linux was last made from, or turned into: see ci/tree.sh.
stamp_file=$linux/.git/phyr-stamp
stamp_get() {
	[[ ! -f $stamp_file ]] || sed -n "s/^$1=//p" "$stamp_file"
}

# stamp_put KEY=VALUE...: replaces these keys, keeps the others.
stamp_put() {
	local kv new=$stamp_file.new
	cp "$stamp_file" "$new" 2>/dev/null || : >"$new"
	for kv; do
		sed -i "/^${kv%%=*}=/d" "$new"
		printf '%s\n' "$kv" >>"$new"
	done
	mv "$new" "$stamp_file"
}

# Is there anything in build/linux that is not committed?
tree_dirty() {
	[[ -n $(lgit status --porcelain) ]]
}

# bad_lines CONSOLE-LOG: what no kernel says that is well; false if there is
# nothing of it. DMA-API announces itself, which is fine; no log at all is not.
# In a PV guest of Xen, mainline warns of the first task that runs on a CPU: it
# was not paused before. KASAN, KCSAN and lockdep say BUG: or WARNING:; a checker
# that has switched itself off says so, too. What kmemleak has found the guest tells,
# which reads it.
bad_lines() {
	[[ -s $1 ]] || { say "no console output"; return; }
	grep -E 'WARNING:|BUG:|Oops|Kernel panic|DMA-API:|DMAR:.*[Ff]ault|arm-smmu-v3 [^ ]+ (event|unexpected global error|.*(timeout|overflow|aborted|CMDQ error))|I/O error|blocked for more than|timeout, |exception Emask|protection error|critical [a-z]+ error|swiotlb buffer is full|UBSAN:|ODEBUG:|INFO: (possible|inconsistent|suspicious|trying)|turning off the locking correctness|lockdep is turned off' "$1" |
		grep -vE 'DMA-API: (preallocated|debugging enabled|debugging disabled on kernel command line)|WARNING: .*pgtable\.h.*xen_(start|end)_context_switch'
}

# lost FRAGMENT-FILE CONFIG: the requested options that are not in CONFIG, which
# says "# CONFIG_X is not set" or nothing at all for an option that is off.
lost() {
	local line
	while read -r line; do
		case $line in
		CONFIG_*=n) ! grep -q "^${line%n}" "$2" ;;
		CONFIG_*) grep -qxF -- "$line" "$2" ;;
		*) continue ;;
		esac || printf '%s ' "$line"
	done <"$1"
}

# count_options OBJECT: what it is compiled with where gcov is to count it. gcc inlines
# before it counts, so a branch would be there once for each copy of its function, and
# most of these are made for one case and can't take it. With this each function of the
# source is there once: its includes come first, and then always_inline is nothing.
# Not so where another source has that name (arch/ has none of ours), by which make has them. lib/phyr.c
# and its like are made of what <linux/phyr.h> has, where it is nothing either.
count_options() {
	local options=-fno-early-inlining source=$linux/${1%.o}.c header=$build/coverage/include/${1%.o}.count.h
	if [[ ${1##*/} == phyr.o ]]; then
		options+=" -D__always_inline__=__unused__"
	elif grep -q '^static __always_inline' "$source" &&
		[[ $(lgit ls-files "*/${source##*/}" ':!arch') == "${source#"$linux"/}" ]]; then
		mkdir -p "${header%/*}"
		{
			grep '^#include ' "$source"
			say '#define __always_inline__ __unused__'
		} >"$header.new"
		cmp -s "$header.new" "$header" || mv "$header.new" "$header"
		options+=" -include $header -iquote ${source%/*}"
	fi
	say "$options"
}
