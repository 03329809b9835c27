/*
 * Scripted vfio-user server: functions for the test
 *
 * Creates and frees a server, leaves orders of the test under the lock, and
 * reads state or waits for it there.  Does no I/O on a connection.
 *
 * Threads: the test's thread only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <glib/gstdio.h>

#include "qemu/lockable.h"
#include "vfio-user-server-internal.h"

void server_wake(VFIOUserServer *s)
{
    const uint64_t one = 1;

    g_assert_cmpint(write(s->wake_fd, &one, sizeof(one)), ==, sizeof(one));
}

void server_wait_locked(VFIOUserServer *s, gint64 deadline, const char *what)
{
    gint64 left = deadline - g_get_monotonic_time();

    if (left <= 0 ||
        !qemu_cond_timedwait(&s->changed, &s->lock, left / 1000 + 1)) {
        fprintf(stderr, "# vfio-user server waited in vain for %s; "
                "it saw:\n", what);
        vfio_user_log_print(s->log);
        g_assert_not_reached();
    }
}

gint64 server_deadline(void)
{
    return g_get_monotonic_time() + VFIO_USER_SERVER_DEADLINE;
}

static void set_rules_locked(VFIOUserServer *s, const VFIOUserRule *rules)
{
    g_array_set_size(s->rules, 0);
    while (rules && rules->deed != DO_END) {
        g_array_append_val(s->rules, *rules);
        rules++;
    }
    g_array_set_size(s->hits, 0);
    g_array_set_size(s->hits, s->rules->len);
}

VFIOUserServer *vfio_user_server_new_on(int listen_fd,
                                        const VFIOUserModel *model,
                                        const VFIOUserRule *rules)
{
    VFIOUserServer *s = g_new0(VFIOUserServer, 1);

    s->listen_fd = listen_fd;
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g_assert_cmpint(s->wake_fd, >=, 0);
    qemu_mutex_init(&s->lock);
    qemu_cond_init(&s->changed);
    s->device = vfio_user_device_new(model ?: &vfio_user_model);
    s->rules = g_array_new(false, false, sizeof(VFIOUserRule));
    s->hits = g_array_new(false, true, sizeof(unsigned));
    s->log = vfio_user_log_new();
    s->conn = s->twin = -1;
    set_rules_locked(s, rules);
    qemu_thread_create(&s->thread, "vfio-user-server", server_thread, s,
                       QEMU_THREAD_JOINABLE);
    return s;
}

VFIOUserServer *vfio_user_server_new(const VFIOUserModel *model,
                                     const VFIOUserRule *rules)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    char *dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    VFIOUserServer *s;

    g_assert(dir && fd >= 0);
    g_snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", dir);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(fd, 4), ==, 0);
    s = vfio_user_server_new_on(fd, model, rules);
    s->dir = dir;
    s->path = g_strdup(addr.sun_path);
    return s;
}

void vfio_user_server_free(VFIOUserServer *s)
{
    qemu_mutex_lock(&s->lock);
    s->quit = true;
    if (s->conn >= 0) {
        /* the server's thread may be receiving a message */
        shutdown(s->conn, SHUT_RDWR);
    }
    qemu_mutex_unlock(&s->lock);
    server_wake(s);
    qemu_thread_join(&s->thread);

    close(s->listen_fd);
    close(s->wake_fd);
    if (s->path) {
        g_unlink(s->path);
        g_rmdir(s->dir);
    }
    vfio_user_device_free(s->device);
    g_array_unref(s->rules);
    g_array_unref(s->hits);
    g_array_unref(s->log);
    g_clear_pointer(&s->answers, g_ptr_array_unref);
    qemu_cond_destroy(&s->changed);
    qemu_mutex_destroy(&s->lock);
    g_free(s->path);
    g_free(s->dir);
    g_free(s);
}

const char *vfio_user_server_path(const VFIOUserServer *s)
{
    return s->path;
}

pid_t vfio_user_server_client(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    return s->client;
}

void vfio_user_server_set_rules(VFIOUserServer *s, const VFIOUserRule *rules)
{
    QEMU_LOCK_GUARD(&s->lock);

    set_rules_locked(s, rules);
}

void vfio_user_server_release(VFIOUserServer *s)
{
    qemu_mutex_lock(&s->lock);
    s->release = true;
    qemu_mutex_unlock(&s->lock);
    server_wake(s);
}

