// SPDX-License-Identifier: GPL-2.0
/*
 * pin
 *
 * Has phyr_pin.c measure what it costs to pin memory of every kind.  Checks that the
 * memory is of that kind.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "phyr_pin.h"

#define KiB	1024UL
#define MiB	(1024 * KiB)
#define PAGE	(4 * KiB)
#define THP	"/sys/kernel/mm/transparent_hugepage/"

static int device;

static void set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		err(1, "%s", path);
	close(fd);
}

static char *map(size_t len, size_t align, int flags)
{
	char *p = mmap(NULL, len + align, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap of %zu MiB", len / MiB);
	return p + (-(unsigned long)p & (align - 1));
}

static unsigned int measure(const char *name, char *p, size_t len, int longterm)
{
	struct phyr_pin pin = {
		.addr = (unsigned long)p, .len = len, .longterm = longterm,
	};

	snprintf(pin.name, sizeof(pin.name), "%s", name);
	if (ioctl(device, PHYR_PIN, &pin))
		err(1, "pin %s", name);
	printf("pin: %s: %u ranges\n", name, pin.ranges);
	return pin.ranges;
}

/* Kibibytes of the calling process that are of a kind in its smaps_rollup. */
static unsigned long smaps(const char *kind)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	unsigned long kib = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, kind, strlen(kind)))
			kib = strtoul(line + strlen(kind), NULL, 10);
	if (f)
		fclose(f);
	return kib;
}

/* Pages as the allocator gives them, or taken in turns with another area. */
static void measure_pages(const char *name, size_t len, int scatter)
{
	char *p = map(len, PAGE, 0), *q = map(len, PAGE, 0);
	unsigned int ranges;
	size_t i;

	if (madvise(p, len, MADV_NOHUGEPAGE) || madvise(q, len, MADV_NOHUGEPAGE))
		err(1, "MADV_NOHUGEPAGE");
	for (i = 0; i < len; i += PAGE) {
		p[i] = 1;
		if (scatter)
			q[i] = 1;
	}
	ranges = measure(name, p, len, 0);
	if (scatter && ranges && ranges < len / PAGE * 9 / 10)
		errx(1, "pages are adjacent: only %u ranges", ranges);
	munmap(p, len);
	munmap(q, len);
}

static void measure_64k(size_t len)
{
	char *p = map(len, 2 * MiB, 0);
	unsigned int ranges;

	set(THP "hugepages-64kB/enabled", "always");
	set(THP "enabled", "never");
	memset(p, 1, len);
	ranges = measure("64k", p, len, 0);
	if (ranges > len / (64 * KiB))
		errx(1, "no folios of 64K: %u ranges", ranges);
	munmap(p, len);
	set(THP "hugepages-64kB/enabled", "never");
}

static void measure_thp(size_t len)
{
	char *p = map(len, 2 * MiB, 0);

	set(THP "enabled", "always");
	memset(p, 1, len);
	if (smaps("AnonHugePages:") < len / KiB)
		errx(1, "no huge pages: %lu KiB of %zu MiB", smaps("AnonHugePages:"), len / MiB);
	measure("thp", p, len, 0);
	measure("thp_longterm", p, len, 1);
	munmap(p, len);
	set(THP "enabled", "madvise");
}

static void measure_hugetlb(size_t len)
{
	char count[16];
	char *p;

	snprintf(count, sizeof(count), "%zu", len / (2 * MiB));
	set("/proc/sys/vm/nr_hugepages", count);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_HUGETLB, -1, 0);
	if (p == MAP_FAILED)
		err(1, "mmap of %s huge pages", count);
	memset(p, 1, len);
	measure("hugetlb", p, len, 0);
	munmap(p, len);
	set("/proc/sys/vm/nr_hugepages", "0");
}

int main(void)
{
	device = open("/dev/phyr_pin", O_RDWR);
	if (device < 0)
		err(1, "/dev/phyr_pin");
	measure_thp(256 * MiB);
	measure_hugetlb(256 * MiB);
	measure_64k(256 * MiB);
	measure_pages("4k", 256 * MiB, 0);
	measure_pages("4k_scattered", 256 * MiB, 1);
	measure_pages("4k_single", PAGE, 0);
	puts("pin: done");
	return 0;
}
