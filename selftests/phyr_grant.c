// SPDX-License-Identifier: GPL-2.0
/*
 * phyr_grant DISK POS PAGES
 *
 * Lets this domain grant pages to itself, in a Xen guest, and uses them as buffer of
 * O_DIRECT: what is written to the disk, and read from it, is compared through
 * the other mapping of the same frames, and through ordinary memory. Says how
 * many pins are left, if any.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xen/gntalloc.h>

/* gntdev.h takes these from headers that are the kernel's own */
typedef __u32 grant_ref_t;
typedef __u16 domid_t;
#include <xen/gntdev.h>

#include "phyr_pins.h"

#define PAGE	4096UL

static char *map(int fd, size_t len, unsigned long long index)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, index);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

/* Pages of this domain, with a grant of each to this domain. */
static char *grant(unsigned int nr, __u32 *refs)
{
	int fd = open("/dev/xen/gntalloc", O_RDWR);
	struct ioctl_gntalloc_alloc_gref *op;

	op = calloc(1, sizeof(*op) + nr * sizeof(*refs));
	if (fd < 0 || !op)
		err(1, "/dev/xen/gntalloc");
	op->flags = GNTALLOC_FLAG_WRITABLE;
	op->count = nr;
	if (ioctl(fd, IOCTL_GNTALLOC_ALLOC_GREF, op))
		err(1, "IOCTL_GNTALLOC_ALLOC_GREF");
	memcpy(refs, op->gref_ids, nr * sizeof(*refs));
	return map(fd, nr * PAGE, op->index);
}

/* The same pages, as if they were of another domain. */
static char *map_grants(unsigned int nr, const __u32 *refs)
{
	int fd = open("/dev/xen/gntdev", O_RDWR);
	struct ioctl_gntdev_map_grant_ref *op;
	unsigned int i;

	op = calloc(1, sizeof(*op) + nr * sizeof(op->refs[0]));
	if (fd < 0 || !op)
		err(1, "/dev/xen/gntdev");
	op->count = nr;
	for (i = 0; i < nr; i++)
		op->refs[i].ref = refs[i];
	if (ioctl(fd, IOCTL_GNTDEV_MAP_GRANT_REF, op))
		err(1, "IOCTL_GNTDEV_MAP_GRANT_REF");
	return map(fd, nr * PAGE, op->index);
}

static void fill(char *p, size_t len, unsigned int seed)
{
	size_t i;

	for (i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		p[i] = seed >> 16;
	}
}

static void check(const char *got, const char *want, size_t len, const char *what)
{
	if (memcmp(got, want, len))
		errx(1, "%s", what);
}

static void round_trip(int fd, off_t pos, char *own, char *granted, size_t len)
{
	char *plain = aligned_alloc(PAGE, len);
	char *want = malloc(len);

	if (!plain || !want)
		err(1, "malloc");

	fill(want, len, 1);
	memcpy(own, want, len);
	check(granted, want, len, "the two mappings are not of the same frames");
	if (pwrite(fd, granted, len, pos) != (ssize_t)len)
		err(1, "pwrite from granted pages");
	if (pread(fd, plain, len, pos) != (ssize_t)len)
		err(1, "pread");
	check(plain, want, len, "granted pages were written wrong");

	fill(want, len, 2);
	memcpy(plain, want, len);
	if (pwrite(fd, plain, len, pos) != (ssize_t)len)
		err(1, "pwrite");
	if (pread(fd, granted, len, pos) != (ssize_t)len)
		err(1, "pread into granted pages");
	check(granted, want, len, "granted pages were read wrong");
	check(own, want, len, "the owner does not see what was read");
}

int main(int argc, char **argv)
{
	unsigned long long acquired, released;
	struct pins before, after;
	unsigned int nr;
	char *own, *granted;
	size_t len;
	__u32 *refs;
	int fd;

	if (argc != 4)
		errx(2, "usage: phyr_grant DISK POS PAGES");
	nr = strtoul(argv[3], NULL, 0);
	len = nr * PAGE;
	refs = calloc(nr, sizeof(*refs));
	if (!refs)
		err(1, "calloc");
	fd = open(argv[1], O_RDWR | O_DIRECT);
	if (fd < 0)
		err(1, "%s", argv[1]);

	own = grant(nr, refs);
	granted = map_grants(nr, refs);
	before = read_pins();
	round_trip(fd, strtoull(argv[2], NULL, 0), own, granted, len);
	after = read_pins();
	acquired = after.acquired - before.acquired;
	released = after.released - before.released;
	if (acquired != released)
		errx(1, "%llu pages pinned, %llu unpinned", acquired, released);
	/* for each of the four calls */
	if (acquired != 4 * nr)
		errx(1, "%llu pages pinned, not 4 times %u", acquired, nr);
	return 0;
}
