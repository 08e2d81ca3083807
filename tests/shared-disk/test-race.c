/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-race.c - two contenders: the self-test, and arbitration in a loop */
#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/host/loop.h"
#include "shared-disk/driver.h"
#include "shared-disk/file.h"
#include "shared-disk/selftest.h"

static char root[64], dir[96], uri[112];

static void fresh(void)
{
    struct ft_err err;
    char command[128];

    memset(&tas_file_faults, 0, sizeof(tas_file_faults));
    g_snprintf(command, sizeof(command), "rm -rf %s", dir);
    g_assert_cmpint(system(command), ==, 0);
    g_assert_cmpint(tas_file_format(dir, false, NULL, &err), ==, 0);
}

#define PATIENCE 60000 /* ms; for what comes unless a test hangs */

/* ---- the self-test ---- */

static unsigned rounds_seen;

static void progress(unsigned round, unsigned rounds, void *arg)
{
    (void)arg;
    g_assert_cmpuint(round, ==, ++rounds_seen);
    g_assert_cmpuint(rounds, ==, 200);
}

static void assert_tidy(void)
{
    char command[160];
    int n;

    g_snprintf(command, sizeof(command), "exit $(ls -A %s | wc -l)", dir);
    n = system(command);
    g_assert_cmpint(WEXITSTATUS(n), ==, 1); /* the mark */
}

static void test_good_store(void)
{
    struct tas_selftest t = { .uri = uri,
                              .rounds = 200,
                              .host = "here",
                              .progress = progress };
    struct tas_selftest_result r;
    struct ft_err err;

    fresh();
    if (tas_selftest_run(&t, &r, &err) < 0) {
        g_error("%s", err.text);
    }
    g_assert_cmpuint(r.rounds, ==, 200);
    g_assert_cmpuint(r.won + r.lost, ==, 200);
    g_assert_cmpuint(r.both + r.none, ==, 0);
    g_assert_cmpuint(r.won, >, 0);
    g_assert_cmpuint(r.lost, >, 0);
    g_test_message("%u of 200 won, %.2f ms each, worst %.1f ms", r.won,
                   r.mean_ms, r.worst_ms);
    assert_tidy();
}

/* Replies that are lost now and then do not make two winners. */
static int link_loses_replies(const char *from, const char *to)
{
    static unsigned n;
    int rc = link(from, to);

    if (n++ % 3 == 0) {
        errno = EIO;
        return -1;
    }
    return rc;
}

static void test_lost_replies(void)
{
    struct tas_selftest t = { .uri = uri, .rounds = 100 };
    struct tas_selftest_result r;
    struct ft_err err;

    fresh();
    tas_file_faults.link = link_loses_replies;
    if (tas_selftest_run(&t, &r, &err) < 0) {
        g_error("%s", err.text);
    }
    g_assert_cmpuint(r.won + r.lost, ==, 100);
    assert_tidy();
}

/* A file system whose link() looks first and links then, and replaces. */
static int link_not_atomic(const char *from, const char *to)
{
    if (access(to, F_OK) == 0) {
        errno = EEXIST;
        return -1;
    }
    usleep(2000);
    unlink(to);
    return link(from, to);
}

static void test_bad_store(void)
{
    struct tas_selftest t = { .uri = uri, .rounds = 200 };
    struct tas_selftest_result r;
    struct ft_err err;

    fresh();
    tas_file_faults.link = link_not_atomic;
    g_assert_cmpint(tas_selftest_run(&t, &r, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "both contenders were told that they "
                                      "won"));
    g_assert_nonnull(strstr(err.text, "do not use this storage"));
    g_assert_cmpuint(r.both, ==, 1);
}

/* As on two hosts: two runs that meet by name. */
static void test_two_runs(void)
{
    struct tas_selftest t = { .uri = uri,
                              .rounds = 50,
                              .host = "hosta",
                              .with = "today",
                              .wait_ms = PATIENCE };
    struct tas_selftest_result r;
    struct ft_err err;
    int status;
    pid_t pid;

    fresh();
    pid = fork();
    if (pid == 0) {
        t.host = "hostb";
        usleep(100000);
        _exit(tas_selftest_run(&t, &r, &err) < 0);
    }
    if (tas_selftest_run(&t, &r, &err) < 0) {
        g_error("%s", err.text);
    }
    waitpid(pid, &status, 0);
    g_assert_cmpint(status, ==, 0);
    g_assert_cmpuint(r.won + r.lost, ==, 50);
    assert_tidy();
}

static void test_alone(void)
{
    struct tas_selftest t = { .uri = uri, .with = "nobody", .wait_ms = 100 };
    struct tas_selftest_result r;
    struct ft_err err;

    fresh();
    g_assert_cmpint(tas_selftest_run(&t, &r, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "no other contender"));
    t.with = "a/b";
    g_assert_cmpint(tas_selftest_run(&t, &r, &err), ==, -1);
    t.uri = "file:/nonexistent/arbiter";
    t.with = NULL;
    g_assert_cmpint(tas_selftest_run(&t, &r, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "not mounted"));
}

/* ---- arbitration in a loop ---- */

