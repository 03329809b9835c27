/*
 * vfio-user PCI device
 *
 * The device type vfio-user-pci.  Realize is a list of steps; unrealize is the
 * same list backwards.  The code of hw/vfio is used for everything that hw/vfio
 * devices have in common.  The connection and the messages are handled in other
 * files.
 *
 * Threads: the main loop and vCPUs, with the big QEMU lock, which is never
 * released here: waiting for the server is limited by a budget.  Register
 * accesses do not take that lock, see populate().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "hw/pci/pci.h"
#include "system/runstate.h"
#include "system/system.h"
#include "hw/vfio/pci.h"
#include "hw/vfio/vfio-migration-internal.h"
#include "hw/vfio/user/base.h"
#include "hw/vfio/user/config.h"
#include "hw/vfio/user/migration-switch.h"
#include "hw/vfio/user/pci-aer.h"
#include "hw/vfio/user/pci-config.h"
#include "hw/vfio/user/pci-internal.h"
#include "hw/vfio/user/pci-order.h"
#include "hw/vfio/user/pci-rom.h"

/* After a reset that the guest does not know about: restores its settings. */
static void restore_config(void *opaque)
{
    VFIOUserPCIDevice *vudev = opaque;

    VFIO_USER_BUDGET_GUARD(vudev->user.proxy, VFIO_USER_BUDGET_RESET);
    if (qatomic_read(&DEVICE(vudev)->realized)) {
        vfio_user_pci_config_restore(&vudev->parent_obj, NULL);
        vfio_user_device_unmask_irqs(&vudev->parent_obj.vbasedev);
    }
    object_unref(OBJECT(vudev));
}

static void on_device_reset(VFIOUserDevice *udev)
{
    VFIOUserPCIDevice *vudev = container_of(udev, VFIOUserPCIDevice, user);

    /* Use a bottom half, because migration holds its lock here */
    object_ref(OBJECT(vudev));
    aio_bh_schedule_oneshot(qemu_get_aio_context(), restore_config, vudev);
}

static void on_unmasked(VFIOUserDevice *udev, uint32_t index)
{
    VFIOUserPCIDevice *vudev = container_of(udev, VFIOUserPCIDevice, user);

    if (index == VFIO_PCI_INTX_IRQ_INDEX) {
        vfio_user_pci_intx_unmasked(&vudev->parent_obj);
    }
}

static void on_drain_irqs(VFIOUserDevice *udev)
{
    VFIOUserPCIDevice *vudev = container_of(udev, VFIOUserPCIDevice, user);

    vfio_user_pci_drain_interrupts(&vudev->parent_obj);
}

/*
 * Steps of realize, the functions that undo them, and those that tell a server
 * that has come back what the last one knew
 */

typedef struct Step {
    bool (*run)(VFIOUserPCIDevice *vudev, Error **errp);
    void (*undo)(VFIOUserPCIDevice *vudev);
    bool (*resume)(VFIOUserPCIDevice *vudev, const VFIOUserResume *how,
                   Error **errp);
} Step;

/* The vIOMMU may come after the device on the command line. */
static void follow_iommu(Notifier *notifier, void *unused)
{
    VFIOUserPCIDevice *vudev = container_of(notifier, VFIOUserPCIDevice,
                                            machine_done);
    AddressSpace *as = pci_device_iommu_address_space(PCI_DEVICE(vudev));

    if (as != VFIO_IOMMU(vudev->container)->space->as) {
        vfio_user_container_detach(vudev->container);
        vfio_user_container_attach(vudev->container, as, &error_fatal);
    }
}

static bool connect_memory(VFIOUserPCIDevice *vudev, Error **errp)
{
    AddressSpace *as =
        pci_device_iommu_address_space(PCI_DEVICE(vudev));

    if (!vfio_user_container_attach(vudev->container, as, errp)) {
        return false;
    }
    vudev->machine_done.notify = follow_iommu;
    qemu_add_machine_init_done_notifier(&vudev->machine_done);
    return true;
}

