/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-file.c - the arbiter in a folder: marks, grants, faults, races */
#include "shared-disk/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define VM "01010101-0101-0101-0101-010101010101"

static char root[64], dir[96];

static const char *at(const char *name)
{
    static char path[256];

    g_snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void run(const char *fmt, ...)
{
    char *command;
    va_list ap;

    va_start(ap, fmt);
    command = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_assert_cmpint(system(command), ==, 0);
    g_free(command);
}

static struct tas_who who(uint8_t nonce)
{
    struct tas_who w;

    memset(&w, 0, sizeof(w));
    memset(w.vm, 1, 16);
    memset(w.pair, 2, 16);
    w.side = nonce;
    memset(w.nonce, nonce, 16);
    g_snprintf(w.host, sizeof(w.host), "host%u", nonce);
    return w;
}

static struct tas_record look(const struct tas_who *w)
{
    struct tas_block b;
    struct ft_err err;

    if (tas_file_read(dir, w->vm, &b, &err) < 0) {
        g_error("%s", err.text);
    }
    return tas_block_look(&b, w->pair, w->side);
}

/* Read, then write what follows from it, as the core does. */
static enum tas_status put(const struct tas_who *w, enum tas_kind desired,
                           uint64_t g, struct ft_err *err)
{
    struct tas_record seen = look(w);

    memset(err, 0, sizeof(*err));
    return tas_file_write(dir, w, &seen, desired, g, err);
}

static void assert_record(const struct tas_who *w, enum tas_kind kind,
                          uint64_t g, bool mine)
{
    struct tas_record r = look(w);

    g_assert_cmpint(r.kind, ==, kind);
    g_assert_cmpuint(r.generation, ==, g);
    g_assert_true(r.mine == mine);
}

static void fresh(void)
{
    struct ft_err err;

    memset(&tas_file_faults, 0, sizeof(tas_file_faults));
    run("rm -rf %s", dir);
    if (tas_file_format(dir, false, NULL, &err) < 0) {
        g_error("%s", err.text);
    }
}

/* ---- marks ---- */

static void test_format(void)
{
    char id[TAS_FILE_ID], again[TAS_FILE_ID];
    struct tas_who a = who(1);
    struct ft_err err;

    fresh();
    g_assert_cmpint(tas_file_id(dir, id, &err), ==, 0);
    g_assert_cmpuint(strlen(id), ==, 32);
    g_assert_cmpint(tas_file_format(dir, false, again, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "is marked already"));
    g_assert_nonnull(strstr(err.text, dir));
    g_assert_cmpint(put(&a, TAS_FREE, 1, &err), ==, TAS_OK);
    g_assert_cmpint(tas_file_format(dir, true, again, &err), ==, 0);
    g_assert_cmpstr(id, !=, again);
    assert_record(&a, TAS_ABSENT, 0, false);

    run("rm -rf %s", dir);
    g_assert_cmpint(mkdir(dir, 0755), ==, 0);
    g_assert_true(g_file_set_contents(at("letters.txt"), "x", 1, NULL));
    g_assert_cmpint(tas_file_format(dir, false, id, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "it has letters.txt in it"));
    g_assert_cmpint(tas_file_format(dir, true, id, &err), ==, -1);
    g_assert_true(g_file_test(at("letters.txt"), G_FILE_TEST_EXISTS));
    g_assert_cmpint(tas_file_format("/proc/nowhere/x", false, id, &err), ==,
                    -1);
    g_assert_nonnull(strstr(err.text, "cannot make the folder"));
}

static void test_damaged_mark(void)
{
    static const char *const bad[] = {
        "",
        "lockstep arbiter 1 ",
        "something else entirely\n",
        "lockstep arbiter 1 0123456789abcdef0123456789abcdeX\n",
        "lockstep arbiter 2 0123456789abcdef0123456789abcdef\n",
        "lockstep arbiter 1 0123456789abcdef0123456789abcdef\n\n",
    };
    struct tas_who a = who(1);
    struct tas_block b;
    struct ft_err err;
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        fresh();
        g_assert_true(
            g_file_set_contents(at(TAS_FILE_MARK), bad[i], -1, NULL));
        g_assert_cmpint(tas_file_read(dir, a.vm, &b, &err), ==, -1);
        g_assert_nonnull(strstr(err.text, "damaged"));
    }
}

