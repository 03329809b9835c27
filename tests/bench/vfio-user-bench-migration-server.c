/*
 * The device of the migration benchmark: a vfio-user server that measures
 *
 * A device that consists of state only, which is in memory and is saved and
 * loaded with migration v1 or v2, and with dirty bitmaps that are always the
 * same. All measurements are made here, in the same way for every client:
 *
 *     state    from the first request for the state, or its first data, to the
 *              reply to the last one
 *     fetch    from the first request for a dirty bitmap after tracking was
 *              started to the last reply
 *
 * If the last range of a fetch is small, the time includes almost everything
 * that the client does with the bitmaps. The server serves one client after
 * another, reads commands on stdin and replies to each with a line:
 *
 *     state        ns of the last transfer, or 0; resets it
 *     sum          checksum of the state, which is zeros before it is loaded
 *     fetches      ns of each fetch; resets them
 *     ranges       the first ranges of the last fetch: address:size ...
 *     dirty EVERY  from now on, all pages of one of EVERY words of a bitmap are
 *                  dirty; 0, the default: no page is dirty
 *
 * One thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <inttypes.h>
#include <stddef.h>
#include <sys/mman.h>

#include "vfio-user-bench-device.h"
#include "vfio-user-bench-migration.h"

#define MAX_FETCHES 64
#define MAX_RANGES 64
#define FLAG_STOP_COPY 1

typedef struct Span {
    uint64_t begin;
    uint64_t end;
} Span;

typedef struct Server {
    Device device;              /* first: callbacks get it */
    bool v2;                    /* migration v2 */
    int data_fd;                /* -1: by message */
    uint8_t *data;              /* data of the region, migration v1 */

    uint8_t *state;
    uint64_t size;
    uint64_t at;                /* bytes of the state saved or loaded so far */
    uint32_t device_state;
    uint64_t chunk;             /* in @data */
    Span moved;

    Span fetch[MAX_FETCHES];
    unsigned fetches;
    uint64_t range[MAX_RANGES][2];
    unsigned ranges;
    uint8_t bits[BENCH_MAX_DATA];
} Server;

static const char version[] =
    "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":8,"
    "\"max_data_xfer_size\":1048576,\"migration\":{\"pgsize\":4096}}}";

static void begin(Span *span)
{
    if (!span->begin) {
        span->begin = now_ns();
    }
}

static void end(Span *span)
{
    span->end = now_ns();
}

/* Sends @payload followed by @data, without copying it. */
static void answer_data(Server *s, Header header, const void *payload,
                        size_t size, const void *data, size_t data_size)
{
    header.flags = FLAGS_REPLY;
    send_message(s->device.conn, header, payload, size, data, data_size, -1);
}

static void set_state(Server *s, uint32_t state)
{
    s->device_state = state;
    if (state == STATE_RESUMING) {
        memset(s->state, 0, s->size);
    }
    if (state == STATE_RESUMING ||
        state == (s->v2 ? STATE2_STOP_COPY : STATE1_SAVING)) {
        s->at = 0;
    }
}

/* Migration v1 */

static void describe_region(Server *s, Header header)
{
    struct __attribute__((packed)) {
        uint32_t argsz, flags, index, cap_offset;
        uint64_t size, offset;
        struct { uint16_t id, version; uint32_t next, type, subtype; } type;
        struct {
            uint16_t id, version;
            uint32_t next, areas, reserved;
            uint64_t offset, size;
        } sparse;
    } info = {
        .flags = 1 | 1 << 1 | 1 << 3,           /* read, write, capabilities */
        .index = MIG_REGION,
        .cap_offset = 32,
        .size = MIG_DATA + MIG_DATA_SIZE,
        .type = { 2, 1, 0, 3, 1 },
        .sparse = { 1, 1, 0, 1, 0, MIG_DATA, MIG_DATA_SIZE },
    };
    uint32_t asked;

    memcpy(&asked, s->device.payload, sizeof(asked));
    info.argsz = offsetof(typeof(info), sparse);
    if (s->data_fd >= 0) {
        info.argsz = sizeof(info);
        info.flags |= 1 << 2;                   /* map */
        info.type.next = offsetof(typeof(info), sparse);
    }
    header.flags = FLAGS_REPLY;
    if (asked < info.argsz) {
        send_message(s->device.conn, header, &info, 32, NULL, 0, -1);
    } else {
        send_message(s->device.conn, header, &info, info.argsz, NULL, 0,
                     s->data_fd);
    }
}

