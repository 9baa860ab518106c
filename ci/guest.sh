#!/bin/bash
# Boot a kernel in QEMU with the disks that the selftests look for:
#   ci/guest.sh [--mode MODE] [--run boot|tests|trial|sh] [--short]
#               [--timeout SECONDS] [--icount] [--debug kasan|kcsan|gcov] KERNEL LOG
# The console goes to LOG, what the payload reports to LOG.out. With --run sh the
# console is the terminal. Fails unless the payload came to its end. --short: of
# the tests, those of the DMA API and of one disk with and one without scatterlist.
# --debug: KERNEL was configured with that, and gets the time and memory it takes.
# MODE is how the devices reach memory, and ci/guest-init tests that they do so:
#   strict       intel-iommu with caching mode, which this is without; each unmap
#                flushes the IOTLB
#   passthrough  the same machine, physical addresses
#   swiotlb      the same machine, no IOMMU in use, everything bounces
#   lazy         intel-iommu without caching mode, unmaps through the flush queue:
#                Linux turns that off where it sees caching mode. With swiotlb=force,
#                which is for devices without an IOMMU and must change nothing here
#   nocm         intel-iommu without caching mode, strict
#   scalable     intel-iommu in scalable mode, strict. QEMU 7.2 has second stage
#                tables only: the page table is the vtdss format all the same
#   amd          amd-iommu, strict: the amdv1 format, coherent page walks
#   virtio       virtio-iommu, strict: no page table in the guest, map_pages()
#   high         no IOMMU; memory above 4 GiB, which edu does not reach, and of a disk
# Three more have no KUnit and other devices, and run what mainline has to test pins with:
#   mm           as strict, with more memory: selftests of mm, iommu and rdma
#   movable      the same, with a part of it in ZONE_MOVABLE: selftests/mm/gup_range,
#                and gup_longterm, for what arrays of pages pin
#   vfio         as mm, with devices for user space: selftests of vfio
# So have those where one NVMe disk reaches the memory of another, p2p.sh:
#   p2p          no IOMMU in use; behind one switch by bus address, else through the
#                host bridge, which Linux trusts with a Zen CPU
#   p2p-refused  the same with a CPU that is no Zen, so not through the host bridge
#   p2p-iommu    the same with intel-iommu, strict: through the host bridge by IOVA
#   p2p-amd      the same with amd-iommu
# And those with little memory and a disk for swap, progress.sh:
#   progress     as strict
#   progress-pt  as passthrough
# And those where things fail, fail_alloc.sh, fail_io.sh and removal.sh:
#   faults       as strict, with NVMe disks that can be removed
#   faults-pt    the same, as passthrough
# On arm64 the tests of the short run but with all of KUnit, QEMU's machine "virt":
#   arm64        SMMUv3, strict: io-pgtable, which takes no array but map_pages()
#   arm64-noncoherent     the same, with a device tree that does not say that the
#                devices on PCI see the caches of the CPUs: all DMA needs maintenance
#   arm64-noncoherent-pt  the same, physical addresses, all below 4 GiB
# And the one with another machine, xen.sh:
#   xen          dom0 of Xen, a PV guest: no IOMMU, but machine memory has other
#                addresses than physical memory, and is in pieces
#   ci/guest.sh --accel KERNEL
# Says which accelerator a guest gets here, kvm or tcg.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What is run in the modes that have other tests, of the guest's /tests.
declare -A progs
progs[mm]="mm/gup_test.sh,mm/gup_longterm,mm/hugetlb_dio,mm/cow"
progs[mm]+=",iommu/iommufd,iommu/iommufd_fail_nth,rdma/mr_memory.sh"
progs[movable]="mm/gup_range,mm/gup_longterm"
progs[vfio]="vfio/vfio_dma_mapping_test,vfio/vfio_dma_mapping_mmio_test"
progs[vfio]+=",vfio/vfio_pci_driver_test,vfio/vfio_dma_transfer_test,vfio/vfio_dma_fail_nth_test"
progs[p2p]=p2p.sh
progs[p2p-refused]=p2p.sh
progs[p2p-iommu]=p2p.sh
progs[p2p-amd]=p2p.sh
progs[progress]=progress.sh
progs[progress-pt]=progress.sh
progs[faults]=fail_alloc.sh,fail_io.sh,removal.sh
progs[faults-pt]=${progs[faults]}
progs[xen]=xen.sh