struct side {
    struct tas_driver *d;
    unsigned decided;
    enum tas_op op;
    enum tas_result result;
    uint64_t generation;
    bool close_when_decided;
};

static struct ev_loop *loop;

static void decided(struct tas_driver *d, enum tas_op op, uint64_t generation,
                    enum tas_result result, void *arg)
{
    struct side *s = arg;

    s->decided++;
    s->op = op;
    s->generation = generation;
    s->result = result;
    if (s->close_when_decided) {
        tas_driver_close(d);
        s->d = NULL;
    }
}

static ft_id test_id(uint8_t byte)
{
    ft_id id;

    memset(id.b, byte, sizeof(id.b));
    return id;
}

static void side_open(struct side *s, enum tas_side side, uint8_t nonce)
{
    ft_id vm = test_id(1), pair = test_id(2), n = test_id(nonce);
    struct ft_err err;

    memset(s, 0, sizeof(*s));
    s->d = tas_driver_open(loop, uri, &vm, &pair, side, &n, "host", decided,
                           s, &err);
    g_assert_nonnull(s->d);
}

static void stop(struct ft_timer *t, void *arg)
{
    (void)t;
    *(bool *)arg = true;
}

/* Until n decisions are there, or ms have passed. */
static bool wait_decided(struct side *s, unsigned n, unsigned ms)
{
    struct ft_timer t;
    bool over = false;

    ft_timer_init(&t, loop, stop, &over);
    ft_timer_after(&t, ms * FT_NS_PER_MS);
    while (s->decided < n && !over) {
        ev_run(loop, EVRUN_ONCE);
    }
    ft_timer_stop(&t);
    return s->decided >= n;
}

/* Until the driver says what troubles it; nothing is decided meanwhile. */
static void wait_trouble(struct side *s, const char *says)
{
    unsigned before = s->decided;
    ft_ns end = ft_monotonic() + PATIENCE * FT_NS_PER_MS;
    const char *trouble;

    while (!(trouble = tas_driver_trouble(s->d)) || !strstr(trouble, says)) {
        g_assert_cmpint(ft_monotonic(), <, end);
        wait_decided(s, before + 1, 20);
        g_assert_cmpuint(s->decided, ==, before);
    }
}

static void test_driver(void)
{
    struct side a, b, heir;

    fresh();
    loop = ev_loop_new(EVFLAG_AUTO);
    side_open(&a, TAS_SIDE_PRIMARY, 10);
    side_open(&b, TAS_SIDE_BACKUP, 11);
    tas_driver_begin(a.d, TAS_OP_FREE, 1);
    g_assert_true(wait_decided(&a, 1, PATIENCE));
    g_assert_cmpint(a.result, ==, TAS_RES_DONE);
    tas_driver_begin(a.d, TAS_OP_TAKE, 1);
    tas_driver_begin(b.d, TAS_OP_TAKE, 1);
    g_assert_true(wait_decided(&a, 2, PATIENCE));
    g_assert_true(wait_decided(&b, 1, PATIENCE));
    g_assert_true((a.result == TAS_RES_WON) != (b.result == TAS_RES_WON));
    g_assert_true((a.result == TAS_RES_LOST) != (b.result == TAS_RES_LOST));
    /* the same side's next agent is told the same */
    side_open(&heir, TAS_SIDE_PRIMARY, 12);
    tas_driver_begin(heir.d, TAS_OP_TAKE, 1);
    g_assert_true(wait_decided(&heir, 1, 5000));
    g_assert_cmpint(heir.result, ==, a.result);
    tas_driver_close(heir.d);
    side_open(&heir, TAS_SIDE_BACKUP, 13);
    tas_driver_begin(heir.d, TAS_OP_TAKE, 1);
    g_assert_true(wait_decided(&heir, 1, 5000));
    g_assert_cmpint(heir.result, ==, b.result);
    tas_driver_close(heir.d);
    tas_driver_begin(a.d, TAS_OP_FREE, 1);
    g_assert_true(wait_decided(&a, 3, PATIENCE));
    g_assert_cmpint(a.result, ==, TAS_RES_TAKEN);
    a.close_when_decided = true;
    tas_driver_begin(a.d, TAS_OP_FREE, 2);
    g_assert_true(wait_decided(&a, 4, PATIENCE));
    g_assert_null(a.d);
    tas_driver_close(b.d);
    ev_loop_destroy(loop);
}

/* Storage away: undecided, for as long as it is; then decided at once. */
static void test_driver_waits(void)
{
    char aside[128];
    struct side a;

    fresh();
    loop = ev_loop_new(EVFLAG_AUTO);
    side_open(&a, TAS_SIDE_PRIMARY, 10);
    tas_driver_begin(a.d, TAS_OP_FREE, 1);
    g_assert_true(wait_decided(&a, 1, PATIENCE));
    g_snprintf(aside, sizeof(aside), "%s.away", dir);
    g_assert_cmpint(rename(dir, aside), ==, 0);
    tas_driver_begin(a.d, TAS_OP_TAKE, 1);
    wait_trouble(&a, "not mounted");
    g_assert_false(wait_decided(&a, 2, 400));
    g_assert_cmpint(rename(aside, dir), ==, 0);
    g_assert_true(wait_decided(&a, 2, PATIENCE));
    g_assert_cmpint(a.result, ==, TAS_RES_WON);
    g_assert_null(tas_driver_trouble(a.d));
    tas_driver_close(a.d);
    ev_loop_destroy(loop);
}