static void save_chunk(Server *s)
{
    begin(&s->moved);
    s->chunk = s->size - s->at;
    if (s->chunk > MIG_DATA_SIZE) {
        s->chunk = MIG_DATA_SIZE;
    }
    memcpy(s->data, s->state + s->at, s->chunk);
    s->at += s->chunk;
}

static void read_register(Server *s, Header header, RegionRW rw)
{
    struct __attribute__((packed)) {
        RegionRW rw;
        uint64_t value;
    } reply = { rw };
    bool stopped = s->device_state == STATE1_SAVING;

    switch (rw.offset) {
    case MIG_STATE:
        reply.value = s->device_state;
        break;
    case MIG_PENDING:
        reply.value = stopped ? s->size - s->at : 0;
        break;
    case MIG_OFFSET:
        reply.value = MIG_DATA;
        if (stopped) {
            save_chunk(s);
        } else {
            begin(&s->moved);
        }
        break;
    case MIG_SIZE:
        reply.value = s->chunk;
        break;
    }
    answer(&s->device, header, &reply, sizeof(rw) + rw.count);
    if (rw.offset == MIG_PENDING && stopped && !reply.value) {
        end(&s->moved);
    }
}

static void write_register(Server *s, Header header, RegionRW rw)
{
    uint64_t value = 0;

    memcpy(&value, s->device.payload + sizeof(rw), rw.count & 15);
    if (rw.offset == MIG_STATE) {
        set_state(s, value);
    } else if (rw.offset == MIG_SIZE && value <= s->size - s->at &&
               value <= MIG_DATA_SIZE) {
        memcpy(s->state + s->at, s->data, value);
        s->at += value;
    } else {
        errx(1, "%" PRIu64 " at %" PRIu64, value, rw.offset);
    }
    answer(&s->device, header, &rw, sizeof(rw));
    if (rw.offset == MIG_SIZE) {
        end(&s->moved);
    }
}

/* Returns false if the client has gone. */
static bool access_region(Server *s, Header header)
{
    Device *d = &s->device;
    size_t rest = header.size - sizeof(header) - sizeof(RegionRW);
    uint8_t *to = d->payload + sizeof(RegionRW);
    RegionRW rw;

    if (!recv_bytes(d->conn, d->payload, sizeof(rw), NULL)) {
        return false;
    }
    memcpy(&rw, d->payload, sizeof(rw));
    if (rw.region == MIG_REGION && rw.offset >= MIG_DATA) {
        if (rw.offset - MIG_DATA > MIG_DATA_SIZE ||
            rw.count > MIG_DATA + MIG_DATA_SIZE - rw.offset) {
            errx(1, "%u bytes at %" PRIu64, rw.count, rw.offset);
        }
        to = s->data + rw.offset - MIG_DATA;
    }
    if (rest > MIG_DATA_SIZE || !recv_bytes(d->conn, to, rest, NULL)) {
        return false;
    }
    if (rw.region != MIG_REGION) {
        access_config(d, header);
    } else if (rw.offset < MIG_DATA && header.command == CMD_REGION_READ) {
        read_register(s, header, rw);
    } else if (rw.offset < MIG_DATA) {
        write_register(s, header, rw);
    } else if (header.command == CMD_REGION_READ) {
        answer_data(s, header, &rw, sizeof(rw), to, rw.count);
    } else {
        answer(d, header, &rw, sizeof(rw));
    }
    return true;
}

/* Migration v2 */

static void read_state(Server *s, Header header)
{
    MigData m;
    uint64_t at = s->at;

    begin(&s->moved);
    memcpy(&m, s->device.payload, sizeof(m));
    if (m.size > s->size - at) {
        m.size = s->size - at;
        m.argsz = sizeof(m) + m.size;
    }
    s->at += m.size;
    answer_data(s, header, &m, sizeof(m), s->state + at, m.size);
    end(&s->moved);
}

