/*
 * vfio-user version capabilities
 *
 * What the two sides of a connection agree on in VERSION: to JSON and from
 * JSON.  Pure functions: they know no sockets and keep no state.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_USER_CAPS_H
#define HW_VFIO_USER_CAPS_H

/*
 * Filled once, by vfio_user_caps_parse(), and never changed afterwards: any
 * thread may read it.  Numbers hold for what the client sends.
 */
typedef struct VFIOUserCaps {
    uint16_t major;
    uint16_t minor;
    uint32_t max_msg_fds;           /* descriptors in one message */
    uint64_t max_data_xfer_size;    /* bytes of data in one message */
    uint32_t max_dma_maps;          /* maps valid at one time */
    uint64_t pgsizes;               /* or'ed page sizes of DMA maps */
    bool write_multiple;            /* REGION_WRITE_MULTI is understood */
    bool twin_socket;               /* the server's requests have their own */
    uint32_t twin_fd_index;         /* which descriptor of the reply it is */
    bool migration;                 /* the object was there */
    uint64_t migration_pgsize;      /* bytes for which a dirty bit stands */
    uint64_t max_bitmap_size;       /* bytes of one dirty bitmap */
} VFIOUserCaps;

/* What the client proposes. */
extern const VFIOUserCaps vfio_user_caps_proposed;

/**
 * vfio_user_caps_to_json:
 *
 * Returns the "version data" that propose @caps, to be freed by the caller.
 * Specification: "VFIO_USER_VERSION".
 */
char *vfio_user_caps_to_json(const VFIOUserCaps *caps);

/**
 * vfio_user_caps_max_request:
 *
 * Returns how many bytes of data one request of the client may carry, whatever
 * its command.  A reply may carry max_data_xfer_size bytes.
 */
uint32_t vfio_user_caps_max_request(const VFIOUserCaps *caps);

/**
 * vfio_user_caps_parse:
 * @proposed: what the client proposed
 * @payload: of the server's VERSION reply
 * @size: bytes of it, at least those of VFIOUserVersion
 * @caps: where the agreement goes; untouched on failure
 *
 * A capability left out has its default, one above what was proposed is
 * clamped to it; an unknown one is ignored.
 *
 * Returns true, or false with @errp set: another major version, a minor one
 * above the proposal, text that is no JSON object, a value of the wrong type
 * or one that no server can mean.
 */
bool vfio_user_caps_parse(const VFIOUserCaps *proposed,
                          const void *payload, size_t size,
                          VFIOUserCaps *caps, Error **errp);

#endif /* HW_VFIO_USER_CAPS_H */
