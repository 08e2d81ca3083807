/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * selftest.c - does this storage give a grant to exactly one of two?
 *
 * The two contenders meet and keep step through empty files in the hidden
 * folder DIR/.selftest-NAME, so that the same code runs on one host (in two
 * processes) and on two. The one with the lower nonce leads:
 *
 *   nonce.N         I am here              (each; the record's VM id is made
 *                                           of both, so each saw the other's)
 *   ready.R.N       I have read free(R)    (the follower)
 *   go.R            now!                   (the leader, who waits a moment of
 *                                           varying length before it tries)
 *   won.R.N lost.R.N                       (each; each waits for the other's)
 *   bye.N           leave the cleaning to the leader
 */
#include "shared-disk/selftest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/host/clock.h"
#include "common/host/id.h"
#include "shared-disk/file.h"

#define DEFAULT_ROUNDS 200
#define ONE_HOST_WAIT_MS 20000
#define TWO_HOSTS_WAIT_MS 60000

struct contender {
    const char *uri, *dir;
    char folder[TAS_FOLDER_TEXT];
    struct tas_who who;
    char me[FT_HEX_TEXT], other[FT_HEX_TEXT];
    bool leads;
    unsigned rounds, wait_ms;
    void (*progress)(unsigned round, unsigned rounds, void *arg);
    void *arg;
    struct tas_selftest_result r;
    double total_ms;
};

/* ---- meeting ---- */

static int put_flag(struct contender *c, const char *name, struct ft_err *err)
{
    char path[TAS_PATH_TEXT];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", c->folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return ft_err_sys(err, errno, "arbiter %s: cannot make", path);
    }
    close(fd);
    return 0;
}

static bool has_flag(struct contender *c, const char *name)
{
    char path[TAS_PATH_TEXT];

    snprintf(path, sizeof(path), "%s/%s", c->folder, name);
    return access(path, F_OK) == 0;
}

/* It spins first, so that both contenders start at the same moment. */
static void poll_pause(ft_ns since)
{
    if (ft_monotonic() - since > 20 * FT_NS_PER_MS) {
        usleep(2000);
    }
}

/* Until one of two names is there: 0 or 1; -1: err. */
static int wait_flag(struct contender *c, const char *a, const char *b,
                     struct ft_err *err)
{
    ft_ns since = ft_monotonic();

    for (;;) {
        tas_file_refresh(c->folder);
        if (has_flag(c, a)) {
            return 0;
        }
        if (b && has_flag(c, b)) {
            return 1;
        }
        if (ft_monotonic() - since > c->wait_ms * FT_NS_PER_MS) {
            return ft_err_set(err, ETIMEDOUT,
                              "arbiter %s: the other "
                              "contender did not come within %u s (it waits "
                              "for %s)",
                              c->uri, c->wait_ms / 1000, a);
        }
        poll_pause(since);
    }
}

/* The nonces in the folder but ours; the number of them. */
static int find_other(struct contender *c)
{
    uint8_t nonce[16];
    struct dirent *e;
    int n = 0;
    DIR *d;

    tas_file_refresh(c->folder);
    d = opendir(c->folder);
    while (d && (e = readdir(d))) {
        if (!strncmp(e->d_name, "nonce.", 6) &&
            ft_unhex(nonce, e->d_name + 6) && strcmp(e->d_name + 6, c->me)) {
            ft_hex(c->other, nonce);
            n++;
        }
    }
    if (d) {
        closedir(d);
    }
    return n;
}

static void mix_vm(struct contender *c)
{
    uint8_t other[16];
    int i;

    ft_unhex(other, c->other);
    for (i = 0; i < 16; i++) {
        c->who.vm[i] = c->who.nonce[i] ^ other[i];
    }
    memcpy(c->who.pair, c->who.vm, 16);
}

static int meet(struct contender *c, struct ft_err *err)
{
    ft_ns since = ft_monotonic();
    char name[64];
    int n;

    if (mkdir(c->folder, 0777) < 0 && errno != EEXIST) {
        return ft_err_sys(err, errno, "arbiter %s: cannot make", c->folder);
    }
    snprintf(name, sizeof(name), "nonce.%s", c->me);
    if (put_flag(c, name, err) < 0) {
        return -1;
    }
    while ((n = find_other(c)) == 0) {
        if (ft_monotonic() - since > c->wait_ms * FT_NS_PER_MS) {
            return ft_err_set(err, ETIMEDOUT,
                              "arbiter %s: no other "
                              "contender within %u s; on two hosts run the "
                              "same command on each",
                              c->uri, c->wait_ms / 1000);
        }
        usleep(2000);
    }
    if (n > 1) {
        return ft_err_set(err, EBUSY,
                          "arbiter %s: more than two contenders, "
                          "or a test that was cut off: remove %s or choose "
                          "another name",
                          c->uri, c->folder);
    }
    c->leads = strcmp(c->me, c->other) < 0;
    c->who.side = c->leads ? TAS_SIDE_PRIMARY : TAS_SIDE_BACKUP;
    mix_vm(c);
    return 0;
}

/* ---- rounds ---- */

static int look(struct contender *c, struct tas_record *seen,
                struct ft_err *err)
{
    struct tas_block b;

    if (tas_file_read(c->dir, c->who.vm, &b, err) < 0) {
        return -1;
    }
    *seen = tas_block_look(&b, c->who.pair, c->who.side);
    return 0;
}

static int put_free(struct contender *c, uint64_t g, struct ft_err *err)
{
    struct tas_record seen;
    enum tas_status status;

    if (look(c, &seen, err) < 0) {
        return -1;
    }
    status = tas_file_write(c->dir, &c->who, &seen, TAS_FREE, g, err);
    if (status == TAS_MISCOMPARE) {
        return ft_err_set(err, EIO,
                          "arbiter %s: round %llu: the free record "
                          "could not be written, another one is there",
                          c->uri, (unsigned long long)g);
    }
    return status == TAS_OK ? 0 : -1;
}

static int await_free(struct contender *c, uint64_t g, struct ft_err *err)
{
    ft_ns since = ft_monotonic();
    struct tas_record seen;

    for (;;) {
        if (look(c, &seen, err) < 0) {
            return -1;
        }
        if (seen.kind == TAS_FREE && seen.generation == g) {
            return 0;
        }
        if (ft_monotonic() - since > c->wait_ms * FT_NS_PER_MS) {
            return ft_err_set(err, ETIMEDOUT,
                              "arbiter %s: round %llu: the "
                              "other contender's record does not show up: "
                              "do both look at the same folder?",
                              c->uri, (unsigned long long)g);
        }
        poll_pause(since);
    }
}

/* 1 won, 0 lost, -1 err. As the core does it. */
static int try_to_win(struct contender *c, uint64_t g, struct ft_err *err)
{
    int tries;

    for (tries = 0; tries < 20; tries++) {
        struct tas_record seen;

        if (look(c, &seen, err) < 0) {
            return -1;
        }
        if (seen.generation > g || seen.kind == TAS_OWNED) {
            return seen.generation == g && seen.mine;
        }
        if (seen.generation < g) {
            return ft_err_set(err, EIO,
                              "arbiter %s: round %llu: a stale "
                              "read: the record was seen newer before",
                              c->uri, (unsigned long long)g);
        }
        if (tas_file_write(c->dir, &c->who, &seen, TAS_OWNED, g, err) ==
            TAS_OK) {
            return 1;
        }
    }
    return ft_err_set(err, EIO,
                      "arbiter %s: round %llu: still undecided "
                      "after %d tries",
                      c->uri, (unsigned long long)g, tries);
}

static int take_timed(struct contender *c, uint64_t g, struct ft_err *err)
{
    ft_ns begin = ft_monotonic();
    int won = try_to_win(c, g, err);
    double ms = (double)(ft_monotonic() - begin) / 1e6;

    c->total_ms += ms;
    if (ms > c->r.worst_ms) {
        c->r.worst_ms = ms;
    }
    return won;
}

static int start_together(struct contender *c, unsigned g, struct ft_err *err)
{
    char go[32], ready[64];

    snprintf(go, sizeof(go), "go.%u", g);
    if (c->leads) {
        snprintf(ready, sizeof(ready), "ready.%u.%s", g, c->other);
        if (put_free(c, g, err) < 0 || wait_flag(c, ready, NULL, err) < 0 ||
            put_flag(c, go, err) < 0) {
            return -1;
        }
        usleep((g * 37 % 16) * 25); /* 0 to 375 us: sweep the overlap */
        return 0;
    }
    snprintf(ready, sizeof(ready), "ready.%u.%s", g, c->me);
    if (await_free(c, g, err) < 0 || put_flag(c, ready, err) < 0) {
        return -1;
    }
    return wait_flag(c, go, NULL, err);
}

static void forget_flags(struct contender *c, unsigned g)
{
    static const char *const names[] = { "ready", "won", "lost" };
    char path[TAS_PATH_TEXT];
    size_t i;

    for (i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s.%u.%s", c->folder, names[i], g,
                 c->me);
        unlink(path);
    }
    if (c->leads) {
        snprintf(path, sizeof(path), "%s/go.%u", c->folder, g);
        unlink(path);
    }
}

