/*
 * vfio-user profile: what a device looks like to the guest
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "hw/vfio/user/profile.h"
#include "hw/vfio/user/region-info.h"

/* Taking a profile */

static bool take_region(VFIOUserDevice *udev, uint32_t index,
                        VFIOUserProfileRegion *region, Error **errp)
{
    ERRP_GUARD();
    VFIOUserRegionInfo msg = {
        .argsz = VFIO_USER_MAX_INFO,
        .index = index,
    };
    g_auto(VFIOUserCall) call = {
        .command = VFIO_USER_DEVICE_GET_REGION_INFO,
        .head = &msg,
        .head_size = sizeof(msg),
        .reply_max = VFIO_USER_MAX_INFO,
    };

    if (vfio_user_proxy_call(udev->proxy, &call, errp) < 0) {
        return false;
    }
    if (!vfio_user_region_info_check(call.reply, call.reply_size, &msg,
                                     errp)) {
        error_prepend(errp, "DEVICE_GET_REGION_INFO: region %u: ", index);
        return false;
    }
    region->info = g_bytes_new(call.reply, call.reply_size);
    if (call.reply_nfds &&
        vfio_user_region_info_mappable(call.reply, call.reply_fds[0], NULL)) {
        region->fd = call.reply_fds[0];
        region->mappable = true;
        vfio_user_close_fds(call.reply_fds + 1, call.reply_nfds - 1);
        call.reply_nfds = 0;
    }
    return true;
}

/* @ret: of a command that servers may refuse */
static bool has_replied(VFIOUserDevice *udev, int ret, const char *command,
                        Error **errp)
{
    if (ret == -ETIMEDOUT) {
        error_setg(errp, "%s: no reply", command);
        return false;
    }
    return ret >= 0 || vfio_user_proxy_check(udev->proxy, errp);
}

/*
 * Servers may refuse to say anything of an index; that is compared, too.  A
 * server that does not reply has said nothing.
 */
static bool take_irqs(VFIOUserDevice *udev, VFIOUserProfile *p, Error **errp)
{
    unsigned count = MIN(p->info.num_irqs, VFIO_USER_PROFILE_IRQS);

    for (unsigned i = 0; i < count; i++) {
        struct vfio_irq_info info = { };
        int ret = vfio_user_device_get_irq_info(udev, i, &info);

        if (!has_replied(udev, ret, "DEVICE_GET_IRQ_INFO", errp)) {
            return false;
        }
        p->irqs[i].flags = info.flags;
        p->irqs[i].count = info.count;
    }
    return true;
}

static const VFIOUserRegionInfo *region_info(const VFIOUserProfile *p,
                                             unsigned index)
{
    return g_bytes_get_data(p->regions[index].info, NULL);
}

static bool take_config(VFIOUserDevice *udev, VFIOUserProfile *p,
                        unsigned index, Error **errp)
{
    uint32_t done = 0;

    if (index >= p->info.num_regions) {
        error_setg(errp, "the device has no configuration space");
        return false;
    }
    p->config_size = region_info(p, index)->size > PCI_CFG_SPACE_SIZE ?
                     PCI_CFG_SPACE_EXP_SIZE : PCI_CFG_SPACE_SIZE;
    while (done < p->config_size) {
        g_auto(VFIOUserCall) call = { };
        const uint8_t *data;
        uint32_t size = MIN(p->config_size - done,
                            udev->caps.max_data_xfer_size);
        int ret = vfio_user_device_read_region(udev, &call, index, done, size,
                                               &data, errp);

        if (ret < 0) {
            return false;
        }
        memcpy(p->config + done, data, ret);
        done += ret;
    }
    return true;
}

/* DEVICE_FEATURE with the data of MIGRATION */
typedef struct Feature {
    VFIOUserDeviceFeature head;
    uint64_t flags;
} Feature;

static int ask_migration(VFIOUserDevice *udev, Feature *f, uint32_t flags)
{
    f->head.argsz = sizeof(*f);
    f->head.flags = flags | VFIO_DEVICE_FEATURE_GET |
                    VFIO_DEVICE_FEATURE_MIGRATION;
    return vfio_user_device_feature(udev, (void *)f, NULL);
}

/* A server without migration v2 refuses the feature. */
static bool take_migration(VFIOUserDevice *udev, VFIOUserProfile *p,
                           Error **errp)
{
    Feature f = { };
    int ret;

    if (udev->no_device_feature) {
        return true;
    }
    ret = ask_migration(udev, &f, VFIO_DEVICE_FEATURE_PROBE);
    ret = ret < 0 ? ret : ask_migration(udev, &f, 0);
    if (ret >= 0) {
        p->migration_flags = f.flags;
    }
    return has_replied(udev, ret, "DEVICE_FEATURE", errp);
}

