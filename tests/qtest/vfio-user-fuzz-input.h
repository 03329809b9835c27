/*
 * Input of the vfio-user fuzzer
 *
 * An input is a session: a device, what the client does with it, and rules for
 * the answers of its server.
 *
 *     input := model option item*
 *     item  := act (< 0x80) argument[4]
 *            | deed (>= 0x80) skip number[4] length[2] byte[length]
 *
 * Numbers are little-endian.  A rule applies to one message: the one after that
 * of the last rule, or @skip messages later.  An item that is cut off ends the
 * input.  Every input is valid, and small changes of it are small changes of
 * the session.
 *
 * Neither runs a session nor knows QEMU.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VFIO_USER_FUZZ_INPUT_H
#define TESTS_QTEST_VFIO_USER_FUZZ_INPUT_H

#include "vfio-user-rules.h"

#define VFIO_USER_FUZZ_ACTS 24
#define VFIO_USER_FUZZ_RULES 256

/* Bits of the option byte */
#define VFIO_USER_FUZZ_RECONNECT 1
#define VFIO_USER_FUZZ_NO_MMAP 2
#define VFIO_USER_FUZZ_NO_POSTED_WRITES 4

typedef enum VFIOUserFuzzDeed {
    VFIO_USER_FUZZ_READ,
    VFIO_USER_FUZZ_WRITE,
    VFIO_USER_FUZZ_CONFIG_READ,
    VFIO_USER_FUZZ_CONFIG_WRITE,
    VFIO_USER_FUZZ_USE_MSIX,
    VFIO_USER_FUZZ_RESET,
    VFIO_USER_FUZZ_STOP,
    VFIO_USER_FUZZ_CONTINUE,
    VFIO_USER_FUZZ_MIGRATE,
    VFIO_USER_FUZZ_CANCEL,
    VFIO_USER_FUZZ_SWITCH,
    VFIO_USER_FUZZ_LOSE,
    VFIO_USER_FUZZ_WAIT,
    VFIO_USER_FUZZ_DEEDS,
} VFIOUserFuzzDeed;

typedef struct VFIOUserFuzzAct {
    VFIOUserFuzzDeed deed;
    uint32_t argument;
} VFIOUserFuzzAct;

typedef struct VFIOUserFuzzInput {
    uint8_t model;              /* any number */
    uint8_t options;
    unsigned acts;
    VFIOUserFuzzAct act[VFIO_USER_FUZZ_ACTS];
    VFIOUserRule rule[VFIO_USER_FUZZ_RULES + 1];    /* point into the bytes */
} VFIOUserFuzzInput;

/* Parses any bytes; they must outlive @input. */
void vfio_user_fuzz_parse(VFIOUserFuzzInput *input, const uint8_t *bytes,
                          size_t size);

/*
 * The reverse, for inputs to begin with.  Of a rule, the deed counts, with its
 * number and data.  A payload, of type GBytes, replaces that of the next
 * message's answer; NULL: the answer stays as it is.
 */
void vfio_user_fuzz_put_head(GByteArray *bytes, uint8_t model,
                             uint8_t options);
void vfio_user_fuzz_put_act(GByteArray *bytes, VFIOUserFuzzAct act);
void vfio_user_fuzz_put_rule(GByteArray *bytes, uint8_t skip,
                             const VFIOUserRule *rule);
void vfio_user_fuzz_put_payloads(GByteArray *bytes, GPtrArray *payloads);

#endif /* TESTS_QTEST_VFIO_USER_FUZZ_INPUT_H */
