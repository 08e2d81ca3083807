/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * file.c - the arbiter in a folder on shared storage (see file.h)
 *
 * paper, 2.3; rule 4
 */
#include "shared-disk/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/host/id.h"

#define MARK_TEXT "lockstep arbiter 1 "
#define TAKE_PREFIX ".take."
#define TRY_PREFIX ".try-"
#define TRY_AGE_S 600 /* one that is older than this nobody works with */

struct tas_file_faults tas_file_faults;

static int do_link(const char *from, const char *to)
{
    return tas_file_faults.link ? tas_file_faults.link(from, to)
                                : link(from, to);
}

static int do_fsync(int fd)
{
    return tas_file_faults.fsync ? tas_file_faults.fsync(fd) : fsync(fd);
}

const char *tas_file_dir(const char *uri, struct ft_err *err)
{
    if (strncmp(uri, "file:/", 6)) {
        ft_err_set(err, EINVAL, "arbiter %s: only file:/FOLDER is known",
                   uri);
        return NULL;
    }
    if (strlen(uri) >= TAS_URI_TEXT) {
        ft_err_set(err, ENAMETOOLONG, "arbiter: a path of over 512 bytes");
        return NULL;
    }
    return uri + 5;
}

/* ---- the mark ---- */

static int sync_path(const char *path, bool folder, struct ft_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | (folder ? O_DIRECTORY : 0));
    int rc;

    if (fd < 0) {
        return ft_err_sys(err, errno, "arbiter %s", path);
    }
    rc = do_fsync(fd);
    if (rc < 0) {
        ft_err_sys(err, errno, "arbiter %s: cannot sync%s", path,
                   folder ? " the folder" : "");
    }
    close(fd);
    return rc;
}

static int sync_folder(const char *path, struct ft_err *err)
{
    return sync_path(path, true, err);
}

/* A new file with these bytes, on the storage when 0 is returned. */
static int write_file(const char *path, const void *bytes, size_t n,
                      struct ft_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (fd < 0) {
        return ft_err_sys(err, errno, "arbiter %s: cannot create", path);
    }
    errno = 0;
    if (write(fd, bytes, n) != (ssize_t)n) {
        ft_err_sys(err, errno ? errno : ENOSPC, "arbiter %s: cannot write",
                   path);
    } else if (do_fsync(fd) < 0) {
        ft_err_sys(err, errno, "arbiter %s: cannot sync", path);
    } else if (close(fd) < 0) {
        fd = -1;
        ft_err_sys(err, errno, "arbiter %s: cannot close", path);
    } else {
        return 0;
    }
    if (fd >= 0) {
        close(fd);
    }
    unlink(path);
    return -1;
}

/* Up to cap bytes; what is longer is cap bytes too. -1: err, code ENOENT. */
static ssize_t read_file(const char *path, void *to, size_t cap,
                         struct ft_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t n = 0;

    if (fd < 0) {
        return ft_err_sys(err, errno, "arbiter %s: cannot read", path);
    }
    while (used < cap && (n = read(fd, (char *)to + used, cap - used)) > 0) {
        used += (size_t)n;
    }
    if (n < 0) {
        ft_err_sys(err, errno, "arbiter %s: cannot read", path);
    }
    close(fd);
    return n < 0 ? -1 : (ssize_t)used;
}

int tas_file_id(const char *dir, char id[TAS_FILE_ID], struct ft_err *err)
{
    enum { prefix = sizeof(MARK_TEXT) - 1 };
    char path[TAS_PATH_TEXT], text[prefix + TAS_FILE_ID + 1];
    uint8_t bytes[16];
    ssize_t n;

    snprintf(path, sizeof(path), "%s/" TAS_FILE_MARK, dir);
    n = read_file(path, text, sizeof(text), err);
    if (n < 0) {
        if (err && err->code == ENOENT) {
            ft_err_set(err, ENOENT,
                       "arbiter %s: no mark here: the storage "
                       "is not mounted, or the folder was never prepared "
                       "with `lockstep arbiter format`",
                       dir);
        }
        return -1;
    }
    if (n != prefix + TAS_FILE_ID || memcmp(text, MARK_TEXT, prefix) ||
        text[n - 1] != '\n') {
        return ft_err_set(err, EINVAL, "arbiter %s: damaged, or not a mark",
                          path);
    }
    memcpy(id, text + prefix, TAS_FILE_ID - 1);
    id[TAS_FILE_ID - 1] = '\0';
    if (!ft_unhex(bytes, id)) {
        return ft_err_set(err, EINVAL, "arbiter %s: damaged", path);
    }
    return 0;
}

