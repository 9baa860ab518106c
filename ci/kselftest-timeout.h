/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the selftests of iommufd, of which one has each allocation fail in turn: the 30 s
 * of kselftest_harness.h are too few for that on an emulator with KASAN, and a host that
 * has more to do.
 */
#include <kselftest_harness.h>
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 240