static int run_round(struct contender *c, unsigned g, struct ft_err *err)
{
    char name[64], their_won[64], their_lost[64];
    struct tas_record seen;
    int won, they_won;

    if (start_together(c, g, err) < 0) {
        return -1;
    }
    won = take_timed(c, g, err);
    if (won < 0) {
        return -1;
    }
    snprintf(name, sizeof(name), "%s.%u.%s", won ? "won" : "lost", g, c->me);
    snprintf(their_won, sizeof(their_won), "won.%u.%s", g, c->other);
    snprintf(their_lost, sizeof(their_lost), "lost.%u.%s", g, c->other);
    if (put_flag(c, name, err) < 0) {
        return -1;
    }
    they_won = wait_flag(c, their_lost, their_won, err);
    if (they_won < 0 || look(c, &seen, err) < 0) {
        return -1;
    }
    if (g > 1) {
        forget_flags(c, g - 1); /* the other is past it for certain */
    }
    c->r.rounds++;
    c->r.won += won == 1;
    c->r.lost += won == 0;
    c->r.both += won && they_won;
    c->r.none += !won && !they_won;
    if (won == they_won) {
        return ft_err_set(err, EIO,
                          "arbiter %s: round %u: %s: its "
                          "test-and-set is not atomic; do not use this "
                          "storage",
                          c->uri, g,
                          won ? "both contenders were told that they won"
                              : "neither contender won");
    }
    if (seen.generation == g &&
        (seen.kind != TAS_OWNED || seen.mine != (won == 1))) {
        return ft_err_set(err, EIO,
                          "arbiter %s: round %u: the record does "
                          "not name the winner; do not use this storage",
                          c->uri, g);
    }
    return 0;
}

