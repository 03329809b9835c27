/*
 * Test rig: a VM and a simulated VFIO kernel driver
 *
 * Test thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "vfio-kernel.h"
#include "vfio-kernel-shim.h"

#define DEADLINE_US     (30 * G_USEC_PER_SEC)

/* The log */

char **vfio_kernel_calls(VFIOKernel *k)
{
    g_autofree char *log = NULL;
    char **lines;
    size_t size;

    g_assert_true(g_file_get_contents(k->log, &log, &size, NULL));
    lines = g_strsplit(log + k->seen, "\n", -1);
    k->seen = size;
    return lines;
}

unsigned vfio_kernel_count(char **calls, const char *prefix)
{
    unsigned n = 0;

    for (; *calls; calls++) {
        n += g_str_has_prefix(*calls, prefix);
    }
    return n;
}

/* The VM */

VFIOKernel *vfio_kernel_start(const char *fail)
{
    static const char zeroes[64 * 1024];
    VFIOKernel *k = g_new0(VFIOKernel, 1);
    g_autofree char *asan = g_strdup_printf("%s:verify_asan_link_order=0",
                                            getenv("ASAN_OPTIONS") ?: "");
    g_autofree char *old_asan = g_strdup(getenv("ASAN_OPTIONS"));

    k->dir = g_dir_make_tmp("vfio-kernel-XXXXXX", NULL);
    g_assert_nonnull(k->dir);
    k->sysfs = g_build_filename(k->dir, VFIO_KERNEL_NAME, NULL);
    k->group = g_build_filename(k->sysfs, "iommu_group", NULL);
    k->log = g_build_filename(k->dir, "log", NULL);
    k->bios = g_build_filename(k->dir, "bios", NULL);
    g_assert_cmpint(g_mkdir(k->sysfs, 0700), ==, 0);
    g_assert_cmpint(symlink("/kernel/iommu_groups/7", k->group), ==, 0);
    g_assert_true(g_file_set_contents(k->log, "", 0, NULL));
    g_assert_true(g_file_set_contents(k->bios, zeroes, sizeof(zeroes), NULL));

    g_setenv("VFIO_KERNEL_SHIM_LOG", k->log, true);
    g_setenv("VFIO_KERNEL_SHIM_FAIL", fail ?: "none", true);
    g_setenv("ASAN_OPTIONS", asan, true);
    g_setenv("LD_PRELOAD", VFIO_KERNEL_SHIM, true);
    k->qts = qtest_initf("-machine pc -m 128M -nodefaults -bios %s", k->bios);
    g_unsetenv("LD_PRELOAD");
    if (old_asan) {
        g_setenv("ASAN_OPTIONS", old_asan, true);
    } else {
        g_unsetenv("ASAN_OPTIONS");
    }
    qpci_init_pc(&k->bus, k->qts, NULL);
    return k;
}

void vfio_kernel_stop(VFIOKernel *k)
{
    g_free(k->dev);
    qtest_quit(k->qts);
    g_remove(k->bios);
    g_remove(k->log);
    g_remove(k->group);
    g_rmdir(k->sysfs);
    g_rmdir(k->dir);
    g_free(k->bios);
    g_free(k->log);
    g_free(k->group);
    g_free(k->sysfs);
    g_free(k->dir);
    g_free(k);
}

void vfio_kernel_plug(VFIOKernel *k)
{
    qtest_qmp_device_add(k->qts, "vfio-pci", VFIO_KERNEL_ID,
                         "{'sysfsdev': %s, 'addr': %s}", k->sysfs,
                         stringify(VFIO_KERNEL_SLOT));
}

char **vfio_kernel_wait_for_end(VFIOKernel *k)
{
    int64_t end = g_get_monotonic_time() + DEADLINE_US;

    for (;;) {
        char **calls;

        k->seen = 0;
        calls = vfio_kernel_calls(k);
        if (vfio_kernel_count(calls, "close group")) {
            return calls;
        }
        /* The device is freed once no thread can use it any more. */
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_strfreev(calls);
        qobject_unref(qtest_qmp(k->qts, "{'execute': 'query-status'}"));
    }
}
