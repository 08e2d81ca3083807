/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctl.h - the parts of lockstepd
 *
 * Theory of Operation
 *
 * lockstepd is in no data path, so it may be simple where the agents may not:
 * everything that takes long (libvirt, the other host, an agent) runs in a
 * thread of its own, written from top to bottom with blocking calls that all
 * have a time limit. The main thread runs the loop: it accepts, reads
 * preambles, reaps children, and starts threads.
 *
 *   lockstepd.c   main thread
 *   client.c      one thread per lockstep command (lockstepd.sock)
 *   status.c      what `status` answers
 *   protect.c     make a backup elsewhere: the primary's host
 *   unprotect.c   end the pair
 *   replica.c     be the backup's host: one thread per CONTROL connection
 *   peer.c        a CONTROL connection, as blocking calls
 *   keeper.c      one thread per protected domain: follows its agent, starts
 *                 it again, makes a domain permanent after a go-live, brings
 *                 redundancy back
 *   agents.c      start an agent, talk to it
 *   virt.c        the local libvirtd, and nothing but the local one
 *   prove.c       does the other host see the same file? the same emulator?
 *   registry.c    the domains that this host knows, and their files
 *   domain*.c     a domain's XML (pure)
 *
 * Shared state is struct vm, under the registry's lock; a thread copies what
 * it needs and holds the lock across no call that can block. What an agent
 * or libvirtd knows is asked, not remembered: killing lockstepd at any time
 * loses nothing but the running commands.
 */
#ifndef CONTROL_CTL_H
#define CONTROL_CTL_H

#include <ev.h>
#include <jansson.h>
#include <libvirt/libvirt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "common/host/clock.h"
#include "common/host/err.h"
#include "common/host/id.h"
#include "common/host/loop.h"
#include "common/host/options.h"
#include "control/domain/domain.h"
#include "logging-channel/wire.h"

#define CTL_UUID UUID_STR_LEN
#define CTL_NAME 256
#define CTL_URI 512

enum vm_role { VM_NONE, VM_PRIMARY, VM_BACKUP };

/* One domain. Made once, never freed while lockstepd runs. */
struct vm {
    struct vm *next;
    char uuid[CTL_UUID];
    /* in the file STATE/vm/UUID.json */
    char name[CTL_NAME];
    bool prepared;              /* its definition here is a prepared one */
    bool wanted;                /* the user wants it protected */
    enum vm_role role;          /* this host's, in the last pair */
    char peer[CTL_NAME];        /* the other host of the last pair */
    char arbiter[CTL_URI];
    char pair[33];
    uint64_t generation;        /* of the last pair that was protected */
    bool autostart;             /* libvirt's flag, taken over while protected */
    char last[16];              /* how its last pair ended for this host, where
                                   that is not over yet: a state of
                                   docs/agent.md; else "" */
    char note[FT_ERR_TEXT];     /* why it is not protected */
    /* not in the file */
    bool unsaved;               /* the file could not be written */
    const char *busy;           /* a command that runs now, or NULL */
    bool keeper;                /* its thread runs */
    bool reprotects;            /* its thread runs */
    atomic_bool stop;           /* end of a running protect, please */
    atomic_bool poke;           /* its other host is back: try at once */
    json_t *status;             /* the agent's last words, or NULL */
};

/* The threads of one purpose. What a stranger can start is bounded; a domain
 * always gets its keeper. */
struct pool {
    const char *what;           /* for messages: "commands" */
    int max;
    atomic_int running;
};

struct ctl {
    struct ft_options options;
    const char *config;         /* --config FILE, handed to the agents */
    struct ev_loop *loop;
    struct ft_listener listener;    /* of lockstepd.sock */
    pthread_mutex_t lock;       /* vms and what is in them */
    pthread_cond_t changed;     /* a status came */
    struct vm *vms;
    pthread_mutex_t virt_lock;      /* the five that follow */
    pthread_cond_t virt_opened;
    virConnectPtr conn;
    bool virt_opening;              /* a thread is at it */
    struct timespec virt_until;     /* ... and its callers wait until then */
    char virt_why[FT_ERR_TEXT];     /* why the last try failed */
    struct pool commands, connections, keepers;
    atomic_bool quit;
};

