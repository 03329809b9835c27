/*
 * Test rig: a VM with a vfio-user device plugged into it
 *
 * One VM serves many tests, one after another, so that each test can check at
 * its end for leaks (a descriptor, a thread).  Does not know what a device
 * should do; the tests do.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_RIG_H
#define TESTS_QTEST_VFIO_USER_RIG_H

#include "libqtest.h"
#include "libqos/pci-pc.h"
#include "vfio-user-server.h"

/* A machine with 64 MiB of memory, private or shared. */
#define VFIO_USER_RIG_RAM "-machine pc -nodefaults -m 64 "
#define VFIO_USER_RIG_SHARED \
    "-machine pc,memory-backend=ram -nodefaults -m 64 " \
    "-object memory-backend-memfd,id=ram,size=64M,share=on "

/* Slot of the device; on q35, the root port in front of it and its bus. */
#define VFIO_USER_RIG_SLOT 4
#define VFIO_USER_RIG_Q35_PORT \
    "-device pcie-root-port,id=rootport,bus=pcie.0,addr=4,chassis=1 "
#define VFIO_USER_RIG_Q35_BUS 1

typedef struct VFIOUserRig {
    QTestState *qts;
    VFIOUserServer *server;
    bool aer;                   /* plug the device with reconnect-aer */
    QPCIBus *bus;               /* NULL: no device is plugged */
    QPCIDevice *dev;
    QPCIBar bar[6];             /* 0, 1 and 2 */
} VFIOUserRig;

/**
 * vfio_user_rig_begin:
 * @args: options of QEMU; the VM is reused if they are the same as last time
 * @model: may be NULL
 * @rules: may be NULL
 *
 * Returns a VM and a server, without a device.
 */
VFIOUserRig *vfio_user_rig_begin(const char *args, const VFIOUserModel *model,
                                 const VFIOUserRule *rules);

/**
 * vfio_user_rig_end:
 *
 * Unplugs the device, if any, and fails the test unless QEMU still runs and
 * has as many descriptors and threads as before the test.
 */
void vfio_user_rig_end(VFIOUserRig *rig);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserRig, vfio_user_rig_end)

/**
 * vfio_user_rig_add:
 * @needs: what the test requires of a server; or 0
 *
 * Adds a test, and a copy of it for every personality that meets @needs.  In
 * the copy, vfio_user_rig_begin() without a model uses that server.
 */
void vfio_user_rig_add(const char *path, void (*test)(void),
                       VFIOUserNeeds needs);
void vfio_user_rig_add_data(const char *path, const void *data,
                            void (*test)(const void *), VFIOUserNeeds needs);

/* Returns the model that the current copy of the test uses by default. */
const VFIOUserModel *vfio_user_rig_model(void);

/* Quits QEMU. */
void vfio_user_rig_quit(void);

/**
 * vfio_user_rig_try_plug:
 * @timeout_ms: timeout of a call; 0: long enough for any well-behaved server
 *
 * Returns NULL if the device was plugged, or else the error message of QMP.
 */
char *vfio_user_rig_try_plug(VFIOUserRig *rig, unsigned timeout_ms);

/* Plugs and enables the device and maps its BARs; must succeed. */
void vfio_user_rig_plug(VFIOUserRig *rig, unsigned timeout_ms);
void vfio_user_rig_unplug(VFIOUserRig *rig);

/* Enables the device and the bridges in front of it, as after a reset. */
void vfio_user_rig_enable(VFIOUserRig *rig);

/* Starts with a well-behaved server and plugs the device. */
VFIOUserRig *vfio_user_rig_plugged(const char *args, unsigned timeout_ms);

/* Waits until @condition; queries QEMU in each iteration. */
#define vfio_user_rig_wait(rig, condition) do {                             \
        gint64 deadline_ = g_get_monotonic_time() +                         \
                           VFIO_USER_SERVER_DEADLINE;                       \
        while (!(condition)) {                                              \
            g_assert_cmpint(g_get_monotonic_time(), <, deadline_);          \
            vfio_user_rig_ping(rig);                                        \
        }                                                                   \
    } while (0)

/* Fails the test unless the monitor answers and the VM runs. */
void vfio_user_rig_ping(VFIOUserRig *rig);

/**
 * vfio_user_rig_run:
 * @args: options of QEMU
 * @out: receives QEMU's stderr
 *
 * Starts a QEMU that is expected to exit with an error.  Returns its exit
 * status.  Fails the test if a signal killed it or if it still runs at the
 * deadline.
 */
int vfio_user_rig_run(const char *args, char **out);

/* Returns the number of lines in @text, not counting warnings. */
unsigned vfio_user_rig_lines(const char *text);

#endif /* TESTS_QTEST_VFIO_USER_RIG_H */
