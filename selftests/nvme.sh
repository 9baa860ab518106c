#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# NVMe maps requests itself, without a scatterlist.

cd "$(dirname "$0")" || exit 1
. ./lib.sh

phyr_disk_test phyr-nvme
