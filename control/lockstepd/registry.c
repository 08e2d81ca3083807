/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * registry.c - the domains that this host knows, and their files
 *
 * STATE/vm/UUID.json holds what must survive a restart and a reboot: the
 * user's wish, the last pair and its generation. Written whole, renamed into
 * place.
 */
#include "control/lockstepd/registry.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/host/file.h"
#include "common/host/id.h"
#include "common/host/json.h"
#include "common/host/log.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/vm.h"

struct vm *registry_find(struct ctl *ctl, const char *which)
{
    struct vm *vm = registry_first(ctl);

    while (vm && !vm_is(vm, which)) {
        vm = vm_next(vm);
    }
    return vm;
}

struct vm *registry_first(struct ctl *ctl)
{
    struct vm *vm;

    pthread_mutex_lock(&ctl->vms_lock);
    vm = ctl->vms;
    pthread_mutex_unlock(&ctl->vms_lock);
    return vm;
}

struct vm *registry_vm(struct ctl *ctl, const char *uuid, const char *name)
{
    struct vm *vm;

    pthread_mutex_lock(&ctl->vms_lock);
    for (vm = ctl->vms; vm && strcmp(vm_uuid(vm), uuid); vm = vm_next(vm))
        ;
    if (!vm) {
        vm = ctl->vms = vm_new(uuid, ctl->vms);
    }
    pthread_mutex_unlock(&ctl->vms_lock);
    if (name && *name) {
        vm_rename(vm, name);
    }
    return vm;
}

static void file_of(struct ctl *ctl, const char *uuid, char *buf, size_t n)
{
    snprintf(buf, n, "%s/vm/%s.json", ctl->options.paths_state, uuid);
}

static void carried_file_of(struct ctl *ctl, const char *uuid, char *buf,
                            size_t n)
{
    snprintf(buf, n, "%s/vm/%s.carried.xml", ctl->options.paths_state, uuid);
}

int registry_carry(struct ctl *ctl, struct vm *vm, const char *xml,
                   struct ft_err *err)
{
    char path[FT_PATH_TEXT];

    carried_file_of(ctl, vm_uuid(vm), path, sizeof(path));
    if (!xml) {
        unlink(path);
        return 0;
    }
    return ft_file_replace(path, xml, 0600, err);
}

char *registry_carried(struct ctl *ctl, const struct vm *vm)
{
    char path[FT_PATH_TEXT], *text = NULL;
    size_t size = 0;
    FILE *f;

    carried_file_of(ctl, vm_uuid(vm), path, sizeof(path));
    f = fopen(path, "re");
    if (f && getdelim(&text, &size, '\0', f) < 0) {
        free(text);
        text = NULL;
    }
    if (f) {
        fclose(f);
    }
    return text;
}

/* A new one has that mode whatever the umask, which is for what only root
 * reads. */
static int make_dir(const char *path, mode_t mode, struct ft_err *err)
{
    if (mkdir(path, mode) == 0) {
        if (chmod(path, mode) < 0) {
            return ft_err_sys(err, errno, "folder %s: cannot set its mode",
                              path);
        }
    } else if (errno != EEXIST) {
        return ft_err_sys(err, errno, "folder %s: cannot make it", path);
    }
    return 0;
}

int registry_save(struct ctl *ctl, struct vm *vm, struct ft_err *err)
{
    char path[FT_PATH_TEXT];
    struct vm_info i;
    json_t *o;
    char *text;
    int rc;

    vm_get(vm, &i);
    o = json_pack("{s:s,s:s,s:b,s:b,s:s,s:s,s:s,s:s,s:I,s:b}", "uuid", i.uuid,
                  "name", i.name, "prepared", i.prepared, "wanted", i.wanted,
                  "role", ft_role_name(i.role), "peer", i.peer, "arbiter",
                  i.arbiter, "pair", i.pair, "generation",
                  (json_int_t)i.generation, "autostart", i.autostart);
    if (i.last != FT_PAIR_NONE) {
        ft_json_set_text(o, "last", ft_pair_state_name(i.last));
        ft_json_set_text(o, "note", i.note);
    }
    text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
    json_decref(o);
    if (!text) {
        return ft_err_set(err, ENOMEM, "domain %s: state not saved", i.name);
    }
    file_of(ctl, vm_uuid(vm), path, sizeof(path));
    rc = ft_file_replace(path, text, 0640, err);
    if (rc < 0) {
        ft_err_prefix(err, "domain %s", i.name);
    }
    free(text);
    vm_set_saved(vm, rc == 0);
    return rc;
}

