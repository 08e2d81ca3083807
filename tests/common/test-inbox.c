/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-inbox.c - events of a core: their order, and when its deadline comes */
#include <glib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/inbox.h"

enum { WORD, ASKED, TIMEOUT };

struct host {
    struct ft_inbox inbox;
    struct ev_loop *loop;
    int pipe[2];
    ft_ns heard, patience;
    bool stepping;
    GString *story;
};

static void put(struct host *h, int event)
{
    ft_inbox_put(&h->inbox, &event, sizeof(event));
}

static void step(void *arg, const void *event)
{
    struct host *h = arg;
    int kind;

    g_assert_false(h->stepping);
    h->stepping = true;
    memcpy(&kind, event, sizeof(kind));
    switch (kind) {
    case WORD:
        h->heard = ft_boottime();
        g_string_append(h->story, "word ");
        break;
    case ASKED:
        put(h, WORD); /* an answer that is there at once */
        put(h, WORD);
        g_string_append(h->story, "asked ");
        break;
    default:
        g_string_append(h->story, ft_boottime() - h->heard >= h->patience
                                      ? "silent "
                                      : "early ");
        break;
    }
    h->stepping = false;
}

static ft_ns deadline(void *arg)
{
    struct host *h = arg;

    return h->patience == FT_NEVER ? FT_NEVER : h->heard + h->patience;
}

static void timeout(void *arg)
{
    put(arg, TIMEOUT);
}

static void begin(struct host *h, ft_ns patience)
{
    static const struct ft_inbox_ops ops = { step, deadline, timeout };

    memset(h, 0, sizeof(*h));
    h->loop = ev_loop_new(EVFLAG_AUTO);
    h->patience = patience;
    h->story = g_string_new("");
    g_assert_cmpint(pipe(h->pipe), ==, 0);
    ft_inbox_init(&h->inbox, h->loop, &ops, h);
}

static void end(struct host *h)
{
    ft_inbox_stop(&h->inbox);
    close(h->pipe[0]);
    close(h->pipe[1]);
    g_string_free(h->story, TRUE);
    ev_loop_destroy(h->loop);
}

static void test_order(void)
{
    struct host h;

    begin(&h, FT_NEVER);
    put(&h, ASKED);
    put(&h, TIMEOUT);
    g_assert_cmpstr(h.story->str, ==, "asked word word early ");
    for (int i = 0; i < 3 * FT_INBOX_MAX; i++) {
        put(&h, WORD);
    }
    g_assert_cmpuint(h.inbox.count, ==, 0);
    end(&h);
}

static void on_readable(struct ft_watch *w, int events, void *arg)
{
    struct host *h = arg;
    char c;

    (void)w, (void)events;
    g_assert_cmpint(read(h->pipe[0], &c, 1), ==, 1);
    put(h, WORD);
}

/* The processor was away for longer than the peer may be silent. The peer was
 * not: its word waits. */
static void test_input_before_deadline(void)
{
    struct ft_watch w;
    struct host h;

    begin(&h, 50 * FT_NS_PER_MS);
    ft_watch_init(&w, h.loop, h.pipe[0], on_readable, &h);
    ft_watch_set(&w, EV_READ);
    put(&h, WORD);
    ev_run(h.loop, EVRUN_NOWAIT);
    g_assert_cmpint(write(h.pipe[1], "x", 1), ==, 1);
    g_usleep(80 * 1000);
    ev_run(h.loop, EVRUN_ONCE);
    g_assert_cmpstr(h.story->str, ==, "word word ");
    /* and then it is silent indeed */
    ev_run(h.loop, EVRUN_ONCE);
    g_assert_cmpstr(h.story->str, ==, "word word silent ");
    ft_watch_stop(&w);
    end(&h);
}

static void test_full(void)
{
    struct host h;

    if (g_test_subprocess()) {
        begin(&h, FT_NEVER);
        h.inbox.stepping = true;
        for (int i = 0; i <= FT_INBOX_MAX; i++) {
            put(&h, WORD);
        }
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*does not fit the inbox*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/inbox/one event at a time, answers after their question",
                    test_order);
    g_test_add_func("/inbox/what waits is heard before silence is judged",
                    test_input_before_deadline);
    g_test_add_func("/inbox/a full inbox aborts", test_full);
    return g_test_run();
}
