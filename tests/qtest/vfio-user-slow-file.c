/*
 * Descriptors that block their users
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/fuse.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <glib/gstdio.h>

#include "qemu/atomic.h"
#include "vfio-user-server.h"
#include "vfio-user-slow-file.h"

#define LINGER_S 3600

int vfio_user_lingering_new(int *peer)
{
    const struct linger linger = { 1, LINGER_S };
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t size = sizeof(addr);
    g_autofree char *bytes = g_malloc0(64 * KiB);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(bind(listening, (struct sockaddr *)&addr, size), ==, 0);
    g_assert_cmpint(listen(listening, 1), ==, 0);
    g_assert_cmpint(getsockname(listening, (struct sockaddr *)&addr, &size),
                    ==, 0);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, size), ==, 0);
    *peer = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    g_assert_cmpint(*peer, >=, 0);
    close(listening);

    /* fill the socket: close() waits until the peer has read everything */
    while (send(fd, bytes, 64 * KiB, MSG_DONTWAIT) > 0) {
        continue;
    }
    g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger,
                               sizeof(linger)), ==, 0);
    return fd;
}

#define FILE_NAME "file"
#define FILE_NODE 2
#define FILE_SIZE 0x10000

/*
 * The file system is served by a separate process.  If the test is killed,
 * this process dies too, and the kernel then fails the pending requests;
 * otherwise the blocked processes could not even be killed.
 */
struct VFIOUserFuse {
    pid_t pid;                  /* whose requests are not answered */
    pid_t server;
    int dev;                    /* used by the server */
    int fd;
    bool *asked;                /* shared with the server; atomic */
};

/* Requests carry the ID of the thread. */
static bool is_thread_of(pid_t pid, uint32_t thread)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task/%u", pid, thread);
    return access(path, F_OK) == 0;
}

static struct fuse_attr attr_of(uint64_t node)
{
    return (struct fuse_attr) {
        .ino = node,
        .mode = node == FILE_NODE ? S_IFREG | 0600 : S_IFDIR | 0700,
        .nlink = 1,
        .size = node == FILE_NODE ? FILE_SIZE : 0,
        .uid = geteuid(),
    };
}

static void answer(VFIOUserFuse *fuse, const struct fuse_in_header *in,
                   const void *data, size_t size)
{
    struct fuse_out_header out = {
        .len = sizeof(out) + size,
        .unique = in->unique,
    };
    struct iovec iov[] = {
        { &out, sizeof(out) },
        { (void *)data, size },
    };

    /* the requesting process may be gone */
    if (writev(fuse->dev, iov, 2) < 0 && errno != ENOENT) {
        _exit(1);
    }
}

static void serve(VFIOUserFuse *fuse, const struct fuse_in_header *in)
{
    const struct fuse_init_out init = {
        .major = FUSE_KERNEL_VERSION,
        .minor = 31,
        .max_write = 4096,
    };
    const struct fuse_entry_out entry = {
        .nodeid = FILE_NODE,
        .attr = attr_of(FILE_NODE),
    };
    const struct fuse_attr_out attr = { .attr = attr_of(in->nodeid) };
    const struct fuse_open_out opened = { .fh = 1 };

    if (is_thread_of(fuse->pid, in->pid)) {
        qatomic_set(fuse->asked, true);
        return;
    }
    switch (in->opcode) {
    case FUSE_INIT:
        answer(fuse, in, &init, sizeof(init));
        break;
    case FUSE_LOOKUP:
        answer(fuse, in, &entry, sizeof(entry));
        break;
    case FUSE_GETATTR:
        answer(fuse, in, &attr, sizeof(attr));
        break;
    case FUSE_OPEN:
        answer(fuse, in, &opened, sizeof(opened));
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break;
    default:
        answer(fuse, in, NULL, 0);
        break;
    }
}

static void G_NORETURN serve_all(VFIOUserFuse *fuse)
{
    uint64_t request[FUSE_MIN_READ_BUFFER / sizeof(uint64_t)];

    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    /* keep none of the test's descriptors open */
    close_range(STDERR_FILENO + 1, fuse->dev - 1, 0);
    close_range(fuse->dev + 1, UINT_MAX, 0);
    while (read(fuse->dev, request, sizeof(request)) > 0) {
        serve(fuse, (const struct fuse_in_header *)request);
    }
    _exit(0);
}

static void fuse_start_server(VFIOUserFuse *fuse)
{
    fuse->server = fork();
    g_assert_cmpint(fuse->server, >=, 0);
    if (!fuse->server) {
        serve_all(fuse);
    }
}

/*
 * Opens the file and unmounts lazily: the file system lives as long as the
 * descriptor.
 */
static bool mount_and_open(VFIOUserFuse *fuse)
{
    g_autofree char *dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    g_autofree char *path = g_strdup_printf("%s/" FILE_NAME, dir);
    g_autofree char *options =
        g_strdup_printf("fd=%d,rootmode=40000,user_id=%u,group_id=%u",
                        fuse->dev, geteuid(), getegid());
    bool mounted = mount("fuse", dir, "fuse", MS_NOSUID | MS_NODEV,
                         options) == 0;

    if (mounted) {
        fuse_start_server(fuse);
        close(fuse->dev);
        fuse->fd = open(path, O_RDWR | O_CLOEXEC);
        g_assert_cmpint(fuse->fd, >=, 0);
        g_assert_cmpint(umount2(dir, MNT_DETACH), ==, 0);
    }
    g_rmdir(dir);
    return mounted;
}

VFIOUserFuse *vfio_user_fuse_new(pid_t pid)
{
    VFIOUserFuse *fuse = g_new0(VFIOUserFuse, 1);

    fuse->pid = pid;
    fuse->asked = mmap(NULL, sizeof(*fuse->asked), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert(fuse->asked != MAP_FAILED);
    fuse->dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse->dev >= 0 && mount_and_open(fuse)) {
        return fuse;
    }
    if (fuse->dev >= 0) {
        close(fuse->dev);
    }
    munmap(fuse->asked, sizeof(*fuse->asked));
    g_free(fuse);
    return NULL;
}

int vfio_user_fuse_fd(const VFIOUserFuse *fuse)
{
    return fuse->fd;
}

void vfio_user_fuse_wait(VFIOUserFuse *fuse)
{
    gint64 deadline = g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;

    while (!qatomic_read(fuse->asked)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_thread_yield();
    }
}

void vfio_user_fuse_free(VFIOUserFuse *fuse)
{
    g_assert_cmpint(kill(fuse->server, SIGKILL), ==, 0);
    g_assert_cmpint(waitpid(fuse->server, NULL, 0), ==, fuse->server);
    close(fuse->fd);
    munmap(fuse->asked, sizeof(*fuse->asked));
    g_free(fuse);
}
