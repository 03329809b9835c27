/*
 * Migration of the device behind the scripted vfio-user server
 *
 * Migration v2 of a well-behaved server: device states, saved and loaded data,
 * DMA_LOGGING.  The saved data is filler of any size, followed by the contents
 * of BAR 0 and BAR 2.  As strict as libvfio-user: a stopped device accepts no
 * other command.
 *
 * Takes no lock: the server calls with its own lock held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_MIGRATION_MODEL_H
#define TESTS_QTEST_VFIO_USER_MIGRATION_MODEL_H

#include "hw/vfio/user/migration-arcs.h"
#include "vfio-user-personality.h"
#include "vfio-user-record.h"

#define VFIO_USER_MODEL_STOP_COPY 1     /* flags of the feature MIGRATION */
#define VFIO_USER_MODEL_P2P 2
#define VFIO_USER_MODEL_PRE_COPY 4

/* The data grows as fast as it is read. */
#define VFIO_USER_MODEL_ENDLESS UINT64_MAX

typedef struct VFIOUserMigrationModel {
    uint64_t flags;             /* 0: no migration v2 */
    uint64_t filling;           /* bytes */
    uint64_t pre_copy;          /* bytes of the filler read in PRE_COPY */
    uint64_t grows;             /* bytes per second added in PRE_COPY */
    uint32_t refuses;           /* states it refuses, a bit each */
    uint32_t breaks;            /* states that lead to ERROR, a bit each */
    VFIOUserRecordModel record; /* for DMA_LOGGING */
} VFIOUserMigrationModel;

struct VFIOUserDevice;

typedef struct VFIOUserMigrating {
    const VFIOUserMigrationModel *model;
    const VFIOUserPersonality *habits;
    struct VFIOUserDevice *dev;
    VFIOUserMigState state;
    uint64_t at;                /* offset in the saved data */
    uint64_t filling;           /* current size in bytes */
    int64_t since;              /* start of PRE_COPY, us */
    GByteArray *sink;           /* data written so far */
    bool ignores_data;                /* reset in RESUMING: data is ignored */
    VFIOUserRecord *record;     /* dirty pages */
} VFIOUserMigrating;

void vfio_user_migrating_init(VFIOUserMigrating *m, struct VFIOUserDevice *dev,
                              const VFIOUserMigrationModel *model,
                              const VFIOUserPersonality *habits);
void vfio_user_migrating_clear(VFIOUserMigrating *m);

/* Resets the device, or the client has disconnected: the device runs. */
void vfio_user_migrating_reset(VFIOUserMigrating *m);

/*
 * Resets the device of a server that keeps the migration state.  The data
 * loaded so far is lost, and further data is ignored until the next state
 * change.  If the server also keeps the data, only ERROR is left.
 */
void vfio_user_migrating_reset_keep_state(VFIOUserMigrating *m);

/* Whether the device runs, so that it may do DMA and signal interrupts. */
bool vfio_user_migrating_runs(const VFIOUserMigrating *m);

/* Whether the device accepts the command in its state. */
bool vfio_user_migrating_accepts(const VFIOUserMigrating *m, uint16_t command);

/* DEVICE_FEATURE, MIG_DATA_READ and MIG_DATA_WRITE: 0 or -errno. */
int vfio_user_migrating_answer(VFIOUserMigrating *m, VFIOUserPacket *request,
                               VFIOUserPacket *reply);

#endif /* TESTS_QTEST_VFIO_USER_MIGRATION_MODEL_H */