static void test_uri(void)
{
    struct ft_err err;

    g_assert_cmpstr(tas_file_dir("file:/a/b", &err), ==, "/a/b");
    g_assert_null(tas_file_dir("file:a", &err));
    g_assert_null(tas_file_dir("etcd://x", &err));
    g_assert_nonnull(strstr(err.text, "only file:/FOLDER is known"));
}

/* An unmounted folder looks empty; empty never reads as free, nor as "there
 * is no record yet", which free(1) could be written on. */
static void test_unmounted(void)
{
    struct tas_who a = who(1);
    struct tas_record absent = { .kind = TAS_ABSENT };
    struct tas_record is_free = { .kind = TAS_FREE,
                                  .generation = 1,
                                  .same_pair = true };
    struct tas_block b;
    struct ft_err err;
    int i;

    for (i = 0; i < 2; i++) {
        fresh();
        g_assert_cmpint(put(&a, TAS_FREE, 1, &err), ==, TAS_OK);
        run("rm -rf %s", dir);
        if (i) {
            g_assert_cmpint(mkdir(dir, 0755), ==, 0);
        }
        g_assert_cmpint(tas_file_read(dir, a.vm, &b, &err), ==, -1);
        g_assert_nonnull(strstr(err.text, "the storage is not mounted"));
        g_assert_cmpint(tas_file_write(dir, &a, &is_free, TAS_OWNED, 1, &err),
                        ==, TAS_UNKNOWN);
        g_assert_cmpint(tas_file_write(dir, &a, &absent, TAS_FREE, 1, &err),
                        ==, TAS_UNKNOWN);
        g_assert_false(g_file_test(at(VM), G_FILE_TEST_EXISTS));
    }
}

/* ---- grants ---- */

/* I10 */
static void test_life(void)
{
    struct tas_who a = who(1), b = who(2);
    struct ft_err err;

    fresh();
    assert_record(&a, TAS_ABSENT, 0, false);
    g_assert_cmpint(put(&a, TAS_OWNED, 1, &err), ==, TAS_MISCOMPARE);
    g_assert_cmpint(put(&a, TAS_FREE, 1, &err), ==, TAS_OK);
    assert_record(&b, TAS_FREE, 1, false);
    g_assert_true(look(&b).same_pair);
    g_assert_cmpint(put(&b, TAS_OWNED, 1, &err), ==, TAS_OK);
    assert_record(&b, TAS_OWNED, 1, true);
    assert_record(&a, TAS_OWNED, 1, false);
    g_assert_cmpint(put(&a, TAS_OWNED, 1, &err), ==, TAS_MISCOMPARE);
    /* the next generation, by the one who lives */
    g_assert_cmpint(put(&b, TAS_FREE, 2, &err), ==, TAS_OK);
    assert_record(&a, TAS_FREE, 2, false);
    g_assert_cmpint(put(&a, TAS_OWNED, 2, &err), ==, TAS_OK);
    /* never back: not to a lower one, not to the same */
    g_assert_cmpint(put(&b, TAS_FREE, 1, &err), ==, TAS_MISCOMPARE);
    g_assert_cmpint(put(&b, TAS_FREE, 2, &err), ==, TAS_MISCOMPARE);
    g_assert_cmpint(put(&b, TAS_OWNED, 1, &err), ==, TAS_MISCOMPARE);
    assert_record(&a, TAS_OWNED, 2, true);
    /* a jump ahead is fine; 10 is above 9 */
    g_assert_cmpint(put(&a, TAS_FREE, 9, &err), ==, TAS_OK);
    g_assert_cmpint(put(&a, TAS_FREE, 10, &err), ==, TAS_OK);
    assert_record(&a, TAS_FREE, 10, false);
}

