/*
 * vfio-user PCI configuration space checks
 *
 * What QEMU's PCI code takes from a device's configuration space without
 * asking is asked here first: the bytes come from a server that nobody
 * trusts.  Pure functions; they read no device and change nothing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_CONFIG_H
#define HW_VFIO_USER_CONFIG_H

#define VFIO_USER_CONFIG_BARS 6

/**
 * vfio_user_config_check:
 * @config: the configuration space
 * @size: bytes of it, 256 or 4096
 * @bar_sizes: of the regions behind the six BARs, bytes; 0 where there is none
 *
 * Checks that the header is an endpoint's with an interrupt pin that exists,
 * that capability lists end and stay inside, that BARs have a type which can
 * hold their size, and that MSI-X table and pending bits lie inside memory
 * BARs.
 *
 * Returns true, or false with @errp set.
 */
bool vfio_user_config_check(const uint8_t *config, size_t size,
                            const uint64_t bar_sizes[VFIO_USER_CONFIG_BARS],
                            Error **errp);

#endif /* HW_VFIO_USER_CONFIG_H */
