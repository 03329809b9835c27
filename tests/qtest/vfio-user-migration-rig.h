/*
 * Test rig for migration between VMs with vfio-user devices
 *
 * Each VM has one scripted server per device.  QEMU's messages go to a file
 * that tests can read.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_MIGRATION_RIG_H
#define TESTS_QTEST_VFIO_USER_MIGRATION_RIG_H

#include "vfio-user-rig.h"

#define VFIO_USER_MIG_DEVICES 2

/* Timeout of a call to a server that does not answer, ms. */
#define VFIO_USER_MIG_TIMEOUT_MS 600

typedef struct VFIOUserMigVM {
    QTestState *qts;
    unsigned devices;
    VFIOUserServer *server[VFIO_USER_MIG_DEVICES];
    /* index of the saved BAR */
    unsigned bar_nr[VFIO_USER_MIG_DEVICES];
    uint64_t bar[VFIO_USER_MIG_DEVICES];        /* its address */
    char *dir;
    char *log;                  /* file with QEMU's messages */
} VFIOUserMigVM;

/* The default device with filler data, by the server's capabilities. */
extern const VFIOUserModel *const vfio_user_mig_stop_copy;
extern const VFIOUserModel *const vfio_user_mig_pre_copy;

/*
 * The default device with migration v1.  Its data arrives in this many pieces
 * while the VM runs, and in as many again once the VM is stopped.
 */
extern const VFIOUserModel *const vfio_user_mig_region;
#define VFIO_USER_MIG_REGION_PIECES 5

/*
 * The same for servers built on libvfio-user.  Those with migration v2 have
 * 1.5 MB of state; vfio_user_mig_small_2026 has that of
 * vfio_user_mig_stop_copy.
 */
extern const VFIOUserModel *const vfio_user_mig_stop_copy_2026;
extern const VFIOUserModel *const vfio_user_mig_pre_copy_2026;
extern const VFIOUserModel *const vfio_user_mig_small_2026;
extern const VFIOUserModel *const vfio_user_mig_region_2022;

/*
 * Maximum bytes returned by one read of the state.  Not valid for the small
 * one.
 */
uint32_t vfio_user_mig_most_read(const VFIOUserModel *model);

/* Minimum bytes that the model saves. */
uint64_t vfio_user_mig_state_size(const VFIOUserModel *model);

/*
 * Converts the opaque data of a test, a pointer to one of the pointers above,
 * to a model.
 */
const VFIOUserModel *vfio_user_mig_model_of(const void *opaque);

/**
 * vfio_user_mig_vm_new:
 * @models: one per device
 * @rules: of the first device's server; may be NULL
 * @timeout_ms: of a call; 0: long enough for any well-behaved server
 *
 * Returns a VM that waits for an incoming migration.
 */
VFIOUserMigVM *vfio_user_mig_vm_new(const VFIOUserModel *const *models,
                                    unsigned devices,
                                    const VFIOUserRule *rules,
                                    unsigned timeout_ms);

/* Returns a running VM with its devices enabled. */
VFIOUserMigVM *vfio_user_mig_vm_run(const VFIOUserModel *const *models,
                                    unsigned devices, unsigned timeout_ms);

/* The same with one device, whose server applies @rules from the start. */
VFIOUserMigVM *vfio_user_mig_vm_run_faulty(const VFIOUserModel *model,
                                           const VFIOUserRule *rules,
                                           unsigned timeout_ms);

/*
 * The same two with one device each, and the machine and memory options @ram.
 */
VFIOUserMigVM *vfio_user_mig_vm_new_with(const VFIOUserModel *model,
                                         const char *ram);
VFIOUserMigVM *vfio_user_mig_vm_run_with(const VFIOUserModel *model,
                                         const char *ram);

/* The same two with one device each, and memory shared with the server. */
VFIOUserMigVM *vfio_user_mig_vm_new_shared(const VFIOUserModel *model);
VFIOUserMigVM *vfio_user_mig_vm_run_shared(const VFIOUserModel *model);

/* The latter with a timeout of a call. */
VFIOUserMigVM *vfio_user_mig_vm_run_impatient(const VFIOUserModel *model,
                                              unsigned timeout_ms);

/* The same two with one device each, and the further options @others. */
VFIOUserMigVM *vfio_user_mig_vm_new_beside(const VFIOUserModel *model,
                                           const char *others);
VFIOUserMigVM *vfio_user_mig_vm_run_beside(const VFIOUserModel *model,
                                           const char *others);
void vfio_user_mig_vm_free(VFIOUserMigVM *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserMigVM, vfio_user_mig_vm_free)