/* A write compares with what the writer read, not with what it hopes. */
static void test_compare(void)
{
    struct tas_who a = who(1), b = who(2), other = who(3);
    struct tas_record seen;
    struct ft_err err;

    fresh();
    memset(other.pair, 9, 16);
    seen = look(&a);
    g_assert_cmpint(put(&b, TAS_FREE, 1, &err), ==, TAS_OK);
    g_assert_cmpint(tas_file_write(dir, &a, &seen, TAS_FREE, 1, &err), ==,
                    TAS_MISCOMPARE);
    seen = look(&a);
    g_assert_cmpint(put(&b, TAS_OWNED, 1, &err), ==, TAS_OK);
    g_assert_cmpint(tas_file_write(dir, &a, &seen, TAS_OWNED, 1, &err), ==,
                    TAS_MISCOMPARE);
    g_assert_cmpint(tas_file_write(dir, &a, &seen, TAS_FREE, 2, &err), ==,
                    TAS_MISCOMPARE);
    assert_record(&b, TAS_OWNED, 1, true);
    /* free by another pair: told apart */
    g_assert_cmpint(put(&other, TAS_FREE, 2, &err), ==, TAS_OK);
    g_assert_false(look(&a).same_pair);
}

/* What an agent has won for its copy of the guest its successor finds won,
 * whether the predecessor's write landed before it looked or after. */
static void test_incarnations(void)
{
    struct tas_who a = who(1), reborn = who(1), b = who(2);
    struct tas_record seen;
    struct ft_err err;

    fresh();
    memset(reborn.nonce, 77, 16);
    put(&a, TAS_FREE, 1, &err);
    seen = look(&reborn);
    g_assert_cmpint(put(&a, TAS_OWNED, 1, &err), ==, TAS_OK);
    assert_record(&reborn, TAS_OWNED, 1, true);
    assert_record(&b, TAS_OWNED, 1, false);
    g_assert_cmpint(tas_file_write(dir, &reborn, &seen, TAS_OWNED, 1, &err),
                    ==, TAS_MISCOMPARE); /* reads again: its own */
}

/* ---- lost replies and errors ---- */

static int faults_left;

static int link_lost_reply(const char *from, const char *to)
{
    int rc = link(from, to);

    if (faults_left-- > 0 && !rc) {
        errno = EIO;
        return -1;
    }
    return rc;
}

/* As an NFS client that repeats its request and meets its own success. */
static int link_repeated(const char *from, const char *to)
{
    int rc = link(from, to);

    return rc ? rc : link(from, to);
}

static int link_fails(const char *from, const char *to)
{
    (void)from;
    (void)to;
    errno = ETIMEDOUT;
    return -1;
}

/* Landed, reported as failed, and the private file is gone from sight. */
static int link_lost_and_hidden(const char *from, const char *to)
{
    int ignored = link(from, to);

    (void)ignored;
    unlink(from);
    errno = EEXIST;
    return -1;
}

static int fsync_fails(int fd)
{
    (void)fd;
    errno = EIO;
    return -1;
}

static void test_lost_replies(void)
{
    struct tas_who a = who(1), b = who(2);
    struct ft_err err;

    fresh();
    put(&a, TAS_FREE, 1, &err);
    tas_file_faults.link = link_lost_reply;
    faults_left = 1;
    g_assert_cmpint(put(&a, TAS_OWNED, 1, &err), ==, TAS_OK);
    put(&a, TAS_FREE, 2, &err);
    tas_file_faults.link = link_repeated;
    g_assert_cmpint(put(&b, TAS_OWNED, 2, &err), ==, TAS_OK);
    g_assert_cmpint(put(&b, TAS_FREE, 3, &err), ==, TAS_OK);
    tas_file_faults.link = link_lost_and_hidden;
    g_assert_cmpint(put(&b, TAS_OWNED, 3, &err), ==, TAS_OK);
    assert_record(&b, TAS_OWNED, 3, true);
    g_assert_cmpint(put(&b, TAS_FREE, 4, &err), ==, TAS_OK);
    /* the same answer, but the name is the other's */
    memset(&tas_file_faults, 0, sizeof(tas_file_faults));
    {
        struct tas_record seen = look(&a);

        g_assert_cmpint(put(&b, TAS_OWNED, 4, &err), ==, TAS_OK);
        g_assert_cmpint(tas_file_write(dir, &a, &seen, TAS_OWNED, 4, &err),
                        ==, TAS_MISCOMPARE);
    }
}