# The tests of a mode that has KUnit as well.
disk_progs=nvme.sh,virtio_scsi.sh

mode=strict run=boot limit=300 only_accel='' icount='' short='' debug=''
while [[ ${1-} == --* ]]; do
	case $1 in
	--mode) mode=$2 && shift ;;
	--run) run=$2 && shift ;;
	--timeout) limit=$2 && shift ;;
	--icount) icount=1 ;;
	--short) short=1 ;;
	--debug) debug=$2 && shift ;;
	--accel) only_accel=1 ;;
	*) die "unknown option $1: see the head of ci/guest.sh" ;;
	esac
	shift
done
kernel=${1:?no kernel named}
initrd=$build/initramfs.cpio
console=ttyS0
qemu="qemu-system-x86_64"
case $mode in
arm64*)
	initrd=$build/initramfs-arm64.cpio console=ttyAMA0 qemu=qemu-system-aarch64
	disk_progs=nvme.sh,nvme_pi.sh,virtio_scsi.sh
	;;
xen)
	console=hvc0
	[[ -s $build/xen/xen ]] || die "no $(rel "$build/xen/xen"): run ci/xen.sh first"
	;;
esac
[[ -s $kernel ]] || die "no kernel $kernel: run ci/build.sh first"
[[ -s $initrd ]] || die "no $(rel "$initrd"): run ci/initramfs.sh first"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# What a checking kernel takes for itself: MiB of memory, and times as long.
case $debug in
'') extra=0 slow=1 ;;
kasan) extra=1024 slow=8 ;;
kcsan) extra=256 slow=8 ;;
gcov) extra=0 slow=2 ;;
*) die "unknown kind of kernel $debug: see the head of ci/guest.sh" ;;
esac
# A race takes two: gup_test is one thread, 289 times. gup_range has races.
[[ $debug != kcsan ]] || progs[mm]=${progs[mm]#mm/gup_test.sh,}
case $mode in
mm | vfio) memory=4096 ;;
# ZONE_MOVABLE is the end of memory, and KASAN's shadow, an 8th of all, is as well; with it,
# the zone starts at a GiB, as the gigantic page would lie across its start.
movable)
	memory=4096 movable=512
	[[ $debug != kasan ]] || memory=4608 movable=1536
	;;
high) memory=6144 ;;
progress*) memory=512 extra=$((extra / 2)) ;;
*) memory=1536 ;;
esac
case $mode in
p2p | p2p-iommu | p2p-amd) cpu="max,vendor=AuthenticAMD,family=23,model=1" ;;
# which has the atomic instructions, and nothing that is slow to emulate
arm64*) cpu=neoverse-n1 ;;
*) cpu=max ;;
esac
# While Linux finds out what the first CPU has, it takes a page table of five levels for one
# of four: to KASAN an interrupt in that time is a wild access.
[[ $debug != kasan || $mode == arm64* ]] || cpu+=",la57=off"
case $mode in
# the memory of BARs where a device reaches it that has no IOMMU and 32 bits
arm64*-pt) machine="virt,gic-version=3,iommu=smmuv3,highmem=off" ;;
arm64*) machine="virt,gic-version=3,iommu=smmuv3" ;;
*) machine="q35,kernel-irqchip=split" ;;
esac
machine=(
	-machine "$machine" -cpu "$cpu" -smp 2 -m "$((memory + extra))M"
	-nodefaults -display none -no-reboot
)

# One sparse file a disk, gone with the guest.
disk() {
	truncate -s 64M "$tmp/$1"
	machine+=(-drive "if=none,id=$1,file=$tmp/$1,format=raw,discard=unmap,cache=unsafe")
}

