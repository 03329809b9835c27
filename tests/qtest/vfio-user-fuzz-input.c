/*
 * Input of the vfio-user fuzzer
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"

#include "qemu/bswap.h"
#include "vfio-user-fuzz-input.h"

#define IS_RULE 0x80
#define RULE_HEAD 8             /* deed, skip, number, length */

/* What a rule can do, with the largest number that makes sense; 0: any. */
static const struct {
    VFIOUserDeed deed;
    uint32_t most;
} deeds[] = {
    { DO_PAYLOAD, 1 },          /* the first, for vfio_user_fuzz_put_payloads */
    { DO_PATCH, 4096 },
    { DO_FAIL, 0 },
    { DO_FLAGS, 0 },
    { DO_ID, 0xffff },
    { DO_COMMAND, 0xffff },
    { DO_SIZE, 0 },
    { DO_LENGTH, 64 * 1024 },
    { DO_FDS, 20 },
    { DO_DROP, 1 },
    { DO_HOLD, 1 },
    { DO_ANYWAY, 1 },
    { DO_REPEAT, 4 },
    { DO_SPLIT, 64 },
    { DO_CUT, 256 },
    { DO_SEND, 1 },
    { DO_ASK, 32 },
    { DO_ASK_ALSO, 32 },
    { DO_STALL, 1 },
    { DO_DELAY, 20 },
    { DO_CONFIG, 200 },
};

typedef struct Reader {
    const uint8_t *at;
    size_t left;
} Reader;

static const uint8_t *take(Reader *reader, size_t size)
{
    const uint8_t *at = reader->at;

    if (size > reader->left) {
        reader->left = 0;
        return NULL;
    }
    reader->at += size;
    reader->left -= size;
    return at;
}

static bool parse_act(VFIOUserFuzzInput *input, Reader *reader)
{
    const uint8_t *item = take(reader, 5);

    if (item && input->acts < VFIO_USER_FUZZ_ACTS) {
        input->act[input->acts++] = (VFIOUserFuzzAct) {
            .deed = item[0] % VFIO_USER_FUZZ_DEEDS,
            .argument = ldl_le_p(item + 1),
        };
    }
    return item;
}

/* Data of DO_CONFIG must end within the space of a PCI device. */
static size_t most_data(VFIOUserDeed deed)
{
    return deed == DO_CONFIG ? 32 : 4096;
}

static bool parse_rule(VFIOUserRule *rule, unsigned *nth, Reader *reader)
{
    const uint8_t *item = take(reader, RULE_HEAD);
    unsigned i;

    if (!item) {
        return false;
    }
    i = (item[0] & ~IS_RULE) % ARRAY_SIZE(deeds);
    *nth += item[1] + 1;
    *rule = (VFIOUserRule) {
        .when = { .command = VFIO_USER_ANY, .nth = *nth },
        .deed = deeds[i].deed,
        .number = ldl_le_p(item + 2),
        .data.size = MIN(lduw_le_p(item + 6), most_data(deeds[i].deed)),
    };
    if (deeds[i].most) {
        rule->number %= deeds[i].most;
    }
    if (rule->deed == DO_SPLIT) {
        rule->number++;
    }
    rule->data.bytes = take(reader, rule->data.size);
    return rule->data.bytes;
}

void vfio_user_fuzz_parse(VFIOUserFuzzInput *input, const uint8_t *bytes,
                          size_t size)
{
    Reader reader = { bytes, size };
    const uint8_t *head = take(&reader, 2);
    unsigned rules = 0, nth = 0;
    bool going = true;

    *input = (VFIOUserFuzzInput) { };
    if (head) {
        input->model = head[0];
        input->options = head[1];
    }
    while (reader.left && going) {
        if (!(*reader.at & IS_RULE)) {
            going = parse_act(input, &reader);
        } else if (parse_rule(&input->rule[rules], &nth, &reader)) {
            going = ++rules < VFIO_USER_FUZZ_RULES;
        } else {
            input->rule[rules] = (VFIOUserRule) { };
            going = false;
        }
    }
}

void vfio_user_fuzz_put_head(GByteArray *bytes, uint8_t model, uint8_t options)
{
    const uint8_t head[] = { model, options };

    g_byte_array_append(bytes, head, sizeof(head));
}

void vfio_user_fuzz_put_act(GByteArray *bytes, VFIOUserFuzzAct act)
{
    uint8_t item[5] = { act.deed };

    stl_le_p(item + 1, act.argument);
    g_byte_array_append(bytes, item, sizeof(item));
}

void vfio_user_fuzz_put_rule(GByteArray *bytes, uint8_t skip,
                             const VFIOUserRule *rule)
{
    uint8_t item[RULE_HEAD] = { IS_RULE, skip };

    while (deeds[item[0] & ~IS_RULE].deed != rule->deed) {
        item[0]++;
    }
    stl_le_p(item + 2, rule->number);
    stw_le_p(item + 6, rule->data.size);
    g_byte_array_append(bytes, item, sizeof(item));
    g_byte_array_append(bytes, rule->data.bytes, rule->data.size);
}

void vfio_user_fuzz_put_payloads(GByteArray *bytes, GPtrArray *payloads)
{
    unsigned skip = 0;

    for (unsigned i = 0; i < payloads->len && skip <= UINT8_MAX; i++) {
        GBytes *payload = g_ptr_array_index(payloads, i);
        VFIOUserRule rule = { .deed = DO_PAYLOAD };

        if (payload) {
            rule.data.bytes = g_bytes_get_data(payload, &rule.data.size);
        }
        if (rule.data.size && rule.data.size <= most_data(DO_PAYLOAD)) {
            vfio_user_fuzz_put_rule(bytes, skip, &rule);
            skip = 0;
        } else {
            skip++;
        }
    }
}
