#!/usr/bin/env bash
# A shell in build/linux with the series applied. GUEST=1: one in the guest.

# shellcheck source=ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [[ -n ${GUEST-} ]]; then
	kernel=$build/guest/arch/x86/boot/bzImage
	[[ -s $kernel ]] || die "shell: no guest kernel yet: make boot builds it"
	say "shell: the guest's console; end it with Ctrl-A X"
	exec "$top/ci/guest.sh" --run sh "$kernel"
fi

"$top/ci/tree.sh"
cat <<END
build/linux: one commit a patch on branch phyr, the base is the first commit.
  change a patch: git commit --fixup=COMMIT; git rebase -i --autosquash $(base_commit | cut -c1-12)
  compile one file: make O=../check ARCH=x86 CC="ccache gcc" W=1 path/to/file.o (after a make check)
  then: make -C ../.. unit, make -C ../.. refresh
END
cd "$linux"
# The user's own git configuration and name are for the user's own commits.
unset GIT_CONFIG_GLOBAL GIT_CONFIG_NOSYSTEM GIT_EDITOR GIT_PAGER LC_ALL
unset GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL
exec "${SHELL:-/bin/bash}"