# The IOMMU comes first: it is there before the devices behind it. amd-iommu makes
# a PCI function of its own in the first free slot.
iommu() {
	case $mode in
	strict | passthrough | swiotlb | mm | movable | vfio | p2p | p2p-refused | p2p-iommu | progress* | faults*)
		machine+=(-device "intel-iommu,intremap=on,caching-mode=on")
		;;
	lazy | nocm) machine+=(-device "intel-iommu,intremap=on,caching-mode=off") ;;
	scalable) machine+=(-device "intel-iommu,intremap=on,caching-mode=on,x-scalable-mode=on") ;;
	amd | p2p-amd) machine+=(-device amd-iommu) ;;
	virtio) machine+=(-device "virtio-iommu-pci,addr=0x1") ;;
	arm64 | arm64-noncoherent | arm64-noncoherent-pt | high | xen) ;;
	*) die "unknown mode $mode: see the head of ci/guest.sh" ;;
	esac
}

# A function without a driver that has memory in its BAR.
bar() {
	machine+=(
		-object "memory-backend-ram,id=bar,size=16M,share=on"
		-device "ivshmem-plain,addr=0x11,memdev=bar"
	)
}

# mdts=9: 2 MiB fit into one command. iommu_platform sends virtio through the DMA
# API; its queues keep their length of 256, as QEMU 7.2 writes the rings of longer
# ones, which do not fit into a page, to wrong addresses behind an IOMMU. edu is
# a function without a driver: the KUnit tests map for it, and have it move data
# from and to ivshmem, memory that is not the system's. The slots are fixed, so that
# the IOMMU's own function is in nobody's way.
devices() {
	local id
	for id in nvme pi pi4k virtio scsi; do
		disk "$id"
	done
	machine+=(
		-device "nvme,addr=0x8,serial=phyr-nvme,drive=nvme,mdts=9"
		-device "nvme,addr=0x9,serial=phyr-pi,id=pi,mdts=9"
		-device "nvme-ns,bus=pi,drive=pi,nsid=1,ms=8,pi=1,logical_block_size=512,physical_block_size=512"
		-device "nvme-ns,bus=pi,drive=pi4k,nsid=2,ms=8,pi=1,pil=1,logical_block_size=4096,physical_block_size=4096"
		-device "virtio-blk-pci,addr=0xa,serial=phyr-virtio-blk,drive=virtio,iommu_platform=on,disable-legacy=on"
		-device "virtio-scsi-pci,addr=0xb,id=scsi,iommu_platform=on,disable-legacy=on"
		-device "scsi-hd,bus=scsi.0,serial=phyr-virtio-scsi,drive=scsi"
		-device "edu,addr=0x10,dma_mask=0xffffffff"
	)
	bar
	if [[ $mode == high ]]; then
		disk cmb
		machine+=(-device "nvme,addr=0x12,serial=phyr-cmb,drive=cmb,cmb_size_mb=16")
	fi
	# QEMU's AHCI fails commands, and then asserts, when their table crosses
	# into a page that is not the physically next one: an IOMMU lets Linux
	# allocate it from any pages.
	if [[ $mode == passthrough || $mode == swiotlb ]]; then
		disk ahci
		machine+=(-device "ide-hd,bus=ide.0,serial=phyr-ahci,drive=ahci")
	fi
}

# A file system, swap, and memory of a device.
mm_devices() {
	for id in ext4 swap cmb; do
		truncate -s 256M "$tmp/$id"
	done
	mkfs.ext4 -q "$tmp/ext4"
	for id in ext4 swap cmb; do
		machine+=(-drive "if=none,id=$id,file=$tmp/$id,format=raw,cache=unsafe")
	done
	machine+=(
		-device "nvme,addr=0x8,serial=phyr-ext4,drive=ext4"
		-device "nvme,addr=0x9,serial=phyr-swap,drive=swap"
		-device "nvme,addr=0xa,serial=phyr-cmb,drive=cmb,cmb_size_mb=16"
	)
}

# Who does DMA, to any address, and where to.
vfio_devices() {
	machine+=(-device "edu,addr=0x10,dma_mask=0xffffffffffffffff")
	bar
}

