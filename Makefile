# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Every target makes what it needs, from a machine that has make, git and apt. The work is done by small programs in
# scripts/, most of them inside the build root; each has --help (but for guest/init, the first process of the tests' guest).

# The defaults, in one place; the scripts read the variables from the environment.
KERNEL_SERIES ?= 7.3
KERNEL ?= stock
ACCEL ?= auto
VM_TIMEOUT ?=
MIRROR ?=
CARDS ?=
VM_ARGS ?=
BENCH_ARGS ?=
TESTS ?=
IOMMU ?=
PLATFORM_IOMMU ?=
FUZZ_SECONDS ?= 60
export KERNEL_SERIES KERNEL ACCEL MIRROR IOMMU PLATFORM_IOMMU
export MOORING_VM_TIMEOUT := $(VM_TIMEOUT)

ENTER := scripts/enter
vm_args := $(if $(CARDS),'--card=$(CARDS)') $(VM_ARGS)

.DEFAULT_GOAL := help
# The stages share one build root and two of them would only slow each other down; each uses all processors itself.
.NOTPARALLEL:
.PHONY: help setup update demo test test-long test-debug test-kcsan bench shell all modules programs guest fuzz check fix enter clean distclean

help:
	@echo "Mooring: a vDPA parent driver for SmartNICs with an on-chip IOMMU, and the card to try it on"
	@echo
	@echo "  make demo       boot a VM with the card and show a reset that leaves the map alone"
	@echo "  make test       host tests, then VM tests; the last line is 'N passed, N failed'"
	@echo "  make test-long  the tests with QEMU, DPDK and virtio_net as clients, longer and on each kind of card"
	@echo "  make test-debug VM tests on a kernel that looks for mistakes with memory, locks and DMA"
	@echo "  make test-kcsan VM tests on a kernel that looks for data races"
	@echo "  make bench      what maps, resets, frames and disks cost, as ratios to the kernel's vdpa_sim and vp_vdpa"
	@echo "  make shell      a VM with the card, at a prompt"
	@echo
	@echo "  make all        everything a user takes away, in out/"
	@echo "  make modules    only out/mooring_vdpa.ko, for the stock kernel of the build root"
	@echo "  make programs   only out/mooring-sim and out/mooring-vhost-client"
	@echo "  make fuzz       try the driver's map logic with random operations, guided by coverage"
	@echo "  make check      formats, lints, generated files, licences"
	@echo "  make fix        correct formats and make the generated files anew"
	@echo
	@echo "  make setup      only the build root (the other targets do it when needed)"
	@echo "  make update     take the newest stock kernel of the series"
	@echo "  make enter      a shell in the build root"
	@echo "  make clean      delete out/ and what was built from this checkout"
	@echo "  make distclean  also delete the cache folder with the build root"
	@echo
	@echo "Variables (make VARIABLE=value TARGET):"
	@echo "  KERNEL_SERIES   series of the stock kernel                       [$(KERNEL_SERIES)]"
	@echo "  KERNEL          stock, debug or kcsan: the kernel to work with   [$(KERNEL)]"
	@echo "  ACCEL           kvm, tcg, or auto: try KVM once and remember     [$(ACCEL)]"
	@echo "  CARDS           arguments to mooring-sim, instead of the default [$(CARDS)]"
	@echo "  IOMMU           identity, explicit or none: what the cards have  [identity; tests: each]"
	@echo "  PLATFORM_IOMMU  off, strict or lazy: the machine's own IOMMU     [off; tests: each]"
	@echo "  TESTS           host or vm: run only these tests                 [$(TESTS)]"
	@echo "  FUZZ_SECONDS    how long make fuzz goes on                       [$(FUZZ_SECONDS)]"
	@echo "  BENCH_ARGS      arguments to scripts/bench (see its --help)      [$(BENCH_ARGS)]"
	@echo "  VM_TIMEOUT      seconds after which a VM is stopped              [$(or $(VM_TIMEOUT),1800; 9000 on a kernel with checkers)]"
	@echo "  VM_ARGS         more arguments to scripts/vm (see its --help)    [$(VM_ARGS)]"
	@echo "  MIRROR          a Debian mirror instead of Debian's own          [$(MIRROR)]"
	@echo "  MOORING_CACHE   the cache folder                                 [$${MOORING_CACHE:-$${XDG_CACHE_HOME:-~/.cache}/mooring}]"

setup:
	@scripts/setup

update:
	@scripts/setup --update

modules: setup
	@$(ENTER) scripts/build-module

programs: setup
	@$(ENTER) scripts/build-programs

all: modules programs

guest: all
	@$(ENTER) scripts/guest-image

demo: guest
	@$(ENTER) scripts/vm demo $(vm_args)

shell: guest
	@$(ENTER) scripts/vm shell $(vm_args)

test: guest
	@$(ENTER) scripts/test $(if $(TESTS),--only $(TESTS)) -- $(vm_args)

# The clients' tests do much more of the same than in `make test`.
test-long: guest
	@$(ENTER) scripts/test --only vm --long -- $(vm_args)

# The host tests don't depend on the kernel.
test-debug test-kcsan: test-%:
	@$(MAKE) --no-print-directory KERNEL=$* TESTS=vm test

fuzz: setup
	@$(ENTER) scripts/fuzz --seconds $(FUZZ_SECONDS)

# No test: it has figures, and nothing to pass.
bench: guest
	@$(ENTER) scripts/build-peers
	@$(ENTER) scripts/bench $(BENCH_ARGS)

check: setup
	@$(ENTER) scripts/check

fix: setup
	@$(ENTER) scripts/check --fix

enter: setup
	@$(ENTER)

clean:
	@scripts/clean

distclean:
	@scripts/clean --cache
