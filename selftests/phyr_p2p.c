// SPDX-License-Identifier: GPL-2.0
/*
 * phyr_p2p SHAPE ALLOCATE DISK
 *
 * Writes memory of a PCI device to a disk and reads it back, with O_DIRECT, so that
 * the disk reaches the memory peer to peer.  ALLOCATE is p2pmem/allocate of the
 * device in sysfs.  What the CPU puts into that memory is compared with what a
 * read into plain memory says of the disk, and the other way round.
 *
 * Exit status: 0 if all data was right, 1 if not, 2 if both directions were
 * refused with an error, which is printed.  A bio is refused as a whole, but the
 * bios of system memory beside it may have been done.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE		4096UL
#define SECTOR		512UL
#define MEMORY		(2UL << 20)	/* of the device, of the system, and to compare */
#define MAX_PARTS	512
#define REFUSED		2

/* The same few bytes never come again in one buffer. */
enum pattern { POISON, TO_DISK, FROM_DISK, OLD };

static unsigned char *peer, *plain, *flat;
static struct iovec iov[MAX_PARTS];
static int nr_iov;
static size_t total;
static bool is_mixed;

static void add(unsigned char *base, size_t len)
{
	if (nr_iov == MAX_PARTS)
		errx(1, "too many parts");
	iov[nr_iov].iov_base = base;
	iov[nr_iov++].iov_len = len;
	total += len;
}

/* @nr pages of the device, every other one, from the last one down. */
static void scatter(unsigned int nr)
{
	while (nr--)
		add(peer + 2 * nr * PAGE, PAGE);
}

/* @nr parts of the device and of the system by turns. */
static void mixed(unsigned int nr, bool peer_first, size_t len)
{
	unsigned int i;

	is_mixed = true;
	for (i = 0; i < nr; i++)
		add(((i & 1) == peer_first ? plain : peer) + i * len, len);
}

static void make_shape(const char *shape)
{
	if (!strcmp(shape, "block"))
		add(peer + SECTOR, SECTOR);
	else if (!strcmp(shape, "4k"))
		add(peer, PAGE);
	else if (!strcmp(shape, "64k"))
		add(peer, 64 << 10);
	else if (!strcmp(shape, "1m"))
		add(peer, 1 << 20);
	else if (!strcmp(shape, "unaligned"))
		add(peer + SECTOR, 64 << 10);
	else if (!strcmp(shape, "vector"))
		scatter(4);
	else if (!strcmp(shape, "vector-many"))
		scatter(100);
	else if (!strcmp(shape, "mixed"))
		mixed(4, false, PAGE);
	else if (!strcmp(shape, "mixed-peer"))
		mixed(4, true, PAGE);
	/* more than a bio has room for, so that there are several bios */
	else if (!strcmp(shape, "mixed-many"))
		mixed(300, true, SECTOR);
	else
		errx(1, "no shape %s", shape);
}

static unsigned char byte_of(enum pattern pattern, size_t i)
{
	return pattern == POISON ? 0xa5 :
		(i ^ i >> 8 ^ i >> 16) * 31 + pattern * 85;
}

static void fill(unsigned char *p, size_t len, enum pattern pattern)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = byte_of(pattern, i);
}

/* @pattern everywhere, or @other in places. */
static void check(const char *what, const unsigned char *p, size_t len,
		  enum pattern pattern, enum pattern other)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] != byte_of(pattern, i) && p[i] != byte_of(other, i))
			errx(1, "%s: byte %zu is %#x, not %#x", what, i, p[i],
			     byte_of(pattern, i));
}

/*
 * Memory of a device is slow by the byte: it is only copied, by way of @flat.
 * The parts get the pattern, all else is poisoned.
 */
static void fill_parts(enum pattern pattern)
{
	size_t done = 0;
	int i;

	fill(flat, MEMORY, POISON);
	memcpy(peer, flat, MEMORY);
	memcpy(plain, flat, MEMORY);
	fill(flat, total, pattern);
	for (i = 0; pattern != POISON && i < nr_iov; done += iov[i++].iov_len)
		memcpy(iov[i].iov_base, flat + done, iov[i].iov_len);
}

/* The parts have what was on the disk, and nothing else was written to. */
static void check_parts(bool failed)
{
	size_t done = 0;
	int i;

	for (i = 0; i < nr_iov; done += iov[i++].iov_len) {
		memcpy(flat + done, iov[i].iov_base, iov[i].iov_len);
		memset(iov[i].iov_base, byte_of(POISON, 0), iov[i].iov_len);
	}
	check("what was read", flat, total, failed ? POISON : FROM_DISK,
	      failed && !is_mixed ? POISON : FROM_DISK);
	memcpy(flat, peer, MEMORY);
	check("memory of the device beside it", flat, MEMORY, POISON, POISON);
	check("memory of the system beside it", plain, MEMORY, POISON, POISON);
}

static void *map(int fd, int flags)
{
	void *p = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

/* What the disk has, by way of plain memory. */
static void put(int disk, enum pattern pattern)
{
	fill(flat, total, pattern);
	if (pwrite(disk, flat, total, 0) != (ssize_t)total)
		err(1, "write from plain memory");
}

static void get(int disk, bool failed)
{
	fill(flat, total, POISON);
	if (pread(disk, flat, total, 0) != (ssize_t)total)
		err(1, "read to plain memory");
	check("what was written", flat, total, failed ? OLD : TO_DISK,
	      failed && !is_mixed ? OLD : TO_DISK);
}

/* Returns if there was an error. */
static bool refused(const char *what, ssize_t ret)
{
	if (ret < 0) {
		printf("%s: %s\n", what, strerror(errno));
		return true;
	}
	if (ret != (ssize_t)total)
		errx(1, "%s: %zd of %zu bytes", what, ret, total);
	return false;
}

int main(int argc, char **argv)
{
	bool no_write, no_read;
	int memory, disk;

	if (argc != 4 || sysconf(_SC_PAGESIZE) != PAGE)
		errx(1, "usage: phyr_p2p SHAPE ALLOCATE DISK");
	memory = open(argv[2], O_RDWR);
	if (memory < 0)
		err(1, "%s", argv[2]);
	disk = open(argv[3], O_RDWR | O_DIRECT);
	if (disk < 0)
		err(1, "%s", argv[3]);
	peer = map(memory, MAP_SHARED);
	plain = map(-1, MAP_PRIVATE | MAP_ANONYMOUS);
	flat = map(-1, MAP_PRIVATE | MAP_ANONYMOUS);
	make_shape(argv[1]);

	put(disk, OLD);
	fill_parts(TO_DISK);
	no_write = refused("write", pwritev(disk, iov, nr_iov, 0));
	get(disk, no_write);

	put(disk, FROM_DISK);
	fill_parts(POISON);
	no_read = refused("read", preadv(disk, iov, nr_iov, 0));
	check_parts(no_read);

	if (no_write != no_read)
		errx(1, "only one direction was refused");
	return no_write ? REFUSED : 0;
}
