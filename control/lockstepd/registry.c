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
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/host/id.h"
#include "common/host/log.h"
#include "control/lockstepd/ctl.h"
#include "control/lockstepd/vm.h"

static void set(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

const char *vm_role_name(enum vm_role role)
{
    static const char *const name[] = { "none", "primary", "backup" };

    return name[role];
}

static enum vm_role role_of(const char *name)
{
    return name && !strcmp(name, "primary") ? VM_PRIMARY
         : name && !strcmp(name, "backup") ? VM_BACKUP : VM_NONE;
}

struct vm *registry_find(struct ctl *ctl, const char *which)
{
    struct vm *vm;

    pthread_mutex_lock(&ctl->lock);
    for (vm = ctl->vms; vm && strcmp(vm->uuid, which) &&
         strcmp(vm->name, which); vm = vm->next)
        ;
    pthread_mutex_unlock(&ctl->lock);
    return vm;
}

struct vm *registry_vm(struct ctl *ctl, const char *uuid, const char *name)
{
    struct vm *vm;

    pthread_mutex_lock(&ctl->lock);
    for (vm = ctl->vms; vm && strcmp(vm->uuid, uuid); vm = vm->next)
        ;
    if (!vm) {
        vm = calloc(1, sizeof(*vm));
        if (!vm)
            abort();
        set(vm->uuid, sizeof(vm->uuid), uuid);
        set(vm->name, sizeof(vm->name), uuid);
        vm->next = ctl->vms;
        ctl->vms = vm;
    }
    if (name && *name)
        set(vm->name, sizeof(vm->name), name);
    pthread_mutex_unlock(&ctl->lock);
    return vm;
}

static void file_of(struct ctl *ctl, const char *uuid, char *buf, size_t n)
{
    snprintf(buf, n, "%s/vm/%s.json", ctl->options.paths_state, uuid);
}

static int make_dir(const char *path, mode_t mode, struct ft_err *err)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return ft_err_sys(err, errno, "folder %s: cannot make it", path);
    return 0;
}

int registry_save(struct ctl *ctl, struct vm *vm, struct ft_err *err)
{
    char path[600], tmp[620], dir[600];
    json_t *o;
    int fd, rc = -1;
    char *text;
    size_t n;

    pthread_mutex_lock(&ctl->lock);
    o = json_pack("{s:s,s:s,s:b,s:b,s:s,s:s,s:s,s:s,s:I,s:b}",
                  "uuid", vm->uuid, "name", vm->name,
                  "prepared", vm->prepared, "wanted", vm->wanted,
                  "role", vm_role_name(vm->role), "peer", vm->peer,
                  "arbiter", vm->arbiter, "pair", vm->pair,
                  "generation", (json_int_t)vm->generation,
                  "autostart", vm->autostart);
    if (*vm->last) {
        json_object_set_new(o, "last", json_string(vm->last));
        json_object_set_new(o, "note", json_string(vm->note));
    }
    pthread_mutex_unlock(&ctl->lock);
    text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
    json_decref(o);
    if (!text)
        return ft_err_set(err, ENOMEM, "domain %s: state not saved",
                          vm->name);
    snprintf(dir, sizeof(dir), "%s/vm", ctl->options.paths_state);
    file_of(ctl, vm->uuid, path, sizeof(path));
    snprintf(tmp, sizeof(tmp), "%s.%d", path, (int)gettid());
    n = strlen(text);
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd >= 0)
        errno = ENOSPC;   /* what a write that is cut short means */
    if (fd < 0 || write(fd, text, n) != (ssize_t)n || fsync(fd) < 0 ||
        rename(tmp, path) < 0) {
        ft_err_sys(err, errno, "domain %s: file %s: cannot write it",
                   vm->name, path);
        unlink(tmp);
        goto out;
    }
    rc = 0;
out:
    if (fd >= 0)
        close(fd);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(text);
    pthread_mutex_lock(&ctl->lock);
    vm->unsaved = rc < 0;
    pthread_mutex_unlock(&ctl->lock);
    return rc;
}

void registry_forget(struct ctl *ctl, struct vm *vm)
{
    char path[600];

    file_of(ctl, vm->uuid, path, sizeof(path));
    unlink(path);
    pthread_mutex_lock(&ctl->lock);
    vm->prepared = vm->wanted = vm->autostart = false;
    vm->role = VM_NONE;
    vm->generation = 0;   /* the arbiter knows better */
    *vm->last = *vm->note = 0;
    vm->unsaved = false;
    pthread_mutex_unlock(&ctl->lock);
}

