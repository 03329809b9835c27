/*
 * Test rig: a QEMU that may exit or be killed at any time
 *
 * See the header.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <glib/gstdio.h>

#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "vfio-user-mortal.h"
#include "vfio-user-server.h"

/* The monitor */

/* Returns the next line, or NULL if QEMU has exited. */
static char *next_line(VFIOUserMortal *m)
{
    struct pollfd pfd = { .fd = m->monitor, .events = POLLIN };
    char bytes[4096], *end, *line;
    ssize_t n;

    while (!(end = strchr(m->received->str, '\n'))) {
        g_assert_cmpint(poll(&pfd, 1, VFIO_USER_SERVER_DEADLINE / 1000), >, 0);
        n = recv(m->monitor, bytes, sizeof(bytes), 0);
        if (n <= 0) {
            return NULL;
        }
        g_string_append_len(m->received, bytes, n);
    }
    line = g_strndup(m->received->str, end - m->received->str);
    g_string_erase(m->received, 0, end + 1 - m->received->str);
    return line;
}

/*
 * Returns the next response, or NULL if QEMU has exited.  Events are dropped.
 */
static QDict *next_response(VFIOUserMortal *m)
{
    for (;;) {
        g_autofree char *line = next_line(m);
        QDict *response;

        if (!line) {
            return NULL;
        }
        response = qobject_to(QDict, qobject_from_json(line, &error_abort));
        if (qdict_haskey(response, "return") ||
            qdict_haskey(response, "error")) {
            return response;
        }
        qobject_unref(response);
    }
}

static void G_GNUC_PRINTF(2, 0)
send_command(VFIOUserMortal *m, const char *format, va_list ap)
{
    QObject *command = qobject_from_vjsonf_nofail(format, ap);
    GString *text = qobject_to_json(command);

    g_string_append_c(text, '\n');
    /* a missing response shows that QEMU has exited */
    if (send(m->monitor, text->str, text->len, MSG_NOSIGNAL) < 0) {
        g_assert(errno == EPIPE || errno == ECONNRESET);
    }
    g_string_free(text, true);
    qobject_unref(command);
}

void vfio_user_mortal_settle(VFIOUserMortal *m)
{
    while (m->owed) {
        QDict *response = next_response(m);

        m->owed--;
        if (m->kept_at && --m->kept_at == 0) {
            m->kept = response;
        } else {
            qobject_unref(response);
        }
    }
}

static QDict * G_GNUC_PRINTF(2, 0)
ask(VFIOUserMortal *m, const char *format, va_list ap)
{
    send_command(m, format, ap);
    vfio_user_mortal_settle(m);
    return next_response(m);
}

QDict *vfio_user_mortal_qmp(VFIOUserMortal *m, const char *format, ...)
{
    QDict *response;
    va_list ap;

    va_start(ap, format);
    response = ask(m, format, ap);
    va_end(ap);
    return response;
}

bool vfio_user_mortal_do(VFIOUserMortal *m, const char *format, ...)
{
    QDict *response;
    va_list ap;
    bool taken;

    va_start(ap, format);
    response = ask(m, format, ap);
    va_end(ap);
    taken = response && qdict_haskey(response, "return");
    qobject_unref(response);
    return taken;
}

void vfio_user_mortal_order(VFIOUserMortal *m, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    send_command(m, format, ap);
    va_end(ap);
    m->owed++;
}

void vfio_user_mortal_begin(VFIOUserMortal *m, const char *format, ...)
{
    va_list ap;

    g_assert(!m->kept_at && !m->kept);
    va_start(ap, format);
    send_command(m, format, ap);
    va_end(ap);
    m->kept_at = ++m->owed;
}

QDict *vfio_user_mortal_finish(VFIOUserMortal *m)
{
    vfio_user_mortal_settle(m);
    return g_steal_pointer(&m->kept);
}

char *vfio_user_mortal_ask(VFIOUserMortal *m, const char *query,
                           const char *word)
{
    QDict *response = vfio_user_mortal_qmp(m, "{'execute': %s}", query);
    QDict *answer = response ? qdict_get_qdict(response, "return") : NULL;
    char *is = answer ? g_strdup(qdict_get_try_str(answer, word)) : NULL;

    qobject_unref(response);
    return is;
}

static void open_monitor(VFIOUserMortal *m)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    g_snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/monitor", m->dir);
    m->monitor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(connect(m->monitor, (void *)&addr, sizeof(addr)), ==, 0);
    g_assert_true(vfio_user_mortal_do(m, "{'execute': 'qmp_capabilities'}"));
}

/* QEMU */

VFIOUserMortal *vfio_user_mortal_new(const char *args)
{
    VFIOUserMortal *m = g_new0(VFIOUserMortal, 1);

    m->dir = g_dir_make_tmp("vfio-user-XXXXXX", NULL);
    g_assert_nonnull(m->dir);
    m->log = g_build_filename(m->dir, "log", NULL);
    m->received = g_string_new(NULL);
    m->qts = qtest_initf("%s -chardev socket,id=mortal,path=%s/monitor,"
                         "server=on,wait=off -mon chardev=mortal,mode=control"
                         " 2>%s", args, m->dir, m->log);
    m->pid = qtest_pid(m->qts);
    open_monitor(m);
    return m;
}

/* Checks QEMU's exit status and hides the exit from libqtest. */
static void check_exit(VFIOUserMortal *m, int status)
{
    if (!m->killed && !(WIFEXITED(status) && WEXITSTATUS(status) == 1)) {
        g_autofree char *said = vfio_user_mortal_said(m);

        fprintf(stderr, "# QEMU ended with status 0x%x: %s\n", status, said);
        g_assert_not_reached();
    }
    m->ended = true;
    g_assert_false(qtest_probe_child(m->qts));
}

void vfio_user_mortal_kill(VFIOUserMortal *m)
{
    int status;

    if (vfio_user_mortal_lives(m)) {
        m->killed = true;
        g_assert_cmpint(kill(m->pid, SIGKILL), ==, 0);
        g_assert_cmpint(RETRY_ON_EINTR(waitpid(m->pid, &status, 0)), ==,
                        m->pid);
        check_exit(m, status);
    }
}

bool vfio_user_mortal_lives(VFIOUserMortal *m)
{
    int status;
    pid_t pid = m->ended ? 0 : waitpid(m->pid, &status, WNOHANG);

    g_assert_cmpint(pid, >=, 0);
    if (pid > 0) {
        check_exit(m, status);
    }
    return !m->ended;
}

char *vfio_user_mortal_said(VFIOUserMortal *m)
{
    char *text = NULL;

    g_assert_true(g_file_get_contents(m->log, &text, NULL, NULL));
    return text;
}

unsigned vfio_user_mortal_count(VFIOUserMortal *m, const char *what)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", m->pid, what);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

static void mortal_remove_files(VFIOUserMortal *m)
{
    g_autoptr(GDir) dir = g_dir_open(m->dir, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(m->dir, name, NULL);

        g_unlink(path);
    }
    g_rmdir(m->dir);
}

void vfio_user_mortal_free(VFIOUserMortal *m)
{
    vfio_user_mortal_lives(m);
    qtest_quit(m->qts);
    close(m->monitor);
    qobject_unref(m->kept);
    g_string_free(m->received, true);
    mortal_remove_files(m);
    g_free(m->log);
    g_free(m->dir);
    g_free(m);
}