# A disk with memory and one that shares a switch with it, and one behind another
# root port. QEMU's amd-iommu takes what is behind a bridge for another device.
p2p_devices() {
	local id cmb="bus=down1" port="bus=root2"
	for id in cmb switch port; do
		disk "$id"
	done
	if [[ $mode == p2p-amd ]]; then
		cmb="addr=0x8" port="addr=0x9"
	else
		machine+=(
			-device "pcie-root-port,id=root1,addr=0x8,chassis=1,slot=1"
			-device "x3130-upstream,id=up,bus=root1"
			-device "xio3130-downstream,id=down1,bus=up,chassis=2,slot=1"
			-device "xio3130-downstream,id=down2,bus=up,chassis=2,slot=2"
			-device "pcie-root-port,id=root2,addr=0x9,chassis=1,slot=2"
			-device "nvme,bus=down2,serial=phyr-p2p-switch,drive=switch,mdts=9"
		)
	fi
	machine+=(
		-device "nvme,$cmb,serial=phyr-cmb,drive=cmb,mdts=9,cmb_size_mb=16"
		-device "nvme,$port,serial=phyr-p2p-port,drive=port,mdts=9"
	)
}

progress_devices() {
	disk nvme
	disk swap
	truncate -s 512M "$tmp/swap"
	machine+=(
		-device "nvme,addr=0x8,serial=phyr-nvme,drive=nvme,mdts=9"
		-device "nvme,addr=0x9,serial=phyr-swap,drive=swap,mdts=9"
	)
}

# Disks below ports of their own, to be removed by these: through PCIe, not ACPI. The
# last one has protection information.
faults_devices() {
	local n protected="nsid=1,ms=8,pi=1,logical_block_size=512,physical_block_size=512"
	disk nvme && disk pi && disk virtio
	machine+=(
		-global "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"
		-device "nvme,addr=0x8,serial=phyr-nvme,drive=nvme,mdts=9"
		-device "nvme,addr=0x9,serial=phyr-pi,id=pi,mdts=9"
		-device "nvme-ns,bus=pi,drive=pi,$protected"
		-device "virtio-blk-pci,addr=0xa,serial=phyr-virtio-blk,drive=virtio,iommu_platform=on,disable-legacy=on"
	)
	# see devices()
	if [[ $mode == faults-pt ]]; then
		disk ahci
		machine+=(-device "ide-hd,bus=ide.0,serial=phyr-ahci,drive=ahci")
	fi
	for n in 1 2 3 4 5; do
		disk "gone$n"
		machine+=(
			-device "pcie-root-port,id=port$n,addr=0x1$n,chassis=1,slot=$n"
			-device "nvme,bus=port$n,serial=phyr-gone-$n,id=gone$n,mdts=9"
		)
		# the first: lockdep is on until then, see check_debug() in ci/guest-init
		if ((n == 1)); then
			machine+=(-device "nvme-ns,bus=gone$n,drive=gone$n,$protected")
		else
			machine+=(-device "nvme-ns,bus=gone$n,drive=gone$n,nsid=1")
		fi
	done
}

# The file system is made here: what has large folios needs more than busybox has.
xen_devices() {
	disk nvme
	disk ext4
	mkfs.ext4 -q "$tmp/ext4"
	machine+=(
		-device "nvme,addr=0x8,serial=phyr-nvme,drive=nvme,mdts=9"
		-device "nvme,addr=0x9,serial=phyr-ext4,drive=ext4,mdts=9"
	)
}

# kunit SUITES. A race takes two, and KUnit is one thread: with KCSAN, its own suite is run
# once, which shows that races are found.
kunit() {
	local suites=$1
	if [[ $debug == kcsan ]]; then
		[[ $mode == lazy ]] || { say "kunit.enable=0" && return; }
		suites=kcsan
	fi
	say "kunit.enable=1 kunit.autorun=1 kunit.filter_glob=$suites"
}