void registry_forget(struct ctl *ctl, struct vm *vm)
{
    char path[FT_PATH_TEXT];

    file_of(ctl, vm_uuid(vm), path, sizeof(path));
    unlink(path);
    registry_carry(ctl, vm, NULL, NULL);
    vm_forget(vm);
}

static void load_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

static void load_one(struct ctl *ctl, const char *path)
{
    struct vm_info i;
    json_error_t je;
    json_t *o = json_load_file(path, 0, &je);
    const char *uuid = json_string_value(json_object_get(o, "uuid"));
    struct vm *vm;

    if (!uuid || !ft_uuid_is(uuid)) {
        ft_warning("file %s: not a domain's state, ignored (%s)", path,
                   o ? "no uuid" : je.text);
        json_decref(o);
        return;
    }
    vm = registry_vm(ctl, uuid, ft_json_text(o, "name"));
    vm_get(vm, &i);
    i.prepared = json_is_true(json_object_get(o, "prepared"));
    i.wanted = json_is_true(json_object_get(o, "wanted"));
    i.autostart = json_is_true(json_object_get(o, "autostart"));
    i.role = ft_role_parse(ft_json_text(o, "role"));
    i.generation = ft_json_number(o, "generation");
    i.last = ft_pair_state_parse(ft_json_text(o, "last"));
    load_text(i.peer, sizeof(i.peer), ft_json_text(o, "peer"));
    load_text(i.arbiter, sizeof(i.arbiter), ft_json_text(o, "arbiter"));
    load_text(i.pair, sizeof(i.pair), ft_json_text(o, "pair"));
    load_text(i.note, sizeof(i.note), ft_json_text(o, "note"));
    vm_restore(vm, &i);
    json_decref(o);
}

int registry_load(struct ctl *ctl, struct ft_err *err)
{
    const struct ft_options *o = &ctl->options;
    char dir[FT_PATH_TEXT], path[FT_PATH_TEXT + NAME_MAX + 2];
    struct dirent *e;
    DIR *d;

    /* QEMU's user must pass both; what an earlier lockstepd has left, too. */
    snprintf(dir, sizeof(dir), "%s/vm", o->paths_run);
    if (make_dir(o->paths_run, 0755, err) < 0 ||
        make_dir(dir, 0755, err) < 0) {
        return -1;
    }
    if (chmod(dir, 0755) < 0) {
        return ft_err_sys(err, errno, "folder %s: cannot set its mode", dir);
    }
    snprintf(dir, sizeof(dir), "%s/vm", o->paths_state);
    if (make_dir(o->paths_state, 0750, err) < 0 ||
        make_dir(dir, 0750, err) < 0 ||
        make_dir(o->paths_log, 0750, err) < 0) {
        return -1;
    }
    d = opendir(dir);
    if (!d) {
        return ft_err_sys(err, errno, "folder %s: cannot read it", dir);
    }
    while ((e = readdir(d))) {
        const char *dot = strrchr(e->d_name, '.');

        if (!dot || strcmp(dot, ".json")) {
            continue;
        }
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        load_one(ctl, path);
    }
    closedir(d);
    /* A prepared domain's QEMU listens in its folder, which a reboot takes
     * away (/run): it must be there before libvirtd starts the domain. */
    for (struct vm *vm = ctl->vms; vm; vm = vm_next(vm)) {
        if (registry_run_dir(ctl, vm_uuid(vm), path, sizeof(path), err) < 0) {
            return -1;
        }
    }
    return 0;
}

int registry_run_dir(struct ctl *ctl, const char *uuid, char *buf,
                     size_t size, struct ft_err *err)
{
    /* libvirt runs QEMU as this user, or as root without capabilities: the
     * owner or the group must let it listen here. */
    const struct passwd *pw = getpwnam("libvirt-qemu");

    snprintf(buf, size, "%s/vm/%s", ctl->options.paths_run, uuid);
    if (make_dir(buf, 0770, err) < 0) {
        return -1;
    }
    if (geteuid() == 0 &&
        (chown(buf, pw ? pw->pw_uid : 0, 0) < 0 || chmod(buf, 0770) < 0)) {
        return ft_err_sys(err, errno, "folder %s: cannot set its owner", buf);
    }
    return 0;
}