/* What stands in a folder that is to be marked. */
static int look_before_format(const char *dir, bool *marked,
                              struct ft_err *err)
{
    char foreign[128] = "";
    struct dirent *e;
    DIR *d;

    *marked = false;
    if (mkdir(dir, 0755) < 0 && errno != EEXIST) {
        return ft_err_sys(err, errno, "arbiter %s: cannot make the folder",
                          dir);
    }
    d = opendir(dir);
    if (!d) {
        return ft_err_sys(err, errno, "arbiter %s", dir);
    }
    while ((e = readdir(d))) {
        if (!strcmp(e->d_name, TAS_FILE_MARK)) {
            *marked = true;
        } else if (e->d_name[0] != '.' && strcmp(e->d_name, "lost+found")) {
            snprintf(foreign, sizeof(foreign), "%.127s", e->d_name);
        }
    }
    closedir(d);
    if (!*marked && *foreign) {
        return ft_err_set(err, ENOTEMPTY,
                          "arbiter %s: the folder is in use "
                          "for something else (it has %s in it); name an "
                          "empty one",
                          dir, foreign);
    }
    return 0;
}

/* Everything visible goes into the hidden folder .old-RANDOM: --force gives
 * a fresh arbiter, not a lost history. */
static int move_aside(const char *dir, struct ft_err *err)
{
    char old[TAS_FOLDER_TEXT], tag[9];
    char from[TAS_PATH_TEXT + NAME_MAX], to[TAS_PATH_TEXT + NAME_MAX];
    struct dirent *e;
    DIR *d;
    int rc = 0;

    ft_random_hex(tag, 8);
    snprintf(old, sizeof(old), "%s/.old-%s", dir, tag);
    if (mkdir(old, 0755) < 0) {
        return ft_err_sys(err, errno, "arbiter %s: cannot make", old);
    }
    d = opendir(dir);
    if (!d) {
        return ft_err_sys(err, errno, "arbiter %s", dir);
    }
    while (!rc && (e = readdir(d))) {
        if (e->d_name[0] == '.' || !strcmp(e->d_name, "lost+found")) {
            continue;
        }
        snprintf(from, sizeof(from), "%s/%s", dir, e->d_name);
        snprintf(to, sizeof(to), "%s/%s", old, e->d_name);
        rc = rename(from, to);
        if (rc < 0) {
            ft_err_sys(err, errno, "arbiter %s: cannot move to %s", from,
                       old);
        }
    }
    closedir(d);
    return rc;
}

int tas_file_format(const char *dir, bool force, char id[TAS_FILE_ID],
                    struct ft_err *err)
{
    char path[TAS_PATH_TEXT], temp[TAS_PATH_TEXT], fresh[TAS_FILE_ID],
        text[64];
    bool marked;
    int n, rc;

    if (look_before_format(dir, &marked, err) < 0) {
        return -1;
    }
    if (marked && !force) {
        return ft_err_set(err, EEXIST,
                          "arbiter %s: is marked already; "
                          "formatting it anew (--force) takes the records "
                          "of all its VMs away",
                          dir);
    }
    if (marked && move_aside(dir, err) < 0) {
        return -1;
    }
    ft_random_hex(fresh, TAS_FILE_ID - 1);
    n = snprintf(text, sizeof(text), MARK_TEXT "%s\n", fresh);
    snprintf(path, sizeof(path), "%s/" TAS_FILE_MARK, dir);
    snprintf(temp, sizeof(temp), "%s/.mark-%s", dir, fresh);
    if (write_file(temp, text, (size_t)n, err) < 0) {
        return -1;
    }
    /* link, not rename: of two formats at once one fails */
    rc = link(temp, path);
    if (rc < 0) {
        ft_err_sys(err, errno, "arbiter %s: cannot mark", dir);
    }
    unlink(temp);
    if (rc < 0 || sync_folder(dir, err) < 0) {
        return -1;
    }
    if (id) {
        memcpy(id, fresh, TAS_FILE_ID);
    }
    return 0;
}

