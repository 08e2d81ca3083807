/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test-jsonserver.c - JSON lines: lines, bounds, descriptors */
#include "agent/jsonserver.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/host/fdpass.h"
#include "common/host/loop.h"

/* One end of a connection and what came. */
struct seen {
    struct agent_json *j;
    int fd; /* of an end that connected */
    unsigned lines, gone, opened;
    char last[256];
    int fds[8];
    unsigned nfds;
    struct ft_err why;
    bool close_at_line;
};

static char dir[64], path[96];
static struct ev_loop *loop;

static void on_line(struct agent_json *j, json_t *line, void *arg)
{
    struct seen *s = arg;
    const char *d = json_string_value(json_object_get(line, "do"));

    s->lines++;
    g_strlcpy(s->last, d ? d : "", sizeof(s->last));
    if (d && !strcmp(d, "take")) {
        s->fds[s->nfds++] = agent_json_take_fd(j);
    }
    if (d && !strcmp(d, "ping")) {
        agent_json_send_ok(j);
    }
    if (s->close_at_line) {
        agent_json_close(j);
        s->j = NULL;
    }
}

static void on_gone(struct agent_json *j, const struct ft_err *why, void *arg)
{
    struct seen *s = arg;

    s->gone++;
    s->why = *why;
    if (s->j == j) {
        s->j = NULL;
    }
    agent_json_close(j);
}

static const struct agent_json_ops ops = { .line = on_line, .gone = on_gone };

static void on_opened(struct agent_json *j, void *arg)
{
    struct seen *s = arg;

    s->opened++;
    s->j = j;
}

static void late(struct ft_timer *t, void *arg)
{
    (void)t;
    (void)arg;
    g_error("nothing came within 10 s");
}

static void until(const unsigned *what, unsigned n)
{
    struct ft_timer t;

    ft_timer_init(&t, loop, late, NULL);
    ft_timer_after(&t, 10 * FT_NS_PER_S);
    while (*what < n) {
        ev_run(loop, EVRUN_ONCE);
    }
    ft_timer_stop(&t);
}

struct setup {
    struct agent_json_server *server;
    struct seen server_end, client_end;
};

static void connect_to_server(struct seen *s)
{
    struct ft_err err;

    s->fd = ft_unix_connect(path, SOCK_STREAM, &err);
    g_assert_cmpint(s->fd, >=, 0);
    s->j = agent_json_open(loop, s->fd, &ops, s);
    g_assert_nonnull(s->j);
}

/* What the kernel has of it and the other end has not read yet. */
static int unread(const struct seen *s)
{
    int n;

    g_assert_cmpint(ioctl(s->fd, SIOCOUTQ, &n), ==, 0);
    return n;
}

static void begin(struct setup *s)
{
    struct ft_err err;

    memset(s, 0, sizeof(*s));
    s->server = agent_json_listen(loop, path, 0600, 3, &ops, on_opened,
                                  &s->server_end, &err);
    g_assert_nonnull(s->server);
    connect_to_server(&s->client_end);
    until(&s->server_end.opened, 1);
}

static void end(struct setup *s)
{
    agent_json_close(s->client_end.j);
    agent_json_server_close(s->server);
    g_assert_cmpint(access(path, F_OK), ==, -1);
    ev_run(loop, EVRUN_NOWAIT);
}

static int send_do(struct agent_json *j, const char *what, const int *fds,
                   size_t nfds)
{
    json_t *m = json_pack("{s:s}", "do", what);
    int rc = agent_json_send(j, m, fds, nfds);

    json_decref(m);
    return rc;
}

static void test_lines(void)
{
    struct setup s;
    int i;

    begin(&s);
    for (i = 0; i < 100; i++) {
        g_assert_cmpint(send_do(s.client_end.j, "ping", NULL, 0), ==, 0);
    }
    until(&s.client_end.lines, 100);
    g_assert_cmpuint(s.server_end.lines, ==, 100);
    g_assert_cmpint(unread(&s.client_end), ==, 0);
    end(&s);
}

/* Each line's descriptor is the one that came with it. */
static void test_descriptors(void)
{
    struct setup s;
    int pipes[4][2], i;
    char c;

    begin(&s);
    for (i = 0; i < 4; i++) {
        g_assert_cmpint(pipe(pipes[i]), ==, 0);
        send_do(s.client_end.j, "noise", NULL, 0);
        g_assert_cmpint(send_do(s.client_end.j, "take", &pipes[i][1], 1), ==,
                        0);
        close(pipes[i][1]); /* ours may go at once */
        send_do(s.client_end.j, "noise", NULL, 0);
    }
    until(&s.server_end.lines, 12);
    g_assert_cmpuint(s.server_end.nfds, ==, 4);
    for (i = 0; i < 4; i++) {
        c = (char)('0' + i);
        g_assert_cmpint(write(s.server_end.fds[i], &c, 1), ==, 1);
        close(s.server_end.fds[i]);
    }
    for (i = 0; i < 4; i++) {
        g_assert_cmpint(read(pipes[i][0], &c, 1), ==, 1);
        g_assert_cmpint(c, ==, '0' + i);
        close(pipes[i][0]);
    }
    g_assert_cmpint(agent_json_take_fd(s.server_end.j), ==, -1);
    end(&s);
}

