/*
 * The VM of the stress test
 *
 * A running VM with the bare guest, slots for vfio-user devices and a network
 * card that does DMA.  What is done to it, and when, the test decides; here is
 * how, and how long QEMU's monitor takes over it.  The test's thread only.
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
 * The processors: the first ones access everything at random, the last one
 * does what the test says.
 */
#define VFIO_USER_STRESS_CPUS 3
#define VFIO_USER_STRESS_DRIVER (VFIO_USER_STRESS_CPUS - 1)

/* Of a call to a server, ms. */
#define VFIO_USER_STRESS_TIMEOUT_MS 300

typedef struct VFIOUserStressDevice {
    const char *id;
    unsigned bus;               /* on which it is, behind a port of q35's */
    unsigned slot;
    VFIOUserServer *server;     /* NULL: nothing is plugged */
    bool held;                  /* the server does not answer */
} VFIOUserStressDevice;

typedef struct VFIOUserStressVM {
    QTestState *qts;
    bool q35;                   /* else the machine is "pc" */
    int memory_fd;
    VFIOUserGuestMemory *guest;
    void *memory;
    VFIOUserStressDevice dev[VFIO_USER_STRESS_DEVICES];
    bool has_nic;               /* can be plugged */
    bool nic;                   /* is there; on q35 always */
    gint64 slowest;             /* answer of the monitor, us */
    char slowest_was[32];
} VFIOUserStressVM;

/**
 * vfio_user_stress_vm_new:
 * @machine: "pc" or "q35", where they use ECAM, too
 * @seed: of what the processors do
 * @waits: for a debugger, where the monitor does not answer
 */
VFIOUserStressVM *vfio_user_stress_vm_new(const char *machine, uint32_t seed,
                                          bool waits);
void vfio_user_stress_vm_free(VFIOUserStressVM *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserStressVM, vfio_user_stress_vm_free)

/* Fails the test if the monitor takes longer over a command than this. */
gint64 vfio_user_stress_vm_limit(void);

/**
 * vfio_user_stress_vm_qmp:
 *
 * Returns the response, which may be an error.
 */
QDict *vfio_user_stress_vm_qmp(VFIOUserStressVM *vm, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Likewise; returns whether it was taken. */
bool vfio_user_stress_vm_do(VFIOUserStressVM *vm, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Returns whether the VM runs. */
bool vfio_user_stress_vm_ping(VFIOUserStressVM *vm);

/* Asks for a while whether it runs, ms. */
void vfio_user_stress_vm_pass(VFIOUserStressVM *vm, unsigned ms);

/* The word "status" of a query. */
char *vfio_user_stress_vm_status(VFIOUserStressVM *vm, const char *query);

/*
 * Has the driver, a processor, do something, and waits for it.  Continues a VM
 * that does not run.
 */
void vfio_user_stress_vm_order(VFIOUserStressVM *vm, VFIOUserGuestOrder order);

/*
 * Plugs a device, and has the driver set it up.  Does nothing where there is
 * one or if QEMU refuses.
 */
void vfio_user_stress_vm_plug(VFIOUserStressVM *vm, unsigned device,
                              const VFIOUserModel *model);
void vfio_user_stress_vm_plug_nic(VFIOUserStressVM *vm);

/* Has the driver set up what is plugged. */
void vfio_user_stress_vm_set_up(VFIOUserStressVM *vm);

/* Has the driver eject a device, as its ACPI code does. */
void vfio_user_stress_vm_eject(VFIOUserStressVM *vm, unsigned device);
void vfio_user_stress_vm_eject_nic(VFIOUserStressVM *vm);

/* Asks the guest to release a device, by the monitor. */
void vfio_user_stress_vm_ask(VFIOUserStressVM *vm, const char *id);

/* Frees what has gone: servers whose device is no longer there. */
void vfio_user_stress_vm_tidy(VFIOUserStressVM *vm);

/* Unplugs everything. */
void vfio_user_stress_vm_empty(VFIOUserStressVM *vm);

/* Descriptors and threads of QEMU. */
unsigned vfio_user_stress_vm_count(VFIOUserStressVM *vm, const char *what);

#endif /* TESTS_QTEST_VFIO_USER_STRESS_VM_H */