void vfio_user_server_hang_up(VFIOUserServer *s)
{
    gint64 deadline = server_deadline();
    unsigned ended;
    QEMU_LOCK_GUARD(&s->lock);

    if (s->conn < 0) {
        return;
    }
    ended = s->ended;
    s->hang_up = true;
    server_wake(s);
    /* the client may have connected again by now */
    while (s->ended == ended) {
        server_wait_locked(s, deadline, "the connection's end");
    }
}

void vfio_user_server_hang_up_twin(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    g_assert_cmpint(s->twin, >=, 0);
    g_assert_cmpint(shutdown(s->twin, SHUT_RDWR), ==, 0);
}

void vfio_user_server_wait_client(VFIOUserServer *s, bool there)
{
    gint64 deadline = server_deadline();
    QEMU_LOCK_GUARD(&s->lock);

    while ((s->conn >= 0) != there) {
        server_wait_locked(s, deadline,
                           there ? "a client" : "the client to go");
    }
}

bool vfio_user_server_has_client(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    return s->conn >= 0;
}

GPtrArray *vfio_user_server_record(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    g_assert_null(s->answers);
    s->answers = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    return g_ptr_array_ref(s->answers);
}

void vfio_user_server_forget(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    g_array_set_size(s->log, 0);
}

unsigned vfio_user_server_count(VFIOUserServer *s, VFIOUserWhen when)
{
    QEMU_LOCK_GUARD(&s->lock);

    return vfio_user_log_count(s->log, &when);
}

VFIOUserSeen vfio_user_server_wait(VFIOUserServer *s, VFIOUserWhen when)
{
    gint64 deadline = server_deadline();
    QEMU_LOCK_GUARD(&s->lock);
    const VFIOUserSeen *seen;

    while (!(seen = vfio_user_log_find(s->log, &when))) {
        server_wait_locked(s, deadline, vfio_user_command_name(when.command));
    }
    return *seen;
}

GArray *vfio_user_server_log(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    return vfio_user_log_copy(s->log);
}

static uint8_t *bytes_locked(VFIOUserServer *s, uint32_t region,
                             uint64_t offset, size_t count)
{
    uint8_t *bytes = vfio_user_device_bytes(s->device, region, offset, count);

    g_assert_nonnull(bytes);
    return bytes;
}

void vfio_user_server_peek(VFIOUserServer *s, uint32_t region,
                           uint64_t offset, void *bytes, size_t count)
{
    QEMU_LOCK_GUARD(&s->lock);

    memcpy(bytes, bytes_locked(s, region, offset, count), count);
}

void vfio_user_server_poke(VFIOUserServer *s, uint32_t region,
                           uint64_t offset, const void *bytes, size_t count)
{
    QEMU_LOCK_GUARD(&s->lock);

    memcpy(bytes_locked(s, region, offset, count), bytes, count);
}

void vfio_user_server_truncate(VFIOUserServer *s, uint32_t region,
                               uint64_t size)
{
    QEMU_LOCK_GUARD(&s->lock);

    vfio_user_device_truncate(s->device, region, size);
}

void vfio_user_server_trigger(VFIOUserServer *s, uint32_t index,
                              uint32_t vector)
{
    gint64 deadline = server_deadline();
    QEMU_LOCK_GUARD(&s->lock);

    while (!vfio_user_device_trigger(s->device, index, vector)) {
        server_wait_locked(s, deadline, "the interrupt's eventfd");
    }
}

void vfio_user_server_lower(VFIOUserServer *s)
{
    qemu_mutex_lock(&s->lock);
    vfio_user_device_lower(s->device);
    qemu_mutex_unlock(&s->lock);
}

int vfio_user_server_eventfd(VFIOUserServer *s, uint32_t index,
                             uint32_t vector)
{
    QEMU_LOCK_GUARD(&s->lock);
    int fd = vfio_user_device_eventfd(s->device, index, vector);

    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

bool vfio_user_server_map(VFIOUserServer *s, uint64_t address,
                          VFIOUserMap *map)
{
    QEMU_LOCK_GUARD(&s->lock);
    const VFIOUserMap *found = vfio_user_device_map(s->device, address);

    if (found) {
        *map = *found;
    }
    return found;
}

unsigned vfio_user_server_maps(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    return vfio_user_device_maps(s->device);
}

bool vfio_user_server_write(VFIOUserServer *s, uint64_t address,
                            const void *bytes, size_t count)
{
    QEMU_LOCK_GUARD(&s->lock);

    return vfio_user_device_write(s->device, address, bytes, count);
}

bool vfio_user_server_runs(VFIOUserServer *s)
{
    QEMU_LOCK_GUARD(&s->lock);

    return vfio_user_device_runs(s->device);
}