static bool resume_memory(VFIOUserPCIDevice *vudev, const VFIOUserResume *how,
                          Error **errp)
{
    VFIOUserProxy *proxy = vudev->user.proxy;

    if (how->move) {
        vfio_user_migration_use(vudev->migration, proxy);
    } else {
        vfio_user_migration_resume(vudev->migration, proxy);
    }
    vfio_user_container_use(vudev->container, proxy);
    if (!how->is_return) {
        /* a device that was reset and runs, or that is loaded, accepts maps */
        vfio_user_container_resume(vudev->container);
    }
    return true;
}

static void disconnect_memory(VFIOUserPCIDevice *vudev)
{
    qemu_remove_machine_init_done_notifier(&vudev->machine_done);
    vfio_user_container_detach(vudev->container);
}

static bool insert_device(VFIOUserPCIDevice *vudev, Error **errp)
{
    VFIODevice *vbasedev = &vudev->parent_obj.vbasedev;
    struct vfio_device_info info = { .argsz = sizeof(info) };

    if (!vfio_user_device_get_info(&vudev->user, &info, errp)) {
        return false;
    }
    vfio_device_prepare(vbasedev, VFIO_IOMMU(vudev->container), &info);
    return true;
}

static void remove_device(VFIOUserPCIDevice *vudev)
{
    vfio_device_unprepare(&vudev->parent_obj.vbasedev);
}

static bool populate(VFIOUserPCIDevice *vudev, Error **errp)
{
    VFIOPCIDevice *vdev = &vudev->parent_obj;

    if (!vfio_pci_populate_device(vdev, errp)) {
        return false;
    }
    for (int i = 0; i < PCI_ROM_SLOT; i++) {
        VFIORegion *region = &vdev->bars[i].region;

        vudev->user.guest_regions |= 1ULL << i;
        if (region->mem) {
            /* several vCPUs may wait for the server at the same time */
            memory_region_enable_lockless_io(region->mem);
        }
    }
    return true;
}

static bool read_config(VFIOUserPCIDevice *vudev, Error **errp)
{
    VFIOPCIDevice *vdev = &vudev->parent_obj;
    uint64_t sizes[VFIO_USER_CONFIG_BARS];

    for (int i = 0; i < VFIO_USER_CONFIG_BARS; i++) {
        sizes[i] = vdev->bars[i].region.size;
    }
    if (!vfio_user_device_copy_region(&vudev->user, &vdev->vbasedev,
                                      VFIO_PCI_CONFIG_REGION_INDEX,
                                      vdev->config_size, errp) ||
        !vfio_user_config_check(vudev->user.copy.bytes, vdev->config_size,
                                sizes, errp)) {
        return false;
    }
    vfio_user_pci_size_rom(vdev, &vudev->user);
    return true;
}

static void drop_config(VFIOUserPCIDevice *vudev)
{
    vfio_user_device_drop_copy(&vudev->user);
}

static bool setup_config(VFIOUserPCIDevice *vudev, Error **errp)
{
    return vfio_pci_config_setup(&vudev->parent_obj, errp);
}

static bool resume_config(VFIOUserPCIDevice *vudev, const VFIOUserResume *how,
                          Error **errp)
{
    vudev->user.reset_pending = false;
    if (!vfio_user_pci_config_resume(&vudev->parent_obj, &vudev->written)) {
        error_setg(errp, "cannot restore configuration space");
        return false;
    }
    return true;
}

static void on_mapping_lost(void *opaque, unsigned nr)
{
    VFIOUserPCIDevice *vudev = opaque;
    Error *err = NULL;

    error_setg(&err, "the file of the mapped region %u was truncated, or the"
               " host has no memory for it", nr);
    vfio_user_proxy_fail(vudev->user.proxy, err);
}

/* Must run before the guest can access a mapping. */
static bool guard_mappings(VFIOUserPCIDevice *vudev, Error **errp)
{
    VFIOPCIDevice *vdev = &vudev->parent_obj;

    vfio_user_mappings_init(&vudev->mappings, &vdev->vbasedev,
                            on_mapping_lost, vudev);
    for (int i = 0; i < PCI_ROM_SLOT; i++) {
        vfio_user_mappings_add(&vudev->mappings, &vdev->bars[i].region);
    }
    return true;
}

