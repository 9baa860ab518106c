# The front door. Each verb is one script in ci/; variables such as PHYR_BASE
# reach it through the environment.

verbs := boot test check unit bench shell refresh clean

help:
	@echo 'make boot      build the patched kernel, boot it, move and verify data'
	@echo 'make test      everything: check, unit, boots with all selftests'
	@echo 'make check     checkpatch, shellcheck, kernel-doc, series in step, quilt'
	@echo 'make unit      KUnit without QEMU; SUITE=glob runs a part of it'
	@echo 'make bench     instructions that mapping a request costs, base and series'
	@echo 'make shell     a shell in build/linux, the patched tree; GUEST=1: in the guest'
	@echo 'make refresh   build/linux and selftests/ -> patches/ and series'
	@echo 'make clean     remove what was built, not work that is in no patch'
	@echo
	@echo 'PHYR_BASE=     the base: a tarball, a directory, or DIR:COMMIT (see README.md)'

boot test check unit bench shell:
	@ci/install-packages.sh
	@ci/$@.sh

refresh clean:
	@ci/$@.sh

.PHONY: help $(verbs)