static void test_descriptors_nobody_takes(void)
{
    struct setup s;
    int fd = open("/dev/null", O_RDONLY), i;

    begin(&s);
    for (i = 0; i <= AGENT_JSON_FDS_MAX; i++) {
        send_do(s.client_end.j, "noise", &fd, 1);
    }
    until(&s.server_end.gone, 1);
    g_assert_nonnull(strstr(s.server_end.why.text, "too many descriptors"));
    close(fd);
    end(&s);
}

static void refused(const char *bytes, size_t n, const char *says)
{
    struct setup s;
    struct ft_err err;
    int fd;

    begin(&s);
    fd = ft_unix_connect(path, SOCK_STREAM, &err);
    until(&s.server_end.opened, 2);
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent > 0) {
            bytes += sent;
            n -= (size_t)sent;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            break;
        }
        ev_run(loop, EVRUN_NOWAIT);
    }
    until(&s.server_end.gone, 1);
    g_assert_nonnull(strstr(s.server_end.why.text, says));
    close(fd);
    end(&s);
}

static void test_malformed(void)
{
    char *big = g_malloc(FT_JSON_LINE_MAX + 10);

    refused("hello\n", 6, "a line that is not JSON");
    refused("[1,2]\n", 6, "a line that is not a JSON object");
    refused("{\"a\":1,\"a\":2}\n", 14, "a line that is not JSON");
    refused("{\"a\":\"\\u0000\"}\n", 15, "a line that is not JSON");
    refused("{\"a\":\"\xff\"}\n", 10, "a line that is not JSON");
    memset(big, ' ', FT_JSON_LINE_MAX + 10);
    refused(big, FT_JSON_LINE_MAX + 10, "a line that is too long");
    memset(big, '[', 5000);
    big[5000] = '\n';
    refused(big, 5001, "a line that is not JSON");
    g_free(big);
}

static void test_gone(void)
{
    struct setup s;

    begin(&s);
    agent_json_close(s.client_end.j);
    s.client_end.j = NULL;
    until(&s.server_end.gone, 1);
    g_assert_cmpstr(s.server_end.why.text, ==, "closed by the other side");
    end(&s);
}

/* What was queued before a close still arrives. */
static void test_close_sends_the_rest(void)
{
    struct setup s;
    char *big = g_malloc0(900001);
    json_t *m;

    memset(big, 'x', 900000);
    begin(&s);
    m = json_pack("{s:s, s:s}", "do", "big", "data", big);
    g_assert_cmpint(agent_json_send(s.client_end.j, m, NULL, 0), ==, 0);
    g_assert_cmpint(unread(&s.client_end), <, 900000);
    agent_json_close(s.client_end.j);
    s.client_end.j = NULL;
    until(&s.server_end.gone, 1);
    g_assert_cmpstr(s.server_end.last, ==, "big");
    g_assert_cmpuint(s.server_end.lines, ==, 1);
    json_decref(m);
    g_free(big);
    end(&s);
}

static void test_close_in_callback(void)
{
    struct setup s;

    begin(&s);
    s.server_end.close_at_line = true;
    send_do(s.client_end.j, "ping", NULL, 0);
    send_do(s.client_end.j, "ping", NULL, 0);
    until(&s.client_end.gone, 1);
    g_assert_cmpuint(s.server_end.lines, ==, 1);
    g_assert_cmpuint(s.client_end.lines, ==, 1);
    g_assert_cmpuint(s.server_end.gone, ==, 0);
    end(&s);
}

static void test_deaf_peer(void)
{
    struct setup s;
    struct ft_err err;
    char *big = g_malloc0(500001);
    json_t *m;
    int fd;

    begin(&s);
    fd = ft_unix_connect(path, SOCK_STREAM, &err);
    until(&s.server_end.opened, 2);
    memset(big, 'x', 500000);
    m = json_pack("{s:s}", "data", big);
    while (agent_json_send(s.server_end.j, m, NULL, 0) == 0) {
        ;
    }
    g_assert_cmpuint(s.server_end.gone, ==, 1);
    g_assert_nonnull(strstr(s.server_end.why.text, "does not read"));
    json_decref(m);
    g_free(big);
    close(fd);
    end(&s);
}

static void test_too_many(void)
{
    struct setup s;
    struct seen extra[3] = { 0 };
    int i;

    begin(&s);
    for (i = 0; i < 3; i++) {
        connect_to_server(&extra[i]);
    }
    until(&extra[2].gone, 1);
    g_assert_cmpuint(extra[2].lines, ==, 1);
    g_assert_cmpuint(s.server_end.opened, ==, 3);
    for (i = 0; i < 2; i++) {
        agent_json_close(extra[i].j);
    }
    until(&s.server_end.gone, 2);
    end(&s);
}

/* The client without a loop, against a server in a thread of its own. */
static void *serve(void *arg)
{
    struct setup *s = arg;

    until(&s->server_end.gone, 1);
    return NULL;
}

