/*
 * The floor of the migration benchmark: a bare vfio-user client
 *
 * Does only what a client must do: reads a device's state and drops it, writes
 * a state that it reads from a file in memory, or fetches dirty bitmaps range
 * by range.  It always uses the same buffers.  It waits as the client in QEMU
 * does, polling for a bounded time before it sleeps.  The server measures.
 * One thread.
 *
 * With "-", a state goes to stdout or comes from stdin, so that two of these
 * move it from one server to another.  They print when they began and ended on
 * stderr, in ns of the monotonic clock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <inttypes.h>
#include <stddef.h>
#include <sys/mman.h>

#include "vfio-user-bench-wire.h"
#include "vfio-user-bench-migration.h"

#define POLL_NS 100000          /* the maximum of the client in QEMU */
#define PAUSE_US 50000          /* between fetches, as in QEMU */

typedef struct Floor {
    int conn;
    uint16_t next_id;
    const uint8_t *mapped;      /* the region's data; NULL: by message */
    uint8_t *memory;            /* BENCH_MAX_DATA */
    int stream;                 /* a state is loaded from this file */
    int sink;                   /* a state is saved to this file; or -1 */
} Floor;

static void receive(Floor *f, void *buf, size_t size)
{
    uint64_t sleep_at = now_ns() + POLL_NS;

    while (size) {
        ssize_t n = recv(f->conn, buf, size,
                         now_ns() < sleep_at ? MSG_DONTWAIT : 0);

        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            errx(1, "the server has gone");
        }
        if (n > 0) {
            buf = (char *)buf + n;
            size -= n;
        }
    }
}

/* Returns the bytes of the reply's payload, at most @most. */
static size_t call(Floor *f, uint16_t command, const void *head, size_t size,
                   const void *data, size_t data_size, void *reply,
                   size_t most)
{
    Header header = { .id = f->next_id++, .command = command };
    size_t got;

    send_message(f->conn, header, head, size, data, data_size, -1);
    receive(f, &header, sizeof(header));
    got = header.size - sizeof(header);
    if (header.flags != FLAGS_REPLY || header.command != command ||
        got > most) {
        errx(1, "bad reply to command %u", command);
    }
    receive(f, reply, got);
    return got;
}

/* As call(), but the reply is received in two parts, @reply and f->memory. */
static size_t call_for_data(Floor *f, uint16_t command, const void *head,
                            size_t size, void *reply, size_t reply_size)
{
    Header header = { .id = f->next_id++, .command = command };
    size_t got;

    send_message(f->conn, header, head, size, NULL, 0, -1);
    receive(f, &header, sizeof(header));
    got = header.size - sizeof(header) - reply_size;
    if (header.flags != FLAGS_REPLY || header.command != command ||
        got > BENCH_MAX_DATA) {
        errx(1, "bad reply to command %u", command);
    }
    receive(f, reply, reply_size);
    receive(f, f->memory, got);
    return got;
}

static void negotiate(Floor *f)
{
    static const char version[] = "\0\0\1\0{}";

    call(f, CMD_VERSION, version, sizeof(version), NULL, 0, f->memory,
         BENCH_MAX_DATA);
}

/* Creates a saved state of zeros. */
static void open_stream(Floor *f, uint64_t size)
{
    f->stream = memfd_create("bench", MFD_CLOEXEC);
    if (f->stream < 0) {
        err(1, "no memory");
    }
    for (uint64_t done = 0; done < size; done += BENCH_MAX_DATA) {
        if (write(f->stream, f->memory, BENCH_MAX_DATA) != BENCH_MAX_DATA) {
            err(1, "no memory");
        }
    }
    lseek(f->stream, 0, SEEK_SET);
}

static void read_stream(Floor *f, uint32_t size)
{
    for (uint32_t done = 0; done < size;) {
        ssize_t n = read(f->stream, f->memory + done, size - done);

        if (n <= 0) {
            err(1, "the stream");
        }
        done += n;
    }
}

static void write_sink(Floor *f, const uint8_t *from, size_t size)
{
    while (f->sink >= 0 && size) {
        ssize_t n = write(f->sink, from, size);

        if (n <= 0) {
            err(1, "the stream");
        }
        from += n;
        size -= n;
    }
}