/* ---- a VM's folder ---- */

static void vm_folder(char *to, size_t cap, const char *dir,
                      const uint8_t vm[16])
{
    char uuid[UUID_STR_LEN];

    uuid_unparse_lower(vm, uuid);
    snprintf(to, cap, "%s/%s", dir, uuid);
}

/* free.G and owned.G, G without leading zeros. */
static bool parse_name(const char *name, enum tas_kind *kind, uint64_t *g)
{
    const char *digits;
    char *end;

    if (!strncmp(name, "free.", 5)) {
        *kind = TAS_FREE;
        digits = name + 5;
    } else if (!strncmp(name, "owned.", 6)) {
        *kind = TAS_OWNED;
        digits = name + 6;
    } else {
        return false;
    }
    if (*digits < '1' || *digits > '9') {
        return false;
    }
    errno = 0;
    *g = strtoull(digits, &end, 10);
    return !errno && !*end;
}

static void record_path(char *to, size_t cap, const char *folder,
                        enum tas_kind kind, uint64_t g)
{
    snprintf(to, cap, "%s/%s.%" PRIu64, folder,
             kind == TAS_FREE ? "free" : "owned", g);
}

/* One file's block, checked against its name. */
static int read_block(const char *folder, enum tas_kind kind, uint64_t g,
                      const uint8_t vm[16], struct tas_block *b,
                      struct ft_err *err)
{
    uint8_t bytes[TAS_BLOCK_SIZE + 1];
    char path[TAS_PATH_TEXT];
    const char *wrong;
    ssize_t n;

    record_path(path, sizeof(path), folder, kind, g);
    n = read_file(path, bytes, sizeof(bytes), err);
    if (n < 0) {
        return -1;
    }
    wrong = tas_block_decode(b, bytes, (size_t)n);
    if (!wrong && (b->generation != g || memcmp(b->vm, vm, 16) ||
                   (b->state == TAS_BLOCK_FREE) != (kind == TAS_FREE))) {
        wrong = "the record is not what the file's name says";
    }
    if (wrong) {
        memset(b, 0, sizeof(*b));
        return ft_err_set(err, EBADMSG, "arbiter %s: damaged: %s", path,
                          wrong);
    }
    return 0;
}

/* A private name in the folder; unique, so that a crash leaves no trap. */
static void private_path(char *to, size_t cap, const char *folder)
{
    char tag[FT_HEX_TEXT];

    ft_random_hex(tag, 32);
    snprintf(to, cap, "%s/" TRY_PREFIX "%s", folder, tag);
}

/* Change the folder, so that an NFS client asks its server for the names. A
 * storage that we may only read is read as it is. */
void tas_file_refresh(const char *folder)
{
    char path[TAS_PATH_TEXT];
    int fd;

    private_path(path, sizeof(path), folder);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
}

/* The highest file of the folder. 0: *kind is TAS_ABSENT when none. */
static int find_highest(const char *folder, enum tas_kind *kind, uint64_t *g,
                        struct ft_err *err)
{
    struct dirent *e;
    DIR *d;

    *kind = TAS_ABSENT;
    *g = 0;
    d = opendir(folder);
    if (!d) {
        if (errno == ENOENT) {
            return 0;
        }
        return ft_err_sys(err, errno, "arbiter %s: cannot read", folder);
    }
    errno = 0;
    while ((e = readdir(d))) {
        enum tas_kind k;
        uint64_t n;

        if (parse_name(e->d_name, &k, &n) &&
            (n > *g || (n == *g && k == TAS_OWNED))) {
            *kind = k;
            *g = n;
        }
        errno = 0;
    }
    if (errno) {
        ft_err_sys(err, errno, "arbiter %s: cannot read", folder);
        closedir(d);
        return -1;
    }
    closedir(d);
    return 0;
}

