#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# scsi_debug with dif=1 dix=1: protection data travels in a scatterlist of its
# own, which no emulated controller does. There is no DMA in it.

cd "$(dirname "$0")" || exit 1
. ./lib.sh

phyr_disk_test scsi_debug blk_rq_map_integrity_sg