static bool resume_mappings(VFIOUserPCIDevice *vudev, const VFIOUserResume *how,
                            Error **errp)
{
    VFIOPCIDevice *vdev = &vudev->parent_obj;

    for (unsigned i = 0; i < how->profile->info.num_regions; i++) {
        VFIOUserProfileRegion *region = &how->profile->regions[i];

        /* a takeover may have failed before the files were exchanged */
        if (region->fd < 0 || how->is_return != region->exchanged ||
            vfio_device_get_region_fd(&vdev->vbasedev, i) < 0) {
            continue;
        }
        if (!vfio_user_mappings_replace(&vudev->mappings, i, &region->fd,
                                        errp)) {
            return false;
        }
        region->exchanged = !region->exchanged;
    }
    vfio_user_mappings_on(&vudev->mappings,
                          vdev->interrupt == VFIO_INT_INTx &&
                          vdev->intx.pending);
    return true;
}

static void teardown_config(VFIOUserPCIDevice *vudev)
{
    VFIOPCIDevice *vdev = &vudev->parent_obj;

    vfio_pci_teardown_msi(vdev);
    vfio_pci_bars_exit(vdev);
}

static void drop_mappings(VFIOUserPCIDevice *vudev)
{
    vfio_user_mappings_off(&vudev->mappings);
}

static bool add_capabilities(VFIOUserPCIDevice *vudev, Error **errp)
{
    bool ok = vfio_pci_add_capabilities(&vudev->parent_obj, errp);

    vfio_user_device_drop_copy(&vudev->user);
    return ok;
}

static bool setup_interrupts(VFIOUserPCIDevice *vudev, Error **errp)
{
    vfio_user_pci_learn_interrupts(&vudev->parent_obj, &vudev->user);
    return vfio_pci_interrupt_setup(&vudev->parent_obj, errp);
}

static bool resume_interrupts(VFIOUserPCIDevice *vudev,
                              const VFIOUserResume *how, Error **errp)
{
    /*
     * First ERR and REQ: libvfio-user (0b28d20) stores the eventfd of each
     * index as that of vector 0.  Test: /vfio-user/reconnect/signals.
     */
    vfio_user_pci_signals_resume(&vudev->signals, vudev->user.proxy);
    vfio_user_pci_interrupts_resume(&vudev->parent_obj, &vudev->user);
    return true;
}

static void teardown_interrupts(VFIOUserPCIDevice *vudev)
{
    vfio_pci_interrupt_teardown(&vudev->parent_obj);
}

static bool setup_ioeventfds(VFIOUserPCIDevice *vudev, Error **errp)
{
    return vfio_user_pci_ioeventfds_setup(&vudev->ioeventfds,
                                          &vudev->parent_obj, &vudev->user,
                                          errp);
}

static bool resume_ioeventfds(VFIOUserPCIDevice *vudev,
                              const VFIOUserResume *how, Error **errp)
{
    return vfio_user_pci_ioeventfds_resume(&vudev->ioeventfds, errp);
}

static void teardown_ioeventfds(VFIOUserPCIDevice *vudev)
{
    vfio_user_pci_ioeventfds_teardown(&vudev->ioeventfds);
}

static bool order_writes(VFIOUserPCIDevice *vudev, Error **errp)
{
    vfio_user_pci_order_writes(&vudev->parent_obj, &vudev->user,
                               !vudev->no_posted_writes);
    return true;
}

static bool resume_order(VFIOUserPCIDevice *vudev, const VFIOUserResume *how,
                         Error **errp)
{
    return order_writes(vudev, errp);
}

