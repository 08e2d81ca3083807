/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop.h - thin helpers on libev: timers in nanoseconds, watched descriptors
 *
 * The structs are embedded in the user's own; nothing is allocated. A stopped
 * timer or watch may be started again, and stopping twice is allowed. A
 * callback may stop, restart or free the object that holds its watcher.
 */
#ifndef FT_HOST_LOOP_H
#define FT_HOST_LOOP_H

#include <ev.h>
#include <stdbool.h>

#include "common/host/clock.h"

struct ft_timer;
typedef void ft_timer_fn(struct ft_timer *t, void *arg);

struct ft_timer {
    ev_timer w;
    struct ev_loop *loop;
    ft_timer_fn *fn;
    void *arg;
};

void ft_timer_init(struct ft_timer *t, struct ev_loop *loop, ft_timer_fn *fn,
                   void *arg);
/* Call fn once, `delay` from now (really now, not the loop's idea of it). A
 * running timer is moved. */
void ft_timer_after(struct ft_timer *t, ft_ns delay);
/* The same, at a time of CLOCK_BOOTTIME; at once when it is past. Not exact:
 * on waking look at the clock again. FT_NEVER stops it. */
void ft_timer_at(struct ft_timer *t, ft_ns boottime);
/* Every `period`, the first after one period. */
void ft_timer_every(struct ft_timer *t, ft_ns period);
void ft_timer_stop(struct ft_timer *t);
bool ft_timer_running(const struct ft_timer *t);

struct ft_watch;
/* events: EV_READ, EV_WRITE or both */
typedef void ft_watch_fn(struct ft_watch *w, int events, void *arg);

struct ft_watch {
    ev_io w;
    struct ev_loop *loop;
    ft_watch_fn *fn;
    void *arg;
};

/* Borrows fd. Nothing is watched until ft_watch_set(). */
void ft_watch_init(struct ft_watch *w, struct ev_loop *loop, int fd,
                   ft_watch_fn *fn, void *arg);
/* Watch for these events from now on; 0: for none. */
void ft_watch_set(struct ft_watch *w, int events);
void ft_watch_stop(struct ft_watch *w);

/* A listening socket. fn is called when a connection waits, and takes it with
 * ft_listener_accept(). */
struct ft_listener {
    struct ft_watch watch;
    struct ft_timer rest;
};

/* Borrows fd, and listens at once. */
void ft_listener_init(struct ft_listener *l, struct ev_loop *loop, int fd,
                      ft_watch_fn *fn, void *arg);
/* The connection (non-blocking, close-on-exec), or -1 and errno. Where no
 * descriptor or memory is left the listener rests for a second: the connection
 * that waits would wake the loop again and again. */
int ft_listener_accept(struct ft_listener *l);
void ft_listener_stop(struct ft_listener *l);

#endif