/* I5 */
static void test_errors_are_unknown(void)
{
    struct tas_who a = who(1);
    struct ft_err err;

    fresh();
    put(&a, TAS_FREE, 1, &err);
    tas_file_faults.link = link_fails;
    g_assert_cmpint(put(&a, TAS_OWNED, 1, &err), ==, TAS_UNKNOWN);
    g_assert_nonnull(strstr(err.text, "cannot link: Connection timed out"));
    tas_file_faults.link = NULL;
    tas_file_faults.fsync = fsync_fails;
    g_assert_cmpint(put(&a, TAS_OWNED, 1, &err), ==, TAS_UNKNOWN);
    g_assert_nonnull(strstr(err.text, "cannot sync"));
    tas_file_faults.fsync = NULL;
    assert_record(&a, TAS_FREE, 1, false);
    g_assert_cmpint(put(&a, TAS_OWNED, 1, &err), ==, TAS_OK);
}

/* The folder's sync fails after the link: it may not last, so it is not
 * "won" yet; the next attempt reads that it is mine. */
static int folder_sync_fails(int fd)
{
    struct stat st;

    fstat(fd, &st);
    if (S_ISDIR(st.st_mode)) {
        errno = EIO;
        return -1;
    }
    return 0;
}

static void test_folder_sync(void)
{
    struct tas_who a = who(1);
    struct ft_err err;

    fresh();
    put(&a, TAS_FREE, 1, &err);
    tas_file_faults.fsync = folder_sync_fails;
    g_assert_cmpint(put(&a, TAS_OWNED, 1, &err), ==, TAS_UNKNOWN);
    g_assert_nonnull(strstr(err.text, "cannot sync the folder"));
    assert_record(&a, TAS_OWNED, 1, true);
    g_assert_cmpint(tas_file_sync(dir, a.vm, &err), ==, -1);
    tas_file_faults.fsync = NULL;
    g_assert_cmpint(tas_file_sync(dir, a.vm, &err), ==, 0);
}

static ino_t unsyncable;

static int sync_fails_there(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && st.st_ino == unsyncable) {
        errno = EIO;
        return -1;
    }
    return fsync(fd);
}

static void test_parent_sync(void)
{
    struct tas_who a = who(1);
    struct ft_err err;
    struct stat st;

    fresh();
    g_assert_cmpint(stat(dir, &st), ==, 0);
    unsyncable = st.st_ino;
    tas_file_faults.fsync = sync_fails_there;
    g_assert_cmpint(put(&a, TAS_FREE, 1, &err), ==, TAS_UNKNOWN);
    g_assert_true(g_file_test(at(VM), G_FILE_TEST_IS_DIR));
    g_assert_cmpint(put(&a, TAS_FREE, 1, &err), ==, TAS_UNKNOWN);
    g_assert_cmpint(tas_file_prepare(dir, &a, 1, &err), ==, -1);
    tas_file_faults.fsync = NULL;
    g_assert_cmpint(put(&a, TAS_FREE, 1, &err), ==, TAS_OK);
}

static void test_damage(void)
{
    struct tas_who a = who(1);
    struct tas_block b;
    struct ft_err err;
    int fd, i;

    for (i = 0; i < TAS_BLOCK_SIZE; i += 7) {
        uint8_t byte;

        fresh();
        put(&a, TAS_FREE, 1, &err);
        fd = open(at(VM "/free.1"), O_RDWR);
        g_assert_cmpint(pread(fd, &byte, 1, i), ==, 1);
        byte ^= 1;
        g_assert_cmpint(pwrite(fd, &byte, 1, i), ==, 1);
        close(fd);
        g_assert_cmpint(tas_file_read(dir, a.vm, &b, &err), ==, -1);
        g_assert_nonnull(strstr(err.text, VM "/free.1: damaged: "));
        g_assert_cmpuint(b.generation, ==, 0);
    }
    fresh();
    put(&a, TAS_FREE, 1, &err);
    g_assert_cmpint(truncate(at(VM "/free.1"), 511), ==, 0);
    g_assert_cmpint(tas_file_read(dir, a.vm, &b, &err), ==, -1);
    g_assert_cmpint(truncate(at(VM "/free.1"), 513), ==, 0);
    g_assert_cmpint(tas_file_read(dir, a.vm, &b, &err), ==, -1);
    /* a whole record under another's name */
    fresh();
    put(&a, TAS_FREE, 1, &err);
    run("cd %s && mv free.1 owned.2", at(VM));
    g_assert_cmpint(tas_file_read(dir, a.vm, &b, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "not what the file's name says"));
}

