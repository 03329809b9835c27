/*
 * The VM of the stress test
 *
 * A running VM with the bare guest, slots for vfio-user devices and a network
 * card that does DMA.  The test decides which operations to run and when; this
 * file implements them, and measures the response time of QEMU's monitor.
 * Test thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_STRESS_VM_H
#define TESTS_QTEST_VFIO_USER_STRESS_VM_H

#include "libqtest.h"
#include "vfio-user-guest-layout.h"
#include "vfio-user-server.h"

#define VFIO_USER_STRESS_DEVICES 2

/*
 * The first processors access everything at random; the last one executes the
 * test's orders.
 */
#define VFIO_USER_STRESS_CPUS 3
#define VFIO_USER_STRESS_DRIVER (VFIO_USER_STRESS_CPUS - 1)

/* Timeout of a call to a server, ms. */
#define VFIO_USER_STRESS_TIMEOUT_MS 300

typedef struct VFIOUserStressDevice {
    const char *id;
    unsigned bus;               /* bus number, of a root port on q35 */
    unsigned slot;
    VFIOUserServer *server;     /* NULL: no device is plugged */
    const VFIOUserModel *model; /* of @server */
    bool held;                  /* the server withholds answers */
} VFIOUserStressDevice;

typedef struct VFIOUserStressVM {
    QTestState *qts;
    bool q35;                   /* machine "q35", else "pc" */
    int memory_fd;
    VFIOUserGuestMemory *guest;
    void *memory;
    VFIOUserStressDevice dev[VFIO_USER_STRESS_DEVICES];
    bool has_nic;               /* can be plugged */
    bool nic;                   /* is plugged; on q35 always */
    gint64 slowest;             /* longest monitor response, us */
    char slowest_was[32];
} VFIOUserStressVM;

/**
 * vfio_user_stress_vm_new:
 * @machine: "pc" or "q35", where the processors also use ECAM
 * @seed: seed of the processors' accesses
 * @waits: if the monitor does not answer, waits for a debugger
 */
VFIOUserStressVM *vfio_user_stress_vm_new(const char *machine, uint32_t seed,
                                          bool waits);
void vfio_user_stress_vm_free(VFIOUserStressVM *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserStressVM, vfio_user_stress_vm_free)

/* Returns the response time of the monitor above which the test fails, us. */
gint64 vfio_user_stress_vm_limit(void);

/**
 * vfio_user_stress_vm_qmp:
 *
 * Returns the response, which may be an error.
 */
QDict *vfio_user_stress_vm_qmp(VFIOUserStressVM *vm, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* The same; returns whether the command succeeded. */
bool vfio_user_stress_vm_do(VFIOUserStressVM *vm, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Returns whether the VM runs. */
bool vfio_user_stress_vm_ping(VFIOUserStressVM *vm);

/* Queries for @ms milliseconds whether the VM runs. */
void vfio_user_stress_vm_pass(VFIOUserStressVM *vm, unsigned ms);

/* Returns the member "status" of the reply to a query. */
char *vfio_user_stress_vm_status(VFIOUserStressVM *vm, const char *query);

/*
 * Makes the driver processor execute an order, and waits for it.  Continues a
 * VM that is stopped.
 */
void vfio_user_stress_vm_order(VFIOUserStressVM *vm, VFIOUserGuestOrder order);

/*
 * Plugs a device and makes the driver set it up.  Does nothing if one is
 * plugged already or if QEMU refuses.
 * @reconnect_ms: property of the device
 */
void vfio_user_stress_vm_plug(VFIOUserStressVM *vm, unsigned device,
                              const VFIOUserModel *model,
                              unsigned reconnect_ms);

/* Another server takes over, or the device stays where it is. */
void vfio_user_stress_vm_switch(VFIOUserStressVM *vm, unsigned device);
void vfio_user_stress_vm_plug_nic(VFIOUserStressVM *vm);

/* Makes the driver set up all plugged devices. */
void vfio_user_stress_vm_set_up(VFIOUserStressVM *vm);

/* Makes the driver eject a device, as its ACPI code does. */
void vfio_user_stress_vm_eject(VFIOUserStressVM *vm, unsigned device);
void vfio_user_stress_vm_eject_nic(VFIOUserStressVM *vm);

/* Sends device_del, which asks the guest to release a device. */
void vfio_user_stress_vm_ask(VFIOUserStressVM *vm, const char *id);

/* Frees the servers of devices that are gone. */
void vfio_user_stress_vm_tidy(VFIOUserStressVM *vm);

/* Unplugs everything. */
void vfio_user_stress_vm_empty(VFIOUserStressVM *vm);

/* Counts the descriptors or threads of QEMU. */
unsigned vfio_user_stress_vm_count(VFIOUserStressVM *vm, const char *what);

#endif /* TESTS_QTEST_VFIO_USER_STRESS_VM_H */
