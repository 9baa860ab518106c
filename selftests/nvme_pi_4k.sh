#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# NVMe with protection information for each block of 4096 bytes.

cd "$(dirname "$0")" || exit 1
. ./lib.sh

phyr_disk_test phyr-pi/4096 bio_integrity_prep