int tas_file_read(const char *dir, const uint8_t vm[16], struct tas_block *b,
                  struct ft_err *err)
{
    char folder[TAS_FOLDER_TEXT], id[TAS_FILE_ID], again[TAS_FILE_ID];
    enum tas_kind kind;
    uint64_t g;

    memset(b, 0, sizeof(*b));
    memcpy(b->vm, vm, 16);
    vm_folder(folder, sizeof(folder), dir, vm);
    if (tas_file_id(dir, id, err) < 0) {
        return -1;
    }
    tas_file_refresh(folder);
    if (find_highest(folder, &kind, &g, err) < 0) {
        return -1;
    }
    /* "No record" is believed only while the mark still stands: the storage
     * may have gone away in between. */
    if (tas_file_id(dir, again, err) < 0) {
        return -1;
    }
    if (strcmp(id, again)) {
        return ft_err_set(err, EAGAIN,
                          "arbiter %s: was formatted anew just "
                          "now",
                          dir);
    }
    return kind == TAS_ABSENT ? 0 : read_block(folder, kind, g, vm, b, err);
}

int tas_file_sync(const char *dir, const uint8_t vm[16], struct ft_err *err)
{
    char folder[TAS_FOLDER_TEXT];

    vm_folder(folder, sizeof(folder), dir, vm);
    return sync_folder(folder, err);
}

/* ---- test-and-set ---- */

/* Is the record at kind, g ours? Asked after a link that reported an
 * error. */
static enum tas_status look_who(const char *folder, enum tas_kind kind,
                                uint64_t g, const struct tas_who *who,
                                struct ft_err *err)
{
    struct tas_record seen;
    struct tas_block b;

    if (read_block(folder, kind, g, who->vm, &b, err) < 0) {
        return TAS_UNKNOWN;
    }
    seen = tas_block_look(&b, who->pair, who->side);
    /* a free record of this pair is as good as ours: it says the same */
    return (kind == TAS_OWNED ? seen.mine : seen.same_pair) ? TAS_OK
                                                            : TAS_MISCOMPARE;
}

/* Rule 4: the test-and-set itself is link(2); what its errors mean is in
 * file.h. */
static enum tas_status link_private(const char *private, const char *folder,
                                    enum tas_kind kind, uint64_t g,
                                    const struct tas_who *who,
                                    struct ft_err *err)
{
    char path[TAS_PATH_TEXT];
    struct stat st;
    int code;

    record_path(path, sizeof(path), folder, kind, g);
    if (do_link(private, path) == 0) {
        return TAS_OK;
    }
    code = errno;
    if (stat(private, &st) == 0 && st.st_nlink == 2) {
        return TAS_OK; /* it happened all the same */
    }
    if (code == EEXIST) {
        return look_who(folder, kind, g, who, err);
    }
    ft_err_sys(err, code, "arbiter %s: cannot link", path);
    return TAS_UNKNOWN;
}

static int write_record(const char *path, enum tas_kind kind, uint64_t g,
                        const struct tas_who *who, struct ft_err *err)
{
    uint8_t bytes[TAS_BLOCK_SIZE];
    struct tas_block b;

    tas_block_make(&b, kind, g, who->vm, who->pair, who->side, who->nonce,
                   who->host);
    tas_block_encode(&b, bytes);
    return write_file(path, bytes, sizeof(bytes), err);
}

/* The private file with which a side takes g. It is the side's, whichever
 * agent made it, as the grant is. */
static void take_path(char *to, size_t cap, const char *folder, uint64_t g,
                      const struct tas_who *who)
{
    char pair[FT_HEX_TEXT];

    ft_hex(pair, who->pair);
    snprintf(to, cap, "%s/" TAKE_PREFIX "%" PRIu64 ".%s-%u", folder, g, pair,
             who->side);
}

