# SPDX-License-Identifier: GPL-2.0-or-later
#
# The front door.  Each target installs what is missing, prepares QEMU's
# source in build/BASE/source and goes on to meson.build, which says what is
# built and tested.  QEMU= names the base, a folder of base/.  SOURCE= names a
# source of one, which stays until `make SOURCE=' goes back to Debian's.  JOBS=
# limits the compilers that run at a time, TESTS= takes arguments of
# `meson test'.

# Debian's own tools, whatever else the machine has.
export PATH := /usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL := C.UTF-8
export PYTHONDONTWRITEBYTECODE := 1
unexport MAKEFLAGS MFLAGS CC CXX CFLAGS CXXFLAGS LDFLAGS PYTHONPATH

export JOBS ?= $(shell nproc)

# Of the environment these would come by accident.
ifneq ($(origin QEMU),command line)
QEMU :=
endif
ifeq ($(origin SOURCE),command line)
# The path may have any character: neither make nor the shell expands it.
override SOURCE := $(value SOURCE)
export VFIO_USER_SOURCE := $(SOURCE)
source := --source="$$VFIO_USER_SOURCE"
else
SOURCE :=
endif
DEFAULT := 10.0
BASE := $(or $(QEMU),$(DEFAULT))

BASES := $(sort $(patsubst base/%/source,%,$(wildcard base/*/source)))
ifneq ($(words $(BASE))$(filter-out $(BASES),$(BASE)),1)
$(error qemu $(BASE) is not supported; supported are \
    $(subst $(empty) , and ,$(BASES)))
endif

# What demo and bench go by.
export VFIO_USER_BUILD := $(CURDIR)/build/$(BASE)/qemu
export VFIO_USER_QEMU := $(VFIO_USER_BUILD)/qemu-system-x86_64
export VFIO_USER_CACHE := $(CURDIR)/build/guest

.PHONY: build demo check bench clean help

# A source says itself which base it is of.
ifneq ($(and $(SOURCE),$(if $(QEMU)$(filter command,$(origin BASE)),,x)),)

build demo check bench:
	@scripts/install-packages build
	@base=$$(scripts/fetch-source --base-of "$$VFIO_USER_SOURCE") && \
	    $(MAKE) --no-print-directory $@ BASE=$$base \
	    SOURCE="$$VFIO_USER_SOURCE"

else

build: ## build QEMU with the client: build/10.0/qemu/qemu-system-x86_64
	@scripts/prepare $(BASE) $(source)
	@scripts/build $(BASE) qemu

demo: ## boot a guest that drives a device of another process, and watch
	@scripts/prepare $(BASE) $(source)
	@scripts/build $(BASE) qemu
ifneq ($(BASE),$(DEFAULT))
	@# The other half of the story is the server of that one.
	@scripts/prepare $(DEFAULT)
	@scripts/build $(DEFAULT) qemu
endif
	@VFIO_USER_BUILD='$(CURDIR)/build/$(DEFAULT)/qemu' scripts/demo

check: ## run every test
	@scripts/prepare $(BASE) $(source) check
	@scripts/check $(QEMU) -- $(TESTS)

bench: ## time an nvme; registers, DMA, maps, migration, against bare ones
	@scripts/prepare $(BASE) $(source) bench
	@scripts/build $(BASE) qemu
	@status=0; for bench in bench-nvme bench bench-linux bench-doorbell \
	    bench-memory bench-migration; do \
	    scripts/$$bench || status=$$?; done; exit $$status

endif

clean: ## remove everything that was built or fetched
	rm -rf build

help: ## print this
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 14
	@echo 'QEMU=11.1 takes that instead of 10.0, SOURCE=/path any' \
	    'tarball, .dsc or folder'
