/*
 * vfio-user PCI configuration space checks
 *
 * Checks the parts of a device's configuration space that QEMU's PCI code
 * trusts, because here they come from an untrusted server.  Pure functions:
 * they do not access the device or change anything.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_CONFIG_H
#define HW_VFIO_USER_CONFIG_H

#define VFIO_USER_CONFIG_BARS 6

/**
 * vfio_user_config_check:
 * @config: the configuration space
 * @size: bytes of @config, 256 or 4096
 * @bar_sizes: bytes of the regions of the six BARs; 0 if there is none
 *
 * Checks that the device is an endpoint (header type 0) with a valid interrupt
 * pin, that capability lists end and stay inside configuration space, that the
 * type of each BAR allows its size, and that MSI-X table and pending bit array
 * are inside memory BARs.
 *
 * Returns true, or false with @errp set.
 */
bool vfio_user_config_check(const uint8_t *config, size_t size,
                            const uint64_t bar_sizes[VFIO_USER_CONFIG_BARS],
                            Error **errp);

#endif /* HW_VFIO_USER_CONFIG_H */