/* It stands there whole, and lasting: nothing more need be made to take g. */
static int ready_take(const char *path, uint64_t g, const struct tas_who *who,
                      struct ft_err *err)
{
    uint8_t bytes[TAS_BLOCK_SIZE + 1];
    struct tas_block b;
    ssize_t n = read_file(path, bytes, sizeof(bytes), err);

    if (n >= 0 && !tas_block_decode(&b, bytes, (size_t)n) &&
        b.generation == g && !memcmp(b.vm, who->vm, 16) &&
        tas_block_look(&b, who->pair, who->side).mine) {
        return sync_path(path, false, err);
    }
    if (n >= 0) {
        unlink(path); /* a crash left a part of it */
    } else if (err->code != ENOENT) {
        return -1;
    }
    return write_record(path, TAS_OWNED, g, who, err);
}

/* A try that hung for a whole generation may have linked a name that was tidied
 * away: what superseded g was there before, and tells. */
static enum tas_status still_highest(const char *folder, uint64_t g,
                                     struct ft_err *err)
{
    enum tas_kind kind;
    uint64_t highest;

    if (find_highest(folder, &kind, &highest, err) < 0) {
        return TAS_UNKNOWN;
    }
    return highest > g ? TAS_MISCOMPARE : TAS_OK;
}

/* Add one file, if its name is still to be had. */
static enum tas_status add_record(const char *folder, enum tas_kind kind,
                                  uint64_t g, const struct tas_who *who,
                                  struct ft_err *err)
{
    char private[TAS_PATH_TEXT];
    enum tas_status status;
    int rc;

    if (kind == TAS_OWNED) {
        take_path(private, sizeof(private), folder, g, who);
        rc = ready_take(private, g, who, err);
    } else {
        private_path(private, sizeof(private), folder);
        rc = write_record(private, kind, g, who, err);
    }
    if (rc < 0) {
        return TAS_UNKNOWN;
    }
    status = link_private(private, folder, kind, g, who, err);
    /* Others may act on the name; a crash of the storage must not take it
     * back. Also a loser's answer waits for that. */
    if (status != TAS_UNKNOWN && sync_folder(folder, err) < 0) {
        status = TAS_UNKNOWN;
    }
    if (status == TAS_OK) {
        status = still_highest(folder, g, err);
    }
    /* The storage may be full by the next try. */
    if (kind == TAS_FREE || status != TAS_UNKNOWN) {
        unlink(private);
    }
    return status;
}

/* Lasting when 0 is returned: one that is there already may be that of a try
 * whose sync failed. */
static int make_vm_folder(const char *dir, const char *folder,
                          struct ft_err *err)
{
    if (mkdir(folder, 0755) < 0 && errno != EEXIST) {
        return ft_err_sys(err, errno, "arbiter %s: cannot make", folder);
    }
    return sync_folder(dir, err);
}

/* What no one needs any more: records and preparations of generations below
 * the highest, tries that a crash left. `now`: the storage's own clock. */
static bool is_outdated(const char *folder, const char *name,
                        uint64_t highest, time_t now)
{
    char path[TAS_FOLDER_TEXT + NAME_MAX + 1];
    enum tas_kind kind;
    struct stat st;
    uint64_t g;

    if (parse_name(name, &kind, &g)) {
        return g < highest;
    }
    if (!strncmp(name, TAKE_PREFIX, sizeof(TAKE_PREFIX) - 1)) {
        return strtoull(name + sizeof(TAKE_PREFIX) - 1, NULL, 10) < highest;
    }
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return !strncmp(name, TRY_PREFIX, sizeof(TRY_PREFIX) - 1) &&
           stat(path, &st) == 0 && now - st.st_mtime > TRY_AGE_S;
}

/* A folder with few names is read fast when a host is lost. Whatever cannot be
 * removed is left. */
