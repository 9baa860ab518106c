// SPDX-License-Identifier: GPL-2.0
/*
 * phyr_eject PORT
 *
 * Takes the power from the slot of a PCIe port, a directory in sysfs, behind the back
 * of the kernel: what is in it is gone, and that is all that the kernel is told.
 */
#include <endian.h>
#include <err.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static unsigned int read_config(int fd, unsigned int at, unsigned int bytes)
{
	__u32 value = 0;

	if (pread(fd, &value, bytes, at) != bytes)
		err(1, "config space at %#x", at);
	return le32toh(value);
}

static unsigned int find_express(int fd)
{
	unsigned int at = read_config(fd, PCI_CAPABILITY_LIST, 1);

	while (at && read_config(fd, at, 1) != PCI_CAP_ID_EXP)
		at = read_config(fd, at + PCI_CAP_LIST_NEXT, 1);
	if (!at)
		errx(1, "no PCIe port");
	return at;
}

static void set_control(int fd, unsigned int express, __u16 control)
{
	control = htole16(control);
	if (pwrite(fd, &control, 2, express + PCI_EXP_SLTCTL) != 2)
		err(1, "slot control");
}

int main(int argc, char **argv)
{
	unsigned int express;
	char path[512];
	__u16 control;
	int fd;

	if (argc != 2)
		errx(2, "usage: phyr_eject PORT");
	snprintf(path, sizeof(path), "%s/config", argv[1]);
	fd = open(path, O_RDWR);
	if (fd < 0)
		err(1, "%s", path);
	express = find_express(fd);
	if (!(read_config(fd, express + PCI_EXP_SLTCAP, 4) & PCI_EXP_SLTCAP_PCP))
		errx(1, "%s: no power controller", argv[1]);

	control = read_config(fd, express + PCI_EXP_SLTCTL, 2);
	set_control(fd, express, (control & ~(PCI_EXP_SLTCTL_PIC | PCI_EXP_SLTCTL_HPIE)) |
				 PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_PWR_OFF);
	/*
	 * What is off already would not have to be removed.  And where there is a
	 * button, nobody has asked for the interrupt of a change that has none.
	 */
	set_control(fd, express, control | PCI_EXP_SLTCTL_PDCE);
	return 0;
}