/* Migration v1 */

static uint64_t read_register(Floor *f, uint64_t offset)
{
    RegionRW rw = { offset, MIG_REGION, 8 };
    struct __attribute__((packed)) {
        RegionRW rw;
        uint64_t value;
    } reply = { };

    call(f, CMD_REGION_READ, &rw, sizeof(rw), NULL, 0, &reply, sizeof(reply));
    return reply.value;
}

static void write_register(Floor *f, uint64_t offset, uint64_t value,
                           uint32_t size)
{
    RegionRW rw = { offset, MIG_REGION, size };

    call(f, CMD_REGION_WRITE, &rw, sizeof(rw), &value, size, &rw, sizeof(rw));
}

static void map_region(Floor *f)
{
    uint32_t info[64] = { sizeof(info), 0, MIG_REGION };
    Header header = { .command = CMD_GET_REGION_INFO };
    int fd = -1;

    send_message(f->conn, header, info, 32, NULL, 0, -1);
    if (!recv_bytes(f->conn, &header, sizeof(header), &fd) ||
        header.size > sizeof(header) + sizeof(info) ||
        !recv_bytes(f->conn, info, header.size - sizeof(header), NULL)) {
        errx(1, "no migration region");
    }
    if (fd >= 0) {
        f->mapped = mmap(NULL, MIG_DATA_SIZE, PROT_READ | PROT_WRITE,
                         MAP_SHARED, fd, MIG_DATA);
        if (f->mapped == MAP_FAILED) {
            err(1, "mmap");
        }
    }
}

static void save_v1(Floor *f)
{
    map_region(f);
    write_register(f, MIG_STATE, STATE1_SAVING, 4);
    while (read_register(f, MIG_PENDING)) {
        RegionRW rw = { read_register(f, MIG_OFFSET), MIG_REGION,
                        read_register(f, MIG_SIZE) };

        if (f->mapped && f->sink >= 0) {
            write_sink(f, f->mapped, rw.count);
        } else if (f->mapped) {
            memcpy(f->memory, f->mapped, rw.count);
        } else {
            write_sink(f, f->memory,
                       call_for_data(f, CMD_REGION_READ, &rw, sizeof(rw), &rw,
                                     sizeof(rw)));
        }
    }
}

static void load_v1(Floor *f, uint64_t size)
{
    map_region(f);
    write_register(f, MIG_STATE, STATE_RESUMING, 4);
    while (size) {
        uint32_t some = size < MIG_DATA_SIZE ? size : MIG_DATA_SIZE;
        RegionRW rw = { read_register(f, MIG_OFFSET), MIG_REGION, some };

        read_stream(f, some);
        if (f->mapped) {
            memcpy((uint8_t *)f->mapped, f->memory, some);
        } else {
            call(f, CMD_REGION_WRITE, &rw, sizeof(rw), f->memory, some, &rw,
                 sizeof(rw));
        }
        write_register(f, MIG_SIZE, some, 8);
        size -= some;
    }
}

static void fetch_v1(Floor *f, uint64_t iova, uint64_t size)
{
    DirtyPages m = {
        sizeof(m) + bitmap_bytes(size), DIRTY_GET_BITMAP, iova, size,
        BENCH_PAGE, bitmap_bytes(size),
    };

    call_for_data(f, CMD_DIRTY_PAGES, &m, sizeof(m), &m, sizeof(m));
}

static void record_v1(Floor *f, uint32_t flags)
{
    DirtyPages m = { offsetof(DirtyPages, iova), flags };

    call(f, CMD_DIRTY_PAGES, &m, m.argsz, NULL, 0, NULL, 0);
}

/* Migration v2 */

static void set_state(Floor *f, uint32_t state)
{
    Feature m = { sizeof(m), FEATURE_SET | FEATURE_STATE, .state = state };

    call(f, CMD_DEVICE_FEATURE, &m, sizeof(m), NULL, 0, &m, sizeof(m));
}

