/*
 * qtest of the vfio-user client: shared guest memory
 *
 * Checks which memory backends are passed as a descriptor, that the file
 * contains what the guest sees, and that maps follow when memory is plugged or
 * unplugged, or when the server refuses a map.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "hw/pci/pci.h"
#include "qobject/qdict.h"
#include "libqos/virtio-pci.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_mem.h"
#include "standard-headers/linux/virtio_ring.h"
#include "vfio-user-rig.h"
#include "vfio-user-tests.h"

#define RAM 0x200000ull         /* RAM address that nothing else uses */
#define SECOND (32 * MiB)       /* start of the second of two equal backends */
#define DIMM (4 * GiB)          /* address of a plugged DIMM */
#define TIMEOUT_MS 600

#define TWO_NODES "-machine pc -nodefaults -m 64 " \
                  "-numa node,memdev=a -numa node,memdev=b "
#define SLOTS "-machine pc -nodefaults -m 64,slots=4,maxmem=1G "

/* ACPI registers of memory hotplug */
#define SLOT_SELECT 0xa00
#define SLOT_CONTROL 0xa14
#define SLOT_EJECT 8

/* Devices that take memory from the guest, and memory used by the test */
#define VIRTIO_MEM SLOTS "-device virtio-mem-pci,memdev=vm,addr=6," \
                         "block-size=2M,requested-size=16M " \
                   "-object memory-backend-memfd,id=vm,size=128M,share=on "
#define BALLOON VFIO_USER_RIG_SHARED "-device virtio-balloon-pci,addr=6 "
#define VIRTIO_SLOT 6
#define RINGS (8 * MiB)
#define BUFFER (16 * MiB)
#define BLOCK (2 * MiB)

/* Checks that the server's file has the guest memory at @at. */
static void check_shared_at(VFIOUserRig *rig, uint64_t at)
{
    uint64_t value = at * 0x9e3779b97f4a7c15ull, is;
    VFIOUserMap map;
    uint8_t *here;

    g_assert_true(vfio_user_server_map(rig->server, at, &map));
    g_assert_nonnull(map.memory);
    here = map.memory + (at - map.address);

    qtest_writeq(rig->qts, at, value);
    g_assert_cmpmem(here, 8, &value, 8);
    value = ~value;
    memcpy(here, &value, 8);
    g_assert_cmphex(qtest_readq(rig->qts, at), ==, value);

    /* messages access the same memory */
    if (vfio_user_server_asks(rig->server)) {
        g_assert_cmpint(vfio_user_server_dma_read(rig->server, at, &is, 8), ==,
                        0);
        g_assert_cmphex(is, ==, value);
    }
}

static void check_by_message(VFIOUserRig *rig, uint64_t at)
{
    uint64_t value = ~at, is;
    VFIOUserMap map;

    g_assert_true(vfio_user_server_map(rig->server, at, &map));
    g_assert_null(map.memory);
    qtest_writeq(rig->qts, at, value);
    if (vfio_user_server_asks(rig->server)) {
        g_assert_cmpint(vfio_user_server_dma_read(rig->server, at, &is, 8), ==,
                        0);
        g_assert_cmphex(is, ==, value);
    }
}

/* Each range that the chipset splits off has the right file offset. */
static void test_offsets(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_SHARED, 0);
    QPCIDevice *host = qpci_device_find(rig->bus, QPCI_DEVFN(0, 0));
    uint64_t at;

    qpci_config_writeb(host, 0x59, 0x30);
    qpci_config_writel(host, 0x5a, 0x33333333);
    qpci_config_writew(host, 0x5e, 0x3333);
    for (at = 0; at < 64 * MiB; at += at < MiB ? 16 * KiB : 5 * MiB) {
        if (at < 0xa0000 || at >= 0xc0000) {
            check_shared_at(rig, at);
        }
    }
    check_shared_at(rig, 64 * MiB - 8);
    qpci_config_writeb(host, 0x59, 0);
    qpci_config_writel(host, 0x5a, 0);
    qpci_config_writew(host, 0x5e, 0);
    g_free(host);
}