static void tidy(const char *folder)
{
    char path[TAS_FOLDER_TEXT + NAME_MAX + 1];
    enum tas_kind kind;
    struct ft_err err;
    uint64_t highest;
    struct dirent *e;
    struct stat st;
    DIR *d;

    tas_file_refresh(folder); /* which sets the folder's time, too */
    if (find_highest(folder, &kind, &highest, &err) < 0 ||
        stat(folder, &st) < 0) {
        return;
    }
    d = opendir(folder);
    while (d && (e = readdir(d))) {
        if (is_outdated(folder, e->d_name, highest, st.st_mtime)) {
            snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
            unlink(path);
        }
    }
    if (d) {
        closedir(d);
    }
}

/* Rule 4: the storage may be full when a host is lost, so what a take needs is
 * made while the pair is. */
int tas_file_prepare(const char *dir, const struct tas_who *who, uint64_t g,
                     struct ft_err *err)
{
    char folder[TAS_FOLDER_TEXT], path[TAS_PATH_TEXT], id[TAS_FILE_ID];

    vm_folder(folder, sizeof(folder), dir, who->vm);
    take_path(path, sizeof(path), folder, g, who);
    if (tas_file_id(dir, id, err) < 0 ||
        make_vm_folder(dir, folder, err) < 0 ||
        ready_take(path, g, who, err) < 0) {
        return -1;
    }
    tidy(folder);
    return sync_folder(folder, err);
}

/* Records of a generation below: those of `expect` must not be changed by
 * someone else at the same time. */
static enum tas_status supersede(const char *folder,
                                 const struct tas_who *who,
                                 const struct tas_record *expect,
                                 struct ft_err *err)
{
    if (expect->kind != TAS_FREE) {
        return TAS_OK; /* owned, and no transition leaves it but ours */
    }
    return add_record(folder, TAS_OWNED, expect->generation, who, err);
}

enum tas_status tas_file_write(const char *dir, const struct tas_who *who,
                               const struct tas_record *expect,
                               enum tas_kind desired, uint64_t generation,
                               struct ft_err *err)
{
    char folder[TAS_FOLDER_TEXT];
    struct tas_record seen;
    struct tas_block b;
    enum tas_status status;

    if (tas_file_read(dir, who->vm, &b, err) < 0) {
        return TAS_UNKNOWN;
    }
    seen = tas_block_look(&b, who->pair, who->side);
    if (seen.kind != expect->kind || seen.generation != expect->generation ||
        seen.mine != expect->mine || seen.same_pair != expect->same_pair) {
        return TAS_MISCOMPARE;
    }
    vm_folder(folder, sizeof(folder), dir, who->vm);
    if (desired == TAS_OWNED) {
        if (seen.kind != TAS_FREE || seen.generation != generation) {
            return TAS_MISCOMPARE;
        }
        return add_record(folder, TAS_OWNED, generation, who, err);
    }
    if (seen.generation >= generation) {
        return TAS_MISCOMPARE;
    }
    if (make_vm_folder(dir, folder, err) < 0) {
        return TAS_UNKNOWN;
    }
    status = supersede(folder, who, &seen, err);
    if (status != TAS_OK) {
        return status;
    }
    return add_record(folder, TAS_FREE, generation, who, err);
}

/* ---- all VMs ---- */

int tas_file_each(const char *dir,
                  void (*fn)(const struct tas_block *b, const char *wrong,
                             void *arg),
                  void *arg, struct ft_err *err)
{
    char id[TAS_FILE_ID];
    struct dirent *e;
    DIR *d;

    if (tas_file_id(dir, id, err) < 0) {
        return -1;
    }
    d = opendir(dir);
    if (!d) {
        return ft_err_sys(err, errno, "arbiter %s", dir);
    }
    while ((e = readdir(d))) {
        struct tas_block b;
        struct ft_err why;
        uint8_t vm[16];

        if (!ft_uuid_parse(vm, e->d_name)) {
            continue;
        }
        if (tas_file_read(dir, vm, &b, &why) < 0) {
            memset(&b, 0, sizeof(b));
            memcpy(b.vm, vm, 16);
            fn(&b, why.text, arg);
        } else {
            fn(&b, NULL, arg);
        }
    }
    closedir(d);
    return 0;
}
