# SPDX-License-Identifier: GPL-2.0-or-later
#
# The entry point.  Each target installs missing packages, prepares QEMU's
# source in build/BASE/source and then uses meson.build, which defines what is
# built and tested.  QEMU= names the base, a folder of base/.  SOURCE= names a
# source tree or package of a base; it stays in use until `make SOURCE=' returns
# to Debian's.  JOBS= limits the compilers that run at a time, TESTS= holds
# arguments for `meson test'.  FEATURES= is slim or full, and TARGETS= are the
# architectures of the guests; with another value, a tree is built anew.

# Use Debian's tools even if the user's PATH finds others first.
export PATH := /usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL := C.UTF-8
export PYTHONDONTWRITEBYTECODE := 1
unexport MAKEFLAGS MFLAGS CC CXX CFLAGS CXXFLAGS LDFLAGS PYTHONPATH

export JOBS ?= $(shell nproc)

# QEMU and SOURCE are taken from the command line only: in the environment,
# variables with these names are there for another reason.
ifneq ($(origin QEMU),command line)
QEMU :=
endif
ifeq ($(origin SOURCE),command line)
# The path may contain any character, so neither make nor the shell expands it.
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

ifneq ($(filter-out slim full,$(FEATURES))$(word 2,$(FEATURES)),)
$(error FEATURES=$(FEATURES): use slim or full)
endif
TARGETS ?= x86_64
ifneq ($(filter-out x86_64 aarch64,$(TARGETS))$(if $(strip $(TARGETS)),,x),)
$(error TARGETS=$(TARGETS): use x86_64, aarch64 or both)
endif
# For scripts/build.
export VFIO_USER_FEATURES := $(or $(FEATURES),slim)
export VFIO_USER_TARGETS := $(TARGETS)
full := $(if $(filter full,$(FEATURES)),full)

# These are read by scripts/demo, scripts/bench* and scripts/build-guest.
export VFIO_USER_BUILD := $(CURDIR)/build/$(BASE)/$(or $(full),qemu)
export VFIO_USER_QEMU := $(VFIO_USER_BUILD)/qemu-system-x86_64
export VFIO_USER_CACHE := $(CURDIR)/build/guest

# make install and make deb build all features, if FEATURES= does not say otherwise.
installed := $(if $(filter slim,$(FEATURES)),slim-install,full)
PREFIX ?= /usr/local
# The paths may contain any character.
override PREFIX := $(value PREFIX)
override DESTDIR := $(value DESTDIR)
export PREFIX DESTDIR

.PHONY: build demo check bench branch install uninstall deb check-deb fuzz figures \
    clean help

# Without QEMU=, the version of the source decides which base is built.
ifneq ($(and $(SOURCE),$(if $(QEMU)$(filter command,$(origin BASE)),,x)),)

# Only this make gets the options and variables that were given to the first one.
export MAKEFLAGS
build demo check bench branch install deb:
	@scripts/install-packages build
	@base=$$(scripts/fetch-source --base-of "$$VFIO_USER_SOURCE") && \
	    $(MAKE) --no-print-directory $@ BASE=$$base

else

build: ## build QEMU with the client: build/10.0/qemu/qemu-system-x86_64
	@scripts/prepare $(BASE) $(source) $(full)
	@scripts/build $(BASE) $(or $(full),qemu)

demo: ## show a Linux guest that drives devices of other processes
ifeq ($(full)$(BASE),$(DEFAULT))
	@test -x "$$VFIO_USER_QEMU" || printf 'demo: %s\n' \
	    "first fetches and builds QEMU $(BASE) and libvfio-user's samples," \
	    'which took 4 minutes on two idle cores (see README.md)'
endif
	@scripts/prepare $(BASE) $(source) $(full)
	@scripts/build $(BASE) $(or $(full),qemu)
ifneq ($(full)$(BASE),$(DEFAULT))
	@# The demo uses the server that is built with the default base.
	@scripts/prepare $(DEFAULT)
	@scripts/build $(DEFAULT) qemu
endif
	@VFIO_USER_BUILD='$(CURDIR)/build/$(DEFAULT)/qemu' scripts/demo

check: ## run every test
	@scripts/prepare $(BASE) $(source) check $(full)
	@scripts/check $(QEMU) -- $(TESTS)

install: ## install all features below PREFIX=/usr/local
	@scripts/install --check "$$PREFIX" "$$DESTDIR"
	@scripts/prepare $(BASE) $(source) install $(filter full,$(installed))
	@scripts/build $(BASE) $(installed)
	@scripts/build-docs $(BASE) $(TARGETS)
	@scripts/install $(BASE) $(installed) "$$PREFIX" "$$DESTDIR"

deb: ## build a package for this release of Debian: build/10.0/deb/*.deb
	@scripts/prepare $(BASE) $(source) install deb $(filter full,$(installed))
	@scripts/make-deb --check
	@scripts/build $(BASE) $(installed)
	@scripts/build-docs $(BASE) $(TARGETS)
	@scripts/make-deb $(BASE) $(installed)

bench: ## measure NVMe reads, registers, DMA, maps and migration
	@scripts/prepare $(BASE) $(source) bench $(full)
	@scripts/build $(BASE) $(or $(full),qemu)
	@status=0; for bench in bench-nvme bench bench-linux bench-doorbell \
	    bench-memory bench-migration; do \
	    scripts/$$bench || status=$$?; done; \
	    scripts/bench-page; exit $$status

branch: ## make a git branch of QEMU with the client: build/10.0/branch
	@scripts/prepare $(BASE) $(source)
	@scripts/make-branch $(BASE)

endif

uninstall: ## remove what was installed below PREFIX=
	@scripts/uninstall "$$PREFIX" "$$DESTDIR"

check-deb: ## install the package in a bare Debian 12 or 13, and remove it
	@scripts/prepare $(DEFAULT) check-deb
	@scripts/build $(DEFAULT) qemu
	@scripts/check-deb $(BASE)

fuzz: ## look for servers that harm QEMU, for SECONDS=600
	@scripts/prepare $(DEFAULT) check
	@scripts/build $(DEFAULT) fuzz
	@scripts/fuzz $(or $(SECONDS),600)

figures: ## draw docs/*.svg from docs/*.dot, *.gnuplot and *.trace
	@scripts/install-packages figures
	@scripts/draw-figures

clean: ## remove everything that was built or fetched
	rm -rf build

help: ## print this
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 16
	@echo
	@printf '%-10s%-24s%s\n' Variable Default Meaning \
	    QEMU= '$(DEFAULT); check: all' \
	        'version of QEMU: $(subst $(empty) , or ,$(BASES))' \
	    SOURCE= "Debian's package" \
	        "tarball, .dsc or folder with QEMU's source" \
	    JOBS= 'one per processor' 'number of compilers that run at a time' \
	    TESTS= 'all tests' \
	        "arguments for \`meson test' in make check" \
	    SECONDS= 600 'how long make fuzz looks' \
	    FEATURES= 'slim, to install: full' \
	        "slim, or full: what Debian's QEMU has" \
	    TARGETS= x86_64 'architectures of the guests: x86_64, aarch64' \
	    PREFIX= /usr/local 'where make install puts it' \
	    DESTDIR= none 'folder in which PREFIX lies while it is packed'
	@echo
	@echo "Example: make check QEMU=11.1 JOBS=4 TESTS='--suite unit'"
	@echo "SOURCE=/path stays in use until another one is given."
	@echo "\`make SOURCE=' returns to Debian's package."
