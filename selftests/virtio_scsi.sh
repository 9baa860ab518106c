#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# virtio-scsi maps requests through a scatterlist.

cd "$(dirname "$0")" || exit 1
. ./lib.sh

phyr_disk_test phyr-virtio-scsi