static bool setup_migration(VFIOUserPCIDevice *vudev, Error **errp)
{
    VFIOPCIDevice *vdev = &vudev->parent_obj;
    const uint8_t *config = PCI_DEVICE(vudev)->config;
    const VFIOUserMigIdentity who = {
        .vendor = pci_get_word(config + PCI_VENDOR_ID),
        .device = pci_get_word(config + PCI_DEVICE_ID),
        .sub_vendor = pci_get_word(config + PCI_SUBSYSTEM_VENDOR_ID),
        .sub_device = pci_get_word(config + PCI_SUBSYSTEM_ID),
        .class_revision = pci_get_long(config + PCI_REVISION_ID),
        .config_size = vdev->config_size,
    };

    if (!vfio_user_migration_setup(&vdev->vbasedev, &vudev->user, &who,
                                   &vudev->migration, errp)) {
        return false;
    }
    if (vudev->migration) {
        vudev->container->dirty.kind =
            vfio_user_migration_version(vudev->migration) == 1 ?
            VFIO_USER_DIRTY_BY_PAGES : VFIO_USER_DIRTY_BY_LOGGING;
    }
    return true;
}

static bool resume_migration(VFIOUserPCIDevice *vudev,
                             const VFIOUserResume *how, Error **errp)
{
    if (!how->move) {
        vfio_user_migration_follow(vudev->migration);
    } else if (how->is_return) {
        vfio_user_migration_switch_undo(how->move);
    } else {
        return vfio_user_migration_switch_finish(how->move, errp) == 0;
    }
    return true;
}

static void teardown_migration(VFIOUserPCIDevice *vudev)
{
    vfio_user_migration_teardown(&vudev->parent_obj.vbasedev,
                                 vudev->migration);
    vudev->migration = NULL;
}

static void pci_vm_changed(void *opaque, bool running, RunState state)
{
    VFIOUserPCIDevice *vudev = opaque;

    if (running && vudev->user.reset_pending) {
        vudev->user.ops->reset(&vudev->user);
    }
}

/* After setup_migration(): its handler must set the device to RUNNING first */
static bool follow_vm(VFIOUserPCIDevice *vudev, Error **errp)
{
    vudev->vm_change = qdev_add_vm_change_state_handler(DEVICE(vudev),
                                                        pci_vm_changed, NULL,
                                                        vudev);
    return true;
}

static void unfollow_vm(VFIOUserPCIDevice *vudev)
{
    qemu_del_vm_change_state_handler(vudev->vm_change);
}

static bool setup_aer(VFIOUserPCIDevice *vudev, Error **errp)
{
    if (!vudev->reconnect.aer) {
        return true;
    }
    if (!vudev->reconnect.ms) {
        error_setg(errp, "reconnect-aer needs reconnect-ms");
        return false;
    }
    return vfio_user_pci_aer_setup(&vudev->parent_obj, errp);
}

static void teardown_aer(VFIOUserPCIDevice *vudev)
{
    vfio_user_pci_aer_cleanup(&vudev->parent_obj);
}

/* A server that takes over from another one, with its state, is no error. */
static bool resume_aer(VFIOUserPCIDevice *vudev, const VFIOUserResume *how,
                       Error **errp)
{
    if (!how->move) {
        vfio_user_pci_aer_report(&vudev->parent_obj);
    }
    return true;
}

static bool arm_signals(VFIOUserPCIDevice *vudev, Error **errp)
{
    vfio_user_pci_signals_arm(&vudev->signals, &vudev->parent_obj,
                              vudev->user.proxy);
    return true;
}

static void disarm_signals(VFIOUserPCIDevice *vudev)
{
    vfio_user_pci_signals_disarm(&vudev->signals);
}

/* The last step.  If the connection is lost from now on, that is reported. */
static bool begin_use(VFIOUserPCIDevice *vudev, Error **errp)
{
    qatomic_set_mb(&vudev->in_use, true);
    return vfio_user_proxy_check(vudev->user.proxy, errp);
}

static void end_use(VFIOUserPCIDevice *vudev)
{
    qatomic_set(&vudev->in_use, false);
    vfio_user_pci_reconnect_stop(vudev);
}

/*
 * If QEMU tracks dirty pages already, for example for calc-dirty-rate, it does
 * not start that for the container again when the VM migrates.
 */
static bool start_tracking(VFIOUserPCIDevice *vudev, Error **errp)
{
    return !global_dirty_tracking ||
           vfio_container_set_dirty_page_tracking(VFIO_IOMMU(vudev->container),
                                                  true, errp) == 0;
}