VFIOUserProfile *vfio_user_profile_take(VFIOUserDevice *udev,
                                        unsigned config_region, Error **errp)
{
    g_autoptr(VFIOUserProfile) p = g_new0(VFIOUserProfile, 1);

    p->caps = udev->caps;
    if (!vfio_user_device_get_info(udev, &p->info, errp)) {
        return NULL;
    }
    p->regions = g_new0(VFIOUserProfileRegion, p->info.num_regions);
    for (unsigned i = 0; i < p->info.num_regions; i++) {
        p->regions[i].fd = -1;
    }
    for (unsigned i = 0; i < p->info.num_regions; i++) {
        if (!take_region(udev, i, &p->regions[i], errp)) {
            return NULL;
        }
    }
    if (!take_irqs(udev, p, errp) ||
        !take_config(udev, p, config_region, errp) ||
        !take_migration(udev, p, errp)) {
        return NULL;
    }
    return g_steal_pointer(&p);
}

void vfio_user_profile_close(VFIOUserProfile *p)
{
    for (unsigned i = 0; p->regions && i < p->info.num_regions; i++) {
        if (p->regions[i].fd >= 0) {
            vfio_user_close_fds(&p->regions[i].fd, 1);
            p->regions[i].fd = -1;
        }
    }
}

void vfio_user_profile_free(VFIOUserProfile *p)
{
    vfio_user_profile_close(p);
    for (unsigned i = 0; p->regions && i < p->info.num_regions; i++) {
        g_clear_pointer(&p->regions[i].info, g_bytes_unref);
    }
    g_free(p->regions);
    g_free(p);
}

/* Comparing two */

static char *differ(const char *what, uint64_t was, uint64_t is)
{
    return g_strdup_printf("%s is 0x%" PRIx64 ", was 0x%" PRIx64, what, is,
                           was);
}

typedef struct Value {
    const char *name;
    uint64_t was, is;
} Value;

static char *first_difference(const Value *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (values[i].was != values[i].is) {
            return differ(values[i].name, values[i].was, values[i].is);
        }
    }
    return NULL;
}

static char *diff_caps(const VFIOUserCaps *was, const VFIOUserCaps *is)
{
    const Value values[] = {
#define VALUE(field) { "the capability " #field, was->field, is->field }
        VALUE(max_msg_fds),
        VALUE(max_data_xfer_size),
        VALUE(max_dma_maps),
        VALUE(pgsizes),
        VALUE(write_multiple),
        VALUE(twin_socket),
        VALUE(migration),
        VALUE(migration_pgsize),
        VALUE(max_bitmap_size),
#undef VALUE
    };

    return first_difference(values, ARRAY_SIZE(values));
}

static char *diff_region(const VFIOUserProfile *was, const VFIOUserProfile *is,
                         unsigned index)
{
    const VFIOUserRegionInfo *a = region_info(was, index);
    const VFIOUserRegionInfo *b = region_info(is, index);
    bool mapped = was->regions[index].mappable;
    size_t a_size = g_bytes_get_size(was->regions[index].info);
    size_t b_size = g_bytes_get_size(is->regions[index].info);
    const Value values[] = {
        { "its size", a->size, b->size },
        { "its flags", a->flags, b->flags },
        { "its number of files to map", mapped,
          is->regions[index].mappable },
        { "its offset in the file", mapped ? a->offset : 0,
          mapped ? b->offset : 0 },
    };
    g_autofree char *what = first_difference(values, ARRAY_SIZE(values));

    if (what) {
        return g_strdup_printf("region %u: %s", index, what);
    }
    if (a_size != b_size || memcmp(a + 1, b + 1, a_size - sizeof(*a))) {
        return g_strdup_printf("region %u: its capabilities, such as the areas"
                               " that can be mapped, are others", index);
    }
    return NULL;
}

static char *diff_irq(const VFIOUserProfile *was, const VFIOUserProfile *is,
                      unsigned index)
{
    const Value values[] = {
        { "its count", was->irqs[index].count, is->irqs[index].count },
        { "its flags", was->irqs[index].flags, is->irqs[index].flags },
    };
    g_autofree char *what = first_difference(values, ARRAY_SIZE(values));

    return what ? g_strdup_printf("interrupt index %u: %s", index, what) : NULL;
}

/* Bits of configuration space that never change in a device. */
typedef struct ConfigMask {
    uint8_t bits[4096];
} ConfigMask;

static void mask_add(ConfigMask *mask, unsigned offset, unsigned size,
                     uint32_t bits)
{
    for (unsigned i = 0; i < size && offset + i < sizeof(mask->bits); i++) {
        mask->bits[offset + i] |= bits >> 8 * i;
    }
}

/* What is constant in a capability, after its ID and link */
static const struct {
    uint8_t id, offset, size;
    uint32_t bits;
} constant_bits[] = {
    { PCI_CAP_ID_PM, PCI_PM_PMC, 2, 0xffff },
    { PCI_CAP_ID_MSI, PCI_MSI_FLAGS, 2,
      0xffff & ~(PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE) },
    { PCI_CAP_ID_EXP, PCI_EXP_FLAGS, 2, 0xffff },
    { PCI_CAP_ID_EXP, PCI_EXP_DEVCAP, 4, UINT32_MAX },
    { PCI_CAP_ID_MSIX, PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_QSIZE },
    { PCI_CAP_ID_MSIX, PCI_MSIX_TABLE, 4, UINT32_MAX },
    { PCI_CAP_ID_MSIX, PCI_MSIX_PBA, 4, UINT32_MAX },
};