static void load_one(struct ctl *ctl, const char *path)
{
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
    vm = registry_vm(ctl, uuid,
                     json_string_value(json_object_get(o, "name")));
    vm->prepared = json_is_true(json_object_get(o, "prepared"));
    vm->wanted = json_is_true(json_object_get(o, "wanted"));
    vm->autostart = json_is_true(json_object_get(o, "autostart"));
    vm->role = role_of(json_string_value(json_object_get(o, "role")));
    set(vm->peer, sizeof(vm->peer),
        json_string_value(json_object_get(o, "peer")));
    set(vm->arbiter, sizeof(vm->arbiter),
        json_string_value(json_object_get(o, "arbiter")));
    set(vm->pair, sizeof(vm->pair),
        json_string_value(json_object_get(o, "pair")));
    vm->generation = (uint64_t)json_integer_value(
        json_object_get(o, "generation"));
    set(vm->last, sizeof(vm->last),
        json_string_value(json_object_get(o, "last")));
    set(vm->note, sizeof(vm->note),
        json_string_value(json_object_get(o, "note")));
    json_decref(o);
}

int registry_load(struct ctl *ctl, struct ft_err *err)
{
    const struct ft_options *o = &ctl->options;
    char dir[600], path[900];
    struct dirent *e;
    DIR *d;

    snprintf(dir, sizeof(dir), "%s/vm", o->paths_run);
    if (make_dir(o->paths_run, 0755, err) < 0 ||
        make_dir(dir, 0755, err) < 0)
        return -1;
    snprintf(dir, sizeof(dir), "%s/vm", o->paths_state);
    if (make_dir(o->paths_state, 0750, err) < 0 ||
        make_dir(dir, 0750, err) < 0 ||
        make_dir(o->paths_log, 0750, err) < 0)
        return -1;
    d = opendir(dir);
    if (!d)
        return ft_err_sys(err, errno, "folder %s: cannot read it", dir);
    while ((e = readdir(d))) {
        const char *dot = strrchr(e->d_name, '.');

        if (!dot || strcmp(dot, ".json"))
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        load_one(ctl, path);
    }
    closedir(d);
    /* A prepared domain's QEMU listens in its folder, which a reboot takes
     * away (/run): it must be there before libvirtd starts the domain. */
    for (struct vm *vm = ctl->vms; vm; vm = vm->next) {
        if (registry_run_dir(ctl, vm->uuid, path, sizeof(path), err) < 0)
            return -1;
    }
    return 0;
}

int vm_begin(struct ctl *ctl, struct vm *vm, const char *what, int wait_ms,
             struct ft_err *err)
{
    ft_ns end = ft_monotonic() + (ft_ns)wait_ms * FT_NS_PER_MS;
    int rc = 0;

    pthread_mutex_lock(&ctl->lock);
    while (vm->busy && ft_monotonic() < end) {
        pthread_mutex_unlock(&ctl->lock);
        poll(NULL, 0, 50);
        pthread_mutex_lock(&ctl->lock);
    }
    if (vm->busy)
        rc = ft_err_set(err, EBUSY, "domain %s: another command is at work "
                        "on it (%s): wait for its end, or stop it",
                        vm->name, vm->busy);
    else
        vm->busy = what;
    pthread_mutex_unlock(&ctl->lock);
    return rc;
}

void vm_end(struct ctl *ctl, struct vm *vm)
{
    pthread_mutex_lock(&ctl->lock);
    vm->busy = NULL;
    pthread_cond_broadcast(&ctl->changed);
    pthread_mutex_unlock(&ctl->lock);
}

void vm_note(struct ctl *ctl, struct vm *vm, const char *fmt, ...)
{
    char text[sizeof(vm->note)];
    va_list ap;
    bool news;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&ctl->lock);
    news = strcmp(vm->note, text) != 0;
    memcpy(vm->note, text, sizeof(text));
    pthread_mutex_unlock(&ctl->lock);
    if (news && *text)
        ft_info("pair %s: %s", vm->name, text);
}

int registry_run_dir(struct ctl *ctl, const char *uuid, char *buf, size_t size,
                     struct ft_err *err)
{
    /* libvirt runs QEMU as this user, or as root without capabilities: the
     * owner or the group must let it listen here. */
    const struct passwd *pw = getpwnam("libvirt-qemu");

    snprintf(buf, size, "%s/vm/%s", ctl->options.paths_run, uuid);
    if (make_dir(buf, 0770, err) < 0)
        return -1;
    if (geteuid() == 0 &&
        (chown(buf, pw ? pw->pw_uid : 0, 0) < 0 || chmod(buf, 0770) < 0))
        return ft_err_sys(err, errno, "folder %s: cannot set its owner",
                          buf);
    return 0;
}
