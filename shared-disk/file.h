/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * file.h - the arbiter in a folder on shared storage: "file:/DIR"
 *
 * Theory of Operation
 *
 * DIR is marked by `lockstep arbiter format`: the file `lockstep-arbiter`
 * with a random id. Where the mark cannot be read nothing is believed: an
 * unmounted folder looks empty, and empty must never read as free.
 *
 * A VM has the folder DIR/UUID. One file is one state of its record, one
 * block (block.tbl.h): free.G and owned.G, G in decimal. The record is the file
 * of the highest G, owned above free, and never goes back: files are added, and
 * only those below the highest are removed, when the next pair is made. A try
 * that hung meanwhile finds after its link that it has come too late.
 *
 * Test-and-set free(g) -> owned(g, side): free.g is read (it must be there and
 * whole); a private file with the new record is written and synced; link(2)
 * gives it the name owned.g, which only one can get; the folder is synced.
 * A side makes that private file, .take.G.PAIR-SIDE, while its pair is made:
 * whoever fills the storage later cannot keep it from taking g, since a link
 * needs neither an inode nor a block.
 *
 * link(2) over NFS may have happened although it reports an error (the reply
 * was lost, the repeated request met its own success): so after any error the
 * private file's link count, then the owner in owned.g, tell what is true.
 *
 * free(g+1) is a link too. A free(g) that nobody took and that is to be
 * superseded is taken first, by the same link: the peer's try for g and
 * this one cannot both succeed.
 *
 * NFS caches a folder's names. Making the private file changes the folder,
 * which makes the client ask the server again; so reads make one too, where
 * the storage lets them.
 */
#ifndef TAS_FILE_H
#define TAS_FILE_H

#include <stdio.h>

#include "common/host/err.h"
#include "shared-disk/block.h"
#include "shared-disk/store.h"

#define TAS_FILE_MARK "lockstep-arbiter"
#define TAS_FILE_ID 33 /* 32 hex digits and a NUL */

/* A URI; a VM's folder in DIR, or a hidden one of ours; a file in that. */
#define TAS_URI_TEXT 513
#define TAS_FOLDER_TEXT (TAS_URI_TEXT + 80)
#define TAS_PATH_TEXT (TAS_FOLDER_TEXT + 80)

/* "file:/DIR" -> the DIR inside uri, or NULL and err. */
const char *tas_file_dir(const char *uri, struct ft_err *err);

/* These block. */

/* Mark DIR (made when absent). Refused: a folder with anything else in it;
 * a mark, unless force, which moves the VMs' records aside. id may be NULL. */
int tas_file_format(const char *dir, bool force, char id[TAS_FILE_ID],
                    struct ft_err *err);
/* The mark's id. */
int tas_file_id(const char *dir, char id[TAS_FILE_ID], struct ft_err *err);
/* The VM's record: *b, generation 0 when there is none. */
int tas_file_read(const char *dir, const uint8_t vm[16], struct tas_block *b,
                  struct ft_err *err);
/* Make what was read lasting. A side may find a record of its own that a try
 * wrote whose sync failed: it counts after this. */
int tas_file_sync(const char *dir, const uint8_t vm[16], struct ft_err *err);
/* Make all that this side needs to take g later: then it is one link. Removes
 * what older generations left. */
int tas_file_prepare(const char *dir, const struct tas_who *who, uint64_t g,
                     struct ft_err *err);
/* Compare with what a read told, and write. TAS_UNKNOWN: err says why. */
enum tas_status tas_file_write(const char *dir, const struct tas_who *who,
                               const struct tas_record *expect,
                               enum tas_kind desired, uint64_t generation,
                               struct ft_err *err);
/* Call fn for each VM that has a record; wrong: NULL, or why it cannot be
 * read (then b is zero but for its vm). */
int tas_file_each(const char *dir,
                  void (*fn)(const struct tas_block *b, const char *wrong,
                             void *arg),
                  void *arg, struct ft_err *err);

/* Make an NFS client ask its server for this folder's names again. */
void tas_file_refresh(const char *folder);

/* For tests: what the system calls of the test-and-set do. NULL members mean
 * the real ones. Not for several threads. */
struct tas_file_faults {
    int (*link)(const char *from, const char *to);
    int (*fsync)(int fd);
};
extern struct tas_file_faults tas_file_faults;

#endif
