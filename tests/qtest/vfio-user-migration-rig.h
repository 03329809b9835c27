/*
 * Test rig of migration: VMs with vfio-user devices, from one to another
 *
 * Each VM has a scripted server of its own per device, and its messages go to
 * a file that tests look into.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_MIGRATION_RIG_H
#define TESTS_QTEST_VFIO_USER_MIGRATION_RIG_H

#include "vfio-user-rig.h"

#define VFIO_USER_MIG_DEVICES 2

/* A call to a server that does not answer takes this long, ms. */
#define VFIO_USER_MIG_TIMEOUT_MS 600

typedef struct VFIOUserMigVM {
    QTestState *qts;
    unsigned devices;
    VFIOUserServer *server[VFIO_USER_MIG_DEVICES];
    unsigned bar_nr[VFIO_USER_MIG_DEVICES];     /* which BAR is saved */
    uint64_t bar[VFIO_USER_MIG_DEVICES];        /* where that is */
    char *dir;
    char *log;                  /* file of what it says */
} VFIOUserMigVM;

/* The honest device with some filling, by what the server can do. */
extern const VFIOUserModel *const vfio_user_mig_stop_copy;
extern const VFIOUserModel *const vfio_user_mig_pre_copy;

/*
 * The honest device of the first generation.  What it saves comes in so many
 * pieces, while the VM runs and again once it has stopped.
 */
extern const VFIOUserModel *const vfio_user_mig_region;
#define VFIO_USER_MIG_REGION_PIECES 5

/*
 * The same for servers built on libvfio-user.  Those with migration v2 have
 * 1.5 MB of state, except for the last, which is vfio_user_mig_stop_copy.
 */
extern const VFIOUserModel *const vfio_user_mig_stop_copy_2026;
extern const VFIOUserModel *const vfio_user_mig_pre_copy_2026;
extern const VFIOUserModel *const vfio_user_mig_small_2026;
extern const VFIOUserModel *const vfio_user_mig_region_2022;

/* Bytes that one read of its state brings, at most; not of the small one. */
uint32_t vfio_user_mig_most_read(const VFIOUserModel *model);

/* Bytes that it saves, at least. */
uint64_t vfio_user_mig_state_size(const VFIOUserModel *model);

/* The model that the data of a test lead to, a pointer as those above. */
const VFIOUserModel *vfio_user_mig_model_of(const void *opaque);

/**
 * vfio_user_mig_vm_new:
 * @models: of its devices
 * @rules: of the first device's server, or NULL
 * @timeout_ms: of a call; 0: long enough for any honest server
 *
 * A VM that waits for a migration.
 */
VFIOUserMigVM *vfio_user_mig_vm_new(const VFIOUserModel *const *models,
                                    unsigned devices,
                                    const VFIOUserRule *rules,
                                    unsigned timeout_ms);

/* A VM that runs, its devices enabled. */
VFIOUserMigVM *vfio_user_mig_vm_run(const VFIOUserModel *const *models,
                                    unsigned devices, unsigned timeout_ms);

/* Likewise with one device, by @rules from the beginning. */
VFIOUserMigVM *vfio_user_mig_vm_run_faulty(const VFIOUserModel *model,
                                           const VFIOUserRule *rules,
                                           unsigned timeout_ms);

/* Likewise with one device each, and the machine and memory that @ram says. */
VFIOUserMigVM *vfio_user_mig_vm_new_with(const VFIOUserModel *model,
                                         const char *ram);
VFIOUserMigVM *vfio_user_mig_vm_run_with(const VFIOUserModel *model,
                                         const char *ram);

/* Likewise with one device each, and memory that is shared with the server. */
VFIOUserMigVM *vfio_user_mig_vm_new_shared(const VFIOUserModel *model);
VFIOUserMigVM *vfio_user_mig_vm_run_shared(const VFIOUserModel *model);

/* Likewise with one device, and what else @others says. */
VFIOUserMigVM *vfio_user_mig_vm_new_beside(const VFIOUserModel *model,
                                           const char *others);
VFIOUserMigVM *vfio_user_mig_vm_run_beside(const VFIOUserModel *model,
                                           const char *others);
void vfio_user_mig_vm_free(VFIOUserMigVM *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserMigVM, vfio_user_mig_vm_free)

