/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the selftests of mainline that have a test fail each of its allocations in turn:
 * the 30 s of kselftest_harness.h are too few for an emulator with KASAN, on a host that
 * has more to do.
 */
#include <kselftest_harness.h>
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 240
