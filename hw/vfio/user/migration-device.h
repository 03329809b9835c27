/*
 * vfio-user migration: a server's device as it is moved through its states
 *
 * What saving and loading need of a server: the device's state and its data.
 * The messages are those of migration v1 or v2, each a table of operations.
 * Keeps where the device is and leaves it in a state that is known or said to
 * be unknown.
 *
 * Threads: one at a time; whoever owns the struct sees to that.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_MIGRATION_DEVICE_H
#define HW_VFIO_USER_MIGRATION_DEVICE_H

#include "hw/vfio/user/device.h"
#include "hw/vfio/user/migration-arcs.h"
#include "hw/vfio/user/migration-writes.h"

/* What a server can do; flags of v2's feature MIGRATION. */
#define VFIO_USER_MIG_HAS_STOP_COPY (1u << 0)
#define VFIO_USER_MIG_HAS_PRE_COPY  (1u << 2)

typedef struct VFIOUserMigDevice VFIOUserMigDevice;

/* Some bytes of a device's state. */
typedef struct VFIOUserMigPiece {
    const uint8_t *data;
    uint32_t size;              /* 0: the end, in PRE_COPY for now */
    bool more;                  /* the rest of a chunk comes next */
    bool is_short;              /* the server was asked for more */
    bool begun;                 /* @call is under way, nothing else is set */
    VFIOUserCall call;          /* has the data, if they came by message, */
    uint8_t *bytes;             /* and this does if they did not */
} VFIOUserMigPiece;

void vfio_user_mig_piece_free(VFIOUserMigPiece *piece);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VFIOUserMigPiece, vfio_user_mig_piece_free)

/*
 * A version of migration.  The operations return 0, or as they say, or -errno
 * with @errp set.
 */
typedef struct VFIOUserMigrationOps {
    unsigned version;
    const VFIOUserMigArcs *arcs;
    /* of a device that has all its data, until its VM runs */
    VFIOUserMigState loaded;

    /*
     * probe:
     * @flags: set to VFIO_USER_MIG_HAS_ flags
     *
     * Returns 1 where the server has this version; 0 where it has not; or
     * -errno with @errp set where it cannot be used, or nobody knows.
     */
    int (*probe)(VFIOUserMigDevice *d, VFIODevice *vbasedev, uint64_t *flags,
                 Error **errp);
    int (*get_state)(VFIOUserMigDevice *d, VFIOUserMigState *state,
                     Error **errp);
    /* Takes one arc. */
    int (*set_state)(VFIOUserMigDevice *d, VFIOUserMigState to, Error **errp);
    /* How many bytes there are to save; NULL: servers do not say. */
    int (*pending)(VFIOUserMigDevice *d, uint64_t *bytes, Error **errp);
    /*
     * begin_read:
     * @piece: zeroed; read must follow if this succeeds
     *
     * NULL: the version has no such thing.
     */
    int (*begin_read)(VFIOUserMigDevice *d, VFIOUserMigPiece *piece,
                      Error **errp);
    /*
     * read:
     * @piece: zeroed or begun; has its data until it is freed
     */
    int (*read)(VFIOUserMigDevice *d, VFIOUserMigPiece *piece, Error **errp);
    /*
     * write:
     * @size: of @data, 1 or more
     * @more: the rest of a chunk comes with the next call
     *
     * Returns how many bytes were sent, which may not be all.  An error may
     * be that of an older write; vfio_user_mig_finish_writes() must follow the
     * last one, or vfio_user_mig_drop_writes() an error.
     */
    int (*write)(VFIOUserMigDevice *d, const uint8_t *data, size_t size,
                 bool more, Error **errp);
} VFIOUserMigrationOps;

/* v1: a region whose registers are followed by a window for data. */
typedef struct VFIOUserMigRegion {
    const struct vfio_region_info *info;        /* hw/vfio's */
    int fd;                     /* of its mapped areas, hw/vfio's; or -1 */
    uint64_t at;                /* offset of the next byte of a chunk */
    uint64_t left;              /* bytes of the chunk that are to be read */
    uint64_t written;           /* bytes of the chunk that were sent */
} VFIOUserMigRegion;

struct VFIOUserMigDevice {
    VFIOUserDevice *udev;
    const VFIOUserMigrationOps *ops;
    VFIOUserMigState state;
    bool uncertain;             /* a change has timed out: it may be @told */
    VFIOUserMigState told;      /* where it was to go last */

    VFIOUserMigWrites writes;
    uint32_t ask;               /* v2: bytes of the next read; 0: any number */
    VFIOUserMigRegion region;   /* v1 */
};

extern const VFIOUserMigrationOps vfio_user_mig_v1;
extern const VFIOUserMigrationOps vfio_user_mig_v2;

/**
 * vfio_user_mig_find:
 * @d: its @udev is set
 * @flags: set to VFIO_USER_MIG_HAS_ flags
 * @why_not: what speaks against a version that the server seems to have; stays
 *           NULL where it has none
 *
 * Finds out which version of migration the server has, the newest first, and
 * in which state the device is.
 *
 * Returns whether there is one.
 */
bool vfio_user_mig_find(VFIOUserMigDevice *d, VFIODevice *vbasedev,
                        uint64_t *flags, Error **why_not);

/**
 * vfio_user_mig_ask_state:
 *
 * Takes the device's state from the server; ERROR where that cannot be had.
 *
 * Returns 0 or -errno with @errp set.
 */
int vfio_user_mig_ask_state(VFIOUserMigDevice *d, Error **errp);

/**
 * vfio_user_mig_set_state:
 * @to: RUNNING, STOP, STOP_COPY, RESUMING or PRE_COPY
 *
 * Takes arc after arc.  From ERROR by a reset, of which QEMU's user is told.
 * Waits no longer than one call may take for a server that does not answer.
 * What it was told and has not answered it is not told again before it has said
 * in which state the device is.
 *
 * Returns 0; or -errno with @errp set and d->state where the device has
 * stopped on its way.
 */
int vfio_user_mig_set_state(VFIOUserMigDevice *d, VFIOUserMigState to,
                            Error **errp);

#endif /* HW_VFIO_USER_MIGRATION_DEVICE_H */
