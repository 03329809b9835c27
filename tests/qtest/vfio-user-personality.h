/*
 * Personalities of the scripted vfio-user server
 *
 * The habits of released servers, as data: a row per server, a field per
 * habit.  A model without a personality answers by the text of the
 * specification.  What a habit does is implemented where the command is
 * answered, in vfio-user-model*.c and vfio-user-migration-model.c; faults,
 * which no released server has, are rules (vfio-user-rules.h).
 *
 * One client at a time is no field: all of them leave others in the listening
 * socket's queue, and so does the scripted server.
 *
 * Pure data.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_PERSONALITY_H
#define TESTS_QTEST_VFIO_USER_PERSONALITY_H

typedef struct VFIOUserPersonality {
    const char *name;           /* of the server, in the names of tests */
    const char *version;        /* JSON; NULL: the model's */

    /* Requests */
    bool one_recv;              /* a body is what the first recv() returns */
    bool undrained;             /* an unknown command's payload stays unread */

    /* Migration v2 */
    bool pads_reads;            /* MIG_DATA_READ: as long as was asked for */
    uint32_t most_read;         /* bytes in one MIG_DATA_READ; 0: any number */
    bool keeps_state;           /* DEVICE_RESET: says so, the device does not */
    bool no_migration2;         /* knows no DEVICE_FEATURE */
    bool no_migration1;         /* knows no DIRTY_PAGES */

    /* Memory */
    bool short_unmap;           /* DMA_UNMAP is answered by a header only */
    uint64_t map_align;         /* maps that are not aligned are not used */
    uint32_t most_maps;         /* 0: any number */

    bool no_messages;           /* no DMA without a descriptor */

    /* PCI */
    bool resets_config;         /* an FLR puts configuration space back */
    bool signals_rise;          /* INTx once, however long the pin stays up */
    bool no_msi_beside;         /* MSI-X: offers no MSI */
    bool flagless_msix;         /* DEVICE_GET_IRQ_INFO: MSI-X has flags 0 */
    bool fixed_rom;             /* the ROM BAR ignores the sizing write */
} VFIOUserPersonality;

/* What a test may need of a server. */
typedef enum VFIOUserNeeds {
    VFIO_USER_NEEDS_MAPS = 1,       /* uses each map that it is given */
    VFIO_USER_NEEDS_MESSAGES = 2,   /* reaches other memory by message */
    VFIO_USER_NEEDS_MIGRATION1 = 4,
    VFIO_USER_NEEDS_MIGRATION2 = 8,
} VFIOUserNeeds;

/* Ends with a row without name. */
extern const VFIOUserPersonality vfio_user_personalities[];

/* Fails the test if no personality has that name. */
const VFIOUserPersonality *vfio_user_personality(const char *name);

/* Whether such a server has all that is needed; @needs may be 0. */
bool vfio_user_personality_meets(const VFIOUserPersonality *personality,
                                 VFIOUserNeeds needs);

#endif /* TESTS_QTEST_VFIO_USER_PERSONALITY_H */