static const Step steps[] = {
    { vfio_user_pci_dial, NULL },
    { vfio_user_pci_connect, vfio_user_pci_hang_up },
    { vfio_user_pci_handshake, NULL },
    { vfio_user_pci_reconnect_setup, NULL },
    { connect_memory, disconnect_memory, resume_memory },
    { insert_device, remove_device },
    { populate, NULL },
    { read_config, drop_config },
    { setup_config, teardown_config, resume_config },
    { guard_mappings, drop_mappings, resume_mappings },
    { add_capabilities, NULL },
    { setup_interrupts, teardown_interrupts, resume_interrupts },
    { setup_ioeventfds, teardown_ioeventfds, resume_ioeventfds },
    { order_writes, NULL, resume_order },
    { setup_migration, teardown_migration, resume_migration },
    { start_tracking, NULL },
    { follow_vm, unfollow_vm },
    { arm_signals, disarm_signals },
    { setup_aer, teardown_aer, resume_aer },
    { vfio_user_pci_add_status, vfio_user_pci_remove_status },
    { begin_use, end_use },
};

/* The first steps make no calls to the server. */
#define STEPS_WITHOUT_CALLS 2

static bool run_steps(VFIOUserPCIDevice *vudev, unsigned end, Error **errp)
{
    while (vudev->steps_done < end) {
        if (!steps[vudev->steps_done].run(vudev, errp)) {
            return false;
        }
        vudev->steps_done++;
    }
    return true;
}

static bool run_all_steps(VFIOUserPCIDevice *vudev, Error **errp)
{
    if (!run_steps(vudev, STEPS_WITHOUT_CALLS, errp)) {
        return false;
    }
    VFIO_USER_BUDGET_GUARD(vudev->user.proxy, VFIO_USER_BUDGET_REALIZE);
    return run_steps(vudev, ARRAY_SIZE(steps), errp);
}

static void undo_steps(VFIOUserPCIDevice *vudev)
{
    VFIO_USER_BUDGET_GUARD(vudev->user.proxy, VFIO_USER_BUDGET_ORDINARY);
    while (vudev->steps_done) {
        const Step *step = &steps[--vudev->steps_done];

        if (step->undo) {
            step->undo(vudev);
        }
    }
}

bool vfio_user_pci_resume(VFIOUserPCIDevice *vudev, const VFIOUserResume *how,
                          Error **errp)
{
    VFIO_USER_BUDGET_GUARD(vudev->user.proxy, VFIO_USER_BUDGET_REALIZE);
    for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
        if (steps[i].resume && !steps[i].resume(vudev, how, errp)) {
            return false;
        }
    }
    return vfio_user_proxy_check(vudev->user.proxy, errp);
}

/* If the connection was lost, its cause replaces the error that followed. */
static void use_lost_cause(VFIOUserPCIDevice *vudev, Error **errp)
{
    VFIOUserProxy *proxy = vudev->user.proxy;

    if (proxy && vfio_user_proxy_state(proxy) == VFIO_USER_LOST) {
        error_free(*errp);
        *errp = NULL;
        vfio_user_proxy_check(proxy, errp);
    }
}

static void vfio_user_pci_realize(PCIDevice *pdev, Error **errp)
{
    ERRP_GUARD();
    VFIOUserPCIDevice *vudev = VFIO_USER_PCI(pdev);
    const char *name = vudev->parent_obj.vbasedev.name;

    if (run_all_steps(vudev, errp)) {
        return;
    }
    use_lost_cause(vudev, errp);
    undo_steps(vudev);
    /* errors of the connection start with the name, those of hw/vfio do not */
    if (!g_str_has_prefix(error_get_pretty(*errp), name)) {
        error_prepend(errp, "%s: ", name);
    }
}

static void vfio_user_pci_exit(PCIDevice *pdev)
{
    undo_steps(VFIO_USER_PCI(pdev));
}

/* The guest may just have enabled DMA. */
static void follow_master(VFIOUserPCIDevice *vudev)
{
    if (vfio_user_pci_master_is_on(&vudev->master)) {
        vfio_user_container_expect_dma(vudev->container);
    }
}