/* ---- all of it ---- */

static void remove_folder(const char *path)
{
    char name[TAS_PATH_TEXT + NAME_MAX];
    struct dirent *e;
    DIR *d = opendir(path);

    while (d && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) {
            snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
            unlink(name);
        }
    }
    if (d) {
        closedir(d);
    }
    rmdir(path);
}

static void clean_up(struct contender *c)
{
    char path[TAS_PATH_TEXT], bye[64], uuid[UUID_STR_LEN];
    struct ft_err ignored;

    snprintf(bye, sizeof(bye), "bye.%s", c->leads ? c->other : c->me);
    if (!c->leads) {
        put_flag(c, bye, &ignored);
        return;
    }
    wait_flag(c, bye, NULL, &ignored);
    uuid_unparse_lower(c->who.vm, uuid);
    snprintf(path, sizeof(path), "%s/%s", c->dir, uuid);
    remove_folder(path);
    remove_folder(c->folder);
}

static int contend(struct contender *c, struct ft_err *err)
{
    unsigned g;
    int rc = 0;

    ft_random(c->who.nonce, sizeof(c->who.nonce));
    ft_hex(c->me, c->who.nonce);
    if (meet(c, err) < 0) {
        return -1;
    }
    for (g = 1; g <= c->rounds && !rc; g++) {
        rc = run_round(c, g, err);
        if (c->progress) {
            c->progress(g, c->rounds, c->arg);
        }
    }
    clean_up(c);
    if (c->r.rounds) {
        c->r.mean_ms = c->total_ms / c->r.rounds;
    }
    return rc;
}

/* The second contender: says what went wrong through the pipe. */
static pid_t start_second(struct contender *c, int *from)
{
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return -1;
    }
    pid = fork();
    if (pid == 0) {
        struct ft_err err;
        ssize_t ignored = 0;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        c->progress = NULL;
        if (contend(c, &err) < 0) {
            ignored = write(fds[1], err.text, strlen(err.text));
        }
        (void)ignored;
        _exit(0);
    }
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
    }
    *from = fds[0];
    return pid;
}

int tas_selftest_run(const struct tas_selftest *t,
                     struct tas_selftest_result *r, struct ft_err *err)
{
    struct contender c = { .uri = t->uri };
    char name[64], id[TAS_FILE_ID], text[FT_ERR_TEXT];
    struct contender second;
    pid_t pid = -1;
    int rc, from = -1;

    memset(r, 0, sizeof(*r));
    c.dir = tas_file_dir(t->uri, err);
    if (!c.dir || tas_file_id(c.dir, id, err) < 0) {
        return -1;
    }
    if (t->with && (strchr(t->with, '/') || strlen(t->with) > 48)) {
        return ft_err_set(err, EINVAL,
                          "arbiter test %s: a name of at most "
                          "48 bytes without '/' is needed",
                          t->with);
    }
    if (t->with) {
        snprintf(name, sizeof(name), "%s", t->with);
    } else {
        ft_random_hex(name, 8);
    }
    snprintf(c.folder, sizeof(c.folder), "%s/.selftest-%s", c.dir, name);
    c.rounds = t->rounds ? t->rounds : DEFAULT_ROUNDS;
    c.wait_ms = !t->with   ? ONE_HOST_WAIT_MS
              : t->wait_ms ? t->wait_ms
                           : TWO_HOSTS_WAIT_MS;
    c.progress = t->progress;
    c.arg = t->arg;
    snprintf(c.who.host, sizeof(c.who.host), "%.60s-a",
             t->host ? t->host : "host");
    if (!t->with) {
        second = c;
        snprintf(second.who.host, sizeof(second.who.host), "%.60s-b",
                 t->host ? t->host : "host");
        pid = start_second(&second, &from);
        if (pid < 0) {
            return ft_err_sys(err, errno, "arbiter test: no second process");
        }
    }
    rc = contend(&c, err);
    if (pid > 0) {
        ssize_t n = read(from, text, sizeof(text) - 1);

        close(from);
        waitpid(pid, NULL, 0);
        if (!rc && n > 0) {
            text[n] = '\0';
            rc = ft_err_set(err, EIO, "%s", text);
        }
    }
    *r = c.r;
    return rc;
}
