/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test-state.c - what lockstepd keeps on disk, and what proves a shared one
 */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/lockstepd/ctl.h"
#include "control/lockstepd/proof.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/vm.h"

#define UUID "5c6bfa24-b6cb-4b6e-8b3d-0d9a6f3e1a01"

static char *dir;

static struct ctl *new_ctl(void)
{
    struct ctl *c = g_new0(struct ctl, 1);

    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    g_assert_cmpint(ft_options_load(&c->options, "/dev/null", NULL), ==, 0);
    g_snprintf(c->options.paths_run, FT_OPTION_TEXT, "%s/run", dir);
    g_snprintf(c->options.paths_state, FT_OPTION_TEXT, "%s/state", dir);
    g_snprintf(c->options.paths_log, FT_OPTION_TEXT, "%s/log", dir);
    return c;
}

static void free_ctl(struct ctl *c)
{
    for (struct vm *vm = c->vms, *next; vm; vm = next) {
        next = vm->next;
        free(vm);
    }
    g_free(c);
}

static void what_is_saved_is_loaded(void)
{
    struct ctl *c = new_ctl();
    g_autofree char *run = g_strdup_printf("%s/run/vm/%s", dir, UUID);
    struct ft_err err = { 0 };
    struct vm *vm;

    g_assert_cmpint(registry_load(c, &err), ==, 0);
    g_assert_null(registry_find(c, UUID));
    vm = registry_vm(c, UUID, "web\"1");
    vm->wanted = vm->prepared = vm->autostart = true;
    vm->role = VM_PRIMARY;
    vm->generation = 7;
    g_strlcpy(vm->peer, "hostb", sizeof(vm->peer));
    g_strlcpy(vm->arbiter, "file:/a", sizeof(vm->arbiter));
    g_strlcpy(vm->pair, "0123456789abcdef0123456789abcdef",
              sizeof(vm->pair));
    g_assert_cmpint(registry_save(c, vm, &err), ==, 0);
    free_ctl(c);

    c = new_ctl();
    g_assert_cmpint(registry_load(c, &err), ==, 0);
    vm = registry_find(c, UUID);
    g_assert_nonnull(vm);
    g_assert_cmpstr(vm->name, ==, "web\"1");
    g_assert_true(vm->wanted && vm->prepared && vm->autostart);
    g_assert_cmpint(vm->role, ==, VM_PRIMARY);
    g_assert_cmpuint(vm->generation, ==, 7);
    g_assert_cmpstr(vm->peer, ==, "hostb");
    g_assert_cmpstr(vm->arbiter, ==, "file:/a");
    g_assert_cmpstr(vm->pair, ==, "0123456789abcdef0123456789abcdef");
    /* QEMU must be able to listen there before lockstepd does anything. */
    g_assert_true(g_file_test(run, G_FILE_TEST_IS_DIR));
    registry_forget(c, vm);
    free_ctl(c);

    c = new_ctl();
    g_assert_cmpint(registry_load(c, &err), ==, 0);
    g_assert_null(registry_find(c, UUID));
    free_ctl(c);
}

/* The end of a pair is told by the next lockstepd too; and what cannot be
 * written leaves the file as it was. */
static void a_failed_save_loses_nothing(void)
{
    g_autofree char *state = g_strdup_printf("%s/state/vm", dir);
    g_autofree char *away = g_strdup_printf("%s/state/away", dir);
    struct ctl *c = new_ctl();
    struct ft_err err = { 0 };
    struct vm *vm;

    g_assert_cmpint(registry_load(c, &err), ==, 0);
    vm = registry_vm(c, UUID, "web1");
    vm->prepared = true;
    g_strlcpy(vm->last, "fenced", sizeof(vm->last));
    g_strlcpy(vm->note, "hostb owns it", sizeof(vm->note));
    g_assert_cmpint(registry_save(c, vm, &err), ==, 0);
    g_assert_false(vm->unsaved);
    g_assert_cmpint(g_rename(state, away), ==, 0);
    vm->prepared = false;
    g_assert_cmpint(registry_save(c, vm, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, UUID ".json: cannot write it: "));
    g_assert_true(vm->unsaved);
    g_assert_cmpint(g_rename(away, state), ==, 0);
    free_ctl(c);

    c = new_ctl();
    g_assert_cmpint(registry_load(c, &err), ==, 0);
    vm = registry_find(c, UUID);
    g_assert_nonnull(vm);
    g_assert_true(vm->prepared);
    g_assert_cmpstr(vm->last, ==, "fenced");
    g_assert_cmpstr(vm->note, ==, "hostb owns it");
    registry_forget(c, vm);
    g_assert_cmpstr(vm->last, ==, "");
    free_ctl(c);
}

static void a_broken_file_is_passed_over(void)
{
    struct ctl *c = new_ctl();
    struct ft_err err = { 0 };
    g_autofree char *path = NULL;

    g_assert_cmpint(registry_load(c, &err), ==, 0);
    path = g_strdup_printf("%s/state/vm/x.json", dir);
    g_assert_true(g_file_set_contents(path, "{\"uuid\":", -1, NULL));
    g_assert_cmpint(registry_load(c, &err), ==, 0);
    g_assert_null(c->vms);
    g_unlink(path);
    free_ctl(c);
}

