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
 *           | AT_FEATURE(flags)    flags of a DEVICE_FEATURE
 *     data := BYTES(byte, ...) | TEXT("...") | STRUCT(type, member, ...)
 *
 * Command is one of wire.h, VFIO_USER_ANY, or VFIO_USER_CONNECT, which matches
 * when a client has connected and has not sent anything yet.  Without nth a
 * rule applies to every match, with it only to the nth match, counted from 1.
 * Rules are an array that ends with an empty one.  All rules that match apply
 * in order, each to the answer that the previous ones left:
 *
 *     static const VFIOUserRule rules[] = {
 *         { ON(VFIO_USER_REGION_READ, AT_OFFSET(0, 16)), DO_LENGTH, 4 },
 *         { ON(VFIO_USER_REGION_READ, .nth = 3), DO_CUT, 7 },
 *         { }
 *     };
 *
 * This file applies rules to answers; the server applies those that affect the
 * server itself (requests, stalls).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_RULES_H
#define TESTS_QTEST_VFIO_USER_RULES_H

#include "vfio-user-packet.h"

#define VFIO_USER_CONNECT 0
#define VFIO_USER_ANY 0xffff

/* Which messages a rule applies to. */
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

/* The action; n is the rule's number, data its data. */
typedef enum VFIOUserDeed {
    DO_END,          /* end of the array */

    /* modify the answer */
    DO_FAIL,         /* error reply: errno n, no payload */
    DO_FLAGS,        /* the header's flags are n */
    DO_ID,           /* the header's id is n more */
    DO_COMMAND,      /* the header's command is n */
    DO_SIZE,         /* the header's size is n, whatever the payload */
    DO_LENGTH,       /* truncate or zero-extend the payload to n bytes */
    DO_PAYLOAD,      /* replace the payload by the data */
    DO_PATCH,        /* overwrite the payload at n with the data */
    DO_FDS,          /* pass n more descriptors */
    DO_PASS,         /* pass a duplicate of descriptor n */

    /* deliver the answer differently */
    DO_DROP,         /* do not answer */
    DO_HOLD,         /* answer at vfio_user_server_release() */
    DO_ANYWAY,       /* answer even if No_reply was set */
    DO_REPEAT,       /* answer n more times */
    DO_SPLIT,        /* send n bytes per write */
    DO_CUT,          /* disconnect after n bytes */

    /* do something else in addition */
    DO_SEND,         /* send the data before the answer */
    DO_ASK,          /* send request n; answer after its reply */
    DO_ASK_ALSO,     /* send request n; answer without waiting */
    DO_STALL,        /* stop reading until release */
    DO_DELAY,        /* neither read nor answer for n ms */
    DO_CONFIG,       /* write the data to config space at n */
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

/* An answer and how to send it. */
typedef struct VFIOUserAnswer {
    VFIOUserPacket packet;
    bool dropped;               /* do not send */
    bool held;                  /* do not send yet */
    bool size_forced;           /* a rule has set header.size */
    uint64_t chunk;             /* bytes per write */
    uint64_t cut;               /* disconnect after these bytes */
    uint64_t repeat;            /* additional copies */
} VFIOUserAnswer;

/* Initializes an answer to @request that is sent at once and in one piece. */
void vfio_user_answer_init(VFIOUserAnswer *answer,
                           const VFIOUserHeader *request);
void vfio_user_answer_clear(VFIOUserAnswer *answer);

/**
 * vfio_user_answer_apply:
 *
 * Returns false if the rule's action does not modify an answer.
 */
bool vfio_user_answer_apply(VFIOUserAnswer *answer, const VFIOUserRule *rule);

/**
 * vfio_user_answer_send:
 *
 * Returns false if the connection has ended or must end.
 */
bool vfio_user_answer_send(int conn, VFIOUserAnswer *answer);

/**
 * vfio_user_when_holds:
 * @payload: payload of the message, or its first @length bytes
 *
 * Checks everything except nth.
 */
bool vfio_user_when_holds(const VFIOUserWhen *when, uint16_t command,
                          const void *payload, size_t length);

#endif /* TESTS_QTEST_VFIO_USER_RULES_H */