/* Returns false if the client has gone. */
static bool write_state(Server *s, Header header)
{
    int conn = s->device.conn;
    MigData m;

    begin(&s->moved);
    if (!recv_bytes(conn, &m, sizeof(m), NULL)) {
        return false;
    }
    if (m.size > s->size - s->at ||
        header.size != sizeof(header) + sizeof(m) + m.size) {
        errx(1, "state of %u bytes", m.size);
    }
    if (!recv_bytes(conn, s->state + s->at, m.size, NULL)) {
        return false;
    }
    s->at += m.size;
    answer(&s->device, header, NULL, 0);
    end(&s->moved);
    return true;
}

/* Dirty pages, for both versions */

static void start_record(Server *s)
{
    if (s->fetches == MAX_FETCHES) {
        errx(1, "too many fetches");
    }
    s->fetch[s->fetches++] = (Span) { };
    s->ranges = 0;
}

static void fetch(Server *s, Header header, size_t head, uint64_t iova,
                  uint64_t size)
{
    if (!s->fetches || bitmap_bytes(size) > sizeof(s->bits)) {
        errx(1, "request for the dirty bits of %" PRIu64 " bytes", size);
    }
    begin(&s->fetch[s->fetches - 1]);
    if (s->ranges < MAX_RANGES) {
        s->range[s->ranges][0] = iova;
        s->range[s->ranges++][1] = size;
    }
    answer_data(s, header, s->device.payload, head, s->bits,
                bitmap_bytes(size));
    end(&s->fetch[s->fetches - 1]);
}

static void answer_dirty_pages(Server *s, Header header)
{
    DirtyPages m = { };

    memcpy(&m, s->device.payload, header.size - sizeof(header) < sizeof(m) ?
           header.size - sizeof(header) : sizeof(m));
    if (m.flags == DIRTY_GET_BITMAP) {
        fetch(s, header, sizeof(m), m.iova, m.size);
        return;
    }
    if (m.flags == DIRTY_START) {
        start_record(s);
    }
    answer(&s->device, header, NULL, 0);
}

/* The reply has the dirty bitmap of the unmapped range if it was requested. */
static void answer_unmap(Server *s, Header header)
{
    DirtyPages m;               /* has the same layout */

    if (header.size < sizeof(header) + sizeof(m)) {
        describe(&s->device, header);
        return;
    }
    memcpy(&m, s->device.payload, sizeof(m));
    if (m.bitmap_size > sizeof(s->bits)) {
        errx(1, "unmap with %" PRIu64 " bytes of bits", m.bitmap_size);
    }
    answer_data(s, header, &m, sizeof(m), s->bits, m.bitmap_size);
}

static void answer_feature(Server *s, Header header)
{
    size_t size = header.size - sizeof(header);
    Feature *f = (Feature *)s->device.payload;
    Logging *l = (Logging *)s->device.payload;

    switch (f->flags & (FEATURE_MASK | FEATURE_PROBE)) {
    case FEATURE_MIGRATION:
        f->migration = FLAG_STOP_COPY;
        break;
    case FEATURE_STATE:
        if (f->flags & FEATURE_SET) {
            set_state(s, f->state);
        }
        f->state = s->device_state;
        break;
    case FEATURE_LOGGING_START:
        start_record(s);
        l->start.page_size = BENCH_PAGE;
        break;
    case FEATURE_LOGGING_REPORT:
        fetch(s, header, sizeof(*f) - sizeof(f->migration) +
              sizeof(l->report), l->report.iova, l->report.length);
        return;
    }
    answer(&s->device, header, s->device.payload, size);
}

/* All requests */

static void greet(Server *s, Header header)
{
    s->device_state = s->v2 ? STATE2_RUNNING : STATE1_RUNNING;
    s->at = 0;
    s->moved = (Span) { };
    s->fetches = 0;
    answer(&s->device, header, version, sizeof(version));
}