static void one_command_at_a_time(void)
{
    struct ctl *c = new_ctl();
    struct vm *vm = registry_vm(c, UUID, "web1");
    struct ft_err err = { 0 };

    g_assert_cmpint(vm_begin(c, vm, "protect", 0, &err), ==, 0);
    g_assert_cmpint(vm_begin(c, vm, "prepare", 100, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "domain web1: "));
    g_assert_nonnull(strstr(err.text, "protect"));
    vm_end(c, vm);
    g_assert_cmpint(vm_begin(c, vm, "prepare", 0, &err), ==, 0);
    vm_end(c, vm);
    free_ctl(c);
}

static void a_proof_is_read_where_it_was_written(void)
{
    g_autofree char *image = g_strdup_printf("%s/disk.img", dir);
    struct proof a, b, stray;
    struct ft_err err = { 0 };
    uint64_t inode, size;

    g_assert_true(g_file_set_contents(image, "12345", 5, NULL));
    g_assert_cmpint(proof_stat(image, &inode, &size, &err), ==, 0);
    g_assert_cmpuint(size, ==, 5);
    g_assert_cmpint(proof_write(image, false, "hosta", &a, &err), ==, 0);
    g_assert_cmpint(proof_write(dir, true, "hostb", &b, &err), ==, 0);
    g_assert_cmpstr(a.nonce, !=, b.nonce);
    g_assert_cmpint(proof_read(&a, &err), ==, 0);
    g_assert_cmpint(proof_read(&b, &err), ==, 0);
    /* another content, a file that is not there, a link to the right one */
    stray = a;
    stray.nonce[0] ^= 1;
    g_assert_cmpint(proof_read(&stray, &err), ==, -1);
    g_snprintf(stray.file, sizeof(stray.file), "%s/link", dir);
    memcpy(stray.nonce, a.nonce, sizeof(a.nonce));
    g_assert_cmpint(symlink(a.file, stray.file), ==, 0);
    g_assert_cmpint(proof_read(&stray, &err), ==, -1);
    g_unlink(stray.file);
    proof_remove(&b);
    g_assert_cmpstr(b.file, ==, "");
    stray = a;
    proof_remove(&a);
    g_assert_cmpint(proof_read(&stray, &err), ==, -1);
    g_assert_cmpint(err.code, ==, ENOENT);
    g_assert_cmpint(proof_stat(dir, &inode, &size, &err), ==, -1);
    g_unlink(image);
    g_assert_cmpint(proof_write(image, false, "hosta", &a, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, image));
}

/* What proof_build_id() says of an emulator with this text beside it. */
static void says_of_build_id(const char *text, gssize n, const char *says)
{
    g_autofree char *emulator = g_strdup_printf("%s/qemu", dir);
    g_autofree char *path = g_strdup_printf("%s.build-id", emulator);
    struct ft_err err = { 0 };
    char id[PROOF_BUILD_ID] = "";

    if (text)
        g_assert_true(g_file_set_contents(path, text, n, NULL));
    if (proof_build_id(emulator, id, &err) < 0) {
        g_assert_nonnull(strstr(err.text, path));
        g_assert_nonnull(strstr(err.text, says));
    } else {
        g_assert_cmpstr(id, ==, says);
    }
    g_unlink(path);
}

static void emulators_are_told_apart(void)
{
    g_autofree char *big = g_strnfill(5000, 'x');

    says_of_build_id("10.0.13 (lockstep d33faa130472)\n", -1,
                     "10.0.13 (lockstep d33faa130472)");
    says_of_build_id(NULL, 0, "which qemu/build installs");
    says_of_build_id("", 0, "install the emulator again");
    says_of_build_id("\n", -1, "install the emulator again");
    says_of_build_id("no end", -1, "install the emulator again");
    says_of_build_id("two\nlines\n", -1, "install the emulator again");
    says_of_build_id("nul\0\n", 5, "install the emulator again");
    says_of_build_id(big, -1, "install the emulator again");
}

int main(int argc, char **argv)
{
    char template[] = "/tmp/lockstep-state-XXXXXX";
    int rc;

    g_test_init(&argc, &argv, NULL);
    dir = mkdtemp(template);
    g_assert_nonnull(dir);
    g_test_add_func("/registry/round-trip", what_is_saved_is_loaded);
    g_test_add_func("/registry/failed-save", a_failed_save_loses_nothing);
    g_test_add_func("/registry/broken-file", a_broken_file_is_passed_over);
    g_test_add_func("/registry/one-command", one_command_at_a_time);
    g_test_add_func("/prove/files", a_proof_is_read_where_it_was_written);
    g_test_add_func("/prove/build-id", emulators_are_told_apart);
    rc = g_test_run();
    {
        g_autofree char *clean = g_strdup_printf("rm -rf '%s'", dir);

        if (system(clean) != 0)
            return 1;
    }
    return rc;
}