/* Work that someone may give up on, and that says how far it is. */
struct job {
    struct ctl *ctl;
    int cancel_fd;              /* hung up: cancelled; -1: none */
    atomic_bool *stop;          /* or NULL */
    void (*progress)(struct job *job, const char *phase, int percent,
                     const char *text);   /* percent -1: not known */
    void *arg;
};
bool job_cancelled(const struct job *job);
void job_progress(struct job *job, const char *phase, int percent,
                  const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Wait; -1 and err when cancelled. */
int job_sleep(const struct job *job, int ms, struct ft_err *err);

/* lockstepd.c: a detached thread, counted; -1 when there are too many. */
int ctl_thread(struct pool *pool, void *(*run)(void *arg), void *arg,
               struct ft_err *err);
void ctl_thread_end(struct pool *pool);

/* registry.c */
int registry_load(struct ctl *ctl, struct ft_err *err);
/* Find by uuid, or make. name NULL: leave it. */
struct vm *registry_vm(struct ctl *ctl, const char *uuid, const char *name);
struct vm *registry_find(struct ctl *ctl, const char *which);   /* or name */
/* Write the file; a failure is remembered (unsaved). The caller does not hold
 * the lock. */
int registry_save(struct ctl *ctl, struct vm *vm, struct ft_err *err);
/* Remove the file; what is left is shown until lockstepd ends. */
void registry_forget(struct ctl *ctl, struct vm *vm);
/* Begin a command on it; -1: another one runs, and still after wait_ms. */
int vm_begin(struct ctl *ctl, struct vm *vm, const char *what, int wait_ms,
             struct ft_err *err);
void vm_end(struct ctl *ctl, struct vm *vm);
void vm_note(struct ctl *ctl, struct vm *vm, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* RUN/vm/UUID, made when it is missing, so that QEMU can listen in it. */
int vm_run_dir(struct ctl *ctl, const char *uuid, char *buf, size_t size,
               struct ft_err *err);
const char *vm_role_name(enum vm_role role);

/* agents.c */
/* One command, one reply (given; reply may be NULL). fd: -1 or passed on. */
int agent_request(struct ctl *ctl, const char *uuid, json_t *command, int fd,
                  json_t **reply, int timeout_ms, struct ft_err *err);
/* The two that are asked most: its status (given), a command of one word. */
int agent_status(struct ctl *ctl, const char *uuid, json_t **status,
                 struct ft_err *err);
int agent_order(struct ctl *ctl, const char *uuid, const char *what,
                struct ft_err *err);
bool agent_alive(struct ctl *ctl, const char *uuid);
/* Start it unless it runs; returns when it listens. */
int agent_ensure(struct ctl *ctl, const char *uuid, struct ft_err *err);
int agent_open(struct ctl *ctl, const char *uuid, struct ft_err *err);
const char *status_text(const json_t *status, const char *key);
uint64_t status_number(const json_t *status, const char *key);

/* virt.c: each call blocks; never from the loop. */
int virt_start_events(struct ctl *ctl, struct ft_err *err);
/* A reference to the connection; virConnectClose() it. NULL: err. */
virConnectPtr virt_open(struct ctl *ctl, struct ft_err *err);
/* By name or uuid. */
virDomainPtr virt_domain(struct ctl *ctl, const char *which,
                         struct ft_err *err);
int virt_error(struct ft_err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));   /* appends libvirt's text */
/* "running", "paused", "in shutdown", "shut off", "not there", "unknown" (it
 * does not say), "no answer" (of libvirtd) */
const char *virt_state(struct ctl *ctl, const char *uuid);
int virt_active(struct ctl *ctl, const char *uuid);   /* -1: not known */
xmlDoc *virt_xml(virDomainPtr dom, unsigned flags, struct ft_err *err);
int virt_define(virConnectPtr conn, xmlDoc *doc, struct ft_err *err);
void virt_destroy(struct ctl *ctl, const char *uuid);
/* Define the running domain as it runs, without -incoming. */
int virt_make_permanent(struct ctl *ctl, const char *uuid,
                        const struct dom_protection *p, struct ft_err *err);
/* Take out the inactive definition; a copy stays in the state folder. */
int virt_undefine(struct ctl *ctl, const char *uuid, struct ft_err *err);
void virt_set_protection(struct ctl *ctl, const char *uuid,
                         const struct dom_protection *p);
int virt_cpu_supported(struct ctl *ctl, const struct dom_facts *f,
                       const char *emulator, struct ft_err *err);
int virt_networks_there(struct ctl *ctl, json_t *networks,
                        struct ft_err *err);

/* prove.c */
struct proof {
    char file[1024];            /* path of the nonce file */
    char nonce[33];
};
/* Write a nonce file in the folder of `path` (folder: path is the folder). */
int prove_write(const char *path, bool folder, const char *host,
                struct proof *p, struct ft_err *err);
int prove_read(const struct proof *p, struct ft_err *err);
void prove_remove(struct proof *p);
int prove_stat(const char *path, uint64_t *inode, uint64_t *size,
               struct ft_err *err);
int build_id(const char *program, char *out, size_t size,
             struct ft_err *err);
/* The arbiter's random id, and the folder behind file: URIs. */
int arbiter_id(const char *uri, char *out, size_t size, struct ft_err *err);
const char *arbiter_folder(const char *uri);
/* Highest generation that it has a record of, 0: none; and the host that owns
 * it, "": free. */
int arbiter_record(const char *uri, const char *uuid, uint64_t *g,
                   char owner[CTL_NAME], struct ft_err *err);

/* peer.c */
struct peer;
/* cancel: looked at while waiting. */
struct peer *peer_connect(struct job *job, const char *host,
                          struct ft_err *err);
struct peer *peer_accept(struct ctl *ctl, int fd, struct ft_err *err);
void peer_close(struct peer *p);
const char *peer_host(const struct peer *p);
const char *peer_address(const struct peer *p);   /* numeric, no port */
int peer_call(struct peer *p, json_t *request, json_t **reply,
              int timeout_s, struct ft_err *err);
/* 1: *request (given), 0: closed, -1: err */
int peer_next(struct peer *p, json_t **request, struct ft_err *err);
int peer_reply(struct peer *p, json_t *reply, struct ft_err *err);
/* A numeric address of a host name. */
int resolve(const char *host, char *out, size_t size, struct ft_err *err);

/* protect.c. domain: name or uuid. host, arbiter: NULL or "": as before. */
int protect_run(struct job *job, const char *domain, const char *host,
                const char *arbiter, char *summary, size_t size,
                struct ft_err *err);

/* unprotect.c */
int unprotect_run(struct job *job, const char *domain, char *summary,
                  size_t size, struct ft_err *err);

/* replica.c: thread; takes fd. */
struct incoming {
    struct ctl *ctl;
    int fd;
};
void *replica_thread(void *incoming);

/* keeper.c: follow this domain's agent, if nobody does yet. */
void keeper_start(struct ctl *ctl, struct vm *vm);
/* Tell the other hosts of our pairs that this one is there (again). */
void keeper_announce(struct ctl *ctl);
/* This host runs the only copy and the user wants another one. */
bool vm_alone(const json_t *status);
/* It has a part in a pair, or in one that is being made or ended. */
bool vm_in_pair(const json_t *status);

/* client.c: thread; takes fd. */
void *client_thread(void *incoming);

/* status.c: gives it. */
json_t *status_of(struct ctl *ctl, struct vm *vm);
json_t *status_all(struct ctl *ctl);

#endif