/* A write can change whether INTx and bus mastering are enabled. */
static void config_write(PCIDevice *pdev, uint32_t addr, uint32_t value,
                         int len)
{
    VFIOUserPCIDevice *vudev = VFIO_USER_PCI(pdev);
    bool masters;

    if (vfio_user_pci_aer_write(pdev, addr, value, len)) {
        return;
    }
    masters = vfio_user_pci_master_begin(&vudev->master, addr, value, len);
    vfio_user_pci_written_note(&vudev->written, addr, value, len);
    vfio_user_pci_config_write(pdev, addr, value, len);
    vfio_user_pci_master_end(&vudev->master, masters);
    vfio_user_pci_ioeventfds_update(&vudev->ioeventfds);
    follow_master(vudev);
}

/* Callbacks of hw/vfio */

static void compute_needs_reset(VFIODevice *vbasedev)
{
    /* no hot reset is needed: no other device shares the reset */
    vbasedev->needs_reset = false;
}

static int hot_reset_multi(VFIODevice *vbasedev)
{
    return -EOPNOTSUPP;
}

static Object *get_object(VFIODevice *vbasedev)
{
    return OBJECT(vbasedev->dev);
}

static int pci_load_config(VFIODevice *vbasedev, QEMUFile *f)
{
    VFIOPCIDevice *vdev = container_of(vbasedev, VFIOPCIDevice, vbasedev);
    int ret;

    VFIO_USER_BUDGET_GUARD(VFIO_USER_PCI(vdev)->user.proxy,
                           VFIO_USER_BUDGET_MIG_DATA);
    ret = vfio_pci_load_config(vbasedev, f);
    if (ret == 0) {
        vfio_user_pci_intx_loaded(vdev);
    }
    follow_master(VFIO_USER_PCI(vdev));
    return ret;
}

static VFIODeviceOps device_ops = {
    .vfio_compute_needs_reset = compute_needs_reset,
    .vfio_hot_reset_multi = hot_reset_multi,
    .vfio_eoi = vfio_user_pci_intx_eoi,
    .vfio_get_object = get_object,
    .vfio_save_config = vfio_pci_save_config,
    .vfio_load_config = pci_load_config,
};

/*
 * vfio_pci_pre_reset() also sets the device to D0.  A lost device reads as all
 * ones, that is, as stuck in D3; hw/vfio would report that without the device's
 * name.
 */
static void pre_reset(VFIOUserPCIDevice *vudev)
{
    PCIDevice *pdev = PCI_DEVICE(vudev);
    uint8_t pm_cap = pdev->pm_cap;

    if (vfio_user_proxy_state(vudev->user.proxy) != VFIO_USER_UP) {
        pdev->pm_cap = 0;
    }
    vfio_pci_pre_reset(&vudev->parent_obj);
    pdev->pm_cap = pm_cap;
}

/* Resets the device, which must not be stopped. */
static void reset_device(VFIOUserPCIDevice *vudev)
{
    VFIOPCIDevice *vdev = &vudev->parent_obj;
    bool late = vudev->user.reset_pending;
    Error *err = NULL;

    assert(bql_locked());
    VFIO_USER_BUDGET_GUARD(vudev->user.proxy, VFIO_USER_BUDGET_RESET);
    vudev->user.reset_pending = false;
    vudev->written = (VFIOUserPCIWritten) { };
    pre_reset(vudev);
    vfio_user_migration_begin_reset(vudev->migration);
    if (vdev->vbasedev.reset_works &&
        vfio_user_device_reset(&vudev->user, &err) < 0) {
        vfio_user_report(&vudev->user.reports, err);
    }
    vfio_user_migration_finish_reset(vudev->migration);
    vfio_pci_post_reset(vdev);
    if (late) {
        /* QEMU's copy was cleared when the reset was postponed */
        vfio_user_pci_config_restore(vdev, NULL);
    } else {
        vfio_user_pci_config_forget(vdev);
    }
    vfio_user_pci_ioeventfds_update(&vudev->ioeventfds);
}

static bool is_resuming(VFIOUserPCIDevice *vudev)
{
    const VFIOMigration *migration = vudev->parent_obj.vbasedev.migration;

    return migration && migration->device_state == VFIO_DEVICE_STATE_RESUMING;
}