static void answer_payload(Server *s, Header header)
{
    const uint32_t *info = (uint32_t *)s->device.payload;

    if (header.command == CMD_VERSION) {
        greet(s, header);
    } else if (header.command == CMD_DMA_MAP) {
        answer(&s->device, header, NULL, 0);
    } else if (header.command == CMD_DMA_UNMAP && !s->v2) {
        answer_unmap(s, header);
    } else if (header.command == CMD_GET_REGION_INFO && !s->v2 &&
               info[2] == MIG_REGION) {
        describe_region(s, header);
    } else if (header.command == CMD_DIRTY_PAGES && !s->v2) {
        answer_dirty_pages(s, header);
    } else if (header.command == CMD_DEVICE_FEATURE && s->v2) {
        answer_feature(s, header);
    } else if (header.command == CMD_MIG_DATA_READ && s->v2) {
        read_state(s, header);
    } else {
        describe(&s->device, header);
    }
}

static bool serve(Device *d)
{
    Server *s = (Server *)d;
    Header header;
    int fd = -1;

    if (!recv_bytes(d->conn, &header, sizeof(header), &fd)) {
        return false;
    }
    if (fd >= 0) {
        close(fd);              /* guest memory is not used */
    }
    if (header.command == CMD_REGION_READ ||
        header.command == CMD_REGION_WRITE) {
        return access_region(s, header);
    }
    if (header.command == CMD_MIG_DATA_WRITE) {
        return write_state(s, header);
    }
    if (!receive_payload(d, &header)) {
        return false;
    }
    answer_payload(s, header);
    return true;
}

static void obey(Device *d)
{
    Server *s = (Server *)d;
    char line[128];
    uint64_t word = 0;

    if (!fgets(line, sizeof(line), stdin)) {
        exit(0);
    }
    if (!strcmp(line, "state\n")) {
        printf("%" PRIu64, s->moved.end - s->moved.begin);
        s->moved = (Span) { };
    } else if (!strcmp(line, "sum\n")) {
        for (uint64_t i = 0; i < s->size; i++) {
            word = word * 31 + s->state[i];
        }
        printf("%" PRIu64, word);
    } else if (!strcmp(line, "fetches\n")) {
        for (unsigned i = 0; i < s->fetches; i++) {
            printf("%" PRIu64 " ", s->fetch[i].end - s->fetch[i].begin);
        }
        s->fetches = 0;
    } else if (!strcmp(line, "ranges\n")) {
        for (unsigned i = 0; i < s->ranges; i++) {
            printf("%" PRIu64 ":%" PRIu64 " ", s->range[i][0], s->range[i][1]);
        }
    } else if (sscanf(line, "dirty %" SCNu64, &word) == 1) {
        memset(s->bits, 0, sizeof(s->bits));
        for (size_t i = 0; word && i < sizeof(s->bits); i += 8 * word) {
            memset(s->bits + i, 0xff, 8);
        }
    } else {
        errx(1, "unknown command: %s", line);
    }
    printf("\n");
    fflush(stdout);
}

static void prepare(Server *s, bool mapped)
{
    s->state = malloc(s->size);
    s->data_fd = memfd_create("bench", MFD_CLOEXEC);
    if (!s->state || s->data_fd < 0 ||
        ftruncate(s->data_fd, MIG_DATA + MIG_DATA_SIZE) < 0) {
        err(1, "no memory");
    }
    s->data = mmap(NULL, MIG_DATA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                   s->data_fd, MIG_DATA);
    if (s->data == MAP_FAILED) {
        err(1, "mmap");
    }
    for (uint64_t i = 0; i < s->size; i++) {
        s->state[i] = i ^ i >> 12;
    }
    if (!mapped) {
        s->data_fd = -1;
    }
}

int main(int argc, char **argv)
{
    static Server s = { .device = DEVICE(FIXED_REGIONS) };

    if (argc != 4 || (strcmp(argv[2], "mapped") && strcmp(argv[2], "message") &&
                      strcmp(argv[2], "stream"))) {
        errx(2, "usage: %s SOCKET mapped|message|stream BYTES\n"
             "mapped, message: migration v1 and how the data are transferred",
             argv[0]);
    }
    s.v2 = !strcmp(argv[2], "stream");
    s.device.regions = s.v2 ? FIXED_REGIONS : MIG_REGION + 1;
    s.size = atoll(argv[3]);
    prepare(&s, !strcmp(argv[2], "mapped"));
    run_device(&s.device, listen_at(argv[1]), obey, serve);
    return 0;
}
