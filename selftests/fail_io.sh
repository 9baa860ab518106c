#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Direct I/O of which some fails before it gets to the driver, by fail_make_request:
# that is an I/O error and nothing else, and no page stays pinned. On the disks
# phyr-nvme, phyr-pi, phyr-virtio-blk and phyr-ahci, as many as there are. These are
# OVERWRITTEN, see lib.sh.

# The cases are run by name.
# shellcheck disable=SC2317
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ../kselftest/ktap_helpers.sh

fail_make_request=/sys/kernel/debug/fail_make_request
often=1000000

# fail PERCENT of all requests to the disk, 0 for no more.
fail()
{
	echo 0 >"$fail_make_request/verbose"
	echo "$often" >"$fail_make_request/times"
	echo "$1" >"$fail_make_request/probability"
	echo $(($1 > 0)) >"/sys/block/$disk/make-it-fail"
}

failed()
{
	echo $((often - $(cat "$fail_make_request/times")))
}

# direct_io NAME: writes and verifies. Each job ends with its first error.
direct_io()
{
	fio --eta=never --output-format=terse --terse-version=3 --allow_file_create=0 \
		--output="$tmp/$1.out" progress.fio >"$tmp/$1.log" 2>&1 &
	pid=$!
	ended "$pid" 60 && return
	why="it hangs"
	kill -KILL "$pid"
	return 1
}

# case_failing PERCENT: no job has another error than EIO, and some have that one.
case_failing()
{
	fail "$1"
	direct_io failing || { fail 0; return 1; }
	nr=$(failed)
	fail 0
	errors=$(awk -F';' '$1 == 3 { print $5 }' "$tmp/failing.out" | sort -u | tr '\n' ' ')
	why="$nr failures, errors of the jobs: $errors"
	case $errors in
	"0 5 " | "5 ") [ "$nr" -gt 0 ] ;;
	*) return 1 ;;
	esac
}

case_after()
{
	direct_io after && jobs_ok after.small:512 after.large:8192 after.merged:1024
}

ktap_print_header
if [ ! -e $fail_make_request/probability ]; then
	ktap_skip_all "no CONFIG_FAIL_MAKE_REQUEST"
	exit "$KSFT_SKIP"
fi
tmp=$(mktemp -d)
disk=
trap '[ -z "$disk" ] || fail 0; rm -rf "$tmp"' EXIT
roles=
cases=0
for role in phyr-nvme phyr-pi/512 phyr-virtio-blk phyr-ahci; do
	[ -n "$(phyr_find $role)" ] || continue
	roles="$roles $role"
	cases=$((cases + 4))
done
if [ -z "$roles" ]; then
	ktap_skip_all "no disk"
	exit "$KSFT_SKIP"
fi
ktap_set_plan $cases
for role in $roles; do
	disk=$(phyr_find "$role")
	export DEV="/dev/$disk"
	pins_before=$(pins)
	run "$role: all I/O fails" case_failing 100
	run "$role: some I/O fails" case_failing 10
	run "$role: I/O after that" case_after
	run "$role: no page stays pinned" case_pins
done
ktap_finished
