/*
 * vfio-user PCI configuration space checks
 *
 * See the header for the purpose of this file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/host-utils.h"
#include "qapi/error.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/vfio/user/config.h"
#include "hw/vfio/user/wire.h"

#define CONFIG_SIZE     256
#define EXT_CONFIG_SIZE 4096

/* The PCI specification aligns capabilities to DWORDs. */
#define CAP_ALIGN 4

static uint16_t get_word(const uint8_t *config, unsigned offset)
{
    return lduw_le_p(config + offset);
}

static uint32_t get_long(const uint8_t *config, unsigned offset)
{
    return ldl_le_p(config + offset);
}

/* Minimum size in bytes of the capabilities that QEMU parses. */
static unsigned config_cap_size(const uint8_t *config, unsigned pos)
{
    uint16_t flags = get_word(config, pos + PCI_CAP_FLAGS);

    switch (config[pos + PCI_CAP_LIST_ID]) {
    case PCI_CAP_ID_MSI:
        if (flags & PCI_MSI_FLAGS_MASKBIT) {
            return flags & PCI_MSI_FLAGS_64BIT ? 0x18 : 0x14;
        }
        return flags & PCI_MSI_FLAGS_64BIT ? 0x0e : 0x0a;
    case PCI_CAP_ID_MSIX:
        return PCI_CAP_MSIX_SIZEOF;
    case PCI_CAP_ID_EXP:
        if ((flags & PCI_EXP_FLAGS_VERS) > 1) {
            return 0x3c;
        }
        /* if part of the Link 2 registers fit, QEMU accesses all of them */
        return pos + PCI_EXP_LNKCAP2 < CONFIG_SIZE &&
               pos + 0x34 > CONFIG_SIZE ? 0x34 : 0x14;
    case PCI_CAP_ID_PM:
        return PCI_PM_SIZEOF;
    case PCI_CAP_ID_AF:
        return PCI_CAP_AF_SIZEOF;
    default:
        return 2;
    }
}

static bool check_msix_part(const char *what, uint32_t reg, uint64_t bytes,
                            const uint8_t *config, const uint64_t *bar_sizes,
                            Error **errp)
{
    unsigned bar = reg & PCI_MSIX_TABLE_BIR;
    uint64_t offset = reg & PCI_MSIX_TABLE_OFFSET;
    uint32_t type;

    if (bar >= VFIO_USER_CONFIG_BARS || !bar_sizes[bar] ||
        offset + bytes > bar_sizes[bar]) {
        error_setg(errp, "MSI-X %s at 0x%" PRIx64 " of BAR %u, %" PRIu64
                   " bytes, is outside the BAR", what, offset, bar, bytes);
        return false;
    }
    type = get_long(config, PCI_BASE_ADDRESS_0 + 4 * bar);
    if (type & PCI_BASE_ADDRESS_SPACE_IO) {
        error_setg(errp, "MSI-X %s is in BAR %u, which is not a memory BAR",
                   what, bar);
        return false;
    }
    return true;
}

static bool check_msix(const uint8_t *config, unsigned pos,
                       const uint64_t *bar_sizes, Error **errp)
{
    unsigned entries = (get_word(config, pos + PCI_MSIX_FLAGS) &
                        PCI_MSIX_FLAGS_QSIZE) + 1;
    uint32_t table = get_long(config, pos + PCI_MSIX_TABLE);
    uint32_t pba = get_long(config, pos + PCI_MSIX_PBA);
    uint64_t table_bytes = entries * PCI_MSIX_ENTRY_SIZE;
    uint64_t pba_bytes = DIV_ROUND_UP(entries, 64) * 8;
    uint64_t table_at = table & PCI_MSIX_TABLE_OFFSET;
    uint64_t pba_at = pba & PCI_MSIX_PBA_OFFSET;

    if (!check_msix_part("table", table, table_bytes, config, bar_sizes,
                         errp) ||
        !check_msix_part("pending bit array", pba, pba_bytes, config,
                         bar_sizes, errp)) {
        return false;
    }
    if ((table & PCI_MSIX_TABLE_BIR) == (pba & PCI_MSIX_PBA_BIR) &&
        table_at < pba_at + pba_bytes && pba_at < table_at + table_bytes) {
        error_setg(errp, "MSI-X table and pending bit array overlap");
        return false;
    }
    return true;
}

static bool check_msi(const uint8_t *config, unsigned pos, Error **errp)
{
    unsigned log = (get_word(config, pos + PCI_MSI_FLAGS) &
                    PCI_MSI_FLAGS_QMASK) >> 1;

    if (log > 5) {
        error_setg(errp, "MSI with %u vectors, the maximum is 32", 1 << log);
        return false;
    }
    return true;
}

/* QEMU sets these capabilities up, which it can do only once. */
static bool is_unique(uint8_t id)
{
    return id == PCI_CAP_ID_MSI || id == PCI_CAP_ID_MSIX ||
           id == PCI_CAP_ID_EXP || id == PCI_CAP_ID_PM || id == PCI_CAP_ID_AF;
}

