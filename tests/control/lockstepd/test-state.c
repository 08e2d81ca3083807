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

#include "control/libvirt/virt.h"
#include "control/lockstepd/agent-report.h"
#include "control/lockstepd/autostart.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/proof.h"
#include "control/lockstepd/registry.h"
#include "control/lockstepd/vm.h"

#define UUID "5c6bfa24-b6cb-4b6e-8b3d-0d9a6f3e1a01"

static char *dir;

static struct ctl *new_ctl(void)
{
    struct ctl *c = g_new0(struct ctl, 1);

    pthread_mutex_init(&c->vms_lock, NULL);
    g_assert_cmpint(ft_options_load(&c->options, "/dev/null", NULL), ==, 0);
    g_snprintf(c->options.paths_run, FT_OPTION_TEXT, "%s/run", dir);
    g_snprintf(c->options.paths_state, FT_OPTION_TEXT, "%s/state", dir);
    g_snprintf(c->options.paths_log, FT_OPTION_TEXT, "%s/log", dir);
    return c;
}

static void free_ctl(struct ctl *c)
{
    for (struct vm *vm = c->vms, *next; vm; vm = next) {
        next = vm_next(vm);
        free(vm);
    }
    g_free(c);
}

static void what_is_saved_is_loaded(void)
{
    struct ctl *c = new_ctl();
    g_autofree char *run = g_strdup_printf("%s/run/vm/%s", dir, UUID);
    const struct vm_pair pair = {
        .id = "0123456789abcdef0123456789abcdef",
        .peer = "hostb",
        .arbiter = "file:/a",
        .generation = 7,
    };
    struct ft_err err = { 0 };
    struct vm_info i;
    struct vm *vm;

    g_assert_cmpint(registry_load(c, &err), ==, 0);
    g_assert_null(registry_find(c, UUID));
    vm = registry_vm(c, UUID, "web\"1");
    vm_become_primary(vm, &pair);
    vm_set_autostart(vm, true);
    g_assert_cmpint(registry_save(c, vm, &err), ==, 0);
    free_ctl(c);

    c = new_ctl();
    g_assert_cmpint(registry_load(c, &err), ==, 0);
    vm = registry_find(c, UUID);
    g_assert_nonnull(vm);
    vm_get(vm, &i);
    g_assert_cmpstr(i.name, ==, "web\"1");
    g_assert_true(i.wanted && i.prepared && i.autostart);
    g_assert_cmpint(i.role, ==, FT_ROLE_PRIMARY);
    g_assert_cmpuint(i.generation, ==, 7);
    g_assert_cmpstr(i.peer, ==, "hostb");
    g_assert_cmpstr(i.arbiter, ==, "file:/a");
    g_assert_cmpstr(i.pair, ==, "0123456789abcdef0123456789abcdef");
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
    struct vm_info i;
    struct vm *vm;

    g_assert_cmpint(registry_load(c, &err), ==, 0);
    vm = registry_vm(c, UUID, "web1");
    vm_set_prepared(vm, true);
    vm_end_part(vm, FT_PAIR_FENCED);
    vm_note(vm, "hostb owns it");
    g_assert_cmpint(registry_save(c, vm, &err), ==, 0);
    vm_get(vm, &i);
    g_assert_false(i.unsaved);
    g_assert_cmpint(g_rename(state, away), ==, 0);
    vm_set_prepared(vm, false);
    g_assert_cmpint(registry_save(c, vm, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, UUID ".json: cannot write it: "));
    vm_get(vm, &i);
    g_assert_true(i.unsaved);
    g_assert_cmpint(g_rename(away, state), ==, 0);
    free_ctl(c);

    c = new_ctl();
    g_assert_cmpint(registry_load(c, &err), ==, 0);
    vm = registry_find(c, UUID);
    g_assert_nonnull(vm);
    vm_get(vm, &i);
    g_assert_true(i.prepared);
    g_assert_cmpint(i.last, ==, FT_PAIR_FENCED);
    g_assert_cmpstr(i.note, ==, "hostb owns it");
    registry_forget(c, vm);
    vm_get(vm, &i);
    g_assert_cmpint(i.last, ==, FT_PAIR_NONE);
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

static mode_t mode_of(const char *below)
{
    g_autofree char *path = g_strdup_printf("%s/%s", dir, below);
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_mode & 07777;
}

/* QEMU runs as another user: it must pass all folders down to its own. */
static void qemus_user_reaches_its_folder(void)
{
    g_autofree char *above = g_strdup_printf("%s/run/vm", dir);
    g_autofree char *clean =
        g_strdup_printf("cd '%s' && rm -rf run state log", dir);
    struct ctl *c = new_ctl();
    struct ft_err err = { 0 };
    mode_t mask = umask(027); /* lockstepd's */
    char path[FT_PATH_TEXT];

    g_assert_cmpint(system(clean), ==, 0);
    g_assert_cmpint(registry_load(c, &err), ==, 0);
    g_assert_cmpint(registry_run_dir(c, UUID, path, sizeof(path), &err), ==,
                    0);
    g_assert_cmpint(mode_of("run"), ==, 0755);
    g_assert_cmpint(mode_of("run/vm"), ==, 0755);
    g_assert_cmpint(mode_of("run/vm/" UUID), ==, 0770);
    g_assert_cmpint(mode_of("state"), ==, 0750);
    g_assert_cmpint(mode_of("log"), ==, 0750);

    /* and where an earlier lockstepd has shut it out */
    g_assert_cmpint(chmod(above, 0750), ==, 0);
    g_assert_cmpint(registry_load(c, &err), ==, 0);
    g_assert_cmpint(mode_of("run/vm"), ==, 0755);
    umask(mask);
    free_ctl(c);
}

static void one_command_at_a_time(void)
{
    struct ctl *c = new_ctl();
    struct vm *vm = registry_vm(c, UUID, "web1");
    struct ft_err err = { 0 };

    g_assert_cmpint(vm_begin(vm, "protect", 0, &err), ==, 0);
    g_assert_cmpint(vm_begin(vm, "prepare", 100, &err), ==, -1);
    g_assert_nonnull(strstr(err.text, "domain web1: "));
    g_assert_nonnull(strstr(err.text, "protect"));
    vm_end(vm);
    g_assert_cmpint(vm_begin(vm, "prepare", 0, &err), ==, 0);
    vm_end(vm);
    free_ctl(c);
}

static void *end_soon(void *arg)
{
    g_usleep(50 * 1000);
    vm_end(arg);
    return NULL;
}

static void a_command_waits_for_the_end_of_another(void)
{
    struct vm *vm = vm_new(UUID, NULL);
    gint64 begun = g_get_monotonic_time();
    struct vm_info i;
    GThread *t;

    g_assert_cmpint(vm_begin(vm, "protect", 0, NULL), ==, 0);
    t = g_thread_new("protect", end_soon, vm);
    g_assert_cmpint(vm_begin(vm, "prepare", 30000, NULL), ==, 0);
    g_assert_cmpint(g_get_monotonic_time() - begun, <, 15 * G_USEC_PER_SEC);
    vm_get(vm, &i);
    g_assert_cmpstr(i.command, ==, "prepare");
    g_thread_join(t);
    free(vm);
}

/* `unprotect` ends a pair that is being made, on the primary's host alone. */
static void what_is_wanted_is_stopped_and_comes_back(void)
{
    const struct vm_pair pair = { .id = "00",
                                  .peer = "hostb",
                                  .arbiter = "file:/a",
                                  .generation = 3 };
    struct vm *vm = vm_new(UUID, NULL);
    struct vm_info was, i;

    vm_become_primary(vm, &pair);
    vm_stop_wanting(vm, &was);
    g_assert_true(was.wanted && !was.stopped);
    g_assert_true(vm_is_stopped(vm));
    vm_want_again(vm, was.wanted);
    vm_get(vm, &i);
    g_assert_true(i.wanted && !i.stopped);
    vm_end_part(vm, FT_PAIR_NONE);
    vm_get(vm, &i);
    g_assert_true(!i.wanted && i.role == FT_ROLE_NONE);
    vm_become_backup(vm, &pair);
    vm_stop_wanting(vm, &was);
    g_assert_cmpint(was.role, ==, FT_ROLE_BACKUP);
    g_assert_false(vm_is_stopped(vm));
    free(vm);
}

/* From before the clone on the host has a part, and the file knows where. */
static void a_pair_that_is_begun_is_on_file(void)
{
    const struct vm_pair first = { "00", "hostb", "file:/a", 5 },
                         second = { "11", "hostc", "file:/b", 6 };
    struct ctl *c = new_ctl();
    struct vm_info was, i;
    struct vm *vm;

    g_assert_cmpint(registry_load(c, NULL), ==, 0);
    vm = registry_vm(c, UUID, "web1");
    vm_begin_pair(vm, &first, &was);
    g_assert_cmpint(registry_save(c, vm, NULL), ==, 0);
    free_ctl(c);

    c = new_ctl();
    g_assert_cmpint(registry_load(c, NULL), ==, 0);
    vm = registry_find(c, UUID);
    vm_get(vm, &i);
    g_assert_true(i.role == FT_ROLE_PRIMARY && !i.wanted);
    g_assert_cmpstr(i.peer, ==, "hostb");
    g_assert_cmpstr(i.arbiter, ==, "file:/a");
    g_assert_cmpuint(i.generation, ==, 0); /* none was protected */
    /* Not made: the keeper needs to know whom it was begun with. */
    vm_give_up_pair(vm, &was);
    vm_get(vm, &i);
    g_assert_cmpint(i.role, ==, FT_ROLE_PRIMARY);
    g_assert_cmpstr(i.peer, ==, "hostb");
    /* Beside one that is wanted: that one counts again. */
    vm_become_primary(vm, &first);
    vm_begin_pair(vm, &second, &was);
    vm_get(vm, &i);
    g_assert_cmpstr(i.peer, ==, "hostc");
    g_assert_cmpuint(i.generation, ==, 5);
    vm_give_up_pair(vm, &was);
    vm_get(vm, &i);
    g_assert_true(i.wanted && i.role == FT_ROLE_PRIMARY);
    g_assert_cmpstr(i.peer, ==, "hostb");
    g_assert_cmpstr(i.arbiter, ==, "file:/a");
    g_assert_cmpstr(i.pair, ==, "00");
    /* A replica that has just gone live still has to be taken over. */
    vm_become_backup(vm, &first);
    vm_begin_pair(vm, &second, &was);
    vm_get(vm, &i);
    g_assert_cmpint(i.role, ==, FT_ROLE_BACKUP);
    registry_forget(c, vm);
    free_ctl(c);
}

/* What was sent is known until another replica is made; what was received, until
 * the part ends. */
static void a_definition_is_carried(void)
{
    const struct vm_pair pair = { "00", "hostb", "file:/a", 5 };
    struct ctl *c = new_ctl();
    struct vm_info was;
    struct vm *vm;
    char *text;

    g_assert_cmpint(registry_load(c, NULL), ==, 0);
    vm = registry_vm(c, UUID, "web1");
    g_assert_false(vm_is_carried(vm, "<domain/>"));
    vm_set_carried(vm, "<domain/>");
    g_assert_true(vm_is_carried(vm, "<domain/>"));
    g_assert_false(vm_is_carried(vm, "<domain id='1'/>"));
    vm_begin_pair(vm, &pair, &was);
    g_assert_false(vm_is_carried(vm, "<domain/>"));

    g_assert_null(registry_carried(c, vm));
    g_assert_cmpint(registry_carry(c, vm, "<domain>\n</domain>\n", NULL), ==,
                    0);
    text = registry_carried(c, vm);
    g_assert_cmpstr(text, ==, "<domain>\n</domain>\n");
    free(text);
    registry_forget(c, vm);
    g_assert_null(registry_carried(c, vm));
    free_ctl(c);
}

/* libvirt, played. */
static int flag;
static bool answers;

int virt_autostart(struct virt *v, const char *uuid, struct ft_err *err)
{
    (void)v, (void)uuid;
    return answers ? flag : ft_err_set(err, EIO, "libvirt: no answer");
}

int virt_set_autostart(struct virt *v, const char *uuid, bool on,
                       struct ft_err *err)
{
    (void)v, (void)uuid;
    if (!answers) {
        return ft_err_set(err, EIO, "libvirt: no answer");
    }
    flag = on;
    return 0;
}

static bool owed(struct vm *vm)
{
    struct vm_info i;

    vm_get(vm, &i);
    return i.autostart;
}

/* Off, and remembered before; given back once, when libvirt answers. */
static void autostart_is_taken_and_given_back(void)
{
    g_autofree char *state = g_strdup_printf("%s/state/vm", dir);
    g_autofree char *away = g_strdup_printf("%s/state/away", dir);
    struct ctl *c = new_ctl();
    struct ft_err err = { 0 };
    struct vm *vm;

    g_assert_cmpint(registry_load(c, NULL), ==, 0);
    vm = registry_vm(c, UUID, "web1");
    flag = 1;
    answers = false;
    g_assert_cmpint(autostart_take(c, vm, &err), ==, -1);
    g_assert_false(owed(vm));
    answers = true;
    /* What cannot be remembered is not changed. */
    g_assert_cmpint(g_rename(state, away), ==, 0);
    g_assert_cmpint(autostart_take(c, vm, &err), ==, -1);
    g_assert_cmpint(flag, ==, 1);
    g_assert_cmpint(g_rename(away, state), ==, 0);
    g_assert_cmpint(autostart_take(c, vm, &err), ==, 0);
    g_assert_cmpint(flag, ==, 0);
    g_assert_true(owed(vm));
    g_assert_cmpint(autostart_take(c, vm, &err), ==, 0); /* a second time */
    g_assert_true(owed(vm));
    answers = false;
    g_assert_cmpint(autostart_give_back(c, vm, &err), ==, -1);
    g_assert_true(owed(vm));
    answers = true;
    g_assert_cmpint(autostart_give_back(c, vm, &err), ==, 0);
    g_assert_cmpint(flag, ==, 1);
    /* What the operator does afterwards is not undone. */
    flag = 0;
    g_assert_cmpint(autostart_give_back(c, vm, &err), ==, 0);
    g_assert_cmpint(flag, ==, 0);
    registry_forget(c, vm);
    free_ctl(c);
}

static void a_keeper_is_one_and_tells_a_failure_once(void)
{
    struct vm *vm = vm_new(UUID, NULL);
    char why[40] = "";

    g_assert_true(vm_claim_keeper(vm));
    g_assert_false(vm_claim_keeper(vm));
    g_assert_cmpint(vm_begin(vm, "protect", 0, NULL), ==, 0);
    g_assert_false(vm_begin_try(vm));
    g_assert_false(vm_resign_keeper(vm));
    vm_end(vm);
    g_assert_true(vm_begin_try(vm));
    g_assert_false(vm_begin_try(vm));
    g_assert_cmpint(vm_take_try(vm, why, sizeof(why)), ==, VM_TRY_RUNS);
    vm_end_try(vm, "host hostb: it is down");
    g_assert_cmpint(vm_take_try(vm, why, sizeof(why)), ==, VM_TRY_FAILED);
    g_assert_cmpstr(why, ==, "host hostb: it is down");
    g_assert_cmpint(vm_take_try(vm, why, sizeof(why)), ==, VM_TRY_NONE);
    vm_poke(vm);
    g_assert_true(vm_take_poke(vm));
    g_assert_false(vm_take_poke(vm));
    g_assert_true(vm_begin_try(vm));
    vm_end_try(vm, "told to nobody");
    g_assert_true(vm_resign_keeper(vm));
    g_assert_true(vm_claim_keeper(vm));
    g_assert_cmpint(vm_take_try(vm, why, sizeof(why)), ==, VM_TRY_NONE);
    free(vm);
}

/* A protected pair is news once; an agent's role is the host's. */
static void a_protected_pair_is_news_once(void)
{
    struct agent_report s;
    struct vm *vm = vm_new(UUID, NULL);
    struct vm_info i;
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:I,s:{s:I}}", "role", "backup",
                          "state", "protected", "peer", "hosta", "pair",
                          "0123456789abcdef0123456789abcdef", "generation",
                          (json_int_t)4, "progress", "sent", (json_int_t)9);

    agent_report_parse(&s, o);
    json_decref(o);
    g_assert_cmpint(s.state, ==, FT_PAIR_PROTECTED);
    g_assert_cmpuint(s.sent, ==, 9);
    g_assert_true(agent_report_is_bound(&s));
    g_assert_true(vm_see_protected(vm, &s));
    g_assert_false(vm_see_protected(vm, &s));
    vm_get(vm, &i);
    g_assert_cmpint(i.role, ==, FT_ROLE_BACKUP);
    g_assert_cmpstr(i.peer, ==, "hosta");
    g_assert_false(i.wanted);
    vm_take_over(vm);
    vm_get(vm, &i);
    g_assert_true(i.role == FT_ROLE_PRIMARY && i.wanted && i.prepared);
    agent_report_parse(&s, NULL);
    g_assert_cmpint(s.state, ==, FT_PAIR_NONE);
    g_assert_false(agent_report_is_bound(&s));
    free(vm);
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

    if (text) {
        g_assert_true(g_file_set_contents(path, text, n, NULL));
    }
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
    g_test_add_func("/registry/qemus-user", qemus_user_reaches_its_folder);
    g_test_add_func("/registry/one-command", one_command_at_a_time);
    g_test_add_func("/vm/waits", a_command_waits_for_the_end_of_another);
    g_test_add_func("/vm/wanted", what_is_wanted_is_stopped_and_comes_back);
    g_test_add_func("/vm/begun", a_pair_that_is_begun_is_on_file);
    g_test_add_func("/vm/carried", a_definition_is_carried);
    g_test_add_func("/vm/autostart", autostart_is_taken_and_given_back);
    g_test_add_func("/vm/keeper", a_keeper_is_one_and_tells_a_failure_once);
    g_test_add_func("/vm/protected", a_protected_pair_is_news_once);
    g_test_add_func("/prove/files", a_proof_is_read_where_it_was_written);
    g_test_add_func("/prove/build-id", emulators_are_told_apart);
    rc = g_test_run();
    {
        g_autofree char *clean = g_strdup_printf("rm -rf '%s'", dir);

        if (system(clean) != 0) {
            return 1;
        }
    }
    return rc;
}