static void test_blocking_client(void)
{
    struct setup s;
    struct ft_json_reader r;
    struct ft_err err;
    GThread *thread;
    json_t *m, *line;
    int fd;

    memset(&s, 0, sizeof(s));
    s.server = agent_json_listen(loop, path, 0600, 3, &ops, on_opened,
                                 &s.server_end, &err);
    fd = ft_json_client_open(path, &err);
    g_assert_cmpint(fd, >=, 0);
    thread = g_thread_new("serve", serve, &s);
    ft_json_reader_init(&r, fd);
    m = json_pack("{s:s}", "do", "ping");
    g_assert_cmpint(ft_json_client_send(fd, m, &err), ==, 0);
    g_assert_cmpint(ft_json_client_send(fd, m, &err), ==, 0);
    json_decref(m);
    g_assert_cmpint(ft_json_reader_next(&r, &line, 5000, &err), ==, 1);
    g_assert_true(json_is_true(json_object_get(line, "ok")));
    json_decref(line);
    g_assert_cmpint(ft_json_reader_next(&r, &line, -1, &err), ==, 1);
    json_decref(line);
    g_assert_cmpint(ft_json_reader_next(&r, &line, 50, &err), ==, -1);
    g_assert_cmpint(err.code, ==, ETIMEDOUT);
    ft_json_reader_done(&r);
    close(fd);
    g_thread_join(thread);
    agent_json_server_close(s.server);
    g_assert_cmpint(ft_json_client_open(path, &err), ==, -1);
}

/* Nobody reads: a send must come to an end. */
static void test_blocking_client_bounded(void)
{
    struct ft_err err;
    char *big = g_strnfill(400000, 'x');
    json_t *m = json_pack("{s:s}", "do", big);
    gint64 begin = g_get_monotonic_time();
    int fds[2], rc = 0;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds),
                    ==, 0);
    for (int i = 0; i < 100 && rc == 0; i++) {
        rc = ft_json_client_send(fds[0], m, &err);
    }
    g_assert_cmpint(rc, ==, -1);
    g_assert_nonnull(strstr(err.text, "takes nothing"));
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 20 * G_USEC_PER_SEC);
    json_decref(m);
    g_free(big);
    close(fds[0]);
    close(fds[1]);
}

static void stop_loop(struct ft_timer *t, void *arg)
{
    (void)arg;
    ev_break(t->loop, EVBREAK_ALL);
}

/* A connection waits and cannot be taken: the loop must not spin. */
static void test_no_descriptor_left(void)
{
    struct rlimit old, none;
    struct setup s = { 0 };
    struct ft_timer t;
    struct ft_err err;
    unsigned before;
    int fd;

    s.server = agent_json_listen(loop, path, 0600, 3, &ops, on_opened,
                                 &s.server_end, &err);
    fd = ft_json_client_open(path, &err);
    g_assert_cmpint(fd, >=, 0);
    getrlimit(RLIMIT_NOFILE, &old);
    none = old;
    none.rlim_cur = (rlim_t)fd;
    setrlimit(RLIMIT_NOFILE, &none);
    before = ev_iteration(loop);
    ft_timer_init(&t, loop, stop_loop, NULL);
    ft_timer_after(&t, 300 * FT_NS_PER_MS);
    ev_run(loop, 0);
    setrlimit(RLIMIT_NOFILE, &old);
    g_assert_cmpuint(ev_iteration(loop) - before, <, 10);
    g_assert_cmpuint(s.server_end.opened, ==, 0);
    until(&s.server_end.opened, 1); /* it is taken when there is room */
    close(fd);
    until(&s.server_end.gone, 1);
    agent_json_server_close(s.server);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    strcpy(dir, "/tmp/lockstep-json-XXXXXX");
    g_assert_nonnull(mkdtemp(dir));
    g_snprintf(path, sizeof(path), "%s/sock", dir);
    loop = ev_loop_new(EVFLAG_AUTO);
    g_test_add_func("/jsonserver/lines go both ways", test_lines);
    g_test_add_func("/jsonserver/descriptors stay with their lines",
                    test_descriptors);
    g_test_add_func("/jsonserver/unwanted descriptors are bounded",
                    test_descriptors_nobody_takes);
    g_test_add_func("/jsonserver/malformed lines close with a reason",
                    test_malformed);
    g_test_add_func("/jsonserver/the other side's end is told", test_gone);
    g_test_add_func("/jsonserver/a close sends the rest",
                    test_close_sends_the_rest);
    g_test_add_func("/jsonserver/a handler may close",
                    test_close_in_callback);
    g_test_add_func("/jsonserver/a peer that does not read is cut off",
                    test_deaf_peer);
    g_test_add_func("/jsonserver/connections are bounded", test_too_many);
    g_test_add_func("/jsonserver/a client without a loop",
                    test_blocking_client);
    g_test_add_func("/jsonserver/a client without a loop gives up",
                    test_blocking_client_bounded);
    g_test_add_func("/jsonserver/without descriptors a listener rests",
                    test_no_descriptor_left);
    rc = g_test_run();
    ev_loop_destroy(loop);
    rmdir(dir);
    return rc;
}
