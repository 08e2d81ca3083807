/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-host.c - errors, log, timers, worker, descriptors, files */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/host/err.h"
#include "common/host/fdpass.h"
#include "common/host/file.h"
#include "common/host/log.h"
#include "common/host/loop.h"
#include "common/host/work.h"

static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[128];

    g_snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

/* ---- errors ---- */

static void test_err(void)
{
    char longer[2000];
    struct ft_err e;

    errno = 77;
    g_assert_cmpint(ft_err_set(&e, 0, "disk %d", 3), ==, -1);
    g_assert_cmpint(e.code, ==, EIO);
    g_assert_cmpstr(e.text, ==, "disk 3");
    g_assert_cmpint(ft_err_sys(&e, ENOENT, "file %s", "x"), ==, -1);
    g_assert_cmpstr(e.text, ==, "file x: No such file or directory");
    ft_err_prefix(&e, "pair %s", "web1");
    g_assert_cmpstr(e.text, ==,
                    "pair web1: file x: No such file or directory");
    g_assert_cmpint(e.code, ==, ENOENT);
    g_assert_cmpint(errno, ==, 77);
    memset(longer, 'x', sizeof(longer));
    longer[1999] = 0;
    ft_err_set(&e, 1, "%s", longer);
    g_assert_cmpuint(strlen(e.text), ==, FT_ERR_TEXT - 1);
    ft_err_sys(&e, 1, "%s", longer);
    ft_err_prefix(&e, "%s", longer);
    g_assert_cmpuint(strlen(e.text), ==, FT_ERR_TEXT - 1);
    g_assert_cmpint(ft_err_set(NULL, 1, "nobody asks"), ==, -1);
}

/* ---- log ---- */