static void test_two_backends(void)
{
    g_autofree char *args = g_strdup_printf(TWO_NODES
        "-object memory-backend-memfd,id=a,size=32M,share=on "
        "-object memory-backend-file,id=b,size=32M,share=on,mem-path=%s ",
        g_get_tmp_dir());
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(args, 0);

    check_shared_at(rig, RAM);
    check_shared_at(rig, SECOND - 8);
    check_shared_at(rig, SECOND);
    check_shared_at(rig, SECOND + RAM);
}

/*
 * Guest memory can start at an offset in a file.  The file is longer, so that
 * no offset is invalid.
 */
static void test_file_offset(void)
{
    g_autofree char *file = NULL, *args = NULL;
    VFIOUserRig *rig;
    int fd = g_file_open_tmp("vfio-user-XXXXXX", &file, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, 68 * MiB), ==, 0);
    close(fd);
    args = g_strdup_printf("-machine pc,memory-backend=ram -nodefaults -m 64 "
                           "-object memory-backend-file,id=ram,size=64M,"
                           "offset=2M,share=on,mem-path=%s ", file);
    rig = vfio_user_rig_plugged(args, 0);
    g_assert_cmpint(g_unlink(file), ==, 0);
    check_shared_at(rig, 0);
    check_shared_at(rig, RAM);
    check_shared_at(rig, RAM - 8);
    check_shared_at(rig, 64 * MiB - 8);
    vfio_user_rig_end(rig);
}

/* A DMA by message may span private and shared memory. */
static void test_private_beside_shared(void)
{
    g_autofree char *args = g_strdup_printf(TWO_NODES
        "-object memory-backend-memfd,id=a,size=32M,share=on "
        "-object memory-backend-file,id=b,size=32M,share=off,mem-path=%s ",
        g_get_tmp_dir());
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(args, 0);
    uint64_t value = 0x1122334455667788;

    check_shared_at(rig, RAM);
    check_by_message(rig, SECOND + RAM);
    g_assert_cmpint(vfio_user_server_dma_write(rig->server, SECOND - 4, &value,
                                               8), ==, 0);
    g_assert_cmphex(qtest_readl(rig->qts, SECOND - 4), ==, (uint32_t)value);
    g_assert_cmphex(qtest_readl(rig->qts, SECOND), ==, value >> 32);
}

/* Returns a descriptor of the file that QEMU has open under @name. */
static int open_file_of(pid_t pid, const char *name)
{
    g_autofree char *dir = g_strdup_printf("/proc/%d/fd", pid);
    g_autoptr(GDir) fds = g_dir_open(dir, 0, NULL);
    const char *entry;

    while ((entry = g_dir_read_name(fds))) {
        g_autofree char *path = g_strdup_printf("%s/%s", dir, entry);
        g_autofree char *file = g_file_read_link(path, NULL);

        if (file && strstr(file, name)) {
            return open(path, O_RDWR | O_CLOEXEC);
        }
    }
    return -1;
}

/* Memory shared as the manual advises is sealed: no server can truncate it. */
static void test_sealed(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(VFIO_USER_RIG_SHARED,
                                                       0);
    int fd = open_file_of(qtest_pid(rig->qts), "memfd:memory-backend-memfd");

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, 0), <, 0);
    g_assert_cmpint(errno, ==, EPERM);
    g_assert_cmpint(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, MiB), <, 0);
    close(fd);
    check_shared_at(rig, RAM);
}

/* A server that accepts no descriptors gets none; its device has no INTx. */
static void test_no_descriptors(void)
{
    VFIOUserModel model = vfio_user_model;
    g_autoptr(VFIOUserRig) rig = NULL;
    g_autoptr(GArray) log = NULL;
    unsigned i, maps = 0;

    model.version = "{\"capabilities\":{\"max_msg_fds\":0}}";
    model.config[PCI_INTERRUPT_PIN] = 0;
    rig = vfio_user_rig_begin(VFIO_USER_RIG_SHARED, &model, NULL);
    vfio_user_rig_plug(rig, 0);
    log = vfio_user_server_log(rig->server);
    for (i = 0; i < log->len; i++) {
        VFIOUserSeen *seen = &g_array_index(log, VFIOUserSeen, i);

        if (seen->header.command == VFIO_USER_DMA_MAP) {
            g_assert_cmpuint(seen->nfds, ==, 0);
            maps++;
        }
    }
    g_assert_cmpuint(maps, >, 0);
}

