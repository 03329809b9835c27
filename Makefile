# SPDX-License-Identifier: GPL-2.0-or-later
#
# The front door.  Each target installs what is missing, prepares QEMU's
# source in build/source and goes on to meson.build, which says what is built
# and tested.  JOBS= limits the compilers that run at a time, TESTS= takes
# arguments of `meson test`.

# Debian's own tools, whatever else the machine has.
export PATH := /usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL := C.UTF-8
export PYTHONDONTWRITEBYTECODE := 1
unexport MAKEFLAGS MFLAGS CC CXX CFLAGS CXXFLAGS LDFLAGS

export JOBS ?= $(shell nproc)

# What guest tests, demo and bench go by.
export VFIO_USER_BUILD := $(CURDIR)/build/qemu
export VFIO_USER_QEMU := $(VFIO_USER_BUILD)/qemu-system-x86_64
export VFIO_USER_CACHE := $(CURDIR)/build/guest

define prepare
@scripts/install-packages build $(1)
@scripts/fetch-source
@scripts/prepare-source
endef

.PHONY: build demo check bench clean help

build: ## build QEMU with the client: build/qemu/qemu-system-x86_64
	$(call prepare)
	@scripts/build qemu

demo: ## boot a guest that drives a device of another process, and watch
	$(call prepare)
	@scripts/build qemu
	@scripts/demo

check: ## run every test
	$(call prepare,check)
	@scripts/check $(TESTS)

bench: ## time an nvme; registers, DMA, maps, migration, against bare ones
	$(call prepare,bench)
	@scripts/build qemu
	@status=0; for bench in bench-nvme bench bench-doorbell \
	    bench-memory bench-migration; do \
	    scripts/$$bench || status=$$?; done; exit $$status

clean: ## remove everything that was built or fetched
	rm -rf build

help: ## print this
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 14