static void test_log(void)
{
    struct ft_log_config config = { .program = "tester",
                                    .file = in_dir("log"),
                                    .level = FT_LOG_INFO };
    char *text, **lines;
    struct ft_err err;
    int i;

    g_assert_cmpint(ft_log_open(&config, &err), ==, 0);
    ft_info("pair web1: protected");
    ft_debug("pair web1: detail %d", 1);
    ft_error("pair web1: bad\nforged line\x1b[31m");
    for (i = 0; i < 3000; i++) {
        ft_debug("entry %d", i);
    }
    ft_log_dump("a test");
    ft_log_dump("another");
    ft_log_close();
    g_assert_true(g_file_get_contents(config.file, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    g_assert_true(g_regex_match_simple(
        "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}Z \\d+\\.\\d{6} "
        "tester info: pair web1: protected$",
        lines[0], 0, 0));
    g_assert_nonnull(strstr(lines[1], "error: pair web1: bad forged line "
                                      "[31m"));
    g_assert_nonnull(strstr(lines[2], "log: 1024 recent lines of detail, "
                                      "because of a test"));
    g_assert_nonnull(strstr(lines[3], "entry 1976"));
    g_assert_nonnull(strstr(lines[1026], "entry 2999"));
    g_assert_nonnull(strstr(lines[1027], "log: 0 recent lines"));
    g_strfreev(lines);
    g_free(text);
    config.file = "/nonexistent/log";
    g_assert_cmpint(ft_log_open(&config, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "log file /nonexistent/log"));
}

/* What a stranger causes does not fill the disk; and a log that was cut while it
 * is open goes on at its new end. */
static void test_few(void)
{
    struct ft_log_config config = { .program = "tester",
                                    .file = in_dir("few"),
                                    .level = FT_LOG_INFO };
    struct ft_few few = { 0 };
    char *text, **lines;
    struct ft_err err;
    int i;

    g_assert_cmpint(ft_log_open(&config, &err), ==, 0);
    for (i = 0; i < 10000; i++) {
        ft_warning_few(&few, "stranger %d", i);
    }
    g_assert_true(g_file_get_contents(config.file, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    g_assert_cmpuint(g_strv_length(lines), ==, 11);
    g_strfreev(lines);
    g_free(text);
    g_assert_cmpint(truncate(config.file, 0), ==, 0);
    few.since_s -= 60;
    ft_warning_few(&few, "stranger %d", i);
    ft_log_close();
    g_assert_true(g_file_get_contents(config.file, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    g_assert_cmpuint(g_strv_length(lines), ==, 3);
    g_assert_nonnull(strstr(lines[0], "9990 messages like the next one"));
    g_assert_nonnull(strstr(lines[1], "stranger 10000"));
    g_strfreev(lines);
    g_free(text);
}

/* ---- timers ---- */

static void count(struct ft_timer *t, void *arg)
{
    (void)t;
    ++*(unsigned *)arg;
}

static void test_timers(void)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct ft_timer late, early, never, often;
    unsigned n_late = 0, n_early = 0, n_never = 0, n_often = 0;
    ft_ns begin;

    ft_timer_init(&late, loop, count, &n_late);
    ft_timer_init(&early, loop, count, &n_early);
    ft_timer_init(&never, loop, count, &n_never);
    ft_timer_init(&often, loop, count, &n_often);
    usleep(30000); /* the loop's cached time is now old */
    begin = ft_monotonic();
    ft_timer_at(&late, ft_boottime() + 40 * FT_NS_PER_MS);
    ft_timer_at(&early, 5); /* long past */
    ft_timer_at(&never, FT_NEVER);
    g_assert_false(ft_timer_running(&never));
    ft_timer_after(&never, FT_NS_PER_MS);
    ft_timer_at(&never, FT_NEVER);
    ft_timer_every(&often, 5 * FT_NS_PER_MS);
    ev_run(loop, EVRUN_ONCE);
    g_assert_cmpuint(n_early, ==, 1);
    while (!n_late || n_often < 4) {
        ev_run(loop, EVRUN_ONCE);
    }
    g_assert_cmpint(ft_monotonic() - begin, >=, 39 * FT_NS_PER_MS);
    g_assert_cmpuint(n_early, ==, 1);
    ft_timer_stop(&often);
    ft_timer_stop(&often);
    g_assert_cmpuint(n_never, ==, 0);
    ev_loop_destroy(loop);
}

/* ---- worker ---- */

struct job {
    int hang;  /* a pipe to read from first, or 0 */
    int begun; /* set by its thread */
    unsigned order;
    bool ran, done, dropped;
    pthread_t thread;
};

static unsigned runs, dones;
static int drops;

static void job_run(void *arg)
{
    struct job *j = arg;

    char byte;

    g_atomic_int_set(&j->begun, 1);
    if (j->hang) {
        g_assert_cmpint(read(j->hang, &byte, 1), ==, 1);
    }
    j->order = ++runs;
    j->ran = true;
    j->thread = pthread_self();
}

static void job_done(void *arg)
{
    struct job *j = arg;

    g_assert_true(j->ran);
    j->done = true;
    dones++;
}

static void job_drop(void *arg)
{
    struct job *j = arg;

    j->dropped = true;
    g_atomic_int_inc(&drops);
}

static void test_worker(void)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct job jobs[5] = { 0 };
    struct ft_worker *w;
    struct ft_err err;
    int i, hang[2];

    w = ft_worker_new(loop, "a name of many bytes", &err);
    g_assert_nonnull(w);
    for (i = 0; i < 5; i++) {
        ft_worker_submit(w, job_run, job_done, &jobs[i]);
    }
    g_assert_cmpuint(dones, ==, 0);
    while (dones < 5) {
        ev_run(loop, EVRUN_ONCE);
    }
    for (i = 0; i < 5; i++) {
        g_assert_cmpuint(jobs[i].order, ==, i + 1);
        g_assert_false(pthread_equal(jobs[i].thread, pthread_self()));
    }
    g_assert_cmpuint(dones, ==, 5);

    /* freeing does not wait for the one that hangs; all are dropped later */
    memset(jobs, 0, sizeof(jobs));
    g_assert_cmpint(pipe(hang), ==, 0);
    jobs[0].hang = hang[0];
    for (i = 0; i < 5; i++) {
        ft_worker_submit(w, job_run, job_done, &jobs[i]);
    }
    while (!g_atomic_int_get(&jobs[0].begun)) {
        usleep(1000);
    }
    ft_worker_free(w, job_drop); /* it would hang if it waited */
    g_assert_cmpint(write(hang[1], "x", 1), ==, 1);
    while (g_atomic_int_get(&drops) < 5) {
        usleep(1000);
    }
    g_assert_true(jobs[0].ran);
    g_assert_false(jobs[1].ran);
    g_assert_false(jobs[0].done || jobs[4].done);
    usleep(20000); /* the thread ends */
    ev_loop_destroy(loop);
    close(hang[0]);
    close(hang[1]);
}

/* ---- descriptors ---- */

static void pass(int type)
{
    int pair[2], fds[FT_FDS_MAX + 1], got[FT_FDS_MAX];
    struct stat here, there;
    char buf[64];
    struct ft_err err;
    size_t i, n;

    g_assert_cmpint(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, pair), ==,
                    0);
    for (i = 0; i < FT_FDS_MAX; i++) {
        fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
    }
    g_assert_cmpint(ft_recv_fds(pair[1], buf, 64, got, 8, &n, &err), ==, -1);
    g_assert_cmpint(err.code, ==, EAGAIN);
    g_assert_cmpint(ft_send_fds(pair[0], "hello", 5, fds, FT_FDS_MAX, &err),
                    ==, 5);
    g_assert_cmpint(ft_recv_fds(pair[1], buf, 64, got, 8, &n, &err), ==, 5);
    g_assert_cmpuint(n, ==, FT_FDS_MAX);
    for (i = 0; i < n; i++) {
        fstat(fds[i], &here);
        fstat(got[i], &there);
        g_assert_cmpuint(here.st_ino, ==, there.st_ino);
        g_assert_cmpint(fcntl(got[i], F_GETFD) & FD_CLOEXEC, !=, 0);
        close(got[i]);
    }
    /* more than the receiver wants: refused, and none leaks */
    g_assert_cmpint(ft_send_fds(pair[0], "x", 1, fds, 3, &err), ==, 1);
    g_assert_cmpint(ft_recv_fds(pair[1], buf, 64, got, 2, &n, &err), ==, -1);
    g_assert_cmpint(err.code, ==, EMSGSIZE);
    g_assert_cmpuint(n, ==, 0);
    i = (size_t)open("/dev/null", O_RDONLY);
    g_assert_cmpuint(i, ==, (size_t)got[0]);
    close((int)i);
    if (type == SOCK_SEQPACKET) {
        g_assert_cmpint(ft_send_fds(pair[0], "0123456789", 10, NULL, 0, &err),
                        ==, 10);
        g_assert_cmpint(ft_recv_fds(pair[1], buf, 9, got, 2, &n, &err), ==,
                        -1);
        g_assert_cmpint(err.code, ==, EMSGSIZE);
    }
    g_assert_cmpint(ft_send_fds(pair[0], "x", 0, fds, 1, &err), ==, -1);
    close(pair[0]);
    g_assert_cmpint(ft_recv_fds(pair[1], buf, 64, got, 8, &n, &err), ==, 0);
    close(pair[1]);
    for (i = 0; i < FT_FDS_MAX; i++) {
        close(fds[i]);
    }
}

static void test_stream(void)
{
    pass(SOCK_STREAM);
}

static void test_packets(void)
{
    pass(SOCK_SEQPACKET);
}

static void test_unix_sockets(void)
{
    const char *path = in_dir("sock");
    char longer[200];
    struct ft_err err;
    struct stat st;
    mode_t mask;
    int fd, client;

    g_assert_cmpint(ft_unix_connect(path, SOCK_STREAM, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, path));
    g_assert_nonnull(strstr(err.text, "No such file"));
    fd = ft_unix_listen(path, SOCK_STREAM, 0600, &err);
    g_assert_cmpint(fd, >=, 0);
    stat(path, &st);
    g_assert_cmpint(st.st_mode & 0777, ==, 0600);
    client = ft_unix_connect(path, SOCK_STREAM, &err);
    g_assert_cmpint(client, >=, 0);
    close(client);
    g_assert_cmpint(ft_unix_listen(path, SOCK_STREAM, 0600, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "another process listens on it"));
    close(fd);
    /* left behind by one that was killed */
    fd = ft_unix_listen(path, SOCK_STREAM, 0660, &err);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    /* the mode is not the umask's business, which stays as it was */
    mask = umask(0);
    fd = ft_unix_listen(path, SOCK_STREAM, 0600, &err);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(umask(mask), ==, 0);
    stat(path, &st);
    g_assert_cmpint(st.st_mode & 0777, ==, 0600);
    close(fd);
    unlink(path);
    g_assert_true(g_file_set_contents(path, "precious", -1, NULL));
    g_assert_cmpint(ft_unix_listen(path, SOCK_STREAM, 0600, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "not a socket"));
    memset(longer, 'x', 199);
    longer[199] = 0;
    g_assert_cmpint(ft_unix_listen(longer, SOCK_STREAM, 0600, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "must have 1 to 107 bytes"));
}

/* Whoever listens is there; a text that names the socket, a file that was left
 * behind and a client are not. */
static void test_listener(void)
{
    g_autofree char *path = g_strdup(in_dir("vm link.sock"));
    g_autofree char *longer = g_strdup_printf("%s2", path);
    const char *argv[] = { "sh", "-c", "kill -STOP $$", path, NULL };
    struct ft_err err;
    GPid pid;
    int fd, client;

    g_assert_cmpint(ft_unix_has_listener(path), ==, 0);
    fd = ft_unix_listen(path, SOCK_SEQPACKET, 0600, &err);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ft_unix_has_listener(path), ==, 1);
    g_assert_cmpint(ft_unix_has_listener(longer), ==, 0);
    client = ft_unix_connect(path, SOCK_SEQPACKET, &err);
    g_assert_cmpint(client, >=, 0);
    g_assert_cmpint(ft_unix_has_listener(path), ==, 1);
    close(fd);
    g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
    g_assert_cmpint(ft_unix_has_listener(path), ==, 0);
    close(client);
    g_assert_true(
        g_spawn_async(NULL, (char **)argv, NULL,
                      G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                      NULL, &pid, NULL));
    g_assert_cmpint(waitpid(pid, NULL, WUNTRACED), ==, pid); /* it is there */
    g_assert_cmpint(ft_unix_has_listener(path), ==, 0);
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    unlink(path);
}

/* ---- files ---- */

static int syncs, syncs_at_rename;
static bool sync_fails;

/* The program's own: what must be on the disk, and when. */
int fsync(int fd)
{
    (void)fd;
    syncs++;
    errno = EIO;
    return sync_fails ? -1 : 0;
}

int rename(const char *from, const char *to)
{
    syncs_at_rename = syncs;
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static void says(const char *path, const char *text)
{
    g_autofree char *is = NULL;

    g_assert_true(g_file_get_contents(path, &is, NULL, NULL));
    g_assert_cmpstr(is, ==, text);
}

/* The text is on the disk before it has its name, and its name before the call
 * returns; what fails leaves the old one. */
static void test_replace(void)
{
    g_autofree char *path = g_strdup(in_dir("definition.xml"));
    g_autofree char *away = g_strdup(in_dir("nowhere/x.xml"));
    struct ft_err err = { 0 };
    struct stat st;

    g_assert_cmpint(ft_file_replace(path, "old", 0640, &err), ==, 0);
    g_assert_cmpint(syncs_at_rename, ==, 1);
    g_assert_cmpint(syncs, ==, 2);
    says(path, "old");
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777 & ~0640, ==, 0);
    sync_fails = true;
    g_assert_cmpint(ft_file_replace(path, "new", 0640, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, path));
    g_assert_nonnull(strstr(err.text, "Input/output error"));
    sync_fails = false;
    says(path, "old");
    g_assert_cmpint(ft_file_replace(away, "new", 0640, &err), ==, -1);
    g_assert_cmpint(err.code, ==, ENOENT);
    g_assert_cmpint(ft_file_replace(path, "new", 0640, &err), ==, 0);
    says(path, "new");
    unlink(path);
}

int main(int argc, char **argv)
{
    char command[96];
    int rc;

    g_test_init(&argc, &argv, NULL);
    strcpy(dir, "/tmp/lockstep-host-XXXXXX");
    g_assert_nonnull(mkdtemp(dir));
    g_test_add_func("/err/texts are whole, cut, and keep errno", test_err);
    g_test_add_func("/log/levels, ring and safe lines", test_log);
    g_test_add_func("/log/few of a stranger's", test_few);
    g_test_add_func("/loop/timers count from now", test_timers);
    g_test_add_func("/work/in order, and let go while one hangs",
                    test_worker);
    g_test_add_func("/fdpass/stream", test_stream);
    g_test_add_func("/fdpass/packets", test_packets);
    g_test_add_func("/fdpass/listening and connecting", test_unix_sockets);
    g_test_add_func("/fdpass/who listens", test_listener);
    g_test_add_func("/file/synced, whole or not at all", test_replace);
    rc = g_test_run();
    g_snprintf(command, sizeof(command), "rm -r %s", dir);
    return system(command) ? 1 : rc;
}
