# The front door. Each verb is one script in ci/; variables such as PHYR_BASE
# reach it through the environment.

verbs := boot test test-all check unit bench shell refresh docs coccicheck fuzz bisect arch
verbs += arm64 debug coverage mbox mail apply clean

help:
	@echo 'make boot      build the patched kernel, boot it, move and verify data'
	@echo 'make test      what fits into an hour: check, docs, fuzz, unit, all selftests'
	@echo 'make test-all  all of it, and what takes longer'
	@echo 'make check     checkpatch, shellcheck, kernel-doc, series in step, quilt'
	@echo 'make unit      KUnit without QEMU; SUITE=glob runs a part of it'
	@echo 'make bench     instructions that mapping a request costs, base and series'
	@echo 'make docs      the manual builds, its examples compile, spelling, MAINTAINERS'
	@echo 'make fuzz      lib/phyr.c in user space, for FUZZ_SECONDS (600)'
	@echo 'make coccicheck  semantic patches on touched files: minutes. COCCI=glob'
	@echo 'make bisect    FROM=n TO=m: every patch compiles, every part boots'
	@echo 'make arch      what is touched compiles for eight other architectures'
	@echo 'make arm64     KUnit and disks on arm64, with devices that see caches or do not'
	@echo 'make debug     all boots with KASAN, lockdep, kmemleak, and with KCSAN: hours.'
	@echo '               ARGS="kasan strict": a part of them'
	@echo 'make coverage  what of the series the tests run, by line and by branch: hours.'
	@echo '               PARTS="unit strict": a part of the tests'
	@echo 'make shell     a shell in build/linux, the patched tree; GUEST=1: in the guest'
	@echo 'make refresh   build/linux and selftests/ -> patches/ and series'
	@echo 'make mbox      the series as mail, with cover letter and addresses, in build/;'
	@echo '               SIGNOFF=1: from you and signed off; REV=v1: as it was then'
	@echo 'make mail      tests of make mbox and make apply, with b4'
	@echo 'make apply     TREE=DIR: apply the series to a git tree of yours, as a branch'
	@echo 'make clean     remove what was built, not work that is in no patch'
	@echo
	@echo 'PHYR_BASE=     the base: a tarball, a directory, or DIR:COMMIT (see README.md)'

boot check unit bench shell mbox bisect:
	@ci/install-packages.sh
	@ci/$@.sh

test docs coccicheck fuzz mail:
	@ci/install-packages.sh packages packages-gates
	@ci/$@.sh

coverage:
	@ci/install-packages.sh packages packages-gates
	@ci/coverage.sh $(PARTS)

arm64:
	@ci/arm64.sh $(ARGS)

debug:
	@ci/install-packages.sh
	@ci/debug.sh $(ARGS)

arch:
	@ci/install-packages.sh packages packages-arch
	@ci/arch.sh $(ARCHS)

test-all:
	@ci/install-packages.sh packages packages-gates packages-arch
	@ci/test.sh --all

refresh apply clean:
	@ci/$@.sh

.PHONY: help $(verbs)
