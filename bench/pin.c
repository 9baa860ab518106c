// SPDX-License-Identifier: GPL-2.0
/*
 * pin gup|mr|iommufd|type1 [DEVICE NAME]
 *
 * Has phyr_pin.c measure what it costs to pin memory of every kind, or to register
 * it as a memory region.  Or measures what it costs to map it for DEVICE, one of
 * vfio's, by iommufd, or by VFIO's type1 for the group DEVICE, and logs rows
 * "NAME-<iommufd|type1>-<memory>-<map|unmap|both>".  Checks that the memory is of
 * that kind.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/iommufd.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "phyr_pin.h"

#define KiB	1024UL
#define MiB	(1024 * KiB)
#define PAGE	(4 * KiB)
#define THP	"/sys/kernel/mm/transparent_hugepage/"

#define LOOPS	5
#define NSEC	1000000000ULL

/* What is asked for memory of each kind; returns how many ranges it is, if known. */
static unsigned int (*measure)(const char *name, char *p, size_t len, int longterm);

static int device;

/* What memory is mapped into, by these, and how rows start. */
#define IOVA		(1ULL << 32)
static int iommu;
static __u32 ioas;
static int (*map_dma)(char *p, size_t len);
static int (*unmap_dma)(size_t len);
static const char *row, *call;

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

static unsigned int measure_pin(const char *name, char *p, size_t len, int longterm)
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

static unsigned int measure_mr(const char *name, char *p, size_t len, int longterm)
{
	struct phyr_pin pin = { .addr = (unsigned long)p, .len = len };

	/* memory regions always are */
	if (longterm)
		return 0;
	snprintf(pin.name, sizeof(pin.name), "%s", name);
	if (ioctl(device, PHYR_MR, &pin))
		err(1, "memory region %s", name);
	return 0;
}

static __u64 now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC + ts.tv_nsec;
}

static int map_ioas(char *p, size_t len)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map), .ioas_id = ioas,
		.flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_FIXED_IOVA,
		.user_va = (unsigned long)p, .length = len, .iova = IOVA,
	};

	return ioctl(iommu, IOMMU_IOAS_MAP, &map);
}

static int unmap_ioas(size_t len)
{
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap), .ioas_id = ioas, .iova = IOVA,
		.length = len,
	};

	return ioctl(iommu, IOMMU_IOAS_UNMAP, &unmap) || unmap.length != len;
}

static int map_type1(char *p, size_t len)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (unsigned long)p, .iova = IOVA, .size = len,
	};

	return ioctl(iommu, VFIO_IOMMU_MAP_DMA, &map);
}

static int unmap_type1(size_t len)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = IOVA, .size = len,
	};

	return ioctl(iommu, VFIO_IOMMU_UNMAP_DMA, &unmap) || unmap.size != len;
}

static unsigned int measure_map(const char *name, char *p, size_t len, int longterm)
{
	__u64 best_map = ~0ULL, best_unmap = ~0ULL;
	__u64 start, mapped, end;
	int i;

	if (longterm)
		return 0;
	for (i = 0; i < LOOPS; i++) {
		start = now();
		if (map_dma(p, len))
			err(1, "%s: mapping %s", call, name);
		mapped = now();
		if (unmap_dma(len))
			err(1, "%s: unmapping %s", call, name);
		end = now();
		if (mapped - start < best_map)
			best_map = mapped - start;
		if (end - mapped < best_unmap)
			best_unmap = end - mapped;
	}
	printf("phyr_bench: %s-%s-%s-map %llu\n", row, call, name, best_map);
	printf("phyr_bench: %s-%s-%s-unmap %llu\n", row, call, name, best_unmap);
	printf("phyr_bench: %s-%s-%s-both %llu\n", row, call, name,
	       best_map + best_unmap);
	return 0;
}

/* Puts the device into an address space, which is when memory is mapped for it. */
static void attach_ioas(const char *path)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	struct vfio_device_attach_iommufd_pt pt = { .argsz = sizeof(pt) };
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

	iommu = open("/dev/iommu", O_RDWR);
	device = open(path, O_RDWR);
	if (iommu < 0 || device < 0)
		err(1, "/dev/iommu, %s", path);
	bind.iommufd = iommu;
	if (ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		err(1, "VFIO_DEVICE_BIND_IOMMUFD");
	if (ioctl(iommu, IOMMU_IOAS_ALLOC, &alloc))
		err(1, "IOMMU_IOAS_ALLOC");
	ioas = alloc.out_ioas_id;
	pt.pt_id = ioas;
	if (ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &pt))
		err(1, "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
	map_dma = map_ioas;
	unmap_dma = unmap_ioas;
}

static void attach_type1(const char *path)
{
	iommu = open("/dev/vfio/vfio", O_RDWR);
	device = open(path, O_RDWR);
	if (iommu < 0 || device < 0)
		err(1, "/dev/vfio/vfio, %s", path);
	if (ioctl(device, VFIO_GROUP_SET_CONTAINER, &iommu))
		err(1, "VFIO_GROUP_SET_CONTAINER");
	if (ioctl(iommu, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		err(1, "VFIO_SET_IOMMU");
	map_dma = map_type1;
	unmap_dma = unmap_type1;
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
	set(THP "enabled", "madvise");
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

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	size_t most = 1024 * MiB;

	if (argc == 4 && (!strcmp(what, "iommufd") || !strcmp(what, "type1"))) {
		if (!strcmp(what, "type1"))
			attach_type1(argv[2]);
		else
			attach_ioas(argv[2]);
		row = argv[3];
		call = what;
		measure = measure_map;
	} else {
		device = open("/dev/phyr_pin", O_RDWR);
		if (device < 0)
			err(1, "/dev/phyr_pin");
		measure = measure_mr;
	}
	if (!strcmp(what, "gup")) {
		measure = measure_pin;
		most = 256 * MiB;
	} else if (measure == measure_mr && strcmp(what, "mr")) {
		errx(2, "usage: pin gup|mr|iommufd|type1 [DEVICE NAME]");
	}

	measure_thp(most);
	measure_hugetlb(256 * MiB);
	measure_64k(256 * MiB);
	/* how many of these are adjacent differs, and with it what is mapped */
	if (measure == measure_pin)
		measure_pages("4k", 256 * MiB, 0);
	measure_pages("4k_scattered", 256 * MiB, 1);
	measure_pages("4k_single", PAGE, 0);
	printf("pin: %s done\n", what);
	return 0;
}