/* Fills the devices' memory from @seed, by the guest. */
void vfio_user_mig_vm_fill(VFIOUserMigVM *vm, uint32_t seed);

/*
 * A VM with one device that runs, the device's memory filled and the server's
 * log empty; and the VM that it migrates to.
 */
VFIOUserMigVM *vfio_user_mig_source(const VFIOUserModel *model, uint32_t seed);
VFIOUserMigVM *vfio_user_mig_destination(const VFIOUserModel *model);

/* Fails the test unless the guest finds in its devices what @seed filled. */
void vfio_user_mig_vm_check(VFIOUserMigVM *vm, uint32_t seed);
void vfio_user_mig_vm_check_device(VFIOUserMigVM *vm, unsigned device,
                                   uint32_t seed);

/* How long the VM may stand still, ms; 0: nothing is left for then. */
void vfio_user_mig_downtime(VFIOUserMigVM *vm, unsigned ms);

/* The address at which @vm listens, or may. */
char *vfio_user_mig_uri(VFIOUserMigVM *vm);

/* Orders; must succeed. */
void vfio_user_mig_capability(VFIOUserMigVM *vm, const char *name);
/* Returns false where the host lacks it. */
bool vfio_user_mig_try_capability(VFIOUserMigVM *vm, const char *name,
                                  bool on);
void vfio_user_mig_set(VFIOUserMigVM *vm, const char *name, int64_t value);
void vfio_user_mig_listen(VFIOUserMigVM *vm, const char *uri);
/* Likewise; it stays, whatever comes. */
void vfio_user_mig_listen_and_stay(VFIOUserMigVM *vm, const char *uri);
void vfio_user_mig_start(VFIOUserMigVM *vm, const char *uri);

/* Fails the test unless a migration is refused for @vm's device, for @why. */
void vfio_user_mig_refused(VFIOUserMigVM *vm, const char *why);
void vfio_user_mig_refused_to(VFIOUserMigVM *vm, const char *uri,
                              const char *why);

/* Waits for a status of query-migrate. */
void vfio_user_mig_wait(VFIOUserMigVM *vm, const char *status);

/* Waits until the migration has taken so long. */
void vfio_user_mig_wait_time(VFIOUserMigVM *vm, int64_t ms);

/* Waits until the VM runs. */
void vfio_user_mig_wait_running(VFIOUserMigVM *vm);

/* The address that @vm, told to listen, has found itself; "tcp:HOST:PORT". */
char *vfio_user_mig_address(VFIOUserMigVM *vm);

/* Gives QEMU a descriptor, by the name "given"; closes ours. */
void vfio_user_mig_give(VFIOUserMigVM *vm, int fd);

/* Begins to cancel. */
void vfio_user_mig_cancel(VFIOUserMigVM *vm);

/* Waits until the VM has left @from and runs at @to. */
void vfio_user_mig_arrive(VFIOUserMigVM *from, VFIOUserMigVM *to);

/* Ends QEMU; the servers stay. */
void vfio_user_mig_vm_quit(VFIOUserMigVM *vm);

/* A VM that waits for a migration, with the servers of one that has quit. */
VFIOUserMigVM *vfio_user_mig_vm_take_over(VFIOUserMigVM *vm);

/* The VM runs at @from, and at @to once it is migrated there by unix:. */
void vfio_user_mig_move(VFIOUserMigVM *from, VFIOUserMigVM *to);

/* Bytes of devices that query-migrate counts. */
int64_t vfio_user_mig_bytes(VFIOUserMigVM *vm);

/* What the VM said so far. */
char *vfio_user_mig_said(VFIOUserMigVM *vm);

/* Why its migration has failed, as query-migrate says, or NULL. */
char *vfio_user_mig_reason(VFIOUserMigVM *vm);

/* Both, one behind the other. */
char *vfio_user_mig_why(VFIOUserMigVM *vm);

/*
 * Fails the test unless query-migrate says that @what ("saving", "loading")
 * @device has failed, and why.  The log has that once, or does not have it yet.
 */
void vfio_user_mig_check_why(VFIOUserMigVM *vm, const char *what,
                             unsigned device);

/* Waits until QEMU has ended, with status 1; returns what it said. */
char *vfio_user_mig_ended(VFIOUserMigVM *vm);

#endif /* TESTS_QTEST_VFIO_USER_MIGRATION_RIG_H */
