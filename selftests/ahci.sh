#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# AHCI maps requests through a scatterlist, each segment at most 64 KiB.

cd "$(dirname "$0")" || exit 1
. ./lib.sh

phyr_disk_test phyr-ahci
