/*
 * Test rig: a VM, and a vfio-user device plugged into it
 *
 * One VM serves many tests, one after another, so that what one leaves behind
 * (a descriptor, a thread) is found at its end.  The rig says nothing of what
 * a device should do; that is for the tests.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_RIG_H
#define TESTS_QTEST_VFIO_USER_RIG_H

#include "libqtest.h"
#include "libqos/pci-pc.h"
#include "vfio-user-server.h"

/* A machine with 64 MiB of memory, private or to be shared. */
#define VFIO_USER_RIG_RAM "-machine pc -nodefaults -m 64 "
#define VFIO_USER_RIG_SHARED \
    "-machine pc,memory-backend=ram -nodefaults -m 64 " \
    "-object memory-backend-memfd,id=ram,size=64M,share=on "

/* Where the device is plugged in; on q35, the port that it is behind. */
#define VFIO_USER_RIG_SLOT 4
#define VFIO_USER_RIG_Q35_PORT \
    "-device pcie-root-port,id=rootport,bus=pcie.0,addr=4,chassis=1 "
#define VFIO_USER_RIG_Q35_BUS 1

typedef struct VFIOUserRig {
    QTestState *qts;
    VFIOUserServer *server;
    QPCIBus *bus;               /* NULL: nothing is plugged */
    QPCIDevice *dev;
    QPCIBar bar[6];             /* 0, 1 and 2 */
} VFIOUserRig;

/**
 * vfio_user_rig_begin:
 * @args: of QEMU; the same as last time is the same VM
 * @model: or NULL
 * @rules: or NULL
 *
 * Returns a VM and a server; no device yet.
 */
VFIOUserRig *vfio_user_rig_begin(const char *args, const VFIOUserModel *model,
                                 const VFIOUserRule *rules);

/**
 * vfio_user_rig_end:
 *
 * Unplugs what is plugged and fails the test unless QEMU, alive, has as many
 * descriptors and threads as before it.
 */
void vfio_user_rig_end(VFIOUserRig *rig);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserRig, vfio_user_rig_end)

/**
 * vfio_user_rig_add:
 * @needs: of the server, to pass; or 0
 *
 * Adds a test, and a row of it for every personality that meets @needs: the
 * same test, in which vfio_user_rig_begin() without model has that server.
 */
void vfio_user_rig_add(const char *path, void (*test)(void),
                       VFIOUserNeeds needs);
void vfio_user_rig_add_data(const char *path, const void *data,
                            void (*test)(const void *), VFIOUserNeeds needs);

/* The model of a server without one, in the row that runs. */
const VFIOUserModel *vfio_user_rig_model(void);

/* Ends the VM. */
void vfio_user_rig_quit(void);

/**
 * vfio_user_rig_try_plug:
 * @timeout_ms: of a call; 0: long enough for any honest server
 *
 * Returns NULL and the device is there, or what QMP says.
 */
char *vfio_user_rig_try_plug(VFIOUserRig *rig, unsigned timeout_ms);

/* Plugs, enables the device and maps its BARs.  Must succeed. */
void vfio_user_rig_plug(VFIOUserRig *rig, unsigned timeout_ms);
void vfio_user_rig_unplug(VFIOUserRig *rig);

/* Enables the device and what is in front of it, as after a reset. */
void vfio_user_rig_enable(VFIOUserRig *rig);

/* Begins with an honest server and plugs. */
VFIOUserRig *vfio_user_rig_plugged(const char *args, unsigned timeout_ms);

/* Waits until @condition, asking QEMU something each time. */
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
 * @args: of QEMU
 * @out: gets what it wrote to stderr
 *
 * Starts a QEMU that is expected to give up.  Returns its exit status; fails
 * the test where it was killed by a signal or is alive at the deadline.
 */
int vfio_user_rig_run(const char *args, char **out);

/* Returns how many lines @text has, warnings apart. */
unsigned vfio_user_rig_lines(const char *text);

#endif /* TESTS_QTEST_VFIO_USER_RIG_H */