static void vfio_user_pci_reset_hold(Object *obj, ResetType type)
{
    VFIOUserPCIDevice *vudev = VFIO_USER_PCI(obj);

    if (vfio_user_migration_is_loading(vudev->migration)) {
        return;         /* the loaded state replaces the reset */
    }
    if (vfio_user_container_is_stopped(vudev->container) ||
        is_resuming(vudev)) {
        vudev->user.reset_pending = true;
    } else {
        reset_device(vudev);
    }
}

static void reset_late(VFIOUserDevice *udev)
{
    VFIOUserPCIDevice *vudev = container_of(udev, VFIOUserPCIDevice, user);

    if (!vfio_user_container_is_stopped(vudev->container)) {
        reset_device(vudev);
    }
}

static const VFIOUserDeviceOps user_ops = {
    .reset = reset_late,
    .was_reset = on_device_reset,
    .unmasked = on_unmasked,
    .drain_irqs = on_drain_irqs,
    .wanted = vfio_user_link_wanted,
};

/* The type */

static void vfio_user_pci_init(Object *obj)
{
    VFIOUserPCIDevice *vudev = VFIO_USER_PCI(obj);
    VFIOPCIDevice *vdev = &vudev->parent_obj;
    VFIODevice *vbasedev = &vdev->vbasedev;

    device_add_bootindex_property(obj, &vdev->bootindex, "bootindex", NULL,
                                  DEVICE(obj));
    vdev->nv_gpudirect_clique = 0xff;
    vdev->display = ON_OFF_AUTO_OFF;
    vdev->msix_relo = OFF_AUTO_PCIBAR_OFF;
    vfio_device_init(vbasedev, VFIO_DEVICE_TYPE_PCI, &device_ops, DEVICE(obj),
                     false);
    vbasedev->name = g_strdup("vfio-user");
    vbasedev->mdev = true;      /* the host's IOMMUs do not know the device */
    vfio_user_device_init(&vudev->user, vbasedev, &user_ops);
    /* reserves the space; QEMU decides later whether it is PCI Express */
    PCI_DEVICE(obj)->cap_present |= QEMU_PCI_CAP_EXPRESS;
    vfio_user_pci_add_aliases(obj);
}

static void vfio_user_pci_finalize(Object *obj)
{
    VFIOUserPCIDevice *vudev = VFIO_USER_PCI(obj);

    vfio_user_mappings_cleanup(&vudev->mappings);
    vfio_pci_put_device(&vudev->parent_obj);
    object_unref(OBJECT(vudev->container));
    vfio_user_device_destroy(&vudev->user);
    vfio_user_pci_reconnect_cleanup(vudev);
    vfio_user_link_free(vudev->link);
    qapi_free_SocketAddress(vudev->socket);
    g_free(vudev->socket_name);
    g_slist_free_full(vudev->old_names, g_free);
}

static void vfio_user_pci_class_init(ObjectClass *klass,
                                     VFIOUserClassData *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    ResettableClass *rc = RESETTABLE_CLASS(klass);
    PCIDeviceClass *pdc = PCI_DEVICE_CLASS(klass);

    dc->desc = "PCI device of a vfio-user server";
    rc->phases.hold = vfio_user_pci_reset_hold;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    vfio_user_pci_add_properties(dc);
    pdc->realize = vfio_user_pci_realize;
    pdc->exit = vfio_user_pci_exit;
    pdc->config_read = vfio_user_pci_config_read;
    pdc->config_write = config_write;
}

static const TypeInfo vfio_user_pci_info = {
    .name = TYPE_VFIO_USER_PCI,
    .parent = TYPE_VFIO_PCI_DEVICE,
    .instance_size = sizeof(VFIOUserPCIDevice),
    .instance_init = vfio_user_pci_init,
    .instance_finalize = vfio_user_pci_finalize,
    .class_init = vfio_user_pci_class_init,
};

static void vfio_user_pci_register_type(void)
{
    type_register_static(&vfio_user_pci_info);
}

type_init(vfio_user_pci_register_type)
