/*
 * Personalities of the scripted vfio-user server
 *
 * The habits of released servers as data: a row per server, a field per habit.
 * A model without a personality follows the text of the specification.  A
 * habit is implemented where its command is answered, in vfio-user-model*.c
 * and vfio-user-migration-model.c.  Faults, which no released server has, are
 * rules (vfio-user-rules.h).
 *
 * There is no field for one client at a time: all servers leave further
 * clients in the queue of the listening socket, and so does the scripted
 * server.
 *
 * Pure data.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_PERSONALITY_H
#define TESTS_QTEST_VFIO_USER_PERSONALITY_H

typedef struct VFIOUserPersonality {
    const char *name;           /* server's name, used in test names */
    const char *version;        /* JSON; NULL: the model's */

    /* Requests */
    bool one_recv;              /* reads a body with a single recv() */
    bool undrained;             /* leaves unknown payloads unread */

    /* Migration v2 */
    bool pads_reads;            /* pads MIG_DATA_READ to the asked size */
    uint32_t most_read;         /* limit of MIG_DATA_READ; 0: none */
    bool keeps_state;           /* DEVICE_RESET keeps migration state */
    bool keeps_data;            /* and the data loaded so far */
    bool no_migration2;         /* lacks DEVICE_FEATURE */
    bool no_migration1;         /* lacks DIRTY_PAGES */

    /* Memory */
    bool short_unmap;           /* the DMA_UNMAP reply is only a header */
    uint64_t map_align;         /* ignores maps not aligned to this */
    uint32_t most_maps;         /* 0: no limit */

    bool no_messages;           /* cannot do DMA by message */

    /* PCI */
    bool resets_config;         /* an FLR resets configuration space */
    bool signals_rise;          /* INTx is edge triggered */
    bool no_msi_beside;         /* has no MSI if it has MSI-X */
    bool flagless_msix;         /* DEVICE_GET_IRQ_INFO: 0 for MSI-X */
    bool fixed_rom;             /* the ROM BAR cannot be sized */
} VFIOUserPersonality;

/* What a test may require of a server. */
typedef enum VFIOUserNeeds {
    VFIO_USER_NEEDS_MAPS = 1,       /* uses every map it receives */
    VFIO_USER_NEEDS_MESSAGES = 2,   /* does DMA by message */
    VFIO_USER_NEEDS_MIGRATION1 = 4,
    VFIO_USER_NEEDS_MIGRATION2 = 8,
} VFIOUserNeeds;

/* The last row has no name. */
extern const VFIOUserPersonality vfio_user_personalities[];

/* Looks up a personality.  Fails the test if there is none with that name. */
const VFIOUserPersonality *vfio_user_personality(const char *name);

/* Whether such a server meets @needs, which may be 0. */
bool vfio_user_personality_meets(const VFIOUserPersonality *personality,
                                 VFIOUserNeeds needs);

#endif /* TESTS_QTEST_VFIO_USER_PERSONALITY_H */
