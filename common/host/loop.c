/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop.c - thin helpers on libev */
#include "common/host/loop.h"

#include <errno.h>
#include <sys/socket.h>

static void timer_cb(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct ft_timer *t = w->data;

    (void)loop;
    (void)revents;
    t->fn(t, t->arg);
}

void ft_timer_init(struct ft_timer *t, struct ev_loop *loop, ft_timer_fn *fn,
                   void *arg)
{
    ev_timer_init(&t->w, timer_cb, 0., 0.);
    t->w.data = t;
    t->loop = loop;
    t->fn = fn;
    t->arg = arg;
}

void ft_timer_after(struct ft_timer *t, ft_ns delay)
{
    ev_timer_stop(t->loop, &t->w);
    /* libev counts from its cached time, which a long callback leaves
     * behind: the timer would be early */
    ev_now_update(t->loop);
    ev_timer_set(&t->w, (double)delay * 1e-9, 0.);
    ev_timer_start(t->loop, &t->w);
}

void ft_timer_at(struct ft_timer *t, ft_ns boottime)
{
    ft_ns now = ft_boottime();

    if (boottime == FT_NEVER) {
        ft_timer_stop(t);
        return;
    }
    ft_timer_after(t, boottime > now ? boottime - now : 0);
}

void ft_timer_every(struct ft_timer *t, ft_ns period)
{
    ev_timer_stop(t->loop, &t->w);
    ev_now_update(t->loop);
    ev_timer_set(&t->w, (double)period * 1e-9, (double)period * 1e-9);
    ev_timer_start(t->loop, &t->w);
}

void ft_timer_stop(struct ft_timer *t)
{
    if (t->loop) {
        ev_timer_stop(t->loop, &t->w);
    }
}

bool ft_timer_running(const struct ft_timer *t)
{
    return ev_is_active(&t->w);
}

static void watch_cb(struct ev_loop *loop, ev_io *io, int revents)
{
    struct ft_watch *w = io->data;

    (void)loop;
    w->fn(w, revents & (EV_READ | EV_WRITE), w->arg);
}

void ft_watch_init(struct ft_watch *w, struct ev_loop *loop, int fd,
                   ft_watch_fn *fn, void *arg)
{
    ev_io_init(&w->w, watch_cb, fd, 0);
    w->w.data = w;
    w->loop = loop;
    w->fn = fn;
    w->arg = arg;
}

void ft_watch_set(struct ft_watch *w, int events)
{
    if (ev_is_active(&w->w)) {
        if ((w->w.events & (EV_READ | EV_WRITE)) == events) {
            return;
        }
        ev_io_stop(w->loop, &w->w);
    }
    if (events) {
        ev_io_set(&w->w, w->w.fd, events);
        ev_io_start(w->loop, &w->w);
    }
}

void ft_watch_stop(struct ft_watch *w)
{
    if (w->loop) {
        ev_io_stop(w->loop, &w->w);
    }
}

static void rest_cb(struct ft_timer *t, void *arg)
{
    struct ft_listener *l = arg;

    (void)t;
    ft_watch_set(&l->watch, EV_READ);
}

void ft_listener_init(struct ft_listener *l, struct ev_loop *loop, int fd,
                      ft_watch_fn *fn, void *arg)
{
    ft_watch_init(&l->watch, loop, fd, fn, arg);
    ft_timer_init(&l->rest, loop, rest_cb, l);
    ft_watch_set(&l->watch, EV_READ);
}

int ft_listener_accept(struct ft_listener *l)
{
    int fd = accept4(l->watch.w.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
                   errno == ENOBUFS)) {
        ft_watch_stop(&l->watch);
        ft_timer_after(&l->rest, FT_NS_PER_S);
    }
    return fd;
}

void ft_listener_stop(struct ft_listener *l)
{
    ft_watch_stop(&l->watch);
    ft_timer_stop(&l->rest);
}