static void test_foreign_names(void)
{
    static const char *const names[] = {
        "free.",
        "free.0",
        "free.01",
        "free.-1",
        "free.+7",
        "free.7x",
        "owned.99999999999999999999999",
        "Free.9",
        "free.9~",
        "free 9",
    };
    struct tas_who a = who(1);
    struct ft_err err;
    char name[128];
    size_t i;

    fresh();
    put(&a, TAS_FREE, 1, &err);
    for (i = 0; i < G_N_ELEMENTS(names); i++) {
        g_snprintf(name, sizeof(name), VM "/%s", names[i]);
        g_assert_true(g_file_set_contents(at(name), "junk", 4, NULL));
    }
    assert_record(&a, TAS_FREE, 1, false);
}

/* As an ordinary user: root writes into read-only folders. */
static int as_nobody(int (*fn)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(setgid(65534) || setuid(65534) ? 9 : fn());
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static int read_only_try(void)
{
    struct tas_who a = who(1);
    struct tas_record seen;
    struct tas_block b;
    struct ft_err err;

    if (tas_file_read(dir, a.vm, &b, &err) < 0) {
        return 1;
    }
    seen = tas_block_look(&b, a.pair, a.side);
    if (seen.kind != TAS_FREE) {
        return 2;
    }
    if (tas_file_write(dir, &a, &seen, TAS_OWNED, 1, &err) != TAS_UNKNOWN) {
        return 3;
    }
    return strstr(err.text, "Permission denied") ? 0 : 4;
}

static void test_read_only(void)
{
    struct tas_who a = who(1);
    struct ft_err err;

    if (getuid()) {
        g_test_skip("needs root, to become nobody");
        return;
    }
    fresh();
    put(&a, TAS_FREE, 1, &err);
    g_assert_cmpint(as_nobody(read_only_try), ==, 0);
}

static void test_full(void)
{
    struct tas_who a = who(1);
    char command[256];
    struct ft_err err;

    if (getuid()) {
        g_test_skip("needs root, to mount a small file system");
        return;
    }
    fresh();
    g_snprintf(command, sizeof(command),
               "mount -t tmpfs -o size=64k tmpfs "
               "%s 2>/dev/null",
               dir);
    if (system(command)) {
        g_test_skip("cannot mount here");
        return;
    }
    g_assert_cmpint(tas_file_format(dir, false, NULL, &err), ==, 0);
    g_assert_cmpint(put(&a, TAS_FREE, 1, &err), ==, TAS_OK);
    g_snprintf(command, sizeof(command),
               "dd if=/dev/zero of=%s/.fill "
               "bs=4k >/dev/null 2>&1",
               dir);
    g_assert_cmpint(system(command), !=, 0);
    g_assert_cmpint(put(&a, TAS_OWNED, 1, &err), ==, TAS_UNKNOWN);
    g_assert_nonnull(strstr(err.text, "No space left"));
    unlink(at(".fill"));
    assert_record(&a, TAS_FREE, 1, false);
    g_assert_cmpint(put(&a, TAS_OWNED, 1, &err), ==, TAS_OK);
    run("umount %s", dir);
}

/* I8: a side that has prepared takes by a link alone: not a block is left (tmpfs),
 * or not an inode (ext4, on which a link needs none). False: cannot mount. */
static bool mount_small(bool inodes)
{
    char command[512];

    if (inodes) {
        g_snprintf(
            command, sizeof(command),
            "truncate -s 1M %s/img && mkfs.ext4 -q -O ^has_journal -N 16 %s/img && "
            "mount -o loop %s/img %s 2>/dev/null",
            root, root, root, dir);
    } else {
        g_snprintf(command, sizeof(command),
                   "mount -t tmpfs -o size=64k tmpfs %s 2>/dev/null", dir);
    }
    return system(command) == 0;
}

static void fill(bool inodes)
{
    run(inodes ? "cd %s && ! (i=0; while : > .fill$i; do i=$((i+1)); done) "
                 "2>/dev/null && [ $(df --output=iavail . | tail -1) = 0 ]"
               : "cd %s && ! dd if=/dev/zero of=.fill bs=4k >/dev/null 2>&1",
        dir);
}

static void take_prepared(const void *data)
{
    bool inodes = data != NULL;
    struct tas_who a = who(1), b = who(2), heir = who(1);
    struct ft_err err;

    fresh();
    if (getuid() || !mount_small(inodes)) {
        g_test_skip("needs root, to mount a small file system");
        return;
    }
    g_assert_cmpint(tas_file_format(dir, false, NULL, &err), ==, 0);
    g_assert_cmpint(tas_file_prepare(dir, &a, 1, &err), ==, 0);
    g_assert_cmpint(tas_file_prepare(dir, &b, 1, &err), ==, 0);
    g_assert_cmpint(put(&a, TAS_FREE, 1, &err), ==, TAS_OK);
    fill(inodes);
    g_assert_cmpint(tas_file_prepare(dir, &a, 2, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "No space left"));
    /* what a side has made serves the agent that comes after, too */
    memset(heir.nonce, 7, 16);
    g_assert_cmpint(tas_file_prepare(dir, &heir, 1, &err), ==, 0);
    g_assert_cmpint(put(&heir, TAS_OWNED, 1, &err), ==, TAS_OK);
    g_assert_cmpint(put(&b, TAS_OWNED, 1, &err), ==, TAS_MISCOMPARE);
    assert_record(&a, TAS_OWNED, 1, true);
    run("umount %s", dir);
}

/* Half a file of an agent that died stands in nobody's way. */
static void test_torn_preparation(void)
{
    struct tas_who a = who(1);
    struct ft_err err;

    fresh();
    g_assert_cmpint(tas_file_prepare(dir, &a, 1, &err), ==, 0);
    g_assert_cmpint(put(&a, TAS_FREE, 1, &err), ==, TAS_OK);
    run("truncate -s 100 %s/" VM "/.take.1.*-1", dir);
    g_assert_cmpint(put(&a, TAS_OWNED, 1, &err), ==, TAS_OK);
    assert_record(&a, TAS_OWNED, 1, true);
}

static unsigned shown, wrong;

static void show(const struct tas_block *b, const char *why, void *arg)
{
    (void)arg;
    shown++;
    wrong += why != NULL;
    g_assert_cmpuint(b->vm[0], ==, b->vm[15]);
}

static void test_each(void)
{
    struct tas_who a = who(1);
    struct ft_err err;
    int i;

    fresh();
    for (i = 1; i < 6; i++) {
        memset(a.vm, i * 16 + i, 16);
        put(&a, TAS_FREE, 3, &err);
    }
    run("cd %s && mkdir notes 0101-01 && : > x", dir);
    run("cd %s && echo bad > 22222222-2222-2222-2222-222222222222/owned.3",
        dir);
    g_assert_cmpint(tas_file_each(dir, show, NULL, &err), ==, 0);
    g_assert_cmpuint(shown, ==, 5);
    g_assert_cmpuint(wrong, ==, 1);
}

static unsigned names(void)
{
    char command[256];
    int n;

    g_snprintf(command, sizeof(command), "exit $(ls -A %s | wc -l)", at(VM));
    n = system(command);
    return (unsigned)WEXITSTATUS(n);
}

/* Nothing is left behind but the records. */
static void test_tidy(void)
{
    struct tas_who a = who(1), b = who(2);
    struct ft_err err;
    uint64_t g;

    fresh();
    for (g = 1; g <= 20; g++) {
        g_assert_cmpint(put(&a, TAS_FREE, g, &err), ==, TAS_OK);
        g_assert_cmpint(put(g % 2 ? &a : &b, TAS_OWNED, g, &err), ==, TAS_OK);
        put(&a, TAS_OWNED, g, &err);
    }
    g_assert_cmpuint(names(), ==, 40);
}

/* Who makes a new pair removes what the older ones left, and nothing else. */
static void test_old_names(void)
{
    struct tas_who a = who(1), b = who(2);
    struct ft_err err;
    uint64_t g;

    fresh();
    for (g = 1; g <= 20; g++) {
        g_assert_cmpint(tas_file_prepare(dir, &a, g, &err), ==, 0);
        g_assert_cmpint(tas_file_prepare(dir, &b, g, &err), ==, 0);
        if (g % 5 == 0) {
            continue; /* a clone that was given up */
        }
        g_assert_cmpint(put(&a, TAS_FREE, g, &err), ==, TAS_OK);
        g_assert_cmpint(put(g % 2 ? &a : &b, TAS_OWNED, g, &err), ==, TAS_OK);
        assert_record(g % 2 ? &a : &b, TAS_OWNED, g, true);
    }
    run("cd %s/" VM " && : > .try-new && touch -d '1 hour ago' .try-old && "
        "touch -d '1 hour ago' .other",
        dir);
    g_assert_cmpint(tas_file_prepare(dir, &a, 21, &err), ==, 0);
    run("cd %s/" VM " && [ -e .try-new ] && [ ! -e .try-old ] && "
        "rm .try-new .other",
        dir);
    /* free.19, owned.19; of 19: the loser's, of 20: both, of 21: a's */
    g_assert_cmpuint(names(), ==, 6);
    assert_record(&a, TAS_OWNED, 19, true);
}

/* I10: an old agent's link comes through when its generation's names have been
 * removed. */
static int link_after_two_generations(const char *from, const char *to)
{
    struct tas_who b = who(2);
    struct ft_err err;

    tas_file_faults.link = NULL;
    g_assert_cmpint(put(&b, TAS_OWNED, 1, &err), ==, TAS_OK);
    g_assert_cmpint(put(&b, TAS_FREE, 2, &err), ==, TAS_OK);
    g_assert_cmpint(tas_file_prepare(dir, &b, 3, &err), ==, 0);
    g_assert_false(g_file_test(to, G_FILE_TEST_EXISTS));
    run("test -e %s || touch %s", from, from);
    return link(from, to);
}

static void test_late_link(void)
{
    struct tas_who a = who(1), b = who(2);
    struct ft_err err;

    fresh();
    g_assert_cmpint(put(&a, TAS_FREE, 1, &err), ==, TAS_OK);
    tas_file_faults.link = link_after_two_generations;
    g_assert_cmpint(put(&a, TAS_OWNED, 1, &err), ==, TAS_MISCOMPARE);
    assert_record(&b, TAS_FREE, 2, false);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    strcpy(root, "/tmp/lockstep-file-XXXXXX");
    g_assert_nonnull(mkdtemp(root));
    chmod(root, 0755);
    g_snprintf(dir, sizeof(dir), "%s/arbiter", root);
    g_test_add_func("/file/format marks an empty folder, once", test_format);
    g_test_add_func("/file/a damaged mark is no mark", test_damaged_mark);
    g_test_add_func("/file/URIs", test_uri);
    g_test_add_func("/file/an unmounted folder never reads as free",
                    test_unmounted);
    g_test_add_func("/file/generations go up, each taken once", test_life);
    g_test_add_func("/file/a write compares with what was read",
                    test_compare);
    g_test_add_func("/file/a restarted agent finds its side's grant",
                    test_incarnations);
    g_test_add_func("/file/lost replies are cleared up", test_lost_replies);
    g_test_add_func("/file/errors are unknown, never lost or won",
                    test_errors_are_unknown);
    g_test_add_func("/file/a win lasts before it is told", test_folder_sync);
    g_test_add_func("/file/a VM's new folder lasts before its record is told",
                    test_parent_sync);
    g_test_add_func("/file/damage is found and named", test_damage);
    g_test_add_func("/file/foreign names are no records", test_foreign_names);
    g_test_add_func("/file/a read-only folder can be read", test_read_only);
    g_test_add_func("/file/a full file system is unknown", test_full);
    g_test_add_data_func("/file/who has prepared needs no block to take",
                         NULL, take_prepared);
    g_test_add_data_func("/file/who has prepared needs no inode to take", "",
                         take_prepared);
    g_test_add_func("/file/half a preparation is made anew",
                    test_torn_preparation);
    g_test_add_func("/file/all VMs are listed", test_each);
    g_test_add_func("/file/nothing but records is left", test_tidy);
    g_test_add_func("/file/a new pair removes what older ones left",
                    test_old_names);
    g_test_add_func("/file/a link that comes too late wins nothing",
                    test_late_link);
    rc = g_test_run();
    memset(&tas_file_faults, 0, sizeof(tas_file_faults));
    run("rm -rf %s", root);
    return rc;
}