/* Memory hotplug */

static void check_ok(VFIOUserRig *rig, QDict *response)
{
    g_assert_true(qdict_haskey(response, "return"));
    qobject_unref(response);
}

static void memory_plug_memory(VFIOUserRig *rig)
{
    check_ok(rig, qtest_qmp(rig->qts, "{'execute': 'object-add', 'arguments': {"
                            "'qom-type': 'memory-backend-memfd', 'id': 'm',"
                            "'size': 134217728, 'share': true}}"));
    check_ok(rig, qtest_qmp(rig->qts, "{'execute': 'device_add', 'arguments': {"
                            "'driver': 'pc-dimm', 'id': 'd',"
                            "'memdev': 'm'}}"));
}

static void memory_unplug_memory(VFIOUserRig *rig)
{
    qtest_qmp_device_del_send(rig->qts, "d");
    qtest_outl(rig->qts, SLOT_SELECT, 0);
    qtest_outb(rig->qts, SLOT_CONTROL, SLOT_EJECT);
    qtest_qmp_eventwait(rig->qts, "DEVICE_DELETED");
    check_ok(rig, qtest_qmp(rig->qts, "{'execute': 'object-del', 'arguments': {"
                            "'id': 'm'}}"));
}

static void test_hotplug(void)
{
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(SLOTS, 0);
    unsigned maps = vfio_user_server_maps(rig->server);
    VFIOUserMap map;
    unsigned i;

    for (i = 0; i < 3; i++) {
        memory_plug_memory(rig);
        check_shared_at(rig, DIMM);
        check_shared_at(rig, DIMM + 128 * MiB - 8);
        check_by_message(rig, RAM);
        g_assert_true(vfio_user_server_map(rig->server, DIMM, &map));
        g_assert_cmphex(map.size, ==, 128 * MiB);

        memory_unplug_memory(rig);
        g_assert_false(vfio_user_server_map(rig->server, DIMM, &map));
        g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, maps);
    }
}

/* If the server refuses the map, the VM has the memory, but the device dies. */
static void test_hotplug_refused(gconstpointer data)
{
    const VFIOUserRule *rules = data;
    g_autoptr(VFIOUserRig) rig = vfio_user_rig_plugged(SLOTS, TIMEOUT_MS);

    vfio_user_server_set_rules(rig->server, rules);
    memory_plug_memory(rig);
    qtest_writeq(rig->qts, DIMM + 8, 0x600d);
    g_assert_cmphex(qtest_readq(rig->qts, DIMM + 8), ==, 0x600d);
    g_assert_cmphex(qpci_io_readl(rig->dev, rig->bar[0], 0), ==, UINT32_MAX);
    memory_unplug_memory(rig);
    vfio_user_rig_ping(rig);
}

static const VFIOUserRule refusal[] = {
    { ON(VFIO_USER_DMA_MAP), DO_FAIL, EINVAL },
    { }
};

static const VFIOUserRule silence[] = {
    { ON(VFIO_USER_DMA_MAP), DO_DROP },
    { }
};

/* Memory that the guest returns */

typedef struct Virtio {
    VFIOUserRig *rig;
    QVirtioPCIDevice *pci;
    QGuestAllocator alloc;
    QVirtQueue *vq;             /* queue 0 */
} Virtio;

static void virtio_start(Virtio *v, VFIOUserRig *rig)
{
    QPCIAddress at = { .devfn = QPCI_DEVFN(VIRTIO_SLOT, 0) };
    const uint64_t unwanted = QVIRTIO_F_BAD_FEATURE |
                              1ull << VIRTIO_RING_F_INDIRECT_DESC |
                              1ull << VIRTIO_RING_F_EVENT_IDX;
    QVirtioDevice *vdev;

    v->rig = rig;
    v->pci = virtio_pci_new(rig->bus, &at);
    g_assert_nonnull(v->pci);
    vdev = &v->pci->vdev;
    qvirtio_pci_device_enable(v->pci);
    qvirtio_start_device(vdev);
    qvirtio_set_features(vdev, qvirtio_get_features(vdev) & ~unwanted);
    alloc_init(&v->alloc, 0, RINGS, RINGS + MiB, 4 * KiB);
    v->vq = qvirtqueue_setup(vdev, &v->alloc, 0);
    qvirtio_set_driver_ok(vdev);
}

