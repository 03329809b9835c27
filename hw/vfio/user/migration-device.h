/*
 * vfio-user migration: state and data of the server's device
 *
 * The functions to change the device's state and to read and write its data.
 * The messages of migration v1 and v2 are two tables of operations.  The struct
 * stores the device's state, or that the state is uncertain.
 *
 * Threads: one at a time; the owner of the struct is responsible for that.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_DEVICE_H
#define HW_VFIO_USER_MIGRATION_DEVICE_H

#include "hw/vfio/user/device.h"
#include "hw/vfio/user/migration-arcs.h"
#include "hw/vfio/user/migration-window.h"
#include "hw/vfio/user/migration-writes.h"

/* Capabilities of a server: flags of v2's feature MIGRATION. */
#define VFIO_USER_MIG_HAS_STOP_COPY (1u << 0)
#define VFIO_USER_MIG_HAS_PRE_COPY  (1u << 2)

typedef struct VFIOUserMigDevice VFIOUserMigDevice;

/* A part of the device's state data, the result of one read. */
typedef struct VFIOUserMigPiece {
    const uint8_t *data;
    uint32_t size;              /* 0: the end; in PRE_COPY only for now */
    bool more;                  /* the rest of the chunk follows */
    bool is_short;              /* shorter than requested */
    bool begun;                 /* @call is in flight, no other field is set */
    VFIOUserCall call;          /* owns the data if it came by message */
    uint8_t *bytes;             /* owns the data if it was read from a file */
} VFIOUserMigPiece;

void vfio_user_mig_piece_free(VFIOUserMigPiece *piece);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserMigPiece, vfio_user_mig_piece_free)

/*
 * A migration version.  The operations return 0, or -errno with @errp set,
 * except where noted.
 */
typedef struct VFIOUserMigrationOps {
    unsigned version;
    const VFIOUserMigArcs *arcs;
    /* state of a completely loaded device until its VM runs */
    VFIOUserMigState loaded;

    /*
     * probe:
     * @flags: set to VFIO_USER_MIG_HAS_ flags
     *
     * Returns 1 if the server supports this version; 0 if it does not; -errno
     * with @errp set if the version is not usable or the probe failed.
     */
    int (*probe)(VFIOUserMigDevice *d, VFIODevice *vbasedev, uint64_t *flags,
                 Error **errp);
    int (*get_state)(VFIOUserMigDevice *d, VFIOUserMigState *state,
                     Error **errp);
    /* Changes the state along one arc. */
    int (*set_state)(VFIOUserMigDevice *d, VFIOUserMigState to, Error **errp);
    /* Number of bytes left to save; NULL: not supported by this version. */
    int (*pending)(VFIOUserMigDevice *d, uint64_t *bytes, Error **errp);
    /*
     * begin_read:
     * @piece: zeroed; read must follow if this succeeds
     *
     * Sends a request for the next read, if that can be sent now, and then sets
     * @piece->begun.  The device may leave its state meanwhile.
     */
    int (*begin_read)(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
                      Error **errp);
    /*
     * read:
     * @piece: zeroed or begun; owns the data
     */
    int (*read)(VFIOUserMigDevice *d, VFIOUserMigPiece *piece, Error **errp);
    /*
     * write:
     * @size: of @data, 1 or more
     * @more: the rest of the chunk follows with the next call
     *
     * Returns the number of bytes sent, which may be less than @size.  An error
     * may be that of an earlier write.  vfio_user_mig_finish_writes() must
     * follow the last write, vfio_user_mig_drop_writes() an error.
     */
    int (*write)(VFIOUserMigDevice *d, const uint8_t *data, size_t size,
                 bool more, Error **errp);
} VFIOUserMigrationOps;

/* v1: a region with registers, followed by a window for data. */
typedef struct VFIOUserMigRegion {
    const struct vfio_region_info *info;        /* owned by hw/vfio */
    VFIOUserMigWindow *window;  /* NULL: by message only */
    uint64_t pending;           /* bytes, before the last chunk was begun */
    uint64_t at;                /* offset of the chunk's next byte */
    uint64_t left;              /* bytes of the chunk left to read */
    uint64_t written;           /* bytes of the chunk that were sent */
} VFIOUserMigRegion;

struct VFIOUserMigDevice {
    VFIOUserDevice *udev;
    const VFIOUserMigrationOps *ops;
    VFIOUserMigState state;
    bool uncertain;             /* a change timed out; the state may be @told */
    VFIOUserMigState told;      /* the last state that was requested */

    VFIOUserMigWrites writes;
    uint32_t ask;               /* v2: bytes of the next read; 0: the maximum */
    VFIOUserMigRegion region;   /* v1 */
};

extern const VFIOUserMigrationOps vfio_user_mig_v1;
extern const VFIOUserMigrationOps vfio_user_mig_v2;

/**
 * vfio_user_mig_find:
 * @d: its @udev is set
 * @flags: set to VFIO_USER_MIG_HAS_ flags
 * @why_not: set if the server seems to support a version that is not usable;
 *           stays NULL if it supports none
 *
 * Finds out which version of migration the server supports, newest first, and
 * reads the device's state.
 *
 * Returns whether there is a usable version.
 */
bool vfio_user_mig_find(VFIOUserMigDevice *d, VFIODevice *vbasedev,
                        uint64_t *flags, Error **why_not);

/*
 * Uses a file of the region, or none if @fd is -1, for the areas that may be
 * mapped.
 */
void vfio_user_mig_open_window(VFIOUserMigDevice *d, int fd);
void vfio_user_mig_close_window(VFIOUserMigDevice *d);

/**
 * vfio_user_mig_renew_window:
 *
 * Maps the file again if it was too short before.  With the big QEMU lock,
 * before a device is saved or loaded.
 */
void vfio_user_mig_renew_window(VFIOUserMigDevice *d, VFIODevice *vbasedev);

/* The device is that of another server, and runs; see migration.h. */
void vfio_user_mig_resume(VFIOUserMigDevice *d, VFIODevice *vbasedev);

/**
 * vfio_user_mig_ask_state:
 *
 * Reads the device's state from the server; sets it to ERROR on failure.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_mig_ask_state(VFIOUserMigDevice *d, Error **errp);

/**
 * vfio_user_mig_set_state:
 * @to: RUNNING, STOP, STOP_COPY, RESUMING or PRE_COPY
 *
 * Changes the state arc by arc.  Leaves ERROR by a reset and warns about it.
 * If the server does not reply, waits no longer than for one call.  A request
 * that timed out is not repeated; the device's state is read first.
 *
 * Returns 0; or -errno with @errp set and with d->state set to the state that
 * the device has reached.
 */
int vfio_user_mig_set_state(VFIOUserMigDevice *d, VFIOUserMigState to,
                            Error **errp);

#endif /* HW_VFIO_USER_MIGRATION_DEVICE_H */
