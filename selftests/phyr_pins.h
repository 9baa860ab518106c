/* SPDX-License-Identifier: GPL-2.0 */
/* What pins of user pages the kernel has counted. */
#ifndef PHYR_PINS_H
#define PHYR_PINS_H

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

struct pins {
	unsigned long long acquired;
	unsigned long long released;
};

/* CPUs keep what they have counted to themselves, until they are asked. */
static inline struct pins read_pins(void)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY);
	struct pins pins = {};
	char line[128];
	int nr = 0;
	FILE *f;

	if (fd < 0 || write(fd, "1", 1) != 1)
		err(1, "/proc/sys/vm/stat_refresh");
	close(fd);
	f = fopen("/proc/vmstat", "r");
	if (!f)
		err(1, "/proc/vmstat");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "nr_foll_pin_acquired %llu", &pins.acquired) == 1 ||
		    sscanf(line, "nr_foll_pin_released %llu", &pins.released) == 1)
			nr++;
	}
	fclose(f);
	if (nr != 2)
		errx(1, "/proc/vmstat does not count pins");
	return pins;
}

#endif