/* Fills the devices' memory from @seed, with writes of the guest. */
void vfio_user_mig_vm_fill(VFIOUserMigVM *vm, uint32_t seed);

/*
 * A running VM with one device, whose memory is filled and whose server's log
 * is empty; and the VM that it migrates to.
 */
VFIOUserMigVM *vfio_user_mig_source(const VFIOUserModel *model, uint32_t seed);
VFIOUserMigVM *vfio_user_mig_destination(const VFIOUserModel *model);

/*
 * Fails the test unless the guest reads from its devices what @seed filled in.
 */
void vfio_user_mig_vm_check(VFIOUserMigVM *vm, uint32_t seed);
void vfio_user_mig_vm_check_device(VFIOUserMigVM *vm, unsigned device,
                                   uint32_t seed);

/* Sets the downtime limit, ms; 0: no data may remain for the downtime. */
void vfio_user_mig_downtime(VFIOUserMigVM *vm, unsigned ms);

/* Returns the migration address for @vm to listen on. */
char *vfio_user_mig_uri(VFIOUserMigVM *vm);

/* Migration commands; they must succeed. */
void vfio_user_mig_capability(VFIOUserMigVM *vm, const char *name);
/* Returns false if the host lacks the capability. */
bool vfio_user_mig_try_capability(VFIOUserMigVM *vm, const char *name,
                                  bool on);
void vfio_user_mig_set(VFIOUserMigVM *vm, const char *name, int64_t value);
void vfio_user_mig_listen(VFIOUserMigVM *vm, const char *uri);
/* The same with exit-on-error off. */
void vfio_user_mig_listen_and_stay(VFIOUserMigVM *vm, const char *uri);
void vfio_user_mig_start(VFIOUserMigVM *vm, const char *uri);

/* Migrates to nowhere, as soon as the VM allows it. */
void vfio_user_mig_start_when_allowed(VFIOUserMigVM *vm);

/*
 * Fails the test unless migration is refused because of @vm's device, with the
 * reason @why.
 */
void vfio_user_mig_refused(VFIOUserMigVM *vm, const char *why);
void vfio_user_mig_refused_to(VFIOUserMigVM *vm, const char *uri,
                              const char *why);

/* Waits until query-migrate returns @status. */
void vfio_user_mig_wait(VFIOUserMigVM *vm, const char *status);

/* Waits until the total time of the migration reaches @ms. */
void vfio_user_mig_wait_time(VFIOUserMigVM *vm, int64_t ms);

/* Waits until the VM runs. */
void vfio_user_mig_wait_running(VFIOUserMigVM *vm);

/* Returns the address that the listening @vm has chosen: "tcp:HOST:PORT". */
char *vfio_user_mig_address(VFIOUserMigVM *vm);

/* Passes @fd to QEMU under the name "given" and closes it here. */
void vfio_user_mig_give(VFIOUserMigVM *vm, int fd);

/* Starts to cancel the migration. */
void vfio_user_mig_cancel(VFIOUserMigVM *vm);

/* Waits until the VM has left @from and runs at @to. */
void vfio_user_mig_arrive(VFIOUserMigVM *from, VFIOUserMigVM *to);

/* Quits QEMU; the servers stay. */
void vfio_user_mig_vm_quit(VFIOUserMigVM *vm);

/*
 * Returns a VM that waits for an incoming migration and uses the servers of
 * @vm, which has quit.
 */
VFIOUserMigVM *vfio_user_mig_vm_take_over(VFIOUserMigVM *vm);

/* Migrates from @from, where the VM runs, to @to over a UNIX socket. */
void vfio_user_mig_move(VFIOUserMigVM *from, VFIOUserMigVM *to);

/* Returns the bytes of device state that query-migrate reports. */
int64_t vfio_user_mig_bytes(VFIOUserMigVM *vm);

/* Returns QEMU's messages so far. */
char *vfio_user_mig_said(VFIOUserMigVM *vm);

/* Returns the error that query-migrate reports, or NULL. */
char *vfio_user_mig_reason(VFIOUserMigVM *vm);

/* Returns both, concatenated. */
char *vfio_user_mig_why(VFIOUserMigVM *vm);

/*
 * Fails the test unless query-migrate reports that @what ("saving", "loading")
 * @device failed, with a reason.  The log contains that message at most once.
 */
void vfio_user_mig_check_why(VFIOUserMigVM *vm, const char *what,
                             unsigned device);

/* Waits until QEMU exits with status 1; returns its messages. */
char *vfio_user_mig_ended(VFIOUserMigVM *vm);

#endif /* TESTS_QTEST_VFIO_USER_MIGRATION_RIG_H */
