/* SPDX-License-Identifier: GPL-2.0 */
/* What pin.c asks of phyr_pin.c, by ioctl() on /dev/phyr_pin. */
#include <linux/ioctl.h>
#include <linux/types.h>

struct phyr_pin {
	char	name[32];	/* in the rows that this logs */
	__u64	addr;
	__u64	len;
	__u32	longterm;
	__u32	ranges;		/* that it is, if the kernel can tell */
};

#define PHYR_PIN	_IOWR('p', 0, struct phyr_pin)

/* The same memory as a memory region of an RDMA device.  Looks at name, addr, len. */
#define PHYR_MR		_IOW('p', 1, struct phyr_pin)