/* A record that a failed try has left counts only when it is lasting. */
static int folders_do_not_sync(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        errno = EIO;
        return -1;
    }
    return fsync(fd);
}

static void test_driver_syncs(void)
{
    struct side a;

    fresh();
    loop = ev_loop_new(EVFLAG_AUTO);
    side_open(&a, TAS_SIDE_PRIMARY, 10);
    tas_driver_begin(a.d, TAS_OP_PREPARE, 1);
    g_assert_true(wait_decided(&a, 1, PATIENCE));
    tas_file_faults.fsync = folders_do_not_sync;
    tas_driver_begin(a.d, TAS_OP_FREE, 1);
    wait_trouble(&a, "cannot sync the folder");
    g_assert_false(wait_decided(&a, 2, 400));
    tas_file_faults.fsync = NULL;
    g_assert_true(wait_decided(&a, 2, PATIENCE));
    g_assert_cmpint(a.result, ==, TAS_RES_DONE);
    tas_driver_close(a.d);
    ev_loop_destroy(loop);
}

/* Storage hangs: the loop runs on; the late answer does no harm. */
static int hang[2];

static int fsync_hangs(int fd)
{
    struct pollfd p = { .fd = hang[0], .events = POLLIN };

    poll(&p, 1, -1);
    return fsync(fd);
}

/* The worker's thread, which was let go, has ended. */
static bool one_thread(void)
{
    GDir *d = g_dir_open("/proc/self/task", 0, NULL);
    bool one = g_dir_read_name(d) && !g_dir_read_name(d);

    g_dir_close(d);
    return one;
}

static void tick(struct ft_timer *t, void *arg)
{
    (void)t;
    ++*(unsigned *)arg;
}

static void test_driver_hangs(void)
{
    struct ft_timer t;
    unsigned ticks = 0;
    struct side a;
    int i;

    fresh();
    loop = ev_loop_new(EVFLAG_AUTO);
    g_assert_cmpint(pipe(hang), ==, 0);
    side_open(&a, TAS_SIDE_PRIMARY, 10);
    tas_driver_begin(a.d, TAS_OP_FREE, 1);
    g_assert_true(wait_decided(&a, 1, PATIENCE));
    tas_file_faults.fsync = fsync_hangs;
    ft_timer_init(&t, loop, tick, &ticks);
    ft_timer_every(&t, 10 * FT_NS_PER_MS);
    tas_driver_begin(a.d, TAS_OP_TAKE, 1);
    wait_trouble(&a, "the storage does not answer");
    g_assert_cmpuint(a.decided, ==, 1);
    ticks = 0;
    while (ticks < 15) { /* a loop that waits has none */
        ev_run(loop, EVRUN_ONCE);
    }
    g_assert_cmpuint(a.decided, ==, 1);
    g_assert_cmpint(write(hang[1], "x", 1), ==, 1);
    g_assert_true(wait_decided(&a, 2, PATIENCE));
    g_assert_cmpint(a.result, ==, TAS_RES_WON);
    ft_timer_stop(&t);

    /* closing while it hangs does not wait */
    g_assert_cmpint(read(hang[0], &i, 1), ==, 1);
    tas_driver_begin(a.d, TAS_OP_FREE, 2);
    g_assert_false(wait_decided(&a, 3, 100));
    tas_driver_close(a.d);
    ev_loop_destroy(loop);
    g_assert_cmpint(write(hang[1], "x", 1), ==, 1);
    while (!one_thread()) {
        usleep(10000);
    }
    close(hang[0]);
    close(hang[1]);
}

int main(int argc, char **argv)
{
    char command[96];
    int rc;

    g_test_init(&argc, &argv, NULL);
    strcpy(root, "/tmp/lockstep-race-XXXXXX");
    g_assert_nonnull(mkdtemp(root));
    g_snprintf(dir, sizeof(dir), "%s/arbiter", root);
    g_snprintf(uri, sizeof(uri), "file:%s", dir);
    g_test_add_func("/selftest/200 rounds, one winner each", test_good_store);
    g_test_add_func("/selftest/lost replies make no second winner",
                    test_lost_replies);
    g_test_add_func("/selftest/a store that is not atomic is found",
                    test_bad_store);
    g_test_add_func("/selftest/two runs meet in the folder", test_two_runs);
    g_test_add_func("/selftest/nobody there, no mark", test_alone);
    g_test_add_func("/driver/one of two wins", test_driver);
    g_test_add_func("/driver/storage away: waits, then decides",
                    test_driver_waits);
    g_test_add_func("/driver/a record that is not lasting is none yet",
                    test_driver_syncs);
    g_test_add_func("/driver/storage hangs: the loop does not",
                    test_driver_hangs);
    rc = g_test_run();
    g_snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command) ? 1 : rc;
}