/*
 * Marks bytes of configuration space as used.  Returns false if some already
 * are.
 */
static bool claim(uint8_t *used, unsigned pos, unsigned size)
{
    for (unsigned i = pos; i < pos + size; i++) {
        if (used[i]) {
            return false;
        }
        used[i] = true;
    }
    return true;
}

static bool config_check_caps(const uint8_t *config, const uint64_t *bar_sizes,
                              Error **errp)
{
    uint8_t used[CONFIG_SIZE] = { };
    bool seen[256] = { };
    unsigned pos;

    if (!(get_word(config, PCI_STATUS) & PCI_STATUS_CAP_LIST)) {
        return true;
    }
    for (pos = config[PCI_CAPABILITY_LIST]; pos;
         pos = config[pos + PCI_CAP_LIST_NEXT]) {
        uint8_t id;
        unsigned size;

        if (pos < PCI_STD_HEADER_SIZEOF || pos % CAP_ALIGN) {
            error_setg(errp, "the capability at 0x%x is inside the header or"
                       " not aligned", pos);
            return false;
        }
        id = config[pos + PCI_CAP_LIST_ID];
        size = config_cap_size(config, pos);
        if (pos + size > CONFIG_SIZE) {
            error_setg(errp, "capability 0x%x at 0x%x ends outside"
                       " configuration space", id, pos);
            return false;
        }
        if (!claim(used, pos, size)) {
            error_setg(errp, "capability 0x%x at 0x%x overlaps another: does"
                       " the list loop?", id, pos);
            return false;
        }
        if (seen[id] && is_unique(id)) {
            error_setg(errp, "capability 0x%x is present twice", id);
            return false;
        }
        seen[id] = true;
        if ((id == PCI_CAP_ID_MSIX &&
             !check_msix(config, pos, bar_sizes, errp)) ||
            (id == PCI_CAP_ID_MSI && !check_msi(config, pos, errp))) {
            return false;
        }
    }
    return true;
}

/* QEMU registers an extended capability with at least 8 bytes. */
#define EXT_CAP_MIN 8

static bool check_ext_caps(const uint8_t *config, Error **errp)
{
    uint8_t used[EXT_CONFIG_SIZE] = { };
    unsigned pos = CONFIG_SIZE;

    do {
        if (pos < CONFIG_SIZE || pos % CAP_ALIGN ||
            pos + EXT_CAP_MIN > EXT_CONFIG_SIZE) {
            error_setg(errp, "the extended capability at 0x%x is outside"
                       " extended configuration space or not aligned", pos);
            return false;
        }
        if (!claim(used, pos, EXT_CAP_MIN)) {
            error_setg(errp, "the extended capability at 0x%x overlaps"
                       " another: does the list loop?", pos);
            return false;
        }
        pos = PCI_EXT_CAP_NEXT(get_long(config, pos));
    } while (pos);
    return true;
}

static bool check_bar(const uint8_t *config, unsigned nr,
                      const uint64_t *bar_sizes, Error **errp)
{
    uint32_t type = get_long(config, PCI_BASE_ADDRESS_0 + 4 * nr);
    bool io = type & PCI_BASE_ADDRESS_SPACE_IO;
    bool wide = !io && (type & PCI_BASE_ADDRESS_MEM_TYPE_64);
    uint64_t most = io ? 64 * KiB : wide ? 1ULL << 62 : 2 * GiB;

    if (bar_sizes[nr] > most) {
        error_setg(errp, "BAR %u of 0x%" PRIx64 " bytes is too large, its type"
                   " allows at most 0x%" PRIx64, nr, bar_sizes[nr], most);
        return false;
    }
    if (wide && (nr == VFIO_USER_CONFIG_BARS - 1 || bar_sizes[nr + 1])) {
        error_setg(errp, "BAR %u has 64 bits, but no room for the upper half",
                   nr);
        return false;
    }
    return true;
}

bool vfio_user_config_check(const uint8_t *config, size_t size,
                            const uint64_t bar_sizes[VFIO_USER_CONFIG_BARS],
                            Error **errp)
{
    uint8_t type, pin;

    if (size != CONFIG_SIZE && size != EXT_CONFIG_SIZE) {
        error_setg(errp, "configuration space has %zu bytes, must be 256 or"
                   " 4096", size);
        return false;
    }
    type = config[PCI_HEADER_TYPE] & 0x7f;
    if (type != PCI_HEADER_TYPE_NORMAL) {
        error_setg(errp, "only endpoints (header type 0) are supported, this"
                   " device has type %u", type);
        return false;
    }
    pin = config[PCI_INTERRUPT_PIN];
    if (pin > 4) {
        error_setg(errp, "interrupt pin %u is invalid, the maximum is 4", pin);
        return false;
    }
    for (unsigned i = 0; i < VFIO_USER_CONFIG_BARS; i++) {
        if (bar_sizes[i] && !check_bar(config, i, bar_sizes, errp)) {
            return false;
        }
    }
    return config_check_caps(config, bar_sizes, errp) &&
           (size == CONFIG_SIZE || check_ext_caps(config, errp));
}