# no_timer_check: on a busy host the timer of the IO-APIC can come too late for the
# kernel's taste, which then panics.
command_line() {
	local line="console=$console no_timer_check panic=-1 phyr.run=$run phyr.mode=$mode"
	line+=" phyr.probe=${PHYR_PROBE:-phyr_iter_fill}"
	case $mode in
	# a swiotlb for more than small kmalloc() buffers
	arm64 | arm64-noncoherent) line+=" iommu.strict=1 swiotlb=16384,track_hiwater" ;;
	arm64-noncoherent-pt) line+=" iommu.passthrough=1 swiotlb=16384,track_hiwater" ;;
	strict | nocm | mm | movable | vfio | progress | faults | p2p-iommu)
		line+=" intel_iommu=on iommu.strict=1"
		;;
	passthrough | progress-pt | faults-pt) line+=" intel_iommu=on iommu=pt" ;;
	p2p | p2p-refused) line+=" intel_iommu=off" ;;
	swiotlb) line+=" intel_iommu=off swiotlb=force,track_hiwater" ;;
	high) line+=" swiotlb=track_hiwater" ;;
	lazy) line+=" intel_iommu=on iommu.strict=0 swiotlb=force,track_hiwater" ;;
	scalable) line+=" intel_iommu=on,sm_on iommu.strict=1" ;;
	amd | virtio | p2p-amd) line+=" iommu.strict=1" ;;
	esac
	if [[ $debug ]]; then
		line+=" phyr.debug=$debug phyr.slow=$slow kunit.timeout=$((300 * slow))"
		# page_owner is in the reports of others; a task or a disk may take long; the
		# first lines must still be there at the end
		line+=" page_owner=on watchdog_thresh=60 sysctl.kernel.hung_task_timeout_secs=600"
		line+=" log_buf_len=4M"
	fi
	# in the 80 us of its default an emulated CPU does little
	[[ $debug != kcsan ]] || line+=" kcsan.udelay_task=1000 kcsan.udelay_interrupt=200"
	# memory without struct pages, as a section of its own
	[[ -n ${progs[$mode]-} || $mode == arm64* ]] || line+=" memmap=128M!1G"
	# All suites but dma-buf-fence-chain: its test_wait_forward stops a thread, and
	# fails with -EINTR if that had no time to start.
	if [[ -n ${progs[$mode]-} ]]; then
		line+=" kunit.enable=0 scsi_debug.add_host=0 phyr.progs=${progs[$mode]}"
		case $mode in
		mm | movable | vfio) line+=" hugepagesz=1G hugepages=1 default_hugepagesz=2M" ;;
		# which allocate what they keep in mind of each mapping, allocation and timer
		progress*) line+=" dma_debug=off kmemleak=off no_debug_objects" ;;
		# QEMU's ACPI wants more than this kernel has before it leaves PCIe to it
		faults*) line+=" pcie_ports=native sysctl.vm.mem_profiling=1" ;;
		esac
		# as many pages as gup_test takes, and more; or ZONE_MOVABLE, which would be
		# full of these
		case $mode in
		mm) line+=" hugepages=256" ;;
		movable) line+=" movablecore=${movable}M" ;;
		# huge pages for the gigabyte of shmem that vfio_pci_driver_test maps again and again
		vfio) line+=" hugepages=16 transparent_hugepage_shmem=always" ;;
		esac
	elif [[ $run != tests ]]; then
		line+=" kunit.enable=0 scsi_debug.add_host=0"
	elif [[ $mode == arm64* ]]; then
		line+=" $(kunit "*[!n]") scsi_debug.add_host=0 phyr.progs=$disk_progs"
	elif [[ $short ]]; then
		line+=" $(kunit "*dm*[!n]") scsi_debug.add_host=0 phyr.progs=$disk_progs"
	else
		line+=" $(kunit "*[!n]") scsi_debug.dif=1 scsi_debug.dix=1 scsi_debug.lbpu=1"
		line+=" scsi_debug.dev_size_mb=64 scsi_debug.delay=0"
	fi
	printf '%s\n' "$line"
}

# What QEMU boots: the kernel, or Xen, which takes it and its command line as the
# first of its modules. With smap, dom0 ends in its first return to user space: Xen
# hides it from dom0, but QEMU's TCG heeds it.
payload() {
	local line
	line=$(command_line)
	if [[ $mode != xen ]]; then
		machine+=(-kernel "$kernel" -initrd "$initrd" -append "$line")
		return
	fi
	machine+=(
		-kernel "$build/xen/xen" -initrd "$kernel ${line//,/,,},$initrd"
		-append "console=com1 com1=115200 dom0_mem=$((1024 + extra))M smap=0"
	)
}

