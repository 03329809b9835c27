/*
 * Migration of the device behind the scripted vfio-user server
 *
 * The second generation, as an honest server speaks it: the states, the data
 * of saving and of loading, DMA_LOGGING.  What is saved is the contents of
 * BAR 0 and BAR 2 behind a filling of any size.  Strict as libvfio-user: a
 * stopped device takes no other command.
 *
 * Nothing here locks: the server calls with its own lock held.
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

/* It grows by whatever is asked for. */
#define VFIO_USER_MODEL_ENDLESS UINT64_MAX

typedef struct VFIOUserMigrationModel {
    uint64_t flags;             /* 0: the server knows no such thing */
    uint64_t filling;           /* bytes */
    uint64_t pre_copy;          /* bytes that PRE_COPY gives, of the filling */
    uint64_t grows;             /* bytes that PRE_COPY adds in a second */
    uint32_t refuses;           /* bit per state that it does not go to */
    uint32_t breaks;            /* bit per state instead of which it errs */
    VFIOUserRecordModel record; /* of DMA_LOGGING */
} VFIOUserMigrationModel;

struct VFIOUserDevice;

typedef struct VFIOUserMigrating {
    const VFIOUserMigrationModel *model;
    const VFIOUserPersonality *habits;
    struct VFIOUserDevice *dev;
    VFIOUserMigState state;
    uint64_t at;                /* of what is saved */
    uint64_t filling;           /* bytes, by now */
    int64_t since;              /* in PRE_COPY, us */
    GByteArray *sink;           /* what was written so far */
    bool adrift;                /* was reset, and only says that it loads */
    VFIOUserRecord *record;     /* of dirty pages */
} VFIOUserMigrating;

void vfio_user_migrating_init(VFIOUserMigrating *m, struct VFIOUserDevice *dev,
                              const VFIOUserMigrationModel *model,
                              const VFIOUserPersonality *habits);
void vfio_user_migrating_clear(VFIOUserMigrating *m);

/* A reset, or the end of the client: it runs. */
void vfio_user_migrating_reset(VFIOUserMigrating *m);

/*
 * A reset of a server that keeps the state.  Its device does not: what it had
 * loaded is void, and so is what comes until it is to load anew.
 */
void vfio_user_migrating_drift(VFIOUserMigrating *m);

/* Whether the device may work. */
bool vfio_user_migrating_runs(const VFIOUserMigrating *m);

/* Whether the device takes the command in its state. */
bool vfio_user_migrating_takes(const VFIOUserMigrating *m, uint16_t command);

/* DEVICE_FEATURE, MIG_DATA_READ and MIG_DATA_WRITE: 0 or -errno. */
int vfio_user_migrating_answer(VFIOUserMigrating *m, VFIOUserPacket *request,
                               VFIOUserPacket *reply);

#endif /* TESTS_QTEST_VFIO_USER_MIGRATION_MODEL_H */
