#!/bin/bash
# Boot a kernel in QEMU with the disks that the selftests look for:
#   ci/guest.sh [--mode MODE] [--run boot|tests|trial|sh] [--short]
#               [--timeout SECONDS] [--icount] KERNEL LOG
# The console goes to LOG, what the payload reports to LOG.out. With --run sh the
# console is the terminal. Fails unless the payload came to its end. --short: of
# the tests, those of the DMA API and of one disk with and one without scatterlist.
# MODE is how the devices reach memory, and ci/guest-init tests that they do so:
#   strict       intel-iommu with caching mode, which this is without; each unmap
#                flushes the IOTLB
#   passthrough  the same machine, physical addresses
#   swiotlb      the same machine, no IOMMU in use, everything bounces
#   lazy         intel-iommu without caching mode, unmaps through the flush queue:
#                Linux turns that off where it sees caching mode
#   nocm         intel-iommu without caching mode, strict
#   scalable     intel-iommu in scalable mode, strict. QEMU 7.2 has second stage
#                tables only: the page table is the vtdss format all the same
#   amd          amd-iommu, strict: the amdv1 format, coherent page walks
#   virtio       virtio-iommu, strict: no page table in the guest, map_pages()
# Two more have no KUnit and other disks, and run what mainline has to test pins with:
#   mm           as strict, with more memory: selftests of mm, iommu and rdma
#   movable      the same, with a part of it in ZONE_MOVABLE: selftests/mm/gup_range
#   ci/guest.sh --accel KERNEL
# Says which accelerator a guest gets here, kvm or tcg.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What is run in the modes that have other tests, of the guest's /tests.
declare -A progs
progs[mm]="mm/gup_test.sh,mm/gup_longterm,mm/hugetlb_dio,mm/cow"
progs[mm]+=",iommu/iommufd,iommu/iommufd_fail_nth,rdma/mr_memory.sh"
progs[movable]="mm/gup_range"

mode=strict run=boot limit=300 only_accel='' icount='' short=''
while [[ ${1-} == --* ]]; do
	case $1 in
	--mode) mode=$2 && shift ;;
	--run) run=$2 && shift ;;
	--timeout) limit=$2 && shift ;;
	--icount) icount=1 ;;
	--short) short=1 ;;
	--accel) only_accel=1 ;;
	*) die "unknown option $1: see the head of ci/guest.sh" ;;
	esac
	shift
done
kernel=${1:?no kernel named}
initrd=$build/initramfs.cpio
[[ -s $kernel ]] || die "no kernel $kernel: run ci/build.sh first"
[[ -s $initrd ]] || die "no $(rel "$initrd"): run ci/initramfs.sh first"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

case $mode in
mm | movable) memory=4G ;;
*) memory=1536M ;;
esac
machine=(
	-machine "q35,kernel-irqchip=split" -cpu max -smp 2 -m "$memory"
	-nodefaults -display none -no-reboot
	-kernel "$kernel" -initrd "$initrd"
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
	strict | passthrough | swiotlb | mm | movable) machine+=(-device "intel-iommu,intremap=on,caching-mode=on") ;;
	lazy | nocm) machine+=(-device "intel-iommu,intremap=on,caching-mode=off") ;;
	scalable) machine+=(-device "intel-iommu,intremap=on,caching-mode=on,x-scalable-mode=on") ;;
	amd) machine+=(-device amd-iommu) ;;
	virtio) machine+=(-device "virtio-iommu-pci,addr=0x1") ;;
	*) die "unknown mode $mode: see the head of ci/guest.sh" ;;
	esac
}

# mdts=9: 2 MiB fit into one command. iommu_platform sends virtio through the DMA
# API; its queues keep their length of 256, as QEMU 7.2 writes the rings of longer
# ones, which do not fit into a page, to wrong addresses behind an IOMMU. edu is
# a function without a driver: the KUnit tests map for it. The slots are fixed, so
# that the IOMMU's own function is in nobody's way.
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
		-device "edu,addr=0x10"
	)
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

# no_timer_check: on a busy host the timer of the IO-APIC can come too late for the
# kernel's taste, which then panics.
command_line() {
	local line="console=ttyS0 no_timer_check panic=-1 phyr.run=$run phyr.mode=$mode"
	line+=" phyr.probe=${PHYR_PROBE:-phyr_iter_fill}"
	case $mode in
	strict | nocm | mm | movable) line+=" intel_iommu=on iommu.strict=1" ;;
	passthrough) line+=" intel_iommu=on iommu=pt" ;;
	swiotlb) line+=" intel_iommu=off swiotlb=force,track_hiwater" ;;
	lazy) line+=" intel_iommu=on iommu.strict=0 swiotlb=force,track_hiwater" ;;
	scalable) line+=" intel_iommu=on,sm_on iommu.strict=1" ;;
	amd | virtio) line+=" iommu.strict=1" ;;
	esac
	# All suites but dma-buf-fence-chain: its test_wait_forward stops a thread, and
	# fails with -EINTR if that had no time to start.
	if [[ $mode == mm || $mode == movable ]]; then
		line+=" kunit.enable=0 scsi_debug.add_host=0 phyr.progs=${progs[$mode]}"
		line+=" hugepagesz=1G hugepages=1 default_hugepagesz=2M"
		# as many pages as gup_test takes, and more; or ZONE_MOVABLE, which would be
		# full of these
		if [[ $mode == mm ]]; then line+=" hugepages=256"; else line+=" movablecore=512M"; fi
	elif [[ $run != tests ]]; then
		line+=" kunit.enable=0 scsi_debug.add_host=0"
	elif [[ $short ]]; then
		line+=" kunit.enable=1 kunit.autorun=1 kunit.filter_glob=*dm*[!n]"
		line+=" scsi_debug.add_host=0 phyr.progs=nvme.sh,virtio_scsi.sh"
	else
		line+=" kunit.enable=1 kunit.autorun=1 kunit.filter_glob=*[!n]"
		line+=" scsi_debug.dif=1 scsi_debug.dix=1 scsi_debug.lbpu=1"
		line+=" scsi_debug.dev_size_mb=64 scsi_debug.delay=0"
	fi
	printf '%s\n' "$line"
}

# A guest can hang in KVM for good, even deaf to the first signals: nothing here
# waits for it longer than the trial takes.
kvm_works() {
	local pid deadline=$((SECONDS + 30))
	[[ -r /dev/kvm && -w /dev/kvm ]] || return 1
	: >"$tmp/trial"
	setsid qemu-system-x86_64 -accel kvm "${machine[@]}" \
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
else
	accel=$(accel)
	machine+=(-accel "$accel")
fi
iommu
case $mode in
mm | movable) mm_devices ;;
*) devices ;;
esac
append=$(command_line)

if [[ $run == sh ]]; then
	qemu-system-x86_64 "${machine[@]}" -append "$append" -serial mon:stdio -serial null
	exit
fi

: >"$log" && : >"$log.out"
status=0
timeout -k 5 "$limit" qemu-system-x86_64 "${machine[@]}" -append "$append" \
	-serial "file:$log" -serial "file:$log.out" </dev/null >"$log.qemu" 2>&1 || status=$?
case $status in
0) ;;
124 | 137) die "the guest hung: killed after $limit s: see $(rel "$log")" ;;
*) die "QEMU failed with status $status: $(head -n 1 "$log.qemu")" ;;
esac
grep -q '^# done' "$log.out" ||
	die "the guest ended before its payload: see $(rel "$log")"
