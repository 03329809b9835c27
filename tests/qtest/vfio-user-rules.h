/*
 * Rules of the scripted vfio-user server
 *
 * A rule is a line of data: WHEN a message arrives, DO one thing.
 *
 *     rule := { when, deed [, number [, data]] }
 *     when := ON(command [, at] [, .nth = n])
 *     at   := AT(index)            region, or index of an IRQ, or device_state
 *                                  of a SET of MIG_DEVICE_STATE
 *           | AT_OFFSET(region, offset)
 *           | AT_FEATURE(flags)    of a DEVICE_FEATURE: which, and the deed
 *     data := BYTES(byte, ...) | TEXT("...") | STRUCT(type, member, ...)
 *
 * Command is one of wire.h, VFIO_USER_ANY, or VFIO_USER_CONNECT for the
 * moment at which a client has connected and said nothing.  Without nth a
 * rule applies every time, with it only the nth time that its "when" holds,
 * counted from 1.  Rules stand in an array that ends with an empty one.  All
 * that match apply, top down, each to the answer as those above it left it:
 *
 *     static const VFIOUserRule rules[] = {
 *         { ON(VFIO_USER_REGION_READ, AT_OFFSET(0, 16)), DO_LENGTH, 4 },
 *         { ON(VFIO_USER_REGION_READ, .nth = 3), DO_CUT, 7 },
 *         { }
 *     };
 *
 * What a rule does to an answer is done here; what it does to the server
 * (requests, stalls), the server does.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_RULES_H
#define TESTS_QTEST_VFIO_USER_RULES_H

#include "vfio-user-packet.h"

#define VFIO_USER_CONNECT 0
#define VFIO_USER_ANY 0xffff

/* Which messages. */
typedef struct VFIOUserWhen {
    uint16_t command;
    bool by_index;
    bool by_offset;
    uint32_t index;
    uint64_t offset;
    unsigned nth;
} VFIOUserWhen;

#define ON(...) { __VA_ARGS__ }
#define AT(i) .by_index = true, .index = (i)
#define AT_OFFSET(i, o) AT(i), .by_offset = true, .offset = (o)
#define AT_FEATURE(f) .by_offset = true, .offset = (f)

/* What is done; n is the rule's number, data its data. */
typedef enum VFIOUserDeed {
    DO_END,          /* of the array */

    /* the answer says something else */
    DO_FAIL,         /* errno n, no payload */
    DO_FLAGS,        /* the header's flags are n */
    DO_ID,           /* the header's id is n more */
    DO_COMMAND,      /* the header's command is n */
    DO_SIZE,         /* the header's size is n, and it is a lie */
    DO_LENGTH,       /* payload cut or filled with zeros to n bytes */
    DO_PAYLOAD,      /* the payload is the data */
    DO_PATCH,        /* the data lie over the payload at n */
    DO_FDS,          /* n more descriptors */
    DO_PASS,         /* one more descriptor, a copy of n */

    /* the answer comes otherwise */
    DO_DROP,         /* never */
    DO_HOLD,         /* at vfio_user_server_release() */
    DO_ANYWAY,       /* although No_reply was set */
    DO_REPEAT,       /* n times more */
    DO_SPLIT,        /* n bytes at a time */
    DO_CUT,          /* after n bytes of it the connection ends */

    /* something else comes as well */
    DO_SEND,         /* the data, before the answer */
    DO_ASK,          /* request n of the server; the answer follows its reply */
    DO_ASK_ALSO,     /* likewise, but the answer does not wait */
    DO_STALL,        /* nothing is read any more until release */
    DO_DELAY,        /* nothing is read or answered for n ms */
    DO_CONFIG,       /* config space holds the data at n */
} VFIOUserDeed;

typedef struct VFIOUserData {
    const void *bytes;
    size_t size;
} VFIOUserData;

#define BYTES(...) \
    { (const uint8_t[]) { __VA_ARGS__ }, sizeof((uint8_t[]) { __VA_ARGS__ }) }
#define STRUCT(type, ...) { &(const type) { __VA_ARGS__ }, sizeof(type) }
#define TEXT(text) { (text), sizeof(text) }

typedef struct VFIOUserRule {
    VFIOUserWhen when;
    VFIOUserDeed deed;
    uint64_t number;
    VFIOUserData data;
} VFIOUserRule;

/* What is to be sent, and how. */
typedef struct VFIOUserAnswer {
    VFIOUserPacket packet;
    bool silent;                /* not at all */
    bool held;                  /* not yet */
    bool lies;                  /* header.size is as a rule wants it */
    uint64_t chunk;             /* bytes at a time */
    uint64_t cut;               /* bytes after which the connection ends */
    uint64_t repeat;            /* times more */
} VFIOUserAnswer;

/* An answer to @request that is sent at once, as a whole. */
void vfio_user_answer_init(VFIOUserAnswer *answer,
                           const VFIOUserHeader *request);
void vfio_user_answer_clear(VFIOUserAnswer *answer);

/**
 * vfio_user_answer_apply:
 *
 * Returns false where the deed is none that is done to an answer.
 */
bool vfio_user_answer_apply(VFIOUserAnswer *answer, const VFIOUserRule *rule);

/**
 * vfio_user_answer_send:
 *
 * Returns false where the connection has ended or is to end.
 */
bool vfio_user_answer_send(int conn, VFIOUserAnswer *answer);

/**
 * vfio_user_when_holds:
 * @payload: @length bytes, or the first of them
 *
 * Looks at everything but nth.
 */
bool vfio_user_when_holds(const VFIOUserWhen *when, uint16_t command,
                          const void *payload, size_t length);

#endif /* TESTS_QTEST_VFIO_USER_RULES_H */