static void virtio_stop(Virtio *v)
{
    QVirtioDevice *vdev = &v->pci->vdev;

    qvirtio_reset(vdev);
    qvirtqueue_cleanup(vdev->bus, v->vq, &v->alloc);
    alloc_destroy(&v->alloc);
    qvirtio_pci_destructor(&v->pci->obj);
    g_free(v->pci);
}

/* The device reads @size bytes and writes @answer bytes after them. */
static void virtio_send(Virtio *v, const void *bytes, size_t size,
                        size_t answer)
{
    QTestState *qts = v->rig->qts;
    uint32_t head;

    qtest_memwrite(qts, BUFFER, bytes, size);
    head = qvirtqueue_add(qts, v->vq, BUFFER, size, false, answer);
    if (answer) {
        qvirtqueue_add(qts, v->vq, BUFFER + size, answer, true, false);
    }
    qvirtqueue_kick(qts, &v->pci->vdev, v->vq, head);
    qvirtio_wait_used_elem(qts, &v->pci->vdev, v->vq, head, NULL,
                           VFIO_USER_SERVER_DEADLINE);
}

static void change_blocks(Virtio *v, uint16_t type, uint64_t at,
                          uint16_t blocks)
{
    const struct virtio_mem_req request = {
        .type = type,
        .u.plug = { .addr = at, .nb_blocks = blocks },
    };

    virtio_send(v, &request, sizeof(request), sizeof(struct virtio_mem_resp));
    g_assert_cmpuint(qtest_readw(v->rig->qts, BUFFER + sizeof(request)), ==,
                     VIRTIO_MEM_RESP_ACK);
}

/* Exactly the plugged blocks are mapped. */
static void test_virtio_mem(void)
{
    g_autoptr(VFIOUserRig) rig = NULL;
    VFIOUserMap map;
    unsigned before;
    Virtio v;

    if (!qtest_has_device("virtio-mem-pci")) {
        g_test_skip("no virtio-mem");
        return;
    }
    rig = vfio_user_rig_plugged(VIRTIO_MEM, 0);
    before = vfio_user_server_maps(rig->server);
    virtio_start(&v, rig);
    g_assert_false(vfio_user_server_map(rig->server, DIMM, &map));

    change_blocks(&v, VIRTIO_MEM_REQ_PLUG, DIMM, 3);
    g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, before + 3);
    g_assert_true(vfio_user_server_map(rig->server, DIMM + BLOCK, &map));
    g_assert_cmphex(map.size, ==, BLOCK);
    check_shared_at(rig, DIMM + 8);
    check_shared_at(rig, DIMM + 3 * BLOCK - 8);
    g_assert_false(vfio_user_server_map(rig->server, DIMM + 3 * BLOCK, &map));

    change_blocks(&v, VIRTIO_MEM_REQ_UNPLUG, DIMM + BLOCK, 1);
    g_assert_false(vfio_user_server_map(rig->server, DIMM + BLOCK, &map));
    check_shared_at(rig, DIMM + BLOCK - 8);
    check_shared_at(rig, DIMM + 2 * BLOCK);

    change_blocks(&v, VIRTIO_MEM_REQ_UNPLUG, DIMM, 1);
    change_blocks(&v, VIRTIO_MEM_REQ_UNPLUG, DIMM + 2 * BLOCK, 1);
    g_assert_cmpuint(vfio_user_server_maps(rig->server), ==, before);
    virtio_stop(&v);
}

/* The balloon does not discard pages while the device is plugged. */
static void test_balloon(void)
{
    g_autoptr(VFIOUserRig) rig = NULL;
    const uint32_t page = RAM / (4 * KiB);
    Virtio v;

    if (!qtest_has_device("virtio-balloon-pci")) {
        g_test_skip("no virtio-balloon");
        return;
    }
    rig = vfio_user_rig_plugged(BALLOON, 0);
    virtio_start(&v, rig);
    check_shared_at(rig, RAM);
    qtest_writeq(rig->qts, RAM, 0x600d);
    virtio_send(&v, &page, sizeof(page), 0);
    g_assert_cmphex(qtest_readq(rig->qts, RAM), ==, 0x600d);
    check_shared_at(rig, RAM);
    virtio_stop(&v);
}