static void save_v2(Floor *f)
{
    MigData m;
    size_t got;

    set_state(f, STATE2_STOP_COPY);
    do {
        m = (MigData) { sizeof(m) + BENCH_MAX_DATA, BENCH_MAX_DATA };
        got = call_for_data(f, CMD_MIG_DATA_READ, &m, sizeof(m), &m,
                            sizeof(m));
        write_sink(f, f->memory, got);
    } while (got == BENCH_MAX_DATA);
}

static void load_v2(Floor *f, uint64_t size)
{
    set_state(f, STATE2_STOP);
    set_state(f, STATE_RESUMING);
    while (size) {
        uint32_t some = size < BENCH_MAX_DATA ? size : BENCH_MAX_DATA;
        MigData m = { sizeof(m) + some, some };

        read_stream(f, some);
        call(f, CMD_MIG_DATA_WRITE, &m, sizeof(m), f->memory, some, NULL, 0);
        size -= some;
    }
}

static void fetch_v2(Floor *f, uint64_t iova, uint64_t size)
{
    Logging m = {
        offsetof(Logging, report) + sizeof(m.report) + bitmap_bytes(size),
        FEATURE_GET | FEATURE_LOGGING_REPORT,
        .report = { iova, size, BENCH_PAGE },
    };
    size_t head = offsetof(Logging, report) + sizeof(m.report);

    call_for_data(f, CMD_DEVICE_FEATURE, &m, head, &m, head);
}

static void record_v2(Floor *f, uint32_t feature)
{
    Logging m = {
        sizeof(m), FEATURE_SET | feature,
        .start = { BENCH_PAGE, 1, 0, { 0, 1ull << 40 } },
    };

    if (feature == FEATURE_LOGGING_STOP) {
        m.argsz = offsetof(Logging, start);
    }
    call(f, CMD_DEVICE_FEATURE, &m, m.argsz, NULL, 0, &m, sizeof(m));
}

/* Both versions */

static void fetch(Floor *f, bool v2, char **ranges)
{
    if (v2) {
        record_v2(f, FEATURE_LOGGING_START);
    } else {
        record_v1(f, DIRTY_START);
    }
    for (; *ranges; ranges++) {
        uint64_t iova, size;

        if (sscanf(*ranges, "%" SCNu64 ":%" SCNu64, &iova, &size) != 2) {
            errx(2, "not a range: %s", *ranges);
        }
        (v2 ? fetch_v2 : fetch_v1)(f, iova, size);
    }
    if (v2) {
        record_v2(f, FEATURE_LOGGING_STOP);
    } else {
        record_v1(f, DIRTY_STOP);
    }
}

static void usage(const char *name)
{
    errx(2, "usage: %s SOCKET v1|v2 save [-] | load BYTES [-] |"
         " fetch TIMES ADDRESS:SIZE...", name);
}

int main(int argc, char **argv)
{
    Floor f = {
        .conn = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .sink = -1,
    };
    struct sockaddr_un addr;
    bool v2, moves = !strcmp(argv[argc - 1], "-");

    if (argc < 4 || (strcmp(argv[3], "save") && argc < 5)) {
        usage(argv[0]);
    }
    addr = socket_address(argv[1]);
    v2 = !strcmp(argv[2], "v2");
    f.memory = calloc(1, BENCH_MAX_DATA);
    if (f.conn < 0 || !f.memory ||
        connect(f.conn, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        err(1, "%s", argv[1]);
    }
    negotiate(&f);
    if (moves) {
        fprintf(stderr, "%" PRIu64 "\n", now_ns());
    }
    if (!strcmp(argv[3], "save")) {
        f.sink = moves ? STDOUT_FILENO : -1;
        (v2 ? save_v2 : save_v1)(&f);
    } else if (!strcmp(argv[3], "load")) {
        if (!moves) {
            open_stream(&f, atoll(argv[4]));
        }
        (v2 ? load_v2 : load_v1)(&f, atoll(argv[4]));
    } else if (!strcmp(argv[3], "fetch")) {
        for (int i = atoi(argv[4]); i; i--) {
            usleep(PAUSE_US);
            fetch(&f, v2, argv + 5);
        }
    } else {
        usage(argv[0]);
    }
    if (moves) {
        fprintf(stderr, "%" PRIu64 "\n", now_ns());
    }
    close(f.conn);
    return 0;
}