static void mask_capability(ConfigMask *mask, uint8_t at, uint8_t id)
{
    mask_add(mask, at, 2, 0xffff);
    for (size_t i = 0; i < ARRAY_SIZE(constant_bits); i++) {
        if (constant_bits[i].id == id) {
            mask_add(mask, at + constant_bits[i].offset,
                     constant_bits[i].size, constant_bits[i].bits);
        }
    }
}

/* The lists may be endless: nothing was checked yet. */
#define MAX_CAPABILITIES 1024

static void mask_lists(ConfigMask *mask, const VFIOUserProfile *p)
{
    const uint8_t *config = p->config;
    unsigned at = config[PCI_STATUS] & PCI_STATUS_CAP_LIST ?
                  config[PCI_CAPABILITY_LIST] & ~3 : 0;

    for (unsigned n = 0; at && n < MAX_CAPABILITIES &&
         at < PCI_CFG_SPACE_SIZE - 1; n++) {
        mask_capability(mask, at, config[at]);
        at = config[at + PCI_CAP_LIST_NEXT] & ~3;
    }
    at = p->config_size > PCI_CFG_SPACE_SIZE ? PCI_CFG_SPACE_SIZE : 0;
    for (unsigned n = 0; at && n < MAX_CAPABILITIES &&
         at <= p->config_size - 4; n++) {
        mask_add(mask, at, 4, UINT32_MAX);
        at = PCI_EXT_CAP_NEXT(ldl_le_p(config + at));
    }
}

static void mask_header(ConfigMask *mask, const VFIOUserProfile *p)
{
    mask_add(mask, PCI_VENDOR_ID, 4, UINT32_MAX);
    mask_add(mask, PCI_STATUS, 1, PCI_STATUS_CAP_LIST);
    mask_add(mask, PCI_REVISION_ID, 4, UINT32_MAX);
    mask_add(mask, PCI_HEADER_TYPE, 1, 0xff);
    for (unsigned at = PCI_BASE_ADDRESS_0; at <= PCI_BASE_ADDRESS_5; at += 4) {
        uint8_t kind = p->config[at] & 0xf;

        mask_add(mask, at, 1, 0xf);
        if (!(kind & PCI_BASE_ADDRESS_SPACE_IO) &&
            (kind & PCI_BASE_ADDRESS_MEM_TYPE_MASK) ==
            PCI_BASE_ADDRESS_MEM_TYPE_64) {
            at += 4;            /* the upper half of the address */
        }
    }
    mask_add(mask, PCI_SUBSYSTEM_VENDOR_ID, 4, UINT32_MAX);
    mask_add(mask, PCI_CAPABILITY_LIST, 1, 0xff);
    mask_add(mask, PCI_INTERRUPT_PIN, 1, 0xff);
}

static char *diff_config(const VFIOUserProfile *was, const VFIOUserProfile *is,
                         const uint8_t *written)
{
    g_autofree ConfigMask *mask = g_new0(ConfigMask, 1);

    mask_header(mask, was);
    mask_lists(mask, was);
    for (unsigned i = 0; i < was->config_size; i++) {
        if (i >= PCI_STD_HEADER_SIZEOF && i < PCI_CFG_SPACE_SIZE &&
            written[i]) {
            continue;
        }
        if ((was->config[i] ^ is->config[i]) & mask->bits[i]) {
            g_autofree char *what =
                g_strdup_printf("the byte at 0x%x of configuration space", i);

            return differ(what, was->config[i], is->config[i]);
        }
    }
    return NULL;
}

char *vfio_user_profile_diff(const VFIOUserProfile *was,
                             const VFIOUserProfile *is,
                             const uint8_t written[256])
{
    const Value values[] = {
        { "the flags of the device", was->info.flags, is->info.flags },
        { "the number of regions", was->info.num_regions,
          is->info.num_regions },
        { "the number of interrupt indexes", was->info.num_irqs,
          is->info.num_irqs },
        { "the size of configuration space", was->config_size,
          is->config_size },
        { "the flags of migration v2", was->migration_flags,
          is->migration_flags },
    };
    char *what = diff_caps(&was->caps, &is->caps);

    what = what ?: first_difference(values, ARRAY_SIZE(values));
    for (unsigned i = 0; !what && i < was->info.num_regions; i++) {
        what = diff_region(was, is, i);
    }
    for (unsigned i = 0; !what && i < VFIO_USER_PROFILE_IRQS; i++) {
        what = diff_irq(was, is, i);
    }
    return what ?: diff_config(was, is, written);
}