# The device tree that QEMU makes for this machine, without a word of caches that the
# devices on PCI see. The SMMU still reads its tables from the caches.
noncoherent() {
	local dtb=$tmp/virt.dtb host
	"$qemu" "${machine[@]}" -machine "dumpdtb=$dtb" >/dev/null 2>&1 ||
		die "QEMU gives no device tree: see the options in ci/guest.sh"
	host=$(fdtget -l "$dtb" / | grep '^pcie@') ||
		die "QEMU's device tree has no PCI host: see fdtget -l"
	fdtput -d "$dtb" "/$host" dma-coherent ||
		die "QEMU's device tree does not say that $host is dma-coherent"
	machine+=(-dtb "$dtb")
}

# Where the console of the machine goes, and what the payload reports: to the second
# serial port, which the machine "virt" has none of its own for.
serial_ports() {
	machine+=(-serial "$1" -chardev "$2,id=report")
	case $mode in
	arm64*) machine+=(-device "pci-serial,addr=0x13,chardev=report") ;;
	*) machine+=(-serial chardev:report) ;;
	esac
}

# A guest can hang in KVM for good, even deaf to the first signals: nothing here
# waits for it longer than the trial takes.
kvm_works() {
	local pid deadline=$((SECONDS + 30))
	[[ -r /dev/kvm && -w /dev/kvm ]] || return 1
	: >"$tmp/trial"
	setsid qemu-system-x86_64 -accel kvm "${machine[@]}" \
		-kernel "$kernel" -initrd "$initrd" \
		-append "console=ttyS0 no_timer_check panic=-1 kunit.enable=0 scsi_debug.add_host=0 phyr.run=trial" \
		-serial null -serial "file:$tmp/trial" </dev/null >/dev/null 2>&1 &
	pid=$!
	disown "$pid"
	while ((SECONDS < deadline)) && kill -0 "$pid" 2>/dev/null; do
		grep -q '^# done' "$tmp/trial" && break
		sleep 0.2
	done
	kill -KILL "$pid" 2>/dev/null || true
	grep -q '^# done' "$tmp/trial"
}

# The verdict holds as long as the host is up.
accel() {
	local verdict
	verdict=$build/accel-$(cat /proc/sys/kernel/random/boot_id)
	if [[ ! -s $verdict ]]; then
		rm -f "$build"/accel-*
		if kvm_works; then echo kvm; else echo tcg; fi >"$verdict"
	fi
	cat "$verdict"
}

if [[ $only_accel ]]; then
	accel
	exit
fi

log=${2-}
[[ $run == sh || $log ]] || die "no log named: see the head of ci/guest.sh"
[[ -z $log ]] || mkdir -p "$(dirname "$log")"
if [[ $icount ]]; then
	machine+=(-accel tcg -icount "shift=0,sleep=off")
elif [[ $mode == arm64* ]]; then
	machine+=(-accel tcg)
elif [[ $mode == faults* ]]; then
	# see removal.sh
	machine+=(-accel "tcg,thread=single")
else
	accel=$(accel)
	machine+=(-accel "$accel")
fi
iommu
case $mode in
mm | movable) mm_devices ;;
vfio) vfio_devices ;;
p2p*) p2p_devices ;;
progress*) progress_devices ;;
faults*) faults_devices ;;
xen) xen_devices ;;
*) devices ;;
esac
[[ $mode != *-noncoherent* ]] || noncoherent
payload

if [[ $run == sh ]]; then
	serial_ports mon:stdio null
	"$qemu" "${machine[@]}"
	exit
fi

: >"$log" && : >"$log.out"
status=0
serial_ports "file:$log" "file,path=$log.out"
timeout -k 5 "$((limit * slow))" "$qemu" "${machine[@]}" </dev/null >"$log.qemu" 2>&1 || status=$?
case $status in
0) ;;
124 | 137) die "the guest hung: killed after $((limit * slow)) s: see $(rel "$log")" ;;
*) die "QEMU failed with status $status: $(head -n 1 "$log.qemu")" ;;
esac
grep -q '^# done' "$log.out" ||
	die "the guest ended before its payload: see $(rel "$log")"