/* If a server cannot map memory at startup, realize fails with one error. */

typedef struct Unfit {
    const char *name;
    const char *version;        /* server's VERSION data */
    VFIOUserRule rule;
    const char *message;
} Unfit;

static const Unfit unfits[] = {
    { "pages-of-2-mib",
      "{\"capabilities\":{\"max_msg_fds\":8,\"pgsizes\":1075838976}}", { },
      "the server maps pages of 0x200000 bytes, the range at" },
    { "pages-of-4-gib",
      "{\"capabilities\":{\"max_msg_fds\":8,\"pgsizes\":4294967296}}", { },
      "the server maps pages of 0x100000000 bytes" },
    { "pages-of-8-eib",
      "{\"capabilities\":{\"max_msg_fds\":8,\"pgsizes\":9223372036854775808}}",
      { }, "the server maps pages of 0x8000000000000000 bytes" },
    { "1-map", "{\"capabilities\":{\"max_msg_fds\":8,\"max_dma_maps\":1}}",
      { }, "the server accepts at most 1 DMA maps" },
    { "refusal", NULL, { ON(VFIO_USER_DMA_MAP), DO_FAIL, ENOSPC },
      "DMA_MAP: the server replied with an error: No space left on device" },
    { "late-refusal", NULL,
      { ON(VFIO_USER_DMA_MAP, .nth = 3), DO_FAIL, ENOSPC },
      "DMA_MAP: the server replied with an error: No space left on device" },
};

static void test_unfit(gconstpointer data)
{
    const Unfit *unfit = data;
    const VFIOUserRule rules[] = { unfit->rule, { } };
    VFIOUserModel model = *vfio_user_rig_model();
    g_autoptr(VFIOUserRig) rig = NULL;
    g_autofree char *message = NULL;

    model.version = unfit->version ?: model.version;
    rig = vfio_user_rig_begin(VFIO_USER_RIG_SHARED, &model, rules);
    message = vfio_user_rig_try_plug(rig, TIMEOUT_MS);
    g_assert_nonnull(message);
    g_test_message("%s", message);
    g_assert_nonnull(strstr(message, unfit->message));
    g_assert_null(strchr(message, '\n'));
    vfio_user_rig_ping(rig);
}

void vfio_user_add_memory_tests(void)
{
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(unfits); i++) {
        g_autofree char *path = g_strdup_printf("/vfio-user/memory/unfit/%s",
                                                unfits[i].name);

        /* the personality may override the version */
        if (unfits[i].version) {
            qtest_add_data_func(path, &unfits[i], test_unfit);
        } else {
            vfio_user_rig_add_data(path, &unfits[i], test_unfit, 0);
        }
    }
    vfio_user_rig_add("/vfio-user/memory/offsets", test_offsets,
                      VFIO_USER_NEEDS_MAPS);
    qtest_add_func("/vfio-user/memory/sealed", test_sealed);
    qtest_add_func("/vfio-user/memory/no-descriptors", test_no_descriptors);
    vfio_user_rig_add("/vfio-user/memory/two-backends", test_two_backends,
                      VFIO_USER_NEEDS_MAPS);
    vfio_user_rig_add("/vfio-user/memory/file-offset", test_file_offset,
                      VFIO_USER_NEEDS_MAPS);
    vfio_user_rig_add("/vfio-user/memory/private-beside-shared",
                      test_private_beside_shared,
                      VFIO_USER_NEEDS_MAPS | VFIO_USER_NEEDS_MESSAGES);
    vfio_user_rig_add("/vfio-user/memory/virtio-mem", test_virtio_mem, 0);
    vfio_user_rig_add("/vfio-user/memory/balloon", test_balloon,
                      VFIO_USER_NEEDS_MAPS);
    vfio_user_rig_add("/vfio-user/memory/hotplug", test_hotplug, 0);
    vfio_user_rig_add_data("/vfio-user/memory/hotplug-refused", refusal,
                           test_hotplug_refused, 0);
    vfio_user_rig_add_data("/vfio-user/memory/hotplug-never-answered", silence,
                           test_hotplug_refused, 0);
}
