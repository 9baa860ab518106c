#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# NVMe with protection information for each block of 512 bytes.  QEMU's NVMe
# takes one metadata segment, which the driver maps without a walk.

cd "$(dirname "$0")" || exit 1
. ./lib.sh

phyr_disk_test phyr-pi/512 bio_integrity_prep
