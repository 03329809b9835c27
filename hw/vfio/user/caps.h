/*
 * vfio-user version capabilities
 *
 * Formats the proposed capabilities of VERSION as JSON, and parses the server's
 * reply.  Pure functions: no sockets and no state.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_CAPS_H
#define HW_VFIO_USER_CAPS_H

/*
 * Filled once, by vfio_user_caps_parse(), and never changed afterwards: any
 * thread may read it.  The limits apply to messages of the client.
 */
typedef struct VFIOUserCaps {
    uint16_t major;
    uint16_t minor;
    uint32_t max_msg_fds;           /* descriptors in one message */
    uint64_t max_data_xfer_size;    /* bytes of data in one message */
    uint32_t max_dma_maps;          /* maps valid at one time */
    uint64_t pgsizes;               /* or'ed page sizes of DMA maps */
    bool write_multiple;            /* REGION_WRITE_MULTI is supported */
    bool twin_socket;               /* second socket for server requests */
    uint32_t twin_fd_index;         /* index of its descriptor in the reply */
    bool migration;                 /* "migration" is present */
    uint64_t migration_pgsize;      /* bytes per bit of a dirty bitmap */
    uint64_t max_bitmap_size;       /* bytes of one dirty bitmap */
} VFIOUserCaps;

/* The capabilities that the client proposes. */
extern const VFIOUserCaps vfio_user_caps_proposed;

/**
 * vfio_user_caps_to_json:
 *
 * Returns the "version data" for @caps, to be freed by the caller.
 * Specification: "VFIO_USER_VERSION".
 */
char *vfio_user_caps_to_json(const VFIOUserCaps *caps);

/**
 * vfio_user_caps_max_request:
 *
 * Returns the maximum number of data bytes in a request of the client, for any
 * command.  A reply may have max_data_xfer_size bytes.
 */
uint32_t vfio_user_caps_max_request(const VFIOUserCaps *caps);

/**
 * vfio_user_caps_parse:
 * @proposed: the capabilities that the client proposed
 * @payload: of the server's VERSION reply
 * @size: bytes of @payload, at least those of VFIOUserVersion
 * @caps: set to the negotiated capabilities; unchanged on failure
 *
 * A missing capability has its default.  A value above the proposed one is
 * limited to it.  Unknown capabilities are ignored.
 *
 * Returns true, or false with @errp set: another major version, a higher minor
 * version than proposed, not a JSON object, or a value with the wrong type or
 * out of range.
 */
bool vfio_user_caps_parse(const VFIOUserCaps *proposed,
                          const void *payload, size_t size,
                          VFIOUserCaps *caps, Error **errp);

#endif /* HW_VFIO_USER_CAPS_H */
